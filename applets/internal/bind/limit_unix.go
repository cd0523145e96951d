//go:build unix

package bind

import "syscall"

// openFiles returns how many descriptors this process may have open.
func openFiles() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	return int(min(uint64(l.Cur), 1<<30)), nil
}
