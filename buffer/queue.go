package buffer

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Overflow says what a full queue does with one more message.
type Overflow uint8

const (
	Block      Overflow = iota // nobody is read until there is room: the peer waits, TCP pushes back
	DropOldest                 // the oldest message makes room
	DropNewest                 // the new message is not taken
)

// ParseOverflow reads a policy as --overflow takes it.
func ParseOverflow(s string) (Overflow, error) {
	switch s {
	case "block":
		return Block, nil
	case "drop-oldest":
		return DropOldest, nil
	case "drop-newest":
		return DropNewest, nil
	}
	return 0, fmt.Errorf("%q is not a policy: block, drop-oldest or drop-newest", s)
}

const (
	// DefaultCapacity and DefaultMaxMessage keep a daemon that nobody reads well under 64 MiB.
	DefaultCapacity   = 16 << 20
	DefaultMaxMessage = 1 << 20

	chunkSize = 256 << 10 // one system call's worth: beyond it nothing gets faster
	minRead   = 32 << 10  // a chunk with less free space than this, or than a quarter, is full
	smallPart = 4 << 10   // the beginning of a message up to this size is cheaper moved than kept apart
	segCost   = 96        // what a segment itself takes up, counted like bytes of a message
	mergeTime = time.Millisecond
)

// QueueOptions are the bounds of a queue. The zero value is a queue of lines with the defaults.
type QueueOptions struct {
	Frame      Frame
	Capacity   int // bytes; 0 = DefaultCapacity
	Overflow   Overflow
	MaxMessage int  // bytes; 0 = DefaultMaxMessage, at most Capacity
	CRLF       bool // with Line: what is put in gets "\r\n" behind each line

	Loss func() // called when messages were dropped or cut; it must not block nor use the queue
}

// A Queue holds messages in order, up to a number of bytes. What is taken out is a lease: it
// counts as in the queue until it is acknowledged, and goes back to its place otherwise. All
// methods may be called at the same time.
type Queue struct {
	frame    Frame
	capacity int
	overflow Overflow
	max      int
	crlf     bool
	loss     func()

	// intake is held while a source reads: there is then one chunk being filled, whatever the
	// number of peers, and bytes beyond the capacity are never in memory. It comes before mu.
	intake    sync.Mutex
	chunk     *chunk
	chunkSize int                  // of a queue that holds little: little
	leastRead int                  // a chunk with less free space is full
	parts     map[*Source]struct{} // who has an unfinished message

	mu      sync.Mutex
	segs    []segment // in order of seq; those before head have been taken
	head    int
	used    int // bytes that count towards the capacity: waiting, leased, unfinished
	leases  map[*Lease]struct{}
	waiters []*waiter
	changed chan struct{} // closed and renewed when something was freed, pushed or ended
	watched bool          // somebody waits for changed
	closed  bool
	seq     uint64
	spare   []*chunk
	count   Counts
	in, out rate
}

// Counts is what has gone through a queue since it was made, and what is in it now. It is a part of
// Stat.
type Counts struct {
	Messages   int   `json:"waiting" doc:"messages that wait to be taken or sent"`
	Bytes      int   `json:"waiting_bytes" doc:"their bytes, with those of the framing"`
	Leased     int   `json:"leased" doc:"messages that a reader has taken and not confirmed yet"`
	Unfinished int   `json:"unfinished_bytes" doc:"bytes of messages whose end has not come"`
	In         int64 `json:"in" doc:"messages that have come in"`
	InBytes    int64 `json:"in_bytes" doc:"their bytes, with those of the framing"`
	Out        int64 `json:"out" doc:"messages that have gone out"`
	OutBytes   int64 `json:"out_bytes" doc:"their bytes, with those of the framing"`
	Dropped    int64 `json:"dropped" doc:"messages that were dropped, as --overflow says"`
	Cut        int64 `json:"cut" doc:"pieces that were cut off messages longer than --max-message"`

	InRate  float64 `json:"in_rate" doc:"messages a second that come in, over about the last ten seconds"`
	OutRate float64 `json:"out_rate" doc:"messages a second that go out, over about the last ten seconds"`
}

// A chunk is memory that sources read into. It is used again when no segment refers to it.
type chunk struct {
	buf  []byte
	fill int
	refs int // segments that refer to it, and one while it is being filled
}

// A segment is a batch of whole messages of one peer that came at one time.
type segment struct {
	data  []byte
	n     int    // messages
	seq   uint64 // of the first one
	at    time.Time
	peer  string
	chunk *chunk // holds data; nil when data is memory of its own
	off   int    // of data in the chunk
	boxed bool   // kept as Datagram keeps them: messages with the byte in them that ends one in the queue's frame
}

