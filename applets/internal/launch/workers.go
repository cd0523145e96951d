package launch

import (
	"context"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// spareWorkers is how many goroutines wait for something to do.
const spareWorkers = 32

// workers are goroutines that are used again. What starts a program needs a large stack, and to have it
// grow anew for each of them is a good part of what Go adds to that.
type workers struct {
	ctx   context.Context
	work  chan func()
	spare atomic.Int32
}

func newWorkers(ctx context.Context) *workers { return &workers{ctx: ctx, work: make(chan func())} }

// Go runs f, which all waits for.
func (w *workers) Go(all *sync.WaitGroup, f func()) {
	all.Add(1)
	g := func() {
		defer all.Done()
		f()
	}
	select {
	case w.work <- g:
	default:
		go w.run(g)
	}
}

func (w *workers) run(f func()) {
	for {
		f()
		f = nil
		if w.spare.Add(1) > spareWorkers {
			w.spare.Add(-1)
			return
		}
		select {
		case f = <-w.work:
			w.spare.Add(-1)
		case <-w.ctx.Done():
			return
		}
	}
}

// processors are those that goroutines may run on. While there is little to do, most of it one after
// the other, half of them are enough: to have the others woken for each step, to look for work, costs
// more than it brings. With many programs at once all are needed, since to start one blocks a processor
// of Go's until it has begun (vfork).
type processors struct {
	few, all, now int
	many          time.Time // when there were many programs
}

func (p *processors) init() {
	if os.Getenv("GOMAXPROCS") == "" { // or it is as the user says
		p.all = runtime.GOMAXPROCS(0)
		p.few = max(p.all/2, 1)
		p.now = p.few
		runtime.GOMAXPROCS(p.now)
	}
}

// adapt is told how many programs there are. A change stops all for a moment, and so is not for every
// little while without clients.
func (p *processors) adapt(runs int) {
	if p.all == p.few {
		return
	}
	const many, calm = 3, 300 * time.Millisecond
	now := time.Now()
	want := p.now
	if runs >= many {
		p.many, want = now, p.all
	} else if now.Sub(p.many) > calm {
		want = p.few
	}
	if want != p.now {
		runtime.GOMAXPROCS(want)
		p.now = want
	}
}
