package icmp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for _, c := range []struct {
		in          string
		n           int
		first, last string
	}{
		{"192.168.0.0/24", 254, "192.168.0.1", "192.168.0.254"},
		{"192.168.0.77/24", 254, "192.168.0.1", "192.168.0.254"},
		{"10.0.0.0/31", 2, "10.0.0.0", "10.0.0.1"},
		{"10.0.0.7/32", 1, "10.0.0.7", "10.0.0.7"},
		{"255.255.255.0/24", 254, "255.255.255.1", "255.255.255.254"},
		{"10.0.0.5-10.0.1.4", 256, "10.0.0.5", "10.0.1.4"},
		{"255.255.255.254-255.255.255.255", 2, "255.255.255.254", "255.255.255.255"},
		{"fd00::/126", 4, "fd00::", "fd00::3"},
		{"fe80::1%lo-fe80::3%lo", 3, "fe80::1%lo", "fe80::3%lo"},
		{"10.0.0.0/15", 131070, "10.0.0.1", "10.1.255.254"},
	} {
		got, err := ParseRange(c.in)
		if err != nil || len(got) != c.n || got[0].Name != c.first || got[len(got)-1].Name != c.last {
			t.Errorf("ParseRange(%q): %d, %v", c.in, len(got), err)
		}
	}
	for _, in := range []string{"", "x", "10.0.0.1", "10.0.0.1-", "-10.0.0.1", "10.0.0.2-10.0.0.1", "10.0.0.1-fd00::1", "10.0.0.0/33",
		"10.0.0.0/8", "fd00::/64", "0.0.0.0-255.255.255.255", "::-ffff::"} {
		if got, err := ParseRange(in); err == nil {
			t.Errorf("ParseRange(%q): %d targets", in, len(got))
		}
	}
}

func TestReadHosts(t *testing.T) {
	got, err := ReadHosts(strings.NewReader("a\n\n  b  # the second\n# none\nc and its notes\r\nd"))
	if want := []string{"a", "b", "c", "d"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := ReadHosts(strings.NewReader(strings.Repeat("x", 5000))); err == nil || err.Error() != "a line of more than 4096 bytes" {
		t.Errorf("a line without an end: %v", err)
	}
	if _, err := ReadHosts(strings.NewReader(strings.Repeat("x\n", MaxHosts+1))); !errors.Is(err, ErrTooMany) {
		t.Errorf("too many: %v", err)
	}
}

func TestResolve(t *testing.T) {
	r := Resolver{Network: "ip"}
	got, bad := r.Resolve(context.Background(), []string{"127.0.0.1", "[::1]", "0.0.0.0", "::", "::ffff:10.0.0.1", "two words", "fe80::1%7"})
	var addrs []string
	for _, t := range got {
		addrs = append(addrs, t.Addr.String())
	}
	if want := []string{"127.0.0.1", "::1", "127.0.0.1", "::1", "10.0.0.1", "fe80::1%7"}; !slices.Equal(addrs, want) || len(bad) != 1 {
		t.Errorf("%q, %v; want %q", addrs, bad, want)
	}
	r.Network = "ip6"
	if got, bad := r.Resolve(context.Background(), []string{"127.0.0.1", "::1"}); len(got) != 1 || len(bad) != 1 {
		t.Errorf("IPv6 only: %v, %v", got, bad)
	}
}

func TestShortAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"127.1": "127.0.0.1", "1.1": "1.0.0.1", "10.258": "10.0.1.2", "10.1.258": "10.1.1.2", "0x7f000001": "127.0.0.1", "0x7f.1": "127.0.0.1",
		"2130706433": "127.0.0.1", "4294967295": "255.255.255.255", "0": "127.0.0.1",
		"": "", ".": "", "1.": "", ".1": "", "256.1": "", "1.16777216": "", "1.2.3.256": "", "1.2.3.4.5": "", "1.2.3.4.": "", "4294967296": "",
		"010.1": "", "0x": "", "0xg": "", "-1": "", "+1": "", "1_0": "", "1and1": "", "127.1 ": "", "00": "",
	} {
		a, err := literal(in)
		if got := a.String(); want == "" && err == nil || want != "" && (err != nil || got != want) {
			t.Errorf("literal(%q) = %s, %v; want %q", in, got, err, want)
		}
	}
}

func TestNamed(t *testing.T) {
	for name, want := range map[string]bool{"127.0.0.1": false, "127.1": false, "::": false, "FE80::1%lo": false, "::ffff:10.0.0.1": false, "[::1]": false,
		"localhost": true, "1and1.com": true} {
		if got := (Target{Name: name}).Named(); got != want {
			t.Errorf("Named(%q) = %v", name, got)
		}
	}
}
