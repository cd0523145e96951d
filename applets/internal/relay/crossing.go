package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// The crossings between datagrams and streams. A client's session of datagrams is one connection, made
// with the first datagram and made again after it has ended; a client's stream is one socket for
// datagrams. Datagrams that a stream has no room for wait in an outbox, and are dropped when it is full.

const (
	outboxMost  = 1 << 20  // bytes that wait for one stream
	outboxesAll = 32 << 20 // and for all of them together
)

var (
	errFull = errors.New("the stream takes no more for now")
	errOver = errors.New("the stream has ended")
)

// An outbox holds datagrams on their way into a stream, framed.
type outbox struct {
	ferry *ferry
	wake  chan struct{}

	mu     sync.Mutex
	bytes  []byte
	ends   []int // where each datagram ends in bytes
	closed bool
}

func newOutbox(f *ferry) *outbox { return &outbox{ferry: f, wake: make(chan struct{}, 1)} }

// put frames one datagram behind the others.
func (b *outbox) put(f Frame, datagram []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errOver
	}
	before := len(b.bytes)
	if before > 0 && before+len(datagram) > outboxMost || b.ferry.queued.Load()+int64(len(datagram)) > outboxesAll {
		return errFull
	}
	bytes, err := f.append(b.bytes, datagram)
	if err != nil {
		return err
	}
	b.bytes = bytes
	b.ends = append(b.ends, len(bytes))
	b.ferry.queued.Add(int64(len(bytes) - before))
	b.signal()
	return nil
}

