package secret

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

func TestTicketText(t *testing.T) {
	a := NewTicket()
	b, err := json.Marshal(map[string]Ticket{"ticket": a})
	if err != nil {
		t.Fatal(err)
	}
	var back struct{ Ticket Ticket }
	if err := json.Unmarshal(b, &back); err != nil || back.Ticket != a {
		t.Errorf("%s came back as something else, %v", b, err)
	}
	if a == NewTicket() {
		t.Error("two tickets are the same")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if s := fmt.Sprintf(verb, a); s != "[ticket]" {
			t.Errorf("%s shows %s", verb, s)
		}
	}
	for _, bad := range []string{"", "!", "AAAA", strings.Repeat("A", 65)} {
		if err := new(Ticket).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a ticket", bad)
		}
	}
}

func TestServerTakesTickets(t *testing.T) {
	good, wrong := NewTicket(), NewTicket()
	wrong.ID = good.ID
	addr, notes := serve(t, func(s *Server) {
		s.Tickets = func(id TicketID) (Ticket, bool) { return good, id == good.ID }
		s.Handle = func(_ context.Context, p Peer) {
			defer p.Conn.Close()
			if p.Ticket == nil {
				io.WriteString(p.Conn, "key")
			} else if *p.Ticket == good.ID {
				io.WriteString(p.Conn, "ticket")
			}
		}
	})
	dial := func(prove func(net.Conn) (*tls.Conn, error)) (string, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		s, err := prove(c)
		if err != nil {
			return "", err
		}
		defer s.Close()
		b, err := io.ReadAll(s)
		return string(b), err
	}
	with := func(ticket Ticket) func(net.Conn) (*tls.Conn, error) {
		return func(c net.Conn) (*tls.Conn, error) { return DialTicket(t.Context(), c, ticket, nil) }
	}
	if got, err := dial(with(good)); got != "ticket" || err != nil {
		t.Errorf("the ticket: %q, %v", got, err)
	}
	if got, err := dial(func(c net.Conn) (*tls.Conn, error) {
		return Dial(t.Context(), c, Key{[]byte("somekey")}, ForTrigger)
	}); got != "key" || err != nil {
		t.Errorf("the key: %q, %v", got, err)
	}
	for what, ticket := range map[string]Ticket{"another secret": wrong, "an unknown one": NewTicket()} {
		if got, err := dial(with(ticket)); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %q, %v, want %v", what, got, err, ErrUnknown)
		}
	}
	if n := notes(); !strings.Contains(n, ErrUnknown.Error()) {
		t.Errorf("noted: %s", n)
	}
}

// A session that is resumed proves nothing: the ticket has to be shown in each, and is bound to it.
func TestTicketResumed(t *testing.T) {
	good, wrong := NewTicket(), NewTicket()
	wrong.ID = good.ID
	addr, _ := serve(t, func(s *Server) {
		s.Tickets = func(id TicketID) (Ticket, bool) { return good, id == good.ID }
		s.Handle = func(_ context.Context, p Peer) {
			io.WriteString(p.Conn, "in")
			p.Conn.Close()
		}
	})
	before := tls.NewLRUClientSessionCache(1)
	dial := func(prove func(net.Conn) (*tls.Conn, error)) (resumed bool, bound string, err error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		s, err := prove(c)
		if err != nil {
			return false, "", err
		}
		defer s.Close()
		if b, err := io.ReadAll(s); string(b) != "in" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		b, err := exporter(s)
		return s.ConnectionState().DidResume, string(b), err
	}
	with := func(ticket Ticket) func(net.Conn) (*tls.Conn, error) {
		return func(c net.Conn) (*tls.Conn, error) { return DialTicket(t.Context(), c, ticket, before) }
	}
	seen := map[string]bool{}
	for i := range 3 {
		resumed, bound, err := dial(with(good))
		if err != nil || resumed != (i > 0) {
			t.Fatalf("channel %d: resumed %v, %v", i, resumed, err)
		}
		seen[bound] = true
	}
	if len(seen) != 3 {
		t.Errorf("of 3 sessions %d can be told from the others", len(seen))
	}
	if _, _, err := dial(with(wrong)); !errors.Is(err, ErrUnknown) {
		t.Errorf("another secret in a resumed session: %v, want %v", err, ErrUnknown)
	}
	if resumed, _, err := dial(func(c net.Conn) (*tls.Conn, error) {
		return Dial(t.Context(), c, Key{[]byte("somekey")}, ForTrigger)
	}); resumed || err != nil {
		t.Errorf("who shows the key: resumed %v, %v", resumed, err)
	}
}

// Without a key there is nothing but tickets: the empty key is none.
func TestServerWithoutKey(t *testing.T) {
	addr, _ := serve(t, func(s *Server) { s.Key, s.Line = Key{}, nil })
	if got := say(t, addr, "\n"); got != "" {
		t.Errorf("an answer to a line: %q", got)
	}
	for _, key := range []Key{{}, {[]byte("somekey")}} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Dial(t.Context(), c, key, ForTrigger); err == nil {
			t.Error("a key was proven to a server without one")
		}
	}
}

// What one side shows is not what the other one has to show, nor what it has to show in another
// session: neither sending it back nor passing it on proves anything.
func TestTicketReflected(t *testing.T) {
	ticket := NewTicket()
	dialler, listener := identities(forTicket)
	seen := map[string]bool{}
	for _, identity := range []string{dialler, listener} {
		for _, bound := range []string{"one session", "another"} {
			seen[string(ticket.mac(identity, []byte(bound)))] = true
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d different ones of 4", len(seen))
	}
}

func TestKeyCutPrefix(t *testing.T) {
	k := Key{[]byte("k12")}
	for text, want := range map[string]string{"k12:x": ":x", "k12": "", "k1": "-", "k13:x": "-", "": "-", "xk12": "-"} {
		rest, ok := k.CutPrefix([]byte(text))
		if ok != (want != "-") || ok && string(rest) != want {
			t.Errorf("%q: %q, %v", text, rest, ok)
		}
	}
}

// A connection that only ends, as a path may have it, says nothing about the ticket.
func TestTicketCutOff(t *testing.T) {
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s := tls.Server(c, id.config)
		io.ReadFull(s, make([]byte, 1+len(TicketID{})+sha256.Size))
		c.Close() // without a word of TLS's
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DialTicket(t.Context(), c, NewTicket(), nil); !errors.Is(err, ErrUnproven) || errors.Is(err, ErrUnknown) {
		t.Errorf("%v, want %v", err, ErrUnproven)
	}
}
