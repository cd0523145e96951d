package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// A destination is one of those that clients are carried to.
type destination struct {
	Endpoint
	clients atomic.Int64 // that it has now
	down    atomic.Bool  // why is not nil

	mu      sync.Mutex
	why     error // it could not be reached the last time; nil: it could, or it was not tried
	since   time.Time
	lacked  time.Time // something of ours was missing, and that was said
	probing bool
}

func (d *destination) dead() bool {
	if !d.down.Load() {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.Datagram || time.Since(d.since) < forget
}

// refusal is that d has refused the key, as far as is known; else nil.
func (d *destination) refusal() error {
	if !d.Key || !d.down.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(d.why, secret.ErrRefused) {
		return d.why
	}
	return nil
}

// forget is when one for datagrams is given another chance: there is no asking it.
const forget = 10 * time.Second

// destinations are all of them, with what is known of each.
type destinations struct {
	all    []*destination
	next   atomic.Uint32   // for round-robin
	ctx    context.Context // ends with the relay
	probes sync.WaitGroup
}

// turn is one more client's place in the row. It is taken once for a client, however often it is asked
// where to carry that one.
func (r *Relay) turn() uint32 {
	if r.Balance != RoundRobin {
		return 0
	}
	return r.dests.next.Add(1) - 1
}

// order returns those to be tried for the client with this turn, the best first: the dead ones come last,
// in the hope that they have come back.
func (r *Relay) order(turn uint32) []*destination {
	all := r.dests.all
	if len(all) == 1 {
		return all
	}
	order := make([]*destination, 0, len(all))
	var dead []*destination
	for _, d := range all {
		if d.dead() {
			dead = append(dead, d)
		} else {
			order = append(order, d)
		}
	}
	switch n := uint32(len(order)); {
	case r.Balance == RoundRobin && n > 0:
		return slices.Concat(order[turn%n:], order[:turn%n], dead)
	case r.Balance == Least:
		slices.SortStableFunc(order, func(a, b *destination) int { return cmp.Compare(a.clients.Load(), b.clients.Load()) })
	}
	return append(order, dead...)
}

// pick returns the destination for the client with this turn, by Balance and health; nil where there is
// none. The caller tells by report how it went.
func (r *Relay) pick(turn uint32) *destination {
	if len(r.dests.all) == 0 {
		return nil
	}
	return r.order(turn)[0]
}

// report says that d could be reached, with a nil err, or why not. One that cannot is tried again in the
// background where there are others and it takes streams, unless it has refused the key; else by the next
// client. What was missing here says nothing about d.
func (r *Relay) report(d *destination, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if sock.Local(err) {
		if now := time.Now(); now.Sub(d.lacked) > forget {
			d.lacked = now
			r.Log("%v", err)
		}
		return
	}
	was := d.why
	d.why = err
	d.down.Store(err != nil)
	if err != nil {
		d.since = time.Now()
	}
	refused := errors.Is(err, secret.ErrRefused)
	switch {
	case err == nil && was != nil:
		r.Log("%s: it can be reached again", d)
	case err != nil && was == nil, refused && !errors.Is(was, secret.ErrRefused):
		r.Log("%v", err)
	case err != nil:
		r.Note("%v", err)
	}
	if err != nil && !refused && !d.probing && !d.Datagram && len(r.dests.all) > 1 {
		d.probing = true
		r.dests.probes.Go(func() { r.probe(r.dests.ctx, d) })
	}
}

// Revive has all destinations held for alive, until it shows that they are not.
func (r *Relay) Revive() {
	for _, d := range r.dests.all {
		d.mu.Lock()
		d.why = nil
		d.down.Store(false)
		d.mu.Unlock()
	}
}

// A dead destination is probed every second at first, and then less often.
const (
	probeSoon = time.Second
	probeLate = 10 * time.Second
)

// probe connects to d, as for a client, until that succeeds. It says nothing there on behalf of anybody.
func (r *Relay) probe(ctx context.Context, d *destination) {
	over := func(known bool) bool { // or a client has found out
		d.mu.Lock()
		defer d.mu.Unlock()
		if known || d.why == nil || errors.Is(d.why, secret.ErrRefused) {
			d.probing = false
		}
		return !d.probing
	}
	for pause := probeSoon; ; pause = min(pause*3/2, probeLate) {
		if !sleep(ctx, pause*9/10+rand.N(pause/5)) || over(false) {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, 2*max(r.Dial.Timeout, probeLate))
		c, err := r.dialOne(ctx, d, nil, nil)
		cancel()
		if err == nil {
			c.Close()
		}
		known := err == nil || errors.Is(err, secret.ErrRefused)
		if over(known) {
			if known {
				r.report(d, err)
			}
			return
		}
	}
}

// sleep tells whether it did, or ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A call is one client's who is to be carried to a destination.
type call struct {
	turn uint32
	from net.Addr // who it is
	at   net.Addr // the address of ours where it came

	// Those that have refused the key are not asked again by themselves: each try is a guess for them.
	refused []*destination
}

// dial connects to a stream destination for a client: with TLS, key and PROXY header as the options say.
// It tries the destinations one after the other until abandon
// ends, and waits for one as long as WaitBackend says, or ctx: with the end of either the error is
// errAbandoned. One that refuses the key is asked once. The caller closes the connection, and then calls done. The connection is nil where the
// destination is one for datagrams.
func (r *Relay) dial(ctx, abandon context.Context, by *call) (c net.Conn, d *destination, done func(), err error) {
	end := time.Now().Add(r.WaitBackend)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		open := false // a try may help
		for _, d = range r.order(by.turn) {
			if why := d.refusal(); why != nil && slices.Contains(by.refused, d) {
				err = why
				continue
			}
			if d.Stdout {
				return r.stdout(), d, func() {}, nil
			}
			if !d.Datagram {
				c, err = r.dialOne(abandon, d, by.from, by.at)
				if abandon.Err() == nil {
					r.report(d, err)
				}
				if errors.Is(err, secret.ErrRefused) {
					by.refused = append(by.refused, d)
				} else {
					open = true
				}
			}
			if d.Datagram || err == nil {
				d.clients.Add(1)
				return c, d, func() { d.clients.Add(-1) }, nil
			}
		}
		left := time.Duration(0)
		if open {
			left = time.Until(end)
		}
		if abandon.Err() != nil || left > 0 && !sleep(ctx, min(pause, left)) {
			return nil, nil, nil, errAbandoned
		}
		if left <= 0 {
			return nil, nil, nil, err
		}
	}
}

