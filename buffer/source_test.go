package buffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A splitter finds the messages in a stream one byte after the other: what Source has to find,
// however the stream comes.
type splitter struct {
	o    SourceOptions
	max  int
	crlf bool // of the queue
	own  Frame
	wait []byte // the beginning of a message; of a netstring, its payload
	head string // netstring: the digits
	left int    // netstring: payload to come, -1: the comma, -2: not begun
	long bool   // netstring: given out in pieces
	bad  bool
	owed []byte // for the test: what the peer has still to send of what it began
}

func newSplitter(o SourceOptions, q *Queue) *splitter {
	return &splitter{o: o, max: q.max, crlf: q.crlf, own: q.frame, left: -2}
}

// out is what the queue makes of one message.
func (s *splitter) out(m string) []string {
	if s.crlf {
		lines := strings.Split(m, "\n")
		for i := range lines {
			lines[i] = strings.TrimSuffix(lines[i], "\r") + "\r"
		}
		return lines
	}
	if s.own.delimited() {
		return strings.Split(m, string(s.own.end()))
	}
	return []string{m}
}

// whole is what it makes of one that was found whole.
func (s *splitter) whole(m string) (all []string) {
	if s.o.CRLF {
		m = strings.TrimSuffix(m, "\r")
	}
	for len(m) > s.max {
		all = append(all, s.out(m[:s.max])...)
		m = m[s.max:]
	}
	return append(all, s.out(m)...)
}

func (s *splitter) feed(in string) (all []string) {
	for _, b := range []byte(in) {
		if s.bad {
			return all
		}
		switch {
		case s.o.Whole:
			s.wait = append(s.wait, b)
		case s.o.Frame.delimited():
			if b == s.o.Frame.end() {
				all = append(all, s.whole(string(s.wait))...)
				s.wait = nil
				continue
			}
			s.wait = append(s.wait, b)
			// a carriage return may belong to the end
			for n := len(s.wait); n > s.max && !(s.o.CRLF && n == s.max+1 && b == '\r'); n -= s.max {
				all = append(all, s.out(string(s.wait[:s.max]))...)
				s.wait = s.wait[s.max:]
			}
		case s.left == -2 && b != ':':
			s.head += string(b)
			if _, _, err := naive(Netstring, s.head); err != nil {
				s.bad = true
			}
		case s.left == -2:
			s.left, _ = strconv.Atoi(s.head)
			s.long = s.left > s.max
			if s.bad = s.head == ""; s.left == 0 {
				s.left = -1
			}
		case s.left == -1:
			if s.bad = b != ','; !s.bad && !s.long {
				all = append(all, s.out(string(s.wait))...)
			}
			s.wait, s.head, s.left, s.long = nil, "", -2, false
		default:
			s.wait = append(s.wait, b)
			if s.left--; s.left == 0 {
				s.left = -1
			}
			if s.long && (len(s.wait) == s.max || s.left == -1) {
				all = append(all, s.out(string(s.wait))...)
				s.wait = nil
			}
		}
	}
	return all
}

// cut is what becomes of the beginning of a message when the queue has to cut it.
func (s *splitter) cut() []string {
	m := string(s.wait)
	if m == "" && s.left != -1 { // a netstring of which there is only the length
		s.long = true
		return nil
	}
	s.wait, s.long = nil, true
	return s.out(m)
}

func (s *splitter) finish() (all []string, failed bool) {
	switch {
	case s.bad:
		return nil, false
	case s.o.Whole:
		return s.out(string(s.wait)), false
	case s.o.Frame.delimited():
		if len(s.wait) == 0 {
			return nil, false
		}
		return s.whole(string(s.wait)), false
	}
	return nil, s.head != ""
}

