package applets

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/bind"
	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/relay"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

var relayApplet = &cli.Applet{
	Name:     "relay",
	Operands: "LISTEN DEST... | LISTEN",
	Short:    "Carry what comes to one place to another, and back",
	Long: `
Take clients at LISTEN, and carry what each of them says to DEST, and what DEST
answers back: in any crossing of TCP, UDP and unix sockets. Each direction of a
stream ends for itself: an end of input is passed on as one while the other
direction goes on, and a reset as a reset. Relay stays in the foreground, or goes to
the background with --daemon, as a name that "list" shows and "close" ends.

LISTEN and DEST are PORT, HOST:PORT, [V6]:PORT, udp://HOST:PORT, unix:/PATH,
unix:@NAME, unixgram:/PATH, fd:N (LISTEN only), and

  tls://HOST:PORT  with TLS there; see --tls-cert for LISTEN, --tls-ca for DEST
  key://HOST:PORT  another relay, encrypted; both prove the KEY of --key
  broadcast:PORT   (DEST only) UDP to everybody on this machine's networks
  -                (DEST only) stdout; nothing is answered

Of several DESTs --balance says who gets a client. One that cannot be reached is passed
over, and tried again in the background, and said so; one that refuses the key is not
tried again until HUP, or a client has no other. A client whom nobody takes is reset,
unless --wait-backend gives a DEST time to come up.

A client that sends datagrams has a session: a port of its own towards DEST, from which
DEST's answers come back, and nobody else's, until nothing has moved for --udp-timeout.
With --max-sessions there are, one that nobody has answered gives way to a new client.
What DEST has no room for is dropped, counted and told of. What goes to a broadcast or
multicast address may be answered by all who get it.

A datagram that goes into a stream is one write, and what one read of the stream gives
is a datagram, of --max-datagram bytes at most; with --frame they are kept apart, in
both directions. A stream that DEST has ended is made again with the next datagram. A
client that has ended its stream has answers until none came for --udp-timeout.

With --proxy-in clients in CIDR begin with a PROXY header, of version 1 or 2, which
tells whom they speak for; --proxy-out tells that to DEST. Of datagrams each has one.
(What is in --allow and --deny counts for the client itself and for who is told.)

--dump shows what passes, to stdout, and --tee puts it into a buffer, line by line,
for "read"; its peer is who said it. A buffer that nobody reads keeps the newest. Both,
and --rate, have relay look at every byte; else the kernel moves them from socket to
socket (splice).

INT, TERM and "close" end it: no more clients are taken, what has been received is
passed on, for --linger, and then everything is closed; nobody's end is waited for. HUP
has it read its certificates again, and hold every DEST for alive again.
` + options.Keys,
	Example: `
sockbox relay --daemon 8022 127.0.0.1:22
sockbox relay --daemon --name web --balance least --wait-backend 10s 127.0.0.1:9999 127.0.0.1:7000 127.0.0.1:9998
sockbox relay --daemon --proxy-out v2 unix:/tmp/front.sock 127.0.0.1:7000
sockbox relay --daemon --tee spy 127.0.0.1:9999 127.0.0.1:7000
sockbox relay --daemon --key @/tmp/key 127.0.0.1:9999 key://127.0.0.1:7000
sockbox relay --daemon udp://127.0.0.1:9999 udp://127.0.0.1:9998
sockbox relay --daemon --frame len16 udp://127.0.0.1:9999 127.0.0.1:7000
sockbox relay --daemon --source 127.0.0.1 --reply-to udp://127.0.0.1:9998 udp://127.0.0.1:9999 127.0.0.1:7000
sockbox relay --daemon --broadcast udp://127.0.0.1:9999 9998
sockbox relay --daemon --echo 127.0.0.1:9999`,
	Exits: map[int]string{
		0: "with --daemon: it is ready; else: it was asked to end, and did",
		1: "LISTEN is in use, or in the end something could not be passed on in time",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		r := &relaying{
			o: relay.Options{
				Dial: sock.DialOptions{Timeout: 10 * time.Second}, HalfClosed: time.Hour, UDPTimeout: time.Minute,
				MaxConns: 16384, MaxSessions: 1024, MaxDatagram: 65507,
			},
			balance: "first", frame: "raw", mode: "0600", linger: 5 * time.Second, fs: fs,
		}
		o := &r.o
		fs.BoolVarP(&r.daemon, "daemon", "d", false, "go to the background when clients can come, and print the PID")
		fs.StringVar(&r.name, "name", "", "be called `NAME` by list and close (default with --daemon: relay-PORT)")
		fs.BoolVar(&r.printPort, "print-port", false, "print the port when clients can come; with --daemon \"PID PORT\"")
		fs.BoolVar(&o.Echo, "echo", false, "send back what comes, in place of a DEST")
		fs.StringVar(&o.Dial.Source, "source", "", "go to DEST from `ADDR[:PORT]`")
		fs.StringVar(&o.Dial.Interface, "interface", "", "go to DEST by the network interface `NAME` only")
		cli.Seconds(fs, &o.Dial.Timeout, "connect-timeout", "", "give up a try to reach DEST after `TIME`")
		fs.BoolVar(&r.broadcast, "broadcast", false, "a DEST that is PORT, or udp://:PORT, means broadcast:PORT")
		fs.StringVar(&r.replyTo, "reply-to", "", "send what DEST answers to `ENDPOINT`, not to the client")

		cli.Choice(fs, &r.balance, "balance", "", "who gets a client: the first that is alive, one after the other, or the one that has the fewest", "first", "round-robin", "least")
		cli.Seconds(fs, &o.WaitBackend, "wait-backend", "", "let a client wait for `TIME` while no DEST can be reached")

		fs.StringSliceVar(&r.allow, "allow", nil, "take only clients in `CIDR` (may be given more than once)")
		fs.StringSliceVar(&r.deny, "deny", nil, "do not take clients in `CIDR` (may be given more than once)")
		fs.IntVarP(&o.MaxConns, "max-conns", "m", o.MaxConns, "serve at most `N` clients at once; others wait")
		fs.IntVar(&o.MaxSessions, "max-sessions", o.MaxSessions, "keep at most `N` sessions of clients that send datagrams")
		cli.Seconds(fs, &o.IdleTimeout, "idle-timeout", "", "end a connection on which nothing moves for `TIME` (0 = never)")
		cli.Seconds(fs, &o.HalfClosed, "half-closed-timeout", "", "the same for one of which one side has ended")
		cli.Seconds(fs, &o.UDPTimeout, "udp-timeout", "", "end a session of datagrams in which nothing moves for `TIME`")
		cli.Rate(fs, &o.Rate, "rate", "", "pass at most `RATE` in each direction, all clients together, as in 2M/s")

		cli.Choice(fs, &r.frame, "frame", "", "how datagrams stand in a stream", "raw", "line", "nul", "netstring", "len16")
		fs.IntVar(&o.MaxDatagram, "max-datagram", o.MaxDatagram, "make datagrams of at most `N` bytes")

		fs.StringSliceVar(&r.proxyIn, "proxy-in", nil, "clients in `CIDR` tell with the PROXY protocol whom they speak for")
		cli.Choice(fs, &r.proxyOut, "proxy-out", "", "tell DEST who the client is, with the PROXY protocol", "v1", "v2")
		fs.BoolVar(&r.tlsListen, "tls-listen", false, "clients speak TLS, as with tls:// or --tls-cert")
		fs.BoolVar(&r.tlsDest, "tls-dest", false, "every DEST speaks TLS, as with tls://")
		r.server.Declare(fs)
		r.client.Declare(fs)
		fs.StringVar(&r.key, "key", "", "the `KEY` for key://")

		cli.Choice(fs, &r.dump, "dump", "", "show what passes, as quoted text or in hexadecimal", "text", "hex")
		fs.Lookup("dump").NoOptDefVal = "text"
		fs.StringVar(&r.tee, "tee", "", "put what passes into the buffer `NAME` too, which is the relay's name then")

		fs.StringVar(&r.mode, "mode", r.mode, "make a unix socket with the permissions `MODE`, in octal")
		cli.Seconds(fs, &r.linger, "linger", "", "at the end, wait at most `TIME` without progress for what has been received to be passed on")
		fs.CountVarP(&r.verbose, "verbose", "v", "tell of every client")
		return r.run
	},
}