// frameOf returns the framing of a segment's data.
func (q *Queue) frameOf(s *segment) Frame {
	if s.boxed {
		return Datagram
	}
	return q.frame
}

func (s *segment) cost() int { return len(s.data) + segCost }

type waiter struct {
	want Want
	got  chan *Lease // has room for one; closed when the queue ended
}

// NewQueue returns an empty queue. It holds no goroutine and needs no closing.
func NewQueue(o QueueOptions) *Queue {
	q := &Queue{
		frame: o.Frame, capacity: o.Capacity, overflow: o.Overflow, max: o.MaxMessage, crlf: o.CRLF, loss: o.Loss,
		leases: map[*Lease]struct{}{}, parts: map[*Source]struct{}{}, changed: make(chan struct{}),
	}
	if q.capacity == 0 {
		q.capacity = DefaultCapacity
	}
	if q.max == 0 {
		q.max = DefaultMaxMessage
	}
	q.max = min(q.max, q.capacity)
	q.chunkSize = min(chunkSize, max(minRead, q.capacity/4))
	q.leastRead = min(minRead, q.chunkSize/4)
	return q
}

// Frame returns the framing that the queue keeps its messages in.
func (q *Queue) Frame() Frame { return q.frame }

// encode appends one message in the queue's frame.
func (q *Queue) encode(dst, message []byte) []byte {
	if !q.crlf {
		return q.frame.Append(dst, message)
	}
	for line := range bytes.SplitSeq(message, []byte{'\n'}) {
		dst = append(append(dst, bytes.TrimSuffix(line, []byte{'\r'})...), '\r', '\n')
	}
	return dst
}

// Capacity returns the bytes that the queue holds at most.
func (q *Queue) Capacity() int { return q.capacity }

// Counts returns what is in the queue and what has gone through it.
func (q *Queue) Counts() Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.count
	now := time.Now()
	c.InRate, c.OutRate = q.in.value(now), q.out.value(now)
	return c
}

// Close takes no more messages. Who waits for one is given what is there, or ErrEnd.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.deliver()
	q.wake()
}

// Left returns how many messages are waiting or leased.
func (q *Queue) Left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count.Messages + q.count.Leased
}

// wake tells everybody who waits for a change. mu is held.
func (q *Queue) wake() {
	if q.watched {
		q.watched = false
		close(q.changed)
		q.changed = make(chan struct{})
	}
}

// wait returns when ok, called with mu held, returns true, or when ctx ends.
func (q *Queue) wait(ctx context.Context, ok func() bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !ok() {
		q.watched = true
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
			q.mu.Lock()
		case <-ctx.Done():
			q.mu.Lock()
			return context.Cause(ctx)
		}
	}
	return nil
}

// WaitEmpty returns when nothing is waiting and nothing is leased.
func (q *Queue) WaitEmpty(ctx context.Context) error {
	return q.wait(ctx, func() bool { return q.count.Messages+q.count.Leased == 0 })
}

// WaitLeases returns when nothing is leased.
func (q *Queue) WaitLeases(ctx context.Context) error {
	return q.wait(ctx, func() bool { return q.count.Leased == 0 })
}

// WaitGone returns when every message up to seq has been acknowledged (or dropped).
func (q *Queue) WaitGone(ctx context.Context, seq uint64) error {
	return q.wait(ctx, func() bool {
		if q.head < len(q.segs) && q.segs[q.head].seq <= seq {
			return false
		}
		for l := range q.leases {
			if len(l.segs) > 0 && l.segs[0].seq <= seq {
				return false
			}
		}
		return true
	})
}

// push puts a segment at the end. The memory is the queue's from now on. With a chunk, a
// reference to it is taken. mu is held.
func (q *Queue) push(s segment) {
	now := s.at
	s.seq = q.seq + 1
	q.seq += uint64(s.n)
	q.count.In += int64(s.n)
	q.count.InBytes += int64(len(s.data))
	q.in.add(now, s.n)
	q.count.Messages += s.n
	q.count.Bytes += len(s.data)
	if !q.extend(&s) {
		if s.chunk != nil {
			s.chunk.refs++
		}
		q.used += s.cost()
		q.segs = append(q.segs, s)
	}
	if q.overflow == DropOldest && q.used > q.capacity {
		q.drop(q.used - q.capacity)
	}
	q.deliver()
}

