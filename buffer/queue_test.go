package buffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// audit goes through the books of a queue and tells what does not add up.
func (q *Queue) audit() error {
	q.intake.Lock()
	defer q.intake.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	var waiting, leased, size, used, unfinished int
	refs := map[*chunk]int{}
	if q.chunk != nil {
		refs[q.chunk]++
	}
	type span struct{ first, last uint64 }
	var spans []span
	segments := func(where string, segs []segment) error {
		for i := range segs {
			s := &segs[i]
			if k, n, err := q.frameOf(s).Whole(s.data); s.n == 0 || n != s.n || k != len(s.data) || err != nil {
				return fmt.Errorf("a %s segment of %d messages: Whole(%.40q) = %d of %d, %d, %v", where, s.n, s.data, k, len(s.data), n, err)
			}
			if i > 0 && segs[i-1].seq+uint64(segs[i-1].n) > s.seq {
				return fmt.Errorf("a %s segment begins at %d, the one before has %d from %d", where, s.seq, segs[i-1].n, segs[i-1].seq)
			}
			if c := s.chunk; c != nil {
				refs[c]++
				if s.off+len(s.data) > c.fill || &c.buf[s.off] != &s.data[0] {
					return fmt.Errorf("a %s segment is not at %d in its chunk, which is filled to %d", where, s.off, c.fill)
				}
			}
			spans = append(spans, span{s.seq, s.seq + uint64(s.n) - 1})
			used += len(s.data) + segCost
		}
		return nil
	}
	if err := segments("waiting", q.segs[q.head:]); err != nil {
		return err
	}
	for i := range q.segs[q.head:] {
		waiting += q.segs[q.head+i].n
		size += len(q.segs[q.head+i].data)
	}
	for l := range q.leases {
		if err := segments("leased", l.segs); err != nil {
			return err
		}
		n, size := 0, 0
		for i := range l.segs {
			n, size = n+l.segs[i].n, size+len(l.segs[i].data)
		}
		if n == 0 || n != l.n || size != l.size {
			return fmt.Errorf("a lease counts %d messages, %d bytes; it has %d, %d", l.n, l.size, n, size)
		}
		leased += n
	}
	slices.SortFunc(spans, func(a, b span) int { return int(int64(a.first - b.first)) })
	for i := 1; i < len(spans); i++ {
		if spans[i-1].last >= spans[i].first {
			return fmt.Errorf("message %d is there twice", spans[i].first)
		}
	}
	for s := range q.parts {
		if len(s.part) == 0 {
			return errors.New("a source without an unfinished message is counted as having one")
		}
		unfinished += cap(s.part)
	}
	used += unfinished
	c := q.count
	if c.Messages != waiting || c.Bytes != size || c.Leased != leased || c.Unfinished != unfinished || q.used != used {
		return fmt.Errorf("counted %d waiting of %d bytes, %d leased, %d unfinished, %d used; there are %d of %d, %d, %d, %d",
			c.Messages, c.Bytes, c.Leased, c.Unfinished, q.used, waiting, size, leased, unfinished, used)
	}
	if gone := c.In - c.Out - int64(waiting+leased); gone != 0 && (q.overflow != DropOldest || gone < 0 || gone > c.Dropped) {
		return fmt.Errorf("%d came in, %d went out, %d were dropped; %d are there", c.In, c.Out, c.Dropped, waiting+leased)
	}
	for c, n := range refs {
		if c.refs != n {
			return fmt.Errorf("a chunk counts %d references, there are %d", c.refs, n)
		}
	}
	for i, c := range q.spare {
		if refs[c] > 0 || c.refs != 0 || c.fill != 0 || slices.Contains(q.spare[:i], c) {
			return fmt.Errorf("a spare chunk has %d references, is filled to %d", refs[c]+c.refs, c.fill)
		}
	}
	if len(q.waiters) > 0 && (waiting > 0 || q.closed) {
		return fmt.Errorf("%d wait, and %d messages too", len(q.waiters), waiting)
	}
	if q.overflow == DropOldest && q.used > q.capacity && waiting > 0 && leased+unfinished == 0 {
		return fmt.Errorf("%d bytes are used of %d, and %d messages wait", q.used, q.capacity, waiting)
	}
	return nil
}

func audit(t *testing.T, q *Queue) {
	t.Helper()
	if err := q.audit(); err != nil {
		t.Fatal(err)
	}
}

// texts returns the messages of a lease.
func texts(l *Lease) (all []string) {
	l.Each(func(m Message) { all = append(all, string(m.Data)) })
	return all
}

// drain takes all that is waiting.
func drain(q *Queue) (all []string) {
	for {
		l, err := q.TryTake(Want{Messages: math.MaxInt, Bytes: math.MaxInt})
		if err != nil {
			return all
		}
		all = append(all, texts(l)...)
		l.Ack()
	}
}

// fresh returns a queue with some messages in it.
func fresh(t *testing.T, o QueueOptions, messages ...string) *Queue {
	t.Helper()
	q := NewQueue(o)
	for _, m := range messages {
		if _, _, err := q.TryPut([]byte(m), "test"); err != nil {
			t.Fatalf("TryPut(%q): %v", m, err)
		}
	}
	return q
}

// fed is fresh, but the messages are in one segment, as they came from a peer.
func fed(t *testing.T, o QueueOptions, messages ...string) *Queue {
	t.Helper()
	q := NewQueue(o)
	s := q.NewSource(SourceOptions{Frame: o.Frame, Peer: "peer"})
	var b []byte
	for _, m := range messages {
		b = o.Frame.Append(b, []byte(m))
	}
	if err := s.Feed(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	s.Abort()
	return q
}

func mustTake(t *testing.T, q *Queue, w Want) *Lease {
	t.Helper()
	l, err := q.TryTake(w)
	if err != nil {
		t.Fatalf("TryTake(%+v): %v", w, err)
	}
	return l
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s = %.200q, want %.200q", what, got, want)
	}
}

