//go:build unix

package web

import (
	"os"

	"golang.org/x/sys/unix"
)

// A stamp is by what it is seen that a file has changed: its content (size, mtime), or its place,
// owner or mode (ctime; a file that another one was renamed over has lost a link).
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds
}

func stampOf(fd int) (stamp, bool) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return stamp{}, false
	}
	return stamp{
		dev: uint64(st.Dev), ino: uint64(st.Ino), size: st.Size, mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(),
	}, true
}

// descriptor is f's own number, which is valid as long as f is open.
func descriptor(f *os.File) int { return int(f.Fd()) }
