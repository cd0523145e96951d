package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

// PoolOptions say what a pool takes.
type PoolOptions struct {
	Addr          sock.Addr
	Listen        sock.ListenOptions
	Allow         sock.AccessList
	Key           secret.Key
	Plain         secret.Plain
	DataPorts     [2]int // lowest and highest; zero: any that is free
	SinglePort    bool   // the streams come over Addr too
	Keep          bool   // stay after the first master's end
	Discard       bool   // do not wait until what came has been read
	MaxDaemons    int
	Capacity      int // bytes, of each input
	MaxMessage    int
	ResumeTimeout time.Duration // how long a broken link may be away
	Grace         time.Duration // how long readers may take in the end

	Print  func(name string, messages *buffer.Lease) error // gets all that comes, a batch at a time; nil = nobody
	Ready  func(a net.Addr) error                          // called when masters can connect
	Stderr func(name string, line []byte)                  // gets what masters forward
	Note   func(format string, args ...any)                // for the curious; nil = there are none
	Log    func(format string, args ...any)                // for everybody

	JSON   bool
	Joblog string
	Out    io.Writer // for the report; nil = no report
}

// ErrUnread says that the end of a pool left messages that nobody had read.
type ErrUnread struct{ N int }

func (e *ErrUnread) Error() string { return fmt.Sprintf("%d messages were not read", e.N) }

// firstTime is how long a grant waits for its daemon's link. Who asks on the plain wire may be
// somebody who types.
func (p *pool) firstTime(plain bool) time.Duration {
	if plain {
		return p.ResumeTimeout
	}
	return min(10*time.Second, p.ResumeTimeout)
}

// Pool takes daemons' streams until a master has said that there are no more and what came has been
// read, or until it is asked to end.
func Pool(ctx context.Context, o PoolOptions) (err error) {
	stop := life.CatchSignals(ctx, false)
	life.CatchPipe() // masters are to be told
	p := &pool{
		PoolOptions: o, gate: secret.NewGate(), report: report{JSON: o.JSON, Out: o.Out},
		inputs: map[secret.TicketID]*input{}, sessions: map[secret.TicketID]*session{}, changed: make(chan struct{}, 1),
	}
	p.ctx, p.cancel = context.WithCancelCause(stop.Context())
	defer p.cancel(nil)
	out := newOutlet(stop.Context(), o.Grace)
	defer func() { err = out.heard(err) }()
	p.Note, p.Log = out.oneLine(o.Note), out.oneLine(o.Log)
	p.Stderr = func(name string, line []byte) { out.do(func() error { o.Stderr(name, line); return nil }) }
	boundMemory()
	if _, err = buffer.Names(); err != nil { // where nothing can be held every daemon would be refused
		return err
	}
	if p.identity, err = secret.NewIdentity(); err != nil {
		return err
	}
	if err := p.report.openJoblog(o.Joblog); err != nil {
		return err
	}
	ln, err := p.listen(p.ctx)
	if err != nil {
		return err
	}
	p.at = sock.PeerName(ln.Addr())
	if err = p.report.beginJoblog(); err == nil {
		err = o.Ready(ln.Addr())
	}
	if err != nil {
		ln.Close()
		return err
	}
	if err := life.Notify("READY=1\nSTATUS=" + p.at); err != nil {
		p.log("%v", err)
	}
	accepting, noMore := context.WithCancel(p.ctx)
	defer noMore()
	served := make(chan error, 1)
	go func() { served <- p.server().Serve(accepting, ln) }()

	p.wait(p.ctx, func() bool { return p.ended })
	if !p.SinglePort { // else it stays open for the streams that there are
		noMore()
	}
	p.wait(p.ctx, func() bool { return p.ended && len(p.inputs) == 0 && p.busy() == 0 })
	// Masters hang up when they have heard that we know how their daemons ended.
	polite, late := context.WithTimeout(p.ctx, 2*time.Second)
	p.wait(polite, func() bool { return p.talking() == 0 })
	late()
	life.Notify("STOPPING=1")
	p.cancel(errEnding)
	noMore()
	err = <-served
	p.all.Wait()
	if e := out.do(p.report.tell); err == nil {
		err = e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failure != nil:
		return p.failure
	case err == nil && p.gone > 0:
		hosts := strings.Join(p.lost, ", ")
		if more := p.gone - len(p.lost); more > 0 {
			hosts += fmt.Sprintf(" and %d more", more)
		}
		return fmt.Errorf("%s: the master was lost", hosts)
	case err == nil && p.broken > 0:
		return fmt.Errorf("the streams of %d daemons broke off", p.broken)
	case err == nil && p.left > 0 && !p.Discard:
		return &ErrUnread{p.left}
	}
	return err
}

var errEnding = errors.New("the pool is ending")