func (b *outbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// close has nothing more put.
func (b *outbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.signal()
}

// take returns what is there, for who calls done later; more is false when nothing comes any more.
func (b *outbox) take() (bytes []byte, ends []int, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes, ends = b.bytes, b.ends
	b.bytes, b.ends = nil, nil
	return bytes, ends, !b.closed
}

// done gives back what take gave, to be used again unless it is large.
func (b *outbox) done(bytes []byte, ends []int) {
	b.ferry.queued.Add(-int64(len(bytes)))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bytes == nil && cap(bytes) <= 64<<10 {
		b.bytes, b.ends = bytes[:0], ends[:0]
	}
}

// discard is called when nothing is taken any more, and returns how many datagrams are left.
func (b *outbox) discard() int {
	b.close()
	bytes, ends, _ := b.take()
	b.done(bytes, ends)
	return len(ends)
}

// write writes what take gave to c, raw each datagram by itself, and tells moved of it. left is how many
// datagrams were not written, or not whole.
func write(c net.Conn, f Frame, bytes []byte, ends []int, moved func(int)) (left int, err error) {
	for at := 0; len(ends) > 0; {
		n := 1
		for f != Raw && n < len(ends) && ends[n]-at <= pieceSize { // so that a slow peer is seen to take something
			n++
		}
		if end := ends[n-1]; end > at { // a write of nothing is nothing
			m, err := c.Write(bytes[at:end])
			moved(m)
			if at += m; err != nil {
				whole, _ := slices.BinarySearch(ends, at+1)
				return len(ends) - whole, err
			}
		}
		ends = ends[n:]
	}
	return 0, nil
}

// readStream calls f with what comes from c until it ends (io.EOF), it breaks or f returns an error.
// While c is silent no memory waits for it.
func (f *ferry) readStream(c net.Conn, most int, got func([]byte) error) error {
	sc, ok := c.(syscall.Conn)
	if !ok {
		b := make([]byte, min(most, 16<<10)) // a TLS record
		for {
			n, err := c.Read(b)
			if n > 0 {
				if err := got(b[:n]); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
		}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var end error
	err = raw.Read(func(fd uintptr) bool {
		for {
			b := <-f.pieces
			n, err := syscall.Read(int(fd), b[:min(most, len(b))])
			if n > 0 {
				end = got(b[:n])
			}
			f.pieces <- b
			switch {
			case err == syscall.EAGAIN:
				return false
			case err == syscall.EINTR:
			case err != nil:
				end = err
			case n == 0:
				end = io.EOF
			}
			if end != nil {
				return true
			}
		}
	})
	if end != nil {
		return end
	}
	return err
}

// A streamWay carries datagrams into a stream, and what it says back.
type streamWay struct {
	r     *Relay
	o     wayOptions
	box   *outbox
	at    atomic.Pointer[destination] // the one that was reached the last time
	ended context.Context             // by end
	stop  context.CancelFunc
	hurry context.Context // in which the end is
	cut   context.CancelFunc
	conns sync.WaitGroup // readers

	refusal error // of the key, where reply is set
}

func (r *Relay) openStream(o wayOptions) *streamWay {
	w := &streamWay{r: r, o: o, box: newOutbox(&r.ferry)}
	w.at.Store(o.to)
	w.ended, w.stop = context.WithCancel(context.Background())
	w.hurry, w.cut = context.WithCancel(o.abandon)
	o.all.Go(w.run)
	return w
}

func (w *streamWay) send(ds []sock.Datagram) {
	for _, d := range ds {
		if err := w.box.put(w.r.Frame, d.Data); err != nil {
			w.r.lose(1, fmt.Sprintf("%s: %v", w.at.Load(), err))
		}
	}
}

func (w *streamWay) end(hurry bool) {
	w.box.close()
	if hurry {
		w.cut()
	}
	w.stop()
}

// lastWord is how long a stream whose session is over may take to take what waits for it.
const lastWord = 5 * time.Second

// run connects when there is something to say, and says it.
func (w *streamWay) run() {
	defer w.cut()
	defer w.stop()
	defer func() { w.lose(w.box.discard(), fmt.Errorf("%s: %w", w.at.Load(), errOver)) }()
	defer w.conns.Wait()
	var link *streamLink
	defer func() {
		if link != nil && w.o.ctx.Err() != nil {
			w.r.waitTaken(w.hurry, w.o.abandon, link.conn)
		}
		link.close()
	}()
	var pause time.Duration
	for {
		select {
		case <-w.box.wake:
		case <-link.over():
			link.close()
			link = nil
			continue
		}
		bytes, ends, more := w.box.take()
		if len(ends) > 0 && link.isOver() {
			link.close()
			link = nil
		}
		if len(ends) > 0 && link == nil {
			var err error
			if link, err = w.connect(); err != nil {
				w.box.done(bytes, ends)
				w.lose(len(ends), err)
				if !more || w.o.ctx.Err() != nil {
					w.lose(w.box.discard(), err)
					return
				}
				pause = min(max(2*pause, 50*time.Millisecond), time.Second)
				sleep(w.ended, pause/2+rand.N(pause/2))
				continue
			}
			pause = 0
		}
		if len(ends) > 0 {
			left, err := len(ends), w.tap(link, bytes, ends)
			if err == nil {
				left, err = write(link.conn, w.r.Frame, bytes, ends, func(n int) { w.r.moved(n, w.o.reply) })
			}
			w.box.done(bytes, ends)
			if err != nil {
				w.lose(left, fmt.Errorf("%s: %w", link.to, sock.Reason(err)))
				link.close()
				link = nil
			}
		}
		if !more {
			return
		}
	}
}

// lose counts datagrams that are lost because of err, and whether it is the end that they were lost in.
func (w *streamWay) lose(n int, err error) {
	switch {
	case err == errAbandoned && w.o.ctx.Err() != nil, w.o.abandon.Err() != nil:
		w.r.leave(n, fmt.Sprintf("%s: %v", w.at.Load(), errAbandoned))
	default:
		w.r.lose(n, err.Error())
	}
}

// connect makes the stream, and reads it.
func (w *streamWay) connect() (*streamLink, error) {
	l := &streamLink{to: w.o.to, ended: make(chan struct{})}
	var err error
	done := func() {}
	if w.o.reply {
		if l.conn, err = nil, w.refusal; err == nil {
			l.conn, err = w.r.dialOne(w.hurry, w.o.to, w.o.from, w.o.at)
		}
		if errors.Is(err, secret.ErrRefused) {
			w.refusal = err
		}
	} else {
		l.conn, l.to, done, err = w.r.dial(w.o.ctx, w.hurry, &w.o.call)
		if err == nil && l.conn == nil {
			done()
			err = fmt.Errorf("%s: it takes datagrams", l.to)
			w.o.broken(err) // what the client says next may go there
		}
	}
	if err != nil {
		return nil, err
	}
	c := l.conn
	l.there = w.o.reached(l.to)
	w.at.Store(l.to)
	// Who takes nothing does not hold up the end for ever.
	stopCut := context.AfterFunc(w.hurry, func() { c.SetWriteDeadline(time.Unix(1, 0)) })
	stopEnd := context.AfterFunc(w.ended, func() {
		if w.o.ctx.Err() == nil && w.hurry.Err() == nil {
			c.SetWriteDeadline(time.Now().Add(lastWord))
		}
	})
	l.done = func() {
		stopCut()
		stopEnd()
		done()
	}
	w.conns.Go(func() {
		defer close(l.ended)
		err := w.read(c)
		switch {
		case err == io.EOF, errors.Is(err, net.ErrClosed), w.o.ctx.Err() != nil:
		default:
			w.r.Log("%s: %v", l.to, sock.Reason(err))
		}
	})
	return l, nil
}

// tap shows what take gave, datagram by datagram.
func (w *streamWay) tap(l *streamLink, bytes []byte, ends []int) error {
	if l.there == nil {
		return nil
	}
	var err error
	show := func(ds []sock.Datagram) {
		for i := 0; i < len(ds) && err == nil; i++ {
			err = l.there.datagram(w.o.abandon, ds[i].Data)
		}
	}
	if w.r.Frame != Raw {
		frames := deframer{frame: w.r.Frame, limit: pieceSize}
		if wrong := frames.feed(bytes, show); wrong != nil {
			return wrong
		}
		return err
	}
	at := 0
	for _, end := range ends {
		show([]sock.Datagram{{Data: bytes[at:end]}})
		at = end
	}
	return err
}

// read hands over what the stream says.
func (w *streamWay) read(c net.Conn) error {
	frames := deframer{frame: w.r.Frame, limit: w.r.MaxDatagram}
	most := pieceSize
	if w.r.Frame == Raw {
		most = w.r.MaxDatagram
	}
	err := w.r.ferry.readStream(c, most, func(b []byte) error { return frames.feed(b, w.o.answer) })
	if err == io.EOF {
		if torn := frames.finish(w.o.answer); torn != nil {
			err = torn
		}
	}
	return err
}

// A streamLink is one connection of a streamWay; nil is none.
type streamLink struct {
	conn  net.Conn
	to    *destination
	there *tap          // of what is said to it
	ended chan struct{} // closed when nothing comes from it any more
	done  func()
	once  sync.Once
}

// over is closed when the other side has ended: a session has no half-closed state, so the whole
// connection is, and the next datagram makes a new one.
func (l *streamLink) over() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.ended
}

func (l *streamLink) isOver() bool {
	select {
	case <-l.over():
		return true
	default:
		return false
	}
}

// close closes the connection, and has what was written arrive.
func (l *streamLink) close() {
	if l == nil {
		return
	}
	l.once.Do(func() {
		if half, ok := l.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		l.conn.Close()
		l.done()
	})
}

// A crossing is a client's stream that goes on in datagrams.
type crossing struct {
	r     *Relay
	c     net.Conn
	box   *outbox
	name  string // of the client
	turn  uint32
	began time.Time
	seen  atomic.Int64 // when something moved, since began

	reopen atomic.Bool // nobody takes it where it goes
	mu     sync.Mutex  // of what is sent
	over   bool
	to     *destination
	way    way
	there  *tap

	answers sync.Mutex // of what comes back
	back    *tap
	replies way
}

func (x *crossing) touch() { x.seen.Store(int64(time.Since(x.began))) }

// open opens the way to d; x.mu is held, or nobody else has x yet.
func (x *crossing) open(ctx, abandon context.Context, d *destination, all *sync.WaitGroup) error {
	r := x.r
	w, err := r.openWay(wayOptions{
		ctx: ctx, abandon: abandon, to: d, call: call{turn: x.turn, from: x.c.RemoteAddr(), at: r.at(x.c)}, all: all,
		answer: func(ds []sock.Datagram) { x.answer(abandon, ds) },
		broken: func(error) { x.reopen.Store(true) },
	})
	if err != nil {
		r.report(d, err)
		return err
	}
	x.answers.Lock()
	defer x.answers.Unlock()
	x.back = r.tap(d.String(), x.name, true)
	x.to, x.way, x.there = d, w, r.tap(x.name, d.String(), false)
	return nil
}

// send carries what the client says, by another way where there is one and nobody takes it by this.
func (x *crossing) send(ctx, abandon context.Context, ds []sock.Datagram, all *sync.WaitGroup) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return
	}
	if x.reopen.Swap(false) {
		order := x.r.order(x.turn)
		if i := slices.IndexFunc(order, func(d *destination) bool { return d.Datagram }); order[i] != x.to {
			before := x.way
			if x.open(ctx, abandon, order[i], all) == nil {
				before.end(false)
			}
		}
	}
	for _, a := range ds {
		if x.there.datagram(abandon, a.Data) != nil {
			return
		}
	}
	x.way.send(ds)
}

