package buffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// runtimeDir gives a test a runtime directory of its own. Its path is short enough for a socket on
// every system.
func runtimeDir(t testing.TB) string {
	t.Helper()
	top, err := os.MkdirTemp("/tmp", "sb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	path := filepath.Join(top, "run")
	t.Setenv("SOCKBOX_DIR", path)
	return path
}

// patience is how long a test waits for what must come; then it fails.
const patience = 10 * time.Second

// hold serves a buffer called mail until the end of the test, and sees that it leaves nothing.
func hold(t *testing.T, kind Kind, o QueueOptions, messages ...string) *Host {
	t.Helper()
	dir := runtimeDir(t)
	e, err := Hold("mail")
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{Entry: e, Queue: fresh(t, o, messages...), Kind: kind}
	var once sync.Once
	end := func() {
		once.Do(func() {
			h.Queue.Close()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			h.Queue.WaitLeases(ctx)
			left := h.Queue.Left()
			if err := e.Remove(); err != nil {
				t.Error(err)
			}
			h.Finish(left)
		})
	}
	h.Close = func(bool) { end() }
	if err := h.Listen(); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { h.Serve(context.Background()); close(served) }()
	t.Cleanup(func() {
		end()
		select {
		case <-served:
		case <-time.After(patience):
			t.Error("Serve goes on after Finish")
		}
		if err := h.Queue.audit(); err != nil {
			t.Error(err)
		}
		if len(h.Queue.parts) > 0 || len(h.conns) > 0 || h.Queue.Counts().Leased > 0 {
			t.Errorf("%d unfinished messages, %d connections, %d leased messages are left", len(h.Queue.parts), len(h.conns), h.Queue.Counts().Leased)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
			t.Errorf("%v is left in the runtime directory, %v", names, err)
		}
	})
	return h
}

func open(t *testing.T) *Client {
	t.Helper()
	c, err := Open("mail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClientTakes(t *testing.T) {
	tests := []struct {
		t    Taking
		in   []string
		out  string
		n    int
		err  error
		left []string
	}{
		{Taking{Count: 1}, []string{"a", "b"}, "a\n", 1, nil, []string{"b"}},
		{Taking{Count: 1}, []string{""}, "\n", 1, nil, nil},
		{Taking{Count: 1}, nil, "", 0, ErrEmpty, nil},
		{Taking{Count: 2}, []string{"a", "b", "c"}, "a\nb\n", 2, nil, []string{"c"}},
		{Taking{Count: 5}, []string{"a", "b"}, "a\nb\n", 2, nil, nil},
		{Taking{All: true}, []string{"a", "b"}, "a\nb\n", 2, nil, nil},
		{Taking{All: true}, nil, "", 0, ErrEmpty, nil},
		{Taking{All: true, Wait: true}, nil, "", 0, ErrEmpty, nil},
		{Taking{All: true, Count: 1}, []string{"a", "b"}, "a\n", 1, nil, []string{"b"}},
		{Taking{Wait: true, Count: 1}, []string{"a"}, "a\n", 1, nil, nil},
		{Taking{Peek: true, Count: 1}, []string{"a", "b"}, "a\n", 1, nil, []string{"a", "b"}},
		{Taking{Peek: true, Count: 2}, []string{"a", "b", "c"}, "a\nb\n", 2, nil, []string{"a", "b", "c"}},
		{Taking{Peek: true, All: true}, []string{"a", "b"}, "a\nb\n", 2, nil, []string{"a", "b"}},
		{Taking{Peek: true, Count: 1}, nil, "", 0, ErrEmpty, nil},
		{Taking{Count: 2, Format: FormatNul}, []string{"a", "b"}, "a\x00b\x00", 2, nil, nil},
		{Taking{Count: 2, Format: FormatBare}, []string{"a", "b"}, "ab", 2, nil, nil},
	}
	for _, frame := range frames {
		for _, test := range tests {
			t.Run("", func(t *testing.T) {
				h := hold(t, Input, QueueOptions{Frame: frame}, test.in...)
				var out bytes.Buffer
				n, err := open(t).Take(test.t, &out)
				if out.String() != test.out || n != test.n || !errors.Is(err, test.err) {
					t.Errorf("%v: %q: Take(%+v) = %d, %v, and writes %q, want %d, %v, %q",
						frame, test.in, test.t, n, err, out.String(), test.n, test.err, test.out)
				}
				if err := h.Queue.WaitLeases(t.Context()); err != nil { // its last word may still be on its way
					t.Error(err)
				}
				same(t, fmt.Sprintf("%v: left by Take(%+v)", frame, test.t), drain(h.Queue), test.left)
			})
		}
	}
}

func TestClientTakesJSON(t *testing.T) {
	h := hold(t, Input, QueueOptions{Frame: Netstring}, "a\n\"b\"", "\xff")
	var out bytes.Buffer
	if n, err := open(t).Take(Taking{All: true, Format: FormatJSON}, &out); n != 2 || err != nil {
		t.Errorf("Take = %d, %v, want 2", n, err)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], `{"seq":1,"time":"2`) ||
		!strings.HasSuffix(lines[0], `Z","peer":"test","message":"a\n\"b\""}`+"\n") || !strings.HasSuffix(lines[1], `,"msg_b64":"/w=="}`+"\n") {
		t.Errorf("Take writes %q", out.String())
	}
	h.Queue.Close()
}

// Batches larger than what one answer holds, and single messages that are larger.
func TestClientTakesMuch(t *testing.T) {
	var in []string
	for i := range 3000 {
		in = append(in, fmt.Sprint(i, " ", strings.Repeat("x", 100)))
	}
	in = append(in, strings.Repeat("y", 3*window), "end")
	want := strings.Join(in, "\n") + "\n"
	for _, form := range []struct {
		name string
		t    Taking
		left int
	}{
		{"taken", Taking{All: true}, 0},
		{"counted", Taking{Count: len(in)}, 0},
		{"looked at", Taking{All: true, Peek: true}, len(in)},
	} {
		t.Run(form.name, func(t *testing.T) {
			h := hold(t, Input, QueueOptions{})
			s := h.Queue.NewSource(SourceOptions{})
			s.Feed(t.Context(), []byte(want))
			s.Finish()
			var out bytes.Buffer
			n, err := open(t).Take(form.t, &out)
			if n != len(in) || err != nil || out.String() != want {
				t.Errorf("Take(%+v) = %d, %v, and writes %d bytes, want %d, %d bytes", form.t, n, err, out.Len(), len(in), len(want))
			}
			h.Queue.WaitLeases(t.Context())
			audit(t, h.Queue)
			if left := h.Queue.Left(); left != form.left {
				t.Errorf("%d messages are left, want %d", left, form.left)
			}
			drain(h.Queue)
		})
	}
}

// Looking at messages shows what waits and nothing that a reader has, from the middle of a batch too.
func TestLook(t *testing.T) {
	q := fed(t, QueueOptions{}, "a", "b", "c", "d", "e")
	q.TryPut([]byte("f"), "")
	first := mustTake(t, q, Want{Messages: 1, Bytes: 99})
	tests := []struct {
		from uint64
		w    Want
		want []string
	}{
		{0, Want{Messages: 99, Bytes: 99}, []string{"b", "c", "d", "e", "f"}},
		{2, Want{Messages: 2, Bytes: 99}, []string{"b", "c"}},
		{4, Want{Messages: 99, Bytes: 99}, []string{"d", "e", "f"}},
		{4, Want{Messages: 99, Bytes: 3}, []string{"d"}},
		{3, Want{Messages: 99, Bytes: 5}, []string{"c", "d"}},
		{3, Want{Messages: 99, Bytes: 99, Before: 5}, []string{"c", "d"}},
		{3, Want{Messages: 99, Bytes: 99, Before: 3}, nil},
		{6, Want{Messages: 99, Bytes: 0}, []string{"f"}},
		{7, Want{Messages: 99, Bytes: 99}, nil},
	}
	for _, test := range tests {
		l := q.look(test.from, test.w)
		same(t, fmt.Sprintf("look(%d, %+v)", test.from, test.w), texts(l), test.want)
		l.forget()
		audit(t, q)
	}
	first.Return()
	same(t, "after looking", drain(q), []string{"a", "b", "c", "d", "e", "f"})
	audit(t, q)
}

func TestClientWaits(t *testing.T) {
	h := hold(t, Input, QueueOptions{})
	c := open(t)
	if _, err := c.Take(Taking{Wait: true, Count: 1, Until: time.Now().Add(10 * time.Millisecond)}, io.Discard); !errors.Is(err, ErrTimeout) {
		t.Errorf("Take: %v, want %v", err, ErrTimeout)
	}
	c.Close()

	// The messages go to those who wait, one each, and to nobody who has gone.
	const n = 20
	var mu sync.Mutex
	var got []string
	var group sync.WaitGroup
	for range n {
		c := open(t)
		group.Go(func() {
			var out bytes.Buffer
			if n, err := c.Take(Taking{Wait: true, Count: 1}, &out); n != 1 || err != nil {
				t.Errorf("Take = %d, %v", n, err)
			}
			mu.Lock()
			got = append(got, out.String())
			mu.Unlock()
		})
	}
	for i := range n {
		h.Queue.TryPut(fmt.Append(nil, i), "")
	}
	group.Wait()
	slices.Sort(got)
	if len(slices.Compact(got)) != n {
		t.Errorf("%d readers took %q", n, got)
	}

	// Counting waits for all of them.
	c = open(t)
	result := make(chan int, 1)
	go func() {
		n, _ := c.Take(Taking{Wait: true, Count: 3}, io.Discard)
		result <- n
	}()
	for range 3 {
		h.Queue.TryPut([]byte("x"), "")
		if err := h.Queue.WaitEmpty(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := <-result; n != 3 {
		t.Errorf("Take of 3 = %d", n)
	}
}

func TestClientFollows(t *testing.T) {
	for _, handed := range []bool{false, true} {
		t.Run(fmt.Sprint("handed ", handed), func(t *testing.T) {
			h := hold(t, Input, QueueOptions{}, "a", "b")
			c := open(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			taking := Taking{Follow: true}
			if handed {
				taking.HandOut = w
			}
			result := make(chan error, 1)
			go func() {
				n, err := c.Take(taking, w)
				w.Close()
				if n != 3 {
					err = fmt.Errorf("%d messages, %w", n, err)
				}
				result <- err
			}()
			h.Queue.WaitEmpty(t.Context())
			h.Queue.TryPut([]byte("c"), "")
			h.Queue.WaitEmpty(t.Context())
			h.Queue.Close()
			if err := <-result; err != nil {
				t.Errorf("Take: %v, want 3 messages", err)
			}
			if out, _ := io.ReadAll(r); string(out) != "a\nb\nc\n" {
				t.Errorf("Take writes %q", out)
			}
		})
	}
}

// What the holder writes itself: a pipe or a file, in every format, one message or all.
func TestClientHandsOut(t *testing.T) {
	for _, count := range []int{0, 1, 2} {
		for _, format := range []Format{FormatLine, FormatNul, FormatBare} {
			for _, file := range []bool{false, true} {
				t.Run("", func(t *testing.T) {
					in := []string{"a", "b", "c"}
					h := hold(t, Input, QueueOptions{}, in...)
					r, w, err := os.Pipe()
					if err != nil {
						t.Fatal(err)
					}
					if file {
						if w, err = os.Create(filepath.Join(t.TempDir(), "out")); err != nil {
							t.Fatal(err)
						}
						r, _ = os.Open(w.Name())
					}
					defer r.Close()
					n, err := open(t).Take(Taking{All: count == 0, Count: count, Format: format, HandOut: w}, w)
					w.Close()
					if count > 0 {
						in = in[:count]
					}
					end := []string{"\n", "\x00", ""}[format]
					want := strings.Join(in, end) + end
					if out, _ := io.ReadAll(r); string(out) != want || n != len(in) || err != nil {
						t.Errorf("Take of %d = %d, %v, and writes %q, want %d, %q", count, n, err, out, len(in), want)
					}
					h.Queue.WaitLeases(t.Context())
					if left := h.Queue.Left(); left != 3-len(in) {
						t.Errorf("%d messages are left", left)
					}
				})
			}
		}
	}
}

func TestClientOutputFails(t *testing.T) {
	for _, format := range []Format{FormatLine, FormatBare} {
		h := hold(t, Input, QueueOptions{}, "a", "b")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := open(t)
		// Handed over while somebody reads, and then nobody does any more.
		l := mustTake(t, h.Queue, Want{Messages: 2, Bytes: 99})
		result := make(chan error, 1)
		go func() {
			_, err := c.Take(Taking{Follow: true, Format: format, HandOut: w}, w)
			result <- err
		}()
		for { // until it waits
			h.Queue.mu.Lock()
			n := len(h.Queue.waiters)
			h.Queue.mu.Unlock()
			if n > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		r.Close()
		l.Return()
		if err := <-result; err == nil || !strings.HasSuffix(err.Error(), "standard output: broken pipe") {
			t.Errorf("Take: %v, want that the pipe is broken", err)
		}
		w.Close()
		same(t, "left", drain(h.Queue), []string{"a", "b"})
	}
	// When the client itself cannot write, what it was given last stays.
	h := hold(t, Input, QueueOptions{}, "a", "b")
	c := open(t)
	if _, err := c.Take(Taking{All: true}, broken{}); err != errBroken {
		t.Errorf("Take: %v, want %v", err, errBroken)
	}
	c.Close()
	h.Queue.WaitLeases(t.Context())
	same(t, "left", drain(h.Queue), []string{"a", "b"})
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestClientPuts(t *testing.T) {
	h := hold(t, Output, QueueOptions{MaxMessage: 100, Capacity: 2000})
	c := open(t)
	for _, m := range []string{"a", "", "b\nc", strings.Repeat("x", 100)} {
		if err := c.Put([]byte(m), Writing{}); err != nil {
			t.Errorf("Put(%q): %v", m, err)
		}
	}
	same(t, "put", drain(h.Queue), []string{"a", "", "b", "c", strings.Repeat("x", 100)})
	// More than the holder reads of it: its answer still comes through.
	for range 20 {
		c := open(t)
		err := c.Put(make([]byte, 4<<20), Writing{})
		if !errors.Is(err, ErrTooLong) || !strings.HasPrefix(err.Error(), "mail: the message is too long: ") {
			t.Fatalf("Put of 4 MiB: %v, want %v", err, ErrTooLong)
		}
		c.Close()
	}

	for h.Queue.fits(segCost + 3) {
		h.Queue.TryPut([]byte("xx"), "")
	}
	if err := c.Put([]byte("yy"), Writing{NoWait: true}); !errors.Is(err, ErrFull) {
		t.Errorf("Put into a full buffer: %v, want %v", err, ErrFull)
	}
	c = open(t)
	if err := c.Put([]byte("yy"), Writing{Timeout: time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Errorf("Put into a full buffer with a timeout: %v, want %v", err, ErrTimeout)
	}
	result := make(chan error, 1)
	c = open(t)
	go func() { result <- c.Put([]byte("yy"), Writing{}) }()
	drain(h.Queue)
	if err := <-result; err != nil {
		t.Errorf("Put: %v", err)
	}
	drain(h.Queue)

	// Flushed is what has been acknowledged, not what has been taken.
	go func() { result <- c.Put([]byte("z"), Writing{Flush: true}) }()
	l, err := h.Queue.Take(t.Context(), Want{Messages: 1})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-result:
		t.Errorf("Put that flushes returned before the message was acknowledged: %v", err)
	default:
	}
	l.Ack()
	if err := <-result; err != nil {
		t.Errorf("Put that flushes: %v", err)
	}
	if err := c.Put([]byte("z"), Writing{Flush: true, Timeout: time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Errorf("Put that flushes, and nobody reads: %v, want %v", err, ErrTimeout)
	}
	drain(h.Queue)
}

func TestClientStreams(t *testing.T) {
	big := strings.Repeat(strings.Repeat("z", 99)+"\n", 20_000) // 2 MB
	tests := []struct {
		s    Stream
		in   string
		want []string
	}{
		{Stream{}, "", nil},
		{Stream{}, "a\nb", []string{"a", "b"}},
		{Stream{}, "a\n\n", []string{"a", ""}},
		{Stream{Frame: Nul}, "a\x00b\x00", []string{"a", "b"}},
		{Stream{Frame: Netstring}, "1:a,2:bb,", []string{"a", "bb"}},
		{Stream{Whole: true}, "a b", []string{"a b"}},
		{Stream{Whole: true}, "", []string{""}},
		{Stream{}, big, strings.Split(strings.TrimSuffix(big, "\n"), "\n")},
	}
	for _, test := range tests {
		for _, from := range []string{"relayed", "pipe", "file"} {
			t.Run(from, func(t *testing.T) {
				h := hold(t, Output, QueueOptions{})
				s := test.s
				r := io.Reader(strings.NewReader(test.in))
				switch from {
				case "pipe":
					pr, pw, err := os.Pipe()
					if err != nil {
						t.Fatal(err)
					}
					defer pr.Close()
					go func() { io.WriteString(pw, test.in); pw.Close() }()
					r, s.Hand = pr, pr
				case "file":
					name := filepath.Join(t.TempDir(), "in")
					if err := os.WriteFile(name, []byte(test.in), 0o600); err != nil {
						t.Fatal(err)
					}
					f, err := os.Open(name)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					r, s.Hand = f, f
				}
				n, size, err := open(t).PutStream(r, s, Writing{})
				if n != len(test.want) || size != len(test.in) || err != nil {
					t.Errorf("PutStream(%.20q, %+v) = %d, %d, %v, want %d, %d", test.in, test.s, n, size, err, len(test.want), len(test.in))
				}
				same(t, fmt.Sprintf("PutStream(%.20q, %+v)", test.in, test.s), drain(h.Queue), test.want)
			})
		}
	}
}

func TestClientStreamFails(t *testing.T) {
	h := hold(t, Output, QueueOptions{MaxMessage: 10, Capacity: 1000})
	_, _, err := open(t).PutStream(strings.NewReader("1:a,1:b,x"), Stream{Frame: Netstring}, Writing{})
	if err == nil || err.Error() != "mail: not a netstring (after 2 messages)" {
		t.Errorf("PutStream of no netstring: %v", err)
	}
	same(t, "what was good", drain(h.Queue), []string{"a", "b"})
	_, _, err = open(t).PutStream(strings.NewReader("1:a,5:ab"), Stream{Frame: Netstring}, Writing{})
	if !strings.HasPrefix(fmt.Sprint(err), "mail: unexpected EOF") {
		t.Errorf("PutStream of half a netstring: %v", err)
	}
	drain(h.Queue)
	_, _, err = open(t).PutStream(strings.NewReader("more than ten"), Stream{Whole: true}, Writing{})
	if !errors.Is(err, ErrTooLong) {
		t.Errorf("PutStream of a whole that is too long: %v, want %v", err, ErrTooLong)
	}
	same(t, "what was too long", drain(h.Queue), nil)
	_, _, err = open(t).PutStream(strings.NewReader(strings.Repeat("x\n", 10_000)), Stream{}, Writing{Timeout: time.Millisecond})
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("PutStream into a full buffer: %v, want %v", err, ErrTimeout)
	}
	drain(h.Queue)
}

func TestWrongKind(t *testing.T) {
	hold(t, Input, QueueOptions{})
	if err := open(t).Put([]byte("a"), Writing{}); !errors.Is(err, ErrVerb) || !strings.Contains(err.Error(), "read mail") {
		t.Errorf("Put into an input: %v, want %v and the right verb", err, ErrVerb)
	}
	if _, _, err := open(t).PutStream(strings.NewReader("a\n"), Stream{}, Writing{}); !errors.Is(err, ErrVerb) {
		t.Errorf("PutStream into an input: %v, want %v", err, ErrVerb)
	}
	hold(t, Output, QueueOptions{})
	if _, err := open(t).Take(Taking{Count: 1}, io.Discard); !errors.Is(err, ErrVerb) || !strings.Contains(err.Error(), "write mail") {
		t.Errorf("Take from an output: %v, want %v and the right verb", err, ErrVerb)
	}
}

// wire is a client that says what it wants.
func wire(t *testing.T) *net.UnixConn {
	t.Helper()
	c := open(t)
	f := os.NewFile(uintptr(c.fd), "client")
	conn, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Close() // conn has its own; the Client's Close then meets nothing
	c.fd = -1
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}

// A client that goes away in the midst of taking has taken nothing, wherever it was.
func TestTakerVanishes(t *testing.T) {
	in := []string{"a", "b", "c"}
	h := hold(t, Input, QueueOptions{}, in...)
	take := takeRequest{flags: flagAll}.append(nil)
	for _, test := range []struct {
		name string
		f    func(c *net.UnixConn)
	}{
		{"without a word", func(c *net.UnixConn) {}},
		{"within a head", func(c *net.UnixConn) { c.Write(take[:3]) }},
		{"within a request", func(c *net.UnixConn) { c.Write(take[:headSize+2]) }},
		{"before the answer", func(c *net.UnixConn) { c.Write(take) }},
		{"within the answer", func(c *net.UnixConn) { c.Write(take); io.ReadFull(c, make([]byte, 3)) }},
		{"before the confirmation", func(c *net.UnixConn) { c.Write(take); io.ReadFull(c, make([]byte, headSize+4+6)) }},
		{"within the confirmation", func(c *net.UnixConn) {
			c.Write(take)
			io.ReadFull(c, make([]byte, headSize+4+6))
			c.Write(head{kindAck, 0, 0}.append(nil)[:7])
		}},
		{"with a wrong confirmation", func(c *net.UnixConn) {
			c.Write(take)
			io.ReadFull(c, make([]byte, headSize+4+6))
			c.Write(head{kindEnd, 0, 0}.append(nil))
			io.Copy(io.Discard, c)
		}},
	} {
		c := wire(t)
		test.f(c)
		c.Close()
		h.idle(t)
		l := mustTake(t, h.Queue, Want{Messages: 9, Bytes: 99})
		same(t, test.name, texts(l), in)
		l.Return()
	}
	// One that waits is no longer waited for.
	drain(h.Queue)
	c := wire(t)
	c.Write(takeRequest{flags: flagFollow}.append(nil))
	c.Close()
	h.idle(t)
	h.Queue.TryPut([]byte("x"), "")
	same(t, "after a follower has gone", drain(h.Queue), []string{"x"})
}

// idle returns when the host answers nobody any more.
func (h *Host) idle(t *testing.T) {
	t.Helper()
	c := open(t)
	if _, err := c.Stat(); err != nil { // all who came before have been accepted
		t.Fatal(err)
	}
	c.Close()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Microsecond) {
		h.mu.Lock()
		n := len(h.conns)
		h.mu.Unlock()
		switch {
		case n == 0:
			audit(t, h.Queue)
			return
		case time.Now().After(end):
			t.Fatalf("%d clients that have gone are still answered", n)
		}
	}
}

// Of a client that goes away in the midst of writing, the messages that have come whole are in.
func TestWriterVanishes(t *testing.T) {
	h := hold(t, Output, QueueOptions{})
	stream := writeRequest{}.append(nil, nil)
	data := func(n int, s string) []byte { return append(head{kindData, 0, n}.append(nil), s...) }
	one := writeRequest{flags: flagOne}.append(nil, []byte("hello"))
	for _, test := range []struct {
		name string
		in   []byte
		want []string
	}{
		{"after the request", stream, nil},
		{"within a message", one[:len(one)-1], nil},
		{"after a message", one, []string{"hello"}},
		{"within a head", append(slices.Clone(stream), 'D', 0), nil},
		{"within a frame", slices.Concat(stream, data(10, "a\nb")), []string{"a"}},
		{"after a frame", slices.Concat(stream, data(3, "a\nb")), []string{"a"}},
		{"after frames", slices.Concat(stream, data(3, "a\nb"), data(2, "b\n")), []string{"a", "bb"}},
		{"after the end", slices.Concat(stream, data(3, "a\nb"), head{kindEnd, 0, 0}.append(nil)), []string{"a", "b"}},
		{"with nonsense", slices.Concat(stream, data(3, "a\nb"), []byte("GET / HTTP/1.0\r\n\r\n")), []string{"a"}},
	} {
		c := wire(t)
		c.Write(test.in)
		c.Close()
		h.idle(t)
		same(t, test.name, drain(h.Queue), test.want)
	}
	// One that waits for room.
	for h.Queue.fits(h.Queue.max + segCost + 1) {
		h.Queue.TryPut(make([]byte, h.Queue.max), "")
	}
	c := wire(t)
	c.Write(writeRequest{flags: flagOne}.append(nil, make([]byte, h.Queue.max)))
	c.Close()
	h.idle(t)
	drain(h.Queue)
	if h.Queue.Left() != 0 {
		t.Error("the message of a client that had gone came after all")
	}
}

// A holder that has been given a descriptor lets go of it when the client goes away.
func TestHandedOverAndVanished(t *testing.T) {
	h := hold(t, Output, QueueOptions{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	io.WriteString(w, "a\nb")
	c := open(t)
	result := make(chan error, 1)
	go func() { _, _, err := c.PutStream(r, Stream{Hand: r}, Writing{}); result <- err }()
	l, err := h.Queue.Take(t.Context(), Want{Messages: 1})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "handed over", texts(l), []string{"a"})
	l.Ack()
	shutdown(c.fd)
	if err := <-result; !errors.Is(err, ErrGone) {
		t.Errorf("PutStream: %v, want %v", err, ErrGone)
	}
	h.idle(t)
	same(t, "after that", drain(h.Queue), nil)
	r.Close()
	if _, err := io.WriteString(w, "x"); err == nil {
		t.Error("somebody still has the pipe")
	}

	in := hold(t, Input, QueueOptions{}, strings.Repeat("x", 1<<20), "b") // more than a pipe holds
	r, w, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c = open(t)
	go func() { _, err := c.Take(Taking{All: true, HandOut: w}, w); result <- err }()
	io.ReadFull(r, make([]byte, 100))
	shutdown(c.fd)
	<-result
	in.idle(t)
	w.Close()
	io.Copy(io.Discard, r) // ends, as nobody else has it
	if got := drain(in.Queue); len(got) != 2 {
		t.Errorf("%d messages are left, want 2", len(got))
	}
}

func TestStat(t *testing.T) {
	hold(t, Input, QueueOptions{Frame: Nul, Capacity: 5000}, "a", "bb")
	c := open(t)
	for range 2 {
		s, err := c.Stat()
		if err != nil || s.Name != "mail" || s.Kind != Input || s.PID != os.Getpid() || s.Frame != "nul" ||
			s.Capacity != 5000 || s.Messages != 2 || s.Bytes != 5 || s.In != 2 || s.Age < 0 || s.Started.IsZero() {
			t.Errorf("Stat() = %+v, %v", s, err)
		}
	}
}

// heard waits until the holder has taken n connections.
func heard(h *Host, n int) {
	for have := 0; have < n; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		have = len(h.conns)
		h.mu.Unlock()
	}
}

func TestCloseBuffer(t *testing.T) {
	h := hold(t, Input, QueueOptions{}, "a", "b")
	var group sync.WaitGroup
	clients := []*Client{open(t), open(t), open(t)}
	idle := wire(t) // who says nothing does not keep it
	heard(h, 4)
	told := make(chan int, 2)
	for i, c := range clients[:2] {
		group.Go(func() {
			left, err := c.CloseBuffer(i == 0)
			if err != nil {
				t.Errorf("CloseBuffer: %v", err)
			}
			told <- left
			if _, err := Open("mail"); !errors.Is(err, ErrNoBuffer) {
				t.Errorf("Open after CloseBuffer: %v, want %v", err, ErrNoBuffer)
			}
		})
	}
	group.Wait()
	if a, b := <-told, <-told; max(a, b) != 2 {
		t.Errorf("CloseBuffer = %d and %d, want 2", a, b)
	}
	if b, err := io.ReadAll(idle); err != nil || !bytes.Equal(b, appendError(nil, ErrEnd)) {
		t.Errorf("an idle client reads %q, %v, want that it is the end", b, err)
	}
	if _, err := clients[2].Stat(); !errors.Is(err, ErrEnd) {
		t.Errorf("Stat after the end: %v, want %v", err, ErrEnd)
	}
}

// Whoever waits when the end comes is told so.
func TestEndTellsThoseWhoWait(t *testing.T) {
	hold(t, Input, QueueOptions{})
	results := make(chan error, 2)
	follow, wait := open(t), open(t)
	go func() { _, err := wait.Take(Taking{Wait: true, Count: 1}, io.Discard); results <- err }()
	if _, err := open(t).CloseBuffer(false); err != nil {
		t.Error(err)
	}
	// Either it was being answered, or it was never heard.
	if err := <-results; !errors.Is(err, ErrEnd) && !errors.Is(err, ErrGone) {
		t.Errorf("Take of one that waits: %v, want %v", err, ErrEnd)
	}
	follow.Close()

	hold(t, Output, QueueOptions{})
	r, w := io.Pipe()
	writer := open(t)
	go func() { _, _, err := writer.PutStream(r, Stream{}, Writing{}); results <- err }()
	io.WriteString(w, "a\nb")
	if _, err := open(t).CloseBuffer(false); err != nil {
		t.Error(err)
	}
	go func() { io.WriteString(w, "c\n"); w.Close() }()
	if err := <-results; !errors.Is(err, ErrEnd) && !errors.Is(err, ErrGone) {
		t.Errorf("PutStream as the buffer is closed: %v, want an error", err)
	}
}

// So is whoever asks only then, once the holder has heard that he is there.
func TestEndTellsThoseWhoAskLate(t *testing.T) {
	h := hold(t, Input, QueueOptions{})
	late, looks, closes := open(t), open(t), open(t)
	heard(h, 3)
	h.Close(false)
	if _, err := late.Take(Taking{Wait: true, Count: 1}, io.Discard); !errors.Is(err, ErrEnd) {
		t.Errorf("Take: %v, want %v", err, ErrEnd)
	}
	if _, err := looks.Stat(); !errors.Is(err, ErrEnd) {
		t.Errorf("Stat: %v, want %v", err, ErrEnd)
	}
	if left, err := closes.CloseBuffer(false); err != nil || left != 0 {
		t.Errorf("CloseBuffer: %d, %v", left, err)
	}
}

func TestManyClients(t *testing.T) {
	h := hold(t, Input, QueueOptions{})
	const n = 600
	for i := range n {
		h.Queue.TryPut(fmt.Append(nil, i), "")
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var group sync.WaitGroup
	for range n {
		c := open(t) // all are connected before the first has asked
		group.Go(func() {
			var out bytes.Buffer
			if n, err := c.Take(Taking{Wait: true, Count: 1}, &out); n != 1 || err != nil {
				t.Errorf("Take = %d, %v", n, err)
			}
			c.Close()
			mu.Lock()
			seen[out.String()]++
			mu.Unlock()
		})
	}
	group.Wait()
	if len(seen) != n {
		t.Errorf("%d clients took %d messages", n, len(seen))
	}
}
