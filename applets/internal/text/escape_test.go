package text

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUnescape(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, ""},
		{`plain text`, "plain text"},
		{`\\`, `\`},
		{`\a\b\e\E\f\n\r\t\v`, "\a\b\x1b\x1b\f\n\r\t\v"},
		{`some message\nwith\tescapable\e[1mcharaters\e[0m`, "some message\nwith\tescapable\x1b[1mcharaters\x1b[0m"},

		{`stop\chere`, "stop"},
		{`\c`, ""},
		{`\\c`, `\c`},

		{`\0`, "\x00"},
		{`\012`, "\n"},
		{`\0101`, "A"},
		{`\01015`, "A5"},
		{`\0777`, "\xff"}, // one byte: the rest is cut off
		{`\08`, "\x008"},
		{`\101`, `\101`}, // no zero, no octal

		{`\x41`, "A"},
		{`\x414`, "A4"},
		{`\x4g`, "\x04g"},
		{`\xff\xFE`, "\xff\xfe"},
		{`\x`, `\x`},
		{`\xg`, `\xg`},

		{`\u41`, "A"},
		{`\u00e9`, "é"},
		{`\u20AC5`, "€5"},
		{`\U1F600`, "😀"},
		{`\U0001F6001`, "😀1"},
		{`\u`, `\u`},
		{`\Ug`, `\Ug`},

		{`\q`, `\q`},
		{`a\`, `a\`},
		{`a\\`, `a\`},
		{`\`, `\`},
		{`\"\'`, `\"\'`},
		{`ö\tü`, "ö\tü"},
		{"\xff\\n\xfe", "\xff\n\xfe"},
	} {
		if got := string(Unescape(c.in)); got != c.want {
			t.Errorf("Unescape(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// Whatever it is given, it does what bash does.
func FuzzUnescape(f *testing.F) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		f.Skip("bash is not installed")
	}
	for _, s := range []string{`a\tb`, `\0101\x41\u00e9\U1F600`, `\c`, `\`, `\\\`, `\0777\08\1\xg`, "\xff\\q\\e[1m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
			t.Skip("no argument of a program, or depends on the locale")
		}
		for _, u := range []string{`\u`, `\U`} {
			if strings.Contains(s, u) {
				t.Skip("depends on the locale, and bash encodes what is no character")
			}
		}
		cmd := exec.Command(bash, "-c", `echo -ne "$1"`, "bash", s)
		cmd.Env = []string{"LC_ALL=C.UTF-8"}
		want, err := cmd.Output()
		if err != nil {
			t.Skip(err)
		}
		if got := string(Unescape(s)); got != string(want) {
			t.Errorf("Unescape(%q) = %q, bash says %q", s, got, want)
		}
	})
}
