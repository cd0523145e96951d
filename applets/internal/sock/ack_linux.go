package sock

import (
	"encoding/binary"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// OOBSpace is room enough for the ancillary data of a datagram.
const OOBSpace = 64

// Acked tells how many bytes the peer's kernel has acknowledged on a TCP
// connection since it began (TCP_INFO, tcp(7)). Only differences mean something:
// a dialled connection's SYN counts one, so take a base right after connecting;
// our FIN counts one at the end. The number stays right after a reset, until c is
// closed. ok is false where the system or the kind of c cannot tell; that is so
// for TLS, whose bytes are not the caller's.
func Acked(c net.Conn) (n uint64, ok bool) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, false
	}
	ok = control(sc, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = info.Bytes_acked
		}
		return err
	})
	return n, ok
}

// Unsent tells how many bytes the kernel still holds that the peer has not
// acknowledged (SIOCOUTQ, tcp(7)); a FIN on its way counts one. Of a connection that
// has been reset it is 0: nothing is sent any more. On a unix socket it is 0 when the
// peer has read everything, and more than the payload before.
func Unsent(c net.Conn) (n int, ok bool) {
	sc, ok := Innermost(c).(syscall.Conn)
	if !ok {
		return 0, false
	}
	ok = control(sc, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		if n > 0 && isReset(fd) {
			n = 0
		}
		return err
	})
	return n, ok
}

// isReset tells whether fd is a TCP connection that has ended, with all that was on its way.
func isReset(fd int) bool {
	const tcpClose = 7 // TCP_CLOSE, include/net/tcp_states.h
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == tcpClose
}

// Drops reads from a datagram's ancillary data how many datagrams the kernel has
// dropped on this socket so far, for want of room (SO_RXQ_OVFL, socket(7)). The
// count wraps at 2^32. ok is false while there were none.
func Drops(oob []byte) (n uint32, ok bool) {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0, false
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4 {
			return binary.NativeEndian.Uint32(data), true
		}
		oob = rest
	}
	return 0, false
}