type relaying struct {
	o                             relay.Options
	daemon, printPort             bool
	tlsListen, tlsDest, broadcast bool
	name, tee, key                string
	replyTo, balance, frame, mode string
	proxyOut, dump                string
	allow, deny, proxyIn          []string
	server                        options.ServerTLS
	client                        options.ClientTLS
	linger                        time.Duration
	verbose                       int
	fs                            *pflag.FlagSet
	folder                        string // where we were started
	tls                           atomic.Pointer[configs]
}

func (r *relaying) run(ctx context.Context, c *cli.Call) error {
	words := []string{"LISTEN", "DEST..."}
	if r.o.Echo {
		words[1] = "[DEST...]"
	}
	args, err := c.Operands(words...)
	if err != nil {
		return err
	}
	if r.folder, err = os.Getwd(); err != nil {
		return err
	}
	for _, read := range []func() error{
		func() error { return r.endpoints(args) },
		r.lists,
		r.modes,
		r.check,
		r.useless,
		func() error { return r.secure(c) },
	} {
		if err := read(); err != nil {
			return err
		}
	}
	o := bind.Options{Name: r.name, Linger: r.linger, Foreground: !r.daemon, PrintPort: r.printPort, Verbose: r.verbose, Key: r.o.Key}
	if !r.daemon {
		if n, ok := sock.Passed(r.name); ok {
			r.o.Listen.Addr = sock.Addr{Net: "fd", FD: n}
		}
	}
	if r.o.Listen.Net == "fd" {
		o.Keep = []int{r.o.Listen.FD}
	}
	o.Queue = buffer.QueueOptions{Frame: buffer.Line, Capacity: buffer.DefaultCapacity, Overflow: buffer.DropOldest, MaxMessage: buffer.DefaultMaxMessage}
	r.o.Out = c.Stdout
	life.CatchPipe() // there may be a socket's path to remove
	if l := r.o.Listen; (l.Net == "tcp" || l.Net == "udp") && l.Host == "" && cli.IsTerminal(c.Stderr) {
		c.Tell("note: listening on every address of this machine; 127.0.0.1:%d is this machine only", l.Port)
	}
	return options.Bound(r.service(c).Serve(ctx, o, options.Streams(c)))
}

