package secret

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPlainTakes(t *testing.T) {
	for _, c := range []struct {
		addr            net.Addr
		loopback, there bool
	}{
		{tcpAddr("127.0.0.1:5"), true, true},
		{tcpAddr("127.9.9.9:5"), true, true},
		{tcpAddr("[::1]:5"), true, true},
		{tcpAddr("[::ffff:127.0.0.1]:5"), true, true},
		{tcpAddr("192.168.0.1:5"), false, true},
		{tcpAddr("[fe80::1%lo]:5"), false, true},
		{&net.UnixAddr{Name: "", Net: "unix"}, true, true},
		{pipeAddr{}, false, true},
	} {
		if got := PlainLoopback.Takes(c.addr); got != c.loopback {
			t.Errorf("PlainLoopback.Takes(%v) = %v", c.addr, got)
		}
		if got := PlainAnywhere.Takes(c.addr); got != c.there {
			t.Errorf("PlainAnywhere.Takes(%v) = %v", c.addr, got)
		}
		if PlainNever.Takes(c.addr) {
			t.Errorf("PlainNever.Takes(%v)", c.addr)
		}
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func tcpAddr(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// serve runs a server that says "hello" to who has proven the key.
func serve(t *testing.T, change func(*Server)) (addr string, notes func() string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	key := Key{[]byte("somekey")}
	var mu sync.Mutex
	var noted strings.Builder
	s := &Server{
		Key: key, Purpose: ForTrigger, Allow: func(net.Addr) bool { return true }, Line: key.Equal,
		Handle: func(_ context.Context, p Peer) {
			defer p.Conn.Close()
			io.WriteString(p.Conn, "hello "+string(p.Line)+"\n")
		},
		Note: func(_ net.Addr, err error) {
			mu.Lock()
			defer mu.Unlock()
			noted.WriteString(err.Error() + "\n")
		},
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener is not closed: %v", err)
		}
	})
	return ln.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return noted.String()
	}
}

// say sends text and returns what comes back until the end. The server may close first.
func say(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text)
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestServerTellsTheWires(t *testing.T) {
	addr, notes := serve(t, nil)
	for text, want := range map[string]string{
		"somekey\n":                    "hello somekey\n",
		"somekey\r\n":                  "hello somekey\n",
		"some\n":                       "NO\n",
		"somekey \n":                   "NO\n",
		"\n":                           "NO\n",
		strings.Repeat("x", 2*maxLine): "",
		"\x16\x03\x01\x00\x01\x00":     "", // not a hello; the alert is cut off below
	} {
		got := say(t, addr, text)
		if text[0] == recordHandshake && len(got) > 0 && got[0] == 0x15 { // an alert
			got = ""
		}
		if got != want {
			t.Errorf("%.20q: %q, want %q", text, got, want)
		}
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Dial(t.Context(), c, Key{[]byte("somekey")}, ForTrigger)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if b, _ := io.ReadAll(s); string(b) != "hello \n" {
		t.Errorf("over the channel: %q", b)
	}
	if n := notes(); strings.Contains(n, "somekey") || !strings.Contains(n, ErrRefused.Error()) {
		t.Errorf("noted: %s", n)
	}
}

func TestServerTakesNoPlain(t *testing.T) {
	addr, notes := serve(t, func(s *Server) { s.Plain = PlainNever })
	if got := say(t, addr, "somekey\n"); got != "" {
		t.Errorf("an answer: %q", got)
	}
	if n := notes(); n != ErrNotTaken.Error()+"\n" {
		t.Errorf("noted: %q", n)
	}
}

func TestServerAllows(t *testing.T) {
	addr, notes := serve(t, func(s *Server) { s.Allow = func(net.Addr) bool { return false } })
	if got := say(t, addr, "somekey\n"); got != "" {
		t.Errorf("an answer: %q", got)
	}
	if n := notes(); n != "not allowed\n" {
		t.Errorf("noted: %q", n)
	}
}

// Who is in the midst of a proof when the server ends is served, or cut off soon after.
func TestServerEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	later, stop := after(ctx, time.Millisecond)
	defer stop()
	cancel()
	<-later.Done()
	if !errors.Is(context.Cause(later), context.Canceled) {
		t.Error(context.Cause(later))
	}

	addr, _ := serve(t, nil)
	c, err := net.Dial("tcp", addr) // says nothing; the cleanup of serve does not wait for it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

func TestKeyLine(t *testing.T) {
	if b, err := (Key{[]byte("k")}).Line(); err != nil || !bytes.Equal(b, []byte("k\n")) {
		t.Errorf("%q, %v", b, err)
	}
	for _, text := range []string{"\x16k", "\x16"} {
		if _, err := (Key{[]byte(text)}).Line(); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
