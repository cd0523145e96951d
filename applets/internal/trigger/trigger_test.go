package trigger

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

func TestRequest(t *testing.T) {
	for _, data := range []string{"", "x", strings.Repeat("y", MaxData)} {
		var b bytes.Buffer
		if err := writeRequest(&b, []byte(data)); err != nil {
			t.Fatal(err)
		}
		whole := b.Bytes()
		if got, err := readRequest(bytes.NewReader(whole)); err != nil || string(got) != data {
			t.Errorf("%d bytes came back as %d, %v", len(data), len(got), err)
		}
		for _, n := range []int{0, 1, 4, len(whole) - 1} {
			if _, err := readRequest(bytes.NewReader(whole[:n])); err == nil {
				t.Errorf("%d of %d bytes are taken for a request", n, len(whole))
			}
		}
	}
	for _, bad := range []string{"t\x00\x00\x00\x00", "T\x00\x01\x00\x01", "T\xff\xff\xff\xff"} {
		if _, err := readRequest(io.MultiReader(strings.NewReader(bad), neverEnding{})); err == nil {
			t.Errorf("%q is taken for a request", bad)
		}
	}
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

func key(t *testing.T, text string) secret.Key {
	t.Helper()
	k, err := secret.ReadKey("text:"+text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start runs Wait, and returns where and how it ends.
func start(t *testing.T, o WaitOptions) (sock.Addr, chan error) {
	t.Helper()
	addr := make(chan net.Addr, 1)
	o.Addr = sock.Addr{Net: "tcp", Host: "127.0.0.1"}
	o.Listen.AnyPort = true
	o.Ready = func(a net.Addr) error { addr <- a; return nil }
	o.Note = t.Logf
	done := make(chan error, 1)
	go func() { done <- Wait(t.Context(), o) }()
	a, err := sock.ParseAddr((<-addr).String())
	if err != nil {
		t.Fatal(err)
	}
	return a, done
}

func send(t *testing.T, a sock.Addr, text, data string) error {
	return Send(t.Context(), SendOptions{Addr: a, Key: key(t, text), Data: []byte(data), Note: t.Logf})
}

// Each sender that was told it was accepted is one of those that were counted, and what it passed was
// printed before; all others were told something else.
func TestManySenders(t *testing.T) {
	const wanted, senders = 20, 30
	var out bytes.Buffer
	a, done := start(t, WaitOptions{Key: key(t, "k"), Count: wanted, Data: &out})
	var mu sync.Mutex
	accepted := map[string]bool{}
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			data := strings.Repeat(string(rune('a'+i)), 1+i*100)
			if err := send(t, a, "k", data); err == nil {
				mu.Lock()
				defer mu.Unlock()
				accepted[data] = true
			}
		})
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all.Wait()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != wanted || len(accepted) != wanted {
		t.Fatalf("%d lines, %d accepted, want %d", len(lines), len(accepted), wanted)
	}
	for _, line := range lines {
		if !accepted[line] {
			t.Errorf("%.10s… was printed, and its sender was not told", line)
		}
	}
}

// What cannot be printed is not accepted.
func TestDataFails(t *testing.T) {
	broken := errors.New("no space")
	a, done := start(t, WaitOptions{Key: key(t, "k"), Count: 1, Data: failing{broken}})
	if err := send(t, a, "k", "x"); !errors.Is(err, ErrLost) {
		t.Errorf("the sender: %v, want %v", err, ErrLost)
	}
	if err := <-done; !errors.Is(err, broken) {
		t.Errorf("the waiter: %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// Who proves the key and then says nothing more neither counts nor changes what becomes of the wait.
func TestStalledSender(t *testing.T) {
	a, done := start(t, WaitOptions{Key: key(t, "k"), Count: 1})
	c, err := sock.Dial(t.Context(), a, sock.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := secret.Dial(t.Context(), c, key(t, "k"), secret.ForTrigger); err != nil {
		t.Fatal(err)
	}
	if err := send(t, a, "k", ""); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("a sender was accepted, and yet: %v", err)
	}
}

// A listener that does not know the key is tried once, and gets one guess out of it.
func TestRogueListenerIsTriedOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	server := &secret.Server{
		Key: key(t, "guess"), Purpose: secret.ForTrigger, Allow: func(net.Addr) bool { return true },
		Handle: func(_ context.Context, p secret.Peer) { p.Conn.Close() },
		Note:   func(net.Addr, error) { tries++ },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Serve(ctx, ln) }()
	a, err := sock.ParseAddr(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = Send(t.Context(), SendOptions{Addr: a, Key: key(t, "k"), Retry: time.Minute, Note: t.Logf})
	if !errors.Is(err, secret.ErrRefused) {
		t.Errorf("%v, want %v", err, secret.ErrRefused)
	}
	cancel()
	<-done
	if tries > 1 {
		t.Errorf("%d tries", tries)
	}
}