// splits feeds in, cut into pieces by next, to a new source, and compares what comes out with what a
// splitter finds.
func splits(ctx context.Context, qo QueueOptions, so SourceOptions, in string, next func(left int) int) error {
	q := NewQueue(qo)
	s := q.NewSource(so)
	ref := newSplitter(so, q)
	var got, want []string
	var err error
	for rest := in; rest != "" && err == nil; {
		n := min(max(next(len(rest)), 1), len(rest))
		err = s.Feed(ctx, []byte(rest[:n]))
		want = append(want, ref.feed(rest[:n])...)
		if e := q.audit(); e != nil {
			return e
		}
		got = append(got, drain(q)...)
		rest = rest[n:]
	}
	if err != nil != ref.bad {
		return fmt.Errorf("Feed: %v, want an error: %v", err, ref.bad)
	}
	more, failed := ref.finish()
	if e := s.Finish(); err == nil && (e != nil) != failed {
		return fmt.Errorf("Finish: %v, want an error: %v", e, failed)
	}
	if e := q.audit(); e != nil {
		return e
	}
	got, want = append(got, drain(q)...), append(want, more...)
	if q.used != 0 {
		return fmt.Errorf("%d bytes used in an empty queue", q.used)
	}
	if !slices.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		return fmt.Errorf("%d messages, want %d; from number %d on %.100q, want %.100q", len(got), len(want), i, got[i:], want[i:])
	}
	return nil
}

// Every split in two, and every byte by itself, give the same messages.
func TestSplits(t *testing.T) {
	inputs := map[Frame][]string{
		Line: {"", "\n", "a", "a\n", "a\nbb\n\nccc", "a\r\nb\r\r\nc\r", "abcdefgh\nabc\nabcd\n", "abc\r\nabcd\r\nabcdef\r\r\n\r\n\r"},
		Nul:  {"a\x00b\n\x00\x00c\x00", "abcdefgh\x00abc\x00abcd\x00x"},
		Netstring: {"0:,", "1:a,0:,2:b\n,", "12:abcdefghijkl,1:m,", "3:abc,4:abcd,5:abcde,6:abcdef,7:abcdefg,8:abcdefgh,9:abcdefghi,",
			"3:abc", "12:abcdefghijkl", "12:abcdefghijk", "12:", "12", "9999999999:abcdefghij"},
	}
	for frame, all := range inputs {
		for _, in := range all {
			for _, limit := range []int{0, 1, 2, 3, 4, 8} {
				for _, own := range frames {
					for _, crlf := range []int{0, 1, 2, 3} {
						qo := QueueOptions{Frame: own, MaxMessage: limit, CRLF: crlf&1 > 0}
						so := SourceOptions{Frame: frame, CRLF: crlf&2 > 0}
						if qo.CRLF && own != Line || so.CRLF && frame != Line {
							continue
						}
						for at := range len(in) + 1 {
							first := true
							err := splits(t.Context(), qo, so, in, func(left int) int {
								switch {
								case at == 0:
									return 1 // byte by byte
								case first:
									first = false
									return at
								}
								return left
							})
							if err != nil {
								t.Fatalf("%+v, %+v: %q cut at %d: %v", qo, so, in, at, err)
							}
						}
					}
				}
			}
		}
	}
}

func TestSplitsMalformed(t *testing.T) {
	for _, in := range []string{"x", ":", "1:a;", "1:a,x", "1:a,01:b,", "0:,1:a,3:abc.3:abc,", "-1:,", "99999999999:", "1:ab"} {
		for at := 1; at <= len(in); at++ {
			for _, own := range frames {
				first := true
				err := splits(t.Context(), QueueOptions{Frame: own}, SourceOptions{Frame: Netstring}, in, func(left int) int {
					if first {
						first = false
						return at
					}
					return left
				})
				if err != nil {
					t.Fatalf("%q cut at %d, into %v: %v", in, at, own, err)
				}
			}
		}
	}
}

