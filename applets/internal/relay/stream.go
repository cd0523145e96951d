package relay

import "context"

// serveStreams takes clients from r.ln, see Run.
func (r *Relay) serveStreams(ctx, abandon context.Context) error {
	return errNotYet
}
