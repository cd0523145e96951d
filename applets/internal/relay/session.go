package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sockbox/applets/internal/sock"
)

// A sessionKey tells clients apart. Who asks two addresses of ours has two sessions, so that each answer
// leaves from the address that was asked.
type sessionKey struct {
	peer  netip.AddrPort
	path  string         // on a unix socket
	local netip.Addr     // zero where there is only one
	said  netip.AddrPort // the client that a trusted proxy speaks for
}

// sessions are those there are. What take uses alone is not locked.
type sessions struct {
	r            *Relay
	in           *sock.Datagrams
	ctx, abandon context.Context
	began        time.Time
	idle         time.Duration
	header       bool // a PROXY header may come
	ways         sync.WaitGroup
	touched      []*session // by the datagrams that take looks at
	lost         uint32     // what the kernel has told of

	mu  sync.Mutex
	all map[sessionKey]*session
	// Those that nobody has answered yet, the longest silent one first. It gives way to a new one where
	// there are as many as may be: so a flood from many addresses takes no room from who has a
	// conversation, as with the kernel's connection tracking.
	first, last *session
}

// A session is what one client says, and what is answered.
type session struct {
	*sessions
	key    sessionKey
	client net.Addr // who it is, as far as is known
	turn   uint32
	name   string
	batch  []sock.Datagram // take's own

	seen     atomic.Int64 // when something moved, in nanoseconds since began
	answered atomic.Bool
	reopen   atomic.Bool // nobody takes it where it goes

	next, prev *session // among those without an answer
	listed     bool

	mu    sync.Mutex // of what is sent to the destination
	over  bool
	way   way
	there *tap

	back      sync.Mutex // of what is answered
	local     netip.Addr
	backTap   *tap
	replies   way
	unanswers bool // it has no address to be answered at
}

// take carries what has come from clients. It runs in one goroutine.
func (s *sessions) take(ds []sock.Datagram) bool {
	now := int64(time.Since(s.began))
	if lost := s.in.Lost(); lost != s.lost {
		s.r.lose(int(lost-s.lost), "the kernel had no more room")
		s.lost = lost
	}
	var same *session
	var key sessionKey
	for i := range ds {
		d := &ds[i]
		if d.Cut {
			s.r.lose(1, "longer than 65536 bytes")
			continue
		}
		k := sessionKey{peer: d.Peer, path: d.Path, local: d.Local}
		if s.header && !s.told(&k, d) {
			continue
		}
		if same == nil || k != key {
			if same = s.find(k, now); same == nil {
				continue
			}
			key = k
		}
		if len(same.batch) == 0 {
			s.touched = append(s.touched, same)
		}
		same.batch = append(same.batch, sock.Datagram{Data: d.Data})
	}
	for i, one := range s.touched {
		one.seen.Store(now)
		one.send(one.batch)
		clear(one.batch) // the bytes are not ours for longer
		one.batch = one.batch[:0]
		s.touched[i] = nil
	}
	s.touched = s.touched[:0]
	return true
}

// told takes the PROXY header off a datagram of who may send one; all that such a peer sends has one.
func (s *sessions) told(k *sessionKey, d *sock.Datagram) bool {
	if !s.r.ProxyIn.Allows(net.UDPAddrFromAddrPort(d.Peer)) {
		return true
	}
	h, n, err := sock.ParseProxy(d.Data)
	if err != nil {
		s.r.refused.Add(1)
		s.r.lose(1, "a trusted proxy sent no PROXY header")
		return false
	}
	d.Data = d.Data[n:]
	if a, ok := h.Source.(*net.UDPAddr); ok && !h.Local {
		k.said = a.AddrPort()
	} else if a, ok := h.Source.(*net.TCPAddr); ok && !h.Local {
		k.said = a.AddrPort()
	}
	return true
}