func TestTryTake(t *testing.T) {
	five := []string{"a", "bb", "ccc", "dddd", "eeeee"} // 2 to 6 bytes as lines
	tests := []struct {
		want Want
		got  int // of five
	}{
		{Want{Messages: 1, Bytes: 100}, 1},
		{Want{Messages: 3, Bytes: 100}, 3},
		{Want{Messages: 100, Bytes: 100}, 5},
		{Want{Messages: 100, Bytes: 20}, 5},
		{Want{Messages: 100, Bytes: 19}, 4},
		{Want{Messages: 100, Bytes: 9}, 3},
		{Want{Messages: 2, Bytes: 9}, 2},
		{Want{Messages: 100, Bytes: 5}, 2},
		{Want{Messages: 100, Bytes: 1}, 1},
		{Want{Messages: 100, Bytes: 0}, 1},
		{Want{Messages: 0, Bytes: 100}, 1},
		{Want{}, 1},
		{Want{Messages: 100, Bytes: 100, Before: 4}, 3},
		{Want{Messages: 2, Bytes: 100, Before: 4}, 2},
		{Want{Messages: 100, Bytes: 100, Before: 100}, 5},
	}
	for _, test := range tests {
		for form, q := range map[string]*Queue{"put": fresh(t, QueueOptions{}, five...), "fed": fed(t, QueueOptions{}, five...)} {
			l := mustTake(t, q, test.want)
			same(t, fmt.Sprintf("%s: TryTake(%+v)", form, test.want), texts(l), five[:test.got])
			if l.Messages() != test.got {
				t.Errorf("%s: TryTake(%+v).Messages() = %d, want %d", form, test.want, l.Messages(), test.got)
			}
			audit(t, q)
			l.Return()
			audit(t, q)
			same(t, "after Return", drain(q), five)
		}
	}
}

func TestTryTakeNothing(t *testing.T) {
	q := NewQueue(QueueOptions{})
	if _, err := q.TryTake(Want{Messages: 1}); err != ErrEmpty {
		t.Errorf("TryTake of an empty queue: %v, want %v", err, ErrEmpty)
	}
	q.TryPut([]byte("a"), "")
	if _, err := q.TryTake(Want{Messages: 1, Before: 1}); err != ErrEmpty {
		t.Errorf("TryTake before the first message: %v, want %v", err, ErrEmpty)
	}
	q.Close()
	if l, err := q.TryTake(Want{Messages: 1}); err != nil {
		t.Errorf("TryTake of a closed queue with a message: %v", err)
	} else {
		l.Ack()
	}
	if _, err := q.TryTake(Want{Messages: 1}); err != ErrEnd {
		t.Errorf("TryTake of a closed and empty queue: %v, want %v", err, ErrEnd)
	}
	if _, _, err := q.TryPut([]byte("b"), ""); err != ErrEnd {
		t.Errorf("TryPut into a closed queue: %v, want %v", err, ErrEnd)
	}
	q.Offer([]byte("b"), "")
	q.Offer([]byte("c\nd"), "") // as relay hands over what it has seen
	if c := q.Counts(); c.Dropped != 3 {
		t.Errorf("Offer of three lines to a closed queue: %d dropped", c.Dropped)
	}
}

func TestMessageKnows(t *testing.T) {
	q := fed(t, QueueOptions{Frame: Netstring}, "a", "b\n")
	q.TryPut([]byte("c"), "me")
	var got []string
	l := mustTake(t, q, Want{Messages: 9, Bytes: 99})
	l.Each(func(m Message) {
		got = append(got, fmt.Sprintf("%d %s %q", m.Seq, m.Peer, m.Data))
		if age := time.Since(m.Time); age < 0 || age > time.Minute {
			t.Errorf("message %d came at %v", m.Seq, m.Time)
		}
	})
	same(t, "Each", got, []string{`1 peer "a"`, `2 peer "b\n"`, `3 me "c"`})
	if got := string(bytes.Join(l.Slices(nil), nil)); got != "1:a,2:b\n,1:c," {
		t.Errorf("Slices = %q", got)
	}
}

func TestAckBytes(t *testing.T) {
	tests := []struct {
		n, done int
		left    []string
	}{
		{-1, 0, []string{"a", "bb", "ccc"}},
		{0, 0, []string{"a", "bb", "ccc"}},
		{1, 0, []string{"a", "bb", "ccc"}},
		{2, 2, []string{"bb", "ccc"}},
		{4, 2, []string{"bb", "ccc"}},
		{5, 5, []string{"ccc"}},
		{8, 5, []string{"ccc"}},
		{9, 9, nil},
		{10, 9, nil},
	}
	for _, test := range tests {
		for form, q := range map[string]*Queue{"put": fresh(t, QueueOptions{}, "a", "bb", "ccc"), "fed": fed(t, QueueOptions{}, "a", "bb", "ccc")} {
			l := mustTake(t, q, Want{Messages: 9, Bytes: 99})
			if done := l.AckBytes(test.n); done != test.done {
				t.Errorf("%s: AckBytes(%d) = %d, want %d", form, test.n, done, test.done)
			}
			audit(t, q)
			same(t, fmt.Sprintf("%s: left after AckBytes(%d)", form, test.n), texts(l), test.left)
			l.Return()
			l.Return() // once more is nothing
			audit(t, q)
			same(t, fmt.Sprintf("%s: in the queue after AckBytes(%d) and Return", form, test.n), drain(q), test.left)
		}
	}
}

