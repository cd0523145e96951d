package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// said is what was told, by one function or several.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *said) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// fit checks that people can be shown every line, and that none is long.
func (s *said) fit(t *testing.T) {
	t.Helper()
	for _, line := range s.all() {
		if strings.ContainsAny(line, "\n\r\t\x1b\a\x00") || len(line) > 1500 {
			t.Errorf("%d bytes: %.200q", len(line), line)
		}
	}
}

// startPool runs a pool until the test ends, or stop is called, which returns its error.
func startPool(t *testing.T, o PoolOptions) (addr string, stop func() error) {
	t.Helper()
	t.Setenv("SOCKBOX_DIR", filepath.Join(t.TempDir(), "run"))
	at := make(chan net.Addr, 1)
	o.Addr, o.Key = sock.Addr{Net: "tcp", Host: "127.0.0.1"}, key(t, "k")
	o.Capacity, o.MaxMessage, o.Grace = 64<<10, 64<<10, time.Second
	if o.MaxDaemons == 0 {
		o.MaxDaemons = 10
	}
	if o.ResumeTimeout == 0 {
		o.ResumeTimeout = 30 * time.Second
	}
	o.Ready = func(a net.Addr) error { at <- a; return nil }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Pool(ctx, o) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { stop() })
	return (<-at).String(), stop
}

// joinPool opens a session as a master does.
func joinPool(t *testing.T, addr string) *talk {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	proven, err := secret.Dial(t.Context(), c, key(t, "k"), secret.ForPool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proven.Close() })
	return newTalk(proven)
}

