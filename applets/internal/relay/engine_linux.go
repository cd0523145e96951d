package relay

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"sockbox/applets/internal/sock"
)

// The engine for streams that nobody looks at: TCP and unix sockets to TCP and unix sockets. Package net
// pays for each connection with two goroutines, their stacks, and the runtime's timers and wake-ups: about
// twice the processor time and ten times the memory of what is done here, where one locked thread for each
// processor has an epoll of its own, and system calls that do not block.
//
// It knows the usual way only. A client for whom there is more to be done (a destination that is down, or
// slow, or a name to be resolved; the end of the relay) is handed over to the other engine, package net's,
// with all that is on its way. So there is one place for each of these things, and here is none.
//
// Rules: a loop's connections are touched by its own goroutine only. Events are edge-triggered: whoever
// stops reading before EAGAIN has a reason that another event will end, or asks for one (rearm).

// newEngine returns an engine for r's clients, or nil where it cannot serve them.
func (r *Relay) newEngine() *engine {
	if r.Listen.TLS || r.Listen.Key || r.ProxyIn != nil || r.ProxyOut != 0 || r.ReplyTo != nil || r.Echo ||
		r.tap("", "", false) != nil || r.Dial.Source != "" || r.Dial.Interface != "" {
		return nil
	}
	for _, d := range r.dests.all {
		if d.socket() == nil {
			return nil
		}
	}
	sc, ok := r.ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	ln, e := uintptr(0), syscall.EBADF
	raw.Control(func(fd uintptr) {
		ln, _, e = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 3)
	})
	if e != 0 {
		return nil
	}
	if _, ok := r.ln.Addr().(*net.TCPAddr); ok {
		r.ln.Close()         // or the runtime would look at each connection that comes, too
		sock.TuneFD(int(ln)) // which those that are accepted have from it (tcp(7))
	}
	return &engine{r: r, ln: int(ln)}
}

// socket returns where d is, for connect(2), if nothing has to be looked up for that.
func (d *destination) socket() syscall.Sockaddr {
	if d.TLS || d.Key || d.Datagram || d.Stdout {
		return nil
	}
	switch d.Net {
	case "tcp":
		ip, err := netip.ParseAddr(d.Host)
		if d.Host == "" {
			ip, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil // as package net has it
		}
		switch {
		case err != nil || ip.Zone() != "":
		case ip.Unmap().Is4():
			return &syscall.SockaddrInet4{Port: d.Port, Addr: ip.Unmap().As4()}
		default:
			return &syscall.SockaddrInet6{Port: d.Port, Addr: ip.As16()}
		}
	case "unix":
		if len(d.Path) < 100 {
			return &syscall.SockaddrUnix{Name: d.Path}
		}
	}
	return nil
}

// An engine is its loops.
type engine struct {
	r     *Relay
	ln    int
	loops []*loop

	ctx, abandon context.Context
	clients      *sync.WaitGroup // those that were handed over
}

const (
	readSize    = 16 << 10 // of a loop's one buffer, and so of what waits for a peer who takes nothing
	fullReads   = 4        // in a row, after which a side is busy and its bytes are spliced
	spliceSize  = 256 << 10
	mostPipes   = 256 // of a loop; what a slow peer leaves in them is the kernel's memory
	sparePipes  = 16
	turn        = 16 // reads of one side before others have theirs
	connectLook = 100 * time.Millisecond

	epollET        = 1 << 31
	sideEvents     = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | epollET
	epollExclusive = 1 << 28
	fSetPipeSize   = 1031
	sioCInQ        = 0x541b
	sioCOutQ       = 0x5411
)

// A side is one of a conversation's two sockets.
type side struct {
	fd     int
	c      *conversation
	peer   *side
	rest   []byte // of what peer said, not yet written here
	full   int8   // full reads in a row
	eof    bool   // it has ended
	hangup bool   // it has, or will: read on until that comes
	shut   bool   // it was told the end of peer
	pipe   *[2]int
	piped  int   // bytes in pipe, on their way from here to peer
	serial int32 // in epoll: descriptors are used again
}

