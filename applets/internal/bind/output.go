package bind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

// OutputOptions say where an output's messages go.
type OutputOptions struct {
	Options
	Addr     sock.Addr
	Dial     sock.DialOptions
	Retry    bool // start though the peer is not up yet
	ListenAt bool // accept one peer at a time at Addr, in place of dialling
	Link     bool // the peer that is dialled is an input, which acknowledges messages
	Listen   sock.ListenOptions
	Allow    sock.AccessList
}

// batch is how many bytes are given to the kernel at once. They stay in the queue until the peer's
// kernel has acknowledged them.
const batch = 512 << 10

// Output runs bind-output. It returns when the output has ended or, in the background form, when
// the daemon is ready.
func Output(ctx context.Context, o OutputOptions, io Streams) error {
	if o.Foreground && o.ListenAt {
		if n, ok := sock.Passed(o.Name); ok {
			o.Addr = sock.Addr{Net: "fd", FD: n}
		}
	}
	return serve(ctx, o.Options, &output{OutputOptions: o}, io)
}

type output struct {
	OutputOptions
	queue  *buffer.Queue
	outbox *link.Outbox // with Link
	ln     net.Listener
	once   bool // an inherited connection: there is no second one

	mu      sync.Mutex
	peer    peer // as it is now; nil while there is none
	closing sync.Once

	connects  atomic.Int64
	refused   atomic.Int64
	discarded atomic.Int64
}

func (out *output) kind() buffer.Kind { return buffer.Output }

func (out *output) open(ctx context.Context, d *daemon) error {
	out.queue = d.queue
	if out.Link {
		out.outbox = link.NewOutbox(d.queue, link.OutboxOptions{Name: out.Name, Sent: func(n int) { d.progress.Add(int64(n)) }})
	}
	if out.Addr.Net == "udp" && d.queue.Frame() != buffer.Datagram {
		return fmt.Errorf("%s: a socket for datagrams needs --frame datagram", out.Addr)
	}
	if out.ListenAt && out.Addr.Net != "fd" {
		return d.listen(ctx, func() (err error) {
			out.ln, err = sock.Listen(ctx, out.Addr, out.Listen)
			return err
		})
	}
	if out.Addr.Net == "fd" {
		if d.queue.Frame() == buffer.Datagram {
			return fmt.Errorf("%s: --frame datagram needs a socket for datagrams that knows its peer: use udp://HOST:PORT", out.Addr)
		}
		return out.inherit()
	}
	p, err := out.dial(ctx)
	if l, ok := p.(*linkedPeer); ok && err == nil && !out.Retry {
		err = sock.About(out.Addr, out.outbox.Greet(ctx, l.conn))
	}
	if err != nil && out.Retry && !sock.Unresolved(err) && !errors.Is(err, secret.ErrRefused) {
		d.log("%v; trying again", err)
		return nil
	}
	out.setPeer(p)
	return err
}

func (out *output) inherit() error {
	got, err := sock.FromFD(out.Addr.FD)
	switch {
	case err != nil:
		return err
	case got.Listener != nil:
		out.ln = got.Listener
	case got.Conn != nil:
		out.setPeer(newPlainPeer(got.Conn))
		out.once = true
	case got.File != nil:
		out.setPeer(&plainPeer{w: got.File})
		out.once = true
	default:
		return fmt.Errorf("%s: a socket for datagrams that is not connected has nobody to send to", out.Addr)
	}
	return nil
}

func (out *output) close() {
	out.closing.Do(func() {
		if out.ln != nil {
			out.ln.Close()
		}
		if p := out.current(); p != nil {
			p.close()
		}
	})
}

func (out *output) setPeer(p peer) {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.peer = p
}

func (out *output) current() peer {
	out.mu.Lock()
	defer out.mu.Unlock()
	return out.peer
}