// extend makes s part of the last segment where the two are neighbours in every respect, so that
// small messages do not cost a segment each.
func (q *Queue) extend(s *segment) bool {
	if q.head == len(q.segs) || s.chunk == nil {
		return false
	}
	t := &q.segs[len(q.segs)-1]
	if t.chunk != s.chunk || t.off+len(t.data) != s.off || t.peer != s.peer || t.boxed != s.boxed ||
		t.seq+uint64(t.n) != s.seq || s.at.Sub(t.at) > mergeTime {
		return false
	}
	t.data = t.chunk.buf[t.off : t.off+len(t.data)+len(s.data)]
	t.n += s.n
	q.used += len(s.data)
	return true
}

func (q *Queue) lost() {
	if q.loss != nil {
		q.loss()
	}
}

// drop takes the oldest messages out until need bytes are free.
func (q *Queue) drop(need int) {
	for need > 0 && q.count.Messages > 0 {
		before := q.used
		s := q.pop(1, math.MaxInt)
		q.count.Dropped += int64(s.n)
		q.lost()
		q.free(&s)
		need -= before - q.used
	}
	q.wake()
}

// pop takes up to n messages and size bytes off the first segment, at least one message. They
// still count as used. mu is held and the queue is not empty.
func (q *Queue) pop(n, size int) segment {
	s := &q.segs[q.head]
	var got segment
	if s.n <= n && (len(s.data) <= size || s.n == 1) {
		got = *s
		*s = segment{}
		q.head++
		if q.head == len(q.segs) {
			q.segs, q.head = q.segs[:0], 0
		} else if q.head >= 64 && q.head > len(q.segs)/2 {
			q.segs = slices.Delete(q.segs, 0, q.head)
			q.head = 0
		}
	} else {
		got = q.split(s, n, size)
	}
	q.count.Messages -= got.n
	q.count.Bytes -= len(got.data)
	return got
}

// split cuts up to n messages and size bytes, at least one message, off the beginning of s.
func (q *Queue) split(s *segment, n, size int) segment {
	var cut, msgs int
	frame := q.frameOf(s)
	if n >= s.n {
		cut, msgs, _ = frame.Whole(s.data[:min(size, len(s.data))])
	}
	if msgs == 0 {
		for msgs < min(n, s.n) {
			_, k, _ := frame.Next(s.data[cut:])
			if msgs > 0 && cut+k > size {
				break
			}
			cut += k
			msgs++
		}
	}
	got := *s
	got.data, got.n = s.data[:cut:cut], msgs
	s.data, s.n, s.seq, s.off = s.data[cut:], s.n-msgs, s.seq+uint64(msgs), s.off+cut
	if s.n == 0 {
		panic("buffer: split took a whole segment")
	}
	if s.chunk != nil {
		s.chunk.refs++
	}
	q.used += segCost
	return got
}

// free gives the memory of a segment back. mu is held.
func (q *Queue) free(s *segment) {
	q.used -= s.cost()
	if s.chunk != nil {
		q.release(s.chunk)
	}
	*s = segment{}
}

func (q *Queue) release(c *chunk) {
	c.refs--
	if c.refs == 0 && (len(q.spare)+1)*q.chunkSize <= max(q.capacity, 2*q.chunkSize) {
		c.fill = 0
		q.spare = append(q.spare, c)
	}
}

// active returns the chunk to fill: it has room for need bytes. intake is held.
func (q *Queue) active(need int) *chunk {
	if q.chunk != nil {
		if len(q.chunk.buf)-q.chunk.fill >= need {
			return q.chunk
		}
		q.mu.Lock()
		q.release(q.chunk)
		q.mu.Unlock()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.spare); n > 0 {
		q.chunk, q.spare = q.spare[n-1], q.spare[:n-1]
	} else {
		q.chunk = &chunk{buf: make([]byte, q.chunkSize)}
	}
	q.chunk.refs = 1
	return q.chunk
}

// deliver gives what is waiting to those who wait for it, first come, first served. mu is held.
func (q *Queue) deliver() {
	for len(q.waiters) > 0 && (q.count.Messages > 0 || q.closed) {
		w := q.waiters[0]
		q.waiters = slices.Delete(q.waiters, 0, 1)
		if q.count.Messages > 0 {
			w.got <- q.lease(w.want)
		} else {
			close(w.got)
		}
	}
}

// Want says how much to take at once: up to so many messages and bytes, but at least one message.
type Want struct {
	Messages int
	Bytes    int
	Before   uint64 // only messages with a lower sequence number; 0 = all. Take does not heed it
}