// A conversation is a client and its destination.
type conversation struct {
	client, far side
	name        string // the client's, where somebody wants to know
	d           *destination
	connecting  bool
	said        bool // the client has something to read, while connecting
	tuned       bool
	over        bool
	began       time.Time // of the connecting
	in, out     int64     // bytes
	seen        int64     // what look has seen of both
	unsent      int
	since       time.Time
}

// A loop is one thread's.
type loop struct {
	e          *engine
	ep, wakeup int
	share      int32      // conversations at most
	mu         sync.Mutex // for wake, against close
	closed     bool
	count      atomic.Int32
	paused     atomic.Bool // share is used up: nobody is accepted
	short      bool        // there were no descriptors
	connecting int
	where      map[*destination]syscall.Sockaddr // one of its own: connect(2) by package syscall writes to it
	sides      []*side                           // by descriptor
	buf        []byte
	pipes      []*[2]int // spare ones
	piping     int       // pipes there are
	serial     int32
	next       time.Time // of look
}

// run takes clients until ctx ends, and hands over those that there are then.
func (e *engine) run(ctx, abandon context.Context, clients *sync.WaitGroup) error {
	e.ctx, e.abandon, e.clients = ctx, abandon, clients
	defer syscall.Close(e.ln)
	n := min(runtime.GOMAXPROCS(0), e.r.MaxConns)
	for i := range n {
		l := &loop{e: e, share: int32(e.r.MaxConns / n), buf: make([]byte, readSize), where: map[*destination]syscall.Sockaddr{}}
		if i < e.r.MaxConns%n {
			l.share++
		}
		for _, d := range e.r.dests.all {
			l.where[d] = d.socket()
		}
		if err := l.open(); err != nil {
			for _, l := range e.loops {
				l.close()
			}
			return err
		}
		e.loops = append(e.loops, l)
	}
	var all sync.WaitGroup
	for _, l := range e.loops {
		all.Go(l.run)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, l := range e.loops {
			l.wake()
		}
	})
	defer stop()
	all.Wait()
	return nil
}

func (l *loop) open() (err error) {
	if l.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	fd, _, e := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if e != 0 {
		syscall.Close(l.ep)
		return os.NewSyscallError("eventfd2", e)
	}
	l.wakeup = int(fd)
	l.control(syscall.EPOLL_CTL_ADD, l.wakeup, syscall.EPOLLIN, 0)
	l.listen()
	return nil
}

func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	syscall.Close(l.ep)
	syscall.Close(l.wakeup)
	for _, p := range l.pipes {
		syscall.Close(p[0])
		syscall.Close(p[1])
	}
}

// wake has the loop look at what has changed.
func (l *loop) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed { // or the descriptor may be another's
		one := [8]byte{1}
		syscall.Write(l.wakeup, one[:])
	}
}

func (l *loop) control(op, fd int, events uint32, serial int32) {
	ev := syscall.EpollEvent{Events: events, Fd: int32(fd), Pad: serial}
	syscall.EpollCtl(l.ep, op, fd, &ev)
}

// listen takes part in accepting: of the loops that wait, one is woken (EPOLLEXCLUSIVE).
func (l *loop) listen() {
	l.paused.Store(false)
	l.control(syscall.EPOLL_CTL_ADD, l.e.ln, syscall.EPOLLIN|epollExclusive, 0)
}

func (l *loop) pause() {
	l.control(syscall.EPOLL_CTL_DEL, l.e.ln, 0, 0)
	l.paused.Store(true)
	if l.count.Load() < l.share && !l.short { // one has ended since
		l.listen()
	}
}

// done is the end of a conversation, here or where it was handed over to.
func (l *loop) done() {
	l.e.r.peers.Add(-1)
	l.count.Add(-1)
	if l.paused.Load() {
		l.wake()
	}
}

func (l *loop) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.close()
	r := l.e.r
	pause := r.reapPause()
	events := make([]syscall.EpollEvent, 256)
	for {
		n := l.poll(events, 0) // without a word to the runtime's scheduler
		if n == 0 {
			wait := -1
			switch {
			case l.connecting > 0 || l.short:
				wait = int(connectLook / time.Millisecond)
			case l.count.Load() > 0:
				wait = int(max(pause/time.Millisecond, 1))
			}
			var err error
			if n, err = syscall.EpollWait(l.ep, events, wait); err != nil {
				continue
			}
		}
		for i := range events[:n] {
			l.event(int(events[i].Fd), events[i].Pad, events[i].Events)
		}
		if l.e.ctx.Err() != nil {
			l.handAllOver()
			return
		}
		l.tick(pause)
	}
}

