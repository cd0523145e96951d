package buffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"
	"time"
)

// SourceOptions say what a source's bytes look like. The zero value is the queue's own frame.
type SourceOptions struct {
	Peer  string // who it is, for people
	Frame Frame  // how messages are found in what is read
	Whole bool   // everything up to the end is one message, whatever Frame says
	CRLF  bool   // with Line: a carriage return before the end belongs to the end

	Patience time.Duration // how long to wait for room, each time; then ErrTimeout. 0 = for ever
}

// A Source finds messages in the bytes of one peer and puts them into a queue. It is used by one
// goroutine; many sources fill one queue. While its peer is silent it holds no memory but the
// beginning of an unfinished message.
type Source struct {
	q    *Queue
	o    SourceOptions
	part []byte // the beginning of a message whose end has not come, guarded by q.intake
	long int    // netstring: payload still to come of a message that is being cut
	n    int    // messages put into the queue
	size int    // bytes read

	refused error // why nothing more is taken, guarded by q.intake
}

// NewSource returns a source. The caller ends it with Finish or Abort.
func (q *Queue) NewSource(o SourceOptions) *Source { return &Source{q: q, o: o} }

// Messages returns how many messages the source has put into the queue, Size how many bytes it has read.
func (s *Source) Messages() int { return s.n }
func (s *Source) Size() int     { return s.size }

var (
	errNoRoom = errors.New("no room")
	// ErrTooLong is what becomes of one message that exceeds the queue's bound and cannot be cut.
	ErrTooLong = errors.New("the message is too long")
)

// Pull waits until the queue has room and c has bytes, and takes in what is there. At the end of c
// it returns io.EOF. With ctx it stops waiting for room; to stop it from waiting for bytes, close
// c or set its deadline.
func (s *Source) Pull(ctx context.Context, c syscall.Conn) error {
	return s.PullN(ctx, c, math.MaxInt, nil)
}

// PullN is Pull for at most limit bytes; it tells how many it took in got.
func (s *Source) PullN(ctx context.Context, c syscall.Conn, limit int, got *int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	for {
		if err := s.waitRoom(ctx); err != nil {
			return err
		}
		var n int
		var fill error
		err := raw.Read(func(fd uintptr) bool {
			n, fill = s.fill(limit, func(p []byte) (int, error) { return readFD(int(fd), p) })
			return !errors.Is(fill, syscall.EAGAIN)
		})
		if got != nil {
			*got = max(n, 0)
		}
		switch {
		case err != nil:
			return err
		case errors.Is(fill, errNoRoom):
			continue // another source took it in the meantime
		case fill != nil:
			return fill
		case n == 0:
			return io.EOF
		}
		return nil
	}
}

// Feed takes in p, in pieces as there is room for them, from a peer that has no descriptor to wait on.
func (s *Source) Feed(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		if err := s.waitRoom(ctx); err != nil {
			return err
		}
		n, err := s.fill(len(p), func(b []byte) (int, error) { return copy(b, p), nil })
		if err != nil && err != errNoRoom {
			return err
		}
		p = p[n:]
	}
	return nil
}

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// room returns how many bytes may be read now. intake is held.
func (q *Queue) room() int {
	if q.overflow != Block {
		return min(q.capacity, chunkSize)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.capacity - q.used
}

// lowWater is the room that a waiting source waits for, so that a full queue is not filled byte by byte.
func (q *Queue) lowWater() int { return min(minRead, q.capacity/8) }

// waitRoom is the queue's, for as long as the source has patience.
func (s *Source) waitRoom(ctx context.Context) error {
	q := s.q
	if s.o.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.o.Patience, ErrTimeout)
		defer cancel()
	}
	if q.overflow != Block && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return q.waitRoom(ctx, func() bool {
		if q.overflow != Block { // waiting messages make room by being dropped
			return q.capacity-q.count.Unfinished >= q.lowWater()
		}
		return q.capacity-q.used >= q.lowWater()
	})
}

// waitRoom returns when there is room: when enough, called with mu held, says so. While all the room
// is taken by unfinished messages, and so nobody could ever make any, the longest of them is cut.
func (q *Queue) waitRoom(ctx context.Context, enough func() bool) error {
	stuck := false
	ok := func() bool {
		stuck = !enough() && (q.overflow != Block || q.count.Messages+q.count.Leased == 0)
		return q.closed || stuck || enough()
	}
	for {
		err := q.wait(ctx, ok)
		switch {
		case err != nil:
			return err
		case q.isClosed():
			return ErrEnd
		case !stuck:
			return nil
		}
		q.cutLongest(func() bool { ok(); return stuck })
	}
}