// Messages around every size where the way they are kept changes, read in pieces of all sizes.
func TestSplitsLarge(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = "abcdefgh\r:0,"[r.IntN(12)]
	}
	around := func(n int) int { return max(0, n-2+r.IntN(5)) }
	for i := range 8 {
		frame := frames[r.IntN(3)]
		qo := QueueOptions{Frame: frame, MaxMessage: []int{0, 100, smallPart, 70_000, chunkSize}[r.IntN(5)]}
		if r.IntN(3) == 0 {
			qo.Frame = frames[r.IntN(4)]
		}
		so := SourceOptions{Frame: frame, CRLF: frame == Line && r.IntN(3) == 0}
		var in []byte
		for len(in) < 1<<19 {
			n := around([]int{2, 100, smallPart, minRead, 70_000, chunkSize, 3 * chunkSize}[r.IntN(7)])
			from := r.IntN(len(body) - n)
			in = frame.Append(in, body[from:from+n])
			for range r.IntN(200) {
				in = frame.Append(in, body[:r.IntN(20)])
			}
		}
		least := []int{100, smallPart, minRead, 100_000, chunkSize}[r.IntN(5)]
		if err := splits(t.Context(), qo, so, string(in), func(int) int { return r.IntN(2 * least) }); err != nil {
			t.Fatalf("seed %d, round %d: %+v, %+v: reads of up to %d: %v", seed, i, qo, so, 2*least, err)
		}
	}
}

func TestWholeSource(t *testing.T) {
	tests := []struct {
		frame Frame
		in    []string
		want  []string
	}{
		{Line, nil, []string{""}},
		{Netstring, []string{"a\n", "b"}, []string{"a\nb"}},
		{Netstring, []string{strings.Repeat("x", 5000), "\n3:abc,", "z"}, []string{strings.Repeat("x", 5000) + "\n3:abc,z"}},
		{Line, []string{"a\n", "b"}, []string{"a", "b"}}, // a queue of lines has no other way
	}
	for _, test := range tests {
		for _, found := range frames[:3] { // which is not looked at
			q := NewQueue(QueueOptions{Frame: test.frame})
			s := q.NewSource(SourceOptions{Whole: true, Frame: found})
			for _, in := range test.in {
				if err := s.Feed(t.Context(), []byte(in)); err != nil {
					t.Fatal(err)
				}
				audit(t, q)
			}
			if err := s.Finish(); err != nil {
				t.Errorf("Finish: %v", err)
			}
			audit(t, q)
			same(t, fmt.Sprintf("%v from %v: %.40q", test.frame, found, test.in), drain(q), test.want)
		}
	}
	q := NewQueue(QueueOptions{MaxMessage: 100})
	s := q.NewSource(SourceOptions{Whole: true})
	if err := s.Feed(t.Context(), make([]byte, 100)); err != nil {
		t.Errorf("Feed of as much as is allowed: %v", err)
	}
	if err := s.Feed(t.Context(), make([]byte, 1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("Feed of more than a message may have: %v, want %v", err, ErrTooLong)
	}
	s.Abort()
	audit(t, q)
	if got := drain(q); got != nil || q.used != 0 {
		t.Errorf("after Abort: %q, %d bytes used", got, q.used)
	}
}

func TestCutIsCounted(t *testing.T) {
	tests := []struct {
		frame  Frame
		in     string
		pieces []string
	}{
		{Line, "abcdefghij\n", []string{"abcd", "efgh", "ij"}},
		{Line, "abcdefgh\n", []string{"abcd", "efgh"}},
		{Line, "abcd\n", []string{"abcd"}},
		{Netstring, "10:abcdefghij,", []string{"abcd", "efgh", "ij"}},
		{Netstring, "8:abcdefgh,", []string{"abcd", "efgh"}},
		{Netstring, "4:abcd,", []string{"abcd"}},
	}
	for _, test := range tests {
		for _, step := range []int{1, 2, 3, 5, 6, 7, 100} {
			losses := int64(0)
			q := NewQueue(QueueOptions{Frame: test.frame, MaxMessage: 4, Loss: func() { losses++ }})
			s := q.NewSource(SourceOptions{Frame: test.frame})
			for in := range slices.Chunk([]byte(test.in), step) {
				if err := s.Feed(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
			if c := q.Counts(); c.Cut != int64(len(test.pieces)-1) || losses > 0 != (c.Cut > 0) {
				t.Errorf("%q, %d bytes at a time: %d cuts, told %d times, want %d", test.in, step, c.Cut, losses, len(test.pieces)-1)
			}
			same(t, test.in, drain(q), test.pieces)
			s.Finish()
			audit(t, q)
		}
	}
}

func TestAbortDrops(t *testing.T) {
	for _, in := range []string{"a\nb", "a\n" + strings.Repeat("b", 9000), "a\n"} {
		q := NewQueue(QueueOptions{})
		s := q.NewSource(SourceOptions{})
		s.Feed(t.Context(), []byte(in))
		s.Abort()
		s.Abort()
		audit(t, q)
		same(t, fmt.Sprintf("%.10q and Abort", in), drain(q), []string{"a"})
		if q.used != 0 || s.Messages() != 1 || s.Size() != len(in) {
			t.Errorf("%.10q and Abort: %d bytes used, %d messages, %d bytes", in, q.used, s.Messages(), s.Size())
		}
	}
}

// The room of a message that is given up is anybody's.
func TestAbortMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := fresh(t, QueueOptions{Capacity: 10_000}, "waits")
		begun := q.NewSource(SourceOptions{})
		begun.setPart(make([]byte, 9500))
		done := make(chan error, 1)
		go func() { done <- q.NewSource(SourceOptions{}).Feed(t.Context(), []byte("a\n")) }()
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("there was room")
		}
		begun.Abort()
		synctest.Wait()
		if len(done) == 0 {
			t.Error("Feed waits for the room of a message that was given up")
			q.Close()
		}
		<-done
		same(t, "in the queue", drain(q), []string{"waits", "a"})
	})
}

