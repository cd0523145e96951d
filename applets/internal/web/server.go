package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/sock"
)

// A Server serves what its Options say.
type Server struct {
	o       Options
	sites   []*site // the first is the default
	hosts   []host
	dynamic dynamic // nil: there are no scripts
	handler http.Handler
	http    *http.Server
	shelf   *shelf
	users   atomic.Pointer[Users]
	guard   guard

	zips, squeezing chan struct{} // as many as there may be at once
	streams         *places       // for requests of HTTP/2, of which a connection may bring a hundred

	closing  atomic.Bool
	requests sync.RWMutex // read-locked by each that net/http has

	mu      sync.Mutex
	conns   map[*conn]struct{}
	from    map[netip.Addr]int // how many of them there are from where
	room    *sync.Cond         // there may be room for one more
	running int                // of the fast path

	next  chan *conn    // to those who have served one, and would serve another
	spare chan struct{} // as many of them as there may be
	ended chan struct{} // closed when none will come any more
}

const (
	maxSpare   = 64
	maxStreams = 2048 // each takes about 40 KiB
)

// New makes a server of o. It opens the folders, which Run closes, and listens nowhere yet.
func New(o Options) (_ *Server, err error) {
	s := &Server{o: o, conns: map[*conn]struct{}{}, from: map[netip.Addr]int{}, zips: make(chan struct{}, 2), squeezing: make(chan struct{}, 8), streams: newPlaces(maxStreams),
		next: make(chan *conn), spare: make(chan struct{}, maxSpare), ended: make(chan struct{})}
	s.room = sync.NewCond(&s.mu)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err = s.open(); err != nil {
		return nil, err
	}
	if s.dynamic, err = newDynamic(o.Dynamic, http.HandlerFunc(s.local), o.Errors, o.Tell); err != nil {
		return nil, err
	}
	s.users.Store(o.Users)
	s.handler = http.HandlerFunc(s.serve)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(o.TLS != nil)
	protocols.SetUnencryptedHTTP2(o.H2C)
	s.http = &http.Server{
		Handler:                      s.handler,
		ReadHeaderTimeout:            o.Limits.Header,
		IdleTimeout:                  o.Limits.Idle,
		MaxHeaderBytes:               o.Limits.HeaderSize,
		DisableGeneralOptionsHandler: true,
		Protocols:                    &protocols,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 100, WriteByteTimeout: o.Limits.Idle},
		ErrorLog:                     log.New(notes(o.Note), "", 0),
		ConnContext:                  connContext,
		ConnState:                    connState,
	}
	s.shelf = &shelf{ready: make(chan net.Conn), gone: make(chan struct{})}
	return s, nil
}

// notes takes what net/http has to say of peers.
type notes func(format string, args ...any)

func (n notes) Write(b []byte) (int, error) {
	n("%s", strings.TrimSuffix(strings.TrimPrefix(string(b), "http: "), "\n"))
	return len(b), nil
}

func (s *Server) open() error {
	o := &s.o
	all := append([]Host{{Dir: o.Dir}}, o.Hosts...)
	for i, h := range all {
		var at *site
		for j, other := range all[:i] {
			if other.Dir == h.Dir {
				at = s.sites[j]
			}
		}
		if at == nil {
			var err error
			if at, err = openSite(h.Dir, o); err != nil {
				return err
			}
		}
		s.sites = append(s.sites, at)
		if i > 0 {
			rule, err := parseHost(h.Name)
			if err != nil {
				return err
			}
			rule.site = at
			s.hosts = append(s.hosts, rule)
		}
	}
	return nil
}

func (s *Server) close() {
	for i, at := range s.sites {
		if !slices.Contains(s.sites[:i], at) {
			at.close()
		}
	}
}

