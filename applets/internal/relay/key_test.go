package relay

import (
	"net"
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
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
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