// dial connects to the peer.
func (out *output) dial(ctx context.Context) (peer, error) {
	if out.Addr.Net == "fifo" {
		f, _, err := sock.OpenFIFO(out.Addr, true, out.Listen)
		if err != nil {
			return nil, err
		}
		return &plainPeer{w: f}, nil
	}
	c, err := sock.Dial(ctx, out.Addr, out.Dial)
	if err != nil {
		return nil, err
	}
	if out.outbox == nil {
		return newPlainPeer(c), nil
	}
	if out.Key.Given() {
		proven, err := secret.Dial(ctx, c, out.Key, secret.ForLink)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", out.Addr, reason(err))
		}
		c = proven
	}
	return &linkedPeer{c}, nil
}

// accept waits for a peer that is allowed.
func (out *output) accept(ctx context.Context, d *daemon) (peer, error) {
	stop := context.AfterFunc(ctx, func() { out.ln.Close() })
	defer stop()
	for {
		c, err := out.ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil:
			d.log("accept: %v", err)
			outOfDescriptors(ctx)
		case !out.Allow.Allows(c.RemoteAddr()):
			out.refused.Add(1)
			d.note("%s: not allowed", sock.PeerName(c.RemoteAddr()))
			c.Close()
		default:
			return newPlainPeer(c), nil
		}
	}
}

// run sends what is in the queue, over one connection after the other. When ctx has ended it goes
// on until the queue is empty or abandon ends.
func (out *output) run(ctx, abandon context.Context, d *daemon) error {
	defer out.close()
	if out.outbox != nil {
		defer out.outbox.Release()
	}
	drained := make(chan struct{}) // closed when there is nothing left to deliver
	go func() {
		<-ctx.Done()
		out.queue.Close()
		if out.queue.WaitEmpty(abandon) == nil {
			close(drained)
		}
	}()
	// Without a peer there is something to wait for only as long as messages are left.
	seek, cancel := context.WithCancel(abandon)
	defer cancel()
	go func() {
		select {
		case <-drained:
		case <-seek.Done():
		}
		cancel()
	}()

	var wait backoff
	for {
		p := out.current()
		if p == nil {
			var err error
			if out.ln != nil {
				p, err = out.accept(seek, d)
			} else {
				p, err = out.dial(seek)
			}
			if err != nil {
				switch {
				case seek.Err() != nil:
					return nil
				case errors.Is(err, secret.ErrRefused): // each try is a guess for who listens there
					return err
				}
				d.note("%v", err)
				if wait.wait(seek) != nil {
					return nil
				}
				continue
			}
			out.setPeer(p)
		}
		out.connects.Add(1)
		began, before := time.Now(), out.queue.Counts().Out
		d.note("%s: connected", p.name(out.Addr))
		err := p.send(abandon, d, out)
		p.close()
		out.setPeer(nil)
		switch {
		case err == nil, abandon.Err() != nil:
			return nil
		case out.once:
			return fmt.Errorf("%s: %w", out.Addr, err)
		}
		d.log("%s: %v; %d messages wait for the next connection", p.name(out.Addr), err, out.queue.Left())
		if time.Since(began) > time.Second || out.outbox != nil && out.queue.Counts().Out > before {
			wait = 0 // that peer was there
		}
		if out.ln == nil && wait.wait(seek) != nil {
			return nil
		}
	}
}

func (out *output) describe(s *buffer.Stat) {
	a := out.Addr
	if out.ln != nil {
		s.Port = port(out.ln.Addr())
		if a.Port == 0 && a.Net != "fd" {
			a.Port = s.Port
		}
		s.State = "waiting"
	} else {
		s.State = "connecting"
	}
	s.Endpoint, s.Link = a.String(), out.Link
	if out.current() != nil {
		s.State, s.Peers = "connected", 1
	}
	s.Connects, s.Refused, s.Discarded = out.connects.Load(), out.refused.Load(), out.discarded.Load()
}

