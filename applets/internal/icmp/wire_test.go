package icmp

import (
	"encoding/binary"
	"testing"
)

func answerTo(request []byte, v6 bool) []byte {
	b := append([]byte(nil), request...)
	b[0] = typeReply4
	if v6 {
		b[0] = typeReply6
	}
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func TestChecksum(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint16
	}{
		{"", 0xffff},
		{"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", ^uint16(0xddf2)}, // RFC 1071, 3.
		{"\x00\x01\xf2", 0x0dfe},
		{"\xff\xff\xff\xff", 0},
	} {
		if got := checksum([]byte(c.in)); got != c.want {
			t.Errorf("checksum(%x) = %#x, want %#x", c.in, got, c.want)
		}
	}
	for size := range 20 {
		b := newRequest(false, 7, size, [8]byte{1, 2, 3})
		number(b, 1, false)
		if got := checksum(b); got != 0 {
			t.Errorf("%d bytes with their checksum: %#x", size, got)
		}
	}
}

func TestParseReply(t *testing.T) {
	request := newRequest(false, 0x1234, 24, [8]byte{1, 2, 3, 4, 5, 6, 7, 8})
	number(request, 9, false)
	good := answerTo(request, false)
	change := func(i int, v byte) []byte {
		b := append([]byte(nil), request...)
		b[i] = v
		return answerTo(b, false)
	}
	header := append([]byte{0x45, 19: 0}, good...)
	header[8] = 61
	for _, c := range []struct {
		what       string
		b          []byte
		header, id bool
		want       reply
		ours       bool
	}{
		{"as it should be", good, false, true, reply{seq: 9, size: 32}, true},
		{"with a header", header, true, true, reply{seq: 9, size: 32, ttl: 61}, true},
		{"nothing", nil, false, true, reply{}, false},
		{"half a header", good[:7], false, true, reply{}, false},
		{"half an IP header", header[:19], true, true, reply{}, false},
		{"an IP header that says it is longer", append([]byte{0x4f}, header[1:40]...), true, true, reply{ttl: 61}, false},
		{"a request", request, false, true, reply{}, false},
		{"another id", change(4, 0xff), false, true, reply{}, false},
		{"another id, which the kernel chose", change(4, 0xff), false, false, reply{seq: 9, size: 32}, true},
		{"another's data", change(8, 0xff), false, true, reply{}, false},
		{"other data", change(30, 0xff), false, true, reply{seq: 9, size: 32, corrupted: true}, true},
		{"a wrong checksum", append(append([]byte(nil), good[:31]...), 0), false, true, reply{}, false},
		{"cut", answerTo(good[:20], false), false, true, reply{seq: 9, size: 20, truncated: true}, true},
		{"the header only", answerTo(good[:8], false), false, true, reply{seq: 9, size: 8, truncated: true}, true},
		{"longer", answerTo(append(good[:32:32], 'x'), false), false, true, reply{seq: 9, size: 33, corrupted: true}, true},
	} {
		got, ours := parseReply(c.b, request, false, c.header, c.id)
		if ours != c.ours || ours && got != c.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.what, got, ours, c.want, c.ours)
		}
	}
}

func TestParseQuote(t *testing.T) {
	request := newRequest(true, 0x1234, 24, [8]byte{1, 2, 3, 4, 5, 6, 7, 8})
	number(request, 300, true)
	if seq, ours := parseQuote(request[:8], request, true, true); seq != 300 || !ours {
		t.Errorf("the header of ours: %d, %v", seq, ours)
	}
	other := newRequest(true, 0x1234, 24, [8]byte{})
	if _, ours := parseQuote(other, request, true, true); ours {
		t.Error("another's request counts as ours")
	}
	if _, ours := parseQuote(request[:7], request, true, true); ours {
		t.Error("half a header counts as ours")
	}
	if _, ours := parseQuote(request, request, false, true); ours {
		t.Error("one of the other family counts as ours")
	}
}

func TestExplain(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for kind := range 256 {
			for code := range 256 {
				if explain(v6, uint8(kind), uint8(code), 1) == "" && !(kind == 3 && code == 4) {
					t.Errorf("nothing is said about type %d, code %d", kind, code)
				}
			}
		}
	}
}

func FuzzParseReply(f *testing.F) {
	request := newRequest(false, 1, 16, [8]byte{1})
	number(request, 1, false)
	f.Add(answerTo(request, false), false, false, true)
	f.Add(append([]byte{0x45, 19: 0}, answerTo(request, false)...), false, true, true)
	f.Add(request[:8], true, false, false)
	f.Fuzz(func(t *testing.T, b []byte, v6, header, id bool) {
		r, ours := parseReply(b, request, v6, header, id)
		if ours && (r.size < headerSize || r.size > len(b)) {
			t.Errorf("%x: a reply of %d bytes", b, r.size)
		}
		parseQuote(b, request, v6, id)
	})
}