// cutLongest makes a message of the longest unfinished one, if that is still needed: of all those who
// wait for room, one does it. What cannot be cut is refused.
func (q *Queue) cutLongest(needed func() bool) {
	q.intake.Lock()
	defer q.intake.Unlock()
	q.mu.Lock()
	ok := needed()
	q.mu.Unlock()
	if !ok {
		return
	}
	var longest *Source
	for s := range q.parts {
		if longest == nil || len(s.part) > len(longest.part) {
			longest = s
		}
	}
	switch s := longest; {
	case s == nil:
	case s.o.Whole || s.headless():
		s.refused = fmt.Errorf("%w: others have taken the room for it", ErrTooLong)
		s.setPart(nil)
	default:
		if !s.o.Frame.delimited() && s.long == 0 {
			s.behead()
		}
		s.cut(len(s.part))
	}
}

// headless tells whether not even the length of an unfinished netstring has come.
func (s *Source) headless() bool {
	if s.o.Frame.delimited() || s.long != 0 {
		return false
	}
	head, _, _ := netstringHead(s.part)
	return head == 0
}

// fill reads once and takes in what came. intake orders the sources of a queue; read must not
// block for long.
func (s *Source) fill(limit int, read func([]byte) (int, error)) (int, error) {
	q := s.q
	q.intake.Lock()
	defer q.intake.Unlock()
	if s.refused != nil {
		return 0, s.refused
	}
	room := min(q.room(), limit)
	if room <= 0 {
		return 0, errNoRoom
	}
	small := 0
	if len(s.part) <= smallPart && s.long == 0 {
		small = len(s.part)
	}
	c := q.active(small + q.leastRead)
	at := c.fill + small
	n, err := read(c.buf[at:min(len(c.buf), at+room)])
	if n <= 0 || err != nil {
		return n, err
	}
	s.size += n
	if small > 0 {
		copy(c.buf[c.fill:], s.part)
		s.setPart(nil)
	}
	if len(s.part) > 0 || s.long != 0 {
		err = s.finishPart(c, c.buf[at:at+n])
	} else {
		err = s.accept(c, c.fill, c.buf[c.fill:at+n])
	}
	if err == nil {
		err = s.refused // the queue was closed in the meantime
	}
	return n, err
}

// accept puts the whole messages of data into the queue and keeps the rest. data lies at off in c,
// where nobody else has read it in yet.
func (s *Source) accept(c *chunk, off int, data []byte) error {
	q := s.q
	if s.o.Whole {
		s.setPart(append(s.part, data...))
		if len(s.part) > q.max {
			return fmt.Errorf("%w: the limit is %d bytes", ErrTooLong, q.max)
		}
		return nil
	}
	size, n, err := s.o.Frame.Whole(data)
	if n > 0 {
		if s.o.Frame == q.frame && size <= q.max && !q.crlf && !(s.o.CRLF && bytes.IndexByte(data[:size], '\r') >= 0) {
			if s.put(segment{data: data[:size], n: n, chunk: c, off: off}) {
				c.fill = off + size
			}
		} else {
			s.convert(data[:size])
		}
	}
	if err != nil {
		return err
	}
	s.setPart(append(s.part, data[size:]...))
	return s.trim()
}

// convert takes in whole messages that cannot go into the queue as they are.
func (s *Source) convert(data []byte) {
	out := make([]byte, 0, len(data)+len(data)/8)
	for len(data) > 0 {
		m, size, _ := s.o.Frame.Next(data)
		data = data[size:]
		if s.o.CRLF {
			m = bytes.TrimSuffix(m, []byte{'\r'})
		}
		for len(m) > s.q.max {
			out = s.q.encode(out, m[:s.q.max])
			m = m[s.q.max:]
			s.countCut(1)
		}
		out = s.q.encode(out, m)
	}
	s.putOwn(out)
}

