package sock

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func tuneTCP(c *net.TCPConn) { control(c, giveUp) }

// giveUp bounds how long a peer is waited for that acknowledges nothing.
func giveUp(fd int) error {
	if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, int(retry.Milliseconds())) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
}

func tuneLink(c *net.TCPConn, timeout time.Duration) {
	control(c, func(fd int) error {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds()))
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, int(linkRetry.Milliseconds()))
	})
}

// TuneFD is Tune for a TCP socket that package net does not know. What is accepted from one that listens
// has the same.
func TuneFD(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepIdle.Seconds()))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepInterval.Seconds()))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepCount)
	_ = giveUp(fd)
}

// tuneListener tunes what ln will accept, and tells whether that is all that is to be done.
func tuneListener(ln *net.TCPListener) bool {
	return control(ln, func(fd int) error {
		TuneFD(fd)
		return nil
	})
}

// tuneSource prepares a socket that is bound before it connects.
func tuneSource(fd int, network string, port bool) {
	switch {
	case network != "tcp":
	case port:
		// The last connection from this port may still be in TIME-WAIT.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	default:
		// Otherwise bind takes a port from all destinations at once, and a few
		// ten thousand connections use them up.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}
}

// bindToDevice keeps a socket to one network interface (socket(7)).
func bindToDevice(fd int, name string) error { return unix.BindToDevice(fd, name) }

func askDrops(c syscall.Conn) {
	control(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	})
}

// autobind gives a unix socket an abstract name of its own, see unix(7).
func autobind(c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) { err = unix.Bind(int(fd), &unix.SockaddrUnix{}) }); e != nil {
		return e
	}
	return err
}

// control runs f on c's descriptor and tells whether it succeeded.
func control(c syscall.Conn, f func(fd int) error) bool {
	rc, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var ferr error
	err = rc.Control(func(fd uintptr) { ferr = f(int(fd)) })
	return err == nil && ferr == nil
}
