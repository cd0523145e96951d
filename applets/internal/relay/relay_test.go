package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sockbox/applets/internal/sock"
)

func TestParseEndpoint(t *testing.T) {
	tcp := func(host string, port int) sock.Addr { return sock.Addr{Net: "tcp", Host: host, Port: port} }
	udp := func(host string, port int) sock.Addr { return sock.Addr{Net: "udp", Host: host, Port: port} }
	for _, c := range []struct {
		in, out string
		want    Endpoint
	}{
		{"8022", "*:8022", Endpoint{Addr: tcp("", 8022)}},
		{"tcp://web1:80", "web1:80", Endpoint{Addr: tcp("web1", 80)}},
		{"[::1]:80", "[::1]:80", Endpoint{Addr: tcp("::1", 80)}},
		{"udp://:53", "udp://*:53", Endpoint{Addr: udp("", 53), Datagram: true}},
		{"unix:/run/x", "unix:/run/x", Endpoint{Addr: sock.Addr{Net: "unix", Path: "/run/x"}}},
		{"@x", "unix:@x", Endpoint{Addr: sock.Addr{Net: "unix", Path: "@x"}}},
		{"unixgram:/run/x", "unixgram:/run/x", Endpoint{Addr: sock.Addr{Net: "unixgram", Path: "/run/x"}, Datagram: true}},
		{"tls://web1:443", "tls://web1:443", Endpoint{Addr: tcp("web1", 443), TLS: true}},
		{"key://:9999", "key://*:9999", Endpoint{Addr: tcp("", 9999), Key: true}},
		{"broadcast:1235", "broadcast:1235", Endpoint{Addr: udp("", 1235), Datagram: true, Broadcast: true}},
		{"udp://broadcast:1235", "broadcast:1235", Endpoint{Addr: udp("", 1235), Datagram: true, Broadcast: true}},
		{"-", "-", Endpoint{Stdout: true}},
		{"fd:3", "fd:3", Endpoint{Addr: sock.Addr{Net: "fd", FD: 3}}},
	} {
		got, err := ParseEndpoint(c.in)
		if got != c.want || err != nil {
			t.Errorf("ParseEndpoint(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
		}
		if got.String() != c.out {
			t.Errorf("%q is shown as %q, want %q", c.in, got, c.out)
		}
	}
	for _, in := range []string{"", "x", "fifo:/x", "tls://", "tls://unix:/x", "key://x", "broadcast:", "broadcast:0", "http://x:80", "::1:80"} {
		if got, err := ParseEndpoint(in); err == nil {
			t.Errorf("ParseEndpoint(%q) = %+v, want an error", in, got)
		}
	}
}

// What is shown is read as the same.
func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"80", "[::1]:80", "udp://:53", "unixgram:/x", "broadcast:1", "tls://h:1", "key://*:1", "-", "fd:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			return
		}
		if again, err := ParseEndpoint(e.String()); again != e || err != nil {
			t.Errorf("%q: %+v is shown as %q, which is %+v, %v", s, e, e, again, err)
		}
	})
}

// service answers each connection with what it says, and ends when it does.
func service(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return ln.Addr().String()
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	return ln.Addr().String()
}

// started is a relay at work, which has to end in the end.
func started(t *testing.T, o Options) (r *Relay, stop func()) {
	if o.Listen.Net == "" {
		o.Listen, _ = ParseEndpoint("127.0.0.1:0")
	}
	o.ListenOptions.AnyPort = true
	o.MaxConns = 1000
	o.Dial.Timeout = time.Second
	r, err := New(o)
	if err == nil {
		err = r.Open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, context.Background()) }()
	return r, func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			buf := make([]byte, 1<<20)
			t.Fatalf("the relay does not end\n%s", buf[:runtime.Stack(buf, true)])
		}
	}
}