// finishPart continues a message that began long ago (and is long) with data.
func (s *Source) finishPart(c *chunk, data []byte) error {
	var pieces []byte
	for s.long > 0 && len(data) > 0 { // the rest of a netstring whose beginning was cut off
		n := min(s.long, len(data), s.q.max-len(s.part))
		s.setPart(append(s.part, data[:n]...))
		data = data[n:]
		s.long -= n
		if len(s.part) == s.q.max || s.long == 0 {
			pieces = s.q.encode(pieces, s.part)
			s.setPart(nil)
			s.countCut(min(s.long, 1)) // the last one was not cut off
		}
		if s.long == 0 {
			s.long = -1 // the comma
		}
	}
	s.putOwn(pieces)
	if s.long < 0 && len(data) > 0 {
		if data[0] != ',' {
			return errFrame
		}
		data = data[1:]
		s.long = 0
	}
	if len(data) == 0 {
		return nil
	}
	if len(s.part) > 0 && !s.o.Whole {
		end := -1
		if s.o.Frame.delimited() {
			end = bytes.IndexByte(data, s.o.Frame.end())
		} else if head, length, err := netstringHead(s.part); err != nil {
			return err
		} else if rest := head + length + 1 - len(s.part); head > 0 && rest <= len(data) {
			end = rest - 1
		}
		if end < 0 {
			s.setPart(append(s.part, data...))
			return s.trim()
		}
		message := append(s.part, data[:end+1]...)
		s.setPart(nil)
		data = data[end+1:]
		if _, n, err := s.o.Frame.Whole(message); err != nil || n == 0 {
			return errFrame
		}
		if s.o.Frame == s.q.frame && len(message) <= s.q.max && !s.o.CRLF && !s.q.crlf {
			s.put(segment{data: message, n: 1})
		} else {
			s.convert(message)
		}
	}
	// What follows lies in the chunk, behind free memory.
	off := c.fill
	copy(c.buf[off:], data)
	return s.accept(c, off, c.buf[off:off+len(data)])
}

// trim cuts an unfinished message down to what a message may be.
func (s *Source) trim() error {
	limit := s.q.max
	if s.o.Frame.delimited() {
		size := len(s.part)
		if s.o.CRLF && size > 0 && s.part[size-1] == '\r' {
			size-- // it may belong to the end
		}
		if size > limit {
			s.cut((size - 1) / limit * limit)
		}
		return nil
	}
	head, length, err := netstringHead(s.part)
	if err != nil || head == 0 || length <= limit {
		return err
	}
	s.behead()
	if s.long < 0 { // all of it is there, but for the comma
		s.cut(len(s.part))
	} else {
		s.cut(len(s.part) / limit * limit)
	}
	return nil
}

// cut makes messages of the first n bytes of the unfinished one.
func (s *Source) cut(n int) {
	var out []byte
	rest, pieces := s.part, 0
	if s.long < 0 && n == 0 {
		out = s.q.encode(out, nil) // "0:"
	}
	for ; n > 0; pieces++ {
		k := min(n, s.q.max)
		out = s.q.encode(out, rest[:k])
		rest, n = rest[k:], n-k
	}
	if s.long < 0 && len(rest) == 0 && pieces > 0 {
		pieces-- // the last one was not cut off
	}
	s.setPart(append([]byte(nil), rest...))
	s.countCut(pieces)
	s.putOwn(out)
}

// behead takes the length off an unfinished netstring: from now on its payload is passed on in pieces.
func (s *Source) behead() {
	head, length, _ := netstringHead(s.part)
	s.setPart(s.part[head:])
	if s.long = length - len(s.part); s.long == 0 {
		s.long = -1 // the comma
	}
}

func (s *Source) countCut(n int) {
	if n == 0 {
		return
	}
	s.q.mu.Lock()
	s.q.count.Cut += int64(n)
	s.q.lost()
	s.q.mu.Unlock()
}

// setPart keeps p as the unfinished message and counts its memory. intake is held.
func (s *Source) setPart(p []byte) {
	before := cap(s.part)
	if len(p) == 0 {
		p = nil // a peer that is silent between messages holds nothing
	}
	s.part = p
	if len(p) > 0 {
		s.q.parts[s] = struct{}{}
	} else {
		delete(s.q.parts, s)
	}
	if d := cap(p) - before; d != 0 {
		s.q.mu.Lock()
		s.q.used += d
		s.q.count.Unfinished += d
		if d < 0 {
			s.q.wake()
		}
		s.q.mu.Unlock()
	}
}

