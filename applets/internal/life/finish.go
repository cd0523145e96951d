package life

import "time"

// lastWait is how long those that were sent KILL may take. A process that hangs in the kernel, on a
// disk that is gone, may never end, and must not keep us.
const lastWait = 10 * time.Second

// finish is the way in which a set of processes ends: ask is called once, then there is grace, until
// hurry is closed, and then kill is called until gone says that none is left. changed is a hint that
// it is worth to look before the time.
func finish(ask, kill func(), gone func() bool, left func() error, changed <-chan struct{}, grace time.Duration, hurry <-chan struct{}) error {
	if gone() {
		return nil
	}
	ask()
	over := time.NewTimer(grace)
	defer over.Stop()
	killing, deadline := false, time.Time{}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if gone() {
			return nil
		}
		select {
		case <-changed:
			changed, pause = nil, time.Millisecond
		case <-time.After(pause):
		case <-over.C:
			killing = true
		case <-hurry:
			hurry, killing = nil, true
		}
		if !killing {
			continue
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(lastWait)
		} else if time.Now().After(deadline) {
			return left()
		}
		kill()
		pause = min(pause, 5*time.Millisecond)
	}
}
