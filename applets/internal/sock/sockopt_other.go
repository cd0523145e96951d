//go:build !linux

package sock

import (
	"net"
	"syscall"
	"time"
)

func tuneTCP(*net.TCPConn) {}

func tuneLink(*net.TCPConn, time.Duration) {}

func tuneListener(*net.TCPListener) bool { return false }

func bindToDevice(int, string) error { return syscall.ENOTSUP }

func askDrops(syscall.Conn) {}

// tuneSource prepares a socket that is bound before it connects: the last
// connection from the same port may still be in TIME-WAIT.
func tuneSource(fd int, network string, port bool) {
	if network == "tcp" && port {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
}

// autobind is Linux's: here such a socket has no name, and is not answered.
func autobind(syscall.RawConn) error { return nil }