// works tells whether it is this process that relays, and not one that it starts in the background.
func (r *relaying) works() bool { return !r.daemon || life.Backgrounded() }

// service is the relay as what bind serves.
func (r *relaying) service(c *cli.Call) *bind.Service {
	var engine *relay.Relay
	var wish <-chan os.Signal
	if r.works() {
		wish = life.HangupReloads()
	}
	return &bind.Service{
		Tee: r.tee != "",
		Open: func(ctx context.Context, put func([]byte, string), log, note func(string, ...any)) (err error) {
			r.o.Log, r.o.Note, r.o.Verbose = log, note, r.verbose > 0
			if r.tee != "" {
				r.o.Tee = put
			}
			if engine, err = relay.New(r.o); err == nil {
				err = engine.Open(ctx)
			}
			return err
		},
		Addr: func() net.Addr { return engine.Addr() },
		Ready: func() error {
			asked := r.o.Listen.Addr
			if asked.Net == "udp" { // which has a port too
				asked.Net = "tcp"
			}
			return options.TellPort(c, r.printPort, asked, engine.Addr())
		},
		Run: func(ctx, abandon context.Context) (left int, err error) {
			go r.reload(ctx, wish, engine)
			err = engine.Run(ctx, abandon)
			if cut := (*relay.ErrCut)(nil); errors.As(err, &cut) {
				left = cut.Connections + cut.Datagrams
			}
			return left, err
		},
		Passed:   func() int64 { return engine.Progress() },
		Describe: func(s *buffer.Stat) { r.describe(engine, s) },
		Close:    func() { engine.Close() },
	}
}

func (r *relaying) describe(e *relay.Relay, s *buffer.Stat) {
	o := r.o
	if a, ok := e.Addr().(*net.TCPAddr); ok && o.Listen.Port == 0 && o.Listen.Net == "tcp" {
		o.Listen.Port = a.Port
	}
	if a, ok := e.Addr().(*net.UDPAddr); ok && o.Listen.Port == 0 && o.Listen.Net == "udp" {
		o.Listen.Port = a.Port
	}
	s.Endpoint = o.String()
	n := e.Counts()
	s.Peers, s.Connects, s.Refused = int(n.Peers), n.Connects, n.Refused
	if r.tee == "" {
		s.InBytes, s.OutBytes, s.Dropped = n.In, n.Out, n.Dropped
	}
}

