package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/sock"
)

// A way carries datagrams to one destination.
type way interface {
	// send carries ds, whose bytes stay the caller's, and waits for nobody. It is called by one
	// goroutine at a time.
	send(ds []sock.Datagram)
	// end has the way pass on what it was given, in a hurry only what takes no time, and close. It does
	// not wait; it may be called again.
	end(hurry bool)
}

type wayOptions struct {
	ctx     context.Context // ends with the relay
	abandon context.Context // when it ends nothing is waited for any more
	to      *destination
	call    // of the client
	all     *sync.WaitGroup
	reply   bool   // to is not one of the destinations: what it says is not read as answers
	host    string // what to's name was found to be

	answer func(ds []sock.Datagram) // what comes back; nil where nobody cares
	broken func(error)              // nobody takes what was sent, or here not; nil where nobody cares

	// reached is told when a stream to one of the destinations is there, which need not be to, and what
	// it returns sees what is said to it; nil where nobody cares.
	reached func(d *destination) *tap
}

// openWay opens a way to o.to. Only a name is resolved in the background.
func (r *Relay) openWay(o wayOptions) (way, error) {
	if o.answer == nil {
		o.answer = func([]sock.Datagram) {}
	}
	if o.broken == nil {
		o.broken = func(err error) { r.Note("%v", err) }
	}
	if o.reached == nil {
		o.reached = func(*destination) *tap { return nil }
	}
	r.ferry.prepare()
	switch {
	case o.to.Stdout:
		return &localWay{r: r, print: true}, nil
	case !o.to.Datagram:
		return r.openStream(o), nil
	case !o.reply:
		answer, broken := o.answer, o.broken
		o.answer = func(ds []sock.Datagram) {
			if o.to.down.Load() {
				r.report(o.to, nil)
			}
			answer(ds)
		}
		o.broken = func(err error) {
			r.report(o.to, err)
			broken(err)
		}
	}
	if _, err := netip.ParseAddr(o.to.Host); o.to.Net == "udp" && o.to.Host != "" && err != nil {
		if o.host = r.ferry.known(o.to.Host); o.host == "" {
			w := &lateWay{r: r, o: o}
			w.search()
			return w, nil
		}
	}
	return r.openDatagrams(o)
}

// openDatagrams opens a socket of its own for one client.
func (r *Relay) openDatagrams(o wayOptions) (way, error) {
	d := o.to
	w := &datagramWay{r: r, o: o}
	ip, err := netip.ParseAddr(d.Host)
	if d.Broadcast || err == nil && r.ferry.shared(ip.Unmap()) {
		w.shared = &shared{r: r, port: uint16(d.Port), ip: ip.Unmap()}
		pc, err := sock.OpenDatagrams(o.ctx, r.Dial)
		if err != nil {
			return nil, err
		}
		w.conn = pc
	} else {
		at := d.Addr
		if o.host != "" {
			at.Host = o.host
		}
		c, err := sock.Dial(o.ctx, at, r.Dial)
		if err != nil {
			return nil, err
		}
		w.conn = c.(closer)
		if u, ok := c.RemoteAddr().(*net.UDPAddr); ok && o.host == "" {
			r.ferry.found(d.Host, u.AddrPort().Addr().Unmap().String())
		}
	}
	if w.out, err = sock.NewDatagrams(w.conn); err != nil {
		w.conn.Close()
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	if r.ProxyOut > 0 && !o.reply {
		h := sock.ProxyHeader{Datagram: true, Source: asUDP(o.from), Dest: asUDP(o.at)}
		if w.header, err = h.Append(nil, 2); err != nil {
			w.conn.Close()
			return nil, fmt.Errorf("%s: %w", d, err)
		}
	}
	if u, ok := w.conn.LocalAddr().(*net.UDPAddr); ok {
		w.local = netip.AddrPortFrom(u.AddrPort().Addr().Unmap(), u.AddrPort().Port())
		r.ferry.mark(w.local, 1)
	}
	d.clients.Add(1)
	o.all.Go(w.receive)
	return w, nil
}

// asUDP is for the header of a client that came by a stream: what it says goes on in datagrams.
func asUDP(a net.Addr) net.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return net.UDPAddrFromAddrPort(t.AddrPort())
	}
	return a
}