type pool struct {
	PoolOptions
	ctx      context.Context
	cancel   context.CancelCauseFunc
	at       string // the port, for people
	identity *secret.Identity
	gate     *secret.Gate
	report   report
	all      sync.WaitGroup // inputs and their ends

	mu       sync.Mutex
	inputs   map[secret.TicketID]*input
	sessions map[secret.TicketID]*session
	seq      int
	left     int
	broken   int      // streams that broke off
	lost     []string // hosts of masters that went away before their end, the first few
	gone     int      // how many masters did
	ended    bool
	failure  error
	changed  chan struct{}
}

func (p *pool) note(format string, args ...any) { p.Note(format, args...) }
func (p *pool) log(format string, args ...any)  { p.Log(format, args...) }

// noteDoor tells of a peer that did not get in. That its key was wrong is for everybody; the gate
// keeps it from being told too often.
func (p *pool) noteDoor(peer net.Addr, err error) {
	if errors.Is(err, secret.ErrRefused) {
		p.log("%s: %v", sock.PeerName(peer), sock.Reason(err))
	} else {
		p.note("%s: %v", sock.PeerName(peer), sock.Reason(err))
	}
}

// fail ends the pool for what it cannot go on with.
func (p *pool) fail(err error) {
	p.mu.Lock()
	p.failure = errors.Join(p.failure, err)
	p.mu.Unlock()
	p.cancel(err)
}

// wait waits until ok, which is called with mu held, or ctx ends.
func (p *pool) wait(ctx context.Context, ok func() bool) {
	for {
		p.mu.Lock()
		done := ok()
		p.mu.Unlock()
		if done {
			p.poke() // for who waits next
			return
		}
		select {
		case <-p.changed:
		case <-ctx.Done():
			return
		}
	}
}

func (p *pool) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pool) listen(ctx context.Context) (net.Listener, error) {
	if p.Addr.Net != "fd" {
		return sock.Listen(ctx, p.Addr, p.Listen)
	}
	got, err := sock.FromFD(p.Addr.FD)
	if err == nil && got.Listener == nil {
		err = fmt.Errorf("%s: not a listening socket", p.Addr)
	}
	return got.Listener, err
}

// listenData opens a port for one daemon.
func (p *pool) listenData(ctx context.Context) (ln net.Listener, err error) {
	a := sock.Addr{Net: "tcp", Host: p.Addr.Host}
	if p.Addr.Net != "tcp" {
		return nil, fmt.Errorf("%s: has no address for a port of its own", p.Addr)
	}
	if p.DataPorts == [2]int{} {
		return sock.Listen(ctx, a, p.Listen)
	}
	for a.Port = p.DataPorts[0]; a.Port <= p.DataPorts[1]; a.Port++ {
		if ln, err = sock.Listen(ctx, a, p.Listen); err == nil {
			return ln, nil
		}
	}
	return nil, fmt.Errorf("no port is free in %d-%d (%w)", p.DataPorts[0], p.DataPorts[1], err)
}

func (p *pool) server() *secret.Server {
	return &secret.Server{
		Key: p.Key, Purpose: secret.ForPool, Plain: p.Plain, Allow: p.Allow.Allows, Note: p.noteDoor,
		Line:   func(line []byte) bool { _, ok, _ := parsePlain(p.Key, line); return ok },
		Handle: p.serve, Tickets: p.ticket, Identity: p.identity, Gate: p.gate,
	}
}

// ticket finds what a ticket is for: a session, or a stream that comes over the pool's own port.
func (p *pool) ticket(id secret.TicketID) (secret.Ticket, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[id]; s != nil {
		return s.ticket, true
	}
	if in := p.inputs[id]; in != nil && in.ln == nil {
		return in.ticket, true
	}
	return secret.Ticket{}, false
}

// sessionTicket finds a session's ticket.
func (p *pool) sessionTicket(id secret.TicketID) (secret.Ticket, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessions[id]; s != nil {
		return s.ticket, true
	}
	return secret.Ticket{}, false
}

func (p *pool) serve(ctx context.Context, peer secret.Peer) {
	defer peer.Conn.Close()
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	switch {
	case ended && peer.Ticket == nil:
		p.note("%s: came after the end", sock.PeerName(peer.Addr))
	case peer.Line != nil:
		p.servePlain(peer)
	case peer.Ticket == nil:
		p.newSession(peer.Addr).serve(peer.Conn)
	default:
		p.mu.Lock()
		s, in := p.sessions[*peer.Ticket], p.inputs[*peer.Ticket]
		p.mu.Unlock()
		if s != nil {
			s.serve(peer.Conn)
		} else if in != nil {
			in.take(ctx, peer.Conn, peer.Addr)
		}
	}
}

