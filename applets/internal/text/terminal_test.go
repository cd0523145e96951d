package text

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestHarmless(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain\ttext\n", "plain\ttext\n"},
		{"ü €\n", "ü €\n"},

		// colours pass
		{"\x1b[m", "\x1b[m"},
		{"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"},
		{"\x1b[38;2;1;2;3m\x1b[4:3m", "\x1b[38;2;1;2;3m\x1b[4:3m"},

		// what moves, clears, sets titles, answers back or hides does not
		{"\x1b[2J", "^[[2J"},
		{"\x1b[>4;1m", "^[[>4;1m"}, // xterm's keyboard, no colour
		{"\x1b[?25l", "^[[?25l"},
		{"\x1b[1\x1b[31m", "^[[1\x1b[31m"},
		{"\x1b]0;title\a", "^[]0;title^G"},
		{"\x1bc", "^[c"},
		{"\x1bP+q\x1b\\", "^[P+q^[\\"},
		{"secret\rpublic", "secret^Mpublic"},
		{"a\bb", "a^Hb"},
		{"\x00\x7f", "^@^?"},
		{"\x9b2J", `\x9b2J`},   // CSI as a byte
		{"\u009b2J", `\x9b2J`}, // and as a character
		{"\xc2", `\xc2`},       // half a character
		{"\xe2\x82x", `\xe2\x82x`},
		{"\xff\xfe", `\xff\xfe`},

		// a sequence that is not finished
		{"\x1b", "^["},
		{"\x1b[", "^[["},
		{"\x1b[31", "^[[31"},
		{"\x1b[31;", "^[[31;"},
		{"\x1b[31\n", "^[[31\n"},
	} {
		var b strings.Builder
		n, err := Harmless(&b).Write([]byte(c.in))
		if n != len(c.in) || err != nil {
			t.Errorf("Write(%q) = %d, %v", c.in, n, err)
		}
		if b.String() != c.want {
			t.Errorf("%q is shown as %q, want %q", c.in, b.String(), c.want)
		}
	}
}

// Wherever a message is cut in two, what is shown does nothing but colour.
func TestHarmlessSplit(t *testing.T) {
	const in = "a\x1b[1;31mred\x1b[0m\x1b[2J\x1b]0;t\a\u009b5n\x9b6n€\r\n"
	for i := range len(in) + 1 {
		var b bytes.Buffer
		w := Harmless(&b)
		for _, part := range []string{in[:i], in[i:]} {
			if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		}
		checkHarmless(t, b.Bytes())
	}
}

func FuzzHarmless(f *testing.F) {
	f.Add([]byte("a\x1b[1;31mred\x1b[0m\x1b[2J"), 5)
	f.Add([]byte("\u009b\x9b\xc2"), 1)
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		var b bytes.Buffer
		w := Harmless(&b)
		cut = min(max(cut, 0), len(p))
		w.Write(p[:cut])
		w.Write(p[cut:])
		checkHarmless(t, b.Bytes())
	})
}

// checkHarmless finds control characters other than those of a rendition.
func checkHarmless(t *testing.T, shown []byte) {
	t.Helper()
	for rest := shown; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == 0x1b:
			m := bytes.IndexByte(rest, 'm')
			if m < 2 || rest[1] != '[' || strings.Trim(string(rest[2:m]), "0123456789;:") != "" {
				t.Fatalf("%q has an escape that is no colour", shown)
			}
			n = m + 1
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\n' && r != '\t', r >= 0x7f && r < 0xa0:
			t.Fatalf("%q has %q", shown, rest[:n])
		}
		rest = rest[n:]
	}
}

type failing struct{}

var errFailing = errors.New("no")

func (failing) Write([]byte) (int, error) { return 0, errFailing }

// A message that was not written is not said to be: it would leave the buffer.
func TestHarmlessError(t *testing.T) {
	if n, err := Harmless(failing{}).Write([]byte("x")); n != 0 || err != errFailing {
		t.Errorf("Write = %d, %v", n, err)
	}
}