// ask says one thing and returns the answer.
func (k *talk) ask(t *testing.T, m message) message {
	t.Helper()
	k.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if err := k.say(m); err != nil {
		t.Fatal(err)
	}
	a, err := k.hear()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const odd = "we\tb\n[other] \x1b[31mred\a\x00"

// A master that has the key and sends nonsense: no line of the pool's is another's, nothing moves a
// cursor, and what is remembered of it is bounded.
func TestOddMaster(t *testing.T) {
	var notes, stderr said
	var report bytes.Buffer
	joblog := filepath.Join(t.TempDir(), "joblog")
	addr, stop := startPool(t, PoolOptions{
		Keep: true, Note: notes.note, Log: notes.note, Out: &report, Joblog: joblog,
		Stderr: func(name string, line []byte) { stderr.note("[%s] %s", name, line) },
	})
	m := joinPool(t, addr)
	m.ask(t, message{Type: "hello", Host: odd + strings.Repeat("h", 10<<10)})
	if a := m.ask(t, message{Type: "request", ID: 1, Daemon: odd}); a.Type != "grant" {
		t.Errorf("%q of an odd name", a.Type)
	}
	for _, name := range []string{"", strings.Repeat("x", 10<<10)} {
		if a := m.ask(t, message{Type: "request", ID: 2, Daemon: name}); a.Type != "refuse" {
			t.Errorf("%q of a name of %d bytes", a.Type, len(name))
		}
	}
	m.say(message{Type: "stderr", ID: 1, Text: []byte("one\n[other] forged")},
		message{Type: "done", ID: 1, Outcome: &outcome{Code: -1 << 40, Signal: odd, Failure: odd + strings.Repeat("f", 10<<10), Seconds: -1e300, Restarts: -5}})
	m.ask(t, message{Type: "end"})
	for range 200 { // until it has been told of
		if b, _ := os.ReadFile(joblog); bytes.Count(b, []byte("\n")) >= 2 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	notes.fit(t)
	if got := stderr.all(); len(got) != 2 || !strings.HasSuffix(got[1], "] [other] forged") || got[1][:5] != got[0][:5] {
		t.Errorf("stderr: %q", got)
	}
	b, _ := os.ReadFile(joblog)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != 2 || strings.Count(lines[1], "\t") != 8 || len(lines[1]) > 1000 || strings.ContainsAny(lines[1], "\x1b\a\x00") {
		t.Errorf("joblog: %.300q", lines)
	}
	if b := report.Bytes(); len(b) > 4000 || bytes.ContainsAny(b, "\x1b\a\x00\t") || bytes.Count(b, []byte("\n")) != 2 {
		t.Errorf("%d bytes of report: %.300q", len(b), b)
	}
}

// Of masters that go away without a word a pool that is kept remembers how many there were, and no more.
func TestLostMasters(t *testing.T) {
	var notes said
	addr, stop := startPool(t, PoolOptions{Keep: true, ResumeTimeout: 10 * time.Millisecond, Note: func(string, ...any) {}, Log: notes.note})
	for i := range 20 {
		m := joinPool(t, addr)
		m.ask(t, message{Type: "hello", Host: fmt.Sprintf("host%d", i)})
		m.conn.Close()
	}
	for range 200 {
		if len(notes.all()) == 20 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := stop(); err == nil || !strings.HasSuffix(err.Error(), " and 15 more: the master was lost") {
		t.Errorf("%v", err)
	}
}

// servePool is a pool that answers a master's messages with what is made of them, and nothing else.
func servePool(t *testing.T, answer func(message) []message, tickets ...secret.Ticket) sock.Addr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &secret.Server{
		Key: key(t, "k"), Purpose: secret.ForPool, Allow: func(net.Addr) bool { return true }, Note: func(net.Addr, error) {},
		Tickets: func(id secret.TicketID) (secret.Ticket, bool) {
			i := slices.IndexFunc(tickets, func(k secret.Ticket) bool { return k.ID == id })
			return append(tickets, secret.Ticket{})[max(i, 0)], i >= 0
		},
		Handle: func(ctx context.Context, p secret.Peer) {
			defer p.Conn.Close()
			p.Conn.SetDeadline(time.Time{})
			stop := context.AfterFunc(ctx, func() { p.Conn.Close() })
			defer stop()
			k := newTalk(p.Conn)
			for p.Ticket == nil { // who shows a ticket is not heard
				m, err := k.hear()
				if err != nil || k.say(answer(m)...) != nil {
					return
				}
			}
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done })
	a, err := sock.ParseAddr(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// runMaster runs a master of one daemon.
func runMaster(t *testing.T, o MasterOptions) error {
	t.Helper()
	o.Dir, o.Key, o.Host = t.TempDir(), key(t, "k"), "here"
	if err := os.WriteFile(filepath.Join(o.Dir, "d"), []byte("#!/bin/sh\necho x\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.Capacity, o.MaxMessage, o.Grace, o.Linger, o.Retry = 64<<10, 64<<10, time.Second, time.Second, time.Second
	if o.ResumeTimeout == 0 {
		o.ResumeTimeout = time.Second
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), 20*time.Second, errors.New("it takes too long"))
	defer cancel()
	o.Line = func(string, []byte) error { return nil }
	return Master(life.CatchSignals(ctx, false), o)
}

// A pool that has the key and sends nonsense starts nothing, and shows nothing odd.
func TestOddPool(t *testing.T) {
	ticket := secret.NewTicket()
	for name, grant := range map[string]message{
		"name": {Type: "grant", Name: "a\nb\x1b[31m", Port: 1},
		"nul":  {Type: "grant", Name: "a\x00b", Port: 1},
		"long": {Type: "grant", Name: strings.Repeat("y", 10<<10), Port: 1},
		"path": {Type: "grant", Name: "../b", Port: 1},
		"port": {Type: "grant", Name: "b", Port: 70000},
		"less": {Type: "grant", Name: "b", Port: -1},
		"why":  {Type: "refuse", Why: odd + strings.Repeat("w", 10<<10)},
		"none": {Type: odd},
	} {
		t.Run(name, func(t *testing.T) {
			at := servePool(t, func(m message) []message {
				switch m.Type {
				case "hello":
					return []message{{Type: "welcome", Ticket: &ticket}}
				case "request":
					a := grant
					a.ID, a.Ticket = m.ID, &ticket
					return []message{a}
				case "end":
					return []message{{Type: "ended"}}
				}
				return nil
			})
			var notes said
			var report bytes.Buffer
			err := runMaster(t, MasterOptions{Addr: at, Note: notes.note, Log: notes.note, Out: &report, JSON: true})
			if err == nil || strings.Contains(err.Error(), "too long") {
				t.Errorf("ended with %v", err)
			} else {
				notes.note("%v", err)
			}
			notes.fit(t)
			var w row
			if json.Unmarshal(bytes.SplitN(report.Bytes(), []byte("\n"), 2)[0], &w); w.Name != "" && (w.Messages > 0 || w.Name != "d" || len(w.Status) > 600) {
				t.Errorf("%+v", w)
			}
		})
	}
}

// A pool that does not answer, and one that hangs up on every link, is given up in time.
func TestDeafPool(t *testing.T) {
	for name, deafTo := range map[string]string{"request": "request", "end": "end", "link": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ticket, link := secret.NewTicket(), secret.NewTicket()
			at := servePool(t, func(m message) []message {
				switch {
				case m.Type == deafTo:
				case m.Type == "hello":
					return []message{{Type: "welcome", Ticket: &ticket}}
				case m.Type == "request":
					return []message{{Type: "grant", ID: m.ID, Name: "d", Ticket: &link}}
				case m.Type == "end":
					return []message{{Type: "ended"}}
				}
				return nil
			}, link)
			var notes said
			err := runMaster(t, MasterOptions{Addr: at, Note: notes.note, Log: notes.note})
			if err == nil || strings.Contains(err.Error(), "too long") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
