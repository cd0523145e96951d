package sock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
)

// ListenOptions are what the address does not say.
type ListenOptions struct {
	AnyPort bool        // with port 0: whichever port the kernel gives; otherwise one within MinPort–MaxPort
	Mode    os.FileMode // unix, fifo: the permissions of the path; 0 means 0600
}

func (o ListenOptions) mode() os.FileMode {
	if o.Mode == 0 {
		return 0o600
	}
	return o.Mode.Perm()
}

// portTries bounds the search for a free port: with half the range taken, all
// of them fail once in 2^64 searches.
const portTries = 64

// Listen listens on a TCP, unix or inherited socket. Connections come accepted
// and tuned (see Tune). Closing the listener frees the port, or removes the
// path if it still leads to this listener. With host "" it takes IPv4 and IPv6.
//
// On a unix path the listener is in place, with its permissions, at the moment
// the path appears. A socket that nobody listens on any more is replaced; a live
// one is an error (EADDRINUSE), as is anything that is not a socket. The name that
// accepted connections and peers see as this end's is a temporary one: print
// the Addr, not LocalAddr.
//
// ctx ends a Listen that is waiting, not the listener.
func Listen(ctx context.Context, a Addr, o ListenOptions) (net.Listener, error) {
	var ln net.Listener
	var err error
	switch a.Net {
	case "tcp":
		err = bindPort(a, o, func(a Addr) (err error) {
			ln, err = listenTCP(ctx, a)
			return err
		})
	case "unix":
		if a.Path[0] == '@' {
			ln, err = listenAbstract(ctx, a.Path)
		} else {
			ln, err = listenUnix(ctx, a.Path, o.mode())
		}
	case "fd":
		var in Inherited
		in, err = takeFD(a.FD, fdListener)
		ln = in.Listener
	default:
		err = errors.New("cannot be listened on")
	}
	if err != nil {
		return nil, fail(a.String(), err)
	}
	return ln, nil
}

// ListenPacket opens a socket for datagrams: UDP, unix (whose path comes and goes as Listen's does), or
// inherited. On Linux
// each datagram may bring the count of those that the kernel dropped: read it
// with ReadMsgUDP and OOBSpace bytes of room, and give that to Drops.
func ListenPacket(ctx context.Context, a Addr, o ListenOptions) (net.PacketConn, error) {
	var pc net.PacketConn
	var err error
	switch a.Net {
	case "udp":
		err = bindPort(a, o, func(a Addr) (err error) {
			var lc net.ListenConfig
			pc, err = lc.ListenPacket(ctx, "udp", a.hostPort())
			return err
		})
	case "unixgram":
		if a.Path[0] == '@' {
			if err = checkAbstract(a.Path); err == nil {
				var lc net.ListenConfig
				pc, err = lc.ListenPacket(ctx, "unixgram", a.Path)
			}
		} else {
			pc, err = listenUnixgram(ctx, a.Path, o.mode())
		}
	case "fd":
		var in Inherited
		in, err = takeFD(a.FD, fdPacket)
		pc = in.Packet
	default:
		err = errors.New("is not for datagrams")
	}
	if err != nil {
		return nil, fail(a.String(), err)
	}
	if sc, ok := pc.(syscall.Conn); ok {
		askDrops(sc)
	}
	return pc, nil
}

// bindPort calls bind with a, or where a asks for a free port inside the range,
// with random ones until one is free. Two who search at the same time cannot
// get the same: bind decides, not a look beforehand.
func bindPort(a Addr, o ListenOptions, bind func(Addr) error) error {
	if a.Port != 0 || o.AnyPort {
		return bind(a)
	}
	for range portTries {
		a.Port = MinPort + rand.IntN(MaxPort-MinPort+1)
		if err := bind(a); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return &reason{fmt.Sprintf("no free port in %d-%d was found", MinPort, MaxPort), syscall.EADDRINUSE}
}

func listenTCP(ctx context.Context, a Addr) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1} // Tune does it
	// Multipath TCP, package net's default for listeners, has no TCP_INFO that
	// Acked could believe, and no splice.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", a.hostPort())
	if err != nil {
		return nil, err
	}
	tcp := ln.(*net.TCPListener)
	return tcpListener{tcp, tuneListener(tcp)}, nil
}

// A tcpListener tunes what it accepts, unless that has it from the listener. All else is the listener's own.
type tcpListener struct {
	*net.TCPListener
	inherited bool
}

func (l tcpListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	if !l.inherited {
		Tune(c)
	}
	return c, nil
}
