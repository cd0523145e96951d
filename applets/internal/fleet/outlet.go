package fleet

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/text"
)

// An outlet is where people are told something: a terminal, or a pipe that nobody may be reading. Who
// tells waits for that, but no longer than some time after the end was asked for: then nothing more is
// told.
type outlet struct {
	late  chan struct{} // closed when it is time to leave
	stuck atomic.Bool
	mu    sync.Mutex // one writes at a time
}

// An UnheardError is one that nobody is to be told of, as nobody reads what is told.
type UnheardError struct{ error }

func (e *UnheardError) Unwrap() error { return e.error }

// patience is how long something is written once it is time to leave.
const patience = 200 * time.Millisecond

func newOutlet(ctx context.Context, grace time.Duration) *outlet {
	o := &outlet{late: make(chan struct{})}
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { close(o.late) }) })
	return o
}

// do runs write, and returns its error. When it is late it is left to itself.
func (o *outlet) do(write func() error) error {
	if o.stuck.Load() {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if !o.stuck.Load() {
			done <- write()
		}
	}()
	select {
	case err := <-done:
		return err
	case <-o.late:
	}
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		o.stuck.Store(true)
		return nil
	}
}

// oneLine has what tells people something tell it in one line, whatever names are in it.
func (o *outlet) oneLine(tell func(format string, args ...any)) func(format string, args ...any) {
	if tell == nil { // nobody is waited for who is told nothing
		return func(string, ...any) {}
	}
	return func(format string, args ...any) {
		line := text.Printable(fmt.Sprintf(format, args...))
		o.do(func() error { tell("%s", line); return nil })
	}
}

// heard is err, for those who can be told of it.
func (o *outlet) heard(err error) error {
	if err != nil && o.stuck.Load() {
		return &UnheardError{err}
	}
	return err
}
