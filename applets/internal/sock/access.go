package sock

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// An AccessList says who may come in. The empty list lets everybody in.
type AccessList []netip.Prefix

// ParseAccessList reads CIDRs and bare addresses. A v4-mapped item is the IPv4
// network that it maps, so 0.0.0.0/0 is all of IPv4 and ::/0 all of IPv6.
func ParseAccessList(items []string) (AccessList, error) {
	var l AccessList
	for _, item := range items {
		p, err := netip.ParsePrefix(item)
		if !strings.Contains(item, "/") {
			var ip netip.Addr
			// A zone is one machine's name for a link; no list can hold it.
			if ip, err = netip.ParseAddr(item); err == nil && ip.Zone() == "" {
				p = netip.PrefixFrom(ip, ip.BitLen())
			}
		}
		if err != nil || !p.IsValid() {
			return nil, fmt.Errorf("%q is not an address or a network (as 10.0.0.0/8)", item)
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		l = append(l, p.Masked())
	}
	return l, nil
}

// Allows tells whether the peer at a may come in. Peers on unix sockets always
// may: the permissions of the path have let them in already. A peer without a
// known address may only where everybody may.
func (l AccessList) Allows(a net.Addr) bool {
	if len(l) == 0 {
		return true
	}
	if _, ok := a.(*net.UnixAddr); ok {
		return true
	}
	ip := peerIP(a).Addr().WithZone("") // a prefix contains no zoned address
	for _, p := range l {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// PeerName is how a peer is shown: "ADDRESS:PORT", a v4-mapped address as IPv4
// and a zone kept; "unix" or "unix:NAME"; "unknown" where a says nothing.
func PeerName(a net.Addr) string {
	if u, ok := a.(*net.UnixAddr); ok && u != nil {
		if u.Name == "" || u.Name == "@" { // package net's two ways to say unnamed
			return "unix"
		}
		return "unix:" + show(u.Name) // the peer chose it
	}
	ip := peerIP(a)
	switch {
	case !ip.IsValid():
		return "unknown"
	case ip.Port() == 0:
		return ip.Addr().String()
	}
	return ip.String()
}

// peerIP is the zero AddrPort where a has no IP address.
func peerIP(a net.Addr) netip.AddrPort {
	var ip netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ip = a.AddrPort()
	case *net.UDPAddr:
		ip = a.AddrPort()
	case *net.IPAddr:
		addr, _ := netip.AddrFromSlice(a.IP)
		ip = netip.AddrPortFrom(addr.WithZone(a.Zone), 0)
	}
	return netip.AddrPortFrom(ip.Addr().Unmap(), ip.Port())
}