// TryTake leases what is waiting. With nothing there it returns ErrEmpty, or ErrEnd when the
// queue is closed and will stay so.
func (q *Queue) TryTake(w Want) (*Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count.Messages == 0 || w.Before > 0 && q.segs[q.head].seq >= w.Before {
		if q.closed {
			return nil, ErrEnd
		}
		return nil, ErrEmpty
	}
	return q.lease(w), nil
}

// Take is TryTake, but waits for a message until ctx ends. Each message wakes one of those who
// wait, in the order in which they came.
func (q *Queue) Take(ctx context.Context, want Want) (*Lease, error) {
	want.Before = 0
	q.mu.Lock()
	if q.count.Messages > 0 && len(q.waiters) == 0 {
		defer q.mu.Unlock()
		return q.lease(want), nil
	}
	if q.closed {
		defer q.mu.Unlock()
		return nil, ErrEnd
	}
	w := &waiter{want: want, got: make(chan *Lease, 1)}
	q.waiters = append(q.waiters, w)
	q.mu.Unlock()
	select {
	case l, ok := <-w.got:
		if !ok {
			return nil, ErrEnd
		}
		return l, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	if i := slices.Index(q.waiters, w); i >= 0 {
		q.waiters = slices.Delete(q.waiters, i, i+1)
	}
	q.mu.Unlock()
	select {
	case l, ok := <-w.got: // it came in the same instant
		if ok {
			l.Return()
		}
	default:
	}
	return nil, context.Cause(ctx)
}

// Seq returns the sequence number that the next message will get.
func (q *Queue) Seq() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.seq + 1
}

// lease takes what w asks for; something is waiting and mu is held.
func (q *Queue) lease(w Want) *Lease {
	w.Messages, w.Bytes = max(w.Messages, 1), max(w.Bytes, 0)
	l := &Lease{q: q}
	l.segs = l.one[:0]
	for q.count.Messages > 0 && l.n < w.Messages {
		s := &q.segs[q.head]
		n, size := w.Messages-l.n, w.Bytes-l.size
		if w.Before > 0 {
			if s.seq >= w.Before {
				break
			}
			n = int(min(uint64(n), w.Before-s.seq))
		}
		if l.n > 0 && len(s.data) > size {
			break // the first may be split, to have something; the others would be for nothing
		}
		got := q.pop(n, size)
		l.segs = append(l.segs, got)
		l.n += got.n
		l.size += len(got.data)
	}
	q.count.Leased += l.n
	q.leases[l] = struct{}{}
	return l
}

// look returns what waits from the sequence number from on, like a lease, but leaves it where it is.
// It is ended by forget and nothing else.
func (q *Queue) look(from uint64, w Want) *Lease {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &Lease{q: q}
	rest := q.segs[q.head:]
	i, _ := slices.BinarySearchFunc(rest, from, func(s segment, seq uint64) int {
		if s.seq+uint64(s.n) <= seq {
			return -1
		}
		return 1
	})
	for _, s := range rest[i:] {
		for s.seq < from {
			_, k, _ := q.frameOf(&s).Next(s.data)
			s.data, s.n, s.seq, s.off = s.data[k:], s.n-1, s.seq+1, s.off+k
		}
		n, size := w.Messages-l.n, w.Bytes-l.size
		if w.Before > 0 {
			n = min(n, int(max(w.Before, s.seq)-s.seq))
		}
		if n < 1 || l.n > 0 && len(s.data) > size {
			break
		}
		part := s.n > n || s.n > 1 && len(s.data) > size
		if part {
			s = q.split(&s, n, size)
			q.used -= segCost // it is nobody's but ours
		} else if s.chunk != nil {
			s.chunk.refs++
		}
		l.segs = append(l.segs, s)
		l.n += s.n
		l.size += len(s.data)
		if part {
			break
		}
	}
	return l
}

// forget ends a look.
func (l *Lease) forget() {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	for _, s := range l.segs {
		if s.chunk != nil {
			l.q.release(s.chunk)
		}
	}
	l.segs = nil
}

// A Lease is messages that were taken and are not yet acknowledged. Its methods may be called by
// one goroutine at a time; a lease that is neither acknowledged nor returned stays out for ever.
type Lease struct {
	q    *Queue
	segs []segment
	one  [1]segment // most leases are one segment
	n    int
	size int
}

// Messages returns how many messages are leased, Size how many bytes they are in the queue's frame.
func (l *Lease) Messages() int { return l.n }
func (l *Lease) Size() int     { return l.size }

