package web

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// places are for as many scripts, or streams of HTTP/2, as there may be at once. A quarter of them is out of
// reach for any one address (IPv6: one /64; none for a unix socket), so that somebody who takes no answers
// does not keep all others waiting.
type places struct {
	mu    sync.Mutex
	all   int
	each  int
	taken int
	from  map[netip.Addr]int
	queue []*waiting
}

type waiting struct {
	from netip.Addr
	turn chan struct{} // closed when it has a place
}

func newPlaces(n int) *places {
	return &places{all: n, each: n - n/4, from: map[netip.Addr]int{}}
}

var errNoPlace = errors.New("too many scripts are running")

// take waits for a place, for some time, until ctx ends or stop is closed. Those who wait longest go
// first.
func (p *places) take(ctx context.Context, from netip.Addr, patience time.Duration, stop <-chan struct{}) error {
	w := &waiting{from, make(chan struct{})}
	p.mu.Lock()
	p.queue = append(p.queue, w)
	p.next()
	p.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	default:
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	err := errNoPlace
	select {
	case <-w.turn:
		return nil
	case <-late.C:
	case <-stop:
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue, w); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		return err
	}
	return nil // it was its turn just now
}

// give gives a place back.
func (p *places) give(from netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.from[from]--; p.from[from] == 0 {
		delete(p.from, from)
	}
	p.next()
}

func (p *places) next() {
	for i := 0; i < len(p.queue) && p.taken < p.all; {
		w := p.queue[i]
		if w.from.IsValid() && p.from[w.from] >= p.each {
			i++
			continue
		}
		p.taken++
		p.from[w.from]++
		p.queue = slices.Delete(p.queue, i, i+1)
		close(w.turn)
	}
}

// network is by what an address is counted.
func network(a net.Addr) netip.Addr {
	ip, _ := ipPort(a)
	at, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	if at.Is6() {
		if p, err := at.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return at
}