type closer interface {
	Close() error
	LocalAddr() net.Addr
	SetReadDeadline(time.Time) error
}

// A datagramWay is a socket, connected to its destination unless that is many.
type datagramWay struct {
	r       *Relay
	o       wayOptions
	conn    closer
	out     *sock.Datagrams
	local   netip.AddrPort
	shared  *shared // nil where it is connected
	header  []byte  // goes before each datagram
	scratch []byte
}

func (w *datagramWay) send(ds []sock.Datagram) {
	if w.header == nil {
		w.sendAll(ds)
		return
	}
	for _, d := range ds {
		w.scratch = append(append(w.scratch[:0], w.header...), d.Data...)
		w.sendAll([]sock.Datagram{{Data: w.scratch}})
	}
}

func (w *datagramWay) sendAll(ds []sock.Datagram) {
	if w.shared == nil {
		w.sendTo(ds, netip.AddrPort{})
		return
	}
	for _, ip := range w.shared.addrs() {
		w.sendTo(ds, netip.AddrPortFrom(ip, w.shared.port))
	}
}

func (w *datagramWay) sendTo(ds []sock.Datagram, to netip.AddrPort) {
	if to.IsValid() {
		for i := range ds {
			ds[i].Peer = to
		}
	}
	for again := true; len(ds) > 0; {
		n, err := w.out.Send(ds)
		size := 0
		for _, d := range ds[:n] {
			size += len(d.Data)
		}
		w.r.moved(size, w.o.reply)
		ds = ds[n:]
		switch {
		case err == nil, errors.Is(err, net.ErrClosed):
			return
		case sock.Refused(err) && again:
			again = false // it was about an earlier one
			w.o.broken(fmt.Errorf("%s: %w", w.o.to, err))
		default:
			if sock.Refused(err) || sock.Unreachable(err) {
				w.o.broken(fmt.Errorf("%s: %w", w.o.to, err))
			}
			w.r.lose(1, fmt.Sprintf("%s: %v", w.o.to, sock.Reason(err)))
			ds, again = ds[1:], true
		}
	}
}

// receive takes what is answered, until the end.
func (w *datagramWay) receive() {
	defer func() {
		w.conn.Close()
		w.o.to.clients.Add(-1)
		if w.local.IsValid() {
			w.r.ferry.mark(w.local, -1)
		}
	}()
	err := w.out.Receive(w.r.ferry.room, func(ds []sock.Datagram) bool {
		if ds == nil {
			w.o.broken(fmt.Errorf("%s: nobody is there (connection refused)", w.o.to))
			return true
		}
		if w.shared != nil {
			ds = slices.DeleteFunc(ds, func(d sock.Datagram) bool { return !w.shared.asked(d.Peer) })
		}
		for i := 0; i < len(ds); i++ {
			if ds[i].Cut {
				w.r.lose(1, "longer than 65536 bytes")
				ds = slices.Delete(ds, i, i+1)
				i--
			}
		}
		if len(ds) > 0 {
			w.o.answer(ds)
		}
		return true
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		w.o.broken(fmt.Errorf("%s: %w", w.o.to, sock.Reason(err)))
	}
}

// end wakes receive, which closes: closing would wait for it.
func (w *datagramWay) end(bool) { w.conn.SetReadDeadline(time.Unix(1, 0)) }

// A shared address is for many: the networks that this machine is on, a broadcast or multicast address.
type shared struct {
	r    *Relay
	port uint16
	ip   netip.Addr // zero with the word broadcast

	mu   sync.Mutex
	at   time.Time
	nets []network
	to   []netip.Addr
}

// fresh is for how long the addresses of the interfaces are believed.
const fresh = time.Second

// addrs returns where one datagram goes.
func (s *shared) addrs() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.to == nil || now.Sub(s.at) > fresh {
		s.at, s.to = now, nil
		s.nets, _ = networks(sock.SourceIP(s.r.Dial.Source), s.r.Dial.Interface) // without them: everywhere
		switch {
		case s.ip.IsValid():
			s.to = []netip.Addr{s.ip}
		case len(s.nets) == 0:
			s.to = []netip.Addr{everywhere}
		default:
			for _, n := range s.nets {
				if !slices.Contains(s.to, n.broadcast) {
					s.to = append(s.to, n.broadcast)
				}
			}
		}
	}
	return s.to
}

