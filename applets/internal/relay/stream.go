package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// handshakeTime is how long a client may take to say who it is: TLS, and the PROXY header.
const handshakeTime = 5 * time.Second

// outOfDescriptors is how long accept waits when there are none: others will give some back.
const outOfDescriptors = 100 * time.Millisecond

// serveStreams takes clients from r.ln, see Run.
func (r *Relay) serveStreams(ctx, abandon context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		r.ln.Close()
		r.talks.each((*talk).drain)
	})
	defer stop()
	stopCut := context.AfterFunc(abandon, func() {
		r.talks.each(func(t *talk) { t.cut(errAbandoned) })
	})
	defer stopCut()
	var clients sync.WaitGroup
	defer clients.Wait()
	if r.IdleTimeout > 0 || r.HalfClosed > 0 {
		clients.Go(func() { r.reap(ctx) })
	}
	slots := make(chan struct{}, r.MaxConns)
	if r.Listen.Key {
		return r.acceptKey(ctx, abandon, slots)
	}
	if done, err := r.loops(ctx, abandon, slots, &clients); done {
		return err
	}
	for {
		select {
		case slots <- struct{}{}: // the others wait in the backlog: nothing they send is lost
		case <-ctx.Done():
			return nil
		}
		c, err := r.ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			if ctx.Err() != nil {
				err = nil
			}
			return err
		case err != nil:
			<-slots
			r.shortage(sock.Reason(err))
			sleep(ctx, outOfDescriptors)
			continue
		}
		r.short.Store(false)
		clients.Go(func() {
			r.client(ctx, abandon, c)
			<-slots
		})
	}
}

// shortage tells that accept failed, once until it succeeds.
func (r *Relay) shortage(err error) {
	if r.short.CompareAndSwap(false, true) {
		r.Log("%s: %v; waiting", r.Listen, err)
	}
}

// acceptKey takes other relays only, which prove the key.
func (r *Relay) acceptKey(ctx, abandon context.Context, slots chan struct{}) error {
	server := &secret.Server{
		Key: r.Key, Purpose: secret.ForRelay,
		Allow: r.admits,
		Note: func(a net.Addr, err error) {
			if errors.Is(err, secret.ErrRefused) {
				r.Log("%s: %v", sock.PeerName(a), sock.Reason(err))
			} else {
				r.Note("%s: %v", sock.PeerName(a), sock.Reason(err))
			}
		},
		Handle: func(_ context.Context, p secret.Peer) {
			p.Conn.SetDeadline(time.Time{})
			select {
			case slots <- struct{}{}:
				r.client(ctx, abandon, p.Conn)
				<-slots
			case <-ctx.Done():
				p.Conn.Close()
			}
		},
	}
	err := server.Serve(ctx, r.ln)
	if ctx.Err() != nil {
		err = nil
	}
	return err
}

// admits is allowed, and counts.
func (r *Relay) admits(a net.Addr) bool {
	if r.allowed(a) {
		return true
	}
	r.refused.Add(1)
	r.Note("%s: not allowed", sock.PeerName(a))
	return false
}

// client takes one client in and carries its stream, until it has ended.
func (r *Relay) client(ctx, abandon context.Context, c net.Conn) {
	r.peers.Add(1)
	defer r.peers.Add(-1)
	greeted, err := r.greet(ctx, c)
	if err != nil {
		if ctx.Err() == nil && err != errNotAllowed {
			r.Note("%s: %v", sock.PeerName(c.RemoteAddr()), sock.Reason(err))
		}
		c.Close()
		return
	}
	r.connects.Add(1)
	r.Note("%s: connected", sock.PeerName(greeted.RemoteAddr()))
	r.served(ctx, abandon, &talk{}, greeted, r.turn())
}

// served carries the stream of a client who may come in.
func (r *Relay) served(ctx, abandon context.Context, t *talk, c net.Conn, turn uint32) {
	r.talks.add(t)
	defer r.talks.remove(t)
	name := sock.PeerName(c.RemoteAddr())
	err := r.carry(ctx, abandon, t, c, turn)
	in, out := t.pump.Moved()
	r.told(name, in, out, err)
}

// told tells the curious how a conversation ended.
func (r *Relay) told(name string, in, out int64, err error) {
	switch {
	case err == nil:
		r.Note("%s: ended after %d bytes, and %d back", name, in, out)
	case errors.As(err, new(*errSilent)):
		r.Note("%s: %v after %d bytes, and %d back", name, err, in, out)
	default:
		r.Note("%s: ended after %d bytes, and %d back: %v", name, in, out, err)
	}
}

var errNotAllowed = errors.New("not allowed")

