package link

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// The exchange in the specification is what the code says, byte by byte.
func TestSpecification(t *testing.T) {
	var id ID
	for i := range id {
		id[i] = byte(i)
	}
	said := []struct {
		who  string
		what []byte
	}{
		{">", []byte(Magic)},
		{">", appendHello(nil, id, 1, "out")},
		{"<", appendAck(nil, kindWelcome, 0, 64<<10)},
		{">", appendData(nil, 1, []byte("hello"))},
		{">", appendData(nil, 2, nil)},
		{"<", appendAck(nil, kindAck, 2, 64<<10)},
		{">", []byte{kindPing}},
		{"<", []byte{kindPong}},
		{">", appendBye(nil, "")},
	}
	b, err := os.ReadFile("wire.go")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "//\t"); strings.HasPrefix(line, "> ") || strings.HasPrefix(line, "< ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != len(said) {
		t.Fatalf("%d lines, want %d", len(lines), len(said))
	}
	for i, s := range said {
		var h []string
		for _, c := range s.what {
			h = append(h, hex.EncodeToString([]byte{c}))
		}
		if want := s.who + " " + strings.Join(h, " "); lines[i] != want {
			t.Errorf("the specification has %q, the code says %q", lines[i], want)
		}
	}
}

// Every frame is parsed when all of it is there, and not before.
func TestNext(t *testing.T) {
	for _, b := range [][]byte{
		appendHello(nil, ID{1, 2}, 7, strings.Repeat("n", 300)), appendAck(nil, kindWelcome, 9, 10), appendAck(nil, kindAck, 1<<63, 1<<31),
		appendData(nil, 3, []byte("message")), appendData(nil, 4, nil), {kindPing}, {kindPong}, appendBye(nil, "why"),
	} {
		for i := range b {
			if _, size, err := next(b[:i], 100); size != 0 || err != nil {
				t.Errorf("%x: %d, %v", b[:i], size, err)
			}
		}
		f, size, err := next(append(bytes.Clone(b), "more"...), 100)
		if size != len(b) || err != nil || !bytes.Equal(f.append(nil), b) {
			t.Errorf("%x: %+v, %d, %v", b, f, size, err)
		}
	}
	damaged := appendData(nil, 3, []byte("message"))
	for i := 1; i < len(damaged); i++ {
		damaged[i] ^= 0x20
		if f, size, err := next(damaged, 100); size != 0 || err == nil && f.length <= len("message") {
			t.Errorf("byte %d: %+v, %d, %v", i, f, size, err)
		}
		damaged[i] ^= 0x20
	}
	for _, b := range [][]byte{{0}, []byte("G"), appendData(nil, 1, make([]byte, 101))[:dataSize], appendHello(nil, ID{}, 0, "")} {
		if _, size, err := next(b, 100); size != 0 || err == nil {
			t.Errorf("%x: %d, %v", b, size, err)
		}
	}
}

// append says f.
func (f frame) append(dst []byte) []byte {
	switch f.kind {
	case kindHello:
		return appendHello(dst, f.id, f.seq, string(f.text))
	case kindWelcome, kindAck:
		return appendAck(dst, f.kind, f.seq, f.credit)
	case kindData:
		return appendData(dst, f.seq, f.text)
	case kindBye:
		return appendBye(dst, string(f.text))
	}
	return append(dst, f.kind)
}

// Whatever comes, what was parsed is what was said, and a frame that is not whole is no frame.
func FuzzNext(f *testing.F) {
	f.Add(appendHello(nil, ID{1}, 1, "name"))
	f.Add(appendAck(appendAck(nil, kindWelcome, 0, 1), kindAck, 1, 1))
	f.Add(appendData(appendData(nil, 1, []byte("x")), 2, nil))
	f.Add(appendBye([]byte{kindPing, kindPong}, "reason"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const longest = 1000
		for len(b) > 0 {
			f, size, err := next(b, longest)
			if f.length > longest || size > len(b) || err != nil && size != 0 {
				t.Fatalf("%+v, %d of %d, %v", f, size, len(b), err)
			}
			if size == 0 {
				return
			}
			if got := f.append(nil); !bytes.Equal(got, b[:size]) {
				t.Fatalf("%x became %x", b[:size], got)
			}
			b = b[size:]
		}
	})
}
