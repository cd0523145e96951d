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