// endpoints reads the operands.
func (r *relaying) endpoints(args []string) (err error) {
	if r.o.Listen, err = relay.ParseEndpoint(args[0]); err != nil {
		return cli.Usage(err)
	}
	l := &r.o.Listen
	if l.Stdout || l.Broadcast {
		return cli.Usagef("%s: LISTEN is where clients come", l)
	}
	l.TLS = l.TLS || r.tlsListen || r.server.Given()
	for _, s := range args[1:] {
		d, err := r.destination(s)
		if err != nil {
			return err
		}
		if r.broadcast {
			if d.Net != "udp" && d.Net != "tcp" || d.Host != "" {
				return cli.Usagef("--broadcast: %s says already where to go", d)
			}
			d.Addr.Net, d.Datagram, d.Broadcast = "udp", true, true
		}
		d.TLS = d.TLS || r.tlsDest && !d.Stdout
		r.o.Dests = append(r.o.Dests, d)
	}
	if r.replyTo != "" {
		d, err := r.destination(r.replyTo)
		if err != nil {
			return fmt.Errorf("--reply-to: %w", err)
		}
		r.o.ReplyTo = &d
	}
	return nil
}

func (r *relaying) destination(s string) (relay.Endpoint, error) {
	d, err := relay.ParseEndpoint(s)
	switch {
	case err != nil:
		err = cli.Usage(err)
	case d.Net == "fd":
		err = cli.Usagef("%s: a destination is dialled for each client, and there is one descriptor only", d)
	case (d.Net == "tcp" || d.Net == "udp") && d.Port == 0:
		err = cli.Usagef("%s: a destination has a port other than 0", d)
	}
	return d, err
}

func (r *relaying) lists() (err error) {
	for _, l := range []struct {
		flag  string
		items []string
		to    *sock.AccessList
	}{{"allow", r.allow, &r.o.Allow}, {"deny", r.deny, &r.o.Deny}, {"proxy-in", r.proxyIn, &r.o.ProxyIn}} {
		if *l.to, err = sock.ParseAccessList(l.items); err != nil {
			return cli.Usage(fmt.Errorf("--%s: %w", l.flag, err))
		}
	}
	mode, err := strconv.ParseUint(r.mode, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return cli.Usagef("--mode: %q is not a mode, such as 0660", r.mode)
	}
	r.o.ListenOptions.AnyPort, r.o.ListenOptions.Mode = true, os.FileMode(mode)
	return nil
}

// modes reads the flags that are one word of several.
func (r *relaying) modes() (err error) {
	r.o.Balance = map[string]relay.Balance{"first": relay.First, "round-robin": relay.RoundRobin, "least": relay.Least}[r.balance]
	r.o.Dump = map[string]relay.Dump{"": relay.DumpNothing, "text": relay.DumpText, "hex": relay.DumpHex}[r.dump]
	r.o.ProxyOut = map[string]int{"v1": 1, "v2": 2}[r.proxyOut]
	r.o.Frame, err = relay.ParseFrame(r.frame)
	if r.tee != "" && r.name == "" {
		r.name = r.tee
	}
	if r.name == "" && r.daemon {
		if l := r.o.Listen; (l.Net == "tcp" || l.Net == "udp") && l.Port == 0 {
			return cli.Usagef("--daemon with port 0 needs --name NAME: which port it will be is not known before")
		}
		r.name = defaultName(r.o.Listen)
	}
	if err == nil && r.name != "" {
		err = buffer.CheckName(r.name)
	}
	if err != nil {
		return cli.Usage(err)
	}
	return nil
}

// defaultName is the name of a relay that was given none.
func defaultName(l relay.Endpoint) string {
	switch l.Net {
	case "tcp", "udp":
		return fmt.Sprintf("relay-%d", l.Port)
	case "fd":
		return fmt.Sprintf("relay-fd%d", l.FD)
	}
	base := []byte(strings.TrimPrefix(filepath.Base(l.Path), "@"))
	for i := range base {
		if buffer.CheckName("x"+string(base[i:i+1])) != nil {
			base[i] = '-'
		}
	}
	return "relay-" + string(base[:min(len(base), 58)])
}

