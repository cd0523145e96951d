package life

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// An Asker is a process that waits for an answer and holds something meanwhile, such as a socket's
// path. INT, TERM and HUP end its context; when it has given back what it held, the signal is raised
// again, so that who started it sees a death by that signal: Ctrl-C ends a loop.
type Asker struct {
	ctx context.Context
	got atomic.Int64

	ignored bool // INT was, and is caught all the same
}

// CatchAndRaise makes INT, TERM and HUP end the context that it returns in an Asker. What was
// inherited as ignored stays ignored. A second signal ends the process on the spot.
func CatchAndRaise(ctx context.Context) *Asker {
	return catchAndRaise(ctx, false)
}

// CatchAndReport is CatchAndRaise for who has a last word to say: INT asks for it though it may have been
// inherited as ignored, as it is by what a shell starts with "&".
func CatchAndReport(ctx context.Context) *Asker {
	return catchAndRaise(ctx, true)
}

func catchAndRaise(ctx context.Context, always bool) *Asker {
	var catch, reset []os.Signal
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		ignored := signal.Ignored(sig)
		if !ignored || always && sig == syscall.SIGINT {
			catch = append(catch, sig)
		}
		if !ignored {
			reset = append(reset, sig)
		}
	}
	if len(catch) == 0 { // Notify would take that for all of them
		return &Asker{ctx: ctx}
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &Asker{ctx: ctx, ignored: len(catch) > len(reset)}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, catch...)
	go func() {
		sig := (<-signals).(syscall.Signal)
		if len(reset) > 0 {
			signal.Reset(reset...)
		}
		a.got.Store(int64(sig))
		cancel()
		sig = (<-signals).(syscall.Signal) // one that Reset would have ignored
		os.Exit(128 + int(sig))
	}()
	return a
}

// Context ends with the first signal.
func (a *Asker) Context() context.Context { return a.ctx }

// Raise raises the signal that came, and does not return then. Without one it does nothing.
func (a *Asker) Raise() {
	sig := syscall.Signal(a.got.Load())
	if sig == 0 {
		return
	}
	if sig != syscall.SIGINT || !a.ignored {
		syscall.Kill(os.Getpid(), sig)
		time.Sleep(time.Second) // the signal may be handled by another thread, some time later
	}
	os.Exit(128 + int(sig))
}

// OnSignals has f called, in a goroutine, for each of the signals that comes until undo is called. Those
// that were inherited as ignored stay so.
func OnSignals(f func(syscall.Signal), sigs ...syscall.Signal) (undo func()) {
	var catch []os.Signal
	for _, sig := range sigs {
		if !signal.Ignored(sig) {
			catch = append(catch, sig)
		}
	}
	if len(catch) == 0 { // Notify would take that for all of them
		return func() {}
	}
	c, done := make(chan os.Signal, 8), make(chan struct{})
	signal.Notify(c, catch...)
	go func() {
		for {
			select {
			case sig := <-c:
				f(sig.(syscall.Signal))
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(done)
	}
}
