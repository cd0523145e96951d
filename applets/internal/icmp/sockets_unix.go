//go:build linux || darwin || freebsd

package icmp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// open opens what the options ask for: a socket for each family that is among the targets, or what
// connects to ports.
func open(o *Options) (carrier, error) {
	w, err := newWaker()
	if err != nil {
		return nil, err
	}
	if o.TCP > 0 {
		return newDialer(o, w), nil
	}
	c := &sockets{waker: w}
	for _, t := range o.Targets {
		at := &c.v4
		if t.Addr.Is6() {
			at = &c.v6
		}
		if *at != nil {
			continue
		}
		if *at, err = openSocket(o, t.Addr.Is6()); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// A waker ends a wait from another goroutine.
type waker struct{ r, w *os.File }

func newWaker() (waker, error) {
	r, w, err := os.Pipe()
	return waker{r, w}, err
}

func (w waker) interrupt() { w.w.Write([]byte{0}) }

func (w waker) close() {
	w.r.Close()
	w.w.Close()
}

// fd may be asked for again and again: the pipe is blocking from then on, and only polled.
func (w waker) fd() int32 { return int32(w.r.Fd()) }

// sockets is the carrier of ICMP.
type sockets struct {
	waker
	v4, v6 *socket
	fds    []unix.PollFd
}

// A socket is one for ICMP or ICMPv6.
type socket struct {
	fd      int
	v6, raw bool
	header  bool // what comes begins with an IPv4 header
	request []byte
	dropped uint32 // as the kernel counts
	in      inbox
}

func (s *socket) kind() string {
	kind, family := "datagram", "ICMP"
	if s.raw {
		kind = "raw"
	}
	if s.v6 {
		family = "ICMPv6"
	}
	return kind + " " + family
}

// openSocket opens a datagram socket, which any user in ping_group_range may have, or else a raw one.
func openSocket(o *Options, v6 bool) (*socket, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if v6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	s := &socket{v6: v6}
	fd, err := newSocket(family, unix.SOCK_DGRAM, proto)
	if err != nil {
		datagram := err
		s.raw = true
		if fd, err = newSocket(family, unix.SOCK_RAW, proto); err != nil {
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
				return nil, fmt.Errorf("%w (a datagram socket: %v; a raw one: %v)", ErrNotPermitted, datagram, err)
			}
			return nil, fmt.Errorf("%s: %w", s.kind(), err)
		}
	}
	s.fd = fd
	var random [10]byte
	rand.Read(random[:])
	id := binary.BigEndian.Uint16(random[8:])
	s.request = newRequest(v6, id, o.Size, [8]byte(random[:8]))
	s.header = !v6 && (s.raw || datagramsHaveHeaders)
	s.in = newInbox(o.Size)
	if err := s.configure(o, id); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) configure(o *Options, id uint16) error {
	// The kernel gives what it may; what it has no room for is counted.
	const room = 4 << 20
	unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room)
	unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, room)
	if err := s.receiveOptions(id); err != nil {
		return fmt.Errorf("%s: %w", s.kind(), os.NewSyscallError("setsockopt", err))
	}
	s.sendOptions(o.Size)
	return bindOut(s.fd, s.v6, o)
}

// bindOut sets where from and how far a socket sends.
func bindOut(fd int, v6 bool, o *Options) error {
	if o.TTL > 0 {
		var err error
		if v6 {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, o.TTL)
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, o.TTL)
		} else {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, o.TTL)
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, o.TTL)
		}
		if err != nil {
			return fmt.Errorf("TTL %d: %w", o.TTL, err)
		}
	}
	if o.Device != "" {
		if err := bindDevice(fd, v6, o.Device); err != nil {
			return fmt.Errorf("%s: %w", o.Device, err)
		}
	}
	if o.Source.IsValid() && o.Source.Is6() == v6 {
		if err := unix.Bind(fd, sockaddr(o.Source, 0)); err != nil {
			return fmt.Errorf("%s: %w", o.Source, err)
		}
	}
	return nil
}