// What goes back goes back to its place, in whatever order it does.
func TestReturnKeepsOrder(t *testing.T) {
	messages := []string{"a", "b", "c", "d", "e", "f"}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for form, q := range map[string]*Queue{"put": fresh(t, QueueOptions{}, messages...), "fed": fed(t, QueueOptions{}, messages...)} {
			var leases []*Lease
			for range 3 {
				leases = append(leases, mustTake(t, q, Want{Messages: 2, Bytes: 99}))
			}
			q.TryPut([]byte("g"), "")
			for _, i := range order {
				leases[i].Return()
				audit(t, q)
			}
			same(t, fmt.Sprint(form, ": returned in the order ", order), drain(q), append(messages, "g"))
		}
	}
	// A lease that spans what another one returned.
	q := fresh(t, QueueOptions{}, messages...)
	one := mustTake(t, q, Want{Messages: 1, Bytes: 99})
	two := mustTake(t, q, Want{Messages: 2, Bytes: 99})
	one.Return()
	wide := mustTake(t, q, Want{Messages: 3, Bytes: 99})
	same(t, "a lease around another", texts(wide), []string{"a", "d", "e"})
	two.Return()
	wide.Return()
	audit(t, q)
	same(t, "both returned", drain(q), messages)
}

func TestWaitersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{})
		const n = 5
		var got [n]string
		var group sync.WaitGroup
		for i := range n {
			group.Go(func() {
				l, err := q.Take(t.Context(), Want{Messages: 1, Bytes: 99})
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = texts(l)[0]
				l.Ack()
			})
			synctest.Wait() // it waits now
		}
		for i := range n {
			q.TryPut([]byte(strconv.Itoa(i)), "")
			audit(t, q)
		}
		group.Wait()
		same(t, "first come, first served", got[:], []string{"0", "1", "2", "3", "4"})
	})
}

func TestWaitersShareABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{})
		var got [3][]string
		for i := range got {
			go func() {
				if l, err := q.Take(t.Context(), Want{Messages: 2, Bytes: 99}); err == nil {
					got[i] = texts(l)
				}
			}()
			synctest.Wait()
		}
		s := q.NewSource(SourceOptions{})
		s.Feed(t.Context(), []byte("a\nb\nc\n"))
		synctest.Wait()
		if want := [3][]string{{"a", "b"}, {"c"}, nil}; !reflect.DeepEqual(got, want) {
			t.Errorf("three that want two each took %q, want %q", got, want)
		}
		q.Close()
		synctest.Wait()
		audit(t, q)
	})
}

func TestTakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{})
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 2)
		take := func(ctx context.Context) { _, err := q.Take(ctx, Want{Messages: 1}); errs <- err }
		go take(ctx)
		synctest.Wait()
		cancel(cause)
		if err := <-errs; err != cause {
			t.Errorf("Take whose context ended: %v, want %v", err, cause)
		}
		audit(t, q)
		go take(t.Context())
		go take(t.Context())
		synctest.Wait()
		q.Close()
		q.Close()
		for range 2 {
			if err := <-errs; err != ErrEnd {
				t.Errorf("Take as the queue is closed: %v, want %v", err, ErrEnd)
			}
		}
		audit(t, q)
	})
}

// Whoever gives up in the very instant in which a message is given to him loses nothing.
func TestTakeCancelledAtDelivery(t *testing.T) {
	q := NewQueue(QueueOptions{})
	for i := range 3000 {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		took := false
		group.Go(func() {
			if l, err := q.Take(ctx, Want{Messages: 1, Bytes: 99}); err == nil {
				took = true
				l.Ack()
			}
		})
		group.Go(cancel)
		group.Go(func() { q.TryPut([]byte("x"), "") })
		group.Wait()
		if left := q.Left(); took && left != 0 || !took && left != 1 {
			t.Fatalf("round %d: taken: %v, %d left", i, took, left)
		}
		drain(q)
	}
	audit(t, q)

	// The same without luck: the lease is already in the waiter's hands, and the context is over.
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		go q.Take(ctx, Want{Messages: 1, Bytes: 99})
		synctest.Wait()
		q.mu.Lock() // it has to wait for this before it can take itself off the list
		cancel()
		q.push(segment{data: []byte("x\n"), n: 1, at: time.Now()})
		q.mu.Unlock()
		synctest.Wait()
		same(t, "left", drain(q), []string{"x"})
		audit(t, q)
	})
}

func TestClosePassesOnWhatIsThere(t *testing.T) {
	q := fresh(t, QueueOptions{}, "a", "b")
	l := mustTake(t, q, Want{Messages: 1, Bytes: 99})
	q.Close()
	l.Return()
	same(t, "after Close", drain(q), []string{"a", "b"})
	if _, err := q.Take(t.Context(), Want{Messages: 1}); err != ErrEnd {
		t.Errorf("Take: %v, want %v", err, ErrEnd)
	}
	if _, _, err := q.Put(t.Context(), []byte("c"), ""); err != ErrEnd {
		t.Errorf("Put: %v, want %v", err, ErrEnd)
	}
	for _, policy := range policies {
		q := NewQueue(QueueOptions{Overflow: policy})
		s := q.NewSource(SourceOptions{})
		s.Feed(t.Context(), []byte("a\nb"))
		q.Close()
		if err := s.Feed(t.Context(), []byte("\nc\n")); err != ErrEnd {
			t.Errorf("policy %d: Feed to a closed queue: %v, want %v", policy, err, ErrEnd)
		}
		if err := s.Finish(); err != ErrEnd && err != nil {
			t.Errorf("policy %d: Finish: %v", policy, err)
		}
		audit(t, q)
		same(t, "before Close", drain(q), []string{"a"})
		// What was begun and could not be ended is not passed over in silence.
		s = q.NewSource(SourceOptions{})
		s.setPart([]byte("begun"))
		if err := s.Finish(); err != ErrEnd {
			t.Errorf("policy %d: Finish of a message that the queue does not take: %v, want %v", policy, err, ErrEnd)
		}
		audit(t, q)
	}
}

