package relay

import (
	"context"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sockbox/applets/internal/sock"
)

// The short way: what a plain relay of streams does all day, accept, connect, pass a little on, and
// close, in one goroutine for each processor, which waits in an epoll(7) of its own. Two goroutines for each
// connection cost twice the processor time, and for an idle one ten times the memory.
//
// It knows nothing else. Whatever is special is handed over to the general way in stream.go, and never
// comes back: a destination that has to be looked up, or is dead, or does not answer; a peer that does not
// take what it is sent; much to carry, for which splice is better; and the end of the relay.

const (
	loopBuffer = 64 << 10
	loopEvents = 256
	loopTurns  = 16                    // reads from one socket before others have their turn
	loopBusy   = 4                     // full reads in a row after which a connection is handed over
	loopFull   = 10 * time.Millisecond // how often it is looked whether there is room for one more client
	loopLook   = time.Second           // how often old connections are looked at, at most
	loopWants  = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
)

// processors is how many loops there are: as many as Go programs use processors. From then on the process,
// which has nothing else to do, may use one more, unless $GOMAXPROCS says how many. Without one that is
// idle the scheduler takes a loop's away as soon as it has waited for 20 µs, and wakes a thread to look for
// work, several times in each connection.
var processors = sync.OnceValue(func() int {
	n := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n + 1)
	}
	return n
})

// loops serves as serveStreams does, and tells whether it did: it does not where clients or all
// destinations are special.
func (r *Relay) loops(ctx, abandon context.Context, slots chan struct{}, clients *sync.WaitGroup) (bool, error) {
	ln, ok := r.ln.(syscall.Conn)
	if r.targets() == nil || !ok {
		return false, nil
	}
	listener, err := sock.FDOf(ln)
	if err != nil {
		return false, nil
	}
	defer unix.Close(listener)
	if r.Listen.Net == "tcp" {
		sock.TuneFD(listener)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return false, nil
	}
	defer unix.Close(wake)
	all := make([]*loop, processors())
	for i := range all {
		l := &loop{r: r, ctx: ctx, abandon: abandon, slots: slots, clients: clients, targets: r.targets(), listener: listener, wake: wake}
		if all[i] = l; l.open() != nil {
			for _, l := range all[:i] {
				unix.Close(l.epoll)
			}
			return false, nil
		}
	}
	stop := context.AfterFunc(ctx, func() { unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer stop()
	var running sync.WaitGroup
	for _, l := range all {
		running.Go(l.run)
	}
	running.Wait()
	return true, nil
}

// targets are the destinations' addresses; nil where the short way is none.
func (r *Relay) targets() map[*destination]unix.Sockaddr {
	l := r.Listen
	special := l.TLS || l.Key || l.Datagram || l.Net != "tcp" && l.Net != "unix" || r.Echo || r.ReplyTo != nil ||
		r.ProxyIn != nil || r.ProxyOut != 0 || r.Dump != DumpNothing || r.Rate != 0 || r.Tee != nil ||
		r.Dial.Source != "" || r.Dial.Interface != "" || r.Verbose
	if special {
		return nil
	}
	var targets map[*destination]unix.Sockaddr
	for _, d := range r.dests.all {
		if d.TLS || d.Key || d.Datagram || d.Stdout {
			continue
		}
		if sa := d.Sockaddr(); sa != nil {
			if targets == nil {
				targets = map[*destination]unix.Sockaddr{}
			}
			targets[d] = sa
		}
	}
	return targets
}

// A loop is one goroutine. It keeps a thread busy, but not always the same: being locked to one would cost
// two more wakeups whenever the scheduler gives others a turn.
type loop struct {
	r            *Relay
	ctx, abandon context.Context
	slots        chan struct{}
	clients      *sync.WaitGroup                // those that were handed over
	targets      map[*destination]unix.Sockaddr // the loop's own: connect(2) is prepared in them

	epoll, listener, wake int

	ends     []*end // by descriptor
	pairs    []*pair
	gone     []int // descriptors to be closed when all events of one wait are seen, which may be about them
	buf      []byte
	now      time.Time // of the last wait's end
	deaf     bool      // the listener is not asked for clients
	deafTill time.Time
	looked   time.Time
}

// A pair is a client and its destination.
type pair struct {
	end        [2]end
	d          *destination
	turn       uint32
	index      int       // in loop.pairs
	began      time.Time // or when something moved the last time, as far as is known
	moved      int64
	seen       int64 // moved, when it was looked at
	unsent     int   // likewise
	connecting bool
	tuned      bool
	over       bool
}

// An end is one of its two sockets.
type end struct {
	p    *pair
	i    int8
	ask  bool  // something came before the destination was there
	eof  bool  // nothing more comes
	hup  bool  // the end, or an error, is near: read until it comes
	left bool  // whoever it was has closed the socket, not only ended its side
	part bool  // a read may take less than there is: one of a unix socket ends behind descriptors that were sent along
	full uint8 // reads in a row that filled the buffer
	fd   int
}

func (e *end) other() *end { return &e.p.end[1-e.i] }

func (l *loop) open() (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err = l.listen(); err == nil {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.wake)})
	}
	if err != nil {
		unix.Close(l.epoll)
	}
	return err
}