// A peer is who an output sends to, over one connection.
type peer interface {
	// send moves messages until the queue has ended and the peer has all of it, which returns nil,
	// or until the connection breaks. What the peer has not acknowledged is then still to be sent.
	send(ctx context.Context, d *daemon, out *output) error
	name(a sock.Addr) string // a is where it was looked for
	close()
}

// A linkedPeer acknowledges each message when it has it. What it has not acknowledged stays with
// the outbox from one connection to the next.
type linkedPeer struct{ conn net.Conn }

func (l *linkedPeer) send(ctx context.Context, _ *daemon, out *output) error {
	sock.TuneLink(l.conn)
	return reason(out.outbox.Run(ctx, l.conn))
}

func (l *linkedPeer) name(sock.Addr) string { return sock.PeerName(l.conn.RemoteAddr()) }
func (l *linkedPeer) close()                { l.conn.Close() }

// A plainPeer takes a stream of messages in their frame, over one connection. What it has been given stays leased until the peer's
// kernel has acknowledged it (tcp(7), TCP_INFO); where that cannot be known, until our own has
// taken it.
type plainPeer struct {
	w    io.WriteCloser
	conn net.Conn // nil for a FIFO or a file
	base uint64   // acknowledged before the first byte: the SYN
	tcp  bool     // acknowledgements can be counted

	mu     sync.Mutex
	leases []*buffer.Lease // in the order in which they were sent
	acked  uint64          // bytes of leases that have left the queue
	moved  chan struct{}   // something was sent
}

func newPlainPeer(c net.Conn) *plainPeer {
	l := &plainPeer{w: c, conn: c, moved: make(chan struct{}, 1)}
	l.base, l.tcp = sock.Acked(c)
	return l
}

func (l *plainPeer) name(a sock.Addr) string {
	if l.conn != nil && l.conn.RemoteAddr() != nil {
		return sock.PeerName(l.conn.RemoteAddr())
	}
	return a.String()
}

func (l *plainPeer) close() { l.w.Close() }

// send has put back into the queue, when it returns, what the peer's kernel does not have.
func (l *plainPeer) send(ctx context.Context, d *daemon, out *output) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer func() {
		cancel(nil)
		// Before the close: the kernel forgets its counts with the socket.
		if n := l.giveBack(); n > 0 {
			d.note("%s: %d messages go back into the buffer", l.name(out.Addr), n)
		}
		l.w.Close()
	}()
	stop := context.AfterFunc(ctx, l.interrupt)
	defer stop()
	if l.conn != nil {
		group.Go(func() {
			if err := l.discard(out); err != nil {
				cancel(err)
			}
		})
	}
	if l.tcp {
		group.Go(func() { l.watchAcks(ctx, d) })
	}
	datagrams := out.Addr.Net == "udp"
	for {
		lease, err := out.queue.Take(ctx, buffer.Want{Messages: 1 << 30, Bytes: batch})
		if errors.Is(err, buffer.ErrEnd) {
			return l.finish(ctx)
		}
		if err != nil {
			return err
		}
		if datagrams {
			err = l.sendDatagrams(lease, d)
			lease.Ack()
		} else {
			l.mu.Lock()
			l.leases = append(l.leases, lease)
			l.mu.Unlock()
			err = l.write(ctx, lease, d)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return reason(err)
		}
	}
}

// interrupt ends a write that is stuck.
func (l *plainPeer) interrupt() {
	if w, ok := l.w.(interface{ SetWriteDeadline(time.Time) error }); !ok || w.SetWriteDeadline(time.Unix(1, 0)) != nil {
		l.w.Close()
	}
}

