package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// forwarded puts into p whom a trusted proxy says that it speaks for. Each proxy adds to the end of the
// list whom it heard, so that it is read from there: the first that is no trusted proxy itself is the
// client, and what stands before that, anybody may have written. A list that is broken ends where it is.
func (s *Server) forwarded(h http.Header, p *peer) {
	var hops []hop
	if s.o.Forwarded {
		hops = parseForwarded(joined(h, "Forwarded"))
	} else {
		for item := range strings.SplitSeq(joined(h, "X-Forwarded-For"), ",") {
			hops = append(hops, hop{addr: parseNode(strings.Trim(item, " \t"))})
		}
		if proto := h["X-Forwarded-Proto"]; len(proto) == 1 && len(hops) > 0 {
			hops[len(hops)-1].proto = proto[0]
		}
	}
	for i := len(hops) - 1; i >= 0; i-- {
		if !hops[i].addr.IsValid() {
			return
		}
		p.addr = net.TCPAddrFromAddrPort(hops[i].addr)
		switch {
		case strings.EqualFold(hops[i].proto, "https"):
			p.tls = true
		case strings.EqualFold(hops[i].proto, "http"):
			p.tls = false
		}
		if !s.o.Trust.Allows(p.addr) {
			return
		}
	}
}

// A hop is what one proxy says of whom it heard.
type hop struct {
	addr  netip.AddrPort // the zero one: it does not tell
	proto string
}

// parseNode reads an address as proxies write it: with a port or without, IPv6 in brackets or not.
func parseNode(s string) netip.AddrPort {
	if a, err := netip.ParseAddrPort(s); err == nil && a.Addr().Zone() == "" {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.AddrPortFrom(a.Unmap(), 0)
	}
	return netip.AddrPort{}
}

// parseForwarded reads a Forwarded field (RFC 7239, 4). An element that is broken is one that tells
// nothing, as are all before it.
func parseForwarded(field string) (hops []hop) {
	var now hop
	for field != "" {
		field = strings.TrimLeft(field, " \t")
		if field == "" {
			break
		}
		switch field[0] {
		case ',':
			hops, now = append(hops, now), hop{}
			field = field[1:]
			continue
		case ';':
			field = field[1:]
			continue
		}
		equals := strings.IndexByte(field, '=')
		if equals <= 0 || !isToken([]byte(field[:equals])) {
			return []hop{{}}
		}
		name := strings.ToLower(field[:equals])
		value, rest, ok := cutValue(field[equals+1:])
		if !ok {
			return []hop{{}}
		}
		field = rest
		switch name {
		case "for":
			now.addr = parseNode(value)
		case "proto":
			now.proto = value
		}
	}
	return append(hops, now)
}

// cutValue takes a token or a quoted string (RFC 9110, 5.6.4) off the front of s. Tokens are read more
// widely than they are written: an address with a port belongs in quotes, and often is not.
func cutValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		if i := strings.IndexAny(s, ",; \t"); i >= 0 {
			return s[:i], s[i:], i > 0
		}
		return s, "", s != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// appendAddr appends a's address to b, without its port.
func appendAddr(b []byte, a net.Addr) []byte {
	switch t := a.(type) {
	case *net.TCPAddr:
		if ip := t.AddrPort().Addr(); ip.IsValid() {
			return ip.Unmap().AppendTo(b)
		}
	case *net.UDPAddr:
		if ip := t.AddrPort().Addr(); ip.IsValid() {
			return ip.Unmap().AppendTo(b)
		}
	case *net.UnixAddr:
		return append(b, "unix"...)
	}
	return append(b, '-')
}
