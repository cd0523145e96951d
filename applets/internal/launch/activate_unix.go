//go:build unix

package launch

import (
	"net"
	"syscall"
)

// descriptor is a connection's, for a question to the kernel, or an invalid one.
func descriptor(c net.Conn) (fd uintptr) {
	fd = ^uintptr(0)
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			raw.Control(func(n uintptr) { fd = n })
		}
	}
	return fd
}

// untilHungUp waits until the other side has closed the connection, not only its half, or c is closed or
// its time for reading over.
func untilHungUp(c net.Conn) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		raw.Read(func(fd uintptr) bool { return hungUp(fd, false) })
	}
}
