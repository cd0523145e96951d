package applets

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/sock"
	"sockbox/applets/internal/web"
)

var wwwApplet = &cli.Applet{
	Name:     "www",
	Operands: "[DIR]",
	Short:    "Serve files and scripts to web browsers",
	Long: `
Serve the files below DIR (or the folder it is started in) over HTTP, until INT or
TERM comes. It stays in the foreground; requests under way are then finished.

Nothing outside DIR is ever served, whatever a path or a link says, nor names that
begin with a dot, devices or FIFOs. A link is followed if it leads to another
place in DIR by a relative path. A folder is shown only with --listing, and
otherwise by its index. Files may be had in parts, compressed (NAME.br, NAME.zst and
NAME.gz beside NAME are used where a client takes them, and text is compressed on the
way), and not again if they have not changed. A changed file shows at once, a
changed folder, or another in the place of DIR, within a second.

--host serves another folder to those who ask for a name, as "--host
example.org=DIR", for all names below one, as "--host *.example.org=DIR", or who
come in by an address or a port, as "--host 192.168.0.22:8082=DIR". Names go first;
where nothing fits, DIR is served.

--auth asks for a name and a password from FILE, which "htpasswd -B" makes. Use it
with TLS. With --upload those who are in it may also send files: by PUT, as "curl -T
FILE", or by the form below a listing, which never replaces a file. What is sent
is shown when it is complete, and is never run.

Behind a front such as stunnel, HAProxy or nginx the peer's own address is known if
the front tells it and is believed: by the PROXY protocol from --proxy-in, or by a
field of the request from --trust. The log, --allow, --deny and scripts see that
address.

--cgi has programs run (CGI, RFC 3875) that are executable and below PREFIX, a path
such as /cgi-bin/; what is there and not executable is not shown. --php has files
that end in .php run by a program such as php-cgi, or by a FastCGI server as php-fpm
(unix:/run/php/php-fpm.sock). What www starts runs as the user who has started www, and
ends with the request; see sockbox-protocols(7).

With --listen udp://ADDR:PORT one datagram is one request, and the answer comes in
datagrams. This is an experiment; see sockbox-protocols(7).

HUP opens the log anew and reads --auth again. Certificates are read again when
they change. Under a service manager a socket that is passed (LISTEN_FDS) is used in
place of --listen, and readiness is told (NOTIFY_SOCKET).`,
	Example: `
www --listen 127.0.0.1:9999 --listing --log - /tmp/site
www --listen 127.0.0.1:9999 --cgi /cgi-bin/ --host www.example.org=/tmp/site/org /tmp/site
www --listen 127.0.0.1:9999 --auth /tmp/users --upload --listing --zip /tmp/site
www --listen unix:/tmp/www.sock --trust 127.0.0.1 --log /tmp/www.log /tmp/site`,
	Exits: map[int]string{
		0: "it was told to end, and has answered what was asked",
		1: "an address is in use, or a folder or file cannot be read",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		w := &www{fs: fs, limits: web.NewLimits(), index: []string{"index.html", "index.htm"}, mode: "0600",
			trustField: "x-forwarded-for", logFormat: "combined", realm: "sockbox"}
		w.headerSize = int64(w.limits.HeaderSize)
		w.dynamic = web.DynamicOptions{Timeout: 60 * time.Second, Grace: 2 * time.Second, Procs: 40}
		fs.StringArrayVarP(&w.listen, "listen", "l", []string{":8080"}, "take connections at `ENDPOINT` (may be given more than once)")
		fs.BoolVar(&w.o.UDPAnywhere, "udp-anywhere", false, "answer datagrams that come from other machines, and may name anybody as their sender")
		fs.BoolVar(&w.printPort, "print-port", false, "print the port of each, in a line of its own, when it can be used")
		fs.StringVar(&w.mode, "mode", w.mode, "make a unix socket with the permissions `MODE`, in octal")
		fs.StringArrayVar(&w.hosts, "host", nil, "serve another folder to who asks for NAME: `NAME=DIR` (may be given more than once)")
		fs.StringSliceVar(&w.index, "index", w.index, "a file `NAME` stands for its folder")
		fs.BoolVar(&w.o.Listing, "listing", false, "show what is in a folder that has no index")
		fs.BoolVar(&w.o.Zip, "zip", false, "let a folder be had as an archive, also one with an index: /folder/?zip")
		fs.BoolVar(&w.o.SPA, "spa", false, "answer a path that leads nowhere, and has no extension, with the index of DIR")
		fs.BoolVar(&w.o.WellKnown, "well-known", false, "serve the folder .well-known too (RFC 8615)")
		fs.StringArrayVar(&w.types, "mime", nil, "files that end in EXT are of a media type: `EXT=TYPE` (may be given more than once)")
		cli.Seconds(fs, &w.maxAge, "max-age", "", "let caches keep files for `TIME` without asking; 0 = they have to ask")
		fs.StringArrayVar(&w.headers, "header", nil, "say this with every answer that does not say otherwise: `NAME=VALUE` (may be given more than once)")
		fs.StringArrayVar(&w.pages, "error-page", nil, "answer with a file of DIR in place of a status, as 404=/lost.html: `STATUS=PATH` (may be given more than once)")
		fs.StringVar(&w.auth, "auth", "", "ask for a name and a password that are in `FILE`")
		fs.StringVar(&w.realm, "realm", w.realm, "what browsers show when they ask for the password: `TEXT`")
		fs.BoolVar(&w.o.Upload, "upload", false, "with --auth: let files be sent")
		fs.StringArrayVar(&w.dynamic.CGI, "cgi", nil, "run programs below the path `PREFIX` (may be given more than once)")
		fs.StringVar(&w.dynamic.PHP, "php", "", "run files that end in .php by `PROGRAM`, or unix:PATH or HOST:PORT of a FastCGI server")
		cli.Seconds(fs, &w.dynamic.Timeout, "cgi-timeout", "", "end a script that says nothing for `TIME`")
		fs.IntVar(&w.dynamic.Procs, "cgi-max", w.dynamic.Procs, "run at most `N` scripts at once; others wait")
		fs.StringArrayVar(&w.dynamic.Env, "cgi-env", nil, "give scripts a variable: `NAME=VALUE` (may be given more than once)")
		fs.BoolVar(&w.dynamic.PassAuth, "cgi-pass-auth", false, "let scripts see the Authorization field")
		fs.StringVar(&w.log, "log", "", "write a line for each request to `FILE`; - is stdout")
		cli.Choice(fs, &w.logFormat, "log-format", "", "what a line of the log looks like", "combined", "json")
		fs.StringSliceVar(&w.allow, "allow", nil, "answer only peers in `CIDR` (may be given more than once)")
		fs.StringSliceVar(&w.deny, "deny", nil, "do not answer peers in `CIDR` (may be given more than once)")
		fs.StringSliceVar(&w.proxyIn, "proxy-in", nil, "connections from `CIDR` begin with a PROXY header")
		fs.StringSliceVar(&w.trust, "trust", nil, "believe proxies in `CIDR` for whom they ask")
		cli.Choice(fs, &w.trustField, "trust-field", "", "the field in which they tell it", "x-forwarded-for", "forwarded")
		w.tls.Declare(fs)
		fs.BoolVar(&w.o.H2C, "h2c", false, "take HTTP/2 without TLS")
		cli.Seconds(fs, &w.limits.Header, "header-timeout", "", "cut off a request whose head is not here after `TIME`")
		cli.Seconds(fs, &w.limits.Body, "body-timeout", "", "cut off a request whose body is not here after `TIME`")
		cli.Seconds(fs, &w.limits.Idle, "idle-timeout", "", "cut off a peer that neither sends nor takes anything for `TIME`")
		cli.Seconds(fs, &w.limits.Total, "timeout", "t", "cut off a request that is not answered in `TIME` (0 = never)")
		cli.Size(fs, &w.headerSize, "max-header", "", "refuse a request whose head is longer than `SIZE` bytes")
		cli.Size(fs, &w.limits.BodySize, "max-body", "", "refuse a request whose body is longer than `SIZE` bytes")
		fs.IntVarP(&w.limits.Conns, "max-conns", "m", w.limits.Conns, "hold at most `N` connections at once; others wait")
		fs.IntVar(&w.limits.PerAddress, "per-source", w.limits.PerAddress, "hold at most `N` connections from one address (IPv6: one /64)")
		cli.Seconds(fs, &w.limits.Linger, "linger", "", "at the end, let requests that are under way go on for `TIME`")
		cli.Seconds(fs, &w.dynamic.Grace, "grace", "", "between TERM and KILL of a script let `TIME` pass")
		fs.CountVarP(&w.verbose, "verbose", "v", "tell who is cut off or may not come in")
		return w.run
	},
}