// listen asks for clients; one of the loops is woken for each.
func (l *loop) listen() error {
	l.deaf = false
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.listener, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: int32(l.listener)})
}

// pause asks for no clients for a while; they wait in the backlog, where nothing they send is lost.
func (l *loop) pause(d time.Duration) {
	if !l.deaf {
		unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, l.listener, nil)
		l.deaf = true
	}
	l.deafTill = l.now.Add(d)
}

func (l *loop) run() {
	defer unix.Close(l.epoll)
	l.buf = make([]byte, loopBuffer)
	events := make([]unix.EpollEvent, loopEvents)
	l.now = time.Now()
	l.looked = l.now
	for l.ctx.Err() == nil {
		n, err := unix.EpollWait(l.epoll, events, l.timeout())
		if err != nil && err != unix.EINTR {
			l.r.fail(err)
			break
		}
		l.now = time.Now()
		for i := range max(n, 0) {
			switch fd := int(events[i].Fd); fd {
			case l.wake:
			case l.listener:
				l.accept()
			default:
				if e := l.ends[fd]; e != nil {
					l.event(e, events[i].Events)
				}
			}
		}
		for _, fd := range l.gone {
			unix.Close(fd)
		}
		l.gone = l.gone[:0]
		if l.deaf && !l.now.Before(l.deafTill) {
			if err := l.listen(); err != nil {
				l.r.fail(err)
				break
			}
		}
		if len(l.pairs) > 0 && l.now.Sub(l.looked) >= l.lookPause() {
			l.look()
		}
	}
	for len(l.pairs) > 0 {
		l.handOver(l.pairs[0], 0, nil)
	}
	for _, fd := range l.gone {
		unix.Close(fd)
	}
}

// timeout is how long to wait for events, in milliseconds; -1 is for ever.
func (l *loop) timeout() int {
	next := time.Duration(-1)
	if len(l.pairs) > 0 {
		next = max(l.looked.Add(l.lookPause()).Sub(l.now), 0)
	}
	if l.deaf {
		if d := max(l.deafTill.Sub(l.now), 0); next < 0 || d < next {
			next = d
		}
	}
	if next < 0 {
		return -1
	}
	return int((next + time.Millisecond - 1) / time.Millisecond)
}

// accept takes one client: while there are more, epoll says so again, beside what others have to say.
func (l *loop) accept() {
	select {
	case l.slots <- struct{}{}:
	default:
		l.pause(loopFull)
		return
	}
	fd, from, err := l.accept4()
	switch {
	case err == nil:
		if l.r.short.Load() {
			l.r.short.Store(false)
		}
	case err == unix.EAGAIN || err == unix.ECONNABORTED || err == unix.EINTR: // another loop has it, or it has gone
		<-l.slots
		return
	default:
		<-l.slots
		l.r.shortage(err)
		l.pause(outOfDescriptors)
		return
	}
	if from != nil && !l.r.admits(from) {
		unix.Close(fd)
		<-l.slots
		return
	}
	l.r.peers.Add(1)
	l.r.connects.Add(1)
	l.connect(fd)
}

// accept4 is accept4(2); from is nil where nobody wants to know.
func (l *loop) accept4() (fd int, from net.Addr, err error) {
	if l.r.Allow != nil || l.r.Deny != nil {
		fd, sa, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return fd, sock.AddrOf(sa), err
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(l.listener), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, nil, errno
	}
	return int(n), nil, nil
}

