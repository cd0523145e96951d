package sock

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const magicHex = "0d0a0d0a000d0a515549540a"

func unhex(t testing.TB, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseProxy(t *testing.T) {
	v2 := func(s string) string { return unhex(t, magicHex+s) }
	for _, c := range []struct {
		in, source, dest string
		left             int
	}{
		{"PROXY TCP4 192.0.2.1 198.51.100.2 65535 443\r\nGET", "192.0.2.1:65535", "198.51.100.2:443", 3},
		{"PROXY TCP6 2001:db8::1 ::1 0 1\r\n", "[2001:db8::1]:0", "[::1]:1", 0},
		{"PROXY UNKNOWN\r\n", "", "", 0},
		{"PROXY UNKNOWN ffff::1 whatever 1 2 3\r\nx", "", "", 1},
		{v2("21 11 000c c0000201 c6336402 fffe 01bb") + "x", "192.0.2.1:65534", "198.51.100.2:443", 1},
		{v2("21 12 000c c0000201 c6336402 0035 0035"), "192.0.2.1:53", "198.51.100.2:53", 0},
		{v2("21 21 0024 20010db8000000000000000000000001 00000000000000000000000000000001 0001 0002"), "[2001:db8::1]:1", "[::1]:2", 0},
		{v2("20 00 0000"), "", "", 0},
		{v2("20 11 0003 ffffff") + "yz", "", "", 2}, // what LOCAL carries is of no interest
		{v2("21 00 0000"), "", "", 0},
		{v2("21 11 0011 c0000201 c6336402 fffe 01bb ee0002 6869"), "192.0.2.1:65534", "198.51.100.2:443", 0}, // an extension nobody knows
	} {
		h, n, err := ParseProxy([]byte(c.in))
		if err != nil || n != len(c.in)-c.left {
			t.Errorf("%q: %d, %v, want %d", c.in, n, err, len(c.in)-c.left)
			continue
		}
		if h.Local != (c.source == "") || !h.Local && (h.Source.String() != c.source || h.Dest.String() != c.dest) {
			t.Errorf("%q: %+v, want %s and %s", c.in, h, c.source, c.dest)
		}
		for i := range n { // every true beginning is short, none is wrong
			if _, _, err := ParseProxy([]byte(c.in[:i])); err != ErrProxyShort {
				t.Errorf("%q: %v, want short", c.in[:i], err)
			}
		}
	}
	for _, in := range []string{
		"G", "PROXY\r\n", "proxy TCP4", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "PROXY TCP4 1.2.3.4 ::1 1 1\r\n",
		"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
		"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n", "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n", "PROXY TCP6 fe80::1%lo ::1 1 1\r\n", "PROXY \r\n",
		"PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n",
		v2("11 11 000c c0000201 c6336402 fffe 01bb"), v2("22 11 000c c0000201 c6336402 fffe 01bb"), v2("21 41 0000"), v2("21 13 000c c0000201 c6336402 fffe 01bb"),
		v2("21 11 000b c0000201 c6336402 fffe 01"), v2("21 11 0801"), v2("21 11 000e c0000201 c6336402 fffe 01bb 0300"),
		v2("21 11 0010 c0000201 c6336402 fffe 01bb ee000268"), v2("21 11 0013 c0000201 c6336402 fffe 01bb 03 0004 00000000"),
	} {
		if h, _, err := ParseProxy([]byte(in)); err == nil || err == ErrProxyShort {
			t.Errorf("%q: %+v, %v, want an error", in, h, err)
		}
	}
}

func TestProxyAppend(t *testing.T) {
	tcp := func(s string) net.Addr { a, _ := net.ResolveTCPAddr("tcp", s); return a }
	udp := func(s string) net.Addr { a, _ := net.ResolveUDPAddr("udp", s); return a }
	for _, c := range []struct {
		h       ProxyHeader
		version int
		want    string
	}{
		{ProxyHeader{Source: tcp("192.0.2.1:1"), Dest: tcp("192.0.2.2:2")}, 1, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"},
		{ProxyHeader{Source: tcp("[::ffff:192.0.2.1]:1"), Dest: tcp("192.0.2.2:2")}, 1, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"},
		{ProxyHeader{Source: tcp("[2001:db8::1]:1"), Dest: tcp("192.0.2.2:2")}, 1, "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 2\r\n"},
		{ProxyHeader{Source: &net.UnixAddr{Net: "unix"}, Dest: tcp("192.0.2.2:2")}, 1, "PROXY UNKNOWN\r\n"},
		{ProxyHeader{Source: udp("192.0.2.1:1"), Dest: udp("192.0.2.2:2"), Datagram: true}, 1, "PROXY UNKNOWN\r\n"},
		{ProxyHeader{Local: true}, 1, "PROXY UNKNOWN\r\n"},
		{ProxyHeader{Local: true}, 2, unhex(t, magicHex+"20000000")},
		{ProxyHeader{Source: udp("192.0.2.1:1"), Dest: udp("192.0.2.2:2"), Datagram: true}, 2, unhex(t, magicHex+"2112000cc0000201c000020200010002")},
		{ProxyHeader{Source: &net.UnixAddr{Net: "unix"}, Dest: tcp("192.0.2.2:2")}, 2, unhex(t, magicHex+"21000000")},
		{ProxyHeader{Source: &net.UnixAddr{Net: "unix"}, Dest: &net.UnixAddr{Net: "unix", Name: strings.Repeat("x", 109)}}, 2, unhex(t, magicHex+"21000000")},
	} {
		b, err := c.h.Append([]byte("x"), c.version)
		if err != nil || string(b) != "x"+c.want {
			t.Errorf("%+v: %q, %v, want %q", c.h, b, err, c.want)
		}
	}
	// There and back.
	for _, h := range []ProxyHeader{
		{Source: tcp("[2001:db8::1]:1"), Dest: tcp("[::1]:65535")},
		{Source: udp("192.0.2.1:1"), Dest: udp("192.0.2.2:2"), Datagram: true},
		{Source: &net.UnixAddr{Net: "unix", Name: "@abstract"}, Dest: &net.UnixAddr{Net: "unix", Name: "/run/x"}},
	} {
		b, _ := h.Append(nil, 2)
		got, n, err := ParseProxy(b)
		if err != nil || n != len(b) || got.Source.String() != h.Source.String() || got.Dest.String() != h.Dest.String() || got.Datagram != h.Datagram {
			t.Errorf("%+v came back as %+v, %v", h, got, err)
		}
	}
	if _, err := (ProxyHeader{}).Append(nil, 3); err == nil {
		t.Error("version 3 was written")
	}
}

func TestProxyChecksum(t *testing.T) {
	// The sum was computed apart from the code here, bit by bit.
	good := unhex(t, magicHex+"2111 0013 c0000201 c6336402 fffe 01bb 03 0004 "+crcBitwise(unhex(t, magicHex+"2111 0013 c0000201 c6336402 fffe 01bb 03 0004 00000000")))
	if _, _, err := ParseProxy([]byte(good)); err != nil {
		t.Error(err)
	}
}

// crcBitwise is CRC-32C of s in hex, from its definition (RFC 9260, appendix A).
func crcBitwise(s string) string {
	crc := ^uint32(0)
	for i := range len(s) {
		crc ^= uint32(s[i])
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78*(crc&1)
		}
	}
	crc = ^crc
	return hex.EncodeToString([]byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)})
}

func TestProxyListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := NewProxyListener(l, nil)
	refused := make(chan error, 4)
	p.Refused = func(_ net.Addr, err error) { refused <- err }
	defer p.Close()
	dial := func(parts ...string) net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		for _, s := range parts {
			io.WriteString(c, s)
		}
		return c
	}
	dial()        // says nothing, and holds up nobody
	dial("PROXY") // nor does this one
	bad := dial("GET / HTTP/1.0\r\n\r\n")
	dial("PROXY TCP4 192.0.2.1 192.0.2.2 1 2", "\r\nhel", "lo").(*net.TCPConn).CloseWrite()
	c, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if string(got) != "hello" || err != nil || c.RemoteAddr().String() != "192.0.2.1:1" || c.LocalAddr().String() != "192.0.2.2:2" {
		t.Errorf("%q, %v from %v to %v", got, err, c.RemoteAddr(), c.LocalAddr())
	}
	if err := <-refused; err != errNotProxy {
		t.Errorf("refused with %v", err)
	}
	if n, err := bad.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a connection without a header is still open")
	}
	p.Close()
	if _, err := p.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestProxyListenerUntrusted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	far, _ := ParseAccessList([]string{"192.0.2.0/24"})
	p := NewProxyListener(l, far)
	defer p.Close()
	d, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	io.WriteString(d, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
	c, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 5)
	if io.ReadFull(c, b); string(b) != "PROXY" || c.RemoteAddr().String() != d.LocalAddr().String() {
		t.Errorf("%q from %v: a stranger's header was believed", b, c.RemoteAddr())
	}
}

func FuzzParseProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.2 65535 443\r\nGET"))
	f.Add([]byte(unhex(f, magicHex+"2111000cc0000201c6336402fffe01bb")))
	f.Add([]byte(unhex(f, magicHex+"21110011c0000201c6336402fffe01bbee00026869")))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseProxy(b)
		if err != nil {
			if err == ErrProxyShort && len(b) >= MaxProxyHeader {
				t.Fatal("short for ever")
			}
			return
		}
		if n > len(b) || n > MaxProxyHeader || !h.Local && (h.Source == nil || h.Dest == nil) {
			t.Fatalf("%d of %d bytes: %+v", n, len(b), h)
		}
		again, err := h.Append(nil, 2)
		if err != nil {
			t.Fatal(err)
		}
		h2, _, err := ParseProxy(again)
		if err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		third, _ := h2.Append(nil, 2)
		if !bytes.Equal(again, third) {
			t.Fatalf("%x became %x", again, third)
		}
	})
}