// dialOne connects to d for the client at from, who came to our address at; for nobody, to see whether it is
// there, where from is nil.
func (r *Relay) dialOne(ctx context.Context, d *destination, from, at net.Addr) (net.Conn, error) {
	c, err := sock.Dial(ctx, d.Addr, r.Dial)
	if err != nil {
		return nil, err
	}
	about := func(err error) error { return fmt.Errorf("%s: %w", d, sock.Reason(err)) }
	if !d.TLS && !d.Key {
		if err = r.tell(c, from, at); err != nil {
			c.Close()
			return nil, about(err)
		}
		return c, nil
	}
	if r.Dial.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Dial.Timeout)
		defer cancel()
	}
	if d.Key {
		t, err := secret.Dial(ctx, c, r.Key, secret.ForRelay)
		if err == nil {
			err = r.tell(t, from, at) // where nobody else sees it
		}
		if err != nil {
			c.Close()
			return nil, about(err)
		}
		return t, nil
	}
	if err = r.tell(c, from, at); err == nil {
		var config *tls.Config
		if config, err = r.TLSDest(d.Host); err == nil {
			t := tls.Client(c, config)
			if err = t.HandshakeContext(ctx); err == nil {
				return t, nil
			}
			if errors.Is(err, io.EOF) {
				err = errors.New("the connection was closed within the TLS handshake")
			}
		}
	}
	c.Close()
	return nil, about(err)
}

// tell tells a destination who the client is, with the PROXY protocol.
func (r *Relay) tell(c net.Conn, from, at net.Addr) error {
	if r.ProxyOut == 0 {
		return nil
	}
	_, datagram := from.(*net.UDPAddr)
	h := sock.ProxyHeader{Source: from, Dest: at, Datagram: datagram, Local: from == nil}
	b, err := h.Append(nil, r.ProxyOut)
	if err == nil {
		_, err = c.Write(b)
	}
	return err
}
