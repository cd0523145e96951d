package relay

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sockbox/applets/internal/sock"
)

func TestFrame(t *testing.T) {
	for _, c := range []struct {
		frame     Frame
		datagrams []string
		stream    string
	}{
		{Raw, []string{"ab", "c"}, "abc"},
		{Line, []string{"ab", "c\n", ""}, "ab\nc\n\n"},
		{Nul, []string{"ab\n", "c\x00", ""}, "ab\n\x00c\x00\x00"},
		{Netstring, []string{"ab", "", "0123456789,"}, "2:ab,0:,11:0123456789,,"},
		{Len16, []string{"ab", "", strings.Repeat("x", 258)}, "\x00\x02ab\x00\x00\x01\x02" + strings.Repeat("x", 258)},
	} {
		var got []byte
		for _, d := range c.datagrams {
			var err error
			if got, err = c.frame.append(got, []byte(d)); err != nil {
				t.Errorf("%v: %q: %v", c.frame, d, err)
			}
		}
		if string(got) != c.stream {
			t.Errorf("%v: %q, want %q", c.frame, got, c.stream)
		}
		if f, err := ParseFrame(c.frame.String()); f != c.frame || err != nil {
			t.Errorf("%v: ParseFrame: %v, %v", c.frame, f, err)
		}
	}
	if _, err := Len16.append(nil, make([]byte, 1<<16)); err == nil {
		t.Error("len16 takes 65536 bytes")
	}
	if _, err := ParseFrame("len32"); err == nil {
		t.Error("len32 is a frame")
	}
}

// deframe feeds the stream in pieces of the given size.
func deframe(f Frame, limit int, stream []byte, piece int) (got []string, err error) {
	d := deframer{frame: f, limit: limit}
	take := func(ds []sock.Datagram) {
		for _, d := range ds {
			got = append(got, string(d.Data))
		}
	}
	for b := range slices.Chunk(stream, piece) {
		if err := d.feed(b, take); err != nil {
			return got, err
		}
	}
	return got, d.finish(take)
}

func TestDeframe(t *testing.T) {
	for _, c := range []struct {
		frame  Frame
		stream string
		want   []string
		err    string
	}{
		{Line, "ab\n\nc", []string{"ab", "", "c"}, ""},
		{Nul, "ab\n\x00\x00c", []string{"ab\n", "", "c"}, ""},
		{Netstring, "2:ab,0:,11:0123456789,,", []string{"ab", "", "0123456789,"}, ""},
		{Len16, "\x00\x02ab\x00\x00\x00\x01c", []string{"ab", "", "c"}, ""},
		{Line, strings.Repeat("x", 20) + "\n", []string{strings.Repeat("x", 20)}, ""},
		{Line, "a\n" + strings.Repeat("x", 21) + "\n", []string{"a"}, "a frame has more than 20 bytes"},
		{Line, strings.Repeat("x", 21), nil, "a frame has more than 20 bytes"},
		{Len16, "\x00\x15", nil, "a frame has more than 20 bytes"},
		{Netstring, "1:a,21:", []string{"a"}, "a frame has more than 20 bytes"},
		{Netstring, "999999999999999999999999", nil, "a frame has more than 20 bytes"},
		{Netstring, "2:abc", nil, "not a netstring"},
		{Netstring, "02:ab,", nil, "not a netstring"},
		{Netstring, ":", nil, "not a netstring"},
		{Netstring, "-1:", nil, "not a netstring"},
		{Netstring, "2:a", nil, "the stream ended within a frame"},
		{Len16, "\x00", nil, "the stream ended within a frame"},
	} {
		for piece := 1; piece <= len(c.stream); piece++ {
			got, err := deframe(c.frame, 20, []byte(c.stream), piece)
			if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("%v, %q in pieces of %d: %q, %v; want %q, %s", c.frame, c.stream, piece, got, err, c.want, c.err)
			}
		}
	}
	// Raw: a read is a datagram, and one that is too long is several.
	got, err := deframe(Raw, 3, []byte("abcdefg"), 5)
	if want := []string{"abc", "de", "fg"}; !slices.Equal(got, want) || err != nil {
		t.Errorf("raw: %q, %v; want %q", got, err, want)
	}
}

// Whatever comes, in whatever pieces: memory is bounded, the pieces make no difference, and what was
// framed comes out as it went in.
func FuzzDeframe(f *testing.F) {
	f.Add([]byte("2:ab,0:,11:0123456789,,"), uint8(3), uint8(3), uint8(20))
	f.Add([]byte("\x00\x02ab\x00\x00"), uint8(4), uint8(1), uint8(20))
	f.Add([]byte("ab\n\ncd\x00"), uint8(1), uint8(2), uint8(2))
	f.Fuzz(func(t *testing.T, stream []byte, kind, piece, limit uint8) {
		frame := Frame(1 + kind%4)
		n, most := 1+int(piece), 1+int(limit)
		whole, wholeErr := deframe(frame, most, stream, max(1, len(stream)))

		d := deframer{frame: frame, limit: most}
		var got []string
		take := func(ds []sock.Datagram) {
			for _, d := range ds {
				if len(d.Data) > most {
					t.Errorf("%v: %d bytes, the limit is %d", frame, len(d.Data), most)
				}
				got = append(got, string(d.Data))
			}
		}
		var err error
		for b := range slices.Chunk(stream, n) {
			if err = d.feed(b, take); err != nil {
				break
			}
			if len(d.rest) > most+5 { // a head of three digits and a colon, and the comma
				t.Fatalf("%v: %d bytes are kept, the limit is %d", frame, len(d.rest), most)
			}
		}
		if err == nil {
			err = d.finish(take)
		}
		if !slices.Equal(got, whole) || fmt.Sprint(err) != fmt.Sprint(wholeErr) {
			t.Errorf("%v: in pieces %q, %v; at once %q, %v", frame, got, err, whole, wholeErr)
		}

		var again []byte
		for _, s := range got {
			if again, err = frame.append(again, []byte(s)); err != nil {
				t.Fatal(err)
			}
			if !bytes.HasSuffix(again, []byte(s)) && frame == Len16 {
				t.Errorf("%v: %q is not in its frame", frame, s)
			}
		}
		if back, err := deframe(frame, most, again, n); !slices.Equal(back, got) || err != nil {
			t.Errorf("%v: %q came back as %q, %v", frame, got, back, err)
		}
	})
}
