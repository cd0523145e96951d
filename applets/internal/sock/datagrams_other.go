//go:build !linux

package sock

import (
	"net"
	"net/netip"
	"sync/atomic"
)

// datagramsSystem is empty here: datagrams are moved one by one, and answers leave from the address
// that the system chooses.
type datagramsSystem struct{ lost atomic.Uint32 }

func (d *Datagrams) prepare() {
	if u, ok := d.conn.(*net.UDPConn); ok && !d.connected {
		_ = u.SetReadBuffer(1 << 20)
	}
}

// A batch is room for one datagram here.
type batch struct{ buf []byte }

func newBatch(int) *batch { return &batch{make([]byte, room+1)} }

func (d *Datagrams) receive(r *Room, f func([]Datagram) bool) error {
	own := newBatch(1) // a call that waits would keep the shared ones from others
	var ds [1]Datagram
	for {
		var n int
		var err error
		ds[0] = Datagram{}
		switch c := d.conn.(type) {
		case *net.UDPConn:
			n, ds[0].Peer, err = c.ReadFromUDPAddrPort(own.buf)
			ds[0].Peer = netip.AddrPortFrom(ds[0].Peer.Addr().Unmap(), ds[0].Peer.Port())
		case *net.UnixConn:
			var from *net.UnixAddr
			n, from, err = c.ReadFromUnix(own.buf)
			if from != nil {
				ds[0].Path = from.Name
			}
		}
		if d.connected {
			ds[0].Peer, ds[0].Path = netip.AddrPort{}, ""
		}
		switch {
		case err != nil && d.connected && Refused(err) && f(nil):
			continue
		case err != nil:
			return Reason(err)
		}
		ds[0].Cut = n > room
		ds[0].Data = own.buf[:min(n, room)]
		if !f(ds[:]) {
			return nil
		}
	}
}

func (d *Datagrams) send(ds []Datagram) (sent int, err error) {
	for ; sent < len(ds); sent++ {
		m := &ds[sent]
		switch c := d.conn.(type) {
		case *net.UDPConn:
			if d.connected {
				_, err = c.Write(m.Data)
			} else {
				_, err = c.WriteToUDPAddrPort(m.Data, m.Peer)
			}
		case *net.UnixConn:
			if d.connected {
				_, err = c.Write(m.Data)
			} else {
				_, err = c.WriteToUnix(m.Data, &net.UnixAddr{Name: m.Path, Net: "unixgram"})
			}
		}
		if err != nil {
			return sent, Reason(err)
		}
	}
	return sent, nil
}