// answer carries what comes back.
func (x *crossing) answer(abandon context.Context, ds []sock.Datagram) {
	x.touch()
	x.answers.Lock()
	defer x.answers.Unlock()
	for _, a := range ds {
		if x.back.datagram(abandon, a.Data) != nil {
			return
		}
		if x.replies != nil {
			continue
		}
		if err := x.box.put(x.r.Frame, a.Data); err != nil {
			x.r.lose(1, fmt.Sprintf("%s: %v", x.name, err))
		}
	}
	if x.replies != nil {
		x.replies.send(ds)
	}
}

// end ends what x has opened, which passes on what it was given.
func (x *crossing) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	x.way.end(false)
	if x.replies != nil {
		x.replies.end(false)
	}
	x.box.close()
}

func (x *crossing) run(ctx, abandon context.Context, d *destination) error {
	r, c := x.r, x.c
	var all sync.WaitGroup
	defer all.Wait()
	defer c.Close()
	err := x.openReplies(ctx, abandon, &all)
	if err == nil {
		err = x.open(ctx, abandon, d, &all)
	}
	if err != nil {
		if x.replies != nil {
			x.replies.end(false)
		}
		sock.Abort(c)
		return err
	}
	defer func() {
		x.there.end()
		x.answers.Lock()
		defer x.answers.Unlock()
		x.back.end()
		x.back = nil // what comes late is shown no more
	}()

	read, wrote := make(chan error, 1), make(chan error, 1)
	all.Go(func() {
		frames := deframer{frame: r.Frame, limit: r.MaxDatagram}
		most := pieceSize
		if r.Frame == Raw {
			most = r.MaxDatagram
		}
		send := func(ds []sock.Datagram) { x.send(ctx, abandon, ds, &all) }
		err := r.ferry.readStream(c, most, func(b []byte) error {
			x.touch()
			return frames.feed(b, send)
		})
		if err == io.EOF {
			if torn := frames.finish(send); torn != nil {
				err = torn
			}
		}
		read <- err
	})
	all.Go(func() { wrote <- x.write(abandon) })

	err = x.wait(ctx, read, wrote)
	x.end() // what came back is passed on, and then the stream ends
	stop := context.AfterFunc(abandon, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err != nil {
		if errors.As(err, new(frameError)) {
			r.Log("%s: %v", x.name, err)
		}
		sock.Abort(c)
		return err
	}
	if ctx.Err() == nil {
		c.SetWriteDeadline(time.Now().Add(lastWord))
	}
	if err = <-wrote; ctx.Err() != nil {
		r.waitTaken(abandon, abandon, c)
	}
	return err
}

// waitTaken waits until the kernel of c's peer has what it was sent, as long as hurry has not ended; where
// abandon has, the peer was not waited for.
func (r *Relay) waitTaken(hurry, abandon context.Context, c net.Conn) {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		before, ok := sock.Unsent(c)
		switch {
		case !ok || before == 0:
			return
		case !sleep(hurry, pause):
			if abandon.Err() != nil {
				r.cut.Add(1)
			}
			return
		}
		if now, ok := sock.Unsent(c); ok {
			r.taken.Add(int64(before - now))
		}
	}
}

