package link

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"sockbox/buffer"
)

// OutboxOptions say how an outbox introduces itself.
type OutboxOptions struct {
	Name string // for people; at most 255 bytes of it are sent
	ID   ID     // of the stream; zero = a random one

	// Sent is told of bytes of messages that a connection has taken, which is progress though
	// nothing has been acknowledged yet. It may be nil; it must not block.
	Sent func(n int)
}

// An Outbox sends what is in a queue over one link, by one connection after the other. A message
// stays leased from the queue until the peer has acknowledged it.
type Outbox struct {
	q    *buffer.Queue
	sent func(n int)

	writing chan struct{} // has room for who writes, so that frames are not mixed

	mu     sync.Mutex
	s      sender
	leases []*buffer.Lease // the window's bundles
	ended  bool            // the queue is closed and all of it was taken
	moved  chan struct{}   // the window is no more what it was
	beat   chan struct{}   // there is something to say besides messages

	met  net.Conn // whose peer Greet has met
	rest []byte   // what it said behind its welcome
}

// outs are where bundles are made into frames. There may be hundreds of outboxes, of which few have
// something to send at a time.
var outs = sync.Pool{New: func() any { return new([]byte) }}

// NewOutbox returns an outbox for q. It does nothing but in Run.
func NewOutbox(q *buffer.Queue, o OutboxOptions) *Outbox {
	if o.ID == (ID{}) {
		rand.Read(o.ID[:])
	}
	return &Outbox{
		q: q, sent: o.Sent, writing: make(chan struct{}, 1), s: sender{id: o.ID, name: o.Name, first: 1},
		moved: make(chan struct{}, 1), beat: make(chan struct{}, 1),
	}
}

// ID returns the id of the stream.
func (o *Outbox) ID() ID { return o.s.id }

// Unacknowledged returns how many messages were taken out of the queue and have not been
// acknowledged. They are leased; Run sends those first that the next peer does not have.
func (o *Outbox) Unacknowledged() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.kept
}

// Release gives what has not been acknowledged back to the queue. The outbox is of no more use; it
// must not be running.
func (o *Outbox) Release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.leases {
		l.Return()
	}
	o.leases, o.s.window, o.s.kept, o.s.size = nil, nil, 0, 0
}

// Run sends over conn, as the one that speaks first, until the queue has been closed, all of it has
// been acknowledged and the peer was told so: then it returns nil. It returns an error when the
// connection breaks or ctx ends, and can be called again with another connection, which goes on
// where this one ended. It closes conn. An outbox runs once at a time.
func (o *Outbox) Run(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer conn.Close()
	defer stop()

	var hello []byte
	if o.met != conn {
		hello = o.hello()
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	heard := make(chan struct{})
	defer watch(ctx, cancel, func() (time.Duration, error) { // from here on: hello may not get through
		o.mu.Lock()
		defer o.mu.Unlock()
		again, err := o.s.tick(time.Now())
		poke(o.beat)
		return again, err
	})()
	if len(hello) > 0 {
		if _, err := conn.Write(hello); err != nil {
			return because(ctx, err)
		}
	}
	group.Go(func() { say(ctx, cancel, o.beat, func() error { return o.say(conn) }) })
	group.Go(func() {
		defer close(heard)
		cancel(o.hear(conn, false))
	})
	err := o.write(ctx, conn)
	if err == nil {
		if _, err = conn.Write(appendBye(nil, "")); err == nil {
			// The peer closes the connection. If we did, what is on its way to us would have the
			// kernel throw away what is on its way to the peer.
			select {
			case <-heard:
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			return nil
		}
	}
	return because(ctx, err)
}

// Greet has the peer at the other end of conn say that it is one, and does no more. Run, when it is called
// next and with that connection, goes on there. With an error conn has been closed.
func (o *Outbox) Greet(ctx context.Context, conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(greetTime))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	_, err := conn.Write(o.hello())
	if err == nil {
		err = o.hear(conn, true)
	}
	switch {
	case !stop():
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errGreet
	}
	if err != nil {
		conn.Close()
		return err
	}
	conn.SetDeadline(time.Time{})
	o.met = conn
	return nil
}

// hello begins a connection.
func (o *Outbox) hello() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.met, o.rest = nil, nil
	return o.s.connect(time.Now())
}

// because returns why ctx has ended, if it has, and not what that has led to.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// poke tells who waits for c.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// say says what there is to say besides messages.
func (o *Outbox) say(conn net.Conn) error {
	o.writing <- struct{}{}
	defer func() { <-o.writing }()
	o.mu.Lock()
	b := o.s.append(nil)
	o.mu.Unlock()
	if len(b) == 0 {
		return nil
	}
	_, err := conn.Write(b)
	return err
}

