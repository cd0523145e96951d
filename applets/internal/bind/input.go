package bind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
	"sockbox/buffer/link"
)

// InputOptions say where an input's messages come from.
type InputOptions struct {
	Options
	Addr        sock.Addr
	Listen      sock.ListenOptions
	Connect     bool // dial Addr and receive, in place of listening
	Retry       bool // with Connect: start though the peer is not up yet
	Dial        sock.DialOptions
	Allow       sock.AccessList
	MaxConns    int
	IdleTimeout time.Duration
	Once        bool // end when the first peer that sent something has gone and all is read
	CRLF        bool
}

// Input runs bind-input. It returns when the input has ended or, in the background form, when the
// daemon is ready.
func Input(ctx context.Context, o InputOptions, io Streams) error {
	if o.Foreground {
		if n, ok := sock.Passed(o.Name); ok {
			o.Addr, o.Connect = sock.Addr{Net: "fd", FD: n}, false
		}
	}
	return serve(ctx, o.Options, &input{InputOptions: o}, io)
}

type input struct {
	InputOptions
	queue *buffer.Queue
	inbox *link.Inbox

	// One of these is open.
	ln     net.Listener
	packet net.PacketConn
	conn   net.Conn
	file   io.ReadCloser
	remove string // a FIFO that we made

	peers    atomic.Int64
	connects atomic.Int64
	refused  atomic.Int64
	partial  atomic.Int64
	kernel   atomic.Uint32
	first    atomic.Pointer[buffer.Source] // with Once: the peer that sent something first
	over     chan struct{}                 // closed when that one has gone
	closing  sync.Once
}

func (in *input) kind() buffer.Kind { return buffer.Input }

func (in *input) open(ctx context.Context, d *daemon) (err error) {
	in.queue, in.inbox = d.queue, link.NewInbox(d.queue, link.InboxOptions{})
	in.over = make(chan struct{})
	in.MaxConns = descriptors(in.MaxConns)
	switch {
	case in.Connect:
		in.conn, err = sock.Dial(ctx, in.Addr, in.Dial)
		if err != nil && in.Retry && !sock.Unresolved(err) {
			d.log("%v; trying again", err)
			err = nil
		}
	case in.Addr.Net == "udp":
		err = d.listen(ctx, func() (err error) {
			in.packet, err = sock.ListenPacket(ctx, in.Addr, in.Listen)
			return err
		})
	case in.Addr.Net == "fifo":
		var f *os.File
		var created bool
		f, created, err = sock.OpenFIFO(in.Addr, false, in.Listen)
		if err != nil {
			break
		}
		if created {
			in.remove = in.Addr.Path
		}
		in.file, err = sock.NewFIFOReader(f)
	case in.Addr.Net == "fd":
		var got sock.Inherited
		got, err = sock.FromFD(in.Addr.FD)
		in.ln, in.packet, in.conn = got.Listener, got.Packet, got.Conn
		if got.File != nil {
			in.file = got.File
		}
	default:
		err = d.listen(ctx, func() (err error) {
			in.ln, err = sock.Listen(ctx, in.Addr, in.Listen)
			return err
		})
	}
	if err == nil && in.packet != nil && d.queue.Frame() != buffer.Datagram {
		err = fmt.Errorf("%s: a socket for datagrams needs --frame datagram", in.Addr)
	}
	if err == nil && in.packet == nil && d.queue.Frame() == buffer.Datagram {
		err = fmt.Errorf("%s: --frame datagram needs a socket for datagrams, and this is a stream", in.Addr)
	}
	if err == nil && in.ln == nil && in.Key.Given() {
		err = fmt.Errorf("%s: --key takes links, from a listening socket", in.Addr)
	}
	if err != nil {
		in.close()
	}
	return err
}

func (in *input) close() {
	in.closing.Do(func() {
		for _, c := range []io.Closer{in.ln, in.packet, in.conn, in.file} {
			if c != nil {
				c.Close()
			}
		}
		if in.remove != "" {
			os.Remove(in.remove)
		}
	})
}

func (in *input) run(ctx, abandon context.Context, d *daemon) error {
	// Peers stop being read when ctx ends; what they have sent by then is in the queue.
	var peers sync.WaitGroup
	defer peers.Wait()
	defer in.close()
	work, cancel := context.WithCancel(ctx)
	defer cancel()

	ended := make(chan error, 1)
	start := func(f func() error) { peers.Go(func() { ended <- f() }) }
	switch {
	case in.Connect:
		start(func() error { return in.dialLoop(work, d) })
	case in.ln != nil:
		start(func() error { return in.accept(work, d, &peers) })
	case in.packet != nil:
		start(func() error { return in.datagrams(work, d) })
	case in.conn != nil:
		start(func() error { in.peer(work, d, in.conn); return errNothingMore })
	default:
		start(func() error { return in.readFile(work, d) })
	}
	var err error
	select {
	case <-ctx.Done():
		return nil
	case <-in.over:
	case err = <-ended:
		if err == errNothingMore {
			err = nil
		}
	}
	if err == nil {
		in.queue.WaitEmpty(ctx)
	}
	return err
}