// find returns the session of a client, a new one if need be; nil where there is no room or it may not
// come in.
func (s *sessions) find(k sessionKey, now int64) *session {
	s.mu.Lock()
	one := s.all[k]
	if one != nil && one.listed {
		s.unlist(one)
		s.list(one)
	}
	s.mu.Unlock()
	if one != nil {
		return one
	}
	return s.begin(k, now)
}

func (s *sessions) begin(k sessionKey, now int64) *session {
	r := s.r
	one := &session{sessions: s, key: k, local: k.local, turn: r.turn()}
	switch {
	case k.said.IsValid():
		one.client = net.UDPAddrFromAddrPort(k.said)
	case k.peer.IsValid():
		one.client = net.UDPAddrFromAddrPort(k.peer)
	default:
		one.client = &net.UnixAddr{Name: k.path, Net: "unixgram"}
		one.unanswers = k.path == ""
	}
	if r.ferry.shared(k.local) { // it asked everybody; that is no address to send from
		one.local = netip.Addr{}
	}
	one.name = sock.PeerName(one.client)
	if k.said.IsValid() && !r.admits(net.UDPAddrFromAddrPort(k.peer)) || !r.admits(one.client) {
		return nil
	}
	if r.ferry.own(k.peer) {
		r.lose(1, "it came from this relay itself")
		return nil
	}
	if r.ReplyTo != nil {
		var err error
		one.replies, err = r.openWay(wayOptions{
			ctx: s.ctx, abandon: s.abandon, to: &destination{Endpoint: *r.ReplyTo}, call: one.call(), all: &s.ways, reply: true,
		})
		if err != nil {
			r.lose(1, err.Error())
			return nil
		}
	}
	s.mu.Lock()
	var gone *session
	if len(s.all) >= r.MaxSessions {
		if gone = s.first; gone == nil {
			s.mu.Unlock()
			r.lose(1, "there are as many sessions as may be")
			one.end(true)
			return nil
		}
		s.remove(gone)
	}
	one.seen.Store(now)
	s.all[k] = one
	s.list(one)
	s.mu.Unlock()
	if gone != nil {
		gone.end(true)
	}
	r.peers.Add(1)
	r.connects.Add(1)
	r.Note("%s: a new session", one.name)
	return one
}

// list and unlist keep the queue of those without an answer; s.mu is held.
func (s *sessions) list(one *session) {
	one.listed, one.prev, one.next = true, s.last, nil
	if s.last != nil {
		s.last.next = one
	} else {
		s.first = one
	}
	s.last = one
}

func (s *sessions) unlist(one *session) {
	if one.prev != nil {
		one.prev.next = one.next
	} else {
		s.first = one.next
	}
	if one.next != nil {
		one.next.prev = one.prev
	} else {
		s.last = one.prev
	}
	one.listed, one.prev, one.next = false, nil, nil
}

// remove takes a session out, which the caller ends when s.mu is free again.
func (s *sessions) remove(one *session) {
	delete(s.all, one.key)
	if one.listed {
		s.unlist(one)
	}
	s.r.peers.Add(-1)
}

// reap ends sessions in which nothing has moved for too long, until ctx ends.
func (s *sessions) reap(ctx context.Context) {
	for sleep(ctx, min(max(s.idle/4, 10*time.Millisecond), 5*time.Second)) {
		now := int64(time.Since(s.began))
		var over []*session
		s.mu.Lock()
		for _, one := range s.all {
			if now-one.seen.Load() >= int64(s.idle) {
				over = append(over, one)
				s.remove(one)
			}
		}
		s.mu.Unlock()
		for _, one := range over {
			one.end(false)
			s.r.Note("%s: silent for %v", one.name, s.idle)
		}
	}
}

func (s *sessions) endAll() {
	s.mu.Lock()
	var over []*session
	for _, one := range s.all {
		over = append(over, one)
		s.remove(one)
	}
	s.mu.Unlock()
	for _, one := range over {
		one.end(false)
	}
}