type www struct {
	fs                                      *pflag.FlagSet
	o                                       web.Options
	limits                                  web.Limits
	dynamic                                 web.DynamicOptions
	tls                                     options.ServerTLS
	listen, hosts, types, headers, pages    []string
	index, allow, deny, proxyIn, trust      []string
	trustField, auth, realm, log, logFormat string
	mode                                    string
	maxAge                                  time.Duration
	headerSize                              int64
	printPort                               bool
	verbose                                 int
}

func (w *www) run(ctx context.Context, c *cli.Call) error {
	args, err := c.Operands("[DIR]")
	if err != nil {
		return err
	}
	w.o.Dir = "."
	if len(args) > 0 {
		w.o.Dir = args[0]
	}
	if err := w.read(c); err != nil {
		return err
	}

	reload := life.HangupReloads()
	var stop *life.Stop
	if len(w.dynamic.CGI) > 0 || web.StartsPHP(w.dynamic.PHP) { // whatever scripts leave behind ends with us, also by a KILL
		guarded, err := options.Guard(ctx)
		if err != nil {
			return err
		}
		if err := guarded.LeaveGroup(); err != nil {
			return err
		}
		stop = guarded.Stop
	} else {
		stop = life.CatchSignals(ctx, false)
	}

	if fd, ok := sock.Passed("www"); ok {
		w.o.Listen = []sock.Addr{{Net: "fd", FD: fd}}
	}
	if w.log != "" {
		path := w.log
		if path == "-" {
			path = ""
		}
		if w.o.Log, err = web.OpenLog(path, c.Stdout, w.logFormat == "json", c.Tell); err != nil {
			return err
		}
	}
	print := ""
	if w.tls.Given() {
		t, err := w.tls.TLS()
		if err != nil {
			return err
		}
		t.Failed = func(err error) { c.Tell("%v", err) }
		if w.o.TLS, print, err = t.Config(); err != nil {
			return err
		}
		w.o.TLS.NextProtos = []string{"h2", "http/1.1"}
	}
	if w.auth != "" {
		if w.o.Users, err = web.ReadUsers(w.auth); err != nil {
			return err
		}
	}
	w.o.Errors, w.o.Tell, w.o.Note = c.Stderr, c.Tell, options.Note(c, w.verbose)
	w.o.Ready = func(at []net.Addr) error { return w.ready(c, at, print) }
	s, err := web.New(w.o)
	if err != nil {
		return started(err) // --php may name no program
	}
	return s.Run(stop.Context(), stop.Hurry(), reload)
}