// asked tells whether from is one of those whom addrs reaches, on the port that was asked.
func (s *shared) asked(from netip.AddrPort) bool {
	if from.Port() != s.port {
		return false
	}
	for _, to := range s.addrs() {
		if to.IsMulticast() || to == everywhere {
			return true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.nets, func(n network) bool {
		return n.prefix.Contains(from.Addr()) && slices.Contains(s.to, n.broadcast)
	})
}

// A localWay goes nowhere: back to the client, to Out, or both.
type localWay struct {
	r      *Relay
	print  bool
	answer func([]sock.Datagram) // nil: nothing goes back
}

func (w *localWay) send(ds []sock.Datagram) {
	for _, d := range ds {
		if w.print && w.r.print(d.Data) != nil {
			return
		}
		w.r.moved(len(d.Data), false)
	}
	if w.answer != nil {
		w.answer(ds)
	}
}

func (w *localWay) end(bool) {}

// A lateWay keeps a few datagrams until the destination's name is known.
type lateWay struct {
	r *Relay
	o wayOptions

	mu      sync.Mutex
	way     way
	waiting [][]byte
	failed  time.Time
	opening bool
	over    bool
	cancel  context.CancelFunc // the search for the name
}

const (
	lateMost  = 64               // datagrams wait for a name
	lateTime  = 10 * time.Second // which is all that it may take
	lateAgain = time.Second      // after which a name that failed is asked for again
)

// search asks for the name in the background.
func (w *lateWay) search() {
	ctx, cancel := context.WithTimeout(w.o.ctx, lateTime)
	w.opening, w.cancel = true, cancel
	w.o.all.Go(func() {
		defer cancel()
		w.open(ctx)
	})
}

func (w *lateWay) open(ctx context.Context) {
	o := w.o
	o.ctx = ctx
	way, err := w.r.openDatagrams(o)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opening = false
	if err != nil {
		w.failed = time.Now()
		if w.o.ctx.Err() != nil {
			w.r.leave(len(w.waiting), fmt.Sprintf("%s: %v", o.to, errAbandoned))
		} else {
			w.r.lose(len(w.waiting), err.Error())
			if !w.over {
				w.o.broken(err)
			}
		}
		w.waiting = nil
		return
	}
	w.way = way
	for _, b := range w.waiting {
		way.send([]sock.Datagram{{Data: b}})
	}
	w.waiting = nil
	if w.over {
		way.end(false)
	}
}

func (w *lateWay) send(ds []sock.Datagram) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.way != nil {
		w.way.send(ds)
		return
	}
	if !w.opening && !w.failed.IsZero() {
		if time.Since(w.failed) < lateAgain {
			w.r.lose(len(ds), "the destination's name is not known")
			return
		}
		w.search()
	}
	for _, d := range ds {
		if len(w.waiting) == lateMost {
			w.r.lose(1, "the destination's name is not known yet")
			continue
		}
		w.waiting = append(w.waiting, slices.Clone(d.Data))
	}
}

func (w *lateWay) end(hurry bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.way != nil {
		w.way.end(hurry)
	} else if hurry {
		w.cancel()
	}
}

// A ferry is what all datagrams of a relay share, so that memory does not grow with clients.
type ferry struct {
	once   sync.Once
	room   *sock.Room  // for what comes from destinations
	pieces chan []byte // for what comes from streams
	queued atomic.Int64

	mu    sync.Mutex
	marks map[netip.AddrPort]int // where our own sockets are
	nets  []network              // what shared has seen
	at    time.Time
	names map[string]name // of destinations
}

// A name is what a destination's has been found to be. It is believed for a moment, so that many new
// clients are not as many questions to a name server.
type name struct {
	ip string
	at time.Time
}

const nameFresh = 5 * time.Second