// connect finds a destination for the client at fd.
func (l *loop) connect(fd int) {
	turn := l.r.turn()
	d := l.r.pick(turn)
	sa := l.targets[d]
	if sa == nil || d.dead() {
		l.special(fd, turn)
		return
	}
	to, family := -1, unix.AF_UNIX
	switch sa.(type) {
	case *unix.SockaddrInet4:
		family = unix.AF_INET
	case *unix.SockaddrInet6:
		family = unix.AF_INET6
	}
	to, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		l.special(fd, turn)
		return
	}
	if family != unix.AF_UNIX {
		unix.SetsockoptInt(to, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err := unix.Connect(to, sa); err != nil && err != unix.EINPROGRESS {
		unix.Close(to)
		if err != unix.EAGAIN { // which a full backlog of a unix socket is
			l.r.report(d, sock.About(d.Addr, err))
		}
		l.special(fd, turn)
		return
	}
	p := &pair{d: d, turn: turn, began: l.now, connecting: true, index: len(l.pairs)}
	p.end[0] = end{p: p, i: 0, fd: fd, part: l.r.Listen.Net == "unix"}
	p.end[1] = end{p: p, i: 1, fd: to, part: family == unix.AF_UNIX}
	l.pairs = append(l.pairs, p)
	d.clients.Add(1)
	// The events of now come too: an edge is what epoll has not told yet.
	err = l.watch(&p.end[1], unix.EPOLLOUT)
	if err == nil {
		err = l.watch(&p.end[0], 0)
	}
	if err != nil {
		l.r.Log("%s: %v", l.r.Listen, err)
		l.close(p)
	}
}

// watch has epoll tell of e; of room in the socket only for one that is being connected.
func (l *loop) watch(e *end, also uint32) error {
	for len(l.ends) <= e.fd {
		l.ends = append(l.ends, make([]*end, 1024)...)
	}
	l.ends[e.fd] = e
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, e.fd, &unix.EpollEvent{Events: loopWants | also, Fd: int32(e.fd)})
}

// special hands a client over that has no destination yet.
func (l *loop) special(fd int, turn uint32) {
	c, err := l.take(fd)
	if err != nil {
		l.r.Log("%s: %v", l.r.Listen, sock.Reason(err))
		l.release()
		return
	}
	l.clients.Go(func() {
		l.r.served(l.ctx, l.abandon, &talk{}, c, turn)
		l.release()
	})
}

// take makes a connection of fd, which is the loop's no more.
func (l *loop) take(fd int) (net.Conn, error) {
	// Another descriptor for the same socket would keep it in the set.
	unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	l.gone = append(l.gone, fd)
	return sock.ConnOf(fd)
}

// event is what epoll tells of e.
func (l *loop) event(e *end, what uint32) {
	p := e.p
	if what&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		e.hup = true
		e.left = e.left || what&unix.EPOLLHUP != 0
	}
	if p.connecting {
		if e.i == 0 {
			e.ask = true // it may also have gone by now, which is seen then
			return
		}
		if what&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			if n, err := unix.GetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && n != 0 {
				l.r.report(p.d, sock.About(p.d.Addr, syscall.Errno(n)))
			}
			l.unreached(p)
			return
		}
		if what&unix.EPOLLOUT == 0 {
			return
		}
		p.connecting, p.began = false, l.now
		if p.d.dead() {
			l.r.report(p.d, nil)
		}
		if p.end[0].ask {
			l.pull(&p.end[0])
		}
	}
	switch {
	case p.over || what&^unix.EPOLLOUT == 0: // nobody waits for room
	case !e.eof:
		l.pull(e)
	case what&unix.EPOLLERR != 0: // reset, after its end
		l.broken(e)
	case e.left:
		l.end(e, false)
	}
}

// unreached is for a destination that does not answer: the general way tries again, or another one.
func (l *loop) unreached(p *pair) {
	l.forget(p)
	l.gone = append(l.gone, p.end[1].fd)
	l.special(p.end[0].fd, p.turn)
}

// pull passes on what e has said, until there is nothing more.
func (l *loop) pull(e *end) {
	p, to := e.p, e.other()
	for range loopTurns {
		n, err := unix.Read(e.fd, l.buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return
		case err != nil:
			l.broken(e)
			return
		case n == 0:
			e.eof = true
			if to.eof {
				l.close(p)
				return
			}
			unix.Shutdown(to.fd, unix.SHUT_WR) // it fails where to is gone, which reading it tells better
			if e.left {
				l.end(e, false)
			}
			return
		}
		m, err := unix.Write(to.fd, l.buf[:n])
		switch {
		case err == nil:
		case err == unix.EAGAIN || err == unix.EINTR:
			m = 0
		default:
			l.lastWords(to)
			return
		}
		l.count(e, m)
		switch {
		case m < n:
			l.handOver(p, e.i, append([]byte(nil), l.buf[m:n]...))
			return
		case n == len(l.buf):
			if e.full++; e.full >= loopBusy {
				l.handOver(p, 0, nil)
				return
			}
			continue
		}
		e.full = 0
		if !e.hup && !e.part { // epoll(7): a read that did not fill the buffer has taken all
			return
		}
	}
	// There may be more, and there is no new edge for it.
	unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, e.fd, &unix.EpollEvent{Events: loopWants, Fd: int32(e.fd)})
}

// count counts what e has said.
func (l *loop) count(e *end, n int) {
	e.p.moved += int64(n)
	if e.i == 0 {
		l.r.in.Add(int64(n))
	} else {
		l.r.back.Add(int64(n))
	}
}