// ready tells whoever waits that connections are taken.
func (w *www) ready(c *cli.Call, at []net.Addr, print string) error {
	if print != "" && (!w.fs.Changed("tls-cert") || w.verbose > 0) {
		c.Tell("the certificate is %s", print)
	}
	for i, a := range at {
		asked := w.o.Listen[i]
		if err := options.TellPort(c, w.printPort && a.Network() != "unix", asked, a); err != nil {
			return err
		}
		if asked.Net == "tcp" && asked.Host == "" && cli.IsTerminal(c.Stderr) {
			c.Tell("note: listening on every address of this machine; --listen 127.0.0.1:%d limits it", asked.Port)
		}
	}
	return life.Notify("READY=1")
}

// read checks what the command line says, and puts it into w.o.
func (w *www) read(c *cli.Call) (err error) {
	for _, text := range w.listen {
		a, err := sock.ParseAddr(text)
		if err != nil {
			return cli.Usage(fmt.Errorf("--listen: %w", err))
		}
		if a.Net == "fifo" {
			return cli.Usagef("--listen: %s: a FIFO takes no connections", a)
		}
		if a.Net == "unixgram" {
			return cli.Usagef("--listen: %s: unix sockets for datagrams are for relay", a)
		}
		w.o.Listen = append(w.o.Listen, a)
	}
	mode, err := strconv.ParseUint(w.mode, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return cli.Usagef("--mode: %q is not a mode, such as 0660", w.mode)
	}
	w.o.Sockets = sock.ListenOptions{AnyPort: true, Mode: os.FileMode(mode)}
	for _, text := range w.hosts {
		name, dir, ok := strings.Cut(text, "=")
		if !ok || name == "" || dir == "" {
			return cli.Usagef("--host: %q is not NAME=DIR", text)
		}
		if err := web.CheckHost(name); err != nil {
			return cli.Usage(fmt.Errorf("--host: %w", err))
		}
		w.o.Hosts = append(w.o.Hosts, web.Host{Name: name, Dir: dir})
	}
	for _, name := range w.index {
		if name == "" || strings.Contains(name, "/") || name[0] == '.' {
			return cli.Usagef("--index: %q cannot be the name of an index", name)
		}
	}
	w.o.Index = w.index
	w.o.Types = map[string]string{}
	for _, text := range w.types {
		ext, kind, ok := strings.Cut(text, "=")
		ext = "." + strings.ToLower(strings.TrimPrefix(ext, "."))
		if !ok || ext == "." || strings.ContainsAny(ext, "/ ") || !strings.Contains(kind, "/") || !web.FieldValue(kind) {
			return cli.Usagef("--mime: %q is not EXT=TYPE, such as .dat=text/plain", text)
		}
		w.o.Types[ext] = kind
	}
	w.o.Header = map[string][]string{}
	for _, text := range w.headers {
		name, value, ok := strings.Cut(text, "=")
		if !ok || !web.FieldName(name) || !web.FieldValue(value) {
			return cli.Usagef("--header: %q is not NAME=VALUE", text)
		}
		if err := web.CheckField(name); err != nil {
			return cli.Usage(fmt.Errorf("--header: %s: %w", name, err))
		}
		if w.fs.Changed("max-age") && strings.EqualFold(name, "Cache-Control") {
			return cli.Usagef("--header: %s: --max-age says that", name)
		}
		w.o.Header.Add(name, value)
	}
	w.o.Pages = map[int]string{}
	for _, text := range w.pages {
		code, path, ok := strings.Cut(text, "=")
		status, err := strconv.Atoi(code)
		if !ok || err != nil || status < 400 || status > 599 || !strings.HasPrefix(path, "/") {
			return cli.Usagef("--error-page: %q is not STATUS=PATH, such as 404=/lost.html", text)
		}
		w.o.Pages[status] = path
	}
	if w.fs.Changed("max-age") {
		if w.o.MaxAge = w.maxAge; w.maxAge == 0 {
			w.o.MaxAge = -1
		}
	}
	for _, list := range []struct {
		flag  string
		items []string
		to    *sock.AccessList
	}{{"allow", w.allow, &w.o.Allow}, {"deny", w.deny, &w.o.Deny}, {"proxy-in", w.proxyIn, &w.o.ProxyIn}, {"trust", w.trust, &w.o.Trust}} {
		if *list.to, err = sock.ParseAccessList(list.items); err != nil {
			return cli.Usage(fmt.Errorf("--%s: %w", list.flag, err))
		}
	}
	w.o.Forwarded = w.trustField == "forwarded"
	for _, prefix := range w.dynamic.CGI {
		if !strings.HasPrefix(prefix, "/") || !strings.HasSuffix(prefix, "/") || strings.Contains(prefix, "//") {
			return cli.Usagef("--cgi: %q: a path with a slash at both ends is needed, such as /cgi-bin/", prefix)
		}
	}
	for _, v := range w.dynamic.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return cli.Usagef("--cgi-env: %q is not NAME=VALUE", v)
		}
	}
	if w.headerSize < 1<<10 || w.headerSize > 1<<20 {
		return cli.Usagef("--max-header: %d bytes: at least 1K and at most 1M are needed", w.headerSize)
	}
	w.limits.HeaderSize = int(w.headerSize)
	switch l := w.limits; {
	case w.o.Upload && w.auth == "":
		return cli.Usagef("--upload needs --auth: nobody is to send files who is not known")
	case l.Conns < 1, l.PerAddress < 1:
		return cli.Usagef("--max-conns and --per-source: at least 1 is needed")
	case w.dynamic.Procs < 1:
		return cli.Usagef("--cgi-max: at least 1 is needed")
	case l.Header <= 0, l.Body <= 0, l.Idle <= 0, w.dynamic.Timeout <= 0:
		return cli.Usagef("--header-timeout, --body-timeout, --idle-timeout and --cgi-timeout: some time is needed")
	case w.logFormat != "combined" && w.log == "":
		return cli.Usagef("--log-format goes with --log")
	case w.fs.Changed("realm") && w.auth == "":
		return cli.Usagef("--realm goes with --auth")
	case w.fs.Changed("trust-field") && len(w.trust) == 0:
		return cli.Usagef("--trust-field goes with --trust")
	case !web.FieldValue(w.realm):
		return cli.Usagef("--realm: %q cannot be said in a field", w.realm)
	}
	has := func(match func(sock.Addr) bool) bool {
		return !w.fs.Changed("listen") || slices.ContainsFunc(w.o.Listen, match) // without it one may be passed
	}
	dynamic := len(w.dynamic.CGI) > 0 || w.fs.Changed("php")
	for _, f := range []struct {
		flags  string
		useful bool
		reason string
	}{
		{"cgi-timeout cgi-max cgi-env cgi-pass-auth grace", dynamic, "there are no scripts without --cgi or --php"},
		{"udp-anywhere", has(func(a sock.Addr) bool { return a.Net == "udp" || a.Net == "fd" }), "goes with --listen udp://ADDR:PORT"},
		{"mode", has(func(a sock.Addr) bool { return a.Net == "unix" }), "goes with --listen unix:PATH"},
		{"h2c", !w.tls.Given(), "with TLS there is HTTP/2 without it"},
	} {
		for _, flag := range strings.Fields(f.flags) {
			if w.fs.Changed(flag) && !f.useful {
				return cli.Usagef("--%s: %s", flag, f.reason)
			}
		}
	}
	if _, err := w.tls.TLS(); err != nil {
		return err
	}
	w.o.Limits, w.o.Dynamic, w.o.Realm = w.limits, w.dynamic, w.realm
	return nil
}
