package sock

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// MaxDatagram is the longest datagram of UDP over IPv4: 65535 bytes less the headers (RFC 768, RFC 791).
const MaxDatagram = 65507

// room is what one datagram of a Room may take: with UDP no datagram is longer. On a unix socket one
// may be, and is then Cut.
const room = 64 << 10

// A Datagram is one that came, or is to go.
type Datagram struct {
	Data  []byte
	Peer  netip.AddrPort // who sent it, or whom it goes to; zero on unix sockets, and to who is connected
	Path  string         // the same on a unix socket, "@NAME" if abstract; "" is one without a name
	Local netip.Addr     // the address of ours that it came to, or leaves from; zero where only one is possible, or any will do
	Cut   bool           // it was longer than Data
}

// Datagrams is a socket for datagrams, read and written in batches: one system call moves as many as
// there are, where the system can do that.
type Datagrams struct {
	conn datagramConn
	raw  syscall.RawConn
	unix bool

	connected bool
	system    datagramsSystem
}

// datagramConn is what net.UDPConn and net.UnixConn have in common.
type datagramConn interface {
	net.PacketConn
	syscall.Conn
	RemoteAddr() net.Addr
}

// NewDatagrams reads and writes c, a socket for datagrams as ListenPacket and Dial give them. Who closes
// c ends Receive. On a socket that listens on every address it is asked which one was meant by each.
func NewDatagrams(c any) (*Datagrams, error) {
	if p, ok := c.(*unixPacket); ok {
		c = p.UnixConn
	}
	conn, ok := c.(datagramConn)
	if !ok {
		return nil, errors.New("not a socket for datagrams")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	_, unix := conn.(*net.UnixConn)
	// Package net says of one that is not connected that its peer is a nil pointer, or nil.
	peer := PeerName(conn.RemoteAddr())
	d := &Datagrams{conn: conn, raw: raw, unix: unix, connected: conn.RemoteAddr() != nil && peer != "unknown"}
	d.prepare()
	return d, nil
}

// A Room is where datagrams are put while they are looked at: some batches, which any number of
// sockets share, so that memory does not grow with their number.
type Room struct {
	free chan *batch
}

// NewRoom makes room for n batches of the given number of datagrams each.
func NewRoom(n, datagrams int) *Room {
	r := &Room{make(chan *batch, n)}
	for range n {
		r.free <- newBatch(datagrams)
	}
	return r
}

// Receive calls f with the datagrams that come, until f says false, the socket is closed or its read
// deadline is over, and returns the error; nil only if f ended it. What f is given is its own until it
// returns. f must not close the socket, nor receive from the same Room.
//
// On a connected socket f is called with nothing when the kernel says that nobody takes what was sent.
func (d *Datagrams) Receive(r *Room, f func([]Datagram) bool) error {
	return d.receive(r, f)
}

// Send sends all of ds, one after the other, and waits while the kernel has no room; not on a unix
// socket, where room is the peer's (EAGAIN). It returns how many were sent; with an error the next one
// was not, for this reason. A connected socket's error may be about an earlier datagram, that nobody took.
func (d *Datagrams) Send(ds []Datagram) (int, error) { return d.send(ds) }

// Lost returns how many datagrams the kernel has dropped on this socket for want of room, as far as is
// known from those that came.
func (d *Datagrams) Lost() uint32 { return d.system.lost.Load() }

// OpenDatagrams opens a UDP socket that sends to anybody, broadcast addresses too, from where o says.
func OpenDatagrams(ctx context.Context, o DialOptions) (net.PacketConn, error) {
	local := ":0"
	if o.Source != "" {
		src, err := parseSource(o.Source)
		if err != nil {
			return nil, err
		}
		local = src.String()
		if !src.Addr().IsValid() {
			local = ":" + strconv.Itoa(int(src.Port()))
		}
	}
	var lc net.ListenConfig
	if o.Interface != "" {
		lc.Control = byInterface(o.Interface, nil)
	}
	pc, err := lc.ListenPacket(ctx, "udp", local)
	if err != nil {
		return nil, fail("udp://"+local, err)
	}
	return pc, nil
}

// SourceIP is the address of a source as DialOptions has it; zero where it names none.
func SourceIP(source string) netip.Addr {
	src, err := parseSource(source)
	if err != nil || !src.Addr().IsValid() || src.Addr().IsUnspecified() {
		return netip.Addr{}
	}
	return src.Addr()
}
