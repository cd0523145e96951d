package sock

import (
	"net"
	"syscall"
)

// WaitBroken waits until c breaks, as by a reset, and returns why. It is for the time after the
// peer has ended its side: Read says EOF from then on, whatever happens, and Write tells only those
// who write. It returns nil when c is closed, and at once where the kind of c cannot tell.
func WaitBroken(c net.Conn) (err error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, rawErr := sc.SyscallConn()
	if rawErr != nil {
		return nil
	}
	raw.Read(func(fd uintptr) bool { // called again at every event
		n, optErr := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		if optErr == nil && n != 0 {
			err = syscall.Errno(n)
		}
		return err != nil
	})
	return err
}
