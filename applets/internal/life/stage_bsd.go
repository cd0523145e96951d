//go:build darwin || freebsd

package life

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// become sets the limits and has the program at path take our place. It returns what failed, "exec" or
// the name of a limit, and why.
func become(path string, argv, env []string, limits []Limit) (failed string, errno syscall.Errno) {
	for _, l := range limits {
		number, r := l.resource()
		if err := unix.Setrlimit(number, &r); err != nil {
			errors.As(err, &errno)
			return l.Name, errno
		}
	}
	errors.As(syscall.Exec(path, argv, env), &errno)
	return "exec", errno
}