// greet finds out who a client is, and whether it may come in. With an error the caller closes c.
func (r *Relay) greet(ctx context.Context, c net.Conn) (net.Conn, error) {
	if !r.Listen.Key && !r.admits(c.RemoteAddr()) {
		return nil, errNotAllowed
	}
	if r.ProxyIn != nil && r.ProxyIn.Allows(c.RemoteAddr()) {
		end := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
		told, err := sock.ReadProxy(c, time.Now().Add(handshakeTime))
		if !end() {
			return nil, ctx.Err()
		}
		if err != nil { // it is a proxy of ours, and set up wrongly
			r.turnAway(c.RemoteAddr(), err)
			return nil, errNotAllowed
		}
		if c = told; !r.admits(c.RemoteAddr()) {
			return nil, errNotAllowed
		}
	}
	if !r.Listen.TLS {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	t := tls.Server(c, r.TLSListen)
	return t, t.HandshakeContext(ctx)
}

// carry finds a destination for c, and carries. It closes c.
func (r *Relay) carry(ctx, abandon context.Context, t *talk, c net.Conn, turn uint32) error {
	if r.Echo {
		echo := newLocal(nil)
		if len(r.Dests) > 0 { // "-": it is shown too
			echo.w = io.MultiWriter(&locked{r}, echo.back)
		}
		return r.pump(ctx, abandon, t, c, echo, nil, "echo")
	}
	to, d, done, err := r.dial(ctx, abandon, &call{turn: turn, from: c.RemoteAddr(), at: r.at(c)})
	if err != nil {
		sock.Abort(c) // as it would be if it had come to a port where nobody listens
		if err == errAbandoned {
			r.cut.Add(1)
		}
		return err
	}
	defer done()
	if d.Datagram {
		return r.streamToDatagrams(ctx, abandon, c, d, turn)
	}
	var answers net.Conn
	if r.ReplyTo != nil {
		if answers, err = r.openReplies(ctx, c.RemoteAddr()); err != nil {
			r.Log("%v", err)
			sock.Abort(c)
			to.Close()
			return err
		}
		defer answers.Close()
	}
	return r.pump(ctx, abandon, t, c, to, answers, d.String())
}

// at is where c came, or where a proxy says that it did. For the kernel a unix socket of ours has another
// name than its path, see sock.Listen.
func (r *Relay) at(c net.Conn) net.Addr {
	at := c.LocalAddr()
	if u, ok := sock.Innermost(c).(*net.UnixConn); ok && u.LocalAddr().String() == at.String() {
		return r.ln.Addr()
	}
	return at
}

// pump carries between two connections, and closes both.
func (r *Relay) pump(ctx, abandon context.Context, t *talk, c, to, answers net.Conn, where string) error {
	name := sock.PeerName(c.RemoteAddr())
	p := &t.pump
	there, back := r.tap(name, where, false), r.tap(where, name, true)
	t.start(ctx, abandon, func() {
		p.A, p.B, p.Answers = c, to, answers
		if there != nil {
			p.Look[0] = func(b []byte) error { return there.bytes(r.dests.ctx, b) }
			p.Look[1] = func(b []byte) error { return back.bytes(r.dests.ctx, b) }
		}
		if r.Rate > 0 {
			p.Portion = portion(r.Rate)
		}
	})
	err := p.Run()
	if errors.Is(err, errAbandoned) {
		r.cut.Add(1)
	}
	there.end()
	back.end()
	if err != nil && !errors.As(err, new(*errSilent)) {
		sock.Abort(c)
		sock.Abort(to)
		return err
	}
	c.Close()
	to.Close()
	return err
}

// carryOn carries between a client and d on whose connections much has been said already: begin has been read
// and not passed on, and over tells who has ended.
func (r *Relay) carryOn(ctx, abandon context.Context, c, to net.Conn, d *destination, begin [2][]byte, over [2]bool) {
	t := &talk{}
	t.pump.Begin, t.pump.Over = begin, over
	r.talks.add(t)
	defer r.talks.remove(t)
	r.pump(ctx, abandon, t, c, to, nil, d.String())
}

// talks are the conversations there are.
type talks struct {
	mu  sync.Mutex
	all map[*talk]struct{}
	in  int64 // bytes that conversations which have ended have moved
	out int64
}

func (ts *talks) add(t *talk) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.all == nil {
		ts.all = map[*talk]struct{}{}
	}
	ts.all[t] = struct{}{}
}

func (ts *talks) remove(t *talk) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.all, t)
	in, out := t.pump.Moved()
	ts.in += in
	ts.out += out
}