// Run listens and serves until ctx ends, and then until the requests under way are answered,
// Limits.Linger has passed or hurry is closed. What comes by reload has the log opened and the users
// read anew; certificates look after themselves. When it returns nothing is left.
func (s *Server) Run(ctx context.Context, hurry <-chan struct{}, reload <-chan os.Signal) (err error) {
	defer s.close()
	var listeners []net.Listener
	var packets []net.PacketConn
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
		for _, p := range packets {
			p.Close()
		}
	}
	defer func() { closeAll() }()
	var at []net.Addr
	for _, a := range s.o.Listen {
		if a.Net == "udp" {
			p, err := sock.ListenPacket(ctx, a, s.o.Sockets)
			if err != nil {
				return err
			}
			packets, at = append(packets, p), append(at, p.LocalAddr())
			if err := checkUDP(p.LocalAddr(), s.o.UDPAnywhere); err != nil {
				return err
			}
			continue
		}
		l, err := sock.Listen(ctx, a, s.o.Sockets)
		if err != nil {
			return err
		}
		listeners, at = append(listeners, l), append(at, l.Addr())
	}
	if s.o.Ready != nil {
		if err := s.o.Ready(at); err != nil {
			return err
		}
	}

	if s.o.Upload {
		for _, at := range s.sites {
			at.sweep()
		}
	}
	g := life.NewGroup(ctx)
	var serving sync.WaitGroup
	serving.Go(func() { s.http.Serve(s.shelf) })
	for _, l := range listeners {
		g.Go(l.Addr().String(), func(ctx context.Context) error { return s.accept(ctx, l) })
	}
	for _, p := range packets {
		g.Go(p.LocalAddr().String(), func(ctx context.Context) error { return s.serveUDP(ctx, p) })
	}
	g.Go("reload", func(ctx context.Context) error {
		for {
			select {
			case <-reload:
				s.Reload()
			case <-ctx.Done():
				return nil
			}
		}
	})
	<-g.Context().Done()
	life.Notify("STOPPING=1")
	for _, l := range listeners {
		l.Close()
	}
	s.mu.Lock()
	s.closing.Store(true)
	s.room.Broadcast()
	s.mu.Unlock()
	s.drain(hurry)
	serving.Wait()
	closeAll()
	listeners, packets = nil, nil
	return g.Wait()
}

// drain ends the connections: those that wait at once, the others when they are answered.
func (s *Server) drain(hurry <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Limits.Linger)
	defer cancel()
	go func() {
		select {
		case <-hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	s.each(func(c *conn) {
		if c.idle.Load() != 0 {
			c.wake()
		}
	})
	fast := make(chan struct{})
	go func() {
		s.waitFast()
		close(fast)
	}()
	select {
	case <-fast:
	case <-ctx.Done():
	}
	s.each(func(c *conn) {
		if c.unasked.Load() {
			c.Close()
		}
	})
	err := s.http.Shutdown(ctx)
	left := 0
	s.each(func(c *conn) {
		left++
		c.Close()
	})
	if err != nil {
		s.http.Close()
	}
	if left > 0 && ctx.Err() != nil {
		s.o.Tell("connections cut before they were answered: %d", left)
	}
	<-fast // their sockets are closed: this takes no time
	close(s.ended)

	gone := make(chan struct{})
	go func() {
		s.requests.Lock() // for good
		close(gone)
	}()
	ending, stop := context.WithTimeout(context.Background(), s.o.Dynamic.Grace+time.Second)
	defer stop()
	go func() {
		select {
		case <-hurry:
			stop()
		case <-ending.Done():
		}
	}()
	if s.dynamic != nil {
		select {
		case <-gone:
		case <-ctx.Done():
		}
		s.dynamic.close(ending)
	}
	select {
	case <-gone:
	case <-ending.Done():
	}
	if s.o.Log != nil {
		s.o.Log.Close()
	}
}

// Reload opens the log anew and reads the users again. What fails is told, and the old remains.
func (s *Server) Reload() {
	if s.o.Log != nil {
		if err := s.o.Log.Reopen(); err != nil {
			s.o.Tell("%v: the log stays where it was", err)
		}
	}
	if u := s.users.Load(); u != nil {
		again, err := ReadUsers(u.file)
		if err != nil {
			s.o.Tell("%v: the users stay as they were", err)
			return
		}
		s.users.Store(again)
	}
}

func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// waitFast waits until no connection is left on the fast path.
func (s *Server) waitFast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.running > 0 {
		s.room.Wait()
	}
}