func newSocket(family, kind, proto int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, kind, proto)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port, ZoneId: zone(a.Zone())}
}

func zone(name string) uint32 {
	if name == "" {
		return 0
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n)
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0 // the kernel says then that the address cannot be had
	}
	return uint32(i.Index)
}

func (c *sockets) of(v6 bool) *socket {
	if v6 {
		return c.v6
	}
	return c.v4
}

func (c *sockets) peer(h *Host) (any, error) { return destination(h.Addr), nil }

func (c *sockets) send(h *Host, id uint16) error {
	s := c.of(h.Addr.Is6())
	number(s.request, id, s.v6)
	for try := 0; ; try++ {
		err := sendTo(s.fd, s.request, h.peer)
		switch err {
		case nil:
			return nil
		case unix.EAGAIN, unix.ENOBUFS:
			return errBusy
		case unix.EINTR:
			continue
		}
		// The first error may be what became of an earlier request to somebody else, which the kernel
		// tells at the next opportunity; this one was not sent then.
		if try > 0 {
			return err
		}
	}
}

func (c *sockets) receive(p *Pinger) error {
	for _, s := range []*socket{c.v4, c.v6} {
		if s == nil {
			continue
		}
		if err := s.receive(p); err != nil {
			return fmt.Errorf("%s: %w", s.kind(), err)
		}
	}
	return nil
}

// take hands one packet to p.
func (s *socket) take(p *Pinger, b []byte, from netip.Addr, c *control, now time.Time) {
	if c.counted {
		p.Dropped += int(c.dropped - s.dropped)
		s.dropped = c.dropped
	}
	r, ours := parseReply(b, s.request, s.v6, s.header, s.raw)
	if !ours {
		p.Strays++
		return
	}
	if r.ttl == 0 {
		r.ttl = c.ttl
	}
	p.answer(r.seq, from, r, c.stamp, now)
}

// address is the sender of a packet as targets are written: with the name of the zone, if it has one.
func (s *socket) address(a netip.Addr, zone uint32) netip.Addr {
	if zone == 0 || !a.Is6() || !(a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast()) {
		return a
	}
	return a.WithZone(s.in.zones.name(zone))
}

// zones remembers the names of interfaces.
type zones map[uint32]string

func (z *zones) name(index uint32) string {
	if name, ok := (*z)[index]; ok {
		return name
	}
	if *z == nil {
		*z = zones{}
	}
	name := strconv.Itoa(int(index))
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		name = i.Name
	}
	(*z)[index] = name
	return name
}

func (c *sockets) forget(uint16) {}

func (c *sockets) wait(d time.Duration) error {
	c.fds = append(c.fds[:0], unix.PollFd{Fd: c.fd(), Events: unix.POLLIN})
	for _, s := range []*socket{c.v4, c.v6} {
		if s != nil {
			c.fds = append(c.fds, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
		}
	}
	return poll(c.fds, d)
}

func (c *sockets) describe() string {
	switch {
	case c.v6 == nil:
		return c.v4.kind()
	case c.v4 == nil:
		return c.v6.kind()
	}
	return c.v4.kind() + ", " + c.v6.kind()
}

func (c *sockets) close() {
	c.waker.close()
	for _, s := range []*socket{c.v4, c.v6} {
		if s != nil {
			unix.Close(s.fd)
		}
	}
}

// Route returns the address that this machine would send from.
func Route(o *Options, to netip.Addr) (netip.Addr, error) {
	family := unix.AF_INET
	if to.Is6() {
		family = unix.AF_INET6
	}
	fd, err := newSocket(family, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := bindOut(fd, to.Is6(), o); err != nil {
		return netip.Addr{}, err
	}
	const discard = 9 // any port but 0; nothing is sent
	if err := unix.Connect(fd, sockaddr(to, discard)); err != nil {
		return netip.Addr{}, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr), nil
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr), nil
	}
	return netip.Addr{}, unix.EAFNOSUPPORT
}

// A control is what the kernel says about a packet beside its bytes.
type control struct {
	stamp   time.Time
	ttl     int
	dropped uint32
	counted bool
}
