package sock

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// The ports that applets take unless they are told --any-port.
const (
	MinPort = 1024  // below it binding needs privileges (RFC 6335, system ports)
	MaxPort = 49151 // above it are the ephemeral ports (RFC 6335, dynamic ports)
)

// An Addr is one end of a conversation as it is written on a command line. Addrs
// are comparable with ==; the fields that Net has no use for are zero.
type Addr struct {
	Net  string // "tcp", "udp", "unix", "unixgram" (a unix socket for datagrams), "fifo" or "fd"
	Host string // tcp, udp: a name or an address without brackets; "" is every address to listen on, this machine to dial
	Port int    // tcp, udp
	Path string // unix, unixgram, fifo: a path; all but fifo also "@NAME", a name in Linux's abstract space
	FD   int    // fd: the number of an inherited descriptor
}

// ParseAddr reads any form of an address:
//
//	PORT  HOST:PORT  [V6]:PORT  tcp://HOST:PORT  udp://HOST:PORT
//	unix:PATH  unix:@NAME  unixgram:PATH  unixgram:@NAME  fifo:PATH  fd:N  @NAME
//	and whatever else has a slash in it, which is the path of a unix socket
//
// HOST may be missing or * where every address is meant. Ports are 0–65535 here:
// see CheckPort.
func ParseAddr(s string) (Addr, error) {
	if s == "" {
		return Addr{}, errors.New("the address is missing")
	}
	for _, network := range []string{"unix", "unixgram", "fifo"} {
		if path, ok := strings.CutPrefix(s, network+":"); ok {
			return parsePath(network, path, s)
		}
	}
	if n, ok := strings.CutPrefix(s, "fd:"); ok {
		fd, err := strconv.ParseUint(n, 10, 31)
		if err != nil {
			return Addr{}, fmt.Errorf("%q is not the number of a descriptor", n)
		}
		return Addr{Net: "fd", FD: int(fd)}, nil
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		switch scheme {
		case "tcp", "udp":
			return parseHostPort(scheme, rest)
		case "tls":
			return Addr{}, fmt.Errorf("%s: tls:// is for relay, which can stand in front", show(s))
		}
		return Addr{}, fmt.Errorf("%s: %q is no kind of address", show(s), scheme+"://")
	}
	if s[0] == '@' || strings.Contains(s, "/") {
		return parsePath("unix", s, s)
	}
	return parseHostPort("tcp", s)
}

// ParseHostPort reads an address given as two operands. An IPv6 host may be in
// brackets or not; neither operand may be missing.
func ParseHostPort(host, port string) (Addr, error) {
	if host == "" || host == "*" {
		return Addr{}, errors.New("the host is missing")
	}
	h := host
	v6 := strings.Contains(h, ":")
	if strings.HasPrefix(h, "[") && strings.HasSuffix(h, "]") {
		h, v6 = h[1:len(h)-1], true
	}
	if err := checkHost(h, v6); err != nil {
		return Addr{}, err
	}
	n, err := parsePort(port)
	if err != nil {
		return Addr{}, err
	}
	return Addr{Net: "tcp", Host: h, Port: n}, nil
}

func parsePath(network, path, whole string) (Addr, error) {
	switch {
	case path == "":
		return Addr{}, fmt.Errorf("%s: the path is missing", show(whole))
	case network != "fifo" && path == "@":
		return Addr{}, fmt.Errorf("%s: the name is missing", show(whole))
	case strings.ContainsRune(path, 0):
		return Addr{}, fmt.Errorf("%s: a path cannot hold a NUL", show(whole))
	}
	return Addr{Net: network, Path: path}, nil
}

func parseHostPort(network, s string) (Addr, error) {
	host, port, v6 := "", s, false
	if rest, ok := strings.CutPrefix(s, "["); ok {
		var found bool
		if host, port, found = strings.Cut(rest, "]"); !found {
			return Addr{}, fmt.Errorf("%s: ] is missing", show(s))
		}
		if port != "" && port[0] != ':' {
			return Addr{}, fmt.Errorf("%s: after ] comes :PORT", show(s))
		}
		port, v6 = strings.TrimPrefix(port, ":"), true
	} else if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
		if strings.Contains(host, ":") {
			return Addr{}, fmt.Errorf("%s: an IPv6 address goes in brackets, as in [::1]:80", show(s))
		}
	} else if !portLike(s) {
		port = "" // a host by itself
	}
	if port == "" {
		return Addr{}, fmt.Errorf("%s: the port is missing", show(s))
	}
	n, err := parsePort(port)
	if err != nil {
		return Addr{}, err
	}
	if host == "*" {
		host = ""
	}
	if host != "" || v6 {
		if err := checkHost(host, v6); err != nil {
			return Addr{}, err
		}
	}
	return Addr{Net: network, Host: host, Port: n}, nil
}

// portLike tells whether a word without a colon was meant as a port rather than
// as a host, so that the message about it is the right one.
func portLike(s string) bool {
	return s != "" && strings.Contains("+-0123456789", s[:1]) && !strings.Contains(s, ".")
}

func parsePort(s string) (int, error) {
	if s == "" {
		return 0, errors.New("the port is missing")
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("%q is not a port number", s)
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s is not a port: the highest is 65535", s)
	}
	return int(n), nil
}

// checkHost refuses what can be no host, so that a typing mistake is not sent
// to a name server. In a zone the same characters are allowed as in a name.
func checkHost(host string, v6 bool) error {
	name := host
	if v6 {
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() {
			return fmt.Errorf("%q is not an IPv6 address", host)
		}
		name = ip.Zone()
	}
	for _, c := range []byte(name) {
		switch {
		case c == '.', c == '-', c == '_', c >= 0x80,
			'0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		default:
			return fmt.Errorf("%q is not a host", host)
		}
	}
	return nil
}

// String is the shortest form that ParseAddr reads as the same Addr, with * for
// every address: "127.0.0.1:9999", "[::1]:80", "*:53", "udp://host:53", "unix:/x".
func (a Addr) String() string {
	switch a.Net {
	case "unix", "unixgram", "fifo":
		return a.Net + ":" + a.Path
	case "fd":
		return "fd:" + strconv.Itoa(a.FD)
	}
	s := a.hostPort()
	if a.Host == "" {
		s = "*" + s
	}
	// A host may have the name of a kind of address.
	if a.Net != "tcp" || a.Host == "unix" || a.Host == "unixgram" || a.Host == "fifo" || a.Host == "fd" {
		s = a.Net + "://" + s
	}
	return s
}

// hostPort is the form that package net takes.
func (a Addr) hostPort() string {
	host := a.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(a.Port)
}

// CheckPort tells whether a's port is in the range of the applets that take
// MinPort–MaxPort, or 0 for a free one. With anyPort every port is in range, and
// addresses without a port always are.
func (a Addr) CheckPort(anyPort bool) error {
	if a.Net != "tcp" && a.Net != "udp" || anyPort || a.Port == 0 || a.Port >= MinPort && a.Port <= MaxPort {
		return nil
	}
	return fmt.Errorf("port %d is outside %d-%d; --any-port allows it", a.Port, MinPort, MaxPort)
}

// show leaves a plain word as it is and quotes one with odd bytes.
func show(s string) string {
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