func (l *loop) poll(events []syscall.EpollEvent, ms int) int {
	n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// tick does what is to be done from time to time.
func (l *loop) tick(pause time.Duration) {
	now := time.Now()
	if now.Before(l.next) {
		return
	}
	if l.connecting > 0 || l.short {
		pause = min(pause, connectLook)
	}
	l.next = now.Add(pause)
	if l.short {
		l.short = false
		if l.paused.Load() {
			l.listen()
		}
	}
	for _, s := range l.sides {
		if s == nil || s != &s.c.client {
			continue
		}
		if c := s.c; c.connecting {
			if t := l.e.r.Dial.Timeout; t > 0 && now.Sub(c.began) > t {
				l.handClientOver(c)
			}
		} else {
			l.look(c, now)
		}
	}
}

// look ends a conversation in which nothing has moved for too long.
func (l *loop) look(c *conversation, now time.Time) {
	r := l.e.r
	if _, unix := l.where[c.d].(*syscall.SockaddrUnix); !c.tuned && !unix {
		c.tuned = true
		sock.TuneFD(c.far.fd)
	}
	if c.in+c.out != c.seen || c.since.IsZero() {
		c.seen, c.since = c.in+c.out, now
		return
	}
	limit, half := r.silence(c.client.eof || c.far.eof)
	if limit == 0 || now.Sub(c.since) < limit {
		return
	}
	// A slow peer may still be taking what the kernel holds for it.
	n := sysIoctl(c.client.fd, sioCOutQ) + sysIoctl(c.far.fd, sioCOutQ)
	if n != c.unsent {
		c.unsent, c.since = n, now
		return
	}
	l.end(c, &errSilent{limit, half})
}

func sysIoctl(fd, what int) (n int) {
	var v int32
	if _, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), uintptr(what), uintptr(unsafe.Pointer(&v))); e != 0 {
		return 0
	}
	return int(v)
}

func (l *loop) event(fd int, serial int32, events uint32) {
	switch {
	case fd == l.e.ln:
		l.accept()
		return
	case fd == l.wakeup:
		var b [8]byte
		syscall.Read(fd, b[:])
		if l.paused.Load() && l.count.Load() < l.share && !l.short {
			l.listen()
		}
		return
	case fd >= len(l.sides) || l.sides[fd] == nil || l.sides[fd].serial != serial:
		return // it was closed by an event before this one, and may be another's by now
	}
	s := l.sides[fd]
	c := s.c
	if events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		s.hangup = true
	}
	if c.connecting {
		if s == &c.client { // it is not read before there is somebody to read for
			c.said = true
			return
		}
		if !l.connected(c, events) {
			return
		}
	}
	if events&syscall.EPOLLOUT != 0 && (len(s.rest) > 0 || s.peer.piped > 0) && l.flush(s) {
		l.pull(s.peer)
	}
	if !c.over && events&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		l.pull(s)
	}
	if !c.over && s.eof && events&syscall.EPOLLERR != 0 {
		if e, _ := syscall.GetsockoptInt(s.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); e != 0 {
			l.broken(s, syscall.Errno(e)) // after its end it was reset
		}
	}
}

// accept takes those who wait.
func (l *loop) accept() {
	for range turn {
		if l.count.Load() >= l.share {
			l.pause()
			return
		}
		fd, _, err := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(l.e.ln), 0, 0, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		switch err {
		case 0:
			l.client(int(fd))
		case syscall.EAGAIN:
			return
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			l.e.r.shortage(err)
			l.short = true
			l.pause()
			return
		default: // a client that has gone before it was accepted
		}
	}
}

