package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// BindOptions are what the address does not say.
type BindOptions struct {
	ListenOptions
	IPv4    bool // every address of IPv4, and none of IPv6, where no host is named
	Backlog int  // connections that may wait to be accepted; 0 is the system's most
	Group   int  // unix: whose the path is, besides the user; 0 leaves it as it is made
}

// A Bound is a socket that is there to be handed to other programs: a listener, or a socket for
// datagrams. It may be waited for without anything being taken from it. What is to be accepted here,
// one connection after the other, is what Accept is for.
type Bound struct {
	addr   Addr
	local  net.Addr
	stream bool
	own    interface{ Close() error }
	poll   *os.File        // the same socket, for raw
	raw    syscall.RawConn // package net's listeners have none to wait with
}

// Bind makes the socket for a: TCP, UDP, unix for streams, or an inherited descriptor that is one
// of these. Closing it frees the port, or removes the path, as closing a listener does; programs
// that it was handed to keep what they have.
func Bind(ctx context.Context, a Addr, o BindOptions) (*Bound, error) {
	b := &Bound{addr: a, stream: a.Net != "udp"}
	var err error
	switch a.Net {
	case "tcp", "udp":
		network := a.Net
		if o.IPv4 {
			network += "4"
		}
		err = bindPort(a, o.ListenOptions, func(a Addr) error {
			// Not tuned, and with none of the options that our own reading wants: what the program
			// gets is a plain socket.
			lc := net.ListenConfig{KeepAlive: -1}
			lc.SetMultipathTCP(false)
			if a.Net == "udp" {
				pc, err := lc.ListenPacket(ctx, network, a.hostPort())
				if err == nil {
					b.local, b.own = pc.LocalAddr(), pc
				}
				return err
			}
			ln, err := lc.Listen(ctx, network, a.hostPort())
			if err == nil {
				b.local, b.own = ln.Addr(), ln
			}
			return err
		})
	case "unix":
		var ln net.Listener
		if ln, err = Listen(ctx, a, o.ListenOptions); err != nil {
			return nil, err // it has the address
		}
		b.local, b.own = ln.Addr(), ln
		if o.Group != 0 && a.Path[0] != '@' {
			if err = os.Lchown(a.Path, -1, o.Group); err != nil {
				ln.Close()
			}
		}
	case "fd":
		var in Inherited
		if in, err = FromFD(a.FD); err != nil {
			return nil, err
		}
		switch {
		case in.Listener != nil:
			b.local, b.own = in.Listener.Addr(), in.Listener
		case in.Packet != nil:
			b.local, b.own, b.stream = in.Packet.LocalAddr(), in.Packet, false
		default:
			if in.Conn != nil {
				in.Conn.Close()
			} else {
				in.File.Close()
			}
			err = errors.New("neither a listening socket nor one for datagrams")
		}
	default:
		err = errors.New("cannot be listened on")
	}
	if err != nil {
		return nil, fail(a.String(), err)
	}
	if err := b.prepare(o.Backlog); err != nil {
		b.Close()
		return nil, fail(a.String(), err)
	}
	return b, nil
}

func (b *Bound) prepare(backlog int) error {
	sc, ok := b.own.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	fd, bad := -1, error(nil)
	err = raw.Control(func(own uintptr) {
		if fd, bad = duplicate(int(own)); bad == nil && backlog > 0 && b.stream {
			bad = syscall.Listen(fd, backlog)
		}
	})
	if fd < 0 {
		return errors.Join(err, bad)
	}
	b.poll = os.NewFile(uintptr(fd), b.addr.String()) // not in blocking mode now, and so it can be waited for
	if bad != nil {
		return bad
	}
	b.raw, err = b.poll.SyscallConn()
	return err
}

// Asked is the address that Bind was given.
func (b *Bound) Asked() Addr { return b.addr }

// Local is where the socket is: with its port, or its path.
func (b *Bound) Local() net.Addr { return b.local }

// Stream tells a listener from a socket for datagrams.
func (b *Bound) Stream() bool { return b.stream }

// File is the socket as a program is handed it, in blocking mode: O_NONBLOCK belongs to the open file,
// which all who have it share, and so it is taken away again at every call, though the last program
// has set it. The caller closes the file. From now on b is waited for, and no more accepted from.
func (b *Bound) File() (*os.File, error) {
	var fd int
	var bad error
	err := b.raw.Control(func(own uintptr) {
		// Before package os looks at the duplicate, which then leaves it so.
		if bad = syscall.SetNonblock(int(own), false); bad == nil {
			fd, bad = duplicate(int(own))
		}
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), b.addr.String()), nil
}

// Wait waits until there is a connection to accept, or a datagram to read, and takes nothing. It ends
// with an error when b is closed.
func (b *Bound) Wait() error {
	var bad error
	err := b.raw.Read(func(fd uintptr) bool {
		var there bool
		there, bad = readable(int(fd))
		return there || bad != nil
	})
	return errors.Join(err, bad)
}

// Ready is Wait that does not wait.
func (b *Bound) Ready() bool {
	there := false
	b.raw.Control(func(fd uintptr) { there, _ = readable(int(fd)) })
	return there
}

// A Queue is what waits at a socket at one moment.
type Queue struct {
	n   int             // how many, or how much; -1 if that is not known
	who map[uint64]bool // which ones, as far as that is known
}

// Queue looks at what waits. To know which ones costs more, and is asked for with names.
func (b *Bound) Queue(names bool) Queue {
	q := Queue{n: -1}
	b.raw.Control(func(fd uintptr) { q = queueOf(int(fd), b, names) })
	return q
}

// Shrank tells whether something of q was gone when later was there: less waits, or others.
func (q Queue) Shrank(later Queue) bool {
	if q.n >= 0 && later.n >= 0 && later.n < q.n {
		return true
	}
	for one := range q.who {
		if !later.who[one] {
			return true
		}
	}
	return false
}

// Accept waits for a connection and takes it: a file in blocking mode that no program is handed
// unless it is named. It ends with an error when b is closed.
func (b *Bound) Accept() (c *os.File, peer net.Addr, err error) {
	var bad error
	fd := -1
	err = b.raw.Read(func(own uintptr) bool {
		for {
			fd, peer, bad = accept(int(own))
			if bad != syscall.EINTR && bad != syscall.ECONNABORTED {
				return bad != syscall.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return nil, nil, err
	case bad != nil:
		return nil, nil, bad
	}
	return os.NewFile(uintptr(fd), "connection"), peer, nil
}

// Own is the port's listener, for who accepts in the way of package net. It is nil for datagrams.
func (b *Bound) Own() net.Listener {
	ln, _ := b.own.(net.Listener)
	return ln
}

// Packets is the socket for datagrams, and nil for streams.
func (b *Bound) Packets() net.PacketConn {
	pc, _ := b.own.(net.PacketConn)
	return pc
}

// Close ends the Waits and Accepts, and closes the socket here. It may be called twice.
func (b *Bound) Close() error {
	err := b.own.Close()
	if b.poll != nil {
		b.poll.Close()
	}
	return err
}

// Name is how the socket is shown, with the port that it has got.
func (b *Bound) Name() string {
	a := b.addr
	switch local := b.local.(type) {
	case *net.TCPAddr:
		a.Port = local.Port
	case *net.UDPAddr:
		a.Port = local.Port
	}
	return fmt.Sprint(a)
}
