package relay

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"sockbox/applets/internal/sock"
)

// An Endpoint is one side of a relay: an address, and what is spoken there.
type Endpoint struct {
	sock.Addr
	Datagram  bool // udp and unixgram
	Stdout    bool // "-", as a destination: what comes is written there, and there are no answers
	Broadcast bool // every network that this machine is on, or the one of the source; Host is empty
	TLS       bool
	Key       bool // another relay, by a channel that proves the key
}

// ParseEndpoint reads every form that sock.ParseAddr does, and
//
//   - broadcast:PORT  udp://broadcast:PORT  tls://HOST:PORT  key://HOST:PORT
func ParseEndpoint(s string) (e Endpoint, err error) {
	if s == "-" {
		return Endpoint{Stdout: true}, nil
	}
	rest := s
	for _, scheme := range []struct {
		prefix, is string
		set        *bool
	}{
		{"tls://", "tcp://", &e.TLS},
		{"key://", "tcp://", &e.Key},
		{"udp://broadcast:", "udp://:", &e.Broadcast},
		{"broadcast:", "udp://:", &e.Broadcast},
	} {
		if after, ok := strings.CutPrefix(s, scheme.prefix); ok {
			rest, *scheme.set = scheme.is+after, true
			break
		}
	}
	if e.Addr, err = sock.ParseAddr(rest); err != nil {
		return e, err
	}
	switch e.Net {
	case "udp", "unixgram":
		e.Datagram = true
	case "fifo":
		return e, fmt.Errorf("%s: a FIFO has one direction only", e)
	}
	if strings.HasPrefix(e.Net, "unix") {
		// A background relay works in another directory.
		if e.Path[0] != '@' && !filepath.IsAbs(e.Path) {
			e.Path, err = filepath.Abs(e.Path)
		}
	}
	if e.Broadcast && e.Port == 0 {
		err = errors.New("broadcast: a port other than 0 is needed")
	}
	return e, err
}

// String is the shortest form that ParseEndpoint reads as the same.
func (e Endpoint) String() string {
	switch s := e.Addr.String(); {
	case e.Stdout:
		return "-"
	case e.Broadcast:
		return fmt.Sprintf("broadcast:%d", e.Port)
	case e.TLS:
		return "tls://" + strings.TrimPrefix(s, "tcp://")
	case e.Key:
		return "key://" + strings.TrimPrefix(s, "tcp://")
	default:
		return s
	}
}