// client begins a conversation.
func (l *loop) client(fd int) {
	r := l.e.r
	name := ""
	if r.Verbose || len(r.Allow) > 0 || len(r.Deny) > 0 {
		from, _ := syscall.Getpeername(fd)
		a := netAddr(from)
		if !r.admits(a) {
			syscall.Close(fd)
			return
		}
		name = sock.PeerName(a)
	}
	if r.short.Load() {
		r.short.Store(false)
	}
	r.peers.Add(1)
	r.connects.Add(1)
	l.count.Add(1)
	c := &conversation{connecting: true, name: name}
	c.client = side{fd: fd, c: c, peer: &c.far}
	c.far = side{fd: -1, c: c, peer: &c.client}
	if r.Verbose {
		r.Note("%s: connected", name)
	}
	c.d = r.pick()
	if c.d.down.Load() || !l.connect(c) {
		l.handClientOver(c)
		return
	}
	c.d.clients.Add(1)
	l.connecting++
	c.began = time.Now()
	l.put(&c.far)
	l.put(&c.client)
}

func (l *loop) put(s *side) {
	if s.fd >= len(l.sides) {
		l.sides = append(l.sides, make([]*side, s.fd+1-len(l.sides)+256)...)
	}
	l.sides[s.fd] = s
	l.serial++
	s.serial = l.serial
	l.control(syscall.EPOLL_CTL_ADD, s.fd, sideEvents, s.serial)
}

// connect begins to connect to c's destination.
func (l *loop) connect(c *conversation) bool {
	to := l.where[c.d]
	family := syscall.AF_UNIX
	switch to.(type) {
	case *syscall.SockaddrInet4:
		family = syscall.AF_INET
	case *syscall.SockaddrInet6:
		family = syscall.AF_INET6
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	if family != syscall.AF_UNIX { // the rest of what sock.TuneFD does is for those that stay, see look
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	if err := syscall.Connect(fd, to); err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd) // EAGAIN too: the backlog of a unix socket is full, which is waited for elsewhere
		return false
	}
	c.far.fd = fd
	return true
}

// connected begins to carry, or hands the client over if it did not work. It tells whether events may hold
// more.
func (l *loop) connected(c *conversation, events uint32) bool {
	switch {
	case events&(syscall.EPOLLHUP|syscall.EPOLLERR) != 0:
		if e, err := syscall.GetsockoptInt(c.far.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); e != 0 || err != nil {
			l.handClientOver(c)
			return false
		}
	case events&syscall.EPOLLOUT == 0:
		return false
	}
	c.connecting = false
	l.connecting--
	if c.said {
		l.pull(&c.client)
	}
	return !c.over
}

// flush writes what waits for s, and tells whether all of it is gone and s can take more.
func (l *loop) flush(s *side) bool {
	for len(s.rest) > 0 {
		n, e := sysWrite(s.fd, s.rest)
		if e == syscall.EAGAIN {
			return false
		}
		if e != 0 {
			l.broken(s, e)
			return false
		}
		l.moved(s, n)
		s.rest = s.rest[n:]
	}
	s.rest = nil
	from := s.peer
	for from.piped > 0 {
		n, e := sysSplice(from.pipe[0], s.fd, from.piped)
		if e == syscall.EAGAIN {
			return false
		}
		if e != 0 || n == 0 {
			l.broken(s, e)
			return false
		}
		l.moved(s, n)
		from.piped -= n
	}
	if from.eof && !s.shut {
		s.shut = true
		if s.eof {
			l.end(s.c, nil)
			return false
		}
		syscall.Shutdown(s.fd, syscall.SHUT_WR)
	}
	return true
}

// moved counts what was written to s.
func (l *loop) moved(s *side, n int) {
	if s == &s.c.far {
		s.c.in += int64(n)
		l.e.r.in.Add(int64(n))
	} else {
		s.c.out += int64(n)
		l.e.r.back.Add(int64(n))
	}
}

// pull moves what s says to its peer, until there is nothing more or the peer takes nothing more.
func (l *loop) pull(s *side) {
	d := s.peer
	for range turn {
		if s.eof || (len(d.rest) > 0 || s.piped > 0) && !l.flush(d) {
			return
		}
		if s.full >= fullReads {
			if l.pullPipe(s) {
				continue
			}
			return
		}
		n, e := sysRead(s.fd, l.buf)
		switch {
		case e == syscall.EAGAIN:
			return
		case e != 0:
			l.broken(s, e)
			return
		case n == 0:
			s.eof = true
			l.flush(d)
			return
		case n == len(l.buf):
			s.full++
		default:
			s.full = 0
		}
		m, e := sysWrite(d.fd, l.buf[:n])
		if e != 0 {
			if m = 0; e != syscall.EAGAIN {
				l.broken(d, e)
				return
			}
		}
		l.moved(d, m)
		if m < n {
			d.rest = append([]byte(nil), l.buf[m:n]...)
			return
		}
		if n < len(l.buf) && !s.hangup {
			return // all that there was; what comes now is another event
		}
	}
	l.control(syscall.EPOLL_CTL_MOD, s.fd, sideEvents, s.serial) // rearm
}

