//go:build darwin || freebsd

package life

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

func openTerminal(*Window) (master *os.File, slave int, err error) {
	return nil, -1, fmt.Errorf("a terminal for a child, on this system: %w", errors.ErrUnsupported)
}

func startProcess(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	pid, _, err := syscall.StartProcess(path, argv, attr)
	return pid, err
}

// openPipe makes a pipe to a child, or from one.
func openPipe(toChild bool) (ours *os.File, theirs int, err error) {
	var p [2]int
	syscall.ForkLock.RLock()
	if err = syscall.Pipe(p[:]); err == nil {
		syscall.CloseOnExec(p[0])
		syscall.CloseOnExec(p[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, 0, err
	}
	our, theirs := p[0], p[1]
	if toChild {
		our, theirs = p[1], p[0]
	}
	syscall.SetNonblock(our, true)
	return os.NewFile(uintptr(our), "child"), theirs, nil
}

func (c *Child) wait() {
	ws, err := c.wait4()
	family.mu.Lock()
	defer family.mu.Unlock()
	c.gone(ws, err)
}

func reaperRuns() bool { return false }

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
	left := func() error { return fmt.Errorf("the process group %d does not end", c.pid) }
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
