// Package text is about text that people see: the escapes that a shell user writes, what a
// terminal may be shown, and how far a long work has come.
package text

import (
	"strings"
	"unicode/utf8"
)

// Unescape reads the escapes of "echo -e" in bash(1): \\ \a \b \c \e \E \f \n \r \t \v, \0NNN (up to
// three octal digits), \xHH, \uHHHH and \UHHHHHHHH. What follows \c is left out. A backslash before
// anything else stays.
func Unescape(s string) []byte {
	out := make([]byte, 0, len(s))
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			return append(out, s...)
		}
		out = append(out, s[:i]...)
		c := s[i+1]
		rest := s[i+2:]
		switch c {
		case 'c':
			return out
		case '0':
			v, n := digits(rest, 3, 8)
			out = append(out, byte(v))
			s = rest[n:]
			continue
		case 'x', 'u', 'U':
			most := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			v, n := digits(rest, most, 16)
			switch {
			case n == 0:
				out = append(out, '\\', c)
			case c == 'x':
				out = append(out, byte(v))
			default:
				out = utf8.AppendRune(out, rune(v))
			}
			s = rest[n:]
			continue
		}
		const from, to = `\abeEfnrtv`, "\\\a\b\x1b\x1b\f\n\r\t\v"
		if k := strings.IndexByte(from, c); k >= 0 {
			out = append(out, to[k])
		} else {
			out = append(out, '\\', c)
		}
		s = rest
	}
}

// digits reads up to most digits of a number; n is how many there were.
func digits(s string, most int, base uint32) (v uint32, n int) {
	for n < len(s) && n < most {
		d := uint32(base)
		switch c := s[n]; {
		case c >= '0' && c <= '9':
			d = uint32(c - '0')
		case c >= 'a' && c <= 'f':
			d = uint32(c-'a') + 10
		case c >= 'A' && c <= 'F':
			d = uint32(c-'A') + 10
		}
		if d >= base {
			break
		}
		v = v*base + d
		n++
	}
	return v, n
}
