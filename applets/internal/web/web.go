// Package web is the engine of www: a web server for folders of files, for scripts below them, and
// for uploads into them. HTTP itself is net/http's; the files are an os.Root's, so that no name and
// no link leads out of it.
package web

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"sockbox/applets/internal/sock"
)

// Options are what a server is made of. The zero value of each field leaves its feature out.
type Options struct {
	Listen      []sock.Addr // where it listens: tcp, unix, fd, or udp for UDP's form of it
	Sockets     sock.ListenOptions
	UDPAnywhere bool   // take datagrams from other machines too
	Dir         string // what is served where no host fits
	Hosts       []Host // looked at in this order

	Index     []string          // the names of files that stand for their folder
	Listing   bool              // show what is in a folder without an index
	Zip       bool              // a folder can be had as an archive
	SPA       bool              // what does not exist is the root's index
	WellKnown bool              // serve /.well-known/ (RFC 8615), the one name with a dot
	Upload    bool              // PUT and the form of a listing, for those who are in Users
	Types     map[string]string // media types by extension, as ".txt", before all others
	Header    http.Header       // said with every answer, where that says nothing else of it
	Pages     map[int]string    // files below the root for answers of failure, by status
	MaxAge    time.Duration     // Cache-Control: max-age; negative: no-cache

	Users *Users // who may come in; nil: everybody
	Realm string

	Allow, Deny sock.AccessList // peers, as they are after ProxyIn and Trust
	ProxyIn     sock.AccessList // from there connections begin with the PROXY protocol's header
	Trust       sock.AccessList // proxies that are believed what X-Forwarded-For says of whom they speak for
	Forwarded   bool            // they say it by Forwarded (RFC 7239), and the other is not looked at

	TLS *tls.Config
	H2C bool // HTTP/2 without TLS, by prior knowledge

	Limits  Limits
	Log     *Log
	Dynamic DynamicOptions

	Errors io.Writer                        // what scripts print on stderr goes here; nil: nowhere
	Note   func(format string, args ...any) // tells the curious
	Tell   func(format string, args ...any) // tells what goes wrong
	Ready  func(at []net.Addr) error        // called once, when connections are taken
}

// A Host is a folder of its own for those who ask by a name or come by an address.
type Host struct {
	Name string // "example.org", "*.example.org" for all below it, or ADDR:PORT, [V6]:PORT or :PORT
	Dir  string
}

// FieldName tells whether a field may be called name.
func FieldName(name string) bool { return isToken([]byte(name)) }

// FieldValue tells whether a field may have that value.
func FieldValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c == 0x7f {
			return false
		}
	}
	return value == strings.TrimSpace(value)
}

// CheckField tells what is wrong with name, of a field, in Options.Header: some are for the server to
// say, of each answer what is true of it.
func CheckField(name string) error {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Content-Type":
		return errors.New("of what types files are is told by --mime")
	case "Accept-Ranges", "Allow", "Connection", "Content-Encoding", "Content-Length", "Content-Location", "Content-Range",
		"Date", "Etag", "Keep-Alive", "Last-Modified", "Location", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
		"Upgrade", "Www-Authenticate":
		return errors.New("the server itself says that, of each answer")
	}
	return nil
}

// say adds Header to h, which is complete. What h says already stays as it is; Vary may say more.
func (o *Options) say(h http.Header) {
	for name, values := range o.Header {
		switch there := h[name]; {
		case there == nil:
			h[name] = values
		case name == "Vary" && !slices.Contains(there, values[0]):
			h[name] = slices.Concat(there, values)
		}
	}
}

// CheckHost tells what is wrong with the name of a Host.
func CheckHost(name string) error {
	_, err := parseHost(name)
	return err
}

// Limits bound what peers can make the server do and keep. Each has to be set; NewLimits are the
// defaults.
type Limits struct {
	Header     time.Duration // for the head of a request
	Body       time.Duration // for the whole of a request's body
	Idle       time.Duration // between requests, and without progress within one
	Total      time.Duration // for a request and its answer; 0: no limit
	HeaderSize int           // bytes of a request's head
	BodySize   int64         // bytes of a request's body
	Conns      int           // connections at once
	PerAddress int           // of them, from one address (IPv6: one /64)
	Linger     time.Duration // for requests under way when the server ends
}

// step is how often a deadline is moved on, at most: each time costs something.
func (l *Limits) step() time.Duration { return min(time.Second, l.Idle/4) }

// NewLimits returns the defaults.
func NewLimits() Limits {
	return Limits{
		Header: 10 * time.Second, Body: 10 * time.Minute, Idle: 60 * time.Second,
		HeaderSize: 16 << 10, BodySize: 1 << 30,
		Conns: 1024, PerAddress: 256, Linger: 5 * time.Second,
	}
}

// DynamicOptions are for what is made at the time of the request.
type DynamicOptions struct {
	CGI      []string      // prefixes of paths, each with a slash at both ends, below which executables are run
	PHP      string        // a program as php-cgi, or unix:PATH, HOST:PORT of a FastCGI server; "": none
	PHPExt   []string      // what is PHP; empty: .php
	Timeout  time.Duration // for a script to say something more
	PassAuth bool          // scripts see the Authorization header
	Env      []string      // NAME=VALUE, besides what RFC 3875 says
	Grace    time.Duration // from TERM to KILL
	Procs    int           // scripts at once; more of them wait
}

// A script is a program that a request is for. It is a regular file below its site's root, and no
// component of its name begins with a dot.
type script struct {
	dir      string // the site's folder, its absolute path
	file     string // the script's path in it, with slashes and without links: "cgi-bin/env.sh"
	info     os.FileInfo
	name     string // SCRIPT_NAME: the part of the request's path that leads to it, decoded
	pathInfo string // PATH_INFO: what is behind that, decoded; "" or beginning with a slash
	php      bool   // one for DynamicOptions.PHP; otherwise a program for CGI
}

// A peer is who asks, and where it came in.
type peer struct {
	addr  net.Addr // the client's, told by a trusted proxy if there is one; without a known port: port 0
	via   net.Addr // the other end of the connection (or of the PROXY protocol's)
	local net.Addr // where it came in: the server's real address and port
	tls   bool     // it is encrypted, as far as the client is concerned
	host  string   // the name by which the client asked, without a port, lower case
	port  int      // the server's port as the client sees it
	user  string   // who it is, with Users; "": not asked
}