// write gives a lease to the kernel.
func (l *plainPeer) write(ctx context.Context, lease *buffer.Lease, d *daemon) error {
	size := lease.Size()
	if l.tcp {
		bufs := net.Buffers(lease.Slices(nil))
		n, err := bufs.WriteTo(l.w)
		d.progress.Add(n)
		l.settle()
		select {
		case l.moved <- struct{}{}:
		default:
		}
		return err
	}
	var err error
	sent := 0
	for _, p := range lease.Slices(nil) {
		var n int
		n, err = l.w.Write(p)
		sent += n
		d.progress.Add(int64(n))
		if err != nil {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent == size {
		lease.Ack()
		l.leases = l.leases[:0]
	} else {
		lease.AckBytes(sent)
	}
	return err
}

// sendDatagrams sends each message as a datagram. There is no promise that one arrives: what the
// network says about an earlier one (ICMP errors come that way) is noted and the next is sent.
func (l *plainPeer) sendDatagrams(lease *buffer.Lease, d *daemon) error {
	lease.Each(func(m buffer.Message) {
		_, err := l.w.Write(m.Data)
		if errors.Is(err, syscall.ECONNREFUSED) {
			d.note("%v", reason(err))
			_, err = l.w.Write(m.Data) // that error belonged to the one before
		}
		if err != nil {
			d.log("a datagram of %d bytes was not sent: %v", len(m.Data), reason(err))
		}
		d.progress.Add(1)
	})
	return nil
}

// settle lets go of what the peer's kernel has acknowledged, lease by lease. It tells whether any
// is still out.
func (l *plainPeer) settle() (out bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	total, ok := sock.Acked(l.conn)
	if !ok {
		return len(l.leases) > 0
	}
	for len(l.leases) > 0 {
		size := uint64(l.leases[0].Size())
		if total-l.base < l.acked+size {
			return true
		}
		l.leases[0].Ack()
		l.acked += size
		l.leases = l.leases[1:]
	}
	return false
}

// watchAcks settles while something is out and nothing more is sent. The kernel has no event for an
// acknowledgement, so it is asked: soon at first, then ever less often up to 20 ms.
func (l *plainPeer) watchAcks(ctx context.Context, d *daemon) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.moved:
		}
		for pause := time.Millisecond; l.settle(); pause = min(2*pause, 20*time.Millisecond) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	}
}

// finish half-closes and waits until the peer's kernel has everything. The half-close goes first:
// a peer acknowledges it, and with it all before it, at once.
func (l *plainPeer) finish(ctx context.Context) error {
	if c, ok := l.conn.(interface{ CloseWrite() error }); ok {
		if err := c.CloseWrite(); err != nil {
			return reason(err)
		}
	}
	if !l.tcp {
		return nil
	}
	for pause := 50 * time.Microsecond; l.settle(); pause = min(2*pause, 10*time.Millisecond) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	return nil
}

// giveBack puts what was not acknowledged back into the queue, from the first message that is not
// whole with the peer. It returns how many messages that were.
func (l *plainPeer) giveBack() (n int) {
	if l.tcp {
		l.settle()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if total, ok := uint64(0), false; l.tcp && len(l.leases) > 0 {
		if total, ok = sock.Acked(l.conn); ok && total-l.base > l.acked {
			l.leases[0].AckBytes(int(total - l.base - l.acked))
		}
	}
	for _, lease := range l.leases {
		n += lease.Messages()
		lease.Return()
	}
	l.leases = nil
	return n
}

// discard reads what the peer sends back, and drops it: a peer that is not read from would stop.
// The peer's end of sending is not the end of the link; its reset is, and comes when the peer has
// gone and something is sent to it: what was sent then has to be sent again.
func (l *plainPeer) discard(out *output) error {
	b := make([]byte, 4<<10)
	for {
		n, err := l.conn.Read(b)
		out.discarded.Add(int64(n))
		switch {
		case err == io.EOF:
			return sock.WaitBroken(l.conn)
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.ECONNREFUSED) && out.Addr.Net == "udp":
		case err != nil:
			return reason(err)
		}
	}
}

// reason takes the addresses and the call off an error of package net: the log has the peer's name
// already.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}