var policies = []Overflow{Block, DropOldest, DropNewest}

func TestParseOverflow(t *testing.T) {
	for i, s := range []string{"block", "drop-oldest", "drop-newest"} {
		if got, err := ParseOverflow(s); got != policies[i] || err != nil {
			t.Errorf("ParseOverflow(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := ParseOverflow("drop"); err == nil || !strings.Contains(err.Error(), `"drop" is not a policy`) {
		t.Errorf("ParseOverflow(drop): %v", err)
	}
}

// Three segments of one message with 4 bytes fit.
const roomForThree = 3 * (4 + segCost)

func TestOverflow(t *testing.T) {
	losses := 0
	o := QueueOptions{Capacity: roomForThree, Loss: func() { losses++ }}
	for _, policy := range policies {
		o.Overflow = policy
		losses = 0
		q := fresh(t, o, "aaa", "bbb", "ccc")
		_, _, err := q.TryPut([]byte("ddd"), "")
		audit(t, q)
		want := []string{"aaa", "bbb", "ccc"}
		dropped := 0
		if policy == DropOldest {
			if err != nil {
				t.Errorf("TryPut with DropOldest: %v", err)
			}
			want, dropped = []string{"bbb", "ccc", "ddd"}, 1
		} else if err != ErrFull {
			t.Errorf("TryPut into a full queue, policy %d: %v, want %v", policy, err, ErrFull)
		}
		if c := q.Counts(); c.Dropped != int64(dropped) || losses != dropped {
			t.Errorf("policy %d: %d dropped and %d times told, want %d", policy, c.Dropped, losses, dropped)
		}
		q.Offer([]byte("eee"), "")
		if policy == DropOldest {
			want = append(want[1:], "eee")
		}
		if c := q.Counts(); c.Dropped != int64(dropped)+1 || losses != dropped+1 {
			t.Errorf("policy %d: Offer: %d dropped, %d times told, want %d", policy, c.Dropped, losses, dropped+1)
		}
		if used := q.used; used > q.capacity {
			t.Errorf("policy %d: %d bytes used, the capacity is %d", policy, used, q.capacity)
		}
		same(t, fmt.Sprint("policy ", policy), drain(q), want)
		audit(t, q)
	}
}

// What is leased is not dropped, and what comes then is dropped itself.
func TestDropOldestLeavesLeases(t *testing.T) {
	q := fresh(t, QueueOptions{Capacity: roomForThree, Overflow: DropOldest}, "aaa", "bbb", "ccc")
	l := mustTake(t, q, Want{Messages: 3, Bytes: 99})
	q.TryPut([]byte("ddd"), "")
	audit(t, q)
	l.Return()
	same(t, "leased and returned", drain(q), []string{"aaa", "bbb", "ccc"})
	if c := q.Counts(); c.Dropped != 1 {
		t.Errorf("%d dropped, want 1", c.Dropped)
	}
}

func TestDropOldestTellsWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := fresh(t, QueueOptions{Capacity: 200, Overflow: DropOldest}, "old")
		gone, empty := make(chan error, 1), make(chan error, 1)
		go func() { gone <- q.WaitGone(t.Context(), 1) }()
		go func() { empty <- q.WaitEmpty(t.Context()) }()
		synctest.Wait()
		q.TryPut(bytes.Repeat([]byte("x"), 199), "") // too large even alone: drops everything
		synctest.Wait()
		for what, c := range map[string]chan error{"WaitGone": gone, "WaitEmpty": empty} {
			select {
			case err := <-c:
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			default:
				t.Errorf("%s still waits for what has been dropped", what)
				q.mu.Lock()
				q.wake()
				q.mu.Unlock()
			}
		}
	})
}

func TestPutTooLong(t *testing.T) {
	q := NewQueue(QueueOptions{MaxMessage: 3})
	if _, _, err := q.TryPut([]byte("abcd"), ""); !errors.Is(err, ErrTooLong) {
		t.Errorf("TryPut of 4 bytes where 3 are the limit: %v, want %v", err, ErrTooLong)
	} else if err.Error() != "the message is too long: 4 bytes, the limit is 3" {
		t.Errorf("TryPut: %q", err)
	}
}

func TestPutCounts(t *testing.T) {
	tests := []struct {
		o    QueueOptions
		in   string
		n    int
		want []string
	}{
		{QueueOptions{}, "", 1, []string{""}},
		{QueueOptions{}, "a\nb", 2, []string{"a", "b"}},
		{QueueOptions{}, "a\n", 2, []string{"a", ""}},
		{QueueOptions{CRLF: true}, "a\nb\r\nc", 3, []string{"a\r", "b\r", "c\r"}},
		{QueueOptions{Frame: Nul}, "a\nb", 1, []string{"a\nb"}},
		{QueueOptions{Frame: Nul}, "a\x00b", 2, []string{"a", "b"}},
		{QueueOptions{Frame: Netstring}, "a\n\x00,", 1, []string{"a\n\x00,"}},
		{QueueOptions{Frame: Datagram}, "", 1, []string{""}},
	}
	for _, test := range tests {
		q := NewQueue(test.o)
		n, seq, err := q.TryPut([]byte(test.in), "")
		if n != test.n || seq != uint64(test.n) || err != nil {
			t.Errorf("%+v: TryPut(%q) = %d, %d, %v, want %d", test.o, test.in, n, seq, err, test.n)
		}
		audit(t, q)
		same(t, fmt.Sprintf("%+v: TryPut(%q)", test.o, test.in), drain(q), test.want)
	}
}

func TestPutWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := fresh(t, QueueOptions{Capacity: roomForThree}, "aaa", "bbb", "ccc")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrTimeout)
		defer cancel()
		if _, _, err := q.Put(ctx, []byte("ddd"), ""); err != ErrTimeout {
			t.Errorf("Put into a full queue: %v, want %v", err, ErrTimeout)
		}
		done := make(chan error, 1)
		go func() { _, _, err := q.Put(t.Context(), []byte("ddd"), ""); done <- err }()
		synctest.Wait()
		l := mustTake(t, q, Want{Messages: 1, Bytes: 99})
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("Put took the room of a message that is only leased")
		}
		l.Ack()
		if err := <-done; err != nil {
			t.Errorf("Put: %v", err)
		}
		same(t, "after Put", drain(q), []string{"bbb", "ccc", "ddd"})

		q = fresh(t, QueueOptions{Capacity: roomForThree}, "aaa", "bbb", "ccc")
		go func() { _, _, err := q.Put(t.Context(), []byte("ddd"), ""); done <- err }()
		synctest.Wait()
		q.Close()
		if err := <-done; err != ErrEnd {
			t.Errorf("Put as the queue is closed: %v, want %v", err, ErrEnd)
		}
	})
}

// A peer that has begun a message and says no more does not stop who puts one in.
func TestPutBesideUnfinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{Capacity: 8 << 10})
		s := q.NewSource(SourceOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for s.Feed(ctx, bytes.Repeat([]byte("x"), 500)) == nil && q.used < q.capacity {
		}
		done := make(chan error, 1)
		go func() { _, _, err := q.Put(t.Context(), bytes.Repeat([]byte("y"), 7<<10), ""); done <- err }()
		synctest.Wait()
		drain(q)
		synctest.Wait()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Put: %v", err)
			}
		default:
			t.Error("Put waits for an unfinished message that nobody cuts")
			q.Close()
		}
		audit(t, q)
	})
}

func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := fresh(t, QueueOptions{}, "a", "b")
		gone, empty, leases := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { gone <- q.WaitGone(t.Context(), 1) }()
		go func() { empty <- q.WaitEmpty(t.Context()) }()
		step := func(what string, counts ...int) {
			t.Helper()
			synctest.Wait()
			if got := []int{len(gone), len(empty), len(leases)}; !slices.Equal(got, counts) {
				t.Fatalf("%s: WaitGone, WaitEmpty, WaitLeases ended: %v, want %v", what, got, counts)
			}
		}
		step("two wait", 0, 0, 0)
		one := mustTake(t, q, Want{Messages: 1, Bytes: 99})
		go func() { leases <- q.WaitLeases(t.Context()) }()
		step("the first is leased", 0, 0, 0)
		one.Return()
		step("it is back", 0, 0, 1)
		two := mustTake(t, q, Want{Messages: 2, Bytes: 99})
		step("both are leased", 0, 0, 1)
		two.AckBytes(2)
		step("the first is acknowledged", 1, 0, 1)
		two.AckBytes(2)
		step("both are acknowledged", 1, 1, 1)

		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrTimeout)
		defer cancel()
		q.TryPut([]byte("c"), "")
		if err := q.WaitGone(ctx, 3); err != ErrTimeout {
			t.Errorf("WaitGone: %v, want %v", err, ErrTimeout)
		}
		if err := q.WaitGone(ctx, 2); err != nil {
			t.Errorf("WaitGone of what is gone: %v", err)
		}
	})
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{})
		if c := q.Counts(); c.InRate != 0 || c.OutRate != 0 {
			t.Errorf("rates of nothing: %v, %v", c.InRate, c.OutRate)
		}
		for range 600 { // a minute at 10 a second
			q.TryPut([]byte("x"), "")
			drain(q)
			time.Sleep(100 * time.Millisecond)
		}
		if c := q.Counts(); math.Abs(c.InRate-10) > 0.5 || math.Abs(c.OutRate-10) > 0.5 {
			t.Errorf("rates after a minute of 10 a second: %.2f in, %.2f out", c.InRate, c.OutRate)
		}
		time.Sleep(time.Minute)
		if c := q.Counts(); c.InRate > 0.1 || c.OutRate > 0.1 {
			t.Errorf("rates after a minute of nothing: %.2f in, %.2f out", c.InRate, c.OutRate)
		}
	})
}

// Memory that has been read and given out is read into again.
func TestChunksAreReused(t *testing.T) {
	q := NewQueue(QueueOptions{Capacity: 1 << 20})
	s := q.NewSource(SourceOptions{})
	line := append(bytes.Repeat([]byte("x"), 1023), '\n')
	seen := map[*chunk]bool{}
	for range 4096 { // 4 MiB
		if err := s.Feed(t.Context(), line); err != nil {
			t.Fatal(err)
		}
		seen[q.chunk] = true
		if q.Left() == 512 {
			drain(q)
		}
	}
	if len(seen) > 4 {
		t.Errorf("%d chunks were made for at most 512 KiB at a time, want at most 4", len(seen))
	}
	s.Abort()
	audit(t, q)
}

