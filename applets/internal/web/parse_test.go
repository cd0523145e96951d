package web

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSplitPath(t *testing.T) {
	for _, c := range []struct {
		path  string
		parts string // joined by |
		slash bool
		err   error
	}{
		{"/", "", true, nil},
		{"//", "", true, nil},
		{"/a/b", "a|b", false, nil},
		{"/a//b/", "a|b", true, nil},
		{"/a%20b", "a b", false, nil},
		{"/%61", "a", false, nil},
		{"/a%2525", "a%25", false, nil},
		{"/\xff%FF", "\xff\xff", false, nil},
		{"/a;b", "a;b", false, nil},
		{"/.well-known/x", ".well-known|x", false, nil},
		{"/%2ewell-known/x", ".well-known|x", false, nil},
		{"", "", false, errBadPath},
		{"a", "", false, errBadPath},
		{"*", "", false, errBadPath},
		{"/%", "", false, errBadPath},
		{"/%4", "", false, errBadPath},
		{"/%zz", "", false, errBadPath},
		{"/../%zz", "", false, errBadPath},
		{"/.", "", false, errHiddenPath},
		{"/..", "", false, errHiddenPath},
		{"/a/../b", "", false, errHiddenPath},
		{"/a/%2e%2E/b", "", false, errHiddenPath},
		{"/a/.well-known", "", false, errHiddenPath},
		{"/.x", "", false, errHiddenPath},
		{"/a%2fb", "", false, errHiddenPath},
		{"/a%5cb", "", false, errHiddenPath},
		{"/a%00", "", false, errHiddenPath},
		{"/a%0a", "", false, errHiddenPath},
		{"/a%7f", "", false, errHiddenPath},
		{"/" + strings.Repeat("a", maxPath), "", false, errHiddenPath},
		{strings.Repeat("/a", maxParts+1), "", false, errHiddenPath},
	} {
		parts, slash, err := splitPath(c.path, true)
		if strings.Join(parts, "|") != c.parts || slash != c.slash || err != c.err {
			t.Errorf("splitPath(%q) = %q, %v, %v; want %q, %v, %v", c.path, parts, slash, err, c.parts, c.slash, c.err)
		}
	}
	if _, _, err := splitPath("/.well-known/x", false); err != errHiddenPath {
		t.Errorf("/.well-known/ is shown though it should not be: %v", err)
	}
}

func FuzzSplitPath(f *testing.F) {
	f.Add("/a/%2e%2e/b")
	f.Add("//..%2f..%5c/\x00%c0%ae")
	f.Fuzz(func(t *testing.T, path string) {
		parts, _, err := splitPath(path, false)
		if err != nil && parts != nil {
			t.Error("an error, and names")
		}
		for _, p := range parts {
			if p == "" || p[0] == '.' || strings.ContainsAny(p, "/\\\x00") {
				t.Errorf("%q: name %q", path, p)
			}
		}
		if err == nil && len(parts) > 0 {
			// What we write as a link leads to the same place.
			again, _, err := splitPath("/"+escapeName(strings.Join(parts, "/"), true), false)
			if len(path) < maxPath/3 && (err != nil || !slices.Equal(parts, again)) {
				t.Errorf("%q, then %q, %v", parts, again, err)
			}
		}
	})
}