func (f *ferry) known(host string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names[host]; time.Since(n.at) < nameFresh {
		return n.ip
	}
	return ""
}

// found remembers what host is, unless that is remembered already.
func (f *ferry) found(host, ip string) {
	if host == "" || host == ip {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names == nil {
		f.names = map[string]name{}
	}
	if n := f.names[host]; n.ip != ip || time.Since(n.at) >= nameFresh {
		f.names[host] = name{ip, time.Now()}
	}
}

// shared tells whether what is sent to ip is for many: broadcast or multicast.
func (f *ferry) shared(ip netip.Addr) bool {
	switch {
	case ip.IsMulticast(), ip == everywhere:
		return true
	case !ip.Is4(), ip.IsLoopback():
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.at.IsZero() || now.Sub(f.at) > fresh {
		f.at = now
		f.nets, _ = networks(netip.Addr{}, "")
	}
	return slices.ContainsFunc(f.nets, func(n network) bool { return n.broadcast == ip })
}

const pieceSize = 64 << 10

func (f *ferry) prepare() {
	f.once.Do(func() {
		f.room = sock.NewRoom(2, 32)
		f.pieces = make(chan []byte, 4)
		for range cap(f.pieces) {
			f.pieces <- make([]byte, pieceSize)
		}
	})
}

// mark remembers a socket of ours, or forgets it.
func (f *ferry) mark(a netip.AddrPort, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.marks == nil {
		f.marks = map[netip.AddrPort]int{}
	}
	if f.marks[a] += n; f.marks[a] == 0 {
		delete(f.marks, a)
	}
}

// own tells whether a is a socket of this relay: what comes from there has come by a circle, and would
// go round for ever.
func (f *ferry) own(a netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.marks[a] > 0 {
		return true
	}
	// One that is not connected has every address of ours.
	for _, any := range []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()} {
		if f.marks[netip.AddrPortFrom(any, a.Port())] > 0 {
			return isOurs(a.Addr())
		}
	}
	return false
}

func isOurs(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool { return addrOf(a) == ip })
}

// moved counts what has been passed on.
func (r *Relay) moved(n int, back bool) {
	if back {
		r.back.Add(int64(n))
	} else {
		r.in.Add(int64(n))
	}
}

// lose counts datagrams that could not be passed on, and says so, at most once a second.
func (r *Relay) lose(n int, why string) {
	if n > 0 {
		r.dropped.Add(int64(n))
		r.losses.add(r, n, why)
	}
}

// leave is lose for what had been taken, and whose way on was not waited for in the end.
func (r *Relay) leave(n int, why string) {
	r.left.Add(int64(n))
	r.lose(n, why)
}

// turnAway counts a client who should have said more, and says so, at most once a second.
func (r *Relay) turnAway(a net.Addr, err error) {
	host, _, splitErr := net.SplitHostPort(a.String())
	if splitErr != nil {
		host = sock.PeerName(a)
	}
	r.refused.Add(1)
	r.away.add(r, 1, fmt.Sprintf("%s: %v", host, err))
}

// losses are what has been lost and not been told of, by reason.
type losses struct {
	what  string // was done to how many
	all   *atomic.Int64
	mu    sync.Mutex
	count map[string]int
	last  time.Time
	timer *time.Timer
}

const (
	lossPause   = time.Second
	lossReasons = 16 // some come from the system; whatever they are, they are not more
)

func (l *losses) add(r *Relay, n int, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count == nil {
		l.count = map[string]int{}
	}
	if _, known := l.count[why]; !known && len(l.count) >= lossReasons {
		why = "other reasons"
	}
	l.count[why] += n
	switch {
	case l.timer != nil:
	case time.Since(l.last) > lossPause:
		l.tellLocked(r)
	default:
		l.timer = time.AfterFunc(lossPause, func() { l.tell(r) })
	}
}

// tell says what has not been said yet.
func (l *losses) tell(r *Relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.tellLocked(r)
}

func (l *losses) tellLocked(r *Relay) {
	l.last = time.Now()
	for why, n := range l.count {
		r.Log(l.what+": %s (%d in all)", n, why, l.all.Load())
	}
	clear(l.count)
}
