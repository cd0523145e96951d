//go:build unix

package life

import "golang.org/x/sys/unix"

// WhenAlone calls f, in a goroutine of its own, if whoever started the daemon goes away before it
// is ready: the user has given up. It does not wait.
func (d *Daemon) WhenAlone(f func()) {
	raw, err := d.ready.SyscallConn()
	if err != nil {
		return
	}
	go func() {
		alone := false
		// The end of the pipe's reader is an error at its writer, which wakes whoever waits to
		// read too. To wait to write would keep Ready from it.
		raw.Read(func(fd uintptr) bool {
			p := []unix.PollFd{{Fd: int32(fd)}}
			n, err := unix.Poll(p, 0)
			alone = err == nil && n > 0 && p[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
			return alone
		})
		if alone {
			f()
		}
	}()
}