// Small messages of one peer that come together are one segment: they do not cost one each.
func TestSegmentsAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a clock that stands still
		q := NewQueue(QueueOptions{})
		s := q.NewSource(SourceOptions{Peer: "p"})
		for range 100 {
			s.Feed(t.Context(), []byte("x\n"))
		}
		if n := len(q.segs) - q.head; n != 1 {
			t.Errorf("100 messages of one peer at one time are %d segments, want 1", n)
		}
		audit(t, q)
		q.NewSource(SourceOptions{Peer: "other"}).Feed(t.Context(), []byte("x\n"))
		time.Sleep(2 * mergeTime)
		s.Feed(t.Context(), []byte("x\n"))
		s.Feed(t.Context(), []byte("x\n"))
		if n := len(q.segs) - q.head; n != 3 {
			t.Errorf("with another peer's, and later ones, they are %d segments, want 3", n)
		}
		audit(t, q)
		// A first one that has been taken away is no longer there to be joined to.
		l := mustTake(t, q, Want{Messages: 102, Bytes: 999})
		s.Feed(t.Context(), []byte("y\n"))
		audit(t, q)
		l.Return()
		audit(t, q)
		if got := drain(q); len(got) != 104 || got[103] != "y" {
			t.Errorf("%d messages, the last is %q, want 104 and y", len(got), got[len(got)-1])
		}
	})
}

// A model is what a queue promises, as simply as it can be said.
type model struct {
	waiting []entry
	leased  map[*Lease][]entry
	seq     uint64
	dropped int64
}

type entry struct {
	seq  uint64
	text string
}

func (q *Queue) entries(segs []segment) (all []entry) {
	for i := range segs {
		s := &segs[i]
		for k, off := 0, 0; k < s.n; k++ {
			m, size, _ := q.frame.Next(s.data[off:])
			all = append(all, entry{s.seq + uint64(k), string(m)})
			off += size
		}
	}
	return all
}

// came takes note of messages that the queue was given, and of what it dropped for them.
func (m *model) came(q *Queue, in []string) error {
	dropped := int(q.count.Dropped - m.dropped)
	m.dropped = q.count.Dropped
	var actual []entry
	var texts []string
	for _, e := range q.entries(q.segs[q.head:]) {
		if e.seq > m.seq {
			actual = append(actual, e)
			texts = append(texts, e.text)
		}
	}
	if q.overflow == DropOldest {
		for _, s := range in {
			m.seq++
			m.waiting = append(m.waiting, entry{m.seq, s})
		}
		if dropped > len(m.waiting) {
			return fmt.Errorf("%d messages dropped, %d were waiting", dropped, len(m.waiting))
		}
		m.waiting = m.waiting[dropped:]
		return nil
	}
	// DropNewest drops some of them, Block none.
	if len(in)-len(actual) != dropped || dropped > 0 && q.overflow == Block {
		return fmt.Errorf("of %d messages %.60q came %d %.60q; %d were dropped", len(in), in, len(actual), texts, dropped)
	}
	for _, e := range actual {
		i := slices.Index(in, e.text)
		if i < 0 {
			return fmt.Errorf("%.100q came, which was not next in %.100q", e.text, in)
		}
		in = in[i+1:]
		m.seq++
		m.waiting = append(m.waiting, entry{m.seq, e.text})
	}
	return nil
}

// compare tells how the queue differs from the model.
func (m *model) compare(q *Queue) error {
	if got := q.entries(q.segs[q.head:]); !slices.Equal(got, m.waiting) {
		return fmt.Errorf("waiting: %.300v, want %.300v", got, m.waiting)
	}
	if len(q.leases) != len(m.leased) {
		return fmt.Errorf("%d leases, want %d", len(q.leases), len(m.leased))
	}
	for l, want := range m.leased {
		if got := q.entries(l.segs); !slices.Equal(got, want) {
			return fmt.Errorf("leased: %.300v, want %.300v", got, want)
		}
	}
	if q.Seq() != m.seq+1 {
		return fmt.Errorf("Seq() = %d, want %d", q.Seq(), m.seq+1)
	}
	return q.audit()
}

// The random walk of TestModel: SOCKBOX_SEED repeats one that failed.
func TestModel(t *testing.T) {
	if s := os.Getenv("SOCKBOX_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := walk(t.Context(), seed); err != nil {
			t.Fatal(err)
		}
		return
	}
	const walks = 40
	first := rand.Uint64()
	for i := range uint64(walks) {
		if err := walk(t.Context(), first+i); err != nil {
			t.Fatalf("SOCKBOX_SEED=%d: %v", first+i, err)
		}
	}
}

