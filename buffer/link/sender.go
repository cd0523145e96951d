package link

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	bundleBytes    = 128 << 10 // what is taken out of the queue, and sent, at once
	bundleMessages = 4096
	maxBundles     = 1024 // so that many small ones do not take more than their messages
)

var errAck = errors.New("the peer acknowledges what was not sent")

// A ByeError is the reason that the peer gave for closing the connection.
type ByeError struct{ Reason string }

func (e *ByeError) Error() string {
	if e.Reason == "" {
		return "the peer has closed the link"
	}
	return fmt.Sprintf("the peer has closed the link: %q", e.Reason)
}

// A sender is the side of a link that has messages to send: what it has heard and said. It does
// nothing by itself; the messages are with whoever drives it. A bundle is a run of messages.
type sender struct {
	id     ID
	name   string
	window []bundle // kept until they are acknowledged, oldest first
	first  uint64   // the number of the first message that is kept, or will be
	kept   int      // messages in the window
	size   int      // bytes in the window

	// What follows is of the connection as it is now.
	pulse
	sent   int    // bundles of the window that are on their way
	flying int    // their bytes
	next   uint64 // the number of the first message behind them
	credit int
}

type bundle struct{ n, size int }

// connect begins a connection and returns what to say first.
func (s *sender) connect(now time.Time) []byte {
	s.begin(now)
	s.sent, s.flying, s.next = 0, 0, s.first
	return appendHello([]byte(Magic), s.id, s.first, s.name)
}

// frame takes in what the peer said. It returns how many messages, from the first that is kept,
// that has acknowledged: they are kept no longer.
func (s *sender) frame(f frame) (acked int, err error) {
	switch {
	case f.kind == kindBye:
		return 0, &ByeError{string(f.text)}
	case f.kind == kindWelcome && !s.greeted:
		if f.seq < s.first-1 || f.seq-(s.first-1) > uint64(s.kept) {
			return 0, errAck
		}
		s.greeted, s.credit = true, int(min(f.credit, math.MaxInt32))
		acked = s.drop(int(f.seq - (s.first - 1)))
		s.next = s.first
		return acked, nil
	case !s.greeted:
		return 0, errGreet
	case f.kind == kindAck:
		s.credit = int(min(f.credit, math.MaxInt32))
		if f.seq >= s.next {
			return 0, errAck
		}
		if f.seq < s.first {
			return 0, nil
		}
		return s.drop(int(f.seq - (s.first - 1))), nil
	case f.kind == kindPing:
		s.pong = true
		return 0, nil
	case f.kind == kindPong:
		return 0, nil
	}
	return 0, errFrame
}

// drop forgets n messages, of which none is in a bundle that was not yet sent if any was.
func (s *sender) drop(n int) int {
	s.first += uint64(n)
	s.kept -= n
	k := 0
	for rest := n; rest > 0; k++ {
		b := &s.window[k]
		if b.n > rest {
			b.n -= rest // its bytes count until all of it has gone
			break
		}
		rest -= b.n
		s.size -= b.size
		if k < s.sent {
			s.flying -= b.size
		}
	}
	s.window = slices.Delete(s.window, 0, k)
	s.sent = max(s.sent-k, 0)
	return n
}

// room returns how many bytes of messages may be taken in. With what was there on its way, one
// message more may be taken if there is any room.
func (s *sender) room() int {
	switch {
	case !s.greeted, s.sent < len(s.window), len(s.window) >= maxBundles:
		return 0
	case len(s.window) == 0:
		return max(s.credit, 1)
	}
	return max(s.credit-s.size, 0)
}

// take takes a bundle in.
func (s *sender) take(n, size int) {
	s.window = append(s.window, bundle{n, size})
	s.kept += n
	s.size += size
}

// ready returns the bundle of the window that is to be sent now, and the number of its first message.
func (s *sender) ready() (i int, seq uint64, ok bool) {
	if !s.greeted || s.sent == len(s.window) || s.flying > 0 && s.flying+s.window[s.sent].size > s.credit {
		return 0, 0, false
	}
	return s.sent, s.next, true
}

// send notes that the ready bundle is on its way.
func (s *sender) send() {
	b := s.window[s.sent]
	s.sent++
	s.flying += b.size
	s.next += uint64(b.n)
}
