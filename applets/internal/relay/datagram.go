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

// Frame is how datagrams stand in a stream.
type Frame int

const (
	Raw       Frame = iota // a datagram is one write, and a read one datagram
	Line                   // a datagram is a line, without the newline
	Nul                    // ended by a zero byte
	Netstring              // as a netstring
	Len16                  // behind its length, 2 bytes, big-endian
)

// ParseFrame reads the name of a Frame.
func ParseFrame(s string) (Frame, error) {
	for i, name := range []string{"raw", "line", "nul", "netstring", "len16"} {
		if s == name {
			return Frame(i), nil
		}
	}
	return 0, errNotYet
}
