// Package icmp is the engine of ping: it asks many hosts, over one socket for each family of
// addresses, and tells what came back, and when.
//
// One loop sends, receives and keeps the time; there is no goroutine for a host. Requests are sent
// one by one, each with its own time, since on a loopback or a fast link the answer to the first of
// a batch would wait for the last to be sent. Answers are taken in batches and have the time at
// which the kernel got them, so that a slow reader of the results does not make a host look slow.
//
// A request is known by its 16-bit sequence number on the wire, which all hosts share, and by eight
// random bytes in front of its data. What does not fit both, or comes from another address, is a
// stray: counted, and otherwise without effect.
package icmp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Limits.
const (
	MaxSize  = 65507  // data of a request: what an IPv4 packet has room for
	MaxHosts = 131072 // targets of one call: 120 bytes each, and more once they answer

	headerSize = 8 // of an ICMP echo message

	minInterval = 2 * time.Millisecond  // for who is not root, as with iputils' ping
	floodWait   = 10 * time.Millisecond // how long a flood waits for an answer before it asks again
	downAfter   = 3                     // requests in a row without an answer: one may get lost
)

// A Goal is when there is nothing left to ask.
type Goal uint8

const (
	Counted Goal = iota // each host was asked Count times, or on and on with 0
	Alive               // each host has answered, or was asked Count times
	Up                  // each host has answered
	Down                // one host has not answered three times in a row
)

// Options say whom to ask, and how.
type Options struct {
	Targets  []Target
	Goal     Goal
	Count    int
	Interval time.Duration // from one request to a host to its next; 0 = as fast as it answers
	Timeout  time.Duration // when an answer is late
	Deadline time.Time     // the end of it all; with Count and one set, the answers are counted
	Rate     int           // requests a second to all hosts; 0 = no limit
	Size     int           // bytes of data
	TTL      int           // 0 = the system's
	Source   netip.Addr    // ask from here
	Device   string        // ask through this interface
	TCP      int           // connect to this port in place of sending ICMP
	Root     bool          // the user may flood

	Event func(*Event)                     // what happened; the event is used again afterwards
	Flush func() error                     // called before the loop waits
	Note  func(format string, args ...any) // what only the curious want to know
}

// Check finds what the options may not be.
func (o *Options) Check() error {
	switch {
	case len(o.Targets) == 0:
		return errors.New("no host to ask")
	case o.Size < 0 || o.Size > MaxSize:
		return fmt.Errorf("%d bytes of data: at most %d are possible", o.Size, MaxSize)
	case o.TTL < 0 || o.TTL > 255:
		return fmt.Errorf("TTL %d: 1 to 255 are possible", o.TTL)
	case o.TCP < 0 || o.TCP > 65535:
		return fmt.Errorf("port %d: 1 to 65535 are possible", o.TCP)
	case o.Interval < minInterval && !o.Root:
		return fmt.Errorf("an interval below %v is for root", minInterval)
	case o.Timeout <= 0:
		return errors.New("an answer needs some time")
	}
	return nil
}

// A Kind is what an event is about.
type Kind uint8

const (
	Replied Kind = iota // an answer
	Lost                // no answer in time
	Failed              // the network, or our own side of it, said that there will be none
)

// An Event is what became of one request.
type Event struct {
	Kind  Kind
	Host  *Host
	Seq   int // from 1, for each host
	At    time.Time
	Bytes int           // of the answer's ICMP message
	TTL   int           // of the answer; 0 = unknown
	RTT   time.Duration // of an answer
	From  netip.Addr    // who answered, or who said that it failed; not valid: this machine
	Why   string        // of Failed

	Duplicate bool // there was an answer already
	Late      bool // it had been given up
	Reordered bool // a later request was answered before
	Truncated bool // fewer bytes than were sent
	Corrupted bool // other bytes than were sent
}

// ErrNotPermitted says that neither kind of ICMP socket can be had.
var ErrNotPermitted = errors.New("ICMP is not permitted to this user")

// A Host is a target and what is known about it.
type Host struct {
	Target
	Sent, Received, Duplicates, Errors  int
	Late, Reordered, Truncated, Corrupt int
	Stats

	peer    any // its address as the carrier wants it
	waiting int // requests whose answer is not known yet
	misses  int // in a row
	last    int // the highest number that was answered
}

// Loss is the share of requests without an answer, in percent.
func (h *Host) Loss() float64 {
	if h.Sent == 0 {
		return 0
	}
	return float64(max(h.Sent-h.Received, 0)) * 100 / float64(h.Sent)
}

// IsDown tells whether the host has stopped answering, or never began.
func (h *Host) IsDown() bool { return h.misses >= downAfter }
