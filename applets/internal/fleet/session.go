package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

// sessionPool is the pool as a master sees it over the channel. A session whose connection breaks is
// taken up again, by whoever is there to do it: see keep.
type sessionPool struct {
	m      *master
	ticket *secret.Ticket         // of the session, once there is one
	before tls.ClientSessionCache // what connections with tickets resume

	mu      sync.Mutex
	talk    *talk
	answers chan message  // of the connection that there is
	broken  chan struct{} // closed when that is gone
	lost    error         // there is no session any more, and why
	changed chan struct{} // closed when talk or lost is another
	ended   bool          // the pool has heard that these were all
	closed  bool
	told    []message // how daemons ended: told again after a break, since nothing says that it was heard
}

// connect opens the session.
func (s *sessionPool) connect(retry time.Duration) error {
	s.changed = make(chan struct{})
	if err := s.dialSession(retry); err != nil {
		return err
	}
	go s.keep()
	return nil
}

// dialSession makes a connection for the session. Once the pool's own port is closed, the ports of
// the daemons take the session's ticket too.
func (s *sessionPool) dialSession(retry time.Duration) error {
	m := s.m
	var t *talk
	err := m.again(m.ctx, retry, func(ctx context.Context) (err error) {
		for _, a := range m.places() {
			var c net.Conn
			if c, err = sock.Dial(ctx, a, m.Dial); err != nil {
				continue
			}
			var proven net.Conn
			if s.ticket != nil {
				proven, err = secret.DialTicket(ctx, c, *s.ticket, s.before)
			} else {
				proven, err = secret.Dial(ctx, c, m.Key, secret.ForPool)
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", a, sock.Reason(err))
				continue
			}
			t = newTalk(proven)
			sock.TuneSession(proven)
			if err = s.greet(t); err == nil {
				return nil
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	// A pool that hears nothing does not hold up the end.
	context.AfterFunc(m.ctx, func() { t.conn.SetWriteDeadline(time.Now().Add(m.Grace + m.Linger + time.Second)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.talk, s.answers, s.broken = t, make(chan message, 1), make(chan struct{})
	go s.listen(t, s.answers, s.broken)
	if len(s.told) > 0 {
		go t.say(s.told...)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// keep takes the session up again when its connection breaks, as long as that is of use. Before the
// end a pool that is lost is the end of the master; after it the links tell what becomes of them.
func (s *sessionPool) keep() {
	m := s.m
	for {
		s.mu.Lock()
		t, broken := s.talk, s.broken
		s.mu.Unlock()
		<-broken
		t.conn.Close()
		s.mu.Lock()
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		m.Note("%s: the session broke", m.Addr)
		err := s.dialSession(m.ResumeTimeout)
		if err == nil {
			continue
		}
		if errors.Is(err, secret.ErrUnknown) || errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%s: the pool is lost", m.Addr) // it was there, so this is no matter of time
		}
		s.mu.Lock()
		s.lost = err
		close(s.changed)
		s.changed = make(chan struct{})
		ended := s.ended
		s.mu.Unlock()
		if !ended {
			m.cancel(err)
		}
		return
	}
}

func (s *sessionPool) greet(t *talk) error {
	t.conn.SetDeadline(time.Now().Add(secret.HandshakeTime))
	err := t.say(message{Type: "hello", Host: s.m.Host})
	var welcome message
	if err == nil {
		welcome, err = t.hear()
	}
	if err == nil && (welcome.Type != "welcome" || welcome.Ticket == nil) {
		err = fmt.Errorf("the other side is no pool")
	}
	if err != nil {
		t.conn.Close()
		return fmt.Errorf("%s: %w", s.m.Addr, sock.Reason(err))
	}
	t.conn.SetDeadline(time.Time{})
	s.ticket = welcome.Ticket
	return nil
}

// listen hears what the pool says, until the connection ends.
func (s *sessionPool) listen(t *talk, answers chan<- message, broken chan<- struct{}) {
	defer close(broken)
	for {
		m, err := t.hear()
		if err != nil {
			return
		}
		switch m.Type {
		case "stop":
			s.m.cancel(errPool)
		case "closed":
			s.m.closed(m.ID, m.Why)
		default:
			select {
			case answers <- m:
			case <-s.m.ctx.Done():
			}
		}
	}
}

// ask says things that each have an answer, and calls answered with each, in their order. When the
// session breaks meanwhile, what has no answer yet is said again as soon as it has been taken up. A
// pool that does not answer, as one that was stopped, breaks it too: its kernel keeps the connection.
func (s *sessionPool) ask(ctx context.Context, questions []message, answered func(message) error) error {
	for len(questions) > 0 {
		s.mu.Lock()
		t, answers, broken, changed, lost := s.talk, s.answers, s.broken, s.changed, s.lost
		s.mu.Unlock()
		if lost != nil {
			return lost
		}
		go t.say(questions...) // answers come meanwhile; an error breaks the session
		for alive := true; alive && len(questions) > 0; {
			select {
			case a := <-answers:
				if err := answered(a); err != nil {
					return err
				}
				questions = questions[1:]
			case <-broken:
				alive = false
			case <-time.After(max(s.m.ResumeTimeout, secret.HandshakeTime)):
				s.m.Note("%s: no answer", s.m.Addr)
				t.conn.Close()
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if len(questions) > 0 {
			select {
			case <-changed:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

func (s *sessionPool) request(daemons []*daemon, answered func(*daemon, error)) error {
	var questions []message
	for _, d := range daemons {
		questions = append(questions, message{Type: "request", ID: d.seq, Daemon: d.file})
	}
	return s.ask(s.m.ctx, questions, func(a message) error {
		d := daemons[0]
		daemons = daemons[1:]
		switch {
		case a.ID != d.seq || a.Type != "refuse" && (a.Type != "grant" || a.Ticket == nil):
			return fmt.Errorf("%s: an answer that is none: %q", s.m.Addr, a.Type)
		case a.Type == "refuse":
			answered(d, fmt.Errorf("the pool refuses it: %s", a.Why))
			return nil
		}
		if err := buffer.CheckName(a.Name); err != nil || a.Port < 0 || a.Port > 65535 {
			return fmt.Errorf("%s: a grant that is none: name %q, port %d", s.m.Addr, shown(a.Name, buffer.MaxName), a.Port)
		}
		d.name, d.ticket, d.where, d.longest = a.Name, *a.Ticket, s.m.Addr, a.Max
		if a.Port != 0 {
			var err error
			if d.where, err = at(s.conn(), a.Port); err != nil {
				return err
			}
		}
		answered(d, nil)
		return nil
	})
}

func (s *sessionPool) dial(ctx context.Context, d *daemon) (net.Conn, error) {
	c, err := sock.Dial(ctx, d.where, s.m.Dial)
	if err != nil {
		return nil, err
	}
	t, err := secret.DialTicket(ctx, c, d.ticket, s.before)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.where, sock.Reason(err))
	}
	return t, nil
}

func (s *sessionPool) conn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.talk.conn
}

func (s *sessionPool) done(d *daemon) {
	o := d.outcome
	m := message{Type: "done", ID: d.seq, Outcome: &o}
	s.mu.Lock()
	if s.told = append(s.told, m); len(s.told) > maxRows { // with --watch there is no end to them
		s.told = s.told[1:]
	}
	t := s.talk
	s.mu.Unlock()
	t.say(m)
}

// stderr passes a line on; one that the pool does not hear is lost.
func (s *sessionPool) stderr(d *daemon, line []byte) {
	s.mu.Lock()
	t := s.talk
	s.mu.Unlock()
	t.say(message{Type: "stderr", ID: d.seq, Text: line})
}

func (s *sessionPool) end() error {
	if s.m.ctx.Err() != nil { // the pool is told, and not asked
		s.mu.Lock()
		t := s.talk
		s.mu.Unlock()
		t.say(message{Type: "end"})
		return nil
	}
	err := s.sayEnd(s.m.ctx)
	s.mu.Lock()
	s.ended = true // also when the answer was lost: who has it knows
	s.mu.Unlock()
	return err
}

func (s *sessionPool) sayEnd(ctx context.Context) error {
	return s.ask(ctx, []message{{Type: "end"}}, func(a message) error {
		if a.Type != "ended" {
			return fmt.Errorf("%s: an answer that is none: %q", s.m.Addr, a.Type)
		}
		return nil
	})
}

// finish waits until the pool has heard how the daemons ended: it answers in the order in which it
// hears.
func (s *sessionPool) finish() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.m.ctx), secret.HandshakeTime)
	defer cancel()
	s.sayEnd(ctx)
}

func (s *sessionPool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.talk != nil {
		s.talk.conn.Close()
	}
}

// plainPool is the pool on the reference's wire.
type plainPool struct{ m *master }

// say says one line. A pool may be one connection at a time, which it listens for anew each time.
func (p *plainPool) say(line func(local net.Addr) ([]byte, error)) (answer string, c net.Conn, err error) {
	m := p.m
	err = m.again(m.ctx, m.Retry, func(ctx context.Context) error {
		conn, err := sock.Dial(ctx, m.Addr, m.Dial)
		if err != nil {
			return err
		}
		defer conn.Close()
		c = conn
		text, err := line(conn.LocalAddr())
		if err != nil {
			return err
		}
		answer, err = askPlain(conn, text)
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s: %w", m.Addr, sock.Reason(err))
		}
		return nil
	})
	return answer, c, err
}

func (p *plainPool) request(daemons []*daemon, answered func(*daemon, error)) error {
	for _, d := range daemons {
		if err := plainName(d.file); err != nil {
			answered(d, err)
			continue
		}
		answer, c, err := p.say(func(local net.Addr) ([]byte, error) { return plainLine(p.m.Key, d.file, local) })
		if err != nil {
			return err
		}
		var port int
		if _, err := fmt.Sscanf(answer, "%d", &port); err != nil || port < 1 || port > 65535 {
			if answer == noRoom {
				answered(d, fmt.Errorf("the pool refuses it: it has no room"))
				continue
			}
			if answer+"\n" == secret.RefusedLine {
				return fmt.Errorf("%s: %w", p.m.Addr, secret.ErrRefused)
			}
			if answer == "" {
				return fmt.Errorf("%s: %w", p.m.Addr, ErrUnanswered)
			}
			return fmt.Errorf("%s: an answer that is no port: %q", p.m.Addr, answer)
		}
		d.name = d.file
		if d.where, err = at(c, port); err != nil {
			return err
		}
		answered(d, nil)
	}
	return nil
}

func (p *plainPool) dial(ctx context.Context, d *daemon) (net.Conn, error) {
	return sock.Dial(ctx, d.where, p.m.Dial)
}

func (p *plainPool) end() error {
	_, _, err := p.say(func(net.Addr) ([]byte, error) { return plainEnd(p.m.Key) })
	return err
}

func (p *plainPool) finish()                {}
func (p *plainPool) done(*daemon)           {}
func (p *plainPool) stderr(*daemon, []byte) {}
func (p *plainPool) close()                 {}

// gone tells whether the connection ended, in whichever way.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
