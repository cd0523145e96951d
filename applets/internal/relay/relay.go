// Package relay is the engine of relay: it takes clients at one place and carries what they say to
// another, streams and datagrams, and what is answered back.
//
// A stream's two directions end each for itself: the end of one side is passed on as an end, a reset as
// a reset. When the relay is asked to end it takes nothing new, passes on what it has received, and
// closes; it does not wait for peers to end.
package relay

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// Options say what is relayed, and how. Those that are zero are off, unless they say otherwise.
type Options struct {
	Listen  Endpoint   // where clients come
	Dests   []Endpoint // where they are carried to; none with Echo
	Echo    bool       // what comes goes back
	ReplyTo *Endpoint  // where answers go in place of the client

	ListenOptions sock.ListenOptions
	Dial          sock.DialOptions // of the side of the destination: source, interface, the time for a connection
	WaitBackend   time.Duration    // how long a client waits for a destination while there is none
	Balance       Balance
	Allow, Deny   sock.AccessList

	MaxConns    int           // streams, and sessions of datagrams, at once; at least 1
	IdleTimeout time.Duration // ends a stream on which nothing moves
	HalfClosed  time.Duration // the same, once one side has ended

	UDPTimeout  time.Duration // ends a session of datagrams in which nothing moves; never 0
	MaxSessions int           // such sessions at once; at least 1
	MaxDatagram int           // the longest that is made of a stream; at least 1
	Frame       Frame         // how datagrams stand in a stream

	ProxyIn  sock.AccessList // who says with the PROXY protocol whom it speaks for; nil: nobody
	ProxyOut int             // tell the destination who the client is: version 1 or 2

	TLSListen *tls.Config                            // for clients, where Listen.TLS says that they speak it
	TLSDest   func(host string) (*tls.Config, error) // for the destinations that do
	Key       secret.Key                             // for the endpoints that are another relay, see Endpoint.Key

	Dump Dump
	Rate int64 // bytes a second in each direction, all clients together

	// What passes is handed to Tee too: lines of streams, one or more at a time with a newline between
	// them, and datagrams. from is the sender. It does not block.
	Tee func(lines []byte, from string)

	Out     io.Writer // for Dump, and for the destination "-"
	Verbose bool      // Note is heard

	Log  func(format string, args ...any) // for everybody
	Note func(format string, args ...any) // for the curious
}

// Dump is how what passes is shown.
type Dump int

const (
	DumpNothing Dump = iota
	DumpText
	DumpHex
)

// Balance is how one of several destinations is chosen.
type Balance int

const (
	First      Balance = iota // the first that is alive
	RoundRobin                // one after the other
	Least                     // that with the fewest clients
)

// A Relay is one relay at work.
type Relay struct {
	Options
	ln      net.Listener   // for streams
	packets net.PacketConn // for datagrams
	dests   destinations
	talks   talks
	pace    [2]pace
	ferry   ferry                   // of datagrams
	losses  losses                  // of datagrams
	away    losses                  // of clients
	out     chan struct{}           // whoever writes to Out has put one in
	fail    context.CancelCauseFunc // ends all; set by Run
	closing sync.Once

	short    atomic.Bool  // there were no descriptors to accept with
	peers    atomic.Int64 // clients there are
	connects atomic.Int64 // clients there were
	refused  atomic.Int64 // clients that were not allowed
	in, back atomic.Int64 // bytes from clients, and to them, that no talk has counted
	cut      atomic.Int64 // streams that were cut off in the end
	left     atomic.Int64 // datagrams whose way on was not waited for in the end
	taken    atomic.Int64 // bytes that peers of crossings have taken in the end, of what our kernel held for them
	dropped  atomic.Int64 // datagrams that found no room, or nobody who takes them
}

// New returns a relay that is not open yet.
func New(o Options) (*Relay, error) {
	if o.Note == nil {
		o.Note = func(string, ...any) {}
	}
	if o.Log == nil {
		o.Log = o.Note
	}
	r := &Relay{out: make(chan struct{}, 1), Options: o}
	r.losses.what, r.losses.all = "dropped %d datagrams", &r.dropped
	r.away.what, r.away.all = "turned away %d clients", &r.refused
	r.dests.ctx = context.Background() // until Run has one that ends
	r.MaxConns = room(r.MaxConns)
	for _, d := range o.Dests {
		r.dests.all = append(r.dests.all, &destination{Endpoint: d})
	}
	return r, nil
}

