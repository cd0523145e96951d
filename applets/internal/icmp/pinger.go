package icmp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A carrier takes requests to hosts and brings back what becomes of them. All of it is called by one
// goroutine, and nothing but wait blocks.
type carrier interface {
	// peer is the host's address in the form that send wants, which it keeps in h.peer.
	peer(h *Host) (any, error)
	// send sends the request id to h. errBusy means that there is no room for it now.
	send(h *Host, id uint16) error
	// receive hands all that has come to p.
	receive(p *Pinger) error
	// forget says that the answer to id does not matter any more.
	forget(id uint16)
	// wait blocks until something has come, room is there after errBusy, interrupt was called, or
	// for d.
	wait(d time.Duration) error
	interrupt()
	describe() string
	close()
}

var errBusy = errors.New("no room now")

// A Pinger asks hosts. It is used by one goroutine, once.
type Pinger struct {
	Options
	Hosts   []*Host
	Strays  int // packets that answered nothing
	Dropped int // answers that the kernel had no room for

	Began, Ended time.Time // the first request; the last thing that happened

	c     carrier
	now   func() time.Time
	event Event

	pages     [1 << 16 / pageSize]*[pageSize]request
	head      uint16 // of the next request
	tail      uint16 // of the oldest one that may be waiting
	waiting   int
	inFlight  int // the most that were waiting at once
	open      int // hosts that are not done
	downFirst bool

	start  time.Time     // of this round
	period time.Duration // from one round to the next
	gap    time.Duration // from one host to the next
	next   int           // the host whose turn it is
	asked  int           // requests in this round
	rounds int
	busy   bool
}

const pageSize = 1024

// A request is what was sent under a number.
type request struct {
	sent  time.Time
	host  int32
	state uint8
	seq   int // for the host
}

const (
	unused = iota
	waiting
	answered
	lost
	failed
)

// New opens what is needed to ask the targets.
func New(o Options) (*Pinger, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	c, err := open(&o)
	if err != nil {
		return nil, err
	}
	p, err := newPinger(o, c)
	if err != nil {
		c.close()
	}
	return p, err
}

func newPinger(o Options, c carrier) (*Pinger, error) {
	p := &Pinger{Options: o, c: c, now: time.Now, open: len(o.Targets), head: 1, tail: 1}
	hosts := make([]Host, len(o.Targets))
	p.Hosts = make([]*Host, len(hosts))
	for i := range hosts {
		h := &hosts[i]
		h.Target = o.Targets[i]
		p.Hosts[i] = h
		var err error
		if h.peer, err = c.peer(h); err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	// Many hosts are not asked all at once, lest a network that has to find them first (ARP) loses
	// requests: they have half of the interval. A short one is a pace of its own.
	const short = 100 * time.Millisecond
	if o.Interval >= short {
		p.gap = o.Interval / 2 / time.Duration(len(hosts))
	}
	if o.Rate > 0 {
		p.gap = max(p.gap, time.Second/time.Duration(o.Rate))
	}
	p.period = max(o.Interval, time.Duration(len(hosts))*p.gap)
	return p, nil
}

// Close gives back what New has opened.
func (p *Pinger) Close() { p.c.close() }

// Describe says what is used to ask.
func (p *Pinger) Describe() string { return p.c.describe() }

// InFlight is how many requests were without an answer at once, at most.
func (p *Pinger) InFlight() int { return p.inFlight }

// Reached tells, after Run, whether what was asked for has come true.
func (p *Pinger) Reached() bool {
	if p.Goal == Down {
		return p.downFirst
	}
	for _, h := range p.Hosts {
		if h.Received == 0 {
			return false
		}
		if p.replies() && h.Received < p.Count {
			return false
		}
	}
	return true
}

// replies says that it is answers that are counted, and not requests, as ping(8) does with -c and -w.
func (p *Pinger) replies() bool { return p.Goal == Counted && p.Count > 0 && !p.Deadline.IsZero() }

// Run asks until the goal is reached, the deadline is over or ctx ends. Its error is one of our own
// side; what becomes of the requests is told by events.
func (p *Pinger) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, p.c.interrupt)
	defer stop()
	p.start = p.now()
	p.Began, p.Ended = p.start, p.start
	for ctx.Err() == nil {
		now := p.now()
		if !p.Deadline.IsZero() && !now.Before(p.Deadline) {
			break
		}
		if err := p.send(now); err != nil {
			return err
		}
		if err := p.c.receive(p); err != nil {
			return err
		}
		now = p.now()
		p.expire(now)
		if p.done() {
			break
		}
		d := p.idle(now)
		if d <= 0 {
			continue
		}
		if err := p.Flush(); err != nil {
			return err
		}
		if err := p.c.wait(d); err != nil {
			return err
		}
	}
	return p.Flush()
}

