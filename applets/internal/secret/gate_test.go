package secret

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// from is a connection of which only the peer's address matters.
type from struct {
	net.Conn
	addr   net.Addr
	closed chan struct{}
}

func conn(ip string) *from {
	return &from{addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}, closed: make(chan struct{})}
}

func (c *from) RemoteAddr() net.Addr { return c.addr }
func (c *from) Close() error         { close(c.closed); return nil }

// waits sees that the right key from an address gets its turn within limit.
func waits(t *testing.T, g *Gate, addr string, limit time.Duration) {
	t.Helper()
	start := time.Now()
	turn := g.Admit(conn(addr))
	if err := turn.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	turn.Done(true)
	if d := time.Since(start); d > limit {
		t.Errorf("%s waited %v", addr, d)
	}
}

// One address may fail five times at once, and then five times a second.
func TestGatePacesOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		start := time.Now()
		for range 25 {
			turn := g.Admit(conn("10.0.0.1"))
			if err := turn.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			turn.Done(false)
		}
		if d := time.Since(start); d < 3900*time.Millisecond || d > 4500*time.Millisecond {
			t.Errorf("25 failures took %v, want 4 s: 5 and then 5 a second", d)
		}
	})
}

// A proof that succeeds does not count.
func TestGateSuccessIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		start := time.Now()
		for range 1000 {
			turn := g.Admit(conn("10.0.0.1"))
			if err := turn.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			turn.Done(true)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("1,000 successes took %v", d)
		}
	})
}

// All addresses together may fail a hundred times a second.
func TestGatePacesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		start := time.Now()
		for i := range 300 {
			turn := g.Admit(conn(net.IPv4(10, 0, byte(i>>8), byte(i)).String()))
			if err := turn.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			turn.Done(false)
		}
		if d := time.Since(start); d < 1900*time.Millisecond || d > 2500*time.Millisecond {
			t.Errorf("300 failures from 300 addresses took %v, want 2 s", d)
		}
	})
}

// An IPv6 user has a whole /64 to come from.
func TestGateTakesASixtyFourAsOne(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"2001:db8::1", "2001:db8::ffff:2", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"10.0.0.1", "10.0.0.2", false},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
	} {
		if got := prefix(conn(c.a).addr) == prefix(conn(c.b).addr); got != c.same {
			t.Errorf("%s and %s: one address = %v", c.a, c.b, got)
		}
	}
}

// Under a flood from one address, another gets its turn at once.
func TestGateTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		ctx, cancel := context.WithCancel(t.Context())
		for range 50 {
			go func() {
				for ctx.Err() == nil {
					turn := g.Admit(conn("10.0.0.1"))
					turn.Wait(ctx)
					turn.Done(false)
				}
			}()
		}
		synctest.Wait()
		time.Sleep(3 * time.Second)
		waits(t, g, "10.0.0.2", 100*time.Millisecond)
		cancel()
		synctest.Wait()
	})
}

// The 65th connection takes the place of the oldest from the address that has the most, not of one
// from elsewhere.
func TestGateReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		good := conn("10.0.0.2")
		g.Admit(good)
		var flood []*from
		for range maxUnproven - 1 {
			c := conn("10.0.0.1")
			flood = append(flood, c)
			g.Admit(c)
		}
		waits := g.Admit(conn("10.0.0.3"))
		select {
		case <-flood[0].closed:
		default:
			t.Error("the oldest of the flood was not closed")
		}
		select {
		case <-good.closed:
			t.Error("a connection from elsewhere was closed")
		case <-flood[1].closed:
			t.Error("two were closed")
		default:
		}
		if err := waits.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Where all addresses have one connection, the oldest makes room: whoever has 64 addresses keeps nobody
// out.
func TestGateLetsTheNewestIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		var flood []*from
		for i := range maxUnproven {
			c := conn(net.IPv4(10, 1, 0, byte(i)).String())
			flood = append(flood, c)
			g.Admit(c)
		}
		good := conn("10.0.0.2")
		turn := g.Admit(good)
		select {
		case <-good.closed:
			t.Error("the newest was closed")
		case <-flood[0].closed:
		default:
			t.Error("the oldest was not closed")
		}
		if err := turn.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A flood of failures from many addresses, more than may go in a second, does not keep one waiting that
