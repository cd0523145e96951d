package web

import (
	"bytes"
	"strings"
)

// What most requests look like is read here, without net/http: GET or HEAD of a file, in HTTP/1.1,
// with plain fields and no body. This reader understands little, and all that it does not understand,
// or that looks odd in any way, it leaves to net/http, byte for byte as it came: it never refuses and
// never guesses (RFC 9112).

// A head is the head of a simple request. What it holds lies in the buffer it was read from.
type head struct {
	target  []byte // the whole of it
	path    []byte // up to the query
	host    []byte
	isHead  bool
	closing bool // Connection: close
	wish    wish
	agent   []byte
	referer []byte
	plain   bool // nothing is wished for: wish is zero
}

// What parseHead finds.
type verdict int

const (
	simple  verdict = iota
	partial         // the head is not complete
	other           // it is for net/http
)

// parseHead reads the head of a request from the front of b; used is its length if it is simple.
func parseHead(b []byte, h *head) (v verdict, used int) {
	line, n, v := cutLine(b)
	if v != simple {
		// What begins as no simple request does is not waited for.
		if v == partial && (len(b) > 0 && b[0] != 'G' && b[0] != 'H') {
			return other, 0
		}
		return v, 0
	}
	*h = head{plain: true}
	switch {
	case bytes.HasPrefix(line, []byte("GET /")):
		line = line[4:]
	case bytes.HasPrefix(line, []byte("HEAD /")):
		line, h.isHead = line[5:], true
	default:
		return other, 0
	}
	if h.target = bytes.TrimSuffix(line, []byte(" HTTP/1.1")); len(h.target) == len(line) {
		return other, 0
	}
	h.path = h.target
	for i, c := range h.target {
		switch {
		case c <= ' ' || c >= 0x7f || c == '#' || c == '"' || c == '\\':
			return other, 0
		case c == '?' && len(h.path) == len(h.target):
			h.path = h.target[:i]
		}
	}
	for {
		line, m, v := cutLine(b[n:])
		if v != simple {
			return v, 0
		}
		n += m
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) {
			return other, 0
		}
		if !h.field(line[:colon], bytes.Trim(line[colon+1:], " \t")) {
			return other, 0
		}
	}
	if len(h.host) == 0 {
		return other, 0
	}
	return simple, n
}

// cutLine takes a line that ends in CR LF off the front of b.
func cutLine(b []byte) (line []byte, n int, v verdict) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return nil, 0, partial
	}
	if i == 0 || b[i-1] != '\r' {
		return nil, 0, other
	}
	line = b[:i-1]
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, 0, other
		}
	}
	return line, i + 1, simple
}

// isToken tells whether b is a token (RFC 9110, 5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// field takes one field; it is false for what makes a request one for net/http.
func (h *head) field(name, value []byte) bool {
	if len(name) > 20 {
		return true // none of those that mean something here
	}
	switch {
	case fold(name, "host"):
		if h.host != nil || len(value) == 0 {
			return false
		}
		for _, c := range value {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
				c == '.', c == '-', c == ':', c == '_', c == '[', c == ']':
			default:
				return false
			}
		}
		h.host = value
	case fold(name, "connection"):
		switch {
		case fold(value, "close"):
			h.closing = true
		case !fold(value, "keep-alive"):
			return false
		}
	case fold(name, "user-agent"):
		h.agent = value
	case fold(name, "referer"):
		h.referer = value
	case fold(name, "accept-encoding"):
		return h.set(&h.wish.encodings, value)
	case fold(name, "if-none-match"):
		return h.set(&h.wish.ifNoneMatch, value)
	case fold(name, "if-modified-since"):
		return h.set(&h.wish.ifModified, value)
	case fold(name, "if-match"):
		return h.set(&h.wish.ifMatch, value)
	case fold(name, "if-unmodified-since"):
		return h.set(&h.wish.ifUnmodified, value)
	case fold(name, "if-range"):
		return h.set(&h.wish.ifRange, value)
	case fold(name, "range"):
		return h.set(&h.wish.ranges, value)
	case fold(name, "content-length"), fold(name, "transfer-encoding"), fold(name, "trailer"), fold(name, "te"),
		fold(name, "expect"), fold(name, "upgrade"), fold(name, "http2-settings"), fold(name, "authorization"),
		fold(name, "x-forwarded-for"), fold(name, "forwarded"), fold(name, "x-forwarded-proto"):
		return false
	}
	return true
}

// set keeps a field that may come once.
func (h *head) set(to *string, value []byte) bool {
	if *to != "" || len(value) == 0 {
		return false
	}
	*to, h.plain = string(value), false
	return true
}

// fold tells whether b is s, which is in lower case, but for the case of its letters.
func fold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}
