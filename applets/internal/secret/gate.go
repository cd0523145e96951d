package secret

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The bounds of a listener whose peers have yet to prove a key.
const (
	maxUnproven = 64  // connections at once
	perAddress  = 5   // failed proofs a second
	perAll      = 100 // and from all addresses together

	// A failure is held against an address for so long: by then so many others may have failed that
	// each of them comes as seldom.
	memory        = 5 * time.Second
	maxRemembered = 16 * maxUnproven // addresses about which there is something to remember
)

// ErrReplaced ends the wait of a connection whose place went to a newer one.
var ErrReplaced = errors.New("too many connections that have not proven the key")

// A Gate paces guesses at a key, by delay and never by locking out: at most so many failed proofs a
// second from one address (for IPv6 from one /64, which is what one user gets), and so many in all.
// Addresses take turns, so that a flood from some does not keep the others waiting: first those that
// have not failed of late, and among these whoever lost his place most often before his turn came; then
// the one whose failure is longest ago. A proof that succeeds costs nothing.
//
// Of the connections that wait, the oldest of the address that has the most makes room for a newer
// one; where several have as many, the oldest of theirs. The newest never does: a stranger's many
// addresses, with one idle connection each, would keep everybody else out. Nor do those that are in
// the midst of their proof, unless they are the half of all: so that who has got his turn has some
// tenths of a second for it, however fast others connect.
type Gate struct {
	mu      sync.Mutex
	all     bucket
	addrs   map[netip.Prefix]*address
	turns   []*address // those with somebody waiting, in the order in which they take turns
	count   int        // connections admitted
	proving int        // and of these in the midst of their proof
	last    uint64     // the number of the newest
	timer   *time.Timer
	now     func() time.Time // time.Now; tests have their own
}

type address struct {
	prefix  netip.Prefix
	bucket  bucket
	failed  time.Time // the last time; zero = not of late
	ousted  int       // how often it lost a place before its turn, since the last turn
	left    uint64    // the number of the newest connection when its last one ended
	members []*Turn   // admitted and not done, oldest first
	waiting []*Turn
}

// A bucket holds what may still be spent; it fills up at its own size a second.
type bucket struct {
	size, level float64
	at          time.Time
}

func (b *bucket) fill(now time.Time) {
	if b.at.IsZero() {
		b.level = b.size
	} else {
		b.level = min(b.size, b.level+b.size*now.Sub(b.at).Seconds())
	}
	b.at = now
}

// wait is how long it takes until one can be spent, where none can be now. It is not 0.
func (b *bucket) wait() time.Duration {
	return time.Duration((1-b.level)/b.size*float64(time.Second)) + time.Millisecond
}

// NewGate returns a gate. It needs no closing.
func NewGate() *Gate {
	return &Gate{all: bucket{size: perAll}, addrs: map[netip.Prefix]*address{}, now: time.Now}
}

// A Turn is one connection's way through the gate.
type Turn struct {
	gate     *Gate
	conn     net.Conn
	address  *address
	number   uint64 // in the order in which they came
	granted  chan struct{}
	replaced chan struct{}
	spent    bool
	done     bool
}

// Admit takes a connection in. It may close another one, whose Wait then fails. The caller calls
// Done.
func (g *Gate) Admit(c net.Conn) *Turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := prefix(c.RemoteAddr())
	a := g.addrs[p]
	if a == nil {
		a = &address{prefix: p, bucket: bucket{size: perAddress}}
		g.addrs[p] = a
	}
	if g.now().Sub(a.failed) > memory {
		a.failed = time.Time{}
	}
	t := &Turn{gate: g, conn: c, address: a, granted: make(chan struct{}), replaced: make(chan struct{})}
	g.last++
	t.number = g.last
	a.members = append(a.members, t)
	g.count++
	if g.count > maxUnproven {
		old := g.oldest(t)
		old.failed()
		if !old.spent {
			old.address.ousted++
		}
		close(old.replaced)
		old.conn.Close()
		g.drop(old)
	}
	return t
}

// oldest returns the connection that makes room for t. There is one. mu is held.
func (g *Gate) oldest(t *Turn) (old *Turn) {
	proving := g.proving > maxUnproven/2
	for _, a := range g.addrs {
		for _, m := range a.members {
			if m == t || m.spent != proving {
				continue
			}
			n := len(a.members)
			if old == nil || n > len(old.address.members) || n == len(old.address.members) && m.number < old.number {
				old = m
			}
			break // the others are newer
		}
	}
	return old
}