func (r *relaying) check() error {
	o := &r.o
	onlyStdout := len(o.Dests) == 1 && o.Dests[0].Stdout
	switch {
	case o.Echo && len(o.Dests) > 0 && !onlyStdout:
		return cli.Usagef("--echo takes the place of DEST; only - may stand beside it")
	case r.tee != "" && r.name != r.tee:
		return cli.Usagef("--tee: %s is the relay's name then: leave out --name", r.tee)
	case r.daemon && (o.Dump != relay.DumpNothing || onlyStdout || o.ReplyTo != nil && o.ReplyTo.Stdout):
		return cli.Usagef("--daemon: there is no stdout in the background; --tee NAME keeps what passes in a buffer")
	case r.printPort && o.Listen.Net != "tcp" && o.Listen.Net != "udp":
		return cli.Usagef("--print-port: %s has no port", o.Listen)
	case o.MaxConns < 1 || o.MaxSessions < 1:
		return cli.Usagef("--max-conns and --max-sessions: at least 1 is needed")
	case o.UDPTimeout <= 0:
		return cli.Usagef("--udp-timeout: some time is needed")
	case o.MaxDatagram < 1 || o.MaxDatagram > 65507:
		return cli.Usagef("--max-datagram: 1 to 65507 bytes fit into a datagram")
	case o.Echo && o.ReplyTo != nil:
		return cli.Usagef("--echo and --reply-to exclude each other")
	case o.Listen.TLS && o.Listen.Datagram:
		return cli.Usagef("%s: TLS is for streams", o.Listen)
	case o.Listen.TLS && !r.server.Given():
		return cli.Usagef("TLS for clients needs --tls-cert FILE or --self-signed")
	case o.Listen.TLS && o.Listen.Key:
		return cli.Usagef("%s: is encrypted already, without TLS", o.Listen)
	}
	dials, keys := false, o.Listen.Key
	for _, d := range append(o.Dests[:len(o.Dests):len(o.Dests)], replies(o)...) {
		dials, keys = dials || d.TLS, keys || d.Key
		switch {
		case d.TLS && d.Datagram:
			return cli.Usagef("%s: TLS is for streams", d)
		case d.TLS && d.Key:
			return cli.Usagef("%s: is encrypted already, without TLS", d)
		case d.Datagram && o.ProxyOut == 1:
			return cli.Usagef("--proxy-out v1: knows no datagrams, for %s; v2 does", d)
		case d.Stdout && len(o.Dests) > 1:
			return cli.Usagef("-: stands alone")
		case itself(o.Listen, d):
			return cli.Usagef("%s: is LISTEN itself, and each client would go round and round", d)
		case d.Stdout:
			continue
		}
		if err := o.Dial.Check(d.Addr); err != nil {
			return cli.Usage(fmt.Errorf("%s: %w", d, err))
		}
	}
	switch {
	case r.client.Given() && !dials:
		return cli.Usagef("--tls-ca and the like are for a DEST that speaks TLS: tls://HOST:PORT, or --tls-dest")
	case keys && !r.fs.Changed("key"):
		return cli.Usagef("key:// needs --key KEY")
	case !keys && r.fs.Changed("key"):
		return cli.Usagef("--key: which side is the other relay? It is written key://HOST:PORT")
	}
	return nil
}

// useless finds flags that would change nothing between these endpoints: who gives one expects something of it.
func (r *relaying) useless() error {
	o := &r.o
	l := o.Listen
	unknown := l.Net == "fd" // which may be of either kind
	streams, datagrams := unknown || !l.Datagram, unknown || l.Datagram
	dials, dialled := false, false // a DEST, and one for streams
	for _, d := range o.Dests {
		dials, dialled = dials || !d.Stdout, dialled || !d.Stdout && !d.Datagram
	}
	for _, d := range append(o.Dests[:len(o.Dests):len(o.Dests)], replies(o)...) {
		streams, datagrams = streams || !d.Datagram, datagrams || d.Datagram
	}
	inet := l.Net == "tcp" || l.Net == "udp"
	for _, f := range []struct {
		flags  string
		useful bool
		reason string
	}{
		{"source interface connect-timeout broadcast balance wait-backend proxy-out tls-dest", dials, "there is no DEST that is dialled"},
		{"wait-backend", dialled, "of DESTs for datagrams nothing tells whether they are there"},
		{"frame max-datagram", streams && datagrams, "goes with datagrams on one side and a stream on the other"},
		{"half-closed-timeout", streams, "is for streams"},
		{"udp-timeout", datagrams, "is for datagrams; --idle-timeout is for streams"},
		{"max-conns", unknown || !l.Datagram, "is for clients with streams; --max-sessions is for those with datagrams"},
		{"max-sessions", unknown || l.Datagram, "is for clients with datagrams; --max-conns is for those with streams"},
		{"mode", !inet, l.String() + " is no file"},
		{"allow deny", inet || unknown || r.proxyIn != nil, "who comes by " + l.String() + " has no address"},
	} {
		for _, flag := range strings.Fields(f.flags) {
			if r.fs.Changed(flag) && !f.useful {
				return cli.Usagef("--%s: %s", flag, f.reason)
			}
		}
	}
	return nil
}

