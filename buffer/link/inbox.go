package link

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/buffer"
)

const (
	readSize  = 64 << 10 // read at once from a peer that has much to say
	idleSize  = 1 << 10  // and from one that has not: it is what an idle peer costs
	maxBatch  = 1 << 10  // messages put into the queue at once
	maxLarge  = 64       // peers that have much to say at the same time; more of them are read bit by bit
	maxCredit = 4 << 20  // more does not help on any path that is likely
	minCredit = 64 << 10 // less would be one message at a time
	mostKnown = 4096     // streams that are remembered
)

// InboxOptions say who may send.
type InboxOptions struct {
	// One is for an inbox that is for one stream: the first that comes.
	One bool

	// Accept is asked about each connection that has said hello, before it is answered. The error
	// is told to the peer. It may be nil, and is called by many goroutines at a time.
	Accept func(id ID, name string) error
}

// An Inbox puts what comes over links into a queue: each message once and in order for each stream,
// with the boundaries that it has at the sender. One that contains the byte that ends a message in
// the queue's frame is one message all the same; one that is longer than the queue's bound is
// cut there, as any is, and the queue counts that.
//
// Of a stream it remembers which message was the last. It knows at most 4,096 streams, which
// have said no bye; when one more comes, it forgets the one whose last connection ended first.
type Inbox struct {
	q *buffer.Queue
	o InboxOptions

	mu      sync.Mutex
	streams streams
	serving map[*stream]*serving
}

// NewInbox returns an inbox for q. It does nothing but in Serve, and needs no closing.
func NewInbox(q *buffer.Queue, o InboxOptions) *Inbox {
	return &Inbox{q: q, o: o, streams: streams{most: mostKnown, one: o.One}, serving: map[*stream]*serving{}}
}

// A serving is a connection that has its stream.
type serving struct {
	conn   uint64
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// credit is a quarter of what the queue holds, so that one peer does not have it all on its way.
func (in *Inbox) credit() uint32 {
	return uint32(min(max(in.q.Capacity()/4, minCredit), maxCredit))
}

// Serve takes in what comes over conn, beginning with the magic, until the peer says that its
// stream has ended: then it returns nil. It returns an error when the connection breaks, the peer
// does what the wire does not allow, or ctx ends. It closes conn. peer is what the messages are
// said to come from. Many connections may be served at the same time, of one stream as well: the
// newer takes over and the older ends with ErrTakenOver.
func (in *Inbox) Serve(ctx context.Context, conn net.Conn, peer string) error {
	c := &incoming{
		in: in, conn: conn, beat: make(chan struct{}, 1), r: receiver{credit: in.credit()},
		src: in.q.NewSource(buffer.SourceOptions{Peer: peer, Whole: true}),
	}
	return c.serve(ctx)
}

// An incoming is one connection.
type incoming struct {
	in   *Inbox
	conn net.Conn
	src  *buffer.Source
	beat chan struct{}

	mu sync.Mutex
	r  receiver

	out      []byte   // of whoever says something
	buf      []byte   // what was read lies from pos to fill
	messages [][]byte // wanted, and not yet in the queue; they lie in buf
	pos      int
	fill     int
	large    *large // has buf and messages, while the peer says much
	idle     [idleSize]byte
	few      [idleSize/dataSize + 1][]byte
}

// A large is what it takes to read fast. The queue does not count it, so there are few.
type large struct {
	buf      [readSize]byte
	messages [maxBatch][]byte
}

var larges = sync.Pool{New: func() any { return new(large) }}

// fast counts those that are in use, of all inboxes: a pool has one for each daemon.
var fast atomic.Int32

// grow reads fast from now on, if that many others do not do so already.
func (c *incoming) grow() bool {
	if fast.Add(1) > maxLarge {
		fast.Add(-1)
		return false
	}
	c.large = larges.Get().(*large)
	c.buf, c.messages = c.large.buf[:], c.large.messages[:0]
	return true
}

// shrink is the way back. Nothing is in buf.
func (c *incoming) shrink() {
	if c.large != nil {
		larges.Put(c.large)
		fast.Add(-1)
	}
	c.large, c.buf, c.messages = nil, c.idle[:], c.few[:0]
}

func (c *incoming) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.conn.Close()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	defer c.src.Abort()
	c.buf, c.messages = c.idle[:], c.few[:0]
	defer c.shrink()

	c.conn.SetReadDeadline(time.Now().Add(greetTime))
	f, err := c.greeting()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errGreet
	}
	if err != nil {
		return because(ctx, err)
	}
	c.conn.SetReadDeadline(time.Time{})
	if in := c.in; in.o.Accept != nil {
		if err := in.o.Accept(f.id, string(f.text)); err != nil {
			return c.refuse(err)
		}
	}
	st, me, err := c.in.take(ctx, f, cancel)
	if err != nil {
		return c.refuse(because(ctx, err))
	}
	over := false
	defer func() { c.in.release(st, me, over) }()
	c.mu.Lock()
	c.r.begin(time.Now())
	c.r.accept(st)
	c.mu.Unlock()
	poke(c.beat)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	group.Go(func() { say(ctx, cancel, c.beat, c.say) })
	defer watch(ctx, cancel, c.tick)()
	over, err = c.read(ctx)
	if over {
		return nil
	}
	if ctx.Err() == nil && !errors.Is(err, errGone) {
		c.refuse(err)
	}
	return because(ctx, err)
}