// moved sums up what clients said, and what they were told.
func (ts *talks) moved() (in, out int64) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	in, out = ts.in, ts.out
	for t := range ts.all {
		i, o := t.pump.Moved()
		in, out = in+i, out+o
	}
	return in, out
}

// unsent sums up what peers have not taken yet, once the end has begun.
func (ts *talks) unsent() (n int64) {
	ts.each(func(t *talk) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.draining {
			n += int64(t.pump.Unsent())
		}
	})
	return n
}

func (ts *talks) each(f func(*talk)) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := range ts.all {
		f(t)
	}
}

// A talk is one client's conversation.
type talk struct {
	pump sock.Pump

	mu       sync.Mutex
	running  bool // the pump is; before that there is nothing to drain or cut
	draining bool

	moved  int64 // what reap has seen
	unsent int
	since  time.Time
}

// start sets the pump up by f. It is about to run, and drains at once if ctx has ended by now, and is cut
// if abandon has.
func (t *talk) start(ctx, abandon context.Context, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	t.running = true
	if ctx.Err() != nil {
		t.draining = true
		t.pump.Drain()
	}
	if abandon.Err() != nil {
		t.pump.Cut(errAbandoned)
	}
}

func (t *talk) drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		t.draining = true
		t.pump.Drain()
	}
}

func (t *talk) cut(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		t.pump.Cut(err)
	}
}

var errAbandoned = errors.New("its end was not waited for")

// errSilent is the end of a conversation in which nothing moved.
type errSilent struct {
	d    time.Duration
	half bool
}

func (e *errSilent) Error() string {
	if e.half {
		return fmt.Sprintf("half-closed, and silent for %v", e.d)
	}
	return fmt.Sprintf("silent for %v", e.d)
}

// reap ends conversations in which nothing has moved for too long.
func (r *Relay) reap(ctx context.Context) {
	for pause := r.reapPause(); sleep(ctx, pause); {
		now := time.Now()
		r.talks.each(func(t *talk) { r.look(t, now) })
	}
}

// reapPause is how often it is looked whether something has moved.
func (r *Relay) reapPause() time.Duration {
	pause := r.HalfClosed
	if r.IdleTimeout > 0 && (pause == 0 || r.IdleTimeout < pause) {
		pause = r.IdleTimeout
	}
	if pause == 0 {
		return time.Second
	}
	return min(max(pause/8, 5*time.Millisecond), time.Second)
}

// silence is how long a conversation may be silent, and whether that is so for its being half-closed. 0 is
// for ever.
func (r *Relay) silence(halfClosed bool) (limit time.Duration, half bool) {
	if halfClosed && r.HalfClosed > 0 && (r.IdleTimeout == 0 || r.HalfClosed < r.IdleTimeout) {
		return r.HalfClosed, true
	}
	return r.IdleTimeout, false
}

func (r *Relay) look(t *talk, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running {
		return
	}
	in, out := t.pump.Moved()
	if in+out != t.moved || t.since.IsZero() {
		t.moved, t.since = in+out, now
		return
	}
	limit, half := r.silence(t.pump.HalfClosed())
	if limit == 0 || now.Sub(t.since) < limit {
		return
	}
	// A slow peer may still be taking what the kernel holds for it.
	if n := t.pump.Unsent(); n != t.unsent {
		t.unsent, t.since = n, now
		return
	}
	t.pump.Cut(&errSilent{limit, half})
}

// A local is a connection to this process: what is written goes to w, or comes back.
type local struct {
	w    io.Writer
	back *io.PipeWriter
	r    *io.PipeReader
}

// newLocal returns one that writes to w; nil is an echo.
func newLocal(w io.Writer) *local {
	l := &local{w: w}
	l.r, l.back = io.Pipe()
	if w == nil {
		l.w = l.back
	}
	return l
}

func (l *local) Write(b []byte) (int, error) {
	n, err := l.w.Write(b)
	if err != nil {
		l.back.CloseWithError(err)
	}
	return n, err
}

func (l *local) Read(b []byte) (int, error) { return l.r.Read(b) }
func (l *local) CloseWrite() error          { return l.back.Close() }

func (l *local) Close() error {
	l.back.Close()
	return l.r.Close()
}

// SetDeadline ends it: no other deadline is ever set for both directions.
func (l *local) SetDeadline(time.Time) error { return l.Close() }

// SetReadDeadline has nothing to do: what has been written is read at once.
func (l *local) SetReadDeadline(time.Time) error  { return nil }
func (l *local) SetWriteDeadline(time.Time) error { return nil }

func (l *local) LocalAddr() net.Addr  { return nil }
func (l *local) RemoteAddr() net.Addr { return nil }
