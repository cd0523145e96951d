package link

import (
	"errors"
	"time"
)

const (
	pingAfter = 5 * time.Second  // of silence
	deadAfter = 15 * time.Second // of silence
	greetTime = 10 * time.Second // for the hello, and for the welcome
)

var (
	errSilent = errors.New("the peer has not been heard of for 15s")
	errGreet  = errors.New("the peer does not speak as a link does")
)

// A pulse tells a silent peer from a dead one. It is told the time and looks at no clock.
type pulse struct {
	greeted    bool
	heard      time.Time // anything, or since when somebody listens
	pinged     time.Time
	deaf       bool // nobody listens at the moment
	ping, pong bool // to be sent
}

// begin starts with a new connection.
func (p *pulse) begin(now time.Time) { *p = pulse{heard: now, pinged: now} }

// hear notes a sign of life.
func (p *pulse) hear(now time.Time) { p.heard = now }

// listen says whether what the peer says is being read.
func (p *pulse) listen(now time.Time, on bool) {
	if on && p.deaf {
		p.heard = now
	}
	p.deaf = !on
}

// tick says what the time asks for, and when to ask again.
func (p *pulse) tick(now time.Time) (again time.Duration, err error) {
	silent := now.Sub(p.heard)
	if !p.greeted {
		if silent >= greetTime && !p.deaf {
			return 0, errGreet
		}
		return greetTime - min(silent, greetTime-pingAfter), nil
	}
	if silent >= deadAfter && !p.deaf {
		return 0, errSilent
	}
	since := now.Sub(p.heard)
	if p.pinged.After(p.heard) {
		since = now.Sub(p.pinged)
	}
	if since >= pingAfter {
		p.ping, p.pinged = true, now
		since = 0
	}
	return pingAfter - max(since, 0), nil
}

// append appends the pings and pongs that are due.
func (p *pulse) append(dst []byte) []byte {
	if p.ping {
		dst = append(dst, kindPing)
	}
	if p.pong {
		dst = append(dst, kindPong)
	}
	p.ping, p.pong = false, false
	return dst
}