func walk(ctx context.Context, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(n ...int) int { return n[r.IntN(len(n))] }
	o := QueueOptions{
		Frame: frames[r.IntN(4)], Overflow: policies[r.IntN(3)],
		Capacity: pick(300, 300, 1000, 1000, 5000), MaxMessage: pick(1, 3, 20, 200, 5000),
	}
	o.CRLF = o.Frame == Line && r.IntN(4) == 0
	q := NewQueue(o)
	m := &model{leased: map[*Lease][]entry{}}
	type peer struct {
		s *Source
		d *splitter
	}
	peers := make([]peer, 1+r.IntN(4))
	renew := func(i int) {
		so := SourceOptions{Frame: frames[r.IntN(3)], Peer: strconv.Itoa(r.IntN(3))}
		if o.Frame < Datagram && r.IntN(2) == 0 {
			so.Frame = o.Frame
		}
		so.CRLF = so.Frame == Line && r.IntN(3) == 0
		peers[i] = peer{q.NewSource(so), newSplitter(so, q)}
	}
	for i := range peers {
		renew(i)
	}
	over, stop := context.WithCancel(ctx)
	stop() // nothing in a walk waits
	message := func() []byte {
		b := make([]byte, pick(0, 1, 2, 3, 5, 19, 20, 21, 80, r.IntN(300), r.IntN(2000)))
		for i := range b {
			b[i] = "ab\r,:1"[r.IntN(6)]
		}
		return b
	}
	leases := func() []*Lease { // in an order that the seed alone decides
		all := make([]*Lease, 0, len(m.leased))
		for l := range m.leased {
			all = append(all, l)
		}
		slices.SortFunc(all, func(a, b *Lease) int { return int(int64(m.leased[a][0].seq - m.leased[b][0].seq)) })
		return all
	}
	for step := range 200 {
		what := ""
		var err error
		switch op := r.IntN(12); op {
		case 0, 1, 2, 3: // a peer sends something
			p := peers[r.IntN(len(peers))]
			var b []byte
			for range 1 + r.IntN(4) {
				b = p.s.o.Frame.Append(b, message())
			}
			// not from the beginning and not to the end, where the frame does not mind
			if p.s.o.Frame.delimited() {
				b = b[r.IntN(len(b)):]
				b = b[:r.IntN(len(b)+1)]
			} else {
				b = append(p.d.owed, b...)
				n := r.IntN(len(b) + 1)
				b, p.d.owed = b[:n:n], b[n:]
			}
			what = fmt.Sprintf("Feed(%d bytes)", len(b))
			for len(b) > 0 && err == nil {
				lens := map[*Source]int{}
				for _, p := range peers {
					lens[p.s] = len(p.s.part)
				}
				waitErr := p.s.waitRoom(over)
				var cut []string
				for _, p := range peers {
					if len(p.s.part) != lens[p.s] {
						cut = append(cut, p.d.cut()...)
					}
				}
				if err = m.came(q, cut); err != nil {
					break
				}
				if waitErr != nil && (waitErr != context.Canceled || o.Overflow == Block && q.count.Messages+q.count.Leased == 0) {
					err = fmt.Errorf("waitRoom: %w with %d of %d used", waitErr, q.used, q.capacity)
				}
				if waitErr != nil && o.Overflow == Block {
					p.d.owed = append(slices.Clone(b), p.d.owed...)
					if p.s.o.Frame.delimited() {
						p.d.owed = nil
					}
					break
				}
				n, e := p.s.fill(len(b), func(to []byte) (int, error) { return copy(to, b), nil })
				if e == errNoRoom {
					if p.s.o.Frame.delimited() {
						break
					}
					err = errors.New("no room after waitRoom")
					break
				}
				if e != nil {
					err = fmt.Errorf("fill: %w", e)
					break
				}
				err = m.came(q, p.d.feed(string(b[:n])))
				b = b[n:]
			}
		case 4: // a peer goes
			i := r.IntN(len(peers))
			what = "Finish"
			if r.IntN(3) == 0 {
				what = "Abort"
				peers[i].s.Abort()
			} else {
				want, wantErr := peers[i].d.finish()
				if e := peers[i].s.Finish(); (e != nil) != wantErr {
					err = fmt.Errorf("Finish: %v, want an error: %v", e, wantErr)
				} else {
					err = m.came(q, want)
				}
			}
			renew(i)
		case 5:
			b := message()
			what = fmt.Sprintf("TryPut(%d bytes)", len(b))
			used := q.used
			encoded := q.encode(nil, b)
			full := used > 0 && used+len(encoded)+segCost > q.capacity && o.Overflow != DropOldest
			_, _, e := q.TryPut(b, "put")
			switch {
			case len(b) > q.max:
				if !errors.Is(e, ErrTooLong) {
					err = fmt.Errorf("TryPut of %d bytes: %v", len(b), e)
				}
			case full:
				if e != ErrFull {
					err = fmt.Errorf("TryPut: %v, want %v", e, ErrFull)
				}
			case e != nil:
				err = fmt.Errorf("TryPut: %w", e)
			default:
				want, _, _ := naive(o.Frame, string(encoded))
				err = m.came(q, want)
			}
		case 6, 7, 8: // take
			w := Want{Messages: pick(1, 1, 2, 5, math.MaxInt), Bytes: pick(1, 20, 200, math.MaxInt)}
			if r.IntN(4) == 0 {
				w.Before = m.seq - uint64(min(int(m.seq), r.IntN(5)))
			}
			what = fmt.Sprintf("TryTake(%+v)", w)
			k, size := 0, 0
			for ; k < min(len(m.waiting), w.Messages); k++ {
				s := len(q.frame.Append(nil, []byte(m.waiting[k].text)))
				if w.Before > 0 && m.waiting[k].seq >= w.Before || k > 0 && s > w.Bytes-size {
					break
				}
				size += s
			}
			l, e := q.TryTake(w)
			if k == 0 {
				if e != ErrEmpty {
					err = fmt.Errorf("TryTake: %v, want %v", e, ErrEmpty)
				}
				break
			}
			if e != nil {
				err = fmt.Errorf("TryTake: %w, want %d messages", e, k)
				break
			}
			if n := l.Messages(); n < 1 || n > k || n < k && size < w.Bytes && w.Bytes == math.MaxInt {
				err = fmt.Errorf("TryTake gave %d messages, %d bytes, want %d, %d", n, l.Size(), k, size)
			}
			k = l.Messages() // it may be fewer than there is room for, where they did not come together
			m.leased[l] = slices.Clone(m.waiting[:k])
			m.waiting = m.waiting[k:]
		default:
			all := leases()
			if len(all) == 0 {
				break
			}
			l := all[r.IntN(len(all))]
			switch r.IntN(4) {
			case 0:
				what = "Return"
				m.waiting = append(m.waiting, m.leased[l]...)
				slices.SortFunc(m.waiting, func(a, b entry) int { return int(int64(a.seq - b.seq)) })
				delete(m.leased, l)
				l.Return()
				err = m.came(q, nil)
			case 1:
				what = "Ack"
				l.Ack()
				delete(m.leased, l)
			default:
				n := r.IntN(l.Size() + 10)
				what = fmt.Sprintf("AckBytes(%d)", n)
				done := 0
				for len(m.leased[l]) > 0 {
					s := len(q.frame.Append(nil, []byte(m.leased[l][0].text)))
					if done+s > n {
						break
					}
					done += s
					m.leased[l] = m.leased[l][1:]
				}
				if got := l.AckBytes(n); got != done {
					err = fmt.Errorf("AckBytes = %d, want %d", got, done)
				}
				if len(m.leased[l]) == 0 {
					delete(m.leased, l)
				}
			}
		}
		if err == nil {
			err = m.compare(q)
		}
		// Beyond the capacity there is at most what a single read became.
		if err == nil && q.used > q.capacity+slack(q, len(peers)) {
			err = fmt.Errorf("%d bytes used, the capacity is %d", q.used, q.capacity)
		}
		if err != nil {
			return fmt.Errorf("%+v: step %d: %s: %w", o, step, what, err)
		}
	}
	for _, p := range peers {
		p.s.Abort()
	}
	for _, l := range leases() {
		l.Ack()
	}
	drain(q)
	if q.used != 0 || q.count.Unfinished != 0 {
		return fmt.Errorf("%+v: %d bytes used and %d unfinished in an empty queue", o, q.used, q.count.Unfinished)
	}
	return q.audit()
}

