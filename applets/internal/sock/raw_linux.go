package sock

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a loop over raw descriptors needs of what package net does for others.

// FDOf returns a descriptor of its own for c's socket, close-on-exec, which the caller closes.
func FDOf(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	if e := raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return -1, e
	}
	return fd, err
}

// ConnOf makes a connection of the stream that fd is. It has a descriptor of its own; fd stays the caller's.
func ConnOf(fd int) (net.Conn, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "")
	defer f.Close()
	return net.FileConn(f)
}

// AddrOf is what package net calls a stream's address.
func AddrOf(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)))
	}
	return &net.UnixAddr{Net: "unix"}
}

// Sockaddr is where a stream is dialled, for connect(2); nil where a name would have to be looked up
// first, and for what cannot be dialled so.
func (a Addr) Sockaddr() unix.Sockaddr {
	switch a.Net {
	case "tcp":
		host := a.Host
		if host == "" {
			host = "127.0.0.1" // as package net has it
		}
		ip, err := netip.ParseAddr(host)
		switch {
		case err != nil || ip.Zone() != "":
			return nil
		case ip.Unmap().Is4():
			return &unix.SockaddrInet4{Port: a.Port, Addr: ip.Unmap().As4()}
		}
		return &unix.SockaddrInet6{Port: a.Port, Addr: ip.As16()}
	case "unix":
		if len(a.Path) <= maxPath {
			return &unix.SockaddrUnix{Name: a.Path}
		}
	}
	return nil
}
