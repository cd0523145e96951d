package launch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"sockbox/applets/internal/sock"
)

// A Rate is how many in a time. Zero is no limit.
type Rate struct {
	Count int
	Time  time.Duration
}

// ParseRate reads COUNT, which is that many in a second, or COUNT/TIME.
func ParseRate(s string) (Rate, error) {
	count, per, timed := strings.Cut(s, "/")
	n, err := strconv.ParseUint(count, 10, 31)
	r := Rate{int(n), time.Second}
	if err == nil && timed {
		if per != "" && strings.Trim(per, "0123456789.") == "" {
			per += "s"
		}
		if per == "s" || per == "m" || per == "h" {
			per = "1" + per
		}
		r.Time, err = time.ParseDuration(per)
	}
	if err != nil || r.Count < 1 || r.Time <= 0 {
		return Rate{}, fmt.Errorf("%q is no rate, such as 10 (in a second), 20/2s or 100/m", s)
	}
	return r, nil
}

func (r Rate) String() string {
	if r.Count == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%v", r.Count, r.Time)
}

// A pacer lets Rate.Count pass in any Rate.Time, and has the others wait.
type pacer struct {
	Rate
	mu   sync.Mutex
	last []time.Time // when the last Count passed, in a ring
	next int
}

// wait returns true when it is the caller's turn, and false when ctx has ended.
func (p *pacer) wait(ctx context.Context) bool {
	if p.Count == 0 {
		return ctx.Err() == nil
	}
	p.mu.Lock() // one at a time: they come in turn
	defer p.mu.Unlock()
	if len(p.last) < p.Count {
		p.last = append(p.last, time.Now())
		return ctx.Err() == nil
	}
	if !sleep(ctx, time.Until(p.last[p.next].Add(p.Time))) {
		return false
	}
	p.last[p.next] = time.Now()
	p.next = (p.next + 1) % p.Count
	return true
}

// admission is who comes in.
type admission struct {
	allow     sock.AccessList
	slots     chan struct{} // one for each that is in; nil: no limit
	rate      pacer
	perSource int

	mu      sync.Mutex
	sources map[string]int
}

func (ad *admission) open(j *Job) {
	ad.allow, ad.rate.Rate, ad.perSource = j.Allow, j.Rate, j.PerSource
	ad.sources = map[string]int{}
	if j.MaxConns > 0 {
		ad.slots = make(chan struct{}, j.MaxConns)
	}
}

// place waits for a place among those that are in.
func (ad *admission) place(ctx context.Context) bool {
	if ad.slots == nil {
		return ctx.Err() == nil
	}
	select {
	case ad.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (ad *admission) leave() {
	if ad.slots != nil {
		<-ad.slots
	}
}

// enter says why somebody is not let in, or how he leaves.
func (ad *admission) enter(peer net.Addr, fd uintptr) (leave func(), why string) {
	if !ad.allow.Allows(peer) {
		return nil, "not allowed"
	}
	if ad.perSource == 0 {
		return func() {}, ""
	}
	key := source(peer, fd)
	ad.mu.Lock()
	defer ad.mu.Unlock()
	if ad.sources[key] >= ad.perSource {
		return nil, "has " + strconv.Itoa(ad.perSource) + " connections already"
	}
	ad.sources[key]++
	return func() {
		ad.mu.Lock()
		defer ad.mu.Unlock()
		if ad.sources[key]--; ad.sources[key] == 0 {
			delete(ad.sources, key)
		}
	}, ""
}

// source is what counts as one source: an address, of IPv6 the network that one host has to itself,
// and of a unix socket the user.
func source(peer net.Addr, fd uintptr) string {
	var ip netip.Addr
	switch a := peer.(type) {
	case *net.TCPAddr:
		ip = a.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		ip = a.AddrPort().Addr().Unmap()
	default:
		who, _ := sock.PeerOf(fd)
		return "uid " + strconv.Itoa(who.UID)
	}
	if ip.Is6() {
		p, _ := ip.WithZone("").Prefix(64)
		return p.String()
	}
	return ip.String()
}