// putOwn takes in encoded messages in memory of their own.
func (s *Source) putOwn(data []byte) {
	if _, n, _ := s.q.frame.Whole(data); n > 0 {
		s.put(segment{data: data, n: n})
	}
}

// put gives messages to the queue, as far as the overflow policy lets it. It returns false when
// none of the segment's memory is in use.
func (s *Source) put(seg segment) bool {
	q := s.q
	seg.peer, seg.at = s.o.Peer, time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		s.refused = ErrEnd
		q.count.Dropped += int64(seg.n)
		q.lost()
		return false
	}
	if over := q.used + seg.cost() - q.capacity; over > 0 && q.overflow == DropNewest {
		size, n, _ := q.frameOf(&seg).Whole(seg.data[:max(len(seg.data)-over, 0)])
		q.count.Dropped += int64(seg.n - n)
		q.lost()
		if n == 0 {
			return false
		}
		seg.data, seg.n = seg.data[:size], n
	}
	s.n += seg.n
	q.push(seg)
	return true
}

// PutMessages puts messages in whose boundaries are known: none becomes two, whatever bytes it has
// in it, and only those that are longer than the queue's bound are cut. It waits until there is
// room for the first, or ctx ends, and returns how many it took: those that there was room for.
// What the overflow policy drops counts as taken.
func (s *Source) PutMessages(ctx context.Context, messages [][]byte) (taken int, err error) {
	q := s.q
	size := 0
	for _, m := range messages {
		if size += len(m) + segCost; size > q.lowWater() {
			break
		}
	}
	need := max(min(size, q.lowWater()), boxCost(messages[0])+segCost)
	for {
		err := q.waitRoom(ctx, func() bool {
			if q.overflow != Block {
				return q.capacity-q.count.Unfinished >= min(need, q.lowWater())
			}
			return q.used == 0 || q.capacity-q.used >= need
		})
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return 0, err
		}
		n, err := s.putSome(messages, need)
		if err != errNoRoom {
			return n, err
		}
	}
}

// boxCost is what a message takes up at most in the encoding of any frame.
func boxCost(m []byte) int { return len(m) + 12 }

// putSome puts in those messages that there is room for.
func (s *Source) putSome(messages [][]byte, need int) (taken int, err error) {
	q := s.q
	q.intake.Lock()
	defer q.intake.Unlock()
	if s.refused != nil {
		return 0, s.refused
	}
	room := q.room()
	if q.overflow == Block {
		q.mu.Lock()
		empty := q.used == 0
		q.mu.Unlock()
		if room < need && !empty {
			return 0, errNoRoom // another source took it in the meantime
		}
	}
	size := 0
	for _, m := range messages {
		k := boxCost(m) + len(m)/q.max*12
		if taken > 0 && size+k+segCost > room {
			break
		}
		size += k
		taken++
	}
	var c *chunk
	var buf []byte
	if size <= q.chunkSize-q.leastRead {
		c = q.active(size)
		buf = c.buf[c.fill:c.fill]
	} else {
		buf = make([]byte, 0, size)
	}
	s.putEach(c, buf, messages[:taken])
	if s.refused != nil {
		return 0, s.refused // the queue was closed in the meantime
	}
	return taken, nil
}

// putEach encodes messages into buf, which lies in c behind what is in use there, and puts them
// into the queue: in one segment, but for those that have to be kept apart.
func (s *Source) putEach(c *chunk, buf []byte, messages [][]byte) {
	q := s.q
	begin, n, boxed, off := 0, 0, false, 0
	if c != nil {
		off = c.fill
	}
	flush := func() {
		if n > 0 {
			s.put(segment{data: buf[begin:], n: n, chunk: c, off: off + begin, boxed: boxed})
		}
		begin, n = len(buf), 0
	}
	for _, m := range messages {
		for {
			piece := m[:min(len(m), q.max)]
			if box := q.frame.delimited() && bytes.IndexByte(piece, q.frame.end()) >= 0; box != boxed {
				flush()
				boxed = box
			}
			if boxed {
				buf = Datagram.Append(buf, piece)
			} else {
				buf = q.frame.Append(buf, piece)
			}
			n++
			if m = m[len(piece):]; len(m) == 0 {
				break
			}
			s.countCut(1)
		}
	}
	flush()
	if c != nil {
		c.fill += len(buf)
	}
}

