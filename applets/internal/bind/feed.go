package bind

import (
	"context"
	"errors"

	"sockbox/buffer"
)

// A Feed is what fills an input's buffer in place of peers who send: something that this process
// finds out by itself.
type Feed struct {
	Endpoint string // what list shows
	// Open gets ready; its error is told by whoever starts the daemon.
	Open func(ctx context.Context) error
	// Run hands over messages until ctx ends or there are no more. Put does not block: what finds no
	// room is dealt with as the queue's policy says, and counted.
	Run func(ctx context.Context, put func(message []byte, from string)) error
	// Close gives back what Open has opened, whether or not Run was called.
	Close func()
}

// Feeder runs a daemon that holds a buffer and fills it from f. When there are no more messages it
// ends as soon as those that came have been read.
func Feeder(ctx context.Context, o Options, f Feed, io Streams) error {
	return serve(ctx, o, &feed{f}, io)
}

type feed struct{ Feed }

func (f *feed) kind() buffer.Kind { return buffer.Input }

func (f *feed) open(ctx context.Context, _ *daemon) error { return f.Open(ctx) }

func (f *feed) run(ctx, _ context.Context, d *daemon) error {
	err := f.Run(ctx, d.queue.Offer)
	if err != nil {
		return err
	}
	if err := d.queue.WaitEmpty(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (f *feed) describe(s *buffer.Stat) { s.Endpoint, s.State = f.Endpoint, "running" }

func (f *feed) close() { f.Close() }
