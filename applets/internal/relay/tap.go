package relay

import "context"

// A tap sees what one sender says in one conversation: it is where Dump and Tee look, and Rate counts.
// A nil tap sees nothing and has no limit.
type tap struct {
	r    *Relay
	from string // who says it
	to   string // whom it is said to
	out  bool   // towards the client
}

// tap returns the one for what from says to to, both as sock.PeerName shows them; back says that it is
// an answer, on its way to the client. It is nil where nobody looks.
func (r *Relay) tap(from, to string, back bool) *tap { return nil }

// datagram shows one datagram, and waits as long as Rate demands or until ctx ends.
func (t *tap) datagram(ctx context.Context, b []byte) error { return nil }

// bytes shows a part of a stream, and waits as long as Rate demands or until ctx ends.
func (t *tap) bytes(ctx context.Context, b []byte) error { return nil }

// end says that no more comes of a stream.
func (t *tap) end() {}
