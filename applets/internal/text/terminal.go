package text

import (
	"fmt"
	"io"
	"unicode/utf8"
)

// Harmless returns a writer that shows on a terminal what others have sent. Colours and other
// renditions (ECMA-48, SGR) pass; whatever else could move the cursor, set titles, answer back or
// hide text is shown in a form that does nothing: ^[ for an escape, \x9b for a control character
// of the upper half. Each Write must be given whole messages.
func Harmless(w io.Writer) io.Writer { return &harmless{w: w} }

type harmless struct {
	w   io.Writer
	out []byte
}

func (h *harmless) Write(p []byte) (int, error) {
	h.out = appendHarmless(h.out[:0], p)
	if _, err := h.w.Write(h.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func appendHarmless(out, p []byte) []byte {
	for len(p) > 0 {
		c := p[0]
		switch {
		case c == '\n' || c == '\t' || c >= ' ' && c < 0x7f:
			out = append(out, c)
			p = p[1:]
			continue
		case c == 0x1b:
			if n := colour(p); n > 0 {
				out = append(out, p[:n]...)
				p = p[n:]
				continue
			}
		}
		r, n := utf8.DecodeRune(p)
		switch {
		case c < ' ' || c == 0x7f:
			out = append(out, '^', c^0x40)
		case r == utf8.RuneError && n <= 1:
			out = fmt.Appendf(out, `\x%02x`, c)
		case r >= 0x80 && r < 0xa0:
			out = fmt.Appendf(out, `\x%02x`, r)
		default:
			out = append(out, p[:n]...)
		}
		p = p[n:]
	}
	return out
}

// colour returns the length of a sequence "ESC [ parameters m" at the beginning of p, or 0.
func colour(p []byte) int {
	if len(p) < 3 || p[1] != '[' {
		return 0
	}
	for i, c := range p[2:] {
		switch {
		case c == 'm':
			return i + 3
		case (c < '0' || c > '9') && c != ';' && c != ':':
			return 0
		}
	}
	return 0
}
