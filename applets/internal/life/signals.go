// Package life is about processes: how one is asked to end and what it does then, how it starts
// others and ends them with all that descends from them, and how one goes to the background and says
// that it is ready.
package life

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// A Stop is how a holder (a process that holds a buffer or a service) is asked to end. The first
// request ends its context: it delivers what it has and leaves. The second closes Hurry: no more
// waiting. The third signal ends the process on the spot.
type Stop struct {
	ctx    context.Context
	cancel context.CancelFunc
	hurry  chan struct{}
	signal chan os.Signal

	mu    sync.Mutex
	asked int
}

// CatchSignals makes INT, TERM and HUP requests to end, though INT may have been inherited as
// ignored, as it is by what a shell starts with "&". A HUP that was inherited as ignored is left
// so in the foreground, for nohup(1), and caught in the background.
func CatchSignals(ctx context.Context, background bool) *Stop {
	s := &Stop{hurry: make(chan struct{}), signal: make(chan os.Signal, 3)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	catch := requests(background)
	ignored := map[os.Signal]bool{}
	for _, sig := range catch {
		ignored[sig] = signal.Ignored(sig)
	}
	signal.Notify(s.signal, catch...)
	go func() {
		for sig := range s.signal {
			if s.ask(false) <= 2 {
				continue
			}
			if ignored[sig] { // Reset would have it ignored again
				os.Exit(128 + int(sig.(syscall.Signal)))
			}
			signal.Reset(sig)
			syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		}
	}()
	return s
}

// CatchPipe has a write to a stdout that nobody reads any more fail with EPIPE, where SIGPIPE would end
// the process before it could take leave of anybody.
func CatchPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// Context ends with the first request.
func (s *Stop) Context() context.Context { return s.ctx }

// Hurry is closed with the second request.
func (s *Stop) Hurry() <-chan struct{} { return s.hurry }

// Ask is a request to end that did not come as a signal; with now it counts as two. Asking again
// for what has been asked for changes nothing.
func (s *Stop) Ask(now bool) {
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	if asked == 0 || now && asked == 1 {
		s.ask(now)
	}
}

func (s *Stop) ask(now bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.asked
	s.asked++
	if now {
		s.asked = max(s.asked, 2)
	}
	s.cancel()
	if before < 2 && s.asked >= 2 {
		close(s.hurry)
	}
	return s.asked
}

// requests are the signals that ask for the end.
func requests(background bool) []os.Signal {
	catch := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !hangupReloads.Load() && (background || !signal.Ignored(syscall.SIGHUP)) {
		catch = append(catch, syscall.SIGHUP)
	}
	return catch
}

var hangupReloads atomic.Bool

// HangupReloads makes HUP the wish that files be opened or read again, as services that people
// reach over the network have it, in place of a request to end; one that was inherited as ignored is
// that wish too. It is called once, before CatchSignals or Guard, whose outer process passes HUP on.
// A wish that comes before the last one was received is the same wish.
func HangupReloads() <-chan os.Signal {
	hangupReloads.Store(true)
	wish := make(chan os.Signal, 1)
	signal.Notify(wish, syscall.SIGHUP)
	return wish
}