func (p *Pinger) done() bool { return p.open == 0 || p.downFirst }

// sendable tells whether h is to be asked once more.
func (p *Pinger) sendable(h *Host) bool {
	switch p.Goal {
	case Up:
		return h.Received == 0
	case Alive:
		return h.Received == 0 && h.Sent < p.Count
	case Down:
		return true
	}
	if p.replies() {
		return h.Received+h.Errors < p.Count
	}
	return p.Count == 0 || h.Sent < p.Count
}

// finished tells whether there is nothing more to learn about h.
func (p *Pinger) finished(h *Host) bool {
	return !p.sendable(h) && (h.waiting == 0 || h.Received > 0 && (p.Goal != Counted || p.replies()))
}

// change is called around whatever may finish h.
func (p *Pinger) change(h *Host, f func()) {
	before := p.finished(h)
	f()
	if !before && p.finished(h) {
		p.open--
	}
	if p.Goal == Down && h.misses >= downAfter {
		p.downFirst = true
	}
}

// burst is how many requests are sent before the answers are looked at: the kernel's room for them
// is a few hundred.
const burst = 64

// send sends what is due.
func (p *Pinger) send(now time.Time) error {
	p.busy = false
	sent := 0
	for !p.turnOver() {
		if p.due(now).After(now) || p.downFirst {
			return nil
		}
		h := p.Hosts[p.next]
		if p.head+1 == p.tail { // there is no number that nobody waits for
			p.busy = true
			return nil
		}
		if !p.ask(h) {
			p.busy = true
			return nil
		}
		p.next++
		p.asked++
		if sent++; sent%burst == 0 {
			if err := p.c.receive(p); err != nil {
				return err
			}
			now = p.now()
		}
		if p.Interval == 0 && sent >= len(p.Hosts) {
			return nil // a flood looks at the answers first
		}
	}
	return nil
}

// turnOver goes to the next host that is to be asked, and tells whether there is none.
func (p *Pinger) turnOver() bool {
	for range 2 {
		for p.next < len(p.Hosts) {
			if p.sendable(p.Hosts[p.next]) {
				return false
			}
			p.next++
		}
		if p.asked == 0 && p.rounds > 0 {
			return true
		}
		p.next, p.asked = 0, 0
		p.rounds++
		p.start = p.start.Add(p.period)
	}
	return true
}

// due is when the host whose turn it is is to be asked.
func (p *Pinger) due(now time.Time) time.Time {
	if p.Interval == 0 && p.next == 0 && p.rounds > 0 {
		if p.waiting == 0 || now.Sub(p.start) >= floodWait {
			p.start = now
			return now
		}
		return p.start.Add(floodWait)
	}
	due := p.start.Add(time.Duration(p.next) * p.gap)
	// What was missed, as by a machine that slept, is not made up for in a burst.
	if late := now.Sub(due); late > p.period {
		p.start = p.start.Add(late)
		due = now
	}
	return due
}

// ask sends one request to h; false means that there is no room for it.
func (p *Pinger) ask(h *Host) bool {
	id := p.head
	r := p.slot(id)
	r.sent = p.now()
	err := p.c.send(h, id)
	if errors.Is(err, errBusy) {
		return false
	}
	p.head++
	p.change(h, func() {
		h.Sent++
		h.waiting++
	})
	p.waiting++
	p.inFlight = max(p.inFlight, p.waiting)
	r.host, r.seq, r.state = int32(p.next), h.Sent, waiting
	p.Ended = r.sent
	if err != nil {
		p.fail(id, netip.Addr{}, err.Error(), r.sent)
	}
	return true
}

func (p *Pinger) slot(id uint16) *request {
	page := p.pages[id/pageSize]
	if page == nil {
		page = new([pageSize]request)
		p.pages[id/pageSize] = page
	}
	return &page[id%pageSize]
}