// Keep adds p to a message that comes in pieces and whose boundaries are known; PutKept ends it. It
// waits for room until ctx ends. Where unfinished messages take all the room and this one is the
// longest, it is let go of and the error says so; that is the end of the source.
func (s *Source) Keep(ctx context.Context, p []byte) error {
	if err := s.waitRoom(ctx); err != nil {
		return err
	}
	s.q.intake.Lock()
	defer s.q.intake.Unlock()
	if s.refused == nil {
		s.setPart(append(s.part, p...))
	}
	return s.refused
}

// PutKept puts the message in of which Keep has the pieces.
func (s *Source) PutKept() error {
	s.q.intake.Lock()
	defer s.q.intake.Unlock()
	if s.refused != nil {
		return s.refused
	}
	message := s.part
	s.setPart(nil) // its room is the message's
	s.putEach(nil, make([]byte, 0, boxCost(message)+len(message)/s.q.max*12), [][]byte{message})
	return s.refused
}

// Finish ends the source: what its peer left unfinished is a message too, where the frame allows it.
// The error tells that it does not, or that the queue has not taken all that the source found.
func (s *Source) Finish() error {
	s.q.intake.Lock()
	defer s.q.intake.Unlock()
	part := s.part
	s.setPart(nil) // its room is the message's
	switch {
	case s.refused != nil:
	case s.o.Whole:
		s.putOwn(s.q.encode(nil, part))
	case len(part) == 0 && s.long == 0:
	case s.o.Frame.delimited():
		s.convert(append(part, s.o.Frame.end()))
	default:
		return io.ErrUnexpectedEOF
	}
	return s.refused
}

// Abort ends the source; what is unfinished is dropped.
func (s *Source) Abort() {
	s.q.intake.Lock()
	defer s.q.intake.Unlock()
	s.setPart(nil)
}

// TryPut encodes one message and puts it into the queue, whole or not at all. Where there is no
// room the error is ErrFull, with DropOldest never. It returns how many messages it became (a line
// with a line's end in it is two) and the sequence number of the last one.
func (q *Queue) TryPut(message []byte, peer string) (n int, seq uint64, err error) {
	if n, seq, _, err = q.put(nil, message, peer); err != nil {
		n = 0
	}
	return n, seq, err
}

// Put is TryPut, but with the policy Block it waits for room until ctx ends.
func (q *Queue) Put(ctx context.Context, message []byte, peer string) (n int, seq uint64, err error) {
	n, seq, data, err := q.put(nil, message, peer)
	for err == ErrFull && q.overflow == Block {
		cost := len(data) + segCost
		if err := q.waitRoom(ctx, func() bool { return q.fits(cost) }); err != nil {
			return 0, 0, err
		}
		n, seq, data, err = q.put(data, message, peer)
	}
	if err != nil {
		n = 0
	}
	return n, seq, err
}

// Offer is TryPut for a message whose sender cannot be told, as a datagram: what finds no room is
// dropped and counted, as the messages that it would have become.
func (q *Queue) Offer(message []byte, peer string) {
	if n, _, _, err := q.put(nil, message, peer); err != nil {
		q.mu.Lock()
		q.count.Dropped += int64(max(n, 1))
		q.lost()
		q.mu.Unlock()
	}
}

// put puts message in if there is room; data is the message encoded, or nil. Where it
// cannot go in, n is how many it would have been.
func (q *Queue) put(data, message []byte, peer string) (n int, seq uint64, encoded []byte, err error) {
	if len(message) > q.max {
		return 0, 0, nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLong, len(message), q.max)
	}
	if data == nil {
		data = q.encode(make([]byte, 0, len(message)+24), message)
	}
	_, n, _ = q.frame.Whole(data)
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return n, 0, nil, ErrEnd
	case !q.fits(len(data) + segCost):
		return n, 0, data, ErrFull
	}
	q.push(segment{data: data, n: n, peer: peer, at: time.Now()})
	return n, q.seq, data, nil
}

// fits tells whether a segment may be put in. mu is held.
func (q *Queue) fits(cost int) bool {
	return q.overflow == DropOldest || q.used+cost <= q.capacity || q.used == 0
}

func (q *Queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