// refuse tells the peer why, as far as that can be done at once.
func (c *incoming) refuse(err error) error {
	if op := (*net.OpError)(nil); !errors.As(err, &op) {
		c.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		c.conn.Write(appendBye(nil, err.Error()))
	}
	return err
}

// say says what there is to say. It has a buffer of its own: messages are taken in meanwhile.
func (c *incoming) say() error {
	c.mu.Lock()
	c.out = c.r.append(c.out[:0])
	c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out)
	return err
}

func (c *incoming) tick() (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	again, err := c.r.tick(time.Now())
	poke(c.beat)
	return again, err
}

// greeting reads the magic and the hello.
func (c *incoming) greeting() (frame, error) {
	for {
		if err := c.more(); err != nil {
			return frame{}, err
		}
		b := c.buf[:c.fill]
		n := min(len(b), len(Magic))
		if string(b[:n]) != Magic[:n] {
			return frame{}, errGreet
		}
		if len(b) <= n {
			continue
		}
		f, size, err := next(b[n:], 0)
		switch {
		case b[n] != kindHello, err != nil:
			return f, errGreet
		case size > 0:
			c.pos = n + size
			return f, nil
		}
	}
}

// more reads once. There is room in buf.
func (c *incoming) more() error {
	n, err := c.conn.Read(c.buf[c.fill:])
	c.fill += n
	if n > 0 {
		err = nil // it comes again
	}
	if err == io.EOF {
		err = errGone
	}
	return err
}

// take makes this connection the one that its stream goes on over.
func (in *Inbox) take(ctx context.Context, f frame, cancel context.CancelCauseFunc) (*stream, *serving, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	st, conn, err := in.streams.open(f.id, f.seq)
	if err != nil {
		return nil, nil, err
	}
	for old := in.serving[st]; old != nil && old.conn < conn; old = in.serving[st] {
		// It may be putting a message in; only when it has ended is it known which one was the last.
		old.cancel(ErrTakenOver)
		in.mu.Unlock()
		select {
		case <-old.done:
		case <-ctx.Done():
		}
		in.mu.Lock()
		if ctx.Err() != nil {
			in.streams.close(st, false)
			return nil, nil, context.Cause(ctx)
		}
	}
	if in.serving[st] != nil {
		in.streams.close(st, false)
		return nil, nil, ErrTakenOver
	}
	st.resume(f.seq)
	me := &serving{conn: conn, cancel: cancel, done: make(chan struct{})}
	in.serving[st] = me
	return st, me, nil
}

func (in *Inbox) release(st *stream, me *serving, over bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.serving, st)
	in.streams.close(st, over)
	close(me.done)
}

