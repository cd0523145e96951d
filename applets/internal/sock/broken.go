package sock

import (
	"net"
	"syscall"
)

// WaitBroken waits until c breaks, as by a reset, and returns why. It is for the time after the
// peer has ended its side: Read says EOF from then on, whatever happens, and Write tells only those
// who write. It returns nil when c is closed, and at once where the kind of c cannot tell.
func WaitBroken(c net.Conn) error {
	_, err := waitEnd(c, false)
	return err
}

// waitGone is WaitBroken, and returns also when the peer has closed its socket and not only ended its
// side, where there is a difference to be seen: on Linux a unix socket shows it.
func waitGone(c net.Conn) (gone bool, err error) {
	_, unix := c.(*net.UnixConn)
	return waitEnd(c, unix)
}

func waitEnd(c net.Conn, hangup bool) (gone bool, err error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false, nil
	}
	raw, rawErr := sc.SyscallConn()
	if rawErr != nil {
		return false, nil
	}
	raw.Read(func(fd uintptr) bool { // called again at every event
		n, optErr := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		if optErr == nil && n != 0 {
			err = syscall.Errno(n)
			return true
		}
		gone = hangup && hungUp(int(fd))
		return gone
	})
	return gone, err
}
