package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// A network is one that this machine is on, and can be broadcast to.
type network struct {
	prefix    netip.Prefix
	broadcast netip.Addr
}

// everywhere is the limited broadcast (RFC 919), which goes to the one network that the kernel chooses.
var everywhere = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// networks returns those of every interface that is up; only the one with the address source, and only
// those of the interface called name, where these are given.
func networks(source netip.Addr, name string) ([]network, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []network
	for _, i := range interfaces {
		if i.Flags&(net.FlagUp|net.FlagBroadcast) != net.FlagUp|net.FlagBroadcast || name != "" && i.Name != name {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			n, ok := networkOf(a)
			if ok && (!source.IsValid() || source == addrOf(a)) {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

func addrOf(a net.Addr) netip.Addr {
	ip, ok := a.(*net.IPNet)
	if !ok {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(ip.IP)
	return addr.Unmap()
}

// networkOf tells the network of an interface's address; ok is false where it has no broadcast address:
// IPv6 has none, nor has a link of two ends (RFC 3021).
func networkOf(a net.Addr) (n network, ok bool) {
	ip := addrOf(a)
	if !ip.Is4() {
		return n, false
	}
	bits, _ := a.(*net.IPNet).Mask.Size()
	if bits < 1 || bits > 30 {
		return n, false
	}
	n.prefix = netip.PrefixFrom(ip, bits).Masked()
	first := n.prefix.Addr().As4()
	var last [4]byte
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(first[:])|^uint32(0)>>bits)
	n.broadcast = netip.AddrFrom4(last)
	return n, true
}
