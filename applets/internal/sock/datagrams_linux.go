package sock

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagramsSystem is what Linux adds to a Datagrams.
type datagramsSystem struct {
	family int  // AF_INET, AF_INET6 or AF_UNIX
	asks   bool // whether the kernel says which of our addresses was meant
	lost   atomic.Uint32
}

func (d *Datagrams) prepare() {
	var wildcard bool
	if !d.unix {
		local, err := netip.ParseAddrPort(d.conn.LocalAddr().String())
		wildcard = err == nil && local.Addr().IsUnspecified() && !d.connected
	}
	control(d.conn, func(fd int) (err error) {
		d.system.family, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil || d.unix {
			return err
		}
		const wanted = 4 << 20 // for bursts: what comes while we wait for a processor
		if !d.connected && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wanted) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, wanted)
		}
		if !wildcard {
			return nil
		}
		if d.system.family == unix.AF_INET6 {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		} else {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
		d.system.asks = err == nil
		return err
	})
}

const controlSpace = 128 // more than pktinfo and SO_RXQ_OVFL take

// A batch is room for some datagrams, and what recvmmsg(2) and sendmmsg(2) want to know of them.
type batch struct {
	ds    []Datagram
	heads []unix.Mmsghdr
	vecs  []unix.Iovec
	names []unix.RawSockaddrAny
	ctl   []byte
	buf   []byte // only for those that receive
	used  int    // heads that the kernel has written to since they were set up
	asked bool   // whether they ask for addresses

	// One call by package net's rules, which want a function; made once, as it would be garbage each time.
	call  func(fd uintptr) bool
	from  int
	to    int
	full  bool // whether a full kernel is an error, and not waited for
	errno syscall.Errno
}

func newBatch(n int) *batch {
	b := &batch{
		ds:    make([]Datagram, n),
		heads: make([]unix.Mmsghdr, n),
		vecs:  make([]unix.Iovec, n),
		names: make([]unix.RawSockaddrAny, n),
		ctl:   make([]byte, n*controlSpace),
		buf:   make([]byte, n*room),
		used:  n,
	}
	for i := range b.heads {
		b.vecs[i].Base = &b.buf[i*room]
		b.vecs[i].SetLen(room)
		b.heads[i].Hdr.Iov = &b.vecs[i]
		b.heads[i].Hdr.SetIovlen(1)
	}
	return b
}

func (d *Datagrams) receive(r *Room, f func([]Datagram) bool) error {
	var failed error
	// Only one call of Read for all that comes: its end would forget that more is there, and every
	// batch would take one more call, which finds nothing.
	err := d.raw.Read(func(fd uintptr) bool {
		for {
			b := <-r.free
			n, errno := b.fill(int(fd), d)
			more := true
			if n > 0 {
				more = f(b.ds[:n])
			}
			drained := n < len(b.heads)
			r.free <- b
			switch {
			case !more:
				return true
			case n == 0 && errno == unix.EINTR:
			case n == 0 && errno != unix.EAGAIN:
				// About what was sent before: the socket goes on.
				if d.connected && Refused(errno) && f(nil) {
					continue
				}
				failed = errno
				return true
			case drained:
				return false // the netpoller wakes us when there is more
			}
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

// fill reads what has come, without waiting.
func (b *batch) fill(fd int, d *Datagrams) (int, syscall.Errno) {
	if b.asked == d.connected {
		b.used, b.asked = len(b.heads), !d.connected // it was another kind of socket's
	}
	for i := range b.used {
		h := &b.heads[i].Hdr
		h.Flags = 0
		if b.asked {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), unix.SizeofSockaddrAny
			h.Control = &b.ctl[i*controlSpace]
			h.SetControllen(controlSpace)
		} else {
			h.Name, h.Namelen, h.Control = nil, 0, nil
			h.SetControllen(0)
		}
	}
	b.used = 0
	// It does not wait, so the scheduler need not know.
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.heads[0])), uintptr(len(b.heads)),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	b.used = int(n)
	for i := range int(n) {
		b.read(i, d)
	}
	return int(n), 0
}

// read turns what the kernel says of one datagram into a Datagram.
func (b *batch) read(i int, d *Datagrams) {
	h := &b.heads[i]
	at := &b.ds[i]
	*at = Datagram{
		Data: b.buf[i*room : i*room+int(min(h.Len, room)) : (i+1)*room],
		Cut:  h.Hdr.Flags&unix.MSG_TRUNC != 0,
	}
	if d.connected {
		return
	}
	at.Peer, at.Path = fromSockaddr(&b.names[i], h.Hdr.Namelen)
	for ctl := b.ctl[i*controlSpace:][:h.Hdr.Controllen]; len(ctl) >= unix.CmsgLen(0); {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
		if int(c.Len) < unix.CmsgLen(0) || int(c.Len) > len(ctl) {
			break
		}
		data := ctl[unix.CmsgLen(0):c.Len]
		switch {
		case c.Level == unix.SOL_SOCKET && c.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			d.system.lost.Store(binary.NativeEndian.Uint32(data))
		case c.Level == unix.IPPROTO_IP && c.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// To a broadcast address the answer is from the one that the interface has.
			at.Local = netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)
		case c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			at.Local = netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0])).Addr).Unmap()
		}
		ctl = ctl[min(len(ctl), unix.CmsgSpace(len(data))):]
	}
}

