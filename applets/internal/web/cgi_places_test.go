package web

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlaces(t *testing.T) {
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::")
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(4)
		take := func(from netip.Addr) error { return p.take(t.Context(), from, time.Minute, nil) }
		for range 3 {
			if err := take(a); err != nil {
				t.Fatal(err)
			}
		}
		if err := take(a); !errors.Is(err, errNoPlace) {
			t.Errorf("one address has all places: %v", err)
		}
		if err := take(b); err != nil {
			t.Errorf("a place was kept for others: %v", err)
		}

		// the one who waits longest is next, but for who may not
		var mu sync.Mutex
		var order []netip.Addr
		for _, from := range []netip.Addr{a, c, b} {
			go func() {
				if take(from) == nil {
					mu.Lock()
					order = append(order, from)
					mu.Unlock()
				}
			}()
			synctest.Wait()
		}
		p.give(b)
		synctest.Wait()
		if len(order) != 1 || order[0] != c {
			t.Errorf("%v, want %v", order, c)
		}
		p.give(a)
		synctest.Wait()
		if len(order) != 2 || order[1] != a {
			t.Errorf("%v, want %v to be second", order, a)
		}
		p.give(a)
		p.give(a)
		synctest.Wait()
		p.give(a)
		p.give(b)
		p.give(c)
		if p.taken != 0 || len(p.from) != 0 || len(p.queue) != 0 {
			t.Errorf("%d are taken, by %v, for %v", p.taken, p.from, p.queue)
		}

		// who goes away leaves the queue
		for _, from := range []netip.Addr{a, a, a, b} {
			take(from)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.take(ctx, b, time.Minute, nil); !errors.Is(err, context.Canceled) || len(p.queue) != 0 {
			t.Errorf("%v, %d wait", err, len(p.queue))
		}
		stop := make(chan struct{})
		close(stop)
		if err := p.take(t.Context(), b, time.Minute, stop); !errors.Is(err, errNoPlace) || len(p.queue) != 0 {
			t.Errorf("%v, %d wait", err, len(p.queue))
		}
	})
	one := newPlaces(1)
	if err := one.take(t.Context(), a, 0, nil); err != nil {
		t.Errorf("the only place: %v", err)
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1:1": "192.0.2.1", "[::ffff:192.0.2.1]:1": "192.0.2.1", "[2001:db8::1:2:3:4]:1": "2001:db8::", "[2001:db8:0:1::]:1": "2001:db8:0:1::"} {
		a := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(in))
		if got := network(a); got.String() != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := network(&net.UnixAddr{Name: "@", Net: "unix"}); got.IsValid() {
		t.Errorf("a unix socket: %v", got)
	}
}
