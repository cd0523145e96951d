package sock

import (
	"strings"
	"testing"
)

func TestParseAddr(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Addr
		str  string // what String prints; "" is in itself
	}{
		{"9999", Addr{Net: "tcp", Port: 9999}, "*:9999"},
		{":9999", Addr{Net: "tcp", Port: 9999}, "*:9999"},
		{"*:9999", Addr{Net: "tcp", Port: 9999}, ""},
		{"0", Addr{Net: "tcp"}, "*:0"},
		{"0080", Addr{Net: "tcp", Port: 80}, "*:80"},
		{"localhost:65535", Addr{Net: "tcp", Host: "localhost", Port: 65535}, ""},
		{"127.0.0.1:9999", Addr{Net: "tcp", Host: "127.0.0.1", Port: 9999}, ""},
		{"[::1]:80", Addr{Net: "tcp", Host: "::1", Port: 80}, ""},
		{"[fe80::1%eth0]:80", Addr{Net: "tcp", Host: "fe80::1%eth0", Port: 80}, ""},
		{"tcp://a.example:1", Addr{Net: "tcp", Host: "a.example", Port: 1}, "a.example:1"},
		{"tcp://unix:1", Addr{Net: "tcp", Host: "unix", Port: 1}, ""},
		{"udp://:53", Addr{Net: "udp", Port: 53}, "udp://*:53"},
		{"udp://53", Addr{Net: "udp", Port: 53}, "udp://*:53"},
		{"udp://host:53", Addr{Net: "udp", Host: "host", Port: 53}, ""},
		{"udp://[::]:53", Addr{Net: "udp", Host: "::", Port: 53}, ""},
		{"unix:/run/x", Addr{Net: "unix", Path: "/run/x"}, ""},
		{"unix:x y", Addr{Net: "unix", Path: "x y"}, ""},
		{"unix:@name", Addr{Net: "unix", Path: "@name"}, ""},
		{"@name", Addr{Net: "unix", Path: "@name"}, "unix:@name"},
		{"/run/x", Addr{Net: "unix", Path: "/run/x"}, "unix:/run/x"},
		{"./@x", Addr{Net: "unix", Path: "./@x"}, "unix:./@x"},
		{"a/b:80", Addr{Net: "unix", Path: "a/b:80"}, "unix:a/b:80"},
		{"fifo:/tmp/f", Addr{Net: "fifo", Path: "/tmp/f"}, ""},
		{"fifo:@f", Addr{Net: "fifo", Path: "@f"}, ""},
		{"fd:0", Addr{Net: "fd"}, ""},
		{"fd:17", Addr{Net: "fd", FD: 17}, ""},
	} {
		got, err := ParseAddr(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseAddr(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
			continue
		}
		if tt.str == "" {
			tt.str = tt.in
		}
		if got.String() != tt.str {
			t.Errorf("ParseAddr(%q).String() = %q; want %q", tt.in, got.String(), tt.str)
		}
	}
}

func TestParseAddrErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "the address is missing"},
		{"localhost", "localhost: the port is missing"},
		{"localhost:", "localhost:: the port is missing"},
		{"127.0.0.1", "127.0.0.1: the port is missing"},
		{"[::1]", "[::1]: the port is missing"},
		{"tcp://", ": the port is missing"},
		{"99x", `"99x" is not a port number`},
		{"-1", `"-1" is not a port number`},
		{"h:x", `"x" is not a port number`},
		{"h: 80", `" 80" is not a port number`},
		{"70000", "70000 is not a port: the highest is 65535"},
		{"h:99999999999999999999", "99999999999999999999 is not a port: the highest is 65535"},
		{"::1:80", "::1:80: an IPv6 address goes in brackets, as in [::1]:80"},
		{"[::1:80", "[::1:80: ] is missing"},
		{"[::1]80", "[::1]80: after ] comes :PORT"},
		{"[]:80", `"" is not an IPv6 address`},
		{"[127.0.0.1]:80", `"127.0.0.1" is not an IPv6 address`},
		{"[::1%a b]:80", `"::1%a b" is not a host`},
		{"a b:80", `"a b" is not a host`},
		{"a\x1b:80", `"a\x1b" is not a host`},
		{"tls://h:443", "tls://h:443: tls:// is for relay, which can stand in front"},
		{"http://h:80", `http://h:80: "http://" is no kind of address`},
		{"tcp://h:80/", `"80/" is not a port number`},
		{"unix:", "unix:: the path is missing"},
		{"@", "@: the name is missing"},
		{"/a\x00b", `"/a\x00b": a path cannot hold a NUL`},
		{"fd:x", `"x" is not the number of a descriptor`},
		{"fd:-1", `"-1" is not the number of a descriptor`},
		{"fd:3000000000", `"3000000000" is not the number of a descriptor`},
	} {
		got, err := ParseAddr(tt.in)
		if err == nil || err.Error() != tt.want || got != (Addr{}) {
			t.Errorf("ParseAddr(%q) = %+v, %v; want %s", tt.in, got, err, tt.want)
		}
	}
}

func TestParseHostPort(t *testing.T) {
	for _, tt := range []struct {
		host, port string
		want       string // String, or the error
	}{
		{"localhost", "9999", "localhost:9999"},
		{"unix", "9999", "tcp://unix:9999"},
		{"::1", "80", "[::1]:80"},
		{"[::1]", "80", "[::1]:80"},
		{"", "80", "the host is missing"},
		{"*", "80", "the host is missing"},
		{"h", "", "the port is missing"},
		{"h", "x", `"x" is not a port number`},
		{"h", "65536", "65536 is not a port: the highest is 65535"},
		{"h:1", "80", `"h:1" is not an IPv6 address`},
		{"[h]", "80", `"h" is not an IPv6 address`},
		{"a/b", "80", `"a/b" is not a host`},
	} {
		got, err := ParseHostPort(tt.host, tt.port)
		s := got.String()
		if err != nil {
			s = err.Error()
		}
		if s != tt.want {
			t.Errorf("ParseHostPort(%q, %q) = %s; want %s", tt.host, tt.port, s, tt.want)
		}
	}
}

func TestCheckPort(t *testing.T) {
	for _, tt := range []struct {
		in  string
		any bool
		ok  bool
	}{
		{"0", false, true}, {"1023", false, false}, {"1024", false, true},
		{"49151", false, true}, {"49152", false, false}, {"udp://53", false, false},
		{"1", true, true}, {"65535", true, true}, {"unix:/x", false, true}, {"fd:3", false, true},
	} {
		a, err := ParseAddr(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.CheckPort(tt.any); (err == nil) != tt.ok {
			t.Errorf("%s: CheckPort(%v) = %v; want ok %v", a, tt.any, err, tt.ok)
		}
	}
	err := Addr{Net: "tcp", Port: 80}.CheckPort(false)
	if want := "port 80 is outside 1024-49151; --any-port allows it"; err == nil || err.Error() != want {
		t.Errorf("CheckPort = %v; want %s", err, want)
	}
}

func FuzzParseAddr(f *testing.F) {
	for _, s := range []string{
		"80", "h:80", "*:80", "[::1]:80", "[fe80::1%x]:0", "udp://:53", "tcp://fd:1", "tls://h:1",
		"unix:@n", "unix:/x", "fifo:f", "fd:3", "/a://b", "@", "[", "[]:", "::", "a\x00/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddr(s)
		if err != nil {
			if a != (Addr{}) || strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Fatalf("ParseAddr(%q) = %+v, %q", s, a, err)
			}
			return
		}
		again, err := ParseAddr(a.String())
		if err != nil || again != a {
			t.Fatalf("ParseAddr(%q) = %+v, but ParseAddr(%q) = %+v, %v", s, a, a.String(), again, err)
		}
	})
}
