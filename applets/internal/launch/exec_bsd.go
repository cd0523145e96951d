//go:build darwin || freebsd

package launch

import (
	"net"

	"golang.org/x/sys/unix"
)

const peerHalf = 0 // the end of a half shows itself when the next bytes are sent

// peerUID is whose process has connected to a unix socket.
func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Xucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptXucred(int(fd), 0, unix.LOCAL_PEERCRED) }); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