// wait waits for the end: of ctx, of the stream, or that nothing has moved for too long.
func (x *crossing) wait(ctx context.Context, read, wrote chan error) error {
	r := x.r
	limit := r.IdleTimeout
	for {
		var quiet <-chan time.Time
		if limit > 0 {
			left := limit - (time.Since(x.began) - time.Duration(x.seen.Load()))
			if left <= 0 {
				return nil
			}
			quiet = time.After(left)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-wrote:
			wrote <- nil
			return err
		case err := <-read:
			if err != io.EOF {
				return err
			}
			// An answer may be on its way; that there are no more nobody says.
			read = nil
			if limit = r.UDPTimeout; r.HalfClosed > 0 {
				limit = min(limit, r.HalfClosed)
			}
			x.touch()
		case <-quiet:
		}
	}
}

// write writes what comes back to the client, until abandon ends.
func (x *crossing) write(abandon context.Context) error {
	for {
		<-x.box.wake
		bytes, ends, more := x.box.take()
		if len(ends) > 0 {
			left, err := write(x.c, x.r.Frame, bytes, ends, func(n int) { x.r.moved(n, true) })
			x.box.done(bytes, ends)
			if err != nil {
				if left += x.box.discard(); abandon.Err() != nil {
					x.r.leave(left, "an answer: "+errAbandoned.Error())
				}
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

func (x *crossing) openReplies(ctx, abandon context.Context, all *sync.WaitGroup) (err error) {
	if x.r.ReplyTo == nil {
		return nil
	}
	x.replies, err = x.r.openWay(wayOptions{
		ctx: ctx, abandon: abandon, to: &destination{Endpoint: *x.r.ReplyTo}, call: call{from: x.c.RemoteAddr(), at: x.r.at(x.c)}, all: all, reply: true,
	})
	return err
}