func TestJudge(t *testing.T) {
	modified := time.Date(2020, 2, 2, 2, 2, 2, 999, time.UTC)
	for _, c := range []struct {
		w    wish
		want outcome
	}{
		{wish{}, send},
		{wish{ifNoneMatch: `"a"`}, notModified},
		{wish{ifNoneMatch: `W/"a"`}, notModified},
		{wish{ifNoneMatch: `"b", "a"`}, notModified},
		{wish{ifNoneMatch: `"b" "a"`}, notModified},
		{wish{ifNoneMatch: `*`}, notModified},
		{wish{ifNoneMatch: `"b`}, send},
		{wish{ifNoneMatch: `a`}, send},
		{wish{ifNoneMatch: `,`}, send},
		{wish{ifMatch: `"a"`}, send},
		{wish{ifMatch: `W/"a"`}, conditionFailed},
		{wish{ifMatch: `"a"`, ifNoneMatch: `"a"`}, notModified},
		{wish{ifMatch: `"b"`, ifNoneMatch: `"a"`}, conditionFailed},
		{wish{ifModified: "Sun, 02 Feb 2020 02:02:02 GMT"}, notModified},
		{wish{ifModified: "Sun, 02 Feb 2020 02:02:01 GMT"}, send},
		{wish{ifModified: "Sun, 02 Feb 2020 02:02:02 GMT", ifNoneMatch: `"b"`}, send},
		{wish{ifUnmodified: "Sun, 02 Feb 2020 02:02:02 GMT"}, send},
		{wish{ifUnmodified: "Sun, 02 Feb 2020 02:02:01 GMT"}, conditionFailed},
		{wish{ifUnmodified: "Sun, 02 Feb 2020 02:02:01 GMT", ifMatch: `"a"`}, send},
		{wish{ifModified: "soon"}, send},
	} {
		if got := c.w.judge(`"a"`, modified); got != c.want {
			t.Errorf("%+v: %v, want %v", c.w, got, c.want)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		field string
		want  []span
		ok    bool
	}{
		{"bytes=0-0", []span{{0, 1}}, true},
		{"bytes=5-", []span{{5, 95}}, true},
		{"bytes=-5", []span{{95, 5}}, true},
		{"bytes=-500", []span{{0, 100}}, true},
		{"bytes=90-500", []span{{90, 10}}, true},
		{"bytes=0-1,,5-6", []span{{0, 2}, {5, 2}}, true},
		{"bytes=0-1,200-", []span{{0, 2}}, true},
		{"bytes=100-", nil, false},
		{"bytes=-0", nil, false},
		{"bytes=200-,300-", nil, false},
		{"bytes=99999999999999999999-", nil, false},
		{"bytes=0-99999999999999999999", []span{{0, 100}}, true},
		{"bytes=5-4", nil, true},
		{"bytes=", nil, true},
		{"bytes=,", nil, true},
		{"bytes=a-b", nil, true},
		{"bytes=1", nil, true},
		{"bytes= 0-0", []span{{0, 1}}, true},
		{"lines=0-0", nil, true},
		{"bytes=0-,0-", nil, true},
		{"bytes=" + strings.Repeat("0-0,", maxRanges+1), nil, true},
	} {
		got, ok := parseRanges(c.field, 100)
		if !slices.Equal(got, c.want) || ok != c.ok {
			t.Errorf("%s: %v, %v; want %v, %v", c.field, got, ok, c.want, c.ok)
		}
	}
}

func FuzzRanges(f *testing.F) {
	f.Add("bytes=0-0,5-,-3", int64(100))
	f.Add("bytes=18446744073709551616-9223372036854775807", int64(1))
	f.Fuzz(func(t *testing.T, field string, size int64) {
		if size < 0 {
			return
		}
		spans, ok := parseRanges(field, size)
		total := int64(0)
		for _, s := range spans {
			if total += s.size; s.from < 0 || s.size < 1 || s.from > size-s.size {
				t.Errorf("%q of %d: %v", field, size, s)
			}
		}
		if len(spans) > maxRanges || total > size || !ok && spans != nil {
			t.Errorf("%q of %d: %v, %v", field, size, spans, ok)
		}
	})
}

func TestChoose(t *testing.T) {
	all := [encodings]bool{true, true, true, true}
	some := [encodings]bool{false, false, true, true}
	for _, c := range []struct {
		field string
		there [encodings]bool
		want  encoding
	}{
		{"", all, identity},
		{"gzip", all, gzipped},
		{"x-gzip", all, gzipped},
		{"GZIP;Q=0.5", all, gzipped},
		{"gzip, br", all, brotli},
		{"gzip, br", some, gzipped},
		{"gzip;q=0.9, br;q=0.8", all, gzipped},
		{"*", some, gzipped},
		{"*;q=0", all, identity},
		{"gzip;q=0", all, identity},
		{"gzip;q=0, *", some, identity},
		{"gzip;q=0.2, identity;q=0.5", all, identity},
		{"identity", all, identity},
		{"deflate", all, identity},
		{"identity;q=0", some, identity},
		{"gzip;q=x", all, gzipped},
		{"gzip;q=0.0000", all, gzipped},
		{"zstd;q=0.5, br;q=0.5", all, brotli},
		{";;,=,;q=", all, identity},
	} {
		if got := choose(c.field, c.there); got != c.want {
			t.Errorf("%q: %v, want %v", c.field, got, c.want)
		}
	}
}

// What is read as simple is read by net/http in the same way: whatever else may be true of two
// readers of the same bytes, they do not disagree.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD /a%20b?c HTTP/1.1\r\nHost: X:80\r\nConnection: close\r\nRange: bytes=0-1\r\nUser-Agent: a \"b\"\r\n\r\nGET",
		"GET //a?b#c HTTP/1.1\r\nhost: [::1]\r\nIf-None-Match: \"a\"\r\nAccept-Encoding: gzip\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
		"GET /%zz HTTP/1.1\r\nHost: x\r\nTE: x\r\nKeep-Alive: 3\r\nCookie: a=b\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h head
		v, used := parseHead(b, &h)
		if v != simple {
			return
		}
		in := bytes.NewReader(b)
		buffered := bufio.NewReaderSize(in, len(b)+16)
		r, err := http.ReadRequest(buffered)
		if err != nil {
			if strings.Contains(err.Error(), "invalid URL") { // find says so too: see below
				return
			}
			t.Fatalf("%q: net/http: %v", b, err)
		}
		rest := len(b) - used
		if got := buffered.Buffered() + in.Len(); got != rest {
			t.Errorf("%q: it ends at %d, for net/http at %d", b, used, len(b)-got)
		}
		method := "GET"
		if h.isHead {
			method = "HEAD"
		}
		wants := []string{method, string(h.target), string(h.host), string(h.agent), string(h.referer), h.wish.ranges, h.wish.encodings, h.wish.ifNoneMatch, h.wish.ifModified}
		has := []string{r.Method, r.RequestURI, r.Host, r.UserAgent(), r.Referer(), joined(r.Header, "Range"), joined(r.Header, "Accept-Encoding"), joined(r.Header, "If-None-Match"), joined(r.Header, "If-Modified-Since")}
		wants[3], wants[4], has[3], has[4] = "", "", "", "" // the last of several; only the log sees them
		if !slices.Equal(wants, has) {
			t.Errorf("%q:\nwe   %q\nthey %q", b, wants, has)
		}
		if h.closing != r.Close && !h.closing {
			t.Errorf("%q: the connection is to be closed", b)
		}
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			t.Errorf("%q: there is a body", b)
		}
		// The same names, whoever has split the target.
		ours, slash, err := splitPath(string(h.path), false)
		theirs, theirSlash, err2 := splitPath(r.URL.EscapedPath(), false)
		if r.URL.Host == "" && (!slices.Equal(ours, theirs) || slash != theirSlash || (err == nil) != (err2 == nil)) {
			t.Errorf("%q: %q %v %v, and %q %v %v", b, ours, slash, err, theirs, theirSlash, err2)
		}
	})
}

