package sock

import "golang.org/x/sys/unix"

// hungUp tells whether both directions of a socket have ended.
func hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP comes unasked
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&unix.POLLHUP != 0
}
