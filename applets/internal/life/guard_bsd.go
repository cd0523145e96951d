//go:build darwin || freebsd

package life

import (
	"os"

	"golang.org/x/sys/unix"
)

// socketMaker takes a socket for our parent's.
func socketMaker(fd int) (int, error) {
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return 0, err
	}
	return os.Getppid(), nil
}

// closeInherited closes what has no mark to be closed by an exec and is not keep: what this program
// opens has it, save for the other end of a link.
func closeInherited(keep int) {
	const most = 65536 // as closeOnExec has it
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	for fd := 3; fd < int(min(limit.Cur, most)); fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fd != keep && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