// accept takes peers in until ctx ends or the listener is closed.
func (in *input) accept(ctx context.Context, d *daemon, peers *sync.WaitGroup) error {
	if in.Key.Given() {
		return in.acceptKey(ctx, d)
	}
	stop := context.AfterFunc(ctx, func() { in.ln.Close() })
	defer stop()
	slots := make(chan struct{}, in.MaxConns)
	for {
		select {
		case slots <- struct{}{}: // the others wait in the backlog: nothing they send is lost
		case <-ctx.Done():
			return nil
		}
		c, err := in.ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			if in.Once {
				select { // closed by the first peer, which is not over yet
				case <-in.over:
				case <-ctx.Done():
				}
			}
			return nil
		case err != nil:
			<-slots
			d.log("accept: %v", err)
			outOfDescriptors(ctx)
			continue
		case !in.Allow.Allows(c.RemoteAddr()):
			in.refused.Add(1)
			d.note("%s: not allowed", sock.PeerName(c.RemoteAddr()))
			c.Close()
			<-slots
			continue
		}
		peers.Go(func() {
			in.peer(ctx, d, c)
			<-slots
		})
	}
}

// peer takes in what one peer sends, until it ends.
func (in *input) peer(ctx context.Context, d *daemon, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	in.peers.Add(1)
	defer in.peers.Add(-1)
	in.connects.Add(1)
	name := sock.PeerName(c.RemoteAddr())
	d.note("%s: connected", name)
	var head []byte
	var err error
	if !in.Connect { // who links is who dials
		var linked bool
		if head, linked, err = in.begin(c); linked {
			in.linked(ctx, d, &again{c, link.Magic}, name)
			return
		}
	}

	src := in.queue.NewSource(buffer.SourceOptions{Peer: name, Frame: in.queue.Frame(), CRLF: in.CRLF})
	sc, direct := c.(syscall.Conn)
	var buf []byte
	for {
		if in.IdleTimeout > 0 {
			c.SetReadDeadline(time.Now().Add(in.IdleTimeout))
		}
		if len(head) > 0 {
			if e := src.Feed(ctx, head); e != nil {
				err = e
			}
			head = nil
		} else if err != nil {
			// It ended with its first bytes.
		} else if direct {
			err = src.Pull(ctx, sc)
		} else {
			if buf == nil {
				buf = make([]byte, 64<<10)
			}
			var n int
			n, err = c.Read(buf)
			if n > 0 {
				err = src.Feed(ctx, buf[:n])
			}
		}
		if err == nil {
			if in.Once && in.first.CompareAndSwap(nil, src) && in.ln != nil {
				in.ln.Close() // nobody else is wanted
			}
			continue
		}
		in.goodbye(ctx, d, name, src, err)
		break
	}
	if in.first.Load() == src {
		close(in.over)
	}
}

// begin reads what a peer says first, as far as a link says the same. It tells whether that is all
// that a link begins with; where not, head is the beginning of the peer's messages.
func (in *input) begin(c net.Conn) (head []byte, linked bool, err error) {
	b := make([]byte, 0, len(link.Magic))
	for {
		if in.IdleTimeout > 0 {
			c.SetReadDeadline(time.Now().Add(in.IdleTimeout))
		}
		n, err := c.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case string(b) == link.Magic:
			return nil, true, nil
		case err != nil || string(b) != link.Magic[:len(b)]:
			return b, false, err
		}
	}
}

// acceptKey takes links only, of those who prove the key. Strangers do not count as peers.
func (in *input) acceptKey(ctx context.Context, d *daemon) error {
	slots := make(chan struct{}, in.MaxConns)
	server := &secret.Server{
		Key: in.Key, Purpose: secret.ForLink,
		Allow: func(a net.Addr) bool {
			ok := in.Allow.Allows(a)
			if !ok {
				in.refused.Add(1)
			}
			return ok
		},
		Note: func(a net.Addr, err error) {
			if errors.Is(err, secret.ErrRefused) {
				d.log("%s: %v", sock.PeerName(a), reason(err))
			} else {
				d.note("%s: %v", sock.PeerName(a), reason(err))
			}
		},
		Handle: func(ctx context.Context, p secret.Peer) {
			defer p.Conn.Close()
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				return
			}
			p.Conn.SetDeadline(time.Time{})
			in.peers.Add(1)
			defer in.peers.Add(-1)
			in.connects.Add(1)
			name := sock.PeerName(p.Addr)
			d.note("%s: connected", name)
			in.linked(ctx, d, p.Conn, name)
		},
	}
	err := server.Serve(ctx, in.ln)
	if errors.Is(err, net.ErrClosed) && in.Once {
		select { // closed by the first peer, which is over
		case <-in.over:
		case <-ctx.Done():
		}
		err = nil
	}
	return err
}