// slack is how far beyond its capacity a queue may get. A read is no longer than the room, but what it
// becomes costs more: messages framed anew, the growth of an unfinished one, segments.
func slack(q *Queue, sources int) int {
	return 4*min(q.capacity, chunkSize) + (sources+len(q.leases)+8)*segCost
}

// Many fill and many empty a queue at once: each message comes once, and those of one peer in order.
func TestMany(t *testing.T) {
	const sources, takers, each = 8, 8, 600
	for _, frame := range frames[:3] {
		q := NewQueue(QueueOptions{Frame: frame, Capacity: 20_000})
		var fill, empty, watch sync.WaitGroup
		seed := rand.Uint64()
		t.Logf("%v: seed %d", frame, seed)
		for i := range sources {
			fill.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				s := q.NewSource(SourceOptions{Frame: frame, Peer: strconv.Itoa(i)})
				var b []byte
				for k := range each {
					b = frame.Append(b, fmt.Appendf(nil, "%d %d %s", i, k, strings.Repeat("x", r.IntN(100))))
				}
				for len(b) > 0 {
					n := min(len(b), 1+r.IntN(3000))
					if err := s.Feed(t.Context(), b[:n]); err != nil {
						t.Error(err)
						return
					}
					b = b[n:]
				}
				if err := s.Finish(); err != nil {
					t.Error(err)
				}
			})
		}
		fill.Go(func() {
			for k := range each {
				if _, _, err := q.Put(t.Context(), fmt.Appendf(nil, "%d %d ", sources, k), "put"); err != nil {
					t.Error(err)
				}
			}
		})
		var mu sync.Mutex
		seen := map[int][]arrival{}
		for i := range takers {
			empty.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(1000+i)))
				for {
					ctx, cancel := context.WithCancel(t.Context())
					if r.IntN(8) == 0 {
						go cancel()
					}
					l, err := q.Take(ctx, Want{Messages: 1 + r.IntN(50), Bytes: 1 + r.IntN(4000)})
					cancel()
					if errors.Is(err, context.Canceled) && t.Context().Err() == nil {
						continue
					}
					if err != nil {
						if err != ErrEnd {
							t.Error(err)
						}
						return
					}
					var before []Message
					l.Each(func(m Message) {
						m.Data = bytes.Clone(m.Data)
						before = append(before, m)
					})
					switch r.IntN(4) {
					case 0:
						l.Return()
						continue
					case 1:
						l.AckBytes(r.IntN(l.Size() + 1))
					default:
						l.Ack()
					}
					acked := before[:len(before)-l.Messages()]
					l.Return()
					mu.Lock()
					for _, m := range acked {
						var peer, k int
						fmt.Sscanf(string(m.Data), "%d %d", &peer, &k)
						seen[peer] = append(seen[peer], arrival{m.Seq, k})
					}
					mu.Unlock()
				}
			})
		}
		stop := make(chan struct{})
		watch.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					if err := q.audit(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		fill.Wait()
		if err := q.WaitEmpty(t.Context()); err != nil {
			t.Error(err)
		}
		q.Close()
		empty.Wait()
		close(stop)
		watch.Wait()
		audit(t, q)
		if q.used != 0 {
			t.Errorf("%v: %d bytes used in an empty queue", frame, q.used)
		}
		for i := range sources + 1 {
			slices.SortFunc(seen[i], func(a, b arrival) int { return int(int64(a.seq - b.seq)) })
			for k := range max(each, len(seen[i])) {
				if k >= len(seen[i]) || k >= each || seen[i][k].k != k {
					t.Errorf("%v: of peer %d came %d messages, want %d; the first wrong one is number %d", frame, i, len(seen[i]), each, k)
					break
				}
			}
		}
	}
}

// An arrival is a message that a peer sent as its k-th.
type arrival struct {
	seq uint64
	k   int
}
