package relay

import (
	"context"
	"net"
)

// listenDatagrams opens where clients' datagrams come.
func (r *Relay) listenDatagrams(ctx context.Context) (net.PacketConn, error) {
	return nil, errNotYet
}

// serveDatagrams takes clients' datagrams from r.packets, see Run.
func (r *Relay) serveDatagrams(ctx, abandon context.Context) error {
	return errNotYet
}

// streamToDatagrams carries a client's stream to d, a destination for datagrams, and what comes back
// into the stream, until both have ended, or ctx has. It closes c.
func (r *Relay) streamToDatagrams(ctx, abandon context.Context, c net.Conn, d *destination) error {
	c.Close()
	return errNotYet
}

// openReplies opens where answers to client go with --reply-to, a stream or datagrams. In the latter
// case each Write is one datagram; the caller closes it.
func (r *Relay) openReplies(ctx context.Context, client net.Addr) (net.Conn, error) {
	return nil, errNotYet
}