func (p *pool) servePlain(peer secret.Peer) {
	peer.Conn.SetDeadline(time.Now().Add(plainTime))
	r, _, err := parsePlain(p.Key, peer.Line)
	switch {
	case err == nil && r.name == "":
		p.end()
		return
	case err == nil:
		var in *input
		if in, err = p.grant(&input{daemon: r.name, from: r.host, peer: peer.Addr, plain: true}); err == nil {
			fmt.Fprintf(peer.Conn, "%d\n", in.port())
			return
		}
		p.log("%s: %s: %v", sock.PeerName(peer.Addr), r.name, err)
		io.WriteString(peer.Conn, noRoom+"\n")
		return
	}
	p.log("%s: %v", sock.PeerName(peer.Addr), err)
	io.WriteString(peer.Conn, secret.RefusedLine)
}

// end is a master's last word.
func (p *pool) end() {
	p.mu.Lock()
	p.ended = p.ended || !p.Keep
	p.mu.Unlock()
	p.poke()
}

// grant opens an input for a daemon.
func (p *pool) grant(in *input) (*input, error) {
	in.p, in.ticket = p, secret.NewTicket()
	in.stream, in.over = context.WithCancelCause(context.WithoutCancel(p.ctx))
	p.mu.Lock()
	full := len(p.inputs) >= p.MaxDaemons
	if !full {
		p.inputs[in.ticket.ID] = in // its place; nobody knows the ticket yet
		p.seq++
		in.seq = p.seq
		p.all.Add(1)
	}
	p.mu.Unlock()
	if full {
		return nil, fmt.Errorf("there are %d daemons already (--max-daemons)", p.MaxDaemons)
	}
	if err := in.open(p.ctx); err != nil {
		p.remove(in)
		return nil, err
	}
	go func() {
		defer p.remove(in)
		left := in.run(p.ctx)
		p.mu.Lock()
		p.left += left
		if why := context.Cause(in.stream); why != errDone && why != errClosed && p.ctx.Err() == nil {
			p.broken++
		}
		p.mu.Unlock()
		if err := p.report.add(in.row(left)); err != nil {
			p.log("%v", err)
		}
	}()
	p.note("%s: for %s of %s", in.name, in.daemon, in.from)
	return in, nil
}

func (p *pool) remove(in *input) {
	p.mu.Lock()
	delete(p.inputs, in.ticket.ID)
	if in.session != nil {
		delete(in.session.grants, in.request)
	}
	p.mu.Unlock()
	p.all.Done()
	p.poke()
}

// streamOver says that nothing more comes for in. If that was not its master's doing it is told.
func (p *pool) streamOver(in *input, why error) {
	p.note("%s: %v", in.name, why)
	if why == errDone || in.session == nil || p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	t := in.session.talk
	p.mu.Unlock()
	if t != nil {
		t.conn.SetWriteDeadline(time.Now().Add(plainTime))
		t.say(message{Type: "closed", ID: in.request, Why: why.Error()})
		t.conn.SetWriteDeadline(time.Time{})
	}
}

// talking counts the sessions that have a connection. mu is held.
func (p *pool) talking() (n int) {
	for _, s := range p.sessions {
		if s.talk != nil {
			n++
		}
	}
	return n
}

// busy counts the sessions that have more to say. mu is held.
func (p *pool) busy() (n int) {
	for _, s := range p.sessions {
		if !s.over {
			n++
		}
	}
	return n
}

// A session is what the pool has with one master. It outlives a connection that breaks before the
// master's end.
type session struct {
	p      *pool
	ticket secret.Ticket
	peer   net.Addr

	// p.mu guards these.
	host   string
	talk   *talk
	grants map[int]*input // by the number of the request
	over   bool
	outage *time.Timer
	told   map[string]string // why daemons were refused that have been told of

	requests sync.Mutex // one at a time, though they come over two connections
}

func (p *pool) newSession(peer net.Addr) *session {
	s := &session{p: p, ticket: secret.NewTicket(), peer: peer, grants: map[int]*input{}}
	p.mu.Lock()
	p.sessions[s.ticket.ID] = s
	p.mu.Unlock()
	return s
}