// A peer that is silent between messages holds nothing, whatever it sent before.
func TestSilentPeersHoldNothing(t *testing.T) {
	for _, frame := range frames[:3] {
		q := NewQueue(QueueOptions{Frame: frame, Capacity: 64 << 10})
		for i := range 1000 {
			s := q.NewSource(SourceOptions{Frame: frame})
			m := frame.Append(nil, bytes.Repeat([]byte("x"), smallPart))
			for _, part := range [][]byte{m[:smallPart-5], m[smallPart-5:]} {
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // there must be room without waiting
				if err := s.Feed(ctx, part); err != nil {
					t.Fatalf("%v: peer %d: %v; %d bytes are used", frame, i, err, q.used)
				}
			}
			drain(q)
			if q.used != 0 {
				t.Fatalf("%v: %d bytes used for %d peers with nothing to say", frame, q.used, i+1)
			}
		}
		audit(t, q)
	}
}

// When unfinished messages take all the room the longest is cut, and the others go on.
func TestUnfinishedFill(t *testing.T) {
	const peers, capacity = 40, 64 << 10
	for _, policy := range policies {
		for _, frame := range frames[:3] {
			q := NewQueue(QueueOptions{Frame: frame, Capacity: capacity, Overflow: policy})
			var all []*Source
			for i := range peers {
				s := q.NewSource(SourceOptions{Frame: frame, Peer: strconv.Itoa(i)})
				all = append(all, s)
				if frame == Netstring {
					s.Feed(t.Context(), []byte("60000:"))
				}
			}
			ended := frame.Append(nil, []byte("short"))
			good := q.NewSource(SourceOptions{Frame: frame, Peer: "good"})
			shorts := 0
			read := func() {
				for _, m := range drain(q) {
					if m == "short" {
						shorts++
					}
				}
			}
			over, stop := context.WithCancel(t.Context())
			stop()
			feed := func(s *Source, b []byte) {
				t.Helper()
				ctx := over
				if policy != Block {
					ctx = t.Context()
				}
				for end := s.Size() + len(b); s.Size() < end; {
					if err := s.Feed(ctx, b[len(b)-(end-s.Size()):]); err == context.Canceled {
						read() // there is something to read, or it would have found room
						if q.Left() > 0 {
							t.Fatal("messages are left")
						}
					} else if err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 100 { // each adds 500 bytes to what it never ends
				read()
				feed(good, ended)
				for _, s := range all {
					feed(s, bytes.Repeat([]byte("x"), 500))
					if q.used > capacity+capacity/2 {
						t.Fatalf("policy %d, %v: %d bytes used, the capacity is %d", policy, frame, q.used, capacity)
					}
				}
			}
			read()
			if c := q.Counts(); c.Cut < 10 {
				t.Errorf("policy %d, %v: %d cuts of 2 MB that were never ended, in %d bytes", policy, frame, c.Cut, capacity)
			}
			if shorts != 100 && policy != DropOldest || shorts < 1 { // whose oldest they are
				t.Errorf("policy %d, %v: %d of 100 short messages came through", policy, frame, shorts)
			}
			audit(t, q)
			for _, s := range all {
				s.Finish()
			}
			good.Finish()
			drain(q)
			audit(t, q)
			if q.used != 0 {
				t.Errorf("policy %d, %v: %d bytes used at the end", policy, frame, q.used)
			}
		}
	}
}

// Of several that wait for the room that unfinished messages take, not each cuts one.
func TestCutOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(QueueOptions{Capacity: 64 << 10})
		var all []*Source
		for range 8 {
			s := q.NewSource(SourceOptions{})
			s.setPart(make([]byte, 8<<10))
			all = append(all, s)
		}
		q.TryPut(nil, "") // so that they wait
		one, err := q.TryTake(Want{Messages: 1})
		if err == nil {
			t.Fatalf("TryPut into a full queue left %d messages", one.Messages())
		}
		q.mu.Lock()
		q.push(segment{data: []byte("\n"), n: 1})
		q.mu.Unlock()
		for _, s := range all {
			go s.Feed(t.Context(), []byte("x"))
		}
		synctest.Wait()
		drain(q) // nothing else is left: one of the eight is cut
		synctest.Wait()
		if c := q.Counts(); c.Cut != 1 || c.Messages != 1 {
			t.Errorf("%d were cut, %d messages, want 1", c.Cut, c.Messages)
		}
		q.Close()
	})
}

