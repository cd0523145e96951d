package buffer

import "fmt"

// MaxName is the longest name: it is short enough for every file system and for a status line.
const MaxName = 64

// CheckName tells what is wrong with a name, or nil. A name is 1 to 64 of A–Z a–z 0–9 . _ @ + - and
// does not begin with a dot or a dash, so it is a file name, a word to the shell and no option.
// The error is ErrName.
func CheckName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%q is %w: it is empty", s, ErrName)
	case len(s) > MaxName:
		return fmt.Errorf("%.20q… is %w: it has %d bytes, at most %d are allowed", s, ErrName, len(s), MaxName)
	case s[0] == '.' || s[0] == '-':
		return fmt.Errorf("%q is %w: it begins with %q", s, ErrName, s[:1])
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '@', c == '+', c == '-':
		default:
			return fmt.Errorf("%q is %w: only A-Z a-z 0-9 . _ @ + - may be in one", s, ErrName)
		}
	}
	return nil
}
