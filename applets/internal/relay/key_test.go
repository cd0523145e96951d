package relay

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sockbox/applets/internal/secret"
)

func key(t *testing.T, text string) secret.Key {
	t.Helper()
	k, err := secret.ReadKey("text:"+text, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// other is a relay behind another key, and what it says.
func other(t *testing.T) (at string, log *lines) {
	log = &lines{}
	r, stop := started(t, Options{Listen: endpoints(t, "key://127.0.0.1:0")[0], Key: key(t, "other"), Echo: true, Log: log.logf})
	t.Cleanup(stop)
	return "key://" + r.Addr().String(), log
}

// waitFor waits until f holds.
func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// A refused key is not tried again for the same client, however long a destination is waited for, and
// however much the client says.
func TestRefusedKeyIsNotTriedAgain(t *testing.T) {
	refused := func(log *lines) int { return strings.Count(log.String(), "refused") }
	t.Run("stream", func(t *testing.T) {
		at, log := other(t)
		r, stop := started(t, Options{Dests: endpoints(t, at), Key: key(t, "ours"), WaitBackend: time.Minute})
		defer stop()
		if err := told(r.Addr()); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the client is told %v", err)
		}
		waitFor(t, "it was not tried", func() bool { return refused(log) > 0 })
		if n := refused(log); n != 1 {
			t.Errorf("the key was tried %d times", n)
		}
	})
	t.Run("datagrams", func(t *testing.T) {
		at, log := other(t)
		r, stop := started(t, Options{
			Listen: endpoints(t, "udp://127.0.0.1:0")[0], Dests: endpoints(t, at), Key: key(t, "ours"),
			UDPTimeout: time.Minute, MaxSessions: 10, MaxDatagram: 65507,
		})
		defer stop()
		c, err := net.Dial("udp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for n := int64(1); n <= 4; n++ {
			c.Write([]byte("x"))
			waitFor(t, "it is not dropped", func() bool { return r.Counts().Dropped == n })
		}
		waitFor(t, "it was not tried", func() bool { return refused(log) > 0 })
		if n := refused(log); n != 1 {
			t.Errorf("the key was tried %d times", n)
		}
		// Who asks for everything to be looked at again has it tried again.
		r.Revive()
		c.Write([]byte("x"))
		waitFor(t, "it is not tried again", func() bool { return refused(log) == 2 })
	})
}

// A destination that takes connections, and fails what has to be said there first, stays dead. One that has
// refused the key is not even probed.
func TestProbe(t *testing.T) {
	alive := service(t)
	t.Run("TLS", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		var log lines
		r, stop := started(t, Options{Dests: endpoints(t, "tls://"+ln.Addr().String(), alive), TLSDest: func(string) (*tls.Config, error) { return &tls.Config{InsecureSkipVerify: true}, nil }, Log: log.logf})
		defer stop()
		if got := asks(t, r.Addr(), "hello"); got != "hello" {
			t.Errorf("%q came back", got)
		}
		_ = got(t, ln) // the client's try, which ends with its time
		for range 2 {
			// Who only connects says nothing.
			if first := got(t, ln); first != "\x16" {
				t.Errorf("a probe says %q first", first)
			}
		}
		if s := log.String(); !r.dests.all[0].dead() || strings.Contains(s, "again") {
			t.Errorf("a destination that fails is held for alive: %s", s)
		}
	})
	t.Run("key", func(t *testing.T) {
		at, _ := other(t)
		r, stop := started(t, Options{Dests: endpoints(t, at, alive), Key: key(t, "ours")})
		defer stop()
		asks(t, r.Addr(), "hello")
		d := r.dests.all[0]
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.down.Load() || d.probing {
			t.Errorf("dead is %t, probed is %t", d.down.Load(), d.probing)
		}
	})
}

// got takes the next connection, and returns the first byte of what is said there, or nothing.
func got(t *testing.T, ln net.Listener) string {
	t.Helper()
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 1)
	n, _ := io.ReadFull(c, b)
	return string(b[:n])
}
