package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// A destination is one of those that clients are carried to.
type destination struct {
	Endpoint
	clients atomic.Int64 // that it has now; begin and end count them

	mu   sync.Mutex
	dead error // why it could not be reached the last time; nil: it could, or it was not tried
}

// destinations are all of them, with what is known of each.
type destinations struct {
	all  []*destination
	next atomic.Uint32 // for round-robin
}

// order returns those to be tried for one client, the best first: the dead ones come last.
func (r *Relay) order() []*destination {
	all := r.dests.all
	order := make([]*destination, 0, len(all))
	return append(order, all...)
}

// pick returns the destination for one more client, by Balance and health; nil where there is none. The
// caller tells by report how it went.
func (r *Relay) pick() *destination { return r.order()[0] }

// report says that d could be reached, with a nil err, or why not. One that cannot is tried again in the
// background if it takes streams, and by the next client if it takes datagrams.
func (r *Relay) report(d *destination, err error) {}

// dial connects to a stream destination for the client at from, who came to our address at: with TLS,
// key and PROXY header as the options say. It tries the destinations one after the other, and waits for
// one as long as WaitBackend says. The caller closes the connection, and then calls done.
func (r *Relay) dial(ctx context.Context, from, at net.Addr) (c net.Conn, d *destination, done func(), err error) {
	for _, d = range r.order() {
		if c, err = r.dialOne(ctx, d, from, at); err == nil {
			d.clients.Add(1)
			return c, d, func() { d.clients.Add(-1) }, nil
		}
	}
	return nil, nil, nil, err
}

func (r *Relay) dialOne(ctx context.Context, d *destination, from, at net.Addr) (net.Conn, error) {
	_ = secret.HandshakeTime
	_ = time.Second
	_ = fmt.Errorf
	_ = errors.New
	return sock.Dial(ctx, d.Addr, r.Dial)
}
