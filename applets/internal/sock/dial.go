package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// DialOptions are what the address does not say.
type DialOptions struct {
	Source  string        // tcp, udp: where to dial from: "ADDR", "ADDR:PORT", "[V6]:PORT" or ":PORT"; "" leaves it to the kernel
	Timeout time.Duration // for name, connection and all, a full backlog too; 0 leaves it to ctx and the kernel

	Interface string // tcp, udp: go by this network interface only (SO_BINDTODEVICE, Linux); "" leaves it to the kernel
}

// Dial connects to a TCP, UDP or unix address, or takes over an inherited
// connection. A unix socket for datagrams gets an abstract name on Linux, so that it can be answered. A name's addresses are tried as RFC 8305 says, and the connection
// comes tuned (see Tune). ctx ends the dialling, not the connection.
func Dial(ctx context.Context, a Addr, o DialOptions) (net.Conn, error) {
	c, err := dial(ctx, a, o)
	if err != nil {
		if o.Source != "" && isAny(err, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE) {
			err = fmt.Errorf("from %s: %w", show(o.Source), Reason(err))
		}
		return nil, fail(a.String(), err)
	}
	Tune(c)
	return c, nil
}

// Check tells whether o can be meant for a: what Dial would say each time, whoever is there.
func (o DialOptions) Check(a Addr) error {
	if o.Interface != "" && a.Net != "tcp" && a.Net != "udp" {
		return noInterface(o.Interface)
	}
	if o.Source == "" {
		return nil
	}
	src, err := parseSource(o.Source)
	switch {
	case err != nil:
		return err
	case a.Net != "tcp" && a.Net != "udp":
		return noSource(o.Source)
	}
	if ip, err := netip.ParseAddr(a.Host); err == nil && src.Addr().IsValid() && ip.Unmap().Is4() != src.Addr().Is4() {
		return fmt.Errorf("source %s and %s are not of one version of IP", src.Addr(), ip)
	}
	return nil
}

func noInterface(name string) error {
	return fmt.Errorf("only tcp and udp go by an interface (%s)", show(name))
}

func noSource(source string) error {
	return fmt.Errorf("only tcp and udp have a source address (%s)", show(source))
}

func dial(ctx context.Context, a Addr, o DialOptions) (net.Conn, error) {
	d := &net.Dialer{Timeout: o.Timeout, KeepAlive: -1} // Tune does it
	d.SetMultipathTCP(false)
	if o.Source != "" {
		if err := setSource(d, a.Net, o.Source); err != nil {
			return nil, err
		}
	}
	if o.Interface != "" {
		if a.Net != "tcp" && a.Net != "udp" {
			return nil, noInterface(o.Interface)
		}
		d.Control = byInterface(o.Interface, d.Control)
	}
	switch a.Net {
	case "tcp", "udp":
		if a.Port == 0 {
			return nil, errors.New("port 0 cannot be dialled")
		}
		return d.DialContext(ctx, a.Net, a.hostPort())
	case "unix":
		return dialBacklog(ctx, d, a.Path)
	case "unixgram":
		d.Control = func(_, _ string, c syscall.RawConn) error { return autobind(c) }
		return dialUnix(ctx, d, "unixgram", a.Path)
	case "fd":
		in, err := takeFD(a.FD, fdConn)
		return in.Conn, err
	}
	return nil, errors.New("cannot be dialled")
}

// A controlFunc prepares a socket before it is bound or connected, as net.Dialer and net.ListenConfig have it.
type controlFunc = func(network, address string, c syscall.RawConn) error

// byInterface has a socket go by the interface called name, after what before does, if anything.
func byInterface(name string, before controlFunc) controlFunc {
	return func(network, address string, c syscall.RawConn) error {
		if before != nil {
			if err := before(network, address, c); err != nil {
				return err
			}
		}
		var err error
		if e := c.Control(func(fd uintptr) { err = bindToDevice(int(fd), name) }); e != nil {
			return e
		}
		if err != nil {
			err = &reason{fmt.Sprintf("interface %s: %v", show(name), err), err}
		}
		return err
	}
}

func setSource(d *net.Dialer, network, source string) error {
	src, err := parseSource(source)
	if err != nil {
		return err
	}
	switch network {
	case "tcp":
		d.LocalAddr = net.TCPAddrFromAddrPort(src)
	case "udp":
		d.LocalAddr = net.UDPAddrFromAddrPort(src)
	default:
		return noSource(source)
	}
	d.Control = func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { tuneSource(int(fd), network, src.Port() != 0) })
	}
	return nil
}

// parseSource reads a source, which is a literal address: a name would have to
// be resolved before it is known which of its addresses can reach the peer.
func parseSource(s string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), 0), nil
	}
	a, err := parseHostPort("tcp", s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("source %w", err)
	}
	if a.Host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(a.Port)), nil
	}
	ip, err := netip.ParseAddr(a.Host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("source %q is not an address of this machine", a.Host)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)), nil
}

const (
	keepIdle     = 15 * time.Second // with the next two, a silent dead peer is noticed in 30 s
	keepInterval = 5 * time.Second
	keepCount    = 3
	retry        = 2 * time.Second  // at most, so that the kernel's 15 tries (tcp(7), tcp_retries2) are over in 27 s
	userTimeout  = 30 * time.Second // where the kernel has no such bound
)

// Tune sets what every TCP connection of ours has: no delay, keepalive, and on
// Linux the end of a peer that acknowledges nothing for half a minute. A peer that
// acknowledges and has no room is kept, by Linux 6.15 (TCP_RTO_MAX_MS); before
// that it has as long, as TCP_USER_TIMEOUT cannot tell the two apart. A connection
// inside another (as in TLS) is found through its NetConn method; any other kind
// is left as it is.
func Tune(c net.Conn) {
	tcp, ok := Innermost(c).(*net.TCPConn)
	if !ok {
		return
	}
	// What fails here fails because the connection has ended, which the next
	// read or write tells better.
	_ = tcp.SetNoDelay(true)
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount,
	})
	tuneTCP(tcp)
}

const (
	sessionTimeout = 10 * time.Second // in place of userTimeout
	linkRetry      = time.Second
)

// TuneLink is for a link, whose two ends tell by themselves that they are there. On Linux what was lost is
// sent again every second (Linux 6.15; before that, at times that double), so that it goes on soon after the
// path does. It has no TCP_USER_TIMEOUT, which also ends a connection on which the peer has no room for so
// long, however often it says so: an input may be full for hours.
func TuneLink(c net.Conn) { tuneAgain(c, 0) }

// TuneSession is for another connection that a new one can take the place of: it is sent again as by a
// link, and given up after 10 s without an acknowledgement.
func TuneSession(c net.Conn) { tuneAgain(c, sessionTimeout) }

func tuneAgain(c net.Conn, timeout time.Duration) {
	if tcp, ok := Innermost(c).(*net.TCPConn); ok {
		tuneLink(tcp, timeout)
	}
}

// Innermost is the connection that c is, inside of all that has a NetConn method, as TLS.
func Innermost(c net.Conn) net.Conn {
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = w.NetConn()
	}
}