func endpoints(t *testing.T, all ...string) (out []Endpoint) {
	for _, s := range all {
		e, err := ParseEndpoint(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func descriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}

// Clients of every sort, well-behaved and not: afterwards no goroutine, descriptor or count is left, with
// either engine.
func TestNothingIsLeft(t *testing.T) {
	behind := service(t)
	for name, o := range map[string]Options{
		"engine":      {Dests: endpoints(t, behind)},
		"package net": {Dests: endpoints(t, behind), Rate: 1 << 40},
		"down":        {Dests: endpoints(t, "127.0.0.1:1")},
		"one is down": {Dests: endpoints(t, "127.0.0.1:1", behind), Balance: RoundRobin},
	} {
		t.Run(name, func(t *testing.T) {
			goroutines, fds := runtime.NumGoroutine(), descriptors(t)
			r, stop := started(t, o)
			at := r.Addr().String()
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() {
					for range 60 {
						c, err := net.Dial("tcp", at)
						switch {
						case err != nil && name == "down":
							continue // it was reset so fast
						case err != nil:
							t.Error(err)
							return
						}
						c.SetDeadline(time.Now().Add(20 * time.Second))
						b := bytes.Repeat([]byte("x"), rand.IntN(100<<10))
						switch rand.IntN(5) {
						case 0: // goes at once
						case 1: // is reset in the middle
							c.Write(b)
							c.(*net.TCPConn).SetLinger(0)
						case 2: // goes without reading
							c.Write(b)
						case 3: // ends its side, and reads
							go c.Write(b[:min(len(b), 10000)])
							io.CopyN(io.Discard, c, int64(min(len(b), 5000)))
							sock.CloseWrite(c)
						default: // as it should be
							go func() {
								c.Write(b)
								sock.CloseWrite(c)
							}()
							if n, err := io.Copy(io.Discard, c); name != "down" && (err != nil || int(n) != len(b)) {
								t.Errorf("%d bytes of %d, %v", n, len(b), err)
							}
						}
						c.Close()
					}
				})
			}
			clients.Wait()
			gone := func() bool { return r.Counts().Peers == 0 }
			for end := time.Now().Add(20 * time.Second); !gone() && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			if n := r.Counts(); n.Peers != 0 || n.Connects < 50 {
				t.Errorf("%+v", n)
			}
			for _, d := range r.dests.all {
				if n := d.clients.Load(); n != 0 {
					t.Errorf("%s has %d clients", d, n)
				}
			}
			stop()
			// A service's goroutines end a little later, and a few pipes may be kept.
			for end := time.Now().Add(20 * time.Second); ; {
				g, f := runtime.NumGoroutine(), descriptors(t)
				if g <= goroutines && f <= fds+8 {
					break
				}
				if time.Now().After(end) {
					buf := make([]byte, 1<<20)
					t.Fatalf("%d goroutines, %d before; %d descriptors, %d before\n%s", g, goroutines, f, fds, buf[:runtime.Stack(buf, true)])
				}
				runtime.GC() // pipes
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

// A tap quotes what it shows, whatever that is, and never waits for whoever watches.
func TestTap(t *testing.T) {
	var out strings.Builder
	var seen []string
	r, err := New(Options{Dump: DumpText, Out: &out, MaxConns: 1, Tee: func(m []byte, from string) { seen = append(seen, from+" "+string(m)) }})
	if err != nil {
		t.Fatal(err)
	}
	there, back := r.tap("a", "b", false), r.tap("b", "a", true)
	there.bytes(t.Context(), []byte("one\ntw"))
	back.bytes(t.Context(), []byte("\x1b[2J\xff"))
	there.bytes(t.Context(), []byte("o\n"))
	there.end()
	back.end()
	if want := "a > b \"one\\n\"\na > b \"tw\"\na < b \"\\x1b[2J\\xff\"\na > b \"o\\n\"\na > b end\na < b end\n"; out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
	if got, want := strings.Join(seen, "|"), "a one|a two|b \x1b[2J\xff"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Lines that have come together are handed on together, empty ones too.
	seen = nil
	there = r.tap("a", "b", false)
	for _, part := range []string{"1", "2\n3\n\n4", "", "\n", "\n"} {
		there.split([]byte(part))
	}
	if got, want := strings.Join(seen, "|"), "a 12|a 3\n|a 4|a "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// A line without an end is handed on all the same, in pieces.
	seen = nil
	there = r.tap("a", "b", false)
	there.split(bytes.Repeat([]byte("x"), 2*maxLine+1))
	if len(seen) != 2 || len(there.line) != 1 {
		t.Errorf("%d pieces, and %d bytes left", len(seen), len(there.line))
	}
}

// Whatever the pace of the two sides, and whoever has to wait for whom: all comes, in order.
func TestEveryPace(t *testing.T) {
	for name, o := range map[string]Options{
		"engine":      {},
		"package net": {Tee: func([]byte, string) {}},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			o.Dests = endpoints(t, ln.Addr().String())
			r, stop := started(t, o)
			defer stop()
			var all sync.WaitGroup
			for i := range 12 {
				near, err := net.Dial("tcp", r.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				far, err := ln.Accept()
				if err != nil {
					t.Fatal(err)
				}
				all.Go(func() { exchange(t, near, far, uint64(i)) })
			}
			all.Wait()
		})
	}
}

// exchange sends both ways at once, with pauses, and compares.
func exchange(t *testing.T, near, far net.Conn, seed uint64) {
	defer near.Close()
	defer far.Close()
	var both sync.WaitGroup
	defer both.Wait()
	for i, ends := range [][2]net.Conn{{near, far}, {far, near}} {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		data := make([]byte, 200<<10+rnd.IntN(1<<20))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		lazy := [2]bool{rnd.IntN(2) == 0, rnd.IntN(2) == 0} // the sender, the receiver
		both.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 10))
			ends[0].SetWriteDeadline(time.Now().Add(60 * time.Second))
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rnd.IntN(1<<(1+rnd.IntN(18))))
				if _, err := ends[0].Write(rest[:n]); err != nil {
					t.Errorf("after %d bytes: %v", len(data)-len(rest), err)
					return
				}
				rest = rest[n:]
				if lazy[0] && rnd.IntN(8) == 0 {
					time.Sleep(time.Duration(rnd.IntN(1000)) * time.Microsecond)
				}
			}
			sock.CloseWrite(ends[0])
		})
		both.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 20))
			ends[1].SetReadDeadline(time.Now().Add(60 * time.Second))
			b := make([]byte, 1<<17)
			for got := 0; ; {
				n, err := ends[1].Read(b[:1+rnd.IntN(len(b))])
				if got+n > len(data) || !bytes.Equal(b[:n], data[got:got+n]) {
					t.Errorf("other bytes came than were sent, after %d", got)
					return
				}
				got += n
				if err == io.EOF && got == len(data) {
					return
				}
				if err != nil {
					t.Errorf("after %d bytes of %d: %v", got, len(data), err)
					return
				}
				if lazy[1] && rnd.IntN(4) == 0 {
					time.Sleep(time.Duration(rnd.IntN(2000)) * time.Microsecond)
				}
			}
		})
	}
}

