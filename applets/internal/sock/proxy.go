package sock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol tells who is really there, before the first byte of a connection that somebody
// passes on. Two forms of the header, text (1) and binary (2), as proxy-protocol.txt of HAProxy
// describes them. Whoever may send one can pretend to be anybody: take it from trusted networks only.

// A ProxyHeader is what one header says.
type ProxyHeader struct {
	// Local: the proxy speaks for itself, as in a health check, or does not know whom it speaks for. There
	// are no addresses, those of the connection itself are true.
	Local    bool
	Datagram bool // version 2 only: the client speaks in datagrams
	// Source is the client, Dest what it connected to: both *net.TCPAddr, *net.UDPAddr or *net.UnixAddr.
	Source, Dest net.Addr
}

// ErrProxyShort says that a header has begun well and goes on: more bytes are needed.
var ErrProxyShort = errors.New("the PROXY header is not whole")

// MaxProxyHeader is the longest header that is taken.
const MaxProxyHeader = proxyFixed + maxProxyBody

const (
	proxyMark    = "PROXY "
	maxProxyLine = 107 // the longest line of version 1, as its text says
	proxyMagic   = "\r\n\r\n\x00\r\nQUIT\n"
	proxyFixed   = len(proxyMagic) + 4 // version and command, family and protocol, length
	maxProxyBody = 2048                // addresses take 216 bytes at most; the rest is for extensions

	proxyUnixPath = 108
	proxyTLVCRC   = 0x03 // PP2_TYPE_CRC32C
)

var errNotProxy = errors.New("there is no PROXY header")

// ParseProxy reads the header that b begins with, and tells how many bytes it took. It says
// ErrProxyShort as long as b may be the beginning of one; any other error is final.
func ParseProxy(b []byte) (ProxyHeader, int, error) {
	switch {
	case begins(b, proxyMark):
		return parseProxyLine(b)
	case begins(b, proxyMagic):
		return parseProxyBinary(b)
	}
	return ProxyHeader{}, 0, errNotProxy
}

// begins tells whether b begins with s, as far as there is anything to see.
func begins(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

func parseProxyLine(b []byte) (h ProxyHeader, n int, err error) {
	end := bytes.Index(b[:min(len(b), maxProxyLine)], []byte("\r\n"))
	switch {
	case end < 0 && len(b) < maxProxyLine:
		return h, 0, ErrProxyShort
	case end < 0:
		return h, 0, fmt.Errorf("the PROXY line is longer than %d bytes", maxProxyLine)
	}
	words := strings.Split(string(b[:end]), " ")
	n = end + 2
	if words[1] == "UNKNOWN" { // what follows it means nothing
		h.Local = true
		return h, n, nil
	}
	bad := fmt.Errorf("%q is no PROXY line", b[:end])
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return h, 0, bad
	}
	var ends [2]net.Addr
	for i := range ends {
		ip, err1 := netip.ParseAddr(words[2+i])
		port, err2 := strconv.ParseUint(words[4+i], 10, 16)
		if err1 != nil || err2 != nil || ip.Zone() != "" || ip.Is4() != (words[1] == "TCP4") || strconv.FormatUint(port, 10) != words[4+i] {
			return h, 0, bad
		}
		ends[i] = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	h.Source, h.Dest = ends[0], ends[1]
	return h, n, nil
}

func parseProxyBinary(b []byte) (h ProxyHeader, n int, err error) {
	if len(b) < proxyFixed {
		return h, 0, ErrProxyShort
	}
	command, family := b[len(proxyMagic)], b[len(proxyMagic)+1]
	size := int(binary.BigEndian.Uint16(b[proxyFixed-2:]))
	switch {
	case command>>4 != 2:
		return h, 0, fmt.Errorf("the PROXY header has version %d, which nobody knows", command>>4)
	case command&15 > 1:
		return h, 0, fmt.Errorf("the PROXY header has command %d, which nobody knows", command&15)
	case size > maxProxyBody:
		return h, 0, fmt.Errorf("the PROXY header is longer than %d bytes", MaxProxyHeader)
	case len(b) < proxyFixed+size:
		return h, 0, ErrProxyShort
	}
	n = proxyFixed + size
	body := b[proxyFixed:n]
	h.Local = command&15 == 0 || family>>4 == 0 || family&15 == 0
	used := 0
	if !h.Local {
		if h.Source, h.Dest, used, err = proxyAddrs(family, body); err != nil {
			return ProxyHeader{}, 0, err
		}
		h.Datagram = family&15 == 2
	} else if command&15 == 0 {
		return h, n, nil // the body of LOCAL is to be discarded, whatever it is
	}
	if err := checkTLVs(b[:n], proxyFixed+used); err != nil && !h.Local {
		return ProxyHeader{}, 0, err
	}
	return h, n, nil
}

// proxyAddrs reads the two addresses of version 2 and tells how long they are.
func proxyAddrs(family byte, body []byte) (source, dest net.Addr, used int, err error) {
	size := 0 // of one address without its port
	switch family >> 4 {
	case 1:
		size = 4
	case 2:
		size = 16
	case 3:
		size = proxyUnixPath
	}
	if size == 0 || family&15 > 2 {
		return nil, nil, 0, fmt.Errorf("the PROXY header has address family 0x%02x, which nobody knows", family)
	}
	used = 2 * size
	if size != proxyUnixPath {
		used += 4
	}
	if len(body) < used {
		return nil, nil, 0, fmt.Errorf("the PROXY header has %d bytes where its addresses need %d", len(body), used)
	}
	var ends [2]net.Addr
	for i := range ends {
		raw := body[i*size : (i+1)*size]
		if size == proxyUnixPath {
			network := "unix"
			if family&15 == 2 {
				network = "unixgram"
			}
			ends[i] = &net.UnixAddr{Net: network, Name: unixName(raw)}
			continue
		}
		ip, _ := netip.AddrFromSlice(raw)
		ap := netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(body[2*size+2*i:]))
		if family&15 == 2 {
			ends[i] = net.UDPAddrFromAddrPort(ap)
		} else {
			ends[i] = net.TCPAddrFromAddrPort(ap)
		}
	}
	return ends[0], ends[1], used, nil
}