// linked takes in what comes by a link.
func (in *input) linked(ctx context.Context, d *daemon, c net.Conn, name string) {
	sock.TuneLink(c)
	err := in.inbox.Serve(ctx, c, name)
	switch {
	case err == nil:
		d.note("%s: the link has ended", name)
		// A link that breaks comes back: it is over when the peer says so.
		if in.Once && in.queue.Counts().In > 0 && in.first.CompareAndSwap(nil, new(buffer.Source)) {
			if in.ln != nil {
				in.ln.Close()
			}
			close(in.over)
		}
	case ctx.Err() != nil:
	case errors.Is(err, link.ErrTakenOver):
		d.note("%s: %v", name, err)
	default:
		d.log("%s: %v", name, reason(err))
	}
}

// again is a connection of which something was read that is to be read again.
type again struct {
	net.Conn
	head string
}

func (a *again) Read(p []byte) (int, error) {
	if a.head == "" {
		return a.Conn.Read(p)
	}
	n := copy(p, a.head)
	a.head = a.head[n:]
	return n, nil
}

// goodbye ends a peer's source and says why.
func (in *input) goodbye(ctx context.Context, d *daemon, name string, src *buffer.Source, err error) {
	switch {
	case err == io.EOF, ctx.Err() != nil:
		err = nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("silent for %v", in.IdleTimeout)
	case errors.Is(err, net.ErrClosed):
		err = nil
	}
	if finish := src.Finish(); finish != nil {
		in.partial.Add(1)
		if err == nil {
			err = fmt.Errorf("the last message is not complete")
		}
	}
	if err != nil {
		d.log("%s: %v (after %d messages, %d bytes)", name, err, src.Messages(), src.Size())
	} else {
		d.note("%s: gone after %d messages, %d bytes", name, src.Messages(), src.Size())
	}
}

// dialLoop receives from the peer that it dials, again and again.
func (in *input) dialLoop(ctx context.Context, d *daemon) error {
	var wait backoff
	for {
		if in.conn != nil {
			began := time.Now()
			in.peer(ctx, d, in.conn)
			if in.Once {
				return errNothingMore
			}
			if time.Since(began) > time.Second {
				wait = 0
			}
		}
		if err := wait.wait(ctx); err != nil {
			return nil
		}
		conn, err := sock.Dial(ctx, in.Addr, in.Dial)
		if err != nil {
			d.note("%v", err)
			conn = nil
		}
		in.conn = conn
	}
}

// datagrams takes in one message a datagram.
func (in *input) datagrams(ctx context.Context, d *daemon) error {
	stop := context.AfterFunc(ctx, func() { in.packet.Close() })
	defer stop()
	udp, _ := in.packet.(*net.UDPConn)
	buf := make([]byte, 64<<10) // no datagram is longer
	oob := make([]byte, sock.OOBSpace)
	for {
		var n, k int
		var from net.Addr
		var err error
		if udp != nil {
			var ap netip.AddrPort
			n, k, _, ap, err = udp.ReadMsgUDPAddrPort(buf, oob)
			from = net.UDPAddrFromAddrPort(ap)
		} else {
			n, from, err = in.packet.ReadFrom(buf)
		}
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			d.log("%v", err) // such as ICMP errors for what we never sent
			outOfDescriptors(ctx)
			continue
		}
		if drops, ok := sock.Drops(oob[:k]); ok {
			in.kernel.Store(drops)
		}
		if !in.Allow.Allows(from) {
			in.refused.Add(1)
			continue
		}
		in.queue.Offer(buf[:n], sock.PeerName(from))
	}
}

// readFile takes in what comes by way of a FIFO or an inherited pipe or file.
func (in *input) readFile(ctx context.Context, d *daemon) error {
	stop := context.AfterFunc(ctx, func() { in.file.Close() })
	defer stop()
	_, fifo := in.file.(*sock.FIFOReader)
	name := in.Addr.String()
	newSource := func() *buffer.Source {
		return in.queue.NewSource(buffer.SourceOptions{Peer: name, Frame: in.queue.Frame(), CRLF: in.CRLF})
	}
	src := newSource()
	buf := make([]byte, 64<<10)
	for {
		n, err := in.file.Read(buf)
		if n > 0 {
			if e := src.Feed(ctx, buf[:n]); e != nil {
				err = e
			}
		}
		if err == nil {
			continue
		}
		in.goodbye(ctx, d, name, src, err)
		if !fifo || in.Once || err != io.EOF {
			return errNothingMore
		}
		src = newSource()
	}
}

func (in *input) describe(s *buffer.Stat) {
	s.Endpoint, s.State = in.Addr.String(), "listening"
	a := in.Addr
	switch {
	case in.ln != nil:
		s.Port = port(in.ln.Addr())
	case in.packet != nil:
		s.Port = port(in.packet.LocalAddr())
	case in.Connect:
		s.State = "connecting"
		if in.peers.Load() > 0 {
			s.State = "connected"
		}
	default:
		s.State = "reading"
	}
	if s.Port != 0 && a.Port == 0 && a.Net != "fd" {
		a.Port = s.Port
		s.Endpoint = a.String()
	}
	s.Peers = int(in.peers.Load())
	s.Connects, s.Refused, s.Incomplete = in.connects.Load(), in.refused.Load(), in.partial.Load()
	s.Kernel = int64(in.kernel.Load())
}

func port(a net.Addr) int {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.Port
	case *net.UDPAddr:
		return a.Port
	}
	return 0
}
