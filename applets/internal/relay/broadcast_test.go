package relay

import (
	"net"
	"testing"
)

func TestNetworkOf(t *testing.T) {
	for _, c := range []struct{ addr, prefix, broadcast string }{
		{"192.168.0.10/24", "192.168.0.0/24", "192.168.0.255"},
		{"10.1.2.3/8", "10.0.0.0/8", "10.255.255.255"},
		{"172.16.5.4/30", "172.16.5.4/30", "172.16.5.7"},
		{"172.16.5.200/20", "172.16.0.0/20", "172.16.15.255"},
		{"192.168.0.10/31", "", ""},
		{"192.168.0.10/32", "", ""},
		{"fd00::1/64", "", ""},
	} {
		ip, n, err := net.ParseCIDR(c.addr)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := networkOf(&net.IPNet{IP: ip, Mask: n.Mask})
		if ok != (c.prefix != "") || ok && (got.prefix.String() != c.prefix || got.broadcast.String() != c.broadcast) {
			t.Errorf("%s: %v, %v; want %s, %s", c.addr, got, ok, c.prefix, c.broadcast)
		}
	}
	if _, ok := networkOf(&net.UnixAddr{}); ok {
		t.Error("a unix socket has a network")
	}
}
