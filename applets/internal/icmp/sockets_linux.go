package icmp

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const datagramsHaveHeaders = false

// receiveOptions asks for the time, the TTL and the count of losses with each packet, and for errors
// from the network in a queue of their own, where a raw socket has them too. The answers to others'
// requests, of which every raw socket gets a copy, are left in the kernel.
func (s *socket) receiveOptions(id uint16) error {
	type option struct{ level, name int }
	want := []option{{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS}, {unix.SOL_SOCKET, unix.SO_RXQ_OVFL}}
	if s.v6 {
		want = append(want, option{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT}, option{unix.IPPROTO_IPV6, unix.IPV6_RECVERR})
	} else {
		want = append(want, option{unix.IPPROTO_IP, unix.IP_RECVTTL}, option{unix.IPPROTO_IP, unix.IP_RECVERR})
	}
	for _, o := range want {
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, 1); err != nil {
			return err
		}
	}
	if !s.raw {
		return nil
	}
	const (
		load, half, indexed = unix.BPF_LD | unix.BPF_ABS, unix.BPF_H, unix.BPF_LD | unix.BPF_IND
		jump                = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give                = unix.BPF_RET | unix.BPF_K
	)
	var program []unix.SockFilter
	if s.v6 { // the packet begins with the ICMPv6 header
		program = []unix.SockFilter{
			{Code: load | unix.BPF_B, K: 0},
			{Code: jump, K: typeReply6, Jf: 3},
			{Code: load | half, K: 4},
			{Code: jump, K: uint32(id), Jf: 1},
			{Code: give, K: 0xffffffff},
			{Code: give, K: 0},
		}
	} else {
		program = []unix.SockFilter{
			{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // X = the length of the IP header
			{Code: indexed | unix.BPF_B, K: 0},
			{Code: jump, K: typeReply4, Jf: 3},
			{Code: indexed | half, K: 4},
			{Code: jump, K: uint32(id), Jf: 1},
			{Code: give, K: 0xffffffff},
			{Code: give, K: 0},
		}
	}
	return unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// sendOptions has the kernel make no identifiers for packets that are never cut into fragments (RFC 6864),
// which is a twentieth of what a request costs. Larger ones may have to be.
func (s *socket) sendOptions(size int) {
	const whole = 100 // bytes of data that any link takes
	if !s.v6 && size <= whole {
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}
}

func bindDevice(fd int, _ bool, name string) error { return unix.BindToDevice(fd, name) }

// A sockaddr6 is the address of a host as the kernel reads it, which has room for one of IPv4.
type sockaddr6 struct {
	raw  unix.RawSockaddrInet6
	size uintptr
}

func destination(a netip.Addr) any {
	to := new(sockaddr6)
	if a.Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&to.raw)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.As4()}
		to.size = unix.SizeofSockaddrInet4
	} else {
		to.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.As16(), Scope_id: zone(a.Zone())}
		to.size = unix.SizeofSockaddrInet6
	}
	return to
}

// sendTo sends b. Like fill it does not block, and so the runtime need not know of the call: that is a
// tenth of what a request costs.
func sendTo(fd int, b []byte, to any) error {
	address := to.(*sockaddr6)
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&address.raw)), address.size)
	if errno != 0 {
		return errno
	}
	return nil
}

// An inbox is the memory that recvmmsg(2) fills.
type inbox struct {
	msgs  []message
	iovs  []unix.Iovec
	bufs  []byte
	names []unix.RawSockaddrInet6
	oobs  []byte
	each  int // bytes for one packet
	zones zones
}

// A message is struct mmsghdr.
type message struct {
	hdr unix.Msghdr
	n   uint32
}

const oobSize = 256

func newInbox(size int) inbox {
	const all = 256 << 10 // no more than this for large packets
	each := size + headerSize + 60
	n := min(max(all/each, 1), burst)
	in := inbox{
		msgs: make([]message, n), iovs: make([]unix.Iovec, n), names: make([]unix.RawSockaddrInet6, n),
		bufs: make([]byte, n*each), oobs: make([]byte, n*oobSize), each: each,
	}
	for i := range in.msgs {
		in.iovs[i].Base = &in.bufs[i*each]
		in.iovs[i].SetLen(each)
		h := &in.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&in.names[i]))
		h.Iov = &in.iovs[i]
		h.SetIovlen(1)
		h.Control = &in.oobs[i*oobSize]
	}
	return in
}

