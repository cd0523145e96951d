package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sockbox/buffer"
)

// tcp returns the two ends of a connection by the loopback.
func tcp(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		var err error
		b, err = ln.Accept()
		done <- err
	}()
	if a, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return a, b
}

func put(t testing.TB, q *buffer.Queue, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if _, _, err := q.Put(t.Context(), []byte(m), "test"); err != nil {
			t.Fatal(err)
		}
	}
}

// get takes the next message.
func get(t testing.TB, q *buffer.Queue) (m, peer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := q.Take(ctx, buffer.Want{Messages: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.Each(func(got buffer.Message) { m, peer = string(got.Data), got.Peer })
	l.Ack()
	return m, peer
}

// A message has at the receiver the boundaries that it had at the sender, whatever its bytes are
// and whatever framing the two queues have. The end is a bye, after all has been acknowledged.
func TestBoundaries(t *testing.T) {
	messages := []string{"one", "", "two\nlines", "a\x00zero", "\n", "5:x,", strings.Repeat("long\n", 60000), strings.Repeat("x", 1<<20), "end"}
	for from := buffer.Nul; from <= buffer.Datagram; from++ {
		for to := buffer.Line; to <= buffer.Datagram; to++ {
			qa, qb := buffer.NewQueue(buffer.QueueOptions{Frame: from}), buffer.NewQueue(buffer.QueueOptions{Frame: to})
			out, in := NewOutbox(qa, OutboxOptions{}), NewInbox(qb, InboxOptions{})
			a, b := tcp(t)
			served := make(chan error, 1)
			go func() { served <- in.Serve(t.Context(), b, "peer") }()
			sent := messages
			if from == buffer.Nul {
				sent = append(messages[:3:3], messages[4:]...)
			}
			put(t, qa, sent...)
			qa.Close()
			if from == to { // it makes no difference
				if err := out.Greet(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			if err := out.Run(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			if err := <-served; err != nil {
				t.Fatal(err)
			}
			if n := out.Unacknowledged(); n != 0 || qa.Left() != 0 {
				t.Error(n, qa.Left())
			}
			for _, want := range sent {
				if got, peer := get(t, qb); got != want || peer != "peer" {
					t.Errorf("%s to %s: %.20q from %q, want %.20q", from, to, got, peer, want)
				}
			}
			if c := qb.Counts(); c.In != int64(len(sent)) || c.Messages != 0 {
				t.Errorf("%+v", c)
			}
			if len(in.streams.known) != 0 {
				t.Error("the stream is remembered")
			}
		}
	}
}

// Messages come through, each once and in order, though the connections are cut at any byte, and
// the older ones are not always gone when the newer ones come.
func TestCut(t *testing.T) {
	const total = 20000
	qa := buffer.NewQueue(buffer.QueueOptions{Capacity: 256 << 10})
	qb := buffer.NewQueue(buffer.QueueOptions{Capacity: 64 << 10})
	out, in := NewOutbox(qa, OutboxOptions{Name: "cut"}), NewInbox(qb, InboxOptions{})
	var group sync.WaitGroup
	defer group.Wait()
	message := func(i int) string { return fmt.Sprint(i, " ", strings.Repeat("x", i*i%400)) }
	group.Go(func() {
		for i := range total {
			put(t, qa, message(i))
		}
		put(t, qa, strings.Repeat("y", 60000))
		qa.Close()
	})
	group.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for cuts := 0; ; cuts++ {
			a, ra := tcp(t)
			rb, b := tcp(t)
			group.Go(func() { in.Serve(t.Context(), b, "peer") })
			// What lies between lets so many bytes through, and then no more.
			passed := 1000 + random.Int64N(200000)
			late := random.IntN(2) == 0
			group.Go(func() {
				io.CopyN(rb, ra, passed)
				ra.Close()
				if late {
					time.Sleep(time.Duration(passed%5) * time.Millisecond)
				}
				rb.Close()
			})
			group.Go(func() { io.Copy(ra, rb) })
			if out.Run(t.Context(), a) == nil {
				t.Log(cuts, "cuts")
				return
			}
		}
	})
	for i := range total {
		if got, _ := get(t, qb); got != message(i) {
			t.Fatalf("%.20q, want %d", got, i)
		}
	}
	if got, _ := get(t, qb); len(got) != 60000 {
		t.Error(len(got))
	}
	if c := qb.Counts(); c.In != total+1 {
		t.Errorf("%+v", c)
	}
}

// Of two connections of a stream the newer goes on, at once, though the older one is in the midst
// of a message and waits for room.
func TestTakeOver(t *testing.T) {
	q := buffer.NewQueue(buffer.QueueOptions{Capacity: 4096})
	in := NewInbox(q, InboxOptions{})
	hello := append([]byte(Magic), appendHello(nil, ID{1}, 1, "")...)
	a, b := tcp(t)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- in.Serve(t.Context(), b, "first") }()
	m := bytes.Repeat([]byte("x"), 1000)
	for seq := range uint64(10) {
		hello = appendData(hello, seq+1, m)
	}
	a.Write(hello)
	for q.Counts().Messages < 3 {
		time.Sleep(time.Millisecond)
	}
	c, d := tcp(t)
	go func() { second <- in.Serve(t.Context(), d, "second") }()
	c.Write(hello)
	if err := <-first; !errors.Is(err, ErrTakenOver) {
		t.Error(err)
	}
	for range 10 {
		if got, _ := get(t, q); got != string(m) {
			t.Errorf("%q", got)
		}
	}
	c.Write(appendBye(nil, ""))
	if err := <-second; err != nil {
		t.Error(err)
	}
	if c := q.Counts(); c.In != 10 {
		t.Errorf("%+v", c)
	}
	a.Close()
	c.Close()
}

// A receiver that was killed knows nothing of the stream: it gets all that was not acknowledged.
func TestForgotten(t *testing.T) {
	qa, qb := buffer.NewQueue(buffer.QueueOptions{}), buffer.NewQueue(buffer.QueueOptions{})
	out := NewOutbox(qa, OutboxOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	a, b := tcp(t)
	ended := make(chan error, 2)
	go func() { ended <- NewInbox(qb, InboxOptions{}).Serve(ctx, b, "") }()
	go func() { ended <- out.Run(ctx, a) }()
	put(t, qa, "one", "two")
	if err := qa.WaitGone(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ended
	<-ended
	put(t, qa, "three", "four")
	qa.Close()
	a, b = tcp(t)
	qc := buffer.NewQueue(buffer.QueueOptions{})
	go func() { ended <- NewInbox(qc, InboxOptions{}).Serve(t.Context(), b, "") }()
	if err := out.Run(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"three", "four"} {
		if got, _ := get(t, qc); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A full queue stops the sender, and for a minute of that nobody is taken for dead; what then
// finds room comes at once.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		qa, qb := buffer.NewQueue(buffer.QueueOptions{}), buffer.NewQueue(buffer.QueueOptions{Capacity: 8192})
		out, in := NewOutbox(qa, OutboxOptions{}), NewInbox(qb, InboxOptions{})
		a, b := net.Pipe()
		ended := make(chan error, 2)
		go func() { ended <- in.Serve(t.Context(), b, "") }()
		go func() { ended <- out.Run(t.Context(), a) }()
		m := strings.Repeat("x", 1000)
		for range 500 {
			put(t, qa, m)
		}
		time.Sleep(time.Minute)
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		if n := out.Unacknowledged(); n == 0 || n > 140 { // the least credit, and one bundle
			t.Errorf("%d messages are on their way", n)
		}
		for range 500 {
			get(t, qb)
		}
		time.Sleep(time.Minute)
		put(t, qa, "end")
		if got, _ := get(t, qb); got != "end" {
			t.Error(got)
		}
		qa.Close()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// A peer that has died without a word is noticed in 15 s, by either side.
func TestDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		q := buffer.NewQueue(buffer.QueueOptions{})
		a, b := net.Pipe()
		go func() {
			b.Write(append([]byte(Magic), appendHello(nil, ID{}, 1, "")...))
			io.Copy(io.Discard, b)
		}()
		in := NewInbox(q, InboxOptions{})
		err := in.Serve(t.Context(), a, "")
		if d := time.Since(began); err != errSilent || d != deadAfter {
			t.Error(err, d)
		}
		for i := range len(Magic) + helloSize {
			began = time.Now()
			a, b = net.Pipe()
			go b.Write(appendHello([]byte(Magic), ID{}, 1, "")[:i])
			err = in.Serve(t.Context(), a, "")
			if d := time.Since(began); err != errGreet || d != greetTime {
				t.Error(i, err, d)
			}
		}
		began = time.Now()
		a, b = net.Pipe()
		go func() {
			b.Write(appendAck(nil, kindWelcome, 0, 1000))
		}()
		go io.Copy(io.Discard, b)
		err = NewOutbox(q, OutboxOptions{}).Run(t.Context(), a)
		if d := time.Since(began); err != errSilent || d != deadAfter {
			t.Error(err, d)
		}
		began = time.Now()
		a, b = net.Pipe()
		go io.Copy(io.Discard, b)
		err = NewOutbox(q, OutboxOptions{}).Run(t.Context(), a)
		if d := time.Since(began); err != errGreet || d != greetTime {
			t.Error(err, d)
		}
		began = time.Now()
		a, b = net.Pipe()
		go io.Copy(io.Discard, b)
		err = NewOutbox(q, OutboxOptions{}).Greet(t.Context(), a)
		if d := time.Since(began); err != errGreet || d != greetTime {
			t.Error(err, d)
		}
	})
}

// What the wire does not allow ends the connection, with a reason for people; what came before is kept.
func TestBad(t *testing.T) {
	gap := appendData(appendData(nil, 1, []byte("good")), 3, []byte("bad"))
	damaged := appendData(appendData(nil, 1, []byte("good")), 2, []byte("bad"))
	damaged[len(damaged)-1]++
	long := appendData(appendData(nil, 1, []byte("good")), 2, make([]byte, 100000))
	long[len(long)-1]++
	for want, bad := range map[string][]byte{
		"after message 1 came 3":                gap,
		"a message was damaged on its way":      damaged,
		"a message was damaged on its way ":     long,
		"a message of 4294967295 bytes is long": append(appendData(nil, 1, []byte("good")), 'D', 0, 0, 0, 0, 0, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0),
		"not a frame of a link":                 append(appendData(nil, 1, []byte("good")), "GET / HTTP/1.1\r\n"...),
	} {
		q := buffer.NewQueue(buffer.QueueOptions{})
		a, b := tcp(t)
		served := make(chan error, 1)
		go func() { served <- NewInbox(q, InboxOptions{}).Serve(t.Context(), b, "") }()
		a.Write(append([]byte(Magic), appendHello(nil, ID{}, 1, "")...))
		if b := make([]byte, ackSize); b[0] == 0 {
			io.ReadFull(a, b) // so that nothing but the reason is left to come
		}
		a.Write(bad)
		want = strings.TrimSpace(want)
		if err := <-served; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if got, _ := get(t, q); got != "good" {
			t.Error(got)
		}
		if n := q.Left(); n != 0 {
			t.Error(n, "more")
		}
		a.Close()
	}
}

// An inbox may be for one stream, and ask who it is.
func TestAccept(t *testing.T) {
	q := buffer.NewQueue(buffer.QueueOptions{})
	in := NewInbox(q, InboxOptions{One: true, Accept: func(_ ID, name string) error {
		if name != "friend" {
			return errors.New("who are you?")
		}
		return nil
	}})
	run := func(o *Outbox) error {
		a, b := tcp(t)
		go in.Serve(t.Context(), b, "")
		return o.Run(t.Context(), a)
	}
	var bye *ByeError
	if err := run(NewOutbox(q, OutboxOptions{Name: "foe"})); !errors.As(err, &bye) || bye.Reason != "who are you?" {
		t.Error(err)
	}
	end := buffer.NewQueue(buffer.QueueOptions{})
	end.Close()
	if err := run(NewOutbox(end, OutboxOptions{Name: "friend"})); err != nil {
		t.Error(err)
	}
	if err := run(NewOutbox(q, OutboxOptions{Name: "friend"})); !errors.As(err, &bye) || bye.Reason != errOther.Error() {
		t.Error(err)
	}
}

// What was not acknowledged goes back to its place.
func TestRelease(t *testing.T) {
	q := buffer.NewQueue(buffer.QueueOptions{})
	put(t, q, "one", "two", "three")
	out := NewOutbox(q, OutboxOptions{})
	a, b := net.Pipe()
	go func() {
		b.Read(make([]byte, 100))
		b.Write(appendAck(nil, kindWelcome, 0, 1000))
		b.Read(make([]byte, 100))
		b.Write(appendAck(nil, kindAck, 1, 1000))
		b.Close()
	}()
	if err := out.Run(t.Context(), a); err == nil || out.Unacknowledged() != 2 {
		t.Error(err, out.Unacknowledged())
	}
	out.Release()
	if c := q.Counts(); c.Leased != 0 || c.Messages != 2 || c.Out != 1 {
		t.Errorf("%+v", c)
	}
}

func BenchmarkLink(b *testing.B) {
	for _, size := range []int{10, 100, 1000, 100000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			qa, qb := buffer.NewQueue(buffer.QueueOptions{}), buffer.NewQueue(buffer.QueueOptions{})
			out, in := NewOutbox(qa, OutboxOptions{}), NewInbox(qb, InboxOptions{})
			x, y := tcp(b)
			go in.Serve(b.Context(), y, "")
			go out.Run(b.Context(), x)
			lines := bytes.Repeat(append(bytes.Repeat([]byte("x"), size-1), '\n'), max(1, 64<<10/size))
			per := len(lines) / size
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				src := qa.NewSource(buffer.SourceOptions{})
				for sent := 0; sent < b.N; sent += per {
					src.Feed(b.Context(), lines)
				}
			}()
			for got := 0; got < b.N; {
				l, err := qb.Take(b.Context(), buffer.Want{Messages: math.MaxInt, Bytes: 1 << 20})
				if err != nil {
					b.Fatal(err)
				}
				got += l.Messages()
				l.Ack()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// Peers that begin long messages and do not end them cannot take all the room: the longest have to
// begin again, and who ends his messages is served.
func TestUnfinished(t *testing.T) {
	q := buffer.NewQueue(buffer.QueueOptions{Capacity: 1 << 20})
	in := NewInbox(q, InboxOptions{})
	served := make(chan error, 20)
	const length = 900000
	for i := range 8 {
		a, b := tcp(t)
		defer a.Close()
		go func() { served <- in.Serve(t.Context(), b, "foe") }()
		go func() {
			m := appendData(appendHello([]byte(Magic), ID{byte(i + 1)}, 1, ""), 1, make([]byte, length))
			a.Write(m[:len(m)-1])
			io.Copy(io.Discard, a)
		}()
	}
	qa := buffer.NewQueue(buffer.QueueOptions{})
	put(t, qa, "small", strings.Repeat("x", 500000), "end")
	qa.Close()
	out := NewOutbox(qa, OutboxOptions{})
	ended := make(chan error)
	go func() {
		for {
			a, b := tcp(t)
			go in.Serve(t.Context(), b, "friend")
			if err := out.Run(t.Context(), a); err == nil || t.Context().Err() != nil {
				ended <- err
				return
			}
		}
	}()
	if got, _ := get(t, q); got != "small" {
		t.Error(got)
	}
	if got, _ := get(t, q); len(got) != 500000 {
		t.Error(len(got))
	}
	if got, _ := get(t, q); got != "end" {
		t.Error(got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if c := q.Counts(); c.Unfinished > 2<<20 || c.In != 3 {
		t.Errorf("%+v", c)
	}
	if err := <-served; !errors.Is(err, buffer.ErrTooLong) {
		t.Error(err)
	}
}

// When many peers have much to say at once, not all of them are read fast, and all are read; they may
// be peers of many inboxes, as those of a pool are.
func TestCrowd(t *testing.T) {
	q := buffer.NewQueue(buffer.QueueOptions{})
	in := NewInbox(q, InboxOptions{})
	var group sync.WaitGroup
	defer group.Wait()
	for i := range maxLarge + 20 {
		a, b := net.Pipe()
		defer a.Close()
		group.Go(func() { NewInbox(q, InboxOptions{}).Serve(t.Context(), b, "slow") })
		go io.Copy(io.Discard, a)
		a.Write(appendHello([]byte(Magic), ID{1, byte(i)}, 1, ""))
		m := appendData(nil, 1, make([]byte, 50000))
		a.Write(m[:30000])
	}
	if n := fast.Load(); n != maxLarge {
		t.Error(n, "are read fast")
	}
	a, b := net.Pipe()
	group.Go(func() { in.Serve(t.Context(), b, "friend") })
	qa := buffer.NewQueue(buffer.QueueOptions{})
	for i := range 300 {
		put(t, qa, strings.Repeat("x", i*10))
	}
	qa.Close()
	if err := NewOutbox(qa, OutboxOptions{}).Run(t.Context(), a); err != nil {
		t.Error(err)
	}
	for i := range 300 {
		if got, _ := get(t, q); len(got) != i*10 {
			t.Error(len(got), i)
		}
	}
}