// accept takes connections from l until ctx ends.
func (s *Server) accept(ctx context.Context, l net.Listener) error {
	if len(s.o.ProxyIn) > 0 {
		p := sock.NewProxyListener(l, s.o.ProxyIn)
		p.Refused = func(peer net.Addr, err error) { s.o.Note("%s: %v", sock.PeerName(peer), err) }
		l = p
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	pause := acceptPause
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPause
			if !s.wait() {
				c.Close()
				return nil
			}
			s.take(c)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case noneFree(err), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			// Files that wait to be asked for make room, and whoever waits longest; the kernel keeps the new
			// one meanwhile.
			s.o.Note("%v", err)
			s.forget()
			s.closeIdle()
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, time.Second)
		case ofOne(err):
			s.o.Note("%v", err)
		default:
			return err
		}
	}
}

const acceptPause = 5 * time.Millisecond

// ofOne tells whether err, of accept(2), is about the connection that was waiting, and not about the
// listener: Linux hands on what went wrong on the network, and a filter says EPERM.
func ofOne(err error) bool {
	var no syscall.Errno
	return errors.As(err, &no) && slices.Contains([]syscall.Errno{
		syscall.ECONNABORTED, syscall.EINTR, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	}, no)
}

// noneFree tells whether err is that there are no more descriptors.
func noneFree(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// forget closes the files that are kept open, but for those that are being sent.
func (s *Server) forget() {
	for _, at := range s.sites {
		at.cache.clear()
	}
}

// wait makes room for one more connection. When all are taken, the one is closed that has waited for
// its request for longest, and where none waits, so does the new one. It is false when the server
// ends.
func (s *Server) wait() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.conns) >= s.o.Limits.Conns && !s.closing.Load() {
		s.mu.Unlock()
		closed := s.closeIdle()
		s.mu.Lock()
		if !closed && len(s.conns) >= s.o.Limits.Conns && !s.closing.Load() {
			// A connection that becomes idle tells nobody.
			t := time.AfterFunc(100*time.Millisecond, s.room.Broadcast)
			s.room.Wait()
			t.Stop()
		}
	}
	return !s.closing.Load()
}

// closeIdle closes the connection that waits for a request for longest.
func (s *Server) closeIdle() bool {
	var oldest *conn
	since := int64(0)
	s.each(func(c *conn) {
		if at := c.idle.Load(); at != 0 && (oldest == nil || at < since) {
			oldest, since = c, at
		}
	})
	if oldest != nil {
		oldest.Close()
	}
	return oldest != nil
}