// pullPipe is pull's way for a busy side: it tells whether to go on.
func (l *loop) pullPipe(s *side) bool {
	if s.pipe == nil {
		if s.pipe = l.takePipe(); s.pipe == nil {
			s.full = 0 // it is copied
			return true
		}
	}
	n, e := sysSplice(s.fd, s.pipe[1], spliceSize)
	switch {
	case e == syscall.EAGAIN:
		l.putPipe(s) // not held while there is nothing to read
		return false
	case e == syscall.EINVAL:
		l.putPipe(s)
		s.full = 0
		return true
	case e != 0:
		l.broken(s, e)
		return false
	case n == 0:
		l.putPipe(s)
		s.eof = true
		l.flush(s.peer)
		return false
	case n < readSize/4:
		s.full-- // not so busy any more
	default:
		s.full = fullReads
	}
	s.piped += n
	return l.flush(s.peer)
}

func (l *loop) takePipe() *[2]int {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p
	}
	var p [2]int
	if l.piping >= mostPipes || syscall.Pipe2(p[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC) != nil {
		return nil
	}
	l.piping++
	// Past a user's share (pipe-user-pages-soft, pipe(7)) it stays small, and works.
	syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(p[0]), fSetPipeSize, spliceSize)
	return &p
}

// putPipe gives s's pipe back, or closes it if something is in it.
func (l *loop) putPipe(s *side) {
	p := s.pipe
	if p == nil {
		return
	}
	s.pipe = nil
	if s.piped == 0 && len(l.pipes) < sparePipes {
		l.pipes = append(l.pipes, p)
		return
	}
	s.piped = 0
	l.piping--
	syscall.Close(p[0])
	syscall.Close(p[1])
}

