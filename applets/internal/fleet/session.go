package fleet

import (
	"context"
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
)

// sessionPool is the pool as a master sees it over the channel.
type sessionPool struct {
	m *master

	mu      sync.Mutex
	talk    *talk
	ticket  *secret.Ticket // of the session, once there is one
	answers chan message   // of the connection that there is
	broken  chan struct{}  // closed when that is gone
	why     error
	closed  bool
}

// connect opens the session, or takes it up again.
func (s *sessionPool) connect(retry time.Duration) error {
	m := s.m
	var t *talk
	err := m.again(m.ctx, retry, func(ctx context.Context) error {
		c, err := sock.Dial(ctx, m.Addr, m.Dial)
		if err != nil {
			return err
		}
		var proven net.Conn
		if s.ticket != nil {
			proven, err = secret.DialTicket(ctx, c, *s.ticket)
		} else {
			proven, err = secret.Dial(ctx, c, m.Key, secret.ForPool)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.Addr, sock.Reason(err))
		}
		t = newTalk(proven)
		return s.greet(t)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.talk, s.answers, s.broken = t, make(chan message, 1), make(chan struct{})
	s.mu.Unlock()
	go s.listen(t, s.answers, s.broken)
	return nil
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
	for {
		m, err := t.hear()
		if err != nil {
			s.mu.Lock()
			s.why = err
			s.mu.Unlock()
			close(broken)
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

// ask says things that each have an answer, and calls answered with each, in their order. A session that
// breaks meanwhile is taken up again, and what has no answer yet is said again.
func (s *sessionPool) ask(questions []message, answered func(message) error) error {
	m := s.m
	for {
		s.mu.Lock()
		t, answers, broken := s.talk, s.answers, s.broken
		s.mu.Unlock()
		go t.say(questions...) // answers come meanwhile; an error breaks the session
		for len(questions) > 0 {
			select {
			case a := <-answers:
				if err := answered(a); err != nil {
					return err
				}
				questions = questions[1:]
				continue
			case <-m.ctx.Done():
				return context.Cause(m.ctx)
			case <-broken:
			}
			break
		}
		if len(questions) == 0 {
			return nil
		}
		t.conn.Close()
		s.mu.Lock()
		why := s.why
		s.mu.Unlock()
		m.Note("%s: the session broke: %v", m.Addr, sock.Reason(why))
		if err := s.connect(m.ResumeTimeout); err != nil {
			if errors.Is(err, secret.ErrRefused) {
				err = fmt.Errorf("%s: the pool does not know of us any more", m.Addr)
			}
			return err
		}
	}
}

func (s *sessionPool) request(daemons []*daemon, answered func(*daemon, error)) error {
	var questions []message
	for _, d := range daemons {
		questions = append(questions, message{Type: "request", ID: d.seq, Daemon: d.file})
	}
	return s.ask(questions, func(a message) error {
		d := daemons[0]
		daemons = daemons[1:]
		switch {
		case a.ID != d.seq || a.Type != "refuse" && (a.Type != "grant" || a.Ticket == nil):
			return fmt.Errorf("%s: an answer that is none: %q", s.m.Addr, a.Type)
		case a.Type == "refuse":
			answered(d, fmt.Errorf("the pool refuses it: %s", a.Why))
			return nil
		}
		d.name, d.ticket, d.where = a.Name, *a.Ticket, s.m.Addr
		if a.Port != 0 {
			var err error
			if d.where, err = at(s.talk.conn, a.Port); err != nil {
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
	t, err := secret.DialTicket(ctx, c, d.ticket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.where, sock.Reason(err))
	}
	return t, nil
}

// tell says what has no answer; what the pool does not hear of it does not know.
func (s *sessionPool) tell(m message) {
	s.mu.Lock()
	t := s.talk
	s.mu.Unlock()
	t.say(m)
}

func (s *sessionPool) done(d *daemon) {
	o := d.outcome
	s.tell(message{Type: "done", ID: d.seq, Outcome: &o})
}

func (s *sessionPool) stderr(d *daemon, line []byte) {
	s.tell(message{Type: "stderr", ID: d.seq, Text: line})
}

func (s *sessionPool) end() error {
	if s.m.ctx.Err() != nil { // the pool is told, and not asked
		s.tell(message{Type: "end"})
		return nil
	}
	return s.ask([]message{{Type: "end"}}, func(a message) error {
		if a.Type != "ended" {
			return fmt.Errorf("%s: an answer that is none: %q", s.m.Addr, a.Type)
		}
		return nil
	})
}

func (s *sessionPool) close() {
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
		answer, c, err := p.say(func(local net.Addr) ([]byte, error) { return plainLine(p.m.Key, d.file, local) })
		if err != nil {
			return err
		}
		var port int
		if _, err := fmt.Sscanf(answer, "%d", &port); err != nil || port < 1 || port > 65535 {
			if answer+"\n" == secret.RefusedLine {
				return fmt.Errorf("%s: %w", p.m.Addr, secret.ErrRefused)
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

func (p *plainPool) done(*daemon)           {}
func (p *plainPool) stderr(*daemon, []byte) {}
func (p *plainPool) close()                 {}

// gone tells whether the connection ended, in whichever way.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
