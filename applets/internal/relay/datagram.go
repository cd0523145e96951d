package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"sockbox/applets/internal/sock"
)

// The side of datagrams. Datagrams have no connections, so a client is known by its address, and what it
// says within a time is a session (session.go). A session has a way to its destination (way.go): a
// socket of its own, so that only who was asked can answer, or a stream (crossing.go).
//
// One goroutine takes what comes from all clients, many at a time, and never waits for anybody: what a
// destination has no room for is dropped and counted.

// listenDatagrams opens where clients' datagrams come.
func (r *Relay) listenDatagrams(ctx context.Context) (net.PacketConn, error) {
	return sock.ListenPacket(ctx, r.Listen.Addr, r.ListenOptions)
}

// serveDatagrams takes clients' datagrams from r.packets, see Run.
func (r *Relay) serveDatagrams(ctx, abandon context.Context) error {
	in, err := sock.NewDatagrams(r.packets)
	if err != nil {
		return fmt.Errorf("%s: %w", r.Listen, err)
	}
	s := &sessions{
		r: r, in: in, ctx: ctx, abandon: abandon, began: time.Now(), all: map[sessionKey]*session{}, idle: r.UDPTimeout,
		header: r.ProxyIn != nil,
	}
	if r.IdleTimeout > 0 {
		s.idle = min(s.idle, r.IdleTimeout)
	}
	defer s.ways.Wait()
	defer s.endAll()
	var reaper sync.WaitGroup
	defer reaper.Wait()
	reaping, stopReaping := context.WithCancel(ctx)
	defer stopReaping()
	reaper.Go(func() { s.reap(reaping) })

	stop := context.AfterFunc(ctx, func() { r.packets.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	const together = 64
	err = in.Receive(sock.NewRoom(1, together), s.take)
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", r.Listen, sock.Reason(err))
	}
	return err
}

// streamToDatagrams carries a client's stream to d, a destination for datagrams, and what comes back
// into the stream, until both have ended, or ctx has. It closes c. Where nobody takes it there it goes to
// another such destination, if there is one.
func (r *Relay) streamToDatagrams(ctx, abandon context.Context, c net.Conn, d *destination, turn uint32) error {
	x := &crossing{r: r, c: c, box: newOutbox(&r.ferry), name: sock.PeerName(c.RemoteAddr()), turn: turn, began: time.Now()}
	return x.run(ctx, abandon, d)
}

// openReplies opens where answers to client go with --reply-to, a stream or datagrams. In the latter
// case what is written is framed as the options say; the caller closes it.
func (r *Relay) openReplies(ctx context.Context, client net.Addr) (net.Conn, error) {
	if !r.ReplyTo.Datagram {
		return r.dialOne(ctx, &destination{Endpoint: *r.ReplyTo}, client, nil)
	}
	c := &datagramWriter{frames: deframer{frame: r.Frame, limit: r.MaxDatagram}}
	w, err := r.openWay(wayOptions{ctx: ctx, abandon: ctx, to: &destination{Endpoint: *r.ReplyTo}, all: &c.ways, reply: true})
	if err != nil {
		return nil, err
	}
	c.way, c.closed = w, make(chan struct{})
	return c, nil
}

// A datagramWriter is a connection for answers that go out as datagrams. Nothing comes from it.
type datagramWriter struct {
	way    way
	ways   sync.WaitGroup
	frames deframer
	once   sync.Once
	closed chan struct{}
}

func (c *datagramWriter) Write(b []byte) (int, error) {
	if err := c.frames.feed(b, c.way.send); err != nil {
		return 0, err
	}
	return len(b), nil
}

// CloseWrite says that no more is written.
func (c *datagramWriter) CloseWrite() error { return c.frames.finish(c.way.send) }

func (c *datagramWriter) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.way.end(false)
		c.ways.Wait()
	})
	return nil
}

func (c *datagramWriter) Read([]byte) (int, error) {
	<-c.closed
	return 0, net.ErrClosed
}

func (c *datagramWriter) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (c *datagramWriter) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (c *datagramWriter) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *datagramWriter) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *datagramWriter) SetWriteDeadline(time.Time) error { return nil }