// Wait returns when the connection may try its proof.
func (t *Turn) Wait(ctx context.Context) error {
	g := t.gate
	g.mu.Lock()
	if !t.done {
		if len(t.address.waiting) == 0 {
			g.turns = append(g.turns, t.address)
		}
		t.address.waiting = append(t.address.waiting, t)
		g.grant()
	}
	g.mu.Unlock()
	select {
	case <-t.granted:
		return nil
	case <-t.replaced:
		return ErrReplaced
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Replaced tells whether the connection was closed to make room for another one.
func (t *Turn) Replaced() bool {
	select {
	case <-t.replaced:
		return true
	default:
		return false
	}
}

// Done says how the proof went. Only the first call counts.
func (t *Turn) Done(proven bool) {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.done {
		return
	}
	switch {
	case !proven:
		t.failed()
	case t.spent:
		t.address.bucket.level = min(t.address.bucket.size, t.address.bucket.level+1)
		g.all.level = min(g.all.size, g.all.level+1)
	}
	g.drop(t)
	g.grant()
}

// failed remembers that a connection had its turn and did not prove the key. mu is held.
func (t *Turn) failed() {
	if t.spent {
		t.address.failed = t.gate.now()
	}
}

// drop forgets a connection. mu is held.
func (g *Gate) drop(t *Turn) {
	t.done = true
	g.count--
	if t.spent {
		g.proving--
	}
	a := t.address
	a.members = remove(a.members, t)
	a.waiting = remove(a.waiting, t)
	if len(a.waiting) == 0 {
		g.turns = remove(g.turns, a)
	}
	if len(a.members) == 0 {
		a.left = g.last
		if a.failed.IsZero() && a.ousted == 0 {
			delete(g.addrs, a.prefix) // nothing to remember
		}
	}
	if len(g.addrs) > maxRemembered {
		g.forget()
	}
}

// forget drops the half of the addresses: of those that lost a place least often the ones that have been
// away for longest. If they have failed, they have been paced enough: so many others take some seconds.
// mu is held.
func (g *Gate) forget() {
	var away []*address
	for _, a := range g.addrs {
		if len(a.members) == 0 {
			away = append(away, a)
		}
	}
	slices.SortFunc(away, func(a, b *address) int {
		return cmp.Or(cmp.Compare(a.ousted, b.ousted), cmp.Compare(a.left, b.left))
	})
	for _, a := range away[:len(g.addrs)-maxRemembered/2] {
		delete(g.addrs, a.prefix)
	}
}

// grant lets in as many as may go now, and comes back when the next may. mu is held.
func (g *Gate) grant() {
	now := g.now()
	g.all.fill(now)
	for {
		a, next := g.next(now)
		if a == nil {
			g.again(next)
			return
		}
		t := a.waiting[0]
		a.waiting = a.waiting[1:]
		a.bucket.level--
		g.all.level--
		t.spent = true
		a.ousted = 0
		g.proving++
		close(t.granted)
		g.turns = remove(g.turns, a)
		if len(a.waiting) > 0 {
			g.turns = append(g.turns, a) // behind the others
		}
	}
}

// next returns the address whose turn it is, or how long it takes until it is one's: 0 where nobody
// waits. mu is held.
func (g *Gate) next(now time.Time) (first *address, wait time.Duration) {
	if len(g.turns) > 0 && g.all.level < 1 {
		return nil, g.all.wait()
	}
	for _, a := range g.turns {
		a.bucket.fill(now)
		switch {
		case a.bucket.level < 1:
			if w := a.bucket.wait(); wait == 0 || w < wait {
				wait = w
			}
		case first == nil || a.failed.Before(first.failed) || a.failed.Equal(first.failed) && a.ousted > first.ousted:
			first = a
		}
	}
	return first, wait
}

// again calls grant after a while.
func (g *Gate) again(after time.Duration) {
	if g.timer != nil {
		g.timer.Stop()
	}
	if after == 0 {
		return
	}
	g.timer = time.AfterFunc(after, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.grant()
	})
}

func remove[T comparable](s []T, v T) []T {
	for i, x := range s {
		if x == v {
			return append(s[:i:i], s[i+1:]...)
		}
	}
	return s
}

// prefix is what counts as one address.
func prefix(a net.Addr) netip.Prefix {
	var ip netip.Addr
	if ap, err := netip.ParseAddrPort(a.String()); err == nil {
		ip = ap.Addr().Unmap().WithZone("")
	}
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
