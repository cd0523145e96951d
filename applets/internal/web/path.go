package web

import (
	"errors"
	"strings"
)

// What is wrong with a path. Both are found before any file is looked at.
var (
	errBadPath    = errors.New("not a path")            // 400
	errHiddenPath = errors.New("nothing that is shown") // 404
)

const (
	maxPath  = 4096 // PATH_MAX of the systems we know
	maxParts = 128  // each costs a look into a folder
)

// splitPath reads the path of a request's target (RFC 3986, without the query) as the names that it
// is made of, decoded once. slash tells whether it ends in one, and so means a folder. Empty names
// are left out, as they are in paths of files.
//
// A name that begins with a dot is never shown, which takes care of "." and "..", however they
// are written; nor is one with a slash, a backslash or a control character in it, which others decode
// to something else than we do. wellKnown lets ".well-known" pass as the first name.
func splitPath(target string, wellKnown bool) (parts []string, slash bool, err error) {
	if target == "" || target[0] != '/' {
		return nil, false, errBadPath
	}
	if len(target) > maxPath {
		return nil, false, errHiddenPath
	}
	hidden := false
	for rest := target[1:]; rest != ""; {
		var raw string
		raw, rest, slash = strings.Cut(rest, "/")
		if raw == "" {
			continue
		}
		part, ok := unescape(raw)
		if !ok {
			return nil, false, errBadPath
		}
		if part[0] == '.' && !(wellKnown && len(parts) == 0 && part == ".well-known") || strange(part) {
			hidden = true // the rest may still be wrong in a worse way
		}
		parts = append(parts, part)
	}
	if hidden || len(parts) > maxParts {
		return nil, false, errHiddenPath
	}
	return parts, slash || len(parts) == 0, nil
}

// strange tells whether a name has bytes that we neither look for nor show.
func strange(part string) bool {
	for i := range len(part) {
		if c := part[i]; c < ' ' || c == 0x7f || c == '/' || c == '\\' {
			return true
		}
	}
	return false
}

// unescape decodes the percent encoding of s (RFC 3986, 2.1); ok is false where that is broken. The
// target of a request has no bytes that have to be encoded and are not: see parseHead and net/http.
func unescape(s string) (string, bool) {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, true
	}
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		high, low := unhex(s[i+1]), unhex(s[i+2])
		if high > 15 || low > 15 {
			return "", false
		}
		b = append(b, high<<4|low)
		i += 2
	}
	return string(b), true
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// escapeName encodes a name, or with slash a path, so that it stands for itself in a URL, in an
// attribute and in a header. A colon is encoded too: a first name with one would be taken for a
// scheme (RFC 3986, 4.2).
func escapeName(name string, slash bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '_', c == '.', c == '~', c == '/' && slash:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