// lastWords is for an end that takes nothing any more: what it has said before still comes.
func (l *loop) lastWords(e *end) {
	if !e.eof {
		e.hup = true
		to := e.other()
		for {
			n, err := unix.Read(e.fd, l.buf)
			if err != nil || n == 0 {
				break
			}
			m, err := unix.Write(to.fd, l.buf[:n])
			l.count(e, max(m, 0))
			if err != nil || m < n {
				break
			}
		}
	}
	l.broken(e)
}

// broken passes on that e has ended abruptly.
func (l *loop) broken(e *end) { l.end(e, true) }

// end closes the other side of e, which is gone: abruptly, if e has ended so; else the other side has an
// end already, and nobody takes what it answers.
func (l *loop) end(e *end, abruptly bool) {
	p, to := e.p, e.other()
	if p.connecting {
		l.close(p)
		return
	}
	if n, err := unix.IoctlGetInt(to.fd, unix.SIOCOUTQ); err == nil && n == 0 {
		if abruptly {
			unix.SetsockoptLinger(to.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		l.close(p)
		return
	}
	// A reset, which also a close with something unread is, would take away what is on its way.
	l.forget(p)
	l.gone = append(l.gone, e.fd)
	c, err := l.take(to.fd)
	if err != nil {
		l.release()
		return
	}
	l.clients.Go(func() {
		sock.WaitSent(l.abandon, c)
		if abruptly {
			sock.Abort(c)
		} else {
			c.Close()
		}
		l.release()
	})
}

// handOver gives p to the general way, with what has been read of its end i and could not be written.
func (l *loop) handOver(p *pair, i int8, rest []byte) {
	if p.connecting {
		l.unreached(p)
		return
	}
	l.forget(p)
	var c [2]net.Conn
	for i := range c {
		var err error
		if c[i], err = l.take(p.end[i].fd); err != nil {
			if i > 0 {
				c[0].Close()
			}
			l.gone = append(l.gone, p.end[1].fd)
			l.r.Log("%s: %v", l.r.Listen, sock.Reason(err))
			l.release()
			return
		}
	}
	var begin [2][]byte
	begin[i] = rest
	over := [2]bool{p.end[0].eof, p.end[1].eof}
	p.d.clients.Add(1)
	l.clients.Go(func() {
		l.r.carryOn(l.ctx, l.abandon, c[0], c[1], p.d, begin, over)
		p.d.clients.Add(-1)
		l.release()
	})
}

// look ends pairs in which nothing moves, as reap does, and gives up destinations that do not answer.
func (l *loop) look() {
	l.looked = l.now
	for i := len(l.pairs) - 1; i >= 0; i-- {
		p := l.pairs[i]
		age := l.now.Sub(p.began)
		switch {
		case p.connecting:
			if l.r.Dial.Timeout > 0 && age >= l.r.Dial.Timeout {
				l.late(p)
			}
			continue
		case !p.tuned && age >= loopLook:
			p.tuned = true // those that live for less need none of it
			if p.d.Net == "tcp" {
				sock.TuneFD(p.end[1].fd)
			}
		}
		if p.moved != p.seen {
			p.seen, p.began = p.moved, l.now
			continue
		}
		limit, _ := l.r.silence(p.end[0].eof || p.end[1].eof)
		if limit == 0 || age < limit {
			continue
		}
		unsent := 0 // a slow peer may still be taking what the kernel holds for it
		for i := range p.end {
			n, _ := unix.IoctlGetInt(p.end[i].fd, unix.SIOCOUTQ)
			unsent += n
		}
		if unsent != p.unsent {
			p.unsent, p.began = unsent, l.now
			continue
		}
		l.close(p)
	}
}

func (l *loop) lookPause() time.Duration { return min(l.r.reapPause(), loopLook) }

// late is for a destination that has not answered in time. Where there is no other one, and no time to
// wait for it, the client need not wait for a second try.
func (l *loop) late(p *pair) {
	l.r.report(p.d, sock.About(p.d.Addr, unix.ETIMEDOUT))
	if len(l.r.dests.all) > 1 || l.r.WaitBackend > 0 {
		l.unreached(p)
		return
	}
	unix.SetsockoptLinger(p.end[0].fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	l.close(p)
}

// forget takes p out of the loop, whose descriptors are the caller's then.
func (l *loop) forget(p *pair) {
	p.over = true
	p.d.clients.Add(-1)
	last := l.pairs[len(l.pairs)-1]
	l.pairs[p.index], last.index = last, p.index
	l.pairs[len(l.pairs)-1] = nil
	l.pairs = l.pairs[:len(l.pairs)-1]
	for i := range p.end {
		l.ends[p.end[i].fd] = nil
	}
}

// close ends p, whose peers have said all.
func (l *loop) close(p *pair) {
	l.forget(p)
	l.gone = append(l.gone, p.end[0].fd, p.end[1].fd)
	l.release()
}

// release gives a client's place to another one.
func (l *loop) release() {
	l.r.peers.Add(-1)
	<-l.slots
}