// answer takes in an answer that came at the time now, and which the kernel got at stamp, where it
// said so.
func (p *Pinger) answer(id uint16, from netip.Addr, r reply, stamp, now time.Time) {
	if p.pages[id/pageSize] == nil {
		p.Strays++
		return
	}
	q := p.slot(id)
	if q.state == unused {
		p.Strays++
		return
	}
	h := p.Hosts[q.host]
	// The zone of a link-local address may be left out, or be a number.
	if from.WithZone("") != h.Addr.WithZone("") && !h.Addr.IsMulticast() {
		p.Strays++
		p.Note("%s: an answer from %s is not counted", h.Name, from)
		return
	}
	rtt := roundTrip(q.sent, stamp, now)
	e := &p.event
	*e = Event{Kind: Replied, Host: h, Seq: q.seq, At: now, Bytes: r.size, TTL: r.ttl, RTT: rtt, From: from,
		Truncated: r.truncated, Corrupted: r.corrupted}
	if r.truncated {
		h.Truncated++
	}
	if r.corrupted {
		h.Corrupt++
	}
	p.Ended = now
	if q.state == answered {
		e.Duplicate = true
		h.Duplicates++
		p.Event(e)
		return
	}
	e.Late = q.state != waiting
	e.Reordered = q.seq < h.last
	p.change(h, func() {
		if e.Late {
			h.Late++
		} else {
			h.waiting--
			p.waiting--
		}
		if e.Reordered {
			h.Reordered++
		}
		h.last = max(h.last, q.seq)
		h.Received++
		h.misses = 0
		h.Add(rtt)
	})
	q.state = answered
	p.Event(e)
}

// fail takes in that there will be no answer.
func (p *Pinger) fail(id uint16, from netip.Addr, why string, now time.Time) {
	if p.pages[id/pageSize] == nil {
		p.Strays++
		return
	}
	q := p.slot(id)
	if q.state != waiting {
		p.Strays++
		return
	}
	h := p.Hosts[q.host]
	p.waiting--
	q.state = failed
	p.Ended = now
	p.change(h, func() {
		h.waiting--
		h.Errors++
		h.misses++
	})
	p.event = Event{Kind: Failed, Host: h, Seq: q.seq, At: now, From: from, Why: why}
	p.Event(&p.event)
}

// expire gives up what has waited for too long. The oldest requests come first.
func (p *Pinger) expire(now time.Time) {
	for ; p.tail != p.head; p.tail++ {
		q := p.slot(p.tail)
		if q.state != waiting {
			continue
		}
		if now.Sub(q.sent) < p.Timeout {
			return
		}
		h := p.Hosts[q.host]
		p.waiting--
		q.state = lost
		p.c.forget(p.tail)
		p.change(h, func() {
			h.waiting--
			h.misses++
		})
		p.event = Event{Kind: Lost, Host: h, Seq: q.seq, At: now}
		p.Event(&p.event)
	}
}

// idle is for how long there is nothing to do.
func (p *Pinger) idle(now time.Time) time.Duration {
	const (
		tick = time.Millisecond // shorter waits cost more than they are worth
		most = time.Hour
	)
	d := most
	if p.waiting > 0 && p.tail != p.head {
		d = min(d, p.slot(p.tail).sent.Add(p.Timeout).Sub(now))
	}
	if !p.Deadline.IsZero() {
		d = min(d, p.Deadline.Sub(now))
	}
	switch {
	case p.busy:
		d = min(d, tick)
	case !p.turnOver():
		due := p.due(now).Sub(now)
		if len(p.Hosts) > 1 && due > 0 {
			due = max(due, tick)
		}
		d = min(d, due)
	}
	return d
}

// roundTrip is the time from sent until the kernel had the answer. The kernel's stamp is of the wall
// clock, which may have been set in the meantime: then, and without a stamp, it is the time until we
// have it.
func roundTrip(sent, stamp, now time.Time) time.Duration {
	seen := max(now.Sub(sent), 0) // by the monotonic clock
	if stamp.IsZero() {
		return seen
	}
	const set = time.Millisecond
	if wall := now.Round(0).Sub(sent.Round(0)); wall-seen > set || seen-wall > set {
		return seen
	}
	if rtt := stamp.Sub(sent.Round(0)); rtt >= 0 && rtt <= seen {
		return rtt
	}
	return seen
}
