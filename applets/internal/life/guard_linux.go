package life

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketMaker returns the process that has made a pair of sockets, if it is our parent, or if it has
// ended.
func socketMaker(fd int) (int, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	pid := int(cred.Pid)
	if pid <= 0 || pid != os.Getppid() && unix.Kill(pid, 0) != unix.ESRCH {
		return 0, syscall.ENOTSOCK
	}
	return pid, nil
}

// closeInherited closes what has no mark to be closed by an exec and is not keep: what this program
// opens has it, save for the other end of a link.
func closeInherited(keep int) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	dir.Close()
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < 3 || fd == keep {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