// has not failed of late.
func TestGateFailuresGoLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		ctx, cancel := context.WithCancel(t.Context())
		for i := range maxUnproven - 1 {
			go func() {
				for ctx.Err() == nil {
					turn := g.Admit(conn(net.IPv4(10, 1, 0, byte(i)).String()))
					turn.Wait(ctx)
					turn.Done(false)
				}
			}()
		}
		time.Sleep(3 * time.Second)
		waits(t, g, "10.0.0.2", 50*time.Millisecond)
		cancel()
		synctest.Wait()
	})
}

// Whoever comes again after he had to make room goes before strangers that are new each time.
func TestGateOwesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		for i := range perAll { // nobody may go at once
			turn := g.Admit(conn(net.IPv4(10, 1, 0, byte(i)).String()))
			turn.Wait(t.Context())
			turn.Done(false)
		}
		strangers := 0
		crowd := func(n int) {
			for range n {
				strangers++
				turn := g.Admit(conn(net.IPv4(10, 2, byte(strangers>>8), byte(strangers)).String()))
				go turn.Wait(t.Context())
				synctest.Wait()
			}
		}
		crowd(maxUnproven)
		turn := g.Admit(conn("10.0.0.2"))
		crowd(maxUnproven)
		if err := turn.Wait(t.Context()); !errors.Is(err, ErrReplaced) {
			t.Fatal(err)
		}
		turn = g.Admit(conn("10.0.0.2"))
		start := time.Now()
		if err := turn.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("it waited %v", d)
		}
		turn.Done(true)
		time.Sleep(time.Minute) // the strangers get their turns
		synctest.Wait()
	})
}

// A failure is not held against an address for ever: strangers that are new each time would go first.
func TestGateForgives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		fail := func(ip string) {
			turn := g.Admit(conn(ip))
			if err := turn.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			turn.Done(false)
		}
		fail("10.0.0.2")
		time.Sleep(memory + time.Second)
		for i := range perAll { // nobody may go at once
			fail(net.IPv4(10, 1, 0, byte(i)).String())
		}
		order := make(chan string, 2)
		for _, ip := range []string{"10.0.0.2", "10.0.0.3"} {
			turn := g.Admit(conn(ip))
			go func() {
				if turn.Wait(t.Context()) == nil {
					order <- ip
				}
			}()
			synctest.Wait()
		}
		if first := <-order; first != "10.0.0.2" {
			t.Errorf("%s went first", first)
		}
		<-order
	})
}

// Who has got his turn keeps his place, whoever connects meanwhile; but those who do not make use of
// their turn have no more than the half of all places for good.
func TestGateKeepsProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		prove := func(ip string) *from {
			c := conn(ip)
			if err := g.Admit(c).Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			return c
		}
		open := func(c *from) bool {
			select {
			case <-c.closed:
				return false
			default:
				return true
			}
		}
		first := prove("10.0.0.2")
		for i := range 10 * maxUnproven {
			g.Admit(conn(net.IPv4(10, 1, byte(i>>8), byte(i)).String()))
		}
		if !open(first) {
			t.Error("a proof was cut off by connections that say nothing")
		}
		for i := range maxUnproven/2 - 1 {
			prove(net.IPv4(10, 2, 0, byte(i)).String())
		}
		if !open(first) {
			t.Error("a proof was cut off, and they are not more than the half")
		}
		prove("10.3.0.1")
		if open(first) {
			last := conn("10.3.0.2")
			g.Admit(last)
			if open(first) || !open(last) {
				t.Error("who does not go on with his proof keeps a place")
			}
		}
	})
}

func TestGateReplacedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		errs := make(chan error, maxUnproven)
		for range maxUnproven {
			turn := g.Admit(conn("10.0.0.1"))
			go func() { errs <- turn.Wait(context.Background()) }()
		}
		synctest.Wait() // five have got through
		for range 10 {
			g.Admit(conn("10.0.0.1"))
		}
		synctest.Wait()
		replaced := 0
		for len(errs) > 0 {
			if err := <-errs; errors.Is(err, ErrReplaced) {
				replaced++
			}
		}
		if replaced == 0 {
			t.Error("nobody was told that it was replaced")
		}
		time.Sleep(time.Minute) // the others get their turns
		synctest.Wait()
	})
}

// Nothing is kept of who has gone.
func TestGateForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate()
		for i := range 20000 {
			turn := g.Admit(conn(net.IPv4(10, 1, byte(i>>8), byte(i)).String()))
			if err := turn.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			turn.Done(false)
		}
		if n := len(g.addrs); n > maxRemembered {
			t.Errorf("%d addresses are remembered", n)
		}
	})
}
