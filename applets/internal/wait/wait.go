// Package wait is the engine of wait: it finds out when something has come up, or has gone.
package wait

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"
)

// ErrTimeout says that the time was over first. The text of such an error has a line for each
// target that was missing, and why.
var ErrTimeout = errors.New("timed out")

// Options say what is waited for, and how.
type Options struct {
	Targets []Target
	Any     bool          // for one of the targets, not for all
	Gone    bool          // until they are no more
	Once    bool          // look once, and do not wait
	Timeout time.Duration // 0 = for ever
	Try     time.Duration // how long one try to connect may take

	Reached func(Target)               // called for each target that is reached, one at a time; may be nil
	Note    func(t Target, why string) // called when a try fails for another reason than the one before; may be nil
}

// Tries are made at once when the kernel tells of a change, and otherwise in these intervals, which
// double: a service that restarts is found quickly, and one that takes an hour is not flooded. On this
// machine a try costs nobody else anything.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
	lastHere   = 200 * time.Millisecond
)

// Wait returns nil when what o says has come to pass. When the time is over the error is ErrTimeout;
// that is kept to the moment, whatever a name server or a peer does. When ctx ends the error is its
// cause.
func Wait(ctx context.Context, o Options) error {
	all, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Timeout > 0 {
		all, cancel = context.WithTimeout(all, o.Timeout)
		defer cancel()
	}
	w := waiting{Options: o, enough: cancel, why: make([]string, len(o.Targets)), reached: make([]bool, len(o.Targets))}
	var group sync.WaitGroup
	for i := range o.Targets {
		group.Go(func() { w.one(all, i) })
	}
	group.Wait()

	n := 0
	for _, reached := range w.reached {
		if reached {
			n++
		}
	}
	switch {
	case n == len(o.Targets), o.Any && n > 0:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return w.missing()
}

type waiting struct {
	Options
	enough  context.CancelFunc
	mu      sync.Mutex
	why     []string
	reached []bool
}

// one waits for the target i.
func (w *waiting) one(ctx context.Context, i int) {
	t := w.Targets[i]
	s := newScout(t, w.Gone, w.Try)
	defer s.close()
	last := lastPause
	if t.here() {
		last = lastHere
	}
	for pause := firstPause; ; pause = min(2*pause, last) {
		s.arm() // before the try: what changes after it must not be missed
		yes, why := s.try(ctx)
		if yes {
			w.got(ctx, i)
			return
		}
		if ctx.Err() != nil {
			return // what the try says is that it was broken off
		}
		w.note(i, why)
		if w.Once {
			return
		}
		timer := time.NewTimer(pause*3/4 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
			timer.Stop()
			pause = firstPause / 2 // what has begun to change may take a few steps, as bind and listen
		case <-timer.C:
		}
	}
}

func (w *waiting) got(ctx context.Context, i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.Any {
		if ctx.Err() != nil {
			return // another came in the same instant, or the time is over
		}
		w.enough()
	}
	w.reached[i] = true
	if w.Reached != nil {
		w.Reached(w.Targets[i])
	}
}

func (w *waiting) note(i int, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why[i] == why {
		return
	}
	w.why[i] = why
	if w.Note != nil {
		w.Note(w.Targets[i], why)
	}
}

// missing is the error at the end of the time.
func (w *waiting) missing() error {
	var list []string
	for i, t := range w.Targets {
		if w.reached[i] {
			continue
		}
		why := w.why[i]
		if why == "" {
			why = "no answer yet"
		}
		if !w.Once {
			why += fmt.Sprintf(" (waited for %v)", w.Timeout)
		}
		list = append(list, t.String()+": "+why)
	}
	return &missingError{strings.Join(list, "\n")}
}

type missingError struct{ text string }

func (e *missingError) Error() string   { return e.text }
func (e *missingError) Unwrap() []error { return []error{ErrTimeout, os.ErrDeadlineExceeded} }
