package web

import (
	"bytes"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// RFC 3875, section 6.
func TestParseScriptHead(t *testing.T) {
	for _, test := range []struct {
		name, head string
		status     int
		header     string // NAME: VALUE, sorted, without an absent Content-Type
		local      string
		length     int64
	}{
		{"6.2.1 a document", "Content-Type: text/plain\n\n", 0, "Content-Type: text/plain", "", -1},
		{"6.2.1 with a status", "Status: 404 Not here\nContent-Type: text/plain\n\n", 404, "Content-Type: text/plain", "", -1},
		{"a status without words", "Status: 201\n\n", 201, "", "", -1},
		{"6.2.2 a local redirect", "Location: /other?x=1\n\n", 0, "", "/other?x=1", -1},
		{"6.2.3 a client redirect", "Location: http://example.org/#top\n\n", 302, "Location: http://example.org/#top", "", -1},
		{"6.2.4 a client redirect with a document", "Status: 301 Moved\nLocation: http://example.org/\nContent-Type: text/html\n\n",
			301, "Content-Type: text/html; Location: http://example.org/", "", -1},
		{"a status makes it the client's", "Status: 303\nLocation: /other\n\n", 303, "Location: /other", "", -1},
		{"a fragment is the client's", "Location: /other#part\n\n", 302, "Location: /other#part", "", -1},
		{"another host is the client's", "Location: //example.org/\n\n", 302, "Location: //example.org/", "", -1},
		{"a relative one too", "Location: other\n\n", 302, "Location: other", "", -1},
		{"6.3 CR LF", "Content-Type: text/plain\r\nX-A: b\r\n\r\n", 0, "Content-Type: text/plain; X-A: b", "", -1},
		{"6.3 names in any case", "content-TYPE: text/plain\nx-a: b\n\n", 0, "Content-Type: text/plain; X-A: b", "", -1},
		{"6.3 no space, and more of it", "Content-Type:text/plain\nX-A: \t b \t \n\n", 0, "Content-Type: text/plain; X-A: b", "", -1},
		{"6.3.4 cookies", "Status: 200 OK\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n", 200, "Set-Cookie: a=1; Set-Cookie: b=2", "", -1},
		{"6.3.4 the connection is the server's", "Status: 200 OK\nConnection: close\nTransfer-Encoding: chunked\nKeep-Alive: x\nTrailer: x\nUpgrade: h2c\nTE: x\nProxy-Connection: x\n\n", 200, "", "", -1},
		{"a length", "Content-Type: a/b\nContent-Length: 12\n\n", 0, "Content-Length: 12; Content-Type: a/b", "", 12},
		{"a length said twice", "Content-Type: a/b\nContent-Length: 12\nContent-Length: 12\n\n", 0, "Content-Length: 12; Content-Type: a/b", "", 12},
		{"a value of other letters", "Content-Type: a/b\nX-A: gr\xc3\xbc\xc3\x9f \xff\n\n", 0, "Content-Type: a/b; X-A: gr\xc3\xbc\xc3\x9f \xff", "", -1},
	} {
		h, err := parseScriptHead([]byte(test.head))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := show(h.header); h.status != test.status || got != test.header || h.local != test.local || h.length != test.length {
			t.Errorf("%s: status %d, %q, local %q, length %d", test.name, h.status, got, h.local, h.length)
		}
		if _, ok := h.header["Content-Type"]; !ok {
			t.Errorf("%s: net/http would guess a Content-Type", test.name)
		}
	}
	for _, test := range []struct{ name, head string }{
		{"6.3 no field of CGI's", "X-A: b\n\n"},
		{"nothing", "\n"},
		{"6.3 twice", "Content-Type: a/b\nContent-Type: a/b\n\n"},
		{"two statuses", "Status: 200\nStatus: 404\n\n"},
		{"two places", "Location: /a\nLocation: /b\n\n"},
		{"6.3 continued in the next line", "Content-Type: a/b;\n c=d\n\n"},
		{"5 what only an nph- script says", "HTTP/1.0 200 OK\nContent-Type: a/b\n\n"},
		{"no header", "hello, world\n\n"},
		{"no name", ": x\nContent-Type: a/b\n\n"},
		{"a space behind the name", "Content-Type : a/b\n\n"},
		{"a space in the name", "Content Type: a/b\nStatus: 200\n\n"},
		{"CR within", "Content-Type: a/b\rSet-Cookie: c\n\n"},
		{"NUL within", "Content-Type: a/b\x00\n\n"},
		{"ESC within", "Content-Type: a/b\x1b[m\n\n"},
		{"no status", "Status: OK\n\n"},
		{"a status of four digits", "Status: 2000\n\n"},
		{"a status with a sign", "Status: +20\n\n"},
		{"an interim status", "Status: 100 Continue\n\n"},
		{"a change of protocols", "Status: 101 x\n\n"},
		{"status 600", "Status: 600 x\n\n"},
		{"an empty place", "Location:\n\n"},
		{"a place with a space", "Location: http://a b/\n\n"},
		{"a length that is none", "Content-Type: a/b\nContent-Length: -1\n\n"},
		{"two lengths", "Content-Type: a/b\nContent-Length: 1\nContent-Length: 2\n\n"},
		{"a list of lengths", "Content-Type: a/b\nContent-Length: 1, 1\n\n"},
		{"too many fields", "Content-Type: a/b\n" + strings.Repeat("a: b\n", maxScriptFields) + "\n"},
	} {
		if h, err := parseScriptHead([]byte(test.head)); err == nil {
			t.Errorf("%s: %+v, want an error", test.name, h)
		} else if strings.ContainsAny(err.Error(), "\x00\x1b\r\n") {
			t.Errorf("%s: the message has control characters: %v", test.name, err)
		}
	}
}

func show(h http.Header) string {
	var b bytes.Buffer
	h.Write(&b) // sorted
	return strings.TrimSuffix(strings.ReplaceAll(b.String(), "\r\n", "; "), "; ")
}

func TestHeadEnd(t *testing.T) {
	for _, test := range []struct {
		in  string
		end int
	}{
		{"", 0}, {"a", 0}, {"a\n", 0}, {"a: b\r\n", 0}, {"a\n\r", 0},
		{"\n", 1}, {"\r\n", 2}, {"a\n\n", 3}, {"a\n\r\n", 4}, {"a\r\n\r\n", 5}, {"a\r\n\n", 4},
		{"a\n\nb\n\n", 3}, {"a\n\nb", 3}, {"a\r\r\n", 0}, {"\r\r\n", 0}, {"\nrest\n\n", 1},
	} {
		if got := firstEmptyLine([]byte(test.in), 0); got != test.end {
			t.Errorf("%q: %d, want %d", test.in, got, test.end)
		}
		// however it comes
		for cut := range test.in {
			got := firstEmptyLine([]byte(test.in[:cut]), 0)
			if got == 0 {
				got = firstEmptyLine([]byte(test.in), cut)
			}
			if got != test.end {
				t.Errorf("%q after %d bytes: %d, want %d", test.in, cut, got, test.end)
			}
		}
	}
}

// What is taken can be sent: each field is one line, the status is one that net/http takes, and what
// goes on to the client reads as the same header again.
func FuzzParseScriptHead(f *testing.F) {
	for _, s := range []string{
		"Content-Type: text/plain\n\n", "Status: 404 x\r\nLocation: /a\r\n\r\n", "Location: /a?b\n\n", "HTTP/1.1 200 OK\n\n",
		"Content-Type: a\nContent-Length: 5\nSet-Cookie: x\n\n", ":\n\n", "\n", "Status: 302\n x\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		end := firstEmptyLine(b, 0)
		if end == 0 {
			return
		}
		h, err := parseScriptHead(b[:end])
		if err != nil {
			return
		}
		if h.status != 0 && (h.status < 200 || h.status > 599) {
			t.Fatalf("status %d", h.status)
		}
		if h.local != "" && (h.local[0] != '/' || strings.HasPrefix(h.local, "//")) {
			t.Fatalf("a local redirect to %q", h.local)
		}
		again := "Status: 200\n"
		for name, values := range h.header {
			for _, v := range values {
				if strings.ContainsAny(name+v, "\r\n\x00") || !isToken([]byte(name)) {
					t.Fatalf("%q: %q", name, v)
				}
				again += name + ": " + v + "\n"
			}
		}
		h2, err := parseScriptHead([]byte(again + "\n"))
		if err != nil || !reflect.DeepEqual(h2.header, h.header) || h2.length != h.length {
			t.Fatalf("%q is then %q, %v", h.header, h2.header, err)
		}
	})
}