// broken ends a conversation of which one side has ended abruptly: what it has said before is passed on,
// and then that end.
func (l *loop) broken(s *side, e syscall.Errno) {
	c, d := s.c, s.peer
	if c.over {
		return
	}
	s.shut, d.eof = true, true // s takes nothing more, so d need not be read
	s.rest = nil
	if d.piped > 0 {
		l.putPipe(d)
	}
	if !s.eof { // what it said before it broke
		for l.last(s) {
		}
	}
	if len(d.rest) == 0 && s.piped == 0 && sysIoctl(d.fd, sioCOutQ) == 0 {
		linger := syscall.Linger{Onoff: 1}
		syscall.SetsockoptLinger(d.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &linger)
		l.end(c, broke(e))
		return
	}
	// A reset would take away what is on its way: that is waited for.
	rest := l.rest(d)
	fd := d.fd
	l.forget(d)
	d.fd = -1
	l.finish(c, broke(e), false)
	conn, err := connOf(fd)
	if err != nil {
		l.done()
		return
	}
	l.e.clients.Go(func() {
		defer l.done()
		stop := context.AfterFunc(l.e.abandon, func() { conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		conn.Write(rest)
		sock.WaitSent(l.e.abandon, conn)
		sock.Abort(conn)
	})
}

// last reads once more from a broken side, as far as its peer takes it or it can be kept.
func (l *loop) last(s *side) bool {
	n, e := sysRead(s.fd, l.buf)
	if e != 0 || n == 0 || len(s.peer.rest) > spliceSize {
		return false
	}
	b := l.buf[:n]
	if len(s.peer.rest) == 0 && s.piped == 0 {
		m, e := sysWrite(s.peer.fd, b)
		if e != 0 {
			m = 0
		}
		l.moved(s.peer, m)
		b = b[m:]
	}
	s.peer.rest = append(l.rest(s.peer), b...)
	return true
}

// rest is what waits for s, also what is in a pipe.
func (l *loop) rest(s *side) []byte {
	rest := s.rest
	for from := s.peer; from.piped > 0; {
		b := make([]byte, from.piped)
		n, e := sysRead(from.pipe[0], b)
		if e != 0 || n == 0 {
			break
		}
		from.piped -= n
		rest = append(rest, b[:n]...)
	}
	return rest
}

// end ends a conversation, and closes both sides.
func (l *loop) end(c *conversation, why error) { l.finish(c, why, true) }

func (l *loop) finish(c *conversation, why error, done bool) {
	c.over = true
	if c.connecting {
		c.connecting = false
		l.connecting--
	}
	for _, s := range []*side{&c.client, &c.far} {
		l.putPipe(s)
		if s.fd >= 0 {
			l.sides[s.fd] = nil
			syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(s.fd), 0, 0)
		}
	}
	c.d.clients.Add(-1)
	if l.e.r.Verbose {
		l.e.r.told(c.name, c.in, c.out, why)
	}
	if done {
		l.done()
	}
}

// forget takes s out of the loop; its descriptor stays open.
func (l *loop) forget(s *side) {
	if s.fd >= 0 && s.fd < len(l.sides) && l.sides[s.fd] == s {
		l.control(syscall.EPOLL_CTL_DEL, s.fd, 0, 0)
		l.sides[s.fd] = nil
	}
}

// handClientOver gives a client whose destination is not reached to the other engine.
func (l *loop) handClientOver(c *conversation) {
	c.over = true
	l.forget(&c.client)
	if c.far.fd >= 0 {
		l.forget(&c.far)
		syscall.Close(c.far.fd)
		c.d.clients.Add(-1)
		l.connecting--
	}
	conn, err := connOf(c.client.fd)
	if err != nil {
		l.done()
		return
	}
	l.e.clients.Go(func() {
		defer l.done()
		l.e.r.served(l.e.ctx, l.e.abandon, &talk{}, conn)
	})
}

// handAllOver gives all conversations to the other engine: it is the end of the relay.
func (l *loop) handAllOver() {
	for _, s := range l.sides {
		if s == nil || s != &s.c.client {
			continue
		}
		c := s.c
		if c.connecting {
			l.handClientOver(c)
			continue
		}
		l.handOver(c)
	}
}

func (l *loop) handOver(c *conversation) {
	r := l.e.r
	c.over = true
	t := &talk{}
	p := &t.pump
	p.Begin = [2][]byte{l.rest(&c.far), l.rest(&c.client)}
	p.Over = [2]bool{c.client.eof, c.far.eof}
	for _, s := range []*side{&c.client, &c.far} {
		l.putPipe(s)
		l.forget(s)
	}
	near, err := connOf(c.client.fd)
	far, err2 := connOf(c.far.fd)
	if err != nil || err2 != nil {
		for _, x := range []net.Conn{near, far} {
			if x != nil {
				x.Close()
			}
		}
		c.d.clients.Add(-1)
		l.done()
		return
	}
	l.e.clients.Go(func() {
		defer l.done()
		defer c.d.clients.Add(-1)
		r.talks.add(t)
		defer r.talks.remove(t)
		name := sock.PeerName(near.RemoteAddr())
		err := r.pump(l.e.ctx, l.e.abandon, t, near, far, nil, c.d.String())
		in, out := p.Moved()
		r.told(name, in+c.in, out+c.out, err)
	})
}

// broke is the error of a connection; some breaks have none.
func broke(e syscall.Errno) error {
	if e == 0 {
		e = syscall.EPIPE
	}
	return e
}

// connOf makes a connection of package net's out of fd, which it takes over.
func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	return net.FileConn(f)
}

func sysRead(fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

func sysWrite(fd int, b []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), syscall.MSG_NOSIGNAL, 0, 0)
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

func sysSplice(from, to, n int) (int, syscall.Errno) {
	const moveNonblock = 3 // SPLICE_F_MOVE | SPLICE_F_NONBLOCK
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), moveNonblock)
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

func netAddr(a syscall.Sockaddr) net.Addr {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)))
	case *syscall.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr)
		if a.ZoneId != 0 && !ip.Is4In6() {
			if i, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				ip = ip.WithZone(i.Name)
			}
		}
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(a.Port)))
	case *syscall.SockaddrUnix:
		return &net.UnixAddr{Name: a.Name, Net: "unix"}
	}
	return &net.UnixAddr{Net: "unix"}
}