// itself tells whether streams to d would come back to l, as far as the words say so.
func itself(l, d relay.Endpoint) bool {
	if l.Datagram || d.Datagram || d.Stdout || l.Net != d.Net {
		return false
	}
	if l.Net == "tcp" {
		if d.Host == "" || d.Host == "localhost" {
			d.Host = "127.0.0.1"
		}
		if ip, err := netip.ParseAddr(d.Host); l.Host == "" && err == nil && ip.IsLoopback() {
			d.Host = ""
		}
	}
	return l.Addr == d.Addr
}

func replies(o *relay.Options) []relay.Endpoint {
	if o.ReplyTo == nil {
		return nil
	}
	return []relay.Endpoint{*o.ReplyTo}
}

// secure reads certificates and keys. It comes last: a key may be typed.
func (r *relaying) secure(c *cli.Call) error {
	fingerprint, err := r.certificates()
	if err != nil {
		return err
	}
	if fingerprint != "" && r.works() {
		c.Tell("the certificate's fingerprint is %s", fingerprint)
	}
	if r.o.Listen.TLS {
		r.o.TLSListen = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return r.tls.Load().listen, nil
		}}
	}
	r.o.TLSDest = func(host string) (*tls.Config, error) { return r.tls.Load().dests[host], nil }
	if r.fs.Changed("key") {
		r.o.Key, err = options.Key(c, r.key)
	}
	return err
}

// configs are what is needed for TLS, as the files have it.
type configs struct {
	listen *tls.Config
	dests  map[string]*tls.Config // by host
}

// certificates reads the files for TLS. One that was made on the spot stays what it is.
func (r *relaying) certificates() (fingerprint string, err error) {
	now := &configs{dests: map[string]*tls.Config{}}
	before := r.tls.Load()
	switch server, err := r.server.TLS(); {
	case err != nil:
		return "", err
	case !r.o.Listen.TLS:
	case server.SelfSigned && before != nil:
		now.listen = before.listen
	default:
		for _, path := range []*string{&server.Cert, &server.Key, &server.ClientCA} {
			*path = r.absolute(*path)
		}
		config, told, err := server.Config()
		if err != nil {
			return "", err
		}
		now.listen = config
		if server.SelfSigned {
			fingerprint = told
		}
	}
	client, err := r.client.TLS()
	if err != nil {
		return "", err
	}
	for _, path := range []*string{&client.CA, &client.Cert, &client.Key} {
		*path = r.absolute(*path)
	}
	for _, d := range append(r.o.Dests[:len(r.o.Dests):len(r.o.Dests)], replies(&r.o)...) {
		if !d.TLS {
			continue
		}
		host := d.Host
		if host == "" {
			host = "localhost"
		}
		if now.dests[d.Host], err = client.Config(host); err != nil {
			return "", err
		}
	}
	r.tls.Store(now)
	return fingerprint, nil
}

// reload is what HUP asks for.
func (r *relaying) reload(ctx context.Context, wish <-chan os.Signal, e *relay.Relay) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wish:
		}
		if _, err := r.certificates(); err != nil {
			r.o.Log("the certificates stay as they were: %v", err)
		} else {
			r.o.Log("read again what there is to read")
		}
		e.Revive()
	}
}

// absolute is path seen from where we were started: the daemon works in another directory, and files are
// read again.
func (r *relaying) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.folder, path)
}
