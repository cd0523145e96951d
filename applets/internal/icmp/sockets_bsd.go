//go:build darwin || freebsd

package icmp

import (
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const datagramsHaveHeaders = true

// receiveOptions asks for the time and the TTL with each packet. Errors from the network are not
// told here: such a request gets no answer in time.
func (s *socket) receiveOptions(uint16) error {
	// With a stamp missing, the time at which we have the packet counts.
	unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 1)
	if s.v6 {
		return unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	}
	return nil
}

func (s *socket) sendOptions(int) {}

func bindDevice(int, bool, string) error {
	return errors.New("an interface cannot be chosen on this system: give one of its addresses")
}

func destination(a netip.Addr) any { return sockaddr(a, 0) }

func sendTo(fd int, b []byte, to any) error { return unix.Sendto(fd, b, 0, to.(unix.Sockaddr)) }

type inbox struct {
	buf, oob []byte
	zones    zones
}

func newInbox(size int) inbox {
	return inbox{buf: make([]byte, size+headerSize+60), oob: make([]byte, 256)}
}

func (s *socket) receive(p *Pinger) error {
	for {
		n, oobn, _, from, err := unix.Recvmsg(s.fd, s.in.buf, s.in.oob, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil
		default:
			return err
		}
		var addr netip.Addr
		switch sa := from.(type) {
		case *unix.SockaddrInet4:
			addr = netip.AddrFrom4(sa.Addr)
		case *unix.SockaddrInet6:
			addr = s.address(netip.AddrFrom16(sa.Addr), sa.ZoneId)
		}
		c := parseControl(s.in.oob[:oobn])
		s.take(p, s.in.buf[:n], addr, &c, p.now())
	}
}

func parseControl(oob []byte) (c control) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return c
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMP && len(m.Data) >= int(unsafe.Sizeof(unix.Timeval{})):
			tv := (*unix.Timeval)(unsafe.Pointer(&m.Data[0]))
			c.stamp = time.Unix(tv.Unix())
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			c.ttl = int(*(*int32)(unsafe.Pointer(&m.Data[0])))
		}
	}
	return c
}

// poll waits until one of fds is ready, or for d, in whole milliseconds.
func poll(fds []unix.PollFd, d time.Duration) error {
	_, err := unix.Poll(fds, int((d+time.Millisecond-1)/time.Millisecond))
	if err == unix.EINTR {
		err = nil
	}
	return err
}