// Open gets ready to take clients. Destinations are not needed for that.
func (r *Relay) Open(ctx context.Context) (err error) {
	if r.Listen.Datagram {
		r.packets, err = r.listenDatagrams(ctx)
		return err
	}
	if r.Listen.Net == "fd" { // which is what it is; after an error it is as it was
		if r.packets, err = r.listenDatagrams(ctx); err == nil {
			return nil
		}
		r.packets = nil
	}
	r.ln, err = sock.Listen(ctx, r.Listen.Addr, r.ListenOptions)
	return err
}

// Addr is where clients come, as the kernel knows it.
func (r *Relay) Addr() net.Addr {
	if r.packets != nil {
		return r.packets.LocalAddr()
	}
	return r.ln.Addr()
}

// Run takes clients until ctx ends. What has been received by then is passed on, until abandon ends.
// When it returns everything is closed.
func (r *Relay) Run(ctx, abandon context.Context) error {
	defer r.Close()
	ctx, r.fail = context.WithCancelCause(ctx)
	defer r.fail(nil)
	work, cancel := context.WithCancel(abandon)
	r.dests.ctx = work
	defer r.dests.probes.Wait()
	defer cancel()
	defer r.away.tell(r)
	defer r.losses.tell(r)
	var err error
	if r.packets != nil {
		err = r.serveDatagrams(ctx, abandon)
	} else {
		err = r.serveStreams(ctx, abandon)
	}
	if e := (ErrCut{int(r.cut.Load()), int(r.left.Load())}); err == nil && e != (ErrCut{}) {
		err = &e
	}
	if cause := context.Cause(ctx); err == nil && cause != nil && cause != context.Canceled {
		err = cause
	}
	return err
}

// ErrCut says that in the end so many connections were cut off, with something that was not passed on, and
// that so many datagrams were left.
type ErrCut struct{ Connections, Datagrams int }

func (e *ErrCut) Error() string {
	var what []string
	switch n := e.Connections; {
	case n == 1:
		what = append(what, "1 connection was cut off")
	case n > 1:
		what = append(what, fmt.Sprintf("%d connections were cut off", n))
	}
	switch n := e.Datagrams; {
	case n == 1:
		what = append(what, "1 datagram was dropped")
	case n > 1:
		what = append(what, fmt.Sprintf("%d datagrams were dropped", n))
	}
	return strings.Join(what, " and ") + " in the end: what was left was not taken"
}

// Close gives back what Open has opened; it may be called more than once.
func (r *Relay) Close() {
	r.closing.Do(func() {
		if r.ln != nil {
			r.ln.Close()
		}
		if r.packets != nil {
			r.packets.Close()
		}
	})
}

// Moved is how many bytes have been passed on so far: from clients, and to them.
func (r *Relay) Moved() (in, out int64) {
	in, out = r.talks.moved()
	return in + r.in.Load(), out + r.back.Load()
}

// Progress grows whenever bytes move, also those that our kernel holds for slow peers at the end.
func (r *Relay) Progress() int64 {
	in, out := r.Moved()
	return in + out - r.talks.unsent() + r.taken.Load()
}

// Counts are what list shows.
type Counts struct {
	Peers, Connects, Refused int64
	In, Out                  int64 // bytes from clients, and to them
	Dropped                  int64 // datagrams
}

// Counts tells how much was done so far.
func (r *Relay) Counts() Counts {
	in, out := r.Moved()
	return Counts{r.peers.Load(), r.connects.Load(), r.refused.Load(), in, out, r.dropped.Load()}
}

// stdout is the destination "-".
func (r *Relay) stdout() net.Conn { return newLocal(&locked{r}) }

// locked writes to Out, for many.
type locked struct{ r *Relay }

func (l *locked) Write(b []byte) (int, error) { return len(b), l.r.print(b) }

func (r *Relay) allowed(a net.Addr) bool {
	if len(r.Deny) > 0 && r.Deny.Allows(a) {
		if _, unix := a.(*net.UnixAddr); !unix {
			return false
		}
	}
	return r.Allow.Allows(a)
}

// String is what people are shown: "8022 -> 127.0.0.1:22".
func (o *Options) String() string {
	to := make([]string, len(o.Dests))
	for i, d := range o.Dests {
		to[i] = d.String()
	}
	if o.Echo {
		to = []string{"echo"}
	}
	return fmt.Sprintf("%s -> %s", o.Listen, strings.Join(to, ", "))
}