func fromSockaddr(raw *unix.RawSockaddrAny, size uint32) (netip.AddrPort, string) {
	switch raw.Addr.Family {
	case unix.AF_INET:
		s := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), swapped(s.Port)), ""
	case unix.AF_INET6:
		s := (*unix.RawSockaddrInet6)(unsafe.Pointer(raw))
		ip := netip.AddrFrom16(s.Addr).Unmap()
		if s.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(strconv.FormatUint(uint64(s.Scope_id), 10))
		}
		return netip.AddrPortFrom(ip, swapped(s.Port)), ""
	case unix.AF_UNIX:
		s := (*unix.RawSockaddrUnix)(unsafe.Pointer(raw))
		n := int(size) - int(unsafe.Offsetof(s.Path))
		if n <= 0 {
			break // without a name
		}
		path := unsafe.Slice((*byte)(unsafe.Pointer(&s.Path)), n)
		if path[0] == 0 {
			return netip.AddrPort{}, "@" + string(path[1:])
		}
		if path[n-1] == 0 {
			path = path[:n-1]
		}
		return netip.AddrPort{}, string(path)
	}
	return netip.AddrPort{}, ""
}

// swapped turns a port of a sockaddr, which is big-endian, into a number and back.
func swapped(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

const sendBatch = 64

var senders = sync.Pool{New: func() any {
	b := &batch{
		heads: make([]unix.Mmsghdr, sendBatch),
		vecs:  make([]unix.Iovec, sendBatch),
		names: make([]unix.RawSockaddrAny, sendBatch),
		ctl:   make([]byte, sendBatch*controlSpace),
	}
	b.call = b.sendSome
	return b
}}

func (d *Datagrams) send(ds []Datagram) (sent int, err error) {
	b := senders.Get().(*batch)
	defer b.release()
	for sent < len(ds) {
		n := min(len(ds)-sent, sendBatch)
		for i := range n {
			b.write(i, &ds[sent+i], d)
		}
		// A unix socket is full because of its peer, who may never read again; and package net is
		// not told when that peer has read, unless we are connected.
		b.from, b.to, b.errno, b.full = 0, n, 0, d.unix
		err := d.raw.Write(b.call)
		sent += b.from
		if b.errno != 0 {
			return sent, b.errno
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// release keeps nothing of what was sent alive.
func (b *batch) release() {
	for i := range b.to {
		b.vecs[i].Base = nil
	}
	b.to = 0
	senders.Put(b)
}

// sendSome goes on with the batch; false means that the kernel has no room.
func (b *batch) sendSome(fd uintptr) bool {
	for b.from < b.to {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.heads[b.from])), uintptr(b.to-b.from),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			b.from += int(n)
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && !b.full:
			return false
		default:
			b.errno = errno
			return true
		}
	}
	return true
}

// write tells the kernel of one datagram.
func (b *batch) write(i int, from *Datagram, d *Datagrams) {
	h := &b.heads[i].Hdr
	b.vecs[i].Base = unsafe.SliceData(from.Data)
	b.vecs[i].SetLen(len(from.Data))
	h.Iov = &b.vecs[i]
	h.SetIovlen(1)
	h.Name, h.Namelen, h.Control = nil, 0, nil
	h.SetControllen(0)
	if d.connected {
		return
	}
	h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
	h.Namelen = toSockaddr(&b.names[i], from, d.system.family)
	if from.Local.IsValid() && d.system.asks {
		h.Control = &b.ctl[i*controlSpace]
		h.SetControllen(leaveFrom(b.ctl[i*controlSpace:][:controlSpace], from.Local, d.system.family))
	}
}

func toSockaddr(raw *unix.RawSockaddrAny, d *Datagram, family int) uint32 {
	switch family {
	case unix.AF_INET:
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(raw)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: swapped(d.Peer.Port()), Addr: d.Peer.Addr().Unmap().As4(),
		}
		return unix.SizeofSockaddrInet4
	case unix.AF_INET6:
		ip := d.Peer.Addr()
		scope, _ := strconv.ParseUint(ip.Zone(), 10, 32)
		*(*unix.RawSockaddrInet6)(unsafe.Pointer(raw)) = unix.RawSockaddrInet6{
			Family: unix.AF_INET6, Port: swapped(d.Peer.Port()), Addr: ip.As16(), Scope_id: uint32(scope),
		}
		return unix.SizeofSockaddrInet6
	}
	s := (*unix.RawSockaddrUnix)(unsafe.Pointer(raw))
	*s = unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	path := unsafe.Slice((*byte)(unsafe.Pointer(&s.Path)), len(s.Path))
	n := copy(path, d.Path)
	switch {
	case n > 0 && path[0] == '@':
		path[0] = 0
	case n < len(path):
		n++ // the closing NUL
	}
	return uint32(int(unsafe.Offsetof(s.Path)) + n)
}

// leaveFrom writes the wish to send from ip, and returns how long it is.
func leaveFrom(ctl []byte, ip netip.Addr, family int) int {
	c := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
	if family == unix.AF_INET6 {
		c.Level, c.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		c.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		*(*unix.Inet6Pktinfo)(unsafe.Pointer(&ctl[unix.CmsgLen(0)])) = unix.Inet6Pktinfo{Addr: ip.As16()}
		return unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	}
	c.Level, c.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	c.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	*(*unix.Inet4Pktinfo)(unsafe.Pointer(&ctl[unix.CmsgLen(0)])) = unix.Inet4Pktinfo{Spec_dst: ip.As4()}
	return unix.CmsgSpace(unix.SizeofInet4Pktinfo)
}