// at is the address of ours that the client has asked.
func (one *session) at() net.Addr {
	at := one.r.packets.LocalAddr()
	if u, ok := at.(*net.UDPAddr); ok && one.key.local.IsValid() {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(one.key.local, u.AddrPort().Port()))
	}
	return at
}

func (one *session) call() call { return call{turn: one.turn, from: one.client, at: one.at()} }

// send carries to the destination.
func (one *session) send(ds []sock.Datagram) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.over {
		return
	}
	if one.reopen.Swap(false) && one.way != nil {
		one.way.end(false)
		one.way = nil
	}
	if one.way == nil {
		if err := one.open(); err != nil {
			one.r.lose(len(ds), err.Error())
			return
		}
	}
	if one.there != nil {
		for i := range ds {
			if one.there.datagram(one.abandon, ds[i].Data) != nil {
				return
			}
		}
	}
	one.way.send(ds)
}

// open finds a destination; one.mu is held.
func (one *session) open() error {
	r := one.r
	if r.Echo {
		one.way = &localWay{r: r, print: len(r.Dests) > 0, answer: one.answer}
		one.there, one.backTap = r.tap(one.name, "echo", false), r.tap("echo", one.name, true)
		return nil
	}
	d := r.pick(one.turn)
	if d.Stdout {
		one.way = &localWay{r: r, print: true}
		one.there = r.tap(one.name, d.String(), false)
		return nil
	}
	w, err := r.openWay(wayOptions{
		ctx: one.ctx, abandon: one.abandon, to: d, call: one.call(), all: &one.ways, answer: one.answer,
		broken: func(error) {
			if len(r.Dests) > 1 || d.Net == "unixgram" {
				one.reopen.Store(true)
			}
		},
		reached: one.taps,
	})
	if err != nil {
		r.report(d, err)
		return err
	}
	one.way, one.there = w, nil
	if d.Datagram {
		one.there = one.taps(d)
	}
	return nil
}

// taps returns what sees what the client says to d; what d answers is seen from then on.
func (one *session) taps(d *destination) (there *tap) {
	one.back.Lock()
	defer one.back.Unlock()
	one.backTap = one.r.tap(d.String(), one.name, true)
	return one.r.tap(one.name, d.String(), false)
}

// answer carries to the client, or where answers go.
func (one *session) answer(ds []sock.Datagram) {
	s := one.sessions
	one.seen.Store(int64(time.Since(s.began)))
	if !s.r.Echo && !one.answered.Swap(true) {
		s.mu.Lock()
		if one.listed {
			s.unlist(one)
		}
		s.mu.Unlock()
	}
	one.back.Lock()
	defer one.back.Unlock()
	if one.backTap != nil {
		for i := range ds {
			if one.backTap.datagram(one.abandon, ds[i].Data) != nil {
				return
			}
		}
	}
	if one.replies != nil {
		one.replies.send(ds)
		return
	}
	if one.unanswers {
		s.r.lose(len(ds), "the client has no address for an answer")
		return
	}
	for len(ds) > 0 {
		for i := range ds {
			ds[i].Peer, ds[i].Path, ds[i].Local = one.key.peer, one.key.path, one.local
		}
		n, err := s.in.Send(ds)
		for _, d := range ds[:n] {
			s.r.back.Add(int64(len(d.Data)))
		}
		ds = ds[n:]
		switch {
		case err == nil, errors.Is(err, net.ErrClosed):
			return
		case one.local.IsValid() && (errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EADDRNOTAVAIL)):
			// It has been taken away meanwhile.
			one.local = netip.Addr{}
		default:
			s.r.lose(1, "an answer: "+sock.Reason(err).Error())
			ds = ds[1:]
		}
	}
}

// end passes on what the session has, in a hurry only what takes no time, and closes. It does not wait
// for that; sessions.ways does.
func (one *session) end(hurry bool) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.over {
		return
	}
	one.over = true
	if one.way != nil {
		one.way.end(hurry)
	}
	if one.replies != nil {
		one.replies.end(hurry)
	}
}
