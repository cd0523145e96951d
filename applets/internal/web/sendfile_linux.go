package web

import (
	"io"

	"golang.org/x/sys/unix"
)

// sendFile sends out, and then part of v's file from its descriptor: sendfile(2), which reads at an
// offset of our own, since others read the same open file. It tells how much of the file was sent.
func (c *conn) sendFile(out []byte, v *variant, part span) (int64, error) {
	if c.tcp == nil {
		return c.copyFile(out, v, part)
	}
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	c.extend()
	// MSG_MORE: what follows goes into the same packet.
	var call error
	head := func(fd uintptr) bool {
		for len(out) > 0 {
			n, err := unix.SendmsgN(int(fd), out, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				call = err
				return true
			default:
				out = out[n:]
			}
		}
		return true
	}
	for err = raw.Write(head); c.goesOn(err); err = raw.Write(head) {
	}
	if err == nil {
		err = call
	}
	at, end := part.from, part.from+part.size
	for err == nil && at < end {
		c.extend()
		stop := min(end, at+piece)
		call = nil
		err = raw.Write(func(fd uintptr) bool {
			for at < stop {
				n, err := unix.Sendfile(int(fd), v.fd, &at, int(stop-at))
				switch {
				case err == unix.EAGAIN:
					return false
				case err == unix.EINTR:
				case err != nil:
					call = err
					return true
				case n == 0: // the file has become shorter: the peer sees that by the connection's end
					call = io.ErrUnexpectedEOF
					return true
				}
			}
			return true
		})
		if err == nil {
			err = call
		}
		if c.goesOn(err) {
			err = nil
		}
	}
	return at - part.from, err
}