// A destination that says no is not what the end cuts off, though it is the end; one that was waited for is.
func TestRefusedInTheEnd(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Minute} {
		r := &Relay{Options: Options{WaitBackend: wait, Log: t.Logf, Note: t.Logf}}
		for _, e := range endpoints(t, nobody(t)) {
			r.dests.all = append(r.dests.all, &destination{Endpoint: e})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, _, err := r.dial(ctx, t.Context(), &call{})
		if abandoned := err == errAbandoned; err == nil || abandoned != (wait > 0) {
			t.Errorf("waiting for %v: %v", wait, err)
		}
	}
}

// shares counts who gets n clients.
func shares(r *Relay, n int) map[string]int {
	got := map[string]int{}
	for range n {
		got[r.pick(r.turn()).String()]++
	}
	return got
}

// A client is one turn, and those that are alive have as many of them.
func TestRoundRobin(t *testing.T) {
	r, err := New(Options{Dests: endpoints(t, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"), Balance: RoundRobin})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shares(r, 12), map[string]int{"127.0.0.1:1": 4, "127.0.0.1:2": 4, "127.0.0.1:3": 4}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	r.dests.all[1].down.Store(true)
	if got, want := shares(r, 12), map[string]int{"127.0.0.1:1": 6, "127.0.0.1:3": 6}; !maps.Equal(got, want) {
		t.Errorf("one is dead: %v, want %v", got, want)
	}
	for _, d := range r.dests.all {
		d.down.Store(true)
	}
	if got := r.order(r.turn()); len(got) != 3 {
		t.Errorf("all are dead: %v", got)
	}
}

// A client on a unix socket that is gone is told from one that has only ended its side: nobody waits for
// whom it talked to. What it has said before arrives all the same.
func TestUnixClientIsGone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux shows it")
	}
	for name, o := range map[string]Options{"engine": {}, "package net": {Rate: 1 << 40}} {
		for _, kind := range []string{"unix", "tcp"} {
			t.Run(name+" to "+kind, func(t *testing.T) {
				at := "127.0.0.1:0"
				if kind == "unix" {
					at = t.TempDir() + "/service"
				}
				ln, err := net.Listen(kind, at)
				if err != nil {
					t.Fatal(err)
				}
				defer ln.Close()
				front := t.TempDir() + "/front"
				o.Listen, o.Dests = endpoints(t, "unix:"+front)[0], endpoints(t, map[string]string{"unix": "unix:", "tcp": "tcp://"}[kind]+ln.Addr().String())
				r, stop := started(t, o)
				defer stop()
				for _, size := range []int{1, 1 << 20} {
					near, err := net.Dial("unix", front)
					if err != nil {
						t.Fatal(err)
					}
					far, err := ln.Accept()
					if err != nil {
						t.Fatal(err)
					}
					defer far.Close()
					far.SetDeadline(time.Now().Add(20 * time.Second))
					go func() {
						near.Write(make([]byte, size))
						near.Close()
					}()
					if n, err := io.Copy(io.Discard, far); err != nil || int(n) != size {
						t.Errorf("%d bytes of %d, %v", n, size, err)
					}
					for end := time.Now().Add(20 * time.Second); r.Counts().Peers != 0; time.Sleep(time.Millisecond) {
						if time.Now().After(end) {
							t.Fatal("it is waited for a client that is gone")
						}
					}
					for kind == "unix" { // where it takes no answer to be told
						if _, err := far.Write([]byte("x")); errors.Is(err, os.ErrDeadlineExceeded) {
							t.Error("the service is not told")
						} else if err != nil {
							break
						}
					}
				}
			})
		}
	}
}

// told is the error that a client gets who waits for an answer. It may come so fast that it is the dial's.
func told(a net.Addr) error {
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	_, err = c.Read(make([]byte, 1))
	return err
}

// That there was no port to come from says nothing about the destination.
func TestLocalFailure(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var log lines
	r, stop := started(t, Options{Dests: endpoints(t, service(t)), Dial: sock.DialOptions{Source: taken.Addr().String()}, Log: log.logf})
	defer stop()
	for range 2 {
		if err := told(r.Addr()); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the client is told %v", err)
		}
	}
	if r.dests.all[0].dead() {
		t.Error("the destination is held for dead")
	}
	taken.Close()
	if got := asks(t, r.Addr(), "hello"); got != "hello" {
		t.Errorf("%q came back", got)
	}
	if s := log.String(); strings.Contains(s, "again") || strings.Count(s, "in use") != 1 {
		t.Error(s)
	}
}
