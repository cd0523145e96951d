package web

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// RFC 3875, section 4.1. "-" is a variable that is not set.
func TestEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "x")
	t.Setenv("TZ", "UTC")
	site := script{dir: "/srv/site", file: "cgi-bin/a.sh", name: "/cgi-bin/a.sh"}
	here := peer{
		addr: &net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 4711}, local: &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 8080},
		host: "example.org", port: 8080,
	}
	for _, test := range []struct {
		name    string
		change  func(r *http.Request, s *script, p *peer, o *DynamicOptions)
		length  int64
		want    string // NAME=VALUE, a line each
		without string // names
	}{
		{"the least", nil, 0, `
GATEWAY_INTERFACE=CGI/1.1
SERVER_SOFTWARE=sockbox
SERVER_PROTOCOL=HTTP/1.1
SERVER_NAME=example.org
SERVER_PORT=8080
SERVER_ADDR=192.0.2.1
REQUEST_METHOD=GET
REQUEST_URI=/cgi-bin/a.sh
REQUEST_SCHEME=http
QUERY_STRING=
SCRIPT_NAME=/cgi-bin/a.sh
SCRIPT_FILENAME=/srv/site/cgi-bin/a.sh
DOCUMENT_ROOT=/srv/site
REMOTE_ADDR=192.0.2.7
REMOTE_HOST=192.0.2.7
REMOTE_PORT=4711
HTTP_HOST=evil.example:1
TZ=UTC`,
			"AUTH_TYPE REMOTE_USER REMOTE_IDENT CONTENT_LENGTH CONTENT_TYPE PATH_INFO PATH_TRANSLATED HTTPS REDIRECT_STATUS SECRET_OF_THE_SERVER HTTP_CONTENT_TYPE"},
		{"4.1.1 and 4.1.11: who it is", func(_ *http.Request, _ *script, p *peer, _ *DynamicOptions) { p.user = "eva" }, 0,
			"AUTH_TYPE=Basic\nREMOTE_USER=eva", ""},
		{"4.1.2 and 4.1.3: a body", func(r *http.Request, _ *script, _ *peer, _ *DynamicOptions) {
			r.Header.Set("Content-Type", "text/x; a=b")
			r.Header.Set("Content-Length", "99")
		}, 5, "CONTENT_LENGTH=5\nCONTENT_TYPE=text/x; a=b", "HTTP_CONTENT_TYPE HTTP_CONTENT_LENGTH"},
		{"4.1.5 and 4.1.6: what is behind the script", func(_ *http.Request, s *script, _ *peer, _ *DynamicOptions) { s.pathInfo = "/a b/c" }, 0,
			"PATH_INFO=/a b/c\nPATH_TRANSLATED=/srv/site/a b/c", ""},
		{"4.1.6 never leads out", func(_ *http.Request, s *script, _ *peer, _ *DynamicOptions) { s.pathInfo = "/../../etc/passwd" }, 0,
			"PATH_INFO=/../../etc/passwd\nPATH_TRANSLATED=/srv/site/etc/passwd", ""},
		{"4.1.7 the query as it was sent", func(r *http.Request, _ *script, _ *peer, _ *DynamicOptions) { r.URL.RawQuery = "a=%20+&b;c=%zz" }, 0,
			"QUERY_STRING=a=%20+&b;c=%zz", ""},
		{"4.1.8 IPv6", func(_ *http.Request, _ *script, p *peer, _ *DynamicOptions) {
			p.addr = &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 1, Zone: "eth0"}
		}, 0, "REMOTE_ADDR=2001:db8::7\nREMOTE_HOST=2001:db8::7", ""},
		{"4.1.8 IPv4 on a socket for both", func(_ *http.Request, _ *script, p *peer, _ *DynamicOptions) {
			p.addr = &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7"), Port: 1}
		}, 0, "REMOTE_ADDR=192.0.2.7", ""},
		{"4.1.8 a unix socket has none, and nothing that looks like one", func(_ *http.Request, _ *script, p *peer, _ *DynamicOptions) {
			p.addr, p.local, p.host, p.port = &net.UnixAddr{Name: "@", Net: "unix"}, &net.UnixAddr{Name: "/x", Net: "unix"}, "", 0
		}, 0, "REMOTE_ADDR=unix:\nSERVER_NAME=localhost\nSERVER_PORT=80", "REMOTE_PORT SERVER_ADDR"},
		{"4.1.14 a name that is none", func(_ *http.Request, _ *script, p *peer, _ *DynamicOptions) { p.host = "a<b>" }, 0,
			"SERVER_NAME=192.0.2.1", ""},
		{"4.1.14 an address", func(_ *http.Request, _ *script, p *peer, _ *DynamicOptions) { p.host = "::1" }, 0,
			"SERVER_NAME=[::1]", ""},
		{"4.1.15 the port is the server's", func(r *http.Request, _ *script, p *peer, _ *DynamicOptions) { r.Host, p.port = "example.org:22", 443 }, 0,
			"SERVER_PORT=443\nHTTP_HOST=example.org:22", ""},
		{"4.1.16", func(r *http.Request, _ *script, _ *peer, _ *DynamicOptions) { r.Proto = "HTTP/2.0" }, 0,
			"SERVER_PROTOCOL=HTTP/2.0", ""},
		{"4.1.18 fields of the request", func(r *http.Request, _ *script, _ *peer, _ *DynamicOptions) {
			r.Header = http.Header{"X-A": {"1", "2"}, "Cookie": {"a=1", "b=2"}, "User-Agent": {"x"}, "X_a": {"no"}, "A.b": {"no"}}
		}, 0, "HTTP_X_A=1, 2\nHTTP_COOKIE=a=1; b=2\nHTTP_USER_AGENT=x", "HTTP_X_a HTTP_A.B"},
		{"4.1.18 what is not for scripts", func(r *http.Request, _ *script, _ *peer, _ *DynamicOptions) {
			for _, name := range append(withheld, "Proxy") {
				r.Header.Set(name, "x")
			}
		}, 0, "CONTENT_TYPE=x", "HTTP_PROXY HTTP_AUTHORIZATION HTTP_PROXY_AUTHORIZATION HTTP_CONNECTION HTTP_TE HTTP_TRANSFER_ENCODING HTTP_UPGRADE HTTP_CONTENT_TYPE"},
		{"what is asked for", func(r *http.Request, _ *script, _ *peer, o *DynamicOptions) {
			r.Header.Set("Authorization", "Basic eDp5")
			o.PassAuth, o.Env = true, []string{"A=b=c", "TZ=CET", "EMPTY="}
		}, 0, "HTTP_AUTHORIZATION=Basic eDp5\nA=b=c\nTZ=CET\nEMPTY=", "HTTP_PROXY"},
		{"TLS", func(_ *http.Request, _ *script, p *peer, _ *DynamicOptions) { p.tls = true }, 0,
			"HTTPS=on\nREQUEST_SCHEME=https", ""},
		{"PHP", func(_ *http.Request, s *script, _ *peer, _ *DynamicOptions) { s.php = true }, 0,
			"REDIRECT_STATUS=200", ""},
	} {
		r := httptest.NewRequest("GET", "http://evil.example:1/cgi-bin/a.sh", nil)
		r.RequestURI = "/cgi-bin/a.sh"
		s, p, o := site, here, DynamicOptions{}
		if test.change != nil {
			test.change(r, &s, &p, &o)
		}
		got := map[string]string{}
		for _, v := range environment(&o, r, s, p, test.length, true) {
			name, value, _ := strings.Cut(v, "=")
			if _, twice := got[name]; twice {
				t.Errorf("%s: %s is set twice", test.name, name)
			}
			got[name] = value
		}
		for line := range strings.Lines(strings.TrimPrefix(test.want, "\n")) {
			name, want, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			if value, ok := got[name]; !ok || value != want {
				t.Errorf("%s: %s is %q, want %q", test.name, name, value, want)
			}
		}
		for _, name := range strings.Fields(test.without) {
			if value, ok := got[name]; ok {
				t.Errorf("%s: %s is set, to %q", test.name, name, value)
			}
		}
	}
}