// A message that is to stay in one piece is refused, not torn, when there is no room for it beside
// what others have begun.
func TestWholeIsNotTorn(t *testing.T) {
	for _, frame := range frames[:3] {
		q := NewQueue(QueueOptions{Capacity: 64 << 10, Frame: frame})
		a := q.NewSource(SourceOptions{Whole: true, Frame: frame})
		b := q.NewSource(SourceOptions{Whole: true, Frame: frame})
		var errs []error
		for range 100 {
			for _, s := range []*Source{a, b} {
				if err := s.Feed(t.Context(), bytes.Repeat([]byte("x"), 400)); err != nil {
					errs = append(errs, err)
				}
			}
			if len(errs) > 0 {
				break
			}
		}
		if len(errs) == 0 || !errors.Is(errs[0], ErrTooLong) {
			t.Errorf("%v: two messages of 40000 bytes in 64 KiB: %v, want %v", frame, errs, ErrTooLong)
		}
		a.Abort()
		b.Abort()
		if got := drain(q); got != nil || q.used != 0 {
			t.Errorf("%v: %d messages, %d bytes used, want none", frame, len(got), q.used)
		}
		audit(t, q)
	}
}

// The end of a peer's last message needs no second room for it.
func TestFinishInPlace(t *testing.T) {
	for _, policy := range policies {
		for _, whole := range []bool{false, true} {
			q := fresh(t, QueueOptions{Capacity: 64 << 10, Overflow: policy}, "before")
			s := q.NewSource(SourceOptions{Whole: whole})
			m := strings.Repeat("x", 40_000)
			if err := s.Feed(t.Context(), []byte(m)); err != nil {
				t.Fatal(err)
			}
			if err := s.Finish(); err != nil {
				t.Errorf("policy %d, whole: %v: Finish: %v", policy, whole, err)
			}
			audit(t, q)
			same(t, fmt.Sprintf("policy %d, whole: %v", policy, whole), drain(q), []string{"before", m})
		}
	}
}

