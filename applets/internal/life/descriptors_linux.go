package life

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps every descriptor but 0, 1 and 2 from being passed on. Those that we inherited
// have no such mark, and would keep the caller's pipes and locks in use as long as the daemon lives.
func closeOnExec() {
	if unix.CloseRange(3, ^uint(0)>>1&0xffffffff, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	// Linux before 5.11
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

func duplicate(from, to int) error { return unix.Dup3(from, to, 0) }
