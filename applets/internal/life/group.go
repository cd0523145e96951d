package life

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Group holds what works together: goroutines and children. The first that ends, in whatever way,
// ends the rest.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu       sync.Mutex
	err      error
	cleanups []func()
}

// NewGroup makes a group that ends with ctx.
func NewGroup(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// Context ends when the group does.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs f in a goroutine; f returns when its context ends. An error is told with name before it.
func (g *Group) Go(name string, f func(ctx context.Context) error) {
	g.all.Go(func() {
		defer g.cancel()
		if err := f(g.ctx); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.err == nil {
				g.err = fmt.Errorf("%s: %w", name, err)
			}
		}
	})
}

// Child holds a child that was started. When the group ends it is stopped, see Child.Stop. How the
// child ends is no error; the one who cares calls Wait.
func (g *Group) Child(c *Child, grace time.Duration, hurry <-chan struct{}) {
	g.all.Go(func() {
		defer g.cancel()
		select {
		case <-c.Done():
		case <-g.ctx.Done():
		}
		if err := c.Stop(grace, hurry); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.err == nil {
				g.err = err
			}
		}
	})
}

// Defer has f called by Wait, when all are gone. The last one is called first.
func (g *Group) Defer(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cleanups = append(g.cleanups, f)
}

// Wait waits until all are gone, cleans up, and returns the first error. What is gone stays gone:
// calling it again cleans up nothing twice.
func (g *Group) Wait() error {
	g.all.Wait()
	g.cancel()
	for {
		g.mu.Lock()
		last := len(g.cleanups) - 1
		if last < 0 {
			defer g.mu.Unlock()
			return g.err
		}
		f := g.cleanups[last]
		g.cleanups = g.cleanups[:last]
		g.mu.Unlock()
		f()
	}
}
