package web

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// untilReset waits, after the peer has ended what it sends, until it takes nothing either, or the
// connection is closed. TCP tells the one from the other only by the answer to what we send.
func (c *conn) untilReset() {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd)}} // an error or the end of both directions is told in any case
		_, err := unix.Poll(p, 0)
		return err != nil && err != unix.EINTR || p[0].Revents != 0
	})
}

const seesAcks = true

// acks tells how many bytes the peer has acknowledged.
func (c *conn) acks() (n uint64, ok bool) {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return 0, false
	}
	raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n, ok = info.Bytes_acked, true
		}
	})
	return n, ok
}
