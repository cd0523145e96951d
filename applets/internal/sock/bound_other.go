//go:build darwin || freebsd

package sock

import (
	"net"
	"syscall"
)

func accept(fd int) (int, net.Addr, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	c, sa, err := syscall.Accept(fd)
	if err != nil {
		return -1, nil, err
	}
	syscall.CloseOnExec(c)
	syscall.SetNonblock(c, false) // BSD hands it down from the listener
	return c, toAddr(sa), nil
}

// Peer is who is at the other end of a unix connection, which is not known here.
type Peer struct{ PID, UID, GID int }

// PeerOf tells who is at the other end of a unix connection.
func PeerOf(fd uintptr) (Peer, bool) { return Peer{}, false }

// queueOf cannot tell here.
func queueOf(int, *Bound, bool) Queue { return Queue{n: -1} }