// fill receives what there is. The socket does not block, so the runtime need not know of the call.
func (in *inbox) fill(fd, flags int) (int, error) {
	for i := range in.msgs {
		h := &in.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(oobSize)
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.msgs[0])),
			uintptr(len(in.msgs)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, errno
		}
	}
}

func (in *inbox) packet(i int) (b, oob []byte) {
	m := &in.msgs[i]
	return in.bufs[i*in.each:][:min(int(m.n), in.each)], in.oobs[i*oobSize:][:min(int(m.hdr.Controllen), oobSize)]
}

func (s *socket) from(i int) netip.Addr {
	return s.rawAddress(unsafe.Slice((*byte)(unsafe.Pointer(&s.in.names[i])), unix.SizeofSockaddrInet6))
}

// rawAddress reads a struct sockaddr_in or sockaddr_in6.
func (s *socket) rawAddress(b []byte) netip.Addr {
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) >= 8:
		return netip.AddrFrom4([4]byte(b[4:8]))
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		return s.address(netip.AddrFrom16([16]byte(b[8:24])), binary.NativeEndian.Uint32(b[24:]))
	}
	return netip.Addr{}
}

// receive takes answers, and then errors. An error that is about to be told also makes the next call
// fail with it, once: such a failure says nothing about the call.
func (s *socket) receive(p *Pinger) error {
	soft := 0
	for {
		n, err := s.in.fill(s.fd, 0)
		if err != nil {
			if soft++; soft > len(s.in.msgs) {
				return err // the same again and again: the socket is of no use any more
			}
			s.errors(p)
			continue
		}
		if n == 0 {
			break
		}
		now := p.now()
		for i := range n {
			b, oob := s.in.packet(i)
			c := parseControl(oob)
			s.take(p, b, s.from(i), &c, now)
		}
		if n < len(s.in.msgs) {
			break
		}
	}
	s.errors(p)
	return nil
}

// errors takes errors from the network: the request comes back as the packet, who says so and why
// stand beside it (struct sock_extended_err).
func (s *socket) errors(p *Pinger) {
	for {
		n, err := s.in.fill(s.fd, unix.MSG_ERRQUEUE)
		if err != nil || n == 0 {
			return
		}
		now := p.now()
		for i := range n {
			b, oob := s.in.packet(i)
			seq, ours := parseQuote(b, s.request, s.v6, s.raw)
			if !ours {
				continue
			}
			eachControl(oob, func(level, kind int32, data []byte) {
				const size = 16
				told := level == unix.IPPROTO_IP && kind == unix.IP_RECVERR || level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR
				if !told || len(data) < size {
					return
				}
				errno, origin := binary.NativeEndian.Uint32(data), data[4]
				switch origin {
				case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
					if origin == unix.SO_EE_ORIGIN_ICMP && (data[5] == 4 || data[5] == 5) {
						return // source quench and redirect: advice, the answer may still come
					}
					why := explain(s.v6, data[5], data[6], binary.NativeEndian.Uint32(data[8:]))
					p.fail(seq, s.rawAddress(data[size:]), why, now)
				case unix.SO_EE_ORIGIN_LOCAL:
					p.fail(seq, netip.Addr{}, unix.Errno(errno).Error(), now)
				}
			})
		}
	}
}

func parseControl(oob []byte) (c control) {
	eachControl(oob, func(level, kind int32, data []byte) {
		switch {
		case level == unix.SOL_SOCKET && kind == unix.SO_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			ts := (*unix.Timespec)(unsafe.Pointer(&data[0]))
			c.stamp = time.Unix(ts.Unix())
		case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(data) >= 4:
			c.dropped, c.counted = binary.NativeEndian.Uint32(data), true
		case (level == unix.IPPROTO_IP && kind == unix.IP_TTL ||
			level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT) && len(data) >= 4:
			c.ttl = int(binary.NativeEndian.Uint32(data))
		}
	})
	return c
}

// eachControl calls f for each control message (cmsg(3)), without a copy.
func eachControl(oob []byte, f func(level, kind int32, data []byte)) {
	for len(oob) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		n := int(h.Len)
		if n < unix.CmsgLen(0) || n > len(oob) {
			return
		}
		f(h.Level, h.Type, oob[unix.CmsgLen(0):n])
		oob = oob[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(oob)):]
	}
}

// poll waits until one of fds is ready, or for d.
func poll(fds []unix.PollFd, d time.Duration) error {
	ts := unix.NsecToTimespec(int64(d))
	_, err := unix.Ppoll(fds, &ts, nil)
	if err == unix.EINTR {
		err = nil // the loop looks at the time and asks again
	}
	return err
}