// serve hears what the master says over one connection.
func (s *session) serve(c net.Conn) {
	t := newTalk(c)
	sock.TuneSession(c)
	c.SetDeadline(time.Time{})
	// The end of accepting is not the session's.
	stop := context.AfterFunc(s.p.ctx, func() {
		c.SetWriteDeadline(time.Now().Add(time.Second)) // an answer may be under way to a master that reads nothing
		c.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	s.p.mu.Lock()
	old := s.talk
	s.talk = t
	s.p.sessions[s.ticket.ID] = s // which may just have been given up
	if s.outage != nil {
		s.outage.Stop()
	}
	s.p.mu.Unlock()
	if old != nil {
		old.conn.Close()
	}
	for {
		m, err := t.hear()
		if err == nil {
			err = s.answer(t, m)
		}
		if err != nil {
			if cause := context.Cause(s.p.ctx); cause != nil && cause != errEnding {
				c.SetWriteDeadline(time.Now().Add(time.Second))
				t.say(message{Type: "stop"})
			}
			s.leave(t, err)
			return
		}
	}
}

// leave is what becomes of a session whose connection is gone.
func (s *session) leave(t *talk, err error) {
	defer s.p.poke()
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.talk != t {
		return // taken up again meanwhile
	}
	s.talk = nil
	if s.over && len(s.grants) == 0 {
		delete(s.p.sessions, s.ticket.ID)
		return
	}
	if s.p.ctx.Err() == nil {
		s.p.note("%s: the session broke: %v", sock.PeerName(s.peer), sock.Reason(err))
	}
	s.outage = time.AfterFunc(s.p.ResumeTimeout, func() {
		s.p.mu.Lock()
		lost := s.talk == nil && !s.over
		if s.talk == nil {
			delete(s.p.sessions, s.ticket.ID)
		}
		if lost {
			if s.p.gone++; len(s.p.lost) < 5 {
				s.p.lost = append(s.p.lost, s.host)
			}
		}
		s.p.mu.Unlock()
		if lost { // it cannot say any more that this was all
			s.p.log("%s: the master has gone, and did not say that these were all its daemons", s.host)
			s.p.end()
		}
	})
}

// refuse tells that a daemon is refused, once: a master may ask again every other second.
func (s *session) refuse(daemon string, why error) {
	s.p.mu.Lock()
	again := s.told[daemon] == why.Error()
	if s.told == nil || len(s.told) == maxRows {
		s.told = map[string]string{}
	}
	s.told[daemon] = why.Error()
	s.p.mu.Unlock()
	if !again {
		s.p.log("%s: %s: %v", s.host, shown(daemon, maxDaemon), why)
	}
}

func (s *session) answer(t *talk, m message) error {
	p := s.p
	switch m.Type {
	case "hello":
		p.mu.Lock()
		if s.host = m.Host; s.host == "" {
			s.host = sock.PeerName(s.peer)
		}
		p.mu.Unlock()
		return t.say(message{Type: "welcome", Ticket: &s.ticket})
	case "request":
		in, err := s.request(m)
		if err != nil {
			s.refuse(m.Daemon, err)
			return t.say(message{Type: "refuse", ID: m.ID, Why: err.Error()})
		}
		return t.say(message{Type: "grant", ID: m.ID, Name: in.name, Port: in.port(), Max: p.longest(), Ticket: &in.ticket})
	case "stderr":
		if in := s.granted(m.ID); in != nil {
			for line := range bytes.SplitSeq(bytes.TrimSuffix(m.Text, []byte("\n")), []byte("\n")) { // else a line could have another's name in front
				p.Stderr(in.name, line)
			}
		}
	case "done":
		if in := s.granted(m.ID); in != nil && m.Outcome != nil {
			in.setOutcome(m.Outcome)
		}
	case "end":
		p.mu.Lock()
		s.over = true
		p.mu.Unlock()
		p.end()
		return t.say(message{Type: "ended"})
	default:
		return fmt.Errorf("a master does not say %q", m.Type)
	}
	return nil
}

// longest is the message that a master may send. What is longer than MaxMessage would be cut here, and
// half the capacity is what is sure to fit: a message that is coming in takes more room than it has bytes.
func (p *pool) longest() int { return min(p.MaxMessage, max(p.Capacity/2, 1)) }

func (s *session) granted(id int) *input {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.grants[id]
}

// holds tells whether the session has an input of a daemon's.
func (s *session) holds(daemon string) bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	for _, in := range s.p.inputs {
		if in.session == s && in.daemon == daemon {
			return true
		}
	}
	return false
}

func (s *session) request(m message) (*input, error) {
	s.requests.Lock()
	defer s.requests.Unlock()
	if in := s.granted(m.ID); in != nil {
		return in, nil // asked before, and the answer was lost
	}
	if m.Daemon == "" || len(m.Daemon) > maxDaemon {
		return nil, fmt.Errorf("a daemon has a name of 1 to %d bytes", maxDaemon)
	}
	// A file that took another's place is a daemon anew, whose name may be about to be free.
	for end := time.Now().Add(2 * time.Second); s.holds(m.Daemon) && s.p.ctx.Err() == nil && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	in, err := s.p.grant(&input{daemon: m.Daemon, from: s.host, peer: s.peer, session: s, request: m.ID})
	if err != nil {
		return nil, err
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.inputs[in.ticket.ID] == in { // else it is over already
		s.grants[m.ID] = in
	}
	return in, nil
}