// Slices appends the messages, in the queue's frame, to dst. They are valid until the lease is
// acknowledged or returned. It is for queues that PutMessages has not filled, as it may have put
// in what the queue's frame cannot say.
func (l *Lease) Slices(dst [][]byte) [][]byte {
	for i := range l.segs {
		dst = append(dst, l.segs[i].data)
	}
	return dst
}

// A Message is one message with what is known about it.
type Message struct {
	Data []byte
	Seq  uint64 // 1 for the first that the queue was given
	Time time.Time
	Peer string
}

// Each calls f for each message in order.
func (l *Lease) Each(f func(Message)) {
	for i := range l.segs {
		s := &l.segs[i]
		for off, k := 0, 0; k < s.n; k++ {
			data, size, _ := l.q.frameOf(s).Next(s.data[off:])
			f(Message{Data: data, Seq: s.seq + uint64(k), Time: s.at, Peer: s.peer})
			off += size
		}
	}
}

// Ack says that all of it has arrived: the messages leave the queue.
func (l *Lease) Ack() { l.AckBytes(math.MaxInt) }

// AckBytes says that the first n bytes (of the messages in the queue's frame) have arrived. The
// messages that lie whole in them leave the queue and the lease. It returns the bytes that those
// were.
func (l *Lease) AckBytes(n int) int {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	done, k := 0, 0
	for ; k < len(l.segs); k++ {
		s := &l.segs[k]
		if rest := n - done; rest < len(s.data) {
			if size, _, _ := l.q.frameOf(s).Whole(s.data[:max(rest, 0)]); size > 0 {
				got := l.q.split(s, s.n, size)
				done += len(got.data)
				l.ack(&got)
			}
			break
		}
		done += len(s.data)
		l.ack(s)
	}
	l.segs = slices.Delete(l.segs, 0, k)
	if len(l.segs) == 0 {
		delete(l.q.leases, l)
	}
	if done > 0 {
		l.q.wake()
	}
	return done
}

// AckMessages says that the first n messages have arrived: they leave the queue and the lease.
func (l *Lease) AckMessages(n int) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	k := 0
	for ; k < len(l.segs) && n > 0; k++ {
		s := &l.segs[k]
		if s.n > n {
			got := l.q.split(s, n, math.MaxInt)
			l.ack(&got)
			break
		}
		n -= s.n
		l.ack(s)
	}
	l.segs = slices.Delete(l.segs, 0, k)
	if len(l.segs) == 0 {
		delete(l.q.leases, l)
	}
	l.q.wake()
}

func (l *Lease) ack(s *segment) {
	q := l.q
	l.n -= s.n
	l.size -= len(s.data)
	q.count.Leased -= s.n
	q.count.Out += int64(s.n)
	q.count.OutBytes += int64(len(s.data))
	q.out.add(time.Now(), s.n)
	q.free(s)
}

// Return puts what has not been acknowledged back to its place in the queue.
func (l *Lease) Return() {
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(l.segs) == 0 {
		return
	}
	rest := q.segs[q.head:]
	i, _ := slices.BinarySearchFunc(rest, l.segs[0].seq, func(s segment, seq uint64) int {
		if s.seq < seq {
			return -1
		}
		return 1
	})
	// A lease is a run of the queue, but others may have been returned into the midst of it.
	back := slices.Concat(rest[:i], l.segs, rest[i:])
	if i < len(rest) && rest[i].seq < l.segs[len(l.segs)-1].seq {
		slices.SortFunc(back, func(a, b segment) int {
			if a.seq < b.seq {
				return -1
			}
			return 1
		})
	}
	q.segs, q.head = back, 0
	for i := range l.segs {
		q.count.Messages += l.segs[i].n
		q.count.Bytes += len(l.segs[i].data)
	}
	q.count.Leased -= l.n
	l.segs, l.n, l.size = nil, 0, 0
	delete(q.leases, l)
	if q.overflow == DropOldest && q.used > q.capacity {
		q.drop(q.used - q.capacity)
	}
	q.deliver()
	q.wake()
}

// A rate is an average over about the last ten seconds that costs nothing while nothing happens.
type rate struct {
	perSecond float64
	at        time.Time
}

const rateWindow = 10.0 // seconds

func (r *rate) add(now time.Time, n int) {
	r.perSecond = r.value(now) + float64(n)/rateWindow
	r.at = now
}

func (r *rate) value(now time.Time) float64 {
	if r.at.IsZero() {
		return 0
	}
	return r.perSecond * math.Exp(-now.Sub(r.at).Seconds()/rateWindow)
}