// take begins to serve c, if its peer may come in.
func (s *Server) take(nc net.Conn) {
	c := &conn{Conn: nc, s: s, remote: nc.RemoteAddr(), local: nc.LocalAddr()}
	if c.remote == nil { // a proxy that does not know, or tells nothing
		c.remote = &net.TCPAddr{}
	}
	if c.local == nil {
		c.local = &net.TCPAddr{}
	}
	c.tcp, _ = nc.(*net.TCPConn)
	a := addrOf(c.remote)
	c.speaks = len(s.o.Trust) > 0 && s.o.Trust.Allows(c.remote)
	if !c.speaks && !s.allowed(c.remote) {
		s.o.Note("%s: may not come in", sock.PeerName(c.remote))
		nc.Close()
		return
	}
	if a.IsValid() && !c.speaks {
		c.from = a
		if a.Is6() {
			if p, err := a.WithZone("").Prefix(64); err == nil {
				c.from = p.Addr()
			}
		}
	}
	s.mu.Lock()
	if s.closing.Load() || c.from.IsValid() && s.from[c.from] >= s.o.Limits.PerAddress {
		s.mu.Unlock()
		s.o.Note("%s: has too many connections", sock.PeerName(c.remote))
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	if c.from.IsValid() {
		s.from[c.from]++
	}
	c.idle.Store(time.Now().UnixNano())
	if s.o.TLS != nil {
		s.mu.Unlock()
		c.unasked.Store(true)
		c.asking.Store(reading)
		go s.shelf.put(c, tls.Server(c, s.o.TLS))
		return
	}
	s.running++
	s.mu.Unlock()
	select {
	case s.next <- c:
	default:
		go s.work(c)
	}
}

// work serves c, and then others: a new goroutine would have to grow its stack first for each of them.
func (s *Server) work(c *conn) {
	for c != nil {
		c.serve()
		s.mu.Lock()
		s.running--
		s.room.Broadcast()
		s.mu.Unlock()
		select {
		case s.spare <- struct{}{}:
		default:
			return
		}
		select {
		case c = <-s.next:
		case <-s.ended:
			c = nil
		}
		<-s.spare
	}
}

// allowed tells whether a peer at a may come in.
func (s *Server) allowed(a net.Addr) bool {
	if len(s.o.Deny) > 0 {
		if _, local := a.(*net.UnixAddr); !local && s.o.Deny.Allows(a) {
			return false
		}
	}
	return s.o.Allow.Allows(a)
}

// gone is called once for each connection that was closed.
func (s *Server) gone(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if c.from.IsValid() {
		if s.from[c.from]--; s.from[c.from] == 0 {
			delete(s.from, c.from)
		}
	}
	s.room.Broadcast()
}

// A shelf is a listener for net/http: what it accepts was put there.
type shelf struct {
	ready chan net.Conn
	once  sync.Once
	gone  chan struct{} // closed when nobody accepts any more
}

// put hands a connection over: nc is c, or what is around it.
func (l *shelf) put(c *conn, nc net.Conn) {
	select {
	case l.ready <- nc:
	case <-l.gone:
		c.Close()
	}
}

func (l *shelf) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

// Close is called by net/http, before it waits for what it has accepted.
func (l *shelf) Close() error {
	l.once.Do(func() { close(l.gone) })
	return nil
}

func (l *shelf) Addr() net.Addr { return &net.TCPAddr{} }

// addrOf is the zero Addr where a has no IP address.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok && t != nil {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// portOf is 0 where a has no port.
func portOf(a net.Addr) int {
	if t, ok := a.(*net.TCPAddr); ok && t != nil {
		return t.Port
	}
	if u, ok := a.(*net.UDPAddr); ok && u != nil {
		return u.Port
	}
	return 0
}

// A host is a rule for which site a request is for.
type host struct {
	name string         // in lower case; ".example.org" is all below it
	at   netip.AddrPort // in place of a name; an invalid address is every one
	site *site
}

// parseHost reads the forms that Host.Name has.
func parseHost(name string) (host, error) {
	bad := fmt.Errorf("%q is no host: a name, *.NAME, ADDR:PORT or :PORT", name)
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return host{name: ip.String()}, nil
	}
	if port, ok := strings.CutPrefix(name, ":"); ok {
		n, ok := parseCount(port)
		if !ok || n < 1 || n > 65535 {
			return host{}, bad
		}
		return host{at: netip.AddrPortFrom(netip.Addr{}, uint16(n))}, nil
	}
	if at, err := netip.ParseAddrPort(name); err == nil && at.Port() > 0 {
		return host{at: netip.AddrPortFrom(at.Addr().Unmap(), at.Port())}, nil
	}
	text := strings.TrimPrefix(name, "*")
	if text != name && !strings.HasPrefix(text, ".") {
		return host{}, bad
	}
	text = strings.TrimSuffix(strings.ToLower(text), ".")
	if text == "" || text == "." {
		return host{}, bad
	}
	for _, c := range []byte(text) {
		switch {
		case c == '.', c == '-', c == '_', '0' <= c && c <= '9', 'a' <= c && c <= 'z':
		default:
			return host{}, bad
		}
	}
	return host{name: text}, nil
}

// site returns what is served to who asks for the host called name, without a port and in lower
// case, and came in at local. Names go before addresses, and the first rule that fits counts.
func (s *Server) site(name string, local net.Addr) *site {
	if len(s.hosts) == 0 {
		return s.sites[0]
	}
	for i := range s.hosts {
		h := &s.hosts[i]
		if h.name != "" && (h.name == name || h.name[0] == '.' && strings.HasSuffix(name, h.name)) {
			return h.site
		}
	}
	a, port := addrOf(local), portOf(local)
	for i := range s.hosts {
		h := &s.hosts[i]
		if h.name == "" && int(h.at.Port()) == port && (!h.at.Addr().IsValid() || h.at.Addr() == a) {
			return h.site
		}
	}
	return s.sites[0]
}

// hostName is the Host field of a request without its port, in lower case, and without the dot that
// may end a name.
func hostName(field string) string {
	name := field
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name = name[:i]
	}
	if len(name) > 1 && name[0] == '[' {
		name = strings.Trim(name, "[]")
	}
	return strings.TrimSuffix(strings.ToLower(name), ".")
}