// unixName is the sun_path in raw as package net writes it: a first zero byte, which makes an abstract
// name, is an @.
func unixName(raw []byte) string {
	if raw[0] == 0 {
		name := strings.TrimRight(string(raw[1:]), "\x00")
		if name == "" {
			return "" // unnamed
		}
		return "@" + name
	}
	path, _, _ := bytes.Cut(raw, []byte{0})
	return string(path)
}

// checkTLVs walks the extensions, which begin at from in the header, and checks the sum if there is one:
// a receiver must, says the text.
func checkTLVs(header []byte, from int) error {
	for at := from; at < len(header); {
		if len(header)-at < 3 {
			return errors.New("the PROXY header ends within an extension")
		}
		size := int(binary.BigEndian.Uint16(header[at+1:]))
		value := at + 3
		if size > len(header)-value {
			return errors.New("the PROXY header ends within an extension")
		}
		if header[at] == proxyTLVCRC {
			if size != 4 {
				return fmt.Errorf("the PROXY header's checksum has %d bytes, not 4", size)
			}
			castagnoli := crc32.MakeTable(crc32.Castagnoli) // not at start-up, which it would lengthen for all
			sum := crc32.Update(0, castagnoli, header[:value])
			sum = crc32.Update(sum, castagnoli, make([]byte, 4)) // it was made with zeros in its own place
			sum = crc32.Update(sum, castagnoli, header[value+4:])
			if sum != binary.BigEndian.Uint32(header[value:]) {
				return errors.New("the PROXY header's checksum is wrong")
			}
		}
		at = value + size
	}
	return nil
}

// Append appends the header to b in version 1 or 2. Where the two addresses are not of one kind, or of
// one that the version cannot tell (datagrams and unix sockets in version 1, long paths in version 2), it says
// that they are unknown.
func (h ProxyHeader) Append(b []byte, version int) ([]byte, error) {
	source, dest := peerIP(h.Source), peerIP(h.Dest)
	ip := !h.Local && source.IsValid() && dest.IsValid()
	v4 := ip && source.Addr().Is4() && dest.Addr().Is4()
	switch version {
	case 1:
		switch {
		case !ip || h.Datagram:
			return append(b, "PROXY UNKNOWN\r\n"...), nil
		case v4:
			return fmt.Appendf(b, "PROXY TCP4 %s %s %d %d\r\n", source.Addr(), dest.Addr(), source.Port(), dest.Port()), nil
		}
		return fmt.Appendf(b, "PROXY TCP6 %s %s %d %d\r\n", six(source), six(dest), source.Port(), dest.Port()), nil
	case 2:
		b = append(b, proxyMagic...)
		kind := byte(1)
		if h.Datagram {
			kind = 2
		}
		from, ok1 := h.Source.(*net.UnixAddr)
		to, ok2 := h.Dest.(*net.UnixAddr)
		switch {
		case v4:
			b = append(b, 0x21, 0x10|kind, 0, 12)
			b = append(append(b, source.Addr().AsSlice()...), dest.Addr().AsSlice()...)
		case ip:
			b = append(b, 0x21, 0x20|kind, 0, 36)
			s, d := source.Addr().As16(), dest.Addr().As16()
			b = append(append(b, s[:]...), d[:]...)
		case !h.Local && ok1 && ok2 && max(len(from.Name), len(to.Name)) <= proxyUnixPath:
			b = append(b, 0x21, 0x30|kind, 0, 2*proxyUnixPath)
			return appendPath(appendPath(b, from.Name), to.Name), nil
		case h.Local:
			return append(b, 0x20, 0, 0, 0), nil
		default: // somebody's, it cannot be said whose
			return append(b, 0x21, 0, 0, 0), nil
		}
		b = binary.BigEndian.AppendUint16(b, source.Port())
		return binary.BigEndian.AppendUint16(b, dest.Port()), nil
	}
	return b, fmt.Errorf("the PROXY protocol has versions 1 and 2, no %d", version)
}

// six is the IPv6 form of a's address without its zone; an IPv4 one beside an IPv6 one is written mapped.
func six(a netip.AddrPort) netip.Addr {
	return netip.AddrFrom16(a.Addr().As16())
}

func appendPath(b []byte, name string) []byte {
	var raw [proxyUnixPath]byte
	if copy(raw[:], name); raw[0] == '@' {
		raw[0] = 0
	}
	return append(b, raw[:]...)
}
