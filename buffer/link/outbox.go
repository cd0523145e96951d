package link

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"sockbox/buffer"
)

// OutboxOptions say how an outbox introduces itself.
type OutboxOptions struct {
	Name string // for people; at most 255 bytes of it are sent
	ID   ID     // of the stream; zero = a random one
}

// An Outbox sends what is in a queue over one link, by one connection after the other. A message
// stays leased from the queue until the peer has acknowledged it.
type Outbox struct {
	q *buffer.Queue

	mu     sync.Mutex
	s      sender
	leases []*buffer.Lease // the window's bundles
	ended  bool            // the queue is closed and all of it was taken
	moved  chan struct{}   // the window is no more what it was
	beat   chan struct{}   // there is something to say besides messages

	out []byte // of whoever runs
}

// NewOutbox returns an outbox for q. It does nothing but in Run.
func NewOutbox(q *buffer.Queue, o OutboxOptions) *Outbox {
	if o.ID == (ID{}) {
		rand.Read(o.ID[:])
	}
	return &Outbox{q: q, s: sender{id: o.ID, name: o.Name, first: 1}, moved: make(chan struct{}, 1), beat: make(chan struct{}, 1)}
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

	o.mu.Lock()
	hello := o.s.connect(time.Now())
	o.mu.Unlock()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	heard := make(chan struct{})
	group.Go(func() { // also while hello is being written: it is this that notices when nothing comes back
		beat(ctx, cancel, conn, o.beat, o.step)
	})
	if _, err := conn.Write(hello); err != nil {
		return because(ctx, err)
	}
	group.Go(func() {
		defer close(heard)
		cancel(o.hear(conn))
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

// step is what beat calls.
func (o *Outbox) step(dst []byte) ([]byte, time.Duration, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	again, err := o.s.tick(time.Now())
	return o.s.append(dst), again, err
}

// beat says what step has to say, when poked and when the time has come. Nobody who reads does it:
// a write waits for a peer that is not reading.
func beat(ctx context.Context, cancel context.CancelCauseFunc, conn net.Conn, poked <-chan struct{}, step func([]byte) ([]byte, time.Duration, error)) {
	var out []byte
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poked:
		case <-timer.C:
		}
		var again time.Duration
		var err error
		out, again, err = step(out[:0])
		if err == nil && len(out) > 0 {
			_, err = conn.Write(out)
		}
		if err != nil {
			cancel(err)
			return
		}
		timer.Reset(again)
	}
}

// write sends what there is, and returns nil when there will be no more and all of it has arrived.
func (o *Outbox) write(ctx context.Context, conn net.Conn) error {
	for {
		o.mu.Lock()
		if i, seq, ok := o.s.ready(); ok {
			// An ack of these, and with it the end of the lease, can come only after send.
			b := o.out[:0]
			o.leases[i].Each(func(m buffer.Message) {
				b = appendData(b, seq, m.Data)
				seq++
			})
			o.s.send()
			o.mu.Unlock()
			if _, err := conn.Write(b); err != nil {
				return err
			}
			if o.out = b; cap(b) > 8*bundleBytes {
				o.out = nil
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

func (o *Outbox) greeted() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s.greeted
}

// hear takes in what the peer says, until it says no more.
func (o *Outbox) hear(conn net.Conn) error {
	buf := make([]byte, maxSmall)
	fill := 0
	for {
		n, err := conn.Read(buf[fill:])
		if fill += n; n > 0 {
			used, e := o.frames(buf[:fill])
			if e != nil {
				return e
			}
			fill = copy(buf, buf[used:fill])
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
