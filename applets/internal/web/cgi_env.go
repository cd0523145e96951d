package web

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// kept are the variables of our own environment that scripts have too: where programs are, which
// words and which time they use. All else, as keys that the server was started with, is not for them.
var kept = []string{"PATH", "LANG", "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_NUMERIC", "LC_TIME", "TZ", "TMPDIR"}

// withheld are fields of a request that are no HTTP_ variables: CONTENT_ has two of them, others are
// about the connection, which is the server's, or a secret between the client and it (RFC 3875,
// 4.1.18). HTTP_PROXY is where many a program looks for its own proxy.
var withheld = []string{
	"Authorization", "Connection", "Content-Length", "Content-Type", "Keep-Alive", "Proxy", "Proxy-Authenticate",
	"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// environment is the whole environment of a script: RFC 3875, section 4.1, and what scripts of
// other servers look for. length is the body's; 0 is that there is none. here is that the script is a
// process of ours: others have their own variables.
func environment(o *DynamicOptions, r *http.Request, s script, p peer, length int64, here bool) []string {
	env := make([]string, 0, 40)
	set := func(name, value string) { env = append(env, name+"="+value) }

	file := filepath.Join(s.dir, filepath.FromSlash(s.file))
	set("GATEWAY_INTERFACE", "CGI/1.1")
	set("SERVER_SOFTWARE", "sockbox")
	set("SERVER_PROTOCOL", r.Proto)
	set("SERVER_NAME", serverName(p))
	set("SERVER_PORT", strconv.Itoa(serverPort(p)))
	set("REQUEST_METHOD", r.Method)
	set("QUERY_STRING", r.URL.RawQuery)
	set("SCRIPT_NAME", s.name)
	if s.pathInfo != "" {
		set("PATH_INFO", s.pathInfo)
		set("PATH_TRANSLATED", filepath.Join(s.dir, filepath.FromSlash(path.Clean("/"+s.pathInfo))))
	}
	if length > 0 {
		set("CONTENT_LENGTH", strconv.FormatInt(length, 10))
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		set("CONTENT_TYPE", t)
	}
	ip, port := ipPort(p.addr)
	set("REMOTE_ADDR", ip)
	set("REMOTE_HOST", ip) // names are not looked up: who asks decides how long that takes
	if p.user != "" {
		set("AUTH_TYPE", "Basic")
		set("REMOTE_USER", p.user)
	}

	// not in the RFC
	set("DOCUMENT_ROOT", s.dir)
	set("SCRIPT_FILENAME", file)
	set("REQUEST_URI", r.RequestURI)
	if port > 0 {
		set("REMOTE_PORT", strconv.Itoa(port))
	}
	if ip, port := ipPort(p.local); port > 0 {
		set("SERVER_ADDR", ip)
	}
	if p.tls {
		set("REQUEST_SCHEME", "https")
		set("HTTPS", "on")
	} else {
		set("REQUEST_SCHEME", "http")
	}
	if s.php {
		set("REDIRECT_STATUS", "200") // without it php-cgi takes this for a request from outside
	}

	if r.Host != "" {
		set("HTTP_HOST", r.Host)
	}
	for name, values := range r.Header {
		if variable, ok := httpVariable(name); ok {
			between := ", "
			if name == "Cookie" { // RFC 9113, 8.2.3
				between = "; "
			}
			set(variable, strings.Join(values, between))
		}
	}
	if o.PassAuth && r.Header.Get("Authorization") != "" {
		set("HTTP_AUTHORIZATION", r.Header.Get("Authorization"))
	}

	for _, name := range kept {
		if v, ok := os.LookupEnv(name); ok && here {
			set(name, v)
		} else if name == "PATH" && here {
			set(name, "/usr/local/bin:/usr/bin:/bin")
		}
	}
	for _, v := range o.Env { // the user has the last word
		name, _, _ := strings.Cut(v, "=")
		env = slices.DeleteFunc(env, func(had string) bool { return strings.HasPrefix(had, name+"=") })
		env = append(env, v)
	}
	return env
}

// httpVariable is what a field of a request is called in the environment. Names with other than
// letters, digits and dashes are left out: X_Real and X-Real would be the same variable, and one of
// them may be what a proxy vouches for.
func httpVariable(name string) (string, bool) {
	if slices.Contains(withheld, name) || name == "Host" {
		return "", false
	}
	b := make([]byte, 0, 64)
	b = append(b, "HTTP_"...)
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z':
			b = append(b, c-'a'+'A')
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			b = append(b, c)
		case c == '-':
			b = append(b, '_')
		default:
			return "", false
		}
	}
	return string(b), true
}

// serverName is the name that the client used, or our address if it used none that can be one.
func serverName(p peer) string {
	host := p.host
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		host = ip.String()
	} else if !isHostname(host) {
		host, _ = ipPort(p.local)
	}
	if strings.Contains(host, ":") && host != unixPeer {
		host = "[" + host + "]"
	}
	if host == unixPeer {
		return "localhost"
	}
	return host
}

// serverPort is where the request came in; for a unix socket, the scheme's.
func serverPort(p peer) int {
	switch {
	case p.port > 0:
		return p.port
	case p.tls:
		return 443
	}
	return 80
}

func isHostname(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// unixPeer is the address of one who has none: it came over a unix socket. It cannot be taken for
// 127.0.0.1, which scripts may trust.
const unixPeer = "unix:"

func ipPort(a net.Addr) (ip string, port int) {
	if a == nil {
		return unixPeer, 0
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return unixPeer, 0
	}
	return ap.Addr().Unmap().WithZone("").String(), int(ap.Port())
}
