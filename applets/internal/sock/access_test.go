package sock

import (
	"net"
	"net/netip"
	"testing"
)

func TestAccessList(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, tt := range []struct {
		list []string
		peer net.Addr
		want bool
	}{
		{nil, tcp("8.8.8.8:1"), true},
		{nil, nil, true},
		{[]string{"10.0.0.0/8"}, tcp("10.255.0.1:1"), true},
		{[]string{"10.0.0.0/8"}, tcp("11.0.0.1:1"), false},
		{[]string{"10.1.2.3/8"}, tcp("10.0.0.1:1"), true},
		{[]string{"10.0.0.0/8"}, tcp("[::ffff:10.0.0.1]:1"), true},
		{[]string{"::ffff:10.0.0.0/104"}, tcp("10.0.0.1:1"), true},
		{[]string{"::ffff:10.0.0.1"}, tcp("10.0.0.1:1"), true},
		{[]string{"127.0.0.1", "::1"}, tcp("[::1]:1"), true},
		{[]string{"127.0.0.1"}, tcp("127.0.0.2:1"), false},
		{[]string{"::/0"}, tcp("[::ffff:10.0.0.1]:1"), false},
		{[]string{"fe80::/10"}, tcp("[fe80::1%eth0]:1"), true},
		{[]string{"10.0.0.1"}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1)}, true},
		{[]string{"10.0.0.1"}, &net.IPAddr{IP: net.IPv4(10, 0, 0, 2)}, false},
		{[]string{"10.0.0.1"}, &net.UnixAddr{Net: "unix"}, true},
		{[]string{"0.0.0.0/0"}, nil, false},
	} {
		l, err := ParseAccessList(tt.list)
		if err != nil {
			t.Fatalf("ParseAccessList(%q): %v", tt.list, err)
		}
		if got := l.Allows(tt.peer); got != tt.want {
			t.Errorf("%q allows %v: %v; want %v", tt.list, tt.peer, got, tt.want)
		}
	}
	for _, s := range []string{"", "x", "10.0.0/8", "10.0.0.0/33", "fe80::1%eth0", "fe80::%e/10", "10.0.0.1:80", "/8"} {
		if l, err := ParseAccessList([]string{s}); err == nil {
			t.Errorf("ParseAccessList(%q) = %v; want an error", s, l)
		}
	}
}

func TestPeerName(t *testing.T) {
	for _, tt := range []struct {
		a    net.Addr
		want string
	}{
		{net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[::ffff:1.2.3.4]:5")), "1.2.3.4:5"},
		{net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[fe80::1%eth0]:5")), "[fe80::1%eth0]:5"},
		{&net.UDPAddr{IP: net.IPv4(1, 2, 3, 4), Port: 5}, "1.2.3.4:5"},
		{&net.IPAddr{IP: net.IPv6loopback}, "::1"},
		{&net.UnixAddr{Net: "unix"}, "unix"},
		{&net.UnixAddr{Net: "unix", Name: "@"}, "unix"},
		{&net.UnixAddr{Net: "unix", Name: "/a b\x1b"}, `unix:"/a b\x1b"`},
		{nil, "unknown"},
	} {
		if got := PeerName(tt.a); got != tt.want {
			t.Errorf("PeerName(%#v) = %q; want %q", tt.a, got, tt.want)
		}
	}
}