// read takes in frames until the stream or the connection ends.
func (c *incoming) read(ctx context.Context) (over bool, err error) {
	for {
		over, err := c.frames(ctx)
		if over || err != nil {
			return over, err
		}
		if again, err := c.makeRoom(ctx); err != nil {
			return false, err
		} else if again {
			continue
		}
		if err := c.more(); err != nil {
			return false, err
		}
		c.mu.Lock()
		c.r.hear(time.Now())
		c.mu.Unlock()
	}
}

// frames takes in the frames that are whole.
func (c *incoming) frames(ctx context.Context) (over bool, err error) {
	c.mu.Lock()
	said := false
	for err == nil && !over {
		f, size, e := next(c.buf[c.pos:c.fill], c.in.q.Capacity())
		if e != nil || size == 0 {
			err = e
			break
		}
		var want bool
		want, over, err = c.r.frame(f)
		if want {
			c.messages = append(c.messages, f.text)
		}
		said = said || c.r.pong || c.r.say != 0
		c.pos += size
		if len(c.messages) == maxBatch {
			c.mu.Unlock()
			if e := c.put(ctx); e != nil {
				return false, e
			}
			c.mu.Lock()
		}
	}
	c.mu.Unlock()
	if said {
		poke(c.beat)
	}
	// What came before a bad frame is good.
	if e := c.put(ctx); e != nil {
		return false, e
	}
	return over, err
}

// put puts the messages that were wanted into the queue.
func (c *incoming) put(ctx context.Context) error {
	for rest := c.messages; len(rest) > 0; {
		c.listen(false)
		n, err := c.src.PutMessages(ctx, rest)
		c.done(n)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	c.messages = c.messages[:0]
	return nil
}

func (c *incoming) listen(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.listen(time.Now(), on)
}

// done says that n messages are in the queue.
func (c *incoming) done(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.listen(time.Now(), true)
	if n > 0 {
		c.r.put(n)
		poke(c.beat)
	}
}

// makeRoom has buf ready to be read into: what is unfinished moves to the front, and a peer that
// says much at once, or nothing, gets a buffer that is fit for it. A message that no buffer
// holds is read here; again says that what follows it may have come already.
func (c *incoming) makeRoom(ctx context.Context) (again bool, err error) {
	full := c.fill == len(c.buf)
	rest := c.buf[c.pos:c.fill]
	if c.large != nil && len(rest) == 0 && c.fill < idleSize {
		c.shrink()
	} else {
		copy(c.buf, rest)
	}
	c.pos, c.fill = 0, len(rest)
	f, _, err := next(c.buf[:c.fill], c.in.q.Capacity())
	if err != nil {
		return false, err
	}
	size := 0
	if f.kind == kindData {
		size = dataSize + f.length
	}
	if c.large == nil && (full || size > idleSize) {
		small := c.buf[:c.fill]
		if c.grow() {
			copy(c.buf, small)
		}
	}
	if size > len(c.buf) {
		return true, c.long(ctx, f)
	}
	return false, nil
}

// long reads a message that is longer than a buffer, of which buf has the beginning and nothing
// else. It is kept, and counted, as far as it has come.
func (c *incoming) long(ctx context.Context, f frame) error {
	c.mu.Lock()
	want, _, err := c.r.frame(f)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := sum(c.buf, nil)
	c.pos = dataSize
	for rest := f.length; rest > 0; {
		if c.pos == c.fill {
			c.pos, c.fill = 0, 0
			if err := c.more(); err != nil {
				return err
			}
			c.mu.Lock()
			c.r.hear(time.Now())
			c.mu.Unlock()
		}
		piece := c.buf[c.pos:min(c.fill, c.pos+rest)]
		sum = crc32.Update(sum, table, piece)
		if want {
			c.listen(false)
			err := c.src.Keep(ctx, piece)
			c.listen(true)
			if err != nil {
				return err
			}
		}
		c.pos += len(piece)
		rest -= len(piece)
	}
	if sum != f.sum {
		return errSum
	}
	if !want {
		poke(c.beat)
	} else if err := c.src.PutKept(); err != nil {
		return err
	} else {
		c.done(1)
	}
	return nil
}
