package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// datagramEcho is a relay that sends back what comes, and its address.
func datagramEcho(t *testing.T, listen string) string {
	t.Helper()
	r, stop := started(t, Options{Listen: endpoints(t, listen)[0], Echo: true, UDPTimeout: time.Minute, MaxSessions: 100, MaxDatagram: 65507, Frame: Len16})
	t.Cleanup(stop)
	c, err := net.Dial(r.Addr().Network(), r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte("x"))
	if _, err := c.Read(make([]byte, 1)); err != nil { // from now on it has all its goroutines
		t.Fatal(err)
	}
	return r.Addr().String()
}

// Whatever clients do, in every crossing: when a relay has ended there is nothing left of it.
func TestNothingIsLeftOfDatagrams(t *testing.T) {
	udp, tcp := datagramEcho(t, "udp://127.0.0.1:0"), datagramEcho(t, "127.0.0.1:0")
	for name, o := range map[string]Options{
		"datagrams":           {Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, "udp://"+udp)},
		"by name":             {Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, "udp://localhost:"+port(t, udp))},
		"down":                {Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, "udp://127.0.0.1:1")},
		"one is down":         {Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, "udp://127.0.0.1:1", "udp://"+udp), Balance: RoundRobin},
		"to a stream":         {Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, tcp)},
		"to a stream, down":   {Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, "127.0.0.1:1")},
		"answers to a stream": {Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, "udp://"+udp), ReplyTo: &endpoints(t, tcp)[0]},
		"from a stream":       {Listen: endpoints(t, "127.0.0.1:0")[0], Dests: endpoints(t, "udp://"+udp)},
		"from a stream, down": {Listen: endpoints(t, "127.0.0.1:0")[0], Dests: endpoints(t, "udp://127.0.0.1:1")},
	} {
		o.UDPTimeout, o.MaxSessions, o.MaxDatagram, o.Frame, o.MaxConns = 50*time.Millisecond, 10, 65507, Len16, 100
		t.Run(name, func(t *testing.T) {
			goroutines, fds := runtime.NumGoroutine(), descriptors(t)
			r, stop := started(t, o)
			at := r.Addr()
			var clients sync.WaitGroup
			for range 15 {
				clients.Go(func() {
					for range 10 {
						c, err := net.Dial(at.Network(), at.String())
						if err != nil {
							t.Error(err)
							return
						}
						for range 5 {
							b := bytes.Repeat([]byte("x"), rand.IntN(2000))
							if at.Network() == "tcp" {
								b, _ = Len16.append(nil, b)
							}
							c.Write(b)
						}
						c.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(20)) * time.Millisecond))
						c.Read(make([]byte, 65536))
						c.Close()
					}
				})
			}
			clients.Wait()
			for end := time.Now().Add(20 * time.Second); r.Counts().Peers != 0 && time.Now().Before(end); {
				time.Sleep(5 * time.Millisecond)
			}
			if n := r.Counts(); n.Peers != 0 || n.Connects < 15 {
				t.Errorf("%+v", n)
			}
			stop()
			for _, d := range r.dests.all {
				if n := d.clients.Load(); n != 0 {
					t.Errorf("%s has %d clients", d, n)
				}
			}
			if n := r.ferry.queued.Load(); n != 0 {
				t.Errorf("%d bytes are in no queue", n)
			}
			if n := len(r.ferry.marks); n != 0 {
				t.Errorf("%d sockets are known still", n)
			}
			for end := time.Now().Add(20 * time.Second); ; {
				g, f := runtime.NumGoroutine(), descriptors(t)
				if g <= goroutines && f <= fds {
					break
				}
				if time.Now().After(end) {
					buf := make([]byte, 1<<20)
					t.Fatalf("%d goroutines, %d before; %d descriptors, %d before\n%s", g, goroutines, f, fds, buf[:runtime.Stack(buf, true)])
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

func port(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// A datagram costs no garbage of its own.
func TestDatagramsAreNoGarbage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("one by one here")
	}
	udp := datagramEcho(t, "udp://127.0.0.1:0")
	r, stop := started(t, Options{Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, "udp://"+udp), UDPTimeout: time.Minute, MaxSessions: 10})
	defer stop()
	c, err := net.Dial("udp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 100)
	const rounds = 2000
	var before, after runtime.MemStats
	for i := range rounds {
		if i == rounds/10 {
			runtime.ReadMemStats(&before)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	// Four times it is sent, and what sends comes from a pool that the race detector empties at random.
	if got := after.Mallocs - before.Mallocs; got >= 6*rounds {
		t.Errorf("%d allocations for %d datagrams", got, rounds)
	}
}

// lines is for what a relay says, by any of its goroutines.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) logf(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// asks says something to the relay at a, and returns what is answered.
func asks(t *testing.T, a net.Addr, say string) string {
	t.Helper()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte(say))
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// Where a session's stream could not be made to the first destination, it is the one that it was made to
// that answers, and is shown.
func TestSecondStreamDestination(t *testing.T) {
	dead, alive := nobody(t), service(t)
	var log, shown lines
	r, stop := started(t, Options{
		Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, dead, alive),
		UDPTimeout: time.Minute, MaxSessions: 10, MaxDatagram: 65507, Dump: DumpText, Out: &shown, Log: log.logf,
	})
	for range 2 {
		if got := asks(t, r.Addr(), "hello"); got != "hello" {
			t.Errorf("%q came back", got)
		}
	}
	if !r.dests.all[0].dead() || r.dests.all[1].dead() {
		t.Error("the one that is there is not the one that is held for alive")
	}
	stop()
	if s := log.String(); strings.Contains(s, "again") {
		t.Error(s)
	}
	if s := shown.String(); strings.Contains(s, dead) || strings.Count(s, "> "+alive+" \"hello\"") != 2 || strings.Count(s, "< "+alive+" \"hello\"") != 2 {
		t.Error(s)
	}
}

// Clients are shared between streams, whether they come with streams or with datagrams.
func TestRoundRobinOfSessions(t *testing.T) {
	one, two := service(t), service(t)
	r, stop := started(t, Options{
		Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, one, two), Balance: RoundRobin,
		UDPTimeout: time.Minute, MaxSessions: 10, MaxDatagram: 65507,
	})
	defer stop()
	for range 4 {
		asks(t, r.Addr(), "hello")
	}
	for _, d := range r.dests.all {
		if n := d.clients.Load(); n != 2 {
			t.Errorf("%s has %d clients of 4", d, n)
		}
	}
}

// What was taken of datagrams and could not be passed on in the end is counted, and told of.
func TestDatagramsAreLeft(t *testing.T) {
	stuck, err := net.Listen("tcp", "127.0.0.1:0") // and nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	for name, o := range map[string]Options{
		"stuck":   {Dests: endpoints(t, stuck.Addr().String())},
		"waiting": {Dests: endpoints(t, nobody(t)), WaitBackend: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			o.Listen = endpoints(t, "udp://127.0.0.1:0")[0]
			o.UDPTimeout, o.MaxSessions, o.MaxDatagram, o.Log = time.Minute, 10, 65507, log.logf
			r, err := New(o)
			if err == nil {
				err = r.Open(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			abandon, hurry := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx, abandon) }()
			c, err := net.Dial("udp", r.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			enough := func() bool { return r.ferry.queued.Load() > outboxMost/2 }
			if name == "waiting" {
				enough = func() bool { return strings.Contains(log.String(), "refused") }
			}
			for end := time.Now().Add(20 * time.Second); !enough(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("nothing waits")
				}
				c.Write(make([]byte, 8000))
			}
			stop()
			if name == "stuck" { // else it is the end that is waited for no longer
				hurry()
			}
			err = <-done
			hurry()
			var cut *ErrCut
			if !errors.As(err, &cut) || cut.Datagrams == 0 {
				t.Errorf("%v\n%s", err, log.String())
			}
			if n := r.ferry.queued.Load(); n != 0 {
				t.Errorf("%d bytes are still counted", n)
			}
		})
	}
}

// A client's stream, too, goes on to another destination for datagrams where nobody is at the first.
func TestStreamGoesToSecondDatagramDestination(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	var log lines
	r, stop := started(t, Options{
		Dests:      endpoints(t, "udp://"+pc.LocalAddr().String(), "udp://"+datagramEcho(t, "udp://127.0.0.1:0")),
		UDPTimeout: time.Minute, MaxDatagram: 65507, Frame: Line, Log: log.logf,
	})
	defer stop()
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	answered := make(chan struct{})
	go func() {
		for {
			if _, err := c.Write([]byte("hello\n")); err != nil {
				return
			}
			select {
			case <-answered:
				return
			case <-time.After(10 * time.Millisecond): // the first is lost, and then it is known
			}
		}
	}()
	b := make([]byte, 6)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello\n" {
		t.Errorf("%q came back, %v", b, err)
	}
	close(answered)
	if s := log.String(); !strings.Contains(s, "refused") {
		t.Errorf("nobody is told: %q", s)
	}
}
