package icmp

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Echo messages: RFC 792 and RFC 4443. The eight bytes of the header are type, code, checksum (2),
// identifier (2) and sequence number (2).
const (
	typeReply4, typeRequest4 = 0, 8
	typeReply6, typeRequest6 = 129, 128
)

// newRequest is an echo request whose data begins with the cookie, as far as there is room, and goes
// on with the bytes that ping(8) sends: each the low byte of its place.
func newRequest(v6 bool, id uint16, size int, cookie [8]byte) []byte {
	b := make([]byte, headerSize+size)
	b[0] = typeRequest4
	if v6 {
		b[0] = typeRequest6
	}
	binary.BigEndian.PutUint16(b[4:], id)
	for i := range size {
		b[headerSize+i] = byte(i)
	}
	copy(b[headerSize:], cookie[:])
	return b
}

// number gives a request its number; the checksum of IPv6 is the kernel's work.
func number(b []byte, seq uint16, v6 bool) {
	binary.BigEndian.PutUint16(b[6:], seq)
	if !v6 {
		b[2], b[3] = 0, 0
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
}

// checksum is that of RFC 1071. Over a message that has its checksum in it, it is 0.
func checksum(b []byte) uint16 {
	var sum uint64
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	switch len(b) {
	case 3:
		sum += uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8
	case 2:
		sum += uint64(b[0])<<24 | uint64(b[1])<<16
	case 1:
		sum += uint64(b[0]) << 24
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A reply is what an echo reply says.
type reply struct {
	seq                  uint16
	size                 int // of the ICMP message
	ttl                  int // from an IPv4 header that came with it
	truncated, corrupted bool
}

// parseReply reads what a socket got, and tells whether it answers request. With header an IPv4
// header stands in front; with id the identifier counts and the checksum is ours to look at: a
// datagram socket's kernel sees to both.
func parseReply(b, request []byte, v6, header, id bool) (r reply, ours bool) {
	if header {
		if len(b) < 20 || b[0]>>4 != 4 {
			return r, false
		}
		n := int(b[0]&0xf) * 4
		if n < 20 || n > len(b) {
			return r, false
		}
		r.ttl = int(b[8])
		b = b[n:]
	}
	want := byte(typeReply4)
	if v6 {
		want = typeReply6
	}
	if len(b) < headerSize || b[0] != want || b[1] != 0 {
		return r, false
	}
	if id && (!bytes.Equal(b[4:6], request[4:6]) || !v6 && checksum(b) != 0) {
		return r, false
	}
	data, sent := b[headerSize:], request[headerSize:]
	if n := min(8, len(data), len(sent)); !bytes.Equal(data[:n], sent[:n]) {
		return r, false // the answer to somebody else's request
	}
	r.seq = binary.BigEndian.Uint16(b[6:])
	r.size = len(b)
	r.truncated = len(data) < len(sent)
	n := min(len(data), len(sent))
	r.corrupted = !bytes.Equal(data[:n], sent[:n]) || len(data) > len(sent)
	return r, true
}

// parseQuote reads the request that an error quotes, which may be cut after the header.
func parseQuote(b, request []byte, v6, id bool) (seq uint16, ours bool) {
	want := byte(typeRequest4)
	if v6 {
		want = typeRequest6
	}
	if len(b) < headerSize || b[0] != want || b[1] != 0 || id && !bytes.Equal(b[4:6], request[4:6]) {
		return 0, false
	}
	data, sent := b[headerSize:], request[headerSize:]
	if n := min(8, len(data), len(sent)); !bytes.Equal(data[:n], sent[:n]) {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[6:]), true
}

// explain words an ICMP error as ping(8) does.
func explain(v6 bool, kind, code uint8, info uint32) string {
	if v6 {
		switch kind {
		case 1:
			return "Destination unreachable: " + word(code, "No route", "Administratively prohibited", "Beyond scope of source address",
				"Address unreachable", "Port unreachable", "Source address failed ingress policy", "Reject route")
		case 2:
			return fmt.Sprintf("Packet too big: mtu=%d", info)
		case 3:
			return "Time exceeded: " + word(code, "Hop limit", "Defragmentation failure")
		case 4:
			return "Parameter problem: " + word(code, "Wrong header field", "Unknown header", "Unknown option")
		}
		return fmt.Sprintf("ICMP error, type %d, code %d", kind, code)
	}
	switch kind {
	case 3:
		if code == 4 {
			return fmt.Sprintf("Frag needed and DF set (mtu = %d)", info)
		}
		return word(code, "Destination Net Unreachable", "Destination Host Unreachable", "Destination Protocol Unreachable",
			"Destination Port Unreachable", "", "Source Route Failed", "Destination Net Unknown", "Destination Host Unknown",
			"Source Host Isolated", "Destination Net Prohibited", "Destination Host Prohibited",
			"Destination Net Unreachable for Type of Service", "Destination Host Unreachable for Type of Service",
			"Packet filtered", "Precedence Violation", "Precedence Cutoff")
	case 4:
		return "Source Quench"
	case 5:
		return "Redirect"
	case 11:
		return word(code, "Time to live exceeded", "Frag reassembly time exceeded")
	case 12:
		return "Parameter problem"
	}
	return fmt.Sprintf("ICMP error, type %d, code %d", kind, code)
}

func word(code uint8, words ...string) string {
	if int(code) < len(words) {
		return words[code]
	}
	return fmt.Sprintf("code %d", code)
}
