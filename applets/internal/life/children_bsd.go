//go:build darwin || freebsd

package life

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

func openTerminal(*Window) (master, slave *os.File, err error) {
	return nil, nil, fmt.Errorf("a terminal for a child, on this system: %w", errors.ErrUnsupported)
}

func startProcess(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	return os.StartProcess(path, argv, attr)
}

func (c *Child) reap() (*os.ProcessState, error) {
	state, err := c.proc.Wait()
	family.mu.Lock()
	defer family.mu.Unlock()
	c.reaped = true
	delete(family.children, c.proc.Pid)
	return state, err
}

func wakeStrays() {}

// Adopt does not exist here: orphans go to the system's first process.
func Adopt() error {
	return fmt.Errorf("to take in orphans, on this system: %w", errors.ErrUnsupported)
}

// A group that still has members keeps its number from being given away, also when its leader is
// gone; what is left of this is a group that ends and is replaced within one look.
func (c *Child) finish(grace time.Duration, hurry <-chan struct{}) error {
	send := func(sigs ...syscall.Signal) func() {
		return func() {
			for _, sig := range sigs {
				c.signalGroup(sig)
			}
		}
	}
	gone := func() bool {
		select {
		case <-c.done:
			return errors.Is(c.signalGroup(0), syscall.ESRCH)
		default:
			return false
		}
	}
	left := func() error { return fmt.Errorf("the process group %d does not end", c.proc.Pid) }
	return finish(send(syscall.SIGTERM, syscall.SIGCONT), send(syscall.SIGKILL), gone, left, c.done, grace, hurry)
}

// StopAll ends every child of this process with its process group, as Stop does.
func StopAll(grace time.Duration, hurry <-chan struct{}) error {
	family.mu.Lock()
	var all []*Child
	for _, c := range family.children {
		all = append(all, c)
	}
	family.mu.Unlock()
	ends := make(chan error)
	for _, c := range all {
		go func() { ends <- c.Stop(grace, hurry) }()
	}
	var errs []error
	for range all {
		errs = append(errs, <-ends)
	}
	return errors.Join(errs...)
}

// ignored tells whether this process ignores the signal.
func ignored(sig syscall.Signal) bool { return false }