// say calls f whenever it is poked. Nobody else may wait for a peer that is not reading: not who
// reads, and not who looks at the clock.
func say(ctx context.Context, cancel context.CancelCauseFunc, poked <-chan struct{}, f func() error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-poked:
		}
		if err := f(); err != nil {
			cancel(err)
			return
		}
	}
}

// watch calls tick when the time has come that it asks for, beginning at once, until stop is called,
// ctx ends or tick says that the connection is dead.
func watch(ctx context.Context, cancel context.CancelCauseFunc, tick func() (time.Duration, error)) (stop func() bool) {
	var mu sync.Mutex // for timer
	mu.Lock()
	defer mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(0, func() {
		again, err := tick()
		if err != nil {
			cancel(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			timer.Reset(again)
		}
	})
	return func() bool {
		cancel(nil)
		mu.Lock()
		defer mu.Unlock()
		return timer.Stop()
	}
}

// write sends what there is, and returns nil when there will be no more and all of it has arrived.
func (o *Outbox) write(ctx context.Context, conn net.Conn) error {
	for {
		o.mu.Lock()
		if i, seq, ok := o.s.ready(); ok {
			// An ack of these, and with it the end of the lease, can come only after send.
			out := outs.Get().(*[]byte)
			b := (*out)[:0]
			o.leases[i].Each(func(m buffer.Message) {
				b = appendData(b, seq, m.Data)
				seq++
			})
			o.s.send()
			o.mu.Unlock()
			err := o.send(conn, b)
			if cap(b) <= 8*bundleBytes {
				*out = b
			}
			outs.Put(out)
			if err != nil {
				return err
			}
			continue
		}
		room, kept := o.s.room(), o.s.kept
		o.mu.Unlock()
		if room == 0 || o.ended {
			if o.ended && kept == 0 && o.greeted() {
				return nil
			}
			select {
			case <-o.moved:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		l, err := o.q.Take(ctx, buffer.Want{Messages: bundleMessages, Bytes: min(room, bundleBytes)})
		if errors.Is(err, buffer.ErrEnd) {
			o.ended = true
			continue
		}
		if err != nil {
			return err
		}
		o.mu.Lock()
		o.leases = append(o.leases, l)
		o.s.take(l.Messages(), l.Size())
		o.mu.Unlock()
	}
}

// send writes b, in pieces of which each is progress.
func (o *Outbox) send(conn net.Conn, b []byte) error {
	o.writing <- struct{}{}
	defer func() { <-o.writing }()
	for len(b) > 0 {
		n, err := conn.Write(b[:min(len(b), 4*bundleBytes)])
		if n > 0 && o.sent != nil {
			o.sent(n)
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (o *Outbox) greeted() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.greeted
}

// hear takes in what the peer says, until it says no more; with welcome, until it has said that.
func (o *Outbox) hear(conn net.Conn, welcome bool) error {
	buf := make([]byte, maxSmall)
	fill := copy(buf, o.rest)
	for {
		n, err := conn.Read(buf[fill:])
		if fill += n; n > 0 {
			used, e := o.frames(buf[:fill])
			if e != nil {
				return e
			}
			fill = copy(buf, buf[used:fill])
		}
		if welcome && o.greeted() {
			o.rest = buf[:fill]
			return nil
		}
		if err == io.EOF && !o.greeted() {
			return errDeaf
		}
		if err == io.EOF {
			return errGone
		}
		if err != nil {
			return err
		}
	}
}

// errGone is a connection that was closed in the midst of a stream.
var errGone = errors.New("the peer has closed the connection")

// errDeaf is one that was closed before the peer had said anything.
var errDeaf = errors.New("the peer has closed the connection without a word: is it a bind-input, and does it take the same --key, or none?")

func (o *Outbox) frames(b []byte) (used int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.s.hear(time.Now())
	moved, said := 0, false
	for {
		f, size, err := next(b[used:], 0)
		if err == nil && size > 0 {
			var n int
			n, err = o.s.frame(f)
			moved += n
			said = said || o.s.pong
		}
		if err != nil || size == 0 {
			o.acknowledge(moved)
			poke(o.moved)
			if said {
				poke(o.beat)
			}
			return used, err
		}
		used += size
	}
}

// acknowledge lets go of the first n messages that are kept.
func (o *Outbox) acknowledge(n int) {
	k := 0
	for ; n > 0; k++ {
		l := o.leases[k]
		m := l.Messages()
		if m > n {
			l.AckMessages(n)
			break
		}
		l.Ack()
		n -= m
	}
	o.leases = append(o.leases[:0], o.leases[k:]...)
}
