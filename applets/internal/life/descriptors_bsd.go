//go:build darwin || freebsd

package life

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps every descriptor but 0, 1 and 2 from being passed on. Those that we inherited
// have no such mark, and would keep the caller's pipes and locks in use as long as the daemon lives.
func closeOnExec() {
	const most = 65536 // who raised the limit beyond it has no such descriptors open in a shell
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	for fd := 3; fd < int(min(limit.Cur, most)); fd++ {
		syscall.CloseOnExec(fd)
	}
}

func duplicate(from, to int) error { return unix.Dup2(from, to) }
