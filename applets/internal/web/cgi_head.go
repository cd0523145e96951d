package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const (
	maxScriptHead   = 32 << 10 // bytes of a script's header, as much as other servers take
	maxScriptFields = 200
)

// A scriptHead is what a script says before its body (RFC 3875, section 6).
type scriptHead struct {
	status int         // 0: it is for the server to choose
	header http.Header // what goes to the client; Content-Type is there, and may be nil
	length int64       // of the body, as the script says; -1: it does not
	local  string      // the path and query of a local redirect
}

// headEnd returns how long a header is that ends in b with an empty line, and 0 if it does not end
// there. It is not needed to look before from, which is where an earlier b ended.
func headEnd(b []byte, from int) int {
	for i := max(0, from-2); i < len(b); i++ {
		if b[i] != '\n' {
			continue
		}
		switch {
		case i == 0, b[i-1] == '\n', b[i-1] == '\r' && (i == 1 || b[i-2] == '\n'):
			return i + 1
		}
	}
	return 0
}

// parseScriptHead reads a header with the empty line that ends it. What does not conform is an error: to
// guess what it was meant to be is how one response becomes two.
func parseScriptHead(b []byte) (scriptHead, error) {
	h := scriptHead{header: http.Header{"Content-Type": nil}, length: -1}
	var contentType, location string
	seen := map[string]bool{}
	for n := 0; ; n++ {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		b = rest
		if len(line) == 0 {
			break
		}
		name, value, err := field(line)
		switch {
		case err != nil && n == 0 && bytes.HasPrefix(line, []byte("HTTP/")):
			return h, errors.New("its output begins with a status line; only \"Status: CODE\" is known here, also for nph- scripts")
		case err != nil:
			return h, err
		case n == maxScriptFields:
			return h, fmt.Errorf("its header has more than %d fields", maxScriptFields)
		}
		switch name {
		case "Status", "Location", "Content-Type": // CGI-field, once each (6.3)
			if seen[name] {
				return h, fmt.Errorf("its header has %s twice", name)
			}
			seen[name] = true
		}
		switch name {
		case "Status":
			if h.status, err = parseStatus(value); err != nil {
				return h, err
			}
		case "Location":
			if value == "" || strings.ContainsAny(value, " \t") {
				return h, fmt.Errorf("%q is no Location", value)
			}
			location = value
		case "Content-Type":
			contentType = value
		case "Content-Length":
			length, err := strconv.ParseUint(value, 10, 63)
			if err != nil || h.length >= 0 && h.length != int64(length) {
				return h, fmt.Errorf("%q is no Content-Length, or not the only one", value)
			}
			h.length = int64(length)
		case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			// about the connection, which is the server's (6.3.4)
		default:
			h.header[name] = append(h.header[name], value)
		}
	}
	if contentType != "" {
		h.header["Content-Type"] = []string{contentType}
	}
	switch {
	case len(seen) == 0:
		return h, errors.New("its header has no Content-Type, Location or Status")
	case location == "":
	case h.status == 0 && location[0] == '/' && !strings.HasPrefix(location, "//") && !strings.Contains(location, "#"):
		h.local = location
	default:
		h.header["Location"] = []string{location}
		if h.status == 0 {
			h.status = http.StatusFound
		}
	}
	if h.length >= 0 {
		h.header["Content-Length"] = []string{strconv.FormatInt(h.length, 10)}
	}
	return h, nil
}

// field reads a line "name: value". A line cannot be continued in the next one (6.3).
func field(line []byte) (name, value string, err error) {
	n, v, ok := bytes.Cut(line, []byte{':'})
	if !ok || !isToken(n) {
		return "", "", fmt.Errorf("%q is no line of a header", beginning(line))
	}
	v = bytes.Trim(v, " \t")
	for _, c := range v {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", "", fmt.Errorf("a control character in %q", beginning(line))
		}
	}
	return http.CanonicalHeaderKey(string(n)), string(v), nil
}

// beginning is as much of a line as a message can show.
func beginning(line []byte) []byte { return line[:min(len(line), 60)] }

// parseStatus reads "404 Not Found". The words are the script's own business: HTTP/2 has none.
func parseStatus(s string) (int, error) {
	code, _, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || n < 200 || n > 599 {
		return 0, fmt.Errorf("%q is no Status", s)
	}
	return n, nil
}