func TestDropNewestKeepsWhatFits(t *testing.T) {
	q := NewQueue(QueueOptions{Capacity: segCost + 10, Overflow: DropNewest})
	s := q.NewSource(SourceOptions{})
	s.Feed(t.Context(), []byte("aaa\nbbb\nccc\nddd\n"))
	audit(t, q)
	same(t, "4 messages where 2 fit", drain(q), []string{"aaa", "bbb"})
	if c := q.Counts(); c.Dropped != 2 || c.In != 2 {
		t.Errorf("%d dropped, %d in, want 2, 2", c.Dropped, c.In)
	}
	// What was given up lies in no one's way.
	s.Feed(t.Context(), []byte("eee\n"))
	audit(t, q)
	same(t, "after that", drain(q), []string{"eee"})
}

func TestPull(t *testing.T) {
	q := NewQueue(QueueOptions{})
	s := q.NewSource(SourceOptions{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		for i := range 1000 {
			fmt.Fprintf(w, "%d\n", i)
		}
	}()
	var n int
	for err == nil {
		if err = s.PullN(t.Context(), r, 7, &n); n > 7 {
			t.Fatalf("PullN of 7 bytes took %d", n)
		}
	}
	if err != io.EOF || n != 0 {
		t.Errorf("PullN at the end: %d, %v, want %v", n, err, io.EOF)
	}
	got := drain(q)
	if len(got) != 1000 || got[999] != "999" {
		t.Errorf("%d messages, want 1000", len(got))
	}
	audit(t, q)
	r.Close()
	if err := s.Pull(t.Context(), r); err == nil || err == io.EOF {
		t.Errorf("Pull from what is closed: %v, want an error", err)
	}
}

func TestPullWaitsForRoom(t *testing.T) {
	q := NewQueue(QueueOptions{Capacity: 1000})
	s := q.NewSource(SourceOptions{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const lines = 500
	go func() {
		defer w.Close()
		for i := range lines {
			fmt.Fprintf(w, "%d\n", i)
		}
	}()
	ended := make(chan error, 1)
	go func() {
		for {
			if err := s.Pull(t.Context(), r); err != nil {
				s.Finish()
				q.Close()
				ended <- err
				return
			}
		}
	}()
	for i := 0; ; i++ {
		l, err := q.Take(t.Context(), Want{Messages: 1, Bytes: 99})
		if err == ErrEnd && i == lines {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := texts(l)[0]; got != strconv.Itoa(i) {
			t.Fatalf("message %d is %q", i, got)
		}
		audit(t, q)
		l.Ack()
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("Pull: %v, want %v", err, io.EOF)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	full := fresh(t, QueueOptions{Capacity: 100}, "aaaa")
	if err := full.NewSource(SourceOptions{}).Pull(ctx, r); err != context.Canceled {
		t.Errorf("Pull into a full queue, and the context over: %v, want %v", err, context.Canceled)
	}
}

func FuzzSource(f *testing.F) {
	f.Add(uint64(0), uint8(0), uint8(0), []byte("a\nb\r\ncdefg\nh"))
	f.Add(uint64(1), uint8(2), uint8(2), []byte("3:abc,12:abcdefghijkl,0:,"))
	f.Add(uint64(2), uint8(1), uint8(7), []byte("a\x00\x00b\x00"))
	f.Fuzz(func(t *testing.T, seed uint64, frame, options uint8, in []byte) {
		r := rand.New(rand.NewPCG(seed, 1))
		qo := QueueOptions{
			Frame: frames[frame%4], MaxMessage: []int{0, 1, 3, 10, 5000}[options%5],
			Overflow: policies[options/5%3], Capacity: []int{200, 5000, 1 << 20}[options/15%3],
		}
		qo.CRLF = qo.Frame == Line && options >= 128
		so := SourceOptions{Frame: frames[frame/4%3], Whole: frame >= 192}
		so.CRLF = so.Frame == Line && frame/64%2 == 1
		next := func(left int) int { return 1 + r.IntN(left) }
		if qo.Capacity == 1<<20 && qo.Overflow == Block && !so.Whole {
			// One that is broken gives out as much as was whole: how much of a long one depends on the split.
			ref := newSplitter(so, NewQueue(qo))
			if ref.feed(string(in)); !ref.bad || qo.MaxMessage == 0 {
				if err := splits(t.Context(), qo, so, string(in), next); err != nil {
					t.Fatal(err)
				}
			}
		}
		q := NewQueue(qo)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		sources := []*Source{q.NewSource(so), q.NewSource(so), q.NewSource(SourceOptions{Frame: qo.Frame % 3})}
		taken, lines := 0, 0
		for rest := in; len(rest) > 0; {
			n := next(len(rest))
			s := sources[r.IntN(len(sources))]
			err := s.Feed(ctx, rest[:n])
			rest = rest[n:]
			if e := q.audit(); e != nil {
				t.Fatal(e)
			}
			if err != nil || r.IntN(3) == 0 {
				for _, m := range drain(q) {
					taken, lines = taken+len(m), lines+1
				}
			}
			if err != nil && err != context.Canceled {
				s.Abort()
				break
			}
			if q.used > q.capacity+slack(q, len(sources)) {
				t.Fatalf("%d bytes used, the capacity is %d", q.used, q.capacity)
			}
		}
		size := 0
		for _, s := range sources {
			s.Finish()
			size += s.Size()
		}
		if e := q.audit(); e != nil {
			t.Fatal(e)
		}
		for _, m := range drain(q) {
			taken, lines = taken+len(m), lines+1
		}
		if q.used != 0 {
			t.Fatalf("%d bytes used in an empty queue", q.used)
		}
		c := q.Counts()
		if so.Frame == Line && qo.Frame == Line && !so.Whole && !so.CRLF && !qo.CRLF && c.Dropped == 0 {
			// Each byte is in a message or is the end of one; cuts and the very end add ends of their own.
			if taken+lines < size || taken+lines > size+int(c.Cut)+len(sources) {
				t.Fatalf("of %d bytes came %d in %d lines, %d cut", size, taken, lines, c.Cut)
			}
		}
	})
}

func putAll(ctx context.Context, s *Source, messages [][]byte) (taken int, err error) {
	for taken < len(messages) && err == nil {
		var n int
		n, err = s.PutMessages(ctx, messages[taken:])
		taken += n
	}
	return taken, err
}

// What PutMessages is given comes out as it went in, in any frame.
func TestPutMessages(t *testing.T) {
	messages := [][]byte{[]byte("one"), {}, []byte("two\nlines"), []byte("a\x00zero"), []byte("\n"), []byte("5:x,"), bytes.Repeat([]byte("long\n"), 20000), []byte("end")}
	for f := Line; f <= Datagram; f++ {
		q := NewQueue(QueueOptions{Frame: f})
		src := q.NewSource(SourceOptions{Peer: "p", Whole: true})
		if n, err := putAll(t.Context(), src, messages); n != len(messages) || err != nil {
			t.Fatal(f, n, err)
		}
		for _, piece := range [][]byte{[]byte("in\n"), []byte("pieces")} {
			if err := src.Keep(t.Context(), piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := src.PutKept(); err != nil {
			t.Fatal(err)
		}
		if err := q.audit(); err != nil {
			t.Fatal(f, err)
		}
		for want := append(messages, []byte("in\npieces")); len(want) > 0; {
			l, err := q.TryTake(Want{Messages: 2, Bytes: math.MaxInt})
			if err != nil {
				t.Fatal(err)
			}
			var got [][]byte
			l.Each(func(m Message) { got = append(got, bytes.Clone(m.Data)) })
			l.AckMessages(1)
			l.Return()
			if !bytes.Equal(got[0], want[0]) {
				t.Fatalf("%s: %.20q, want %.20q", f, got[0], want[0])
			}
			want = want[1:]
			if err := q.audit(); err != nil {
				t.Fatal(f, err)
			}
		}
		if c := q.Counts(); c.In != int64(len(messages))+1 || c.Out != c.In || c.Cut != 0 {
			t.Errorf("%s: %+v", f, c)
		}
	}
}

// PutMessages keeps to the bound, cuts what is too long and can be stopped.
func TestPutMessagesFull(t *testing.T) {
	q := NewQueue(QueueOptions{Capacity: 4096, MaxMessage: 100})
	src := q.NewSource(SourceOptions{Whole: true})
	m := bytes.Repeat([]byte("x"), 100)
	messages := slices.Repeat([][]byte{m}, 100)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	n, err := putAll(ctx, src, messages)
	if err == nil || n == 0 || n >= 41 || q.Left() != n {
		t.Fatal(n, err, q.Left())
	}
	done := make(chan error)
	go func() {
		_, err := putAll(t.Context(), src, messages[n:])
		done <- err
	}()
	for got := 0; got < 100; {
		l, err := q.Take(t.Context(), Want{Messages: 7, Bytes: math.MaxInt})
		if err != nil {
			t.Fatal(err)
		}
		got += l.Messages()
		l.Ack()
		if err := q.audit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n, err := src.PutMessages(t.Context(), [][]byte{bytes.Repeat([]byte("y"), 250)}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if c := q.Counts(); c.Cut != 2 || c.Messages != 3 {
		t.Errorf("%+v", c)
	}
	for _, o := range []Overflow{DropNewest, DropOldest} {
		q := NewQueue(QueueOptions{Capacity: 4096, MaxMessage: 100, Overflow: o})
		src := q.NewSource(SourceOptions{Whole: true})
		if n, err := putAll(t.Context(), src, messages); n != 100 || err != nil {
			t.Fatal(n, err)
		}
		if c := q.Counts(); c.Dropped == 0 || c.Dropped+int64(c.Messages) != 100 {
			t.Errorf("%d: %+v", o, c)
		}
		if err := q.audit(); err != nil {
			t.Fatal(err)
		}
	}
}

// A queue takes little more memory than it holds: a pool has hundreds of them.
func TestMemory(t *testing.T) {
	line := []byte("short\n")
	for what, put := range map[string]func(*Source) (int, error){
		"small reads": func(s *Source) (int, error) {
			return s.fill(math.MaxInt, func(b []byte) (int, error) { return copy(b, bytes.Repeat(line, 700)), nil })
		},
		"large reads": func(s *Source) (int, error) {
			return s.fill(math.MaxInt, func(b []byte) (int, error) { return copy(b, bytes.Repeat(line, 9000)), nil })
		},
		"messages": func(s *Source) (int, error) {
			if s.q.room() < s.q.lowWater() {
				return 0, errNoRoom // else it waits
			}
			return s.PutMessages(t.Context(), slices.Repeat([][]byte{line[:5]}, 1000))
		},
	} {
		q := NewQueue(QueueOptions{Capacity: 64 << 10})
		src := q.NewSource(SourceOptions{})
		var err error
		for err == nil {
			_, err = put(src)
		}
		memory := len(q.spare) * q.chunkSize
		seen := map[*chunk]bool{nil: true}
		for _, s := range append(q.segs, segment{chunk: q.chunk}) {
			if s.chunk == nil {
				memory += cap(s.data)
			}
			if !seen[s.chunk] {
				seen[s.chunk] = true
				memory += len(s.chunk.buf)
			}
		}
		if c := q.Counts(); c.Bytes < 48<<10 || memory > 2*q.Capacity() {
			t.Errorf("%s: %d bytes take %d, then %v", what, c.Bytes, memory, err)
		}
	}
}