func TestHeadLeavesTheRest(t *testing.T) {
	simple1 := "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
	var h head
	for i := range len(simple1) {
		if v, _ := parseHead([]byte(simple1[:i]), &h); v != partial {
			t.Errorf("%q: %v", simple1[:i], v)
		}
	}
	if v, n := parseHead([]byte(simple1+"GET"), &h); v != simple || n != len(simple1) || string(h.path) != "/a" || !h.plain {
		t.Errorf("%v, %d, %+v", v, n, h)
	}
	for _, b := range []string{
		"POST /a HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a HTTP/1.0\r\nHost: x\r\n\r\n", "GET a HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\nHost: x\n\n", "GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "GET /a HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", "GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: x\r\nAuthorization: Basic x\r\n\r\n", "GET /a HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: x\r\n X: a\r\n\r\n", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET /a HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0\r\nRange: bytes=1-1\r\n\r\n",
		"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01", "\r\n",
	} {
		if v, _ := parseHead([]byte(b), &h); v != other {
			t.Errorf("%q is not left to net/http: %v", b, v)
		}
	}
}

func TestForwarded(t *testing.T) {
	for _, c := range []struct{ field, want string }{
		{`for=192.0.2.1`, "192.0.2.1:0"},
		{`for="192.0.2.1:80"`, "192.0.2.1:80"},
		{`For="[2001:db8::1]:80";proto=https`, "[2001:db8::1]:80 https"},
		{`for=192.0.2.1:99, for="[2001:db8::1]"`, "192.0.2.1:99,[2001:db8::1]:0"},
		{`by=x;for=_hidden;host=y, for=unknown`, "invalid AddrPort,invalid AddrPort"},
		{`for="a\"b", for=192.0.2.1`, "invalid AddrPort,192.0.2.1:0"},
		{`for="192.0.2.1`, "invalid AddrPort"},
		{`for=192.0.2.1, =`, "invalid AddrPort"},
		{`for=::ffff:192.0.2.1`, "192.0.2.1:0"},
		{`for="[fe80::1%eth0]"`, "invalid AddrPort"},
	} {
		var got []string
		for _, h := range parseForwarded(c.field) {
			got = append(got, strings.TrimSpace(h.addr.String()+" "+h.proto))
		}
		if s := strings.Join(got, ","); s != c.want {
			t.Errorf("%s: %s, want %s", c.field, s, c.want)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add(`for="[2001:db8::1]:80";proto=https, for=x`)
	f.Fuzz(func(t *testing.T, field string) {
		if hops := parseForwarded(field); len(hops) > len(field)+1 {
			t.Errorf("%q: %d", field, len(hops))
		}
	})
}

func TestHosts(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"Example.org", "example.org"}, {"*.example.org", ".example.org"}, {"example.org.", "example.org"}, {"localhost", "localhost"},
		{"::1", "::1"}, {"[::1]", "::1"}, {"127.0.0.1", "127.0.0.1"},
	} {
		if h, err := parseHost(c.name); err != nil || h.name != c.want {
			t.Errorf("%s: %q, %v", c.name, h.name, err)
		}
	}
	for _, bad := range []string{"", "*", "*example.org", "a b", "a/b", ":0", ":x", ":70000", "*.", "a:b:c"} {
		if _, err := parseHost(bad); err == nil {
			t.Errorf("%q is a host", bad)
		}
	}
	for field, want := range map[string]string{"A.b:80": "a.b", "a.": "a", "[::1]:8": "::1", "[::1]": "::1", "a:": "a", "": ""} {
		if got := hostName(field); got != want {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	}
}

func TestNatural(t *testing.T) {
	want := []string{"a", "A1", "a2", "a10", "a010b", "b", "ä"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, natural)
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestLogQuoting(t *testing.T) {
	if got := string(appendQuoted(nil, []byte("a\"b\\\n\x1b \xff"), true)); got != `a\x22b\x5c\x0a\x1b\x20\xff` {
		t.Error(got)
	}
	if got := string(appendJSONString(nil, "a\"\\\n\u2028\x7f\xffä")); got != `"a\"\\\u000a\u2028\u007f`+"\uFFFDä\"" {
		t.Error(got)
	}
}

// A request for a file allocates nothing that stays with the number of requests.
func TestHeadAllocates(t *testing.T) {
	b := []byte("GET /file HTTP/1.1\r\nHost: example.org\r\nUser-Agent: x\r\nConnection: keep-alive\r\n\r\n")
	var h head
	if n := testing.AllocsPerRun(100, func() { parseHead(b, &h) }); n > 0 {
		t.Errorf("%v allocations for a head", n)
	}
}
