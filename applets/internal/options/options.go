// Package options holds what the command lines of several applets have in common: flags that mean
// the same wherever they occur, and operands that are addresses or names of buffers.
package options

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/bind"
	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

// Ports is what every applet with an address takes.
type Ports struct{ any bool }

// Declare declares the flags of p.
func (p *Ports) Declare(fs *pflag.FlagSet) {
	fs.BoolVar(&p.any, "any-port", false, fmt.Sprintf("allow ports outside %d-%d", sock.MinPort, sock.MaxPort))
}

// AnyPort tells whether ports outside the range are allowed.
func (p *Ports) AnyPort() bool { return p.any }

// A Listener is what applets that listen take.
type Listener struct {
	Ports
	addr  string
	allow []string
	mode  string
	fs    *pflag.FlagSet
}

// Declare declares the flags of l.
func (l *Listener) Declare(fs *pflag.FlagSet) {
	l.fs = fs
	l.Ports.Declare(fs)
	fs.StringVar(&l.addr, "bind", "", "listen on `ADDR` only, not on every address")
	fs.StringSliceVar(&l.allow, "allow", nil, "take only peers in `CIDR` (may be given more than once)")
	fs.StringVar(&l.mode, "mode", "0600", "make a unix socket or FIFO with the permissions `MODE`, in octal")
}

// Given tells whether a flag is on the command line.
func (l *Listener) Given(flag string) bool { return l.fs.Changed(flag) }

// Listen returns how to listen at a, and who may connect.
func (l *Listener) Listen(a sock.Addr) (sock.ListenOptions, sock.AccessList, error) {
	mode, err := strconv.ParseUint(l.mode, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return sock.ListenOptions{}, nil, cli.Usagef("--mode: %q is not a mode, such as 0660", l.mode)
	}
	allow, err := sock.ParseAccessList(l.allow)
	if err != nil {
		return sock.ListenOptions{}, nil, cli.Usage(fmt.Errorf("--allow: %w", err))
	}
	switch {
	case l.Given("mode") && (a.Net == "tcp" || a.Net == "udp"):
		return sock.ListenOptions{}, nil, cli.Usagef("--mode: %s is no file", a)
	case len(allow) > 0 && (a.Net == "unix" || a.Net == "fifo"):
		return sock.ListenOptions{}, nil, cli.Usagef("--allow: who comes by %s has no address", a)
	}
	return sock.ListenOptions{AnyPort: l.any, Mode: os.FileMode(mode)}, allow, nil
}

// Notice tells who looks at a terminal that a port is open to everybody.
func (l *Listener) Notice(c *cli.Call, a sock.Addr) {
	if (a.Net == "tcp" || a.Net == "udp") && a.Host == "" && cli.IsTerminal(c.Stderr) {
		c.Tell("note: listening on every address of this machine; --bind 127.0.0.1 limits it")
	}
}

// A Binding is what bind-input and bind-output take alike.
type Binding struct {
	Listener
	frame, overflow string
	capacity, max   int64
	linger          time.Duration
	foreground      bool
	printPort       bool
	key             string
	verbose         int
	fifo            bool
}

// Declare declares the flags of b.
func (b *Binding) Declare(fs *pflag.FlagSet) {
	b.Listener.Declare(fs)
	b.overflow, b.capacity, b.max, b.linger = "block", buffer.DefaultCapacity, buffer.DefaultMaxMessage, 5*time.Second
	cli.Choice(fs, &b.frame, "frame", "", "where a message ends: at a newline, a zero byte, as a netstring says, or with its datagram (default line; datagram for udp)",
		"line", "nul", "netstring", "datagram")
	cli.Size(fs, &b.capacity, "capacity", "", "hold at most `SIZE` bytes")
	cli.Choice(fs, &b.overflow, "overflow", "", "what a full buffer does with one more message", "block", "drop-oldest", "drop-newest")
	cli.Size(fs, &b.max, "max-message", "", "cut messages longer than `SIZE` bytes into pieces")
	fs.BoolVar(&b.printPort, "print-port", false, "print \"PID PORT\" in place of the PID")
	fs.StringVar(&b.key, "key", "", "only links, which are encrypted, and prove `KEY`")
	cli.Seconds(fs, &b.linger, "linger", "", "at the end, wait at most `TIME` without progress for messages to be delivered")
	fs.BoolVarP(&b.foreground, "foreground", "f", false, "stay in the foreground and print no PID")
	fs.BoolVar(&b.fifo, "fifo", false, "let \"sockbox path NAME\" tell a FIFO, by which a shell reads or writes without starting a program")
	fs.CountVarP(&b.verbose, "verbose", "v", "log peers as they come and go")
}

// Secure reads the key, if there is to be one. It comes last of the checks: it may be typed.
func (b *Binding) Secure(c *cli.Call, o *bind.Options) (err error) {
	if b.Given("key") {
		o.Key, err = Key(c, b.key)
	}
	return err
}

// Sizes checks --capacity and --max-message. Where the first alone was given, the second is at most as much.
func Sizes(fs *pflag.FlagSet, capacity, longest *int64) error {
	const least, most = 4 << 10, 1 << 40
	if *capacity < least || *capacity > most {
		return cli.Usagef("--capacity: %d bytes: at least 4K and at most 1024G are needed", *capacity)
	}
	if *longest < 1 {
		return cli.Usagef("--max-message: a message has at least 1 byte")
	}
	if *longest > *capacity {
		if fs.Changed("max-message") {
			return cli.Usagef("--max-message: %d bytes are more than the capacity, %d", *longest, *capacity)
		}
		*longest = *capacity
	}
	return nil
}

// Options returns the checked values for a buffer called name at a.
func (b *Binding) Options(name string, a sock.Addr) (bind.Options, error) {
	o := bind.Options{
		Name: name, Linger: b.linger, Foreground: b.foreground, PrintPort: b.printPort, Verbose: b.verbose, FIFO: b.fifo,
	}
	if err := buffer.CheckName(name); err != nil {
		return o, cli.Usage(err)
	}
	if err := Sizes(b.fs, &b.capacity, &b.max); err != nil {
		return o, err
	}
	if b.frame == "" {
		b.frame = "line"
		if a.Net == "udp" {
			b.frame = "datagram"
		}
	}
	frame, err := buffer.ParseFrame(b.frame)
	if err != nil {
		return o, cli.Usage(err)
	}
	if frame == buffer.Datagram && a.Net != "udp" && a.Net != "fd" {
		return o, cli.Usagef("--frame datagram: %s is a stream", a)
	}
	if frame != buffer.Datagram && a.Net == "udp" {
		return o, cli.Usagef("--frame %s: %s carries datagrams", frame, a)
	}
	overflow, err := buffer.ParseOverflow(b.overflow)
	if err != nil {
		return o, cli.Usage(err)
	}
	if b.printPort && a.Net != "tcp" && a.Net != "udp" {
		return o, cli.Usagef("--print-port: %s has no port", a)
	}
	if a.Net == "fd" {
		o.Keep = []int{a.FD}
	}
	o.Queue = buffer.QueueOptions{Frame: frame, Capacity: int(b.capacity), Overflow: overflow, MaxMessage: int(b.max)}
	return o, nil
}

// Here reads the operands of a place to listen at: PORT or an endpoint.
func (l *Listener) Here(s string) (sock.Addr, error) {
	a, err := l.address(sock.ParseAddr(s))
	if err != nil || l.addr == "" {
		return a, err
	}
	if a.Net != "tcp" && a.Net != "udp" || a.Host != "" {
		return a, cli.Usagef("--bind: %s says already where to listen", a)
	}
	a.Host = trimBrackets(l.addr)
	if _, err := sock.ParseHostPort(a.Host, "1"); err != nil {
		return a, cli.Usage(fmt.Errorf("--bind: %w", err))
	}
	return a, nil
}

// There reads the operands of a peer: HOST and PORT, or an endpoint.
func (p *Ports) There(operands []string) (sock.Addr, error) {
	var a sock.Addr
	var err error
	if len(operands) == 2 {
		a, err = p.address(sock.ParseHostPort(operands[0], operands[1]))
	} else {
		a, err = p.address(sock.ParseAddr(operands[0]))
	}
	if err == nil && (a.Net == "tcp" || a.Net == "udp") {
		switch {
		case a.Port == 0:
			err = cli.Usagef("%s: a peer has a port other than 0", a)
		case a.Host == "":
			err = cli.Usagef("%s: HOST is missing", operands[0])
		}
	}
	return a, err
}

func trimBrackets(s string) string {
	if len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}

func (p *Ports) address(a sock.Addr, err error) (sock.Addr, error) {
	if err == nil {
		err = a.CheckPort(p.any)
	}
	if err == nil && a.Net == "unixgram" {
		err = fmt.Errorf("%s: unix sockets for datagrams are for relay", a)
	}
	if err != nil {
		return a, cli.Usage(err)
	}
	// The daemon works in another directory.
	if (a.Net == "unix" && a.Path[0] != '@' || a.Net == "fifo") && !filepath.IsAbs(a.Path) {
		if a.Path, err = filepath.Abs(a.Path); err != nil {
			return a, err
		}
	}
	return a, nil
}

// Streams gives a daemon's engine what it may touch of the process.
func Streams(c *cli.Call) bind.Streams {
	return bind.Streams{Stdout: c.Stdout, Stderr: c.Stderr, Tell: c.Tell}
}

// Bound turns what bind returns into what an applet returns: a daemon that failed has told why.
func Bound(err error) error {
	var status bind.ErrStatus
	if errors.As(err, &status) {
		return cli.Exit(int(status), nil)
	}
	return err
}

// Key reads a key as an operand gives it. See secret.ReadKey for the forms.
func Key(c *cli.Call, operand string) (secret.Key, error) {
	key, err := secret.ReadKey(operand, c.Stdin)
	if errors.Is(err, secret.ErrBadKey) {
		err = cli.Usage(err)
	}
	return key, err
}

// Misplaced is err of the address behind a KEY, which is called address. Where a port stands before the last
// of the operands, that one may be the key, and is not shown.
func Misplaced(err error, operands []string, address string) error {
	for _, word := range operands[:len(operands)-1] {
		if _, no := strconv.ParseUint(word, 10, 16); no == nil {
			return cli.Usagef("%s: no address; KEY comes first", address)
		}
	}
	return err
}

// Keys is the part of a man page that says how a KEY may be given.
const Keys = `
KEY is the text itself, @FILE (its first line; the file must be closed to others, or
lie in systemd's $CREDENTIALS_DIRECTORY), env:VAR, fd:N or - (the first line of that
descriptor or of stdin), or + for $SOCKBOX_KEY. A text that looks like one of these is
given as text:KEY. A key on the command line can be seen by everybody on this machine,
with ps; the other forms cannot.`

// Plain returns whose keys in clear are taken: everybody's, if anywhere says so, else those of this
// machine; nobody's where $SOCKBOX_NO_PLAIN forbids it.
func Plain(anywhere bool) (secret.Plain, error) {
	switch forbidden := noPlain(); {
	case forbidden && anywhere:
		return 0, cli.Usagef("--plain: $%s forbids it", noPlainVariable)
	case forbidden:
		return secret.PlainNever, nil
	case anywhere:
		return secret.PlainAnywhere, nil
	}
	return secret.PlainLoopback, nil
}

const noPlainVariable = "SOCKBOX_NO_PLAIN"

func noPlain() bool {
	v := os.Getenv(noPlainVariable)
	return v != "" && v != "0"
}

// Note returns what tells the curious, with --verbose.
func Note(c *cli.Call, verbose int) func(format string, args ...any) {
	return func(format string, args ...any) {
		if verbose > 0 {
			c.Tell(format, args...)
		}
	}
}

// TellPort tells the port that is listened on: to the script, as a line of stdout, or to people if
// they asked for any that is free.
func TellPort(c *cli.Call, print bool, asked sock.Addr, a net.Addr) error {
	if !print {
		if (asked.Net == "tcp" || asked.Net == "udp") && asked.Port == 0 {
			c.Tell("listening on %s", sock.PeerName(a))
		}
		return nil
	}
	_, port, err := net.SplitHostPort(a.String())
	if err == nil {
		_, err = fmt.Fprintln(c.Stdout, port)
	}
	return err
}

// NoBuffer adds to an error that says that there is no buffer how one is made.
func NoBuffer(err error, format string, args ...any) error {
	if errors.Is(err, buffer.ErrNoBuffer) {
		return cli.Hint(err, format, args...)
	}
	return err
}

// Open opens a buffer to use it; hint says how to make the one that is missing. Where ifLive is set it is
// for a shell's function read or write: then what is missing, or is a service, is told by the status alone.
func Open(name string, ifLive bool, hint string) (*buffer.Client, error) {
	b, err := buffer.Open(name)
	if err == nil && ifLive {
		if stat, failed := b.Stat(); failed == nil && stat.Kind == buffer.Service {
			b.Close()
			err = buffer.ErrNoBuffer
		}
	}
	if ifLive && errors.Is(err, buffer.ErrNoBuffer) {
		return nil, cli.Silent(err)
	}
	return b, NoBuffer(err, hint, name)
}

// ServerTLS is what applets that listen take to speak TLS with certificates.
type ServerTLS struct{ tls sock.ServerTLS }

// Declare declares the flags of t.
func (t *ServerTLS) Declare(fs *pflag.FlagSet) {
	fs.StringVar(&t.tls.Cert, "tls-cert", "", "speak TLS, with the certificate and its chain in `FILE` (PEM); a changed file is read again")
	fs.StringVar(&t.tls.Key, "tls-key", "", "the certificate's private key is in `FILE` (default: with the certificate)")
	fs.StringVar(&t.tls.ClientCA, "tls-client-ca", "", "take only clients with a certificate that one in `FILE` has signed")
	fs.BoolVar(&t.tls.SelfSigned, "self-signed", false, "speak TLS with a certificate made now, and tell its fingerprint")
}

// Given tells whether TLS is wanted.
func (t *ServerTLS) Given() bool { return t.tls.Cert != "" || t.tls.SelfSigned }

// TLS returns what was asked for.
func (t *ServerTLS) TLS() (sock.ServerTLS, error) {
	switch {
	case t.tls.Cert != "" && t.tls.SelfSigned:
		return t.tls, cli.Usagef("--tls-cert and --self-signed exclude each other")
	case t.tls.Cert == "" && t.tls.Key != "":
		return t.tls, cli.Usagef("--tls-key needs --tls-cert")
	case !t.Given() && t.tls.ClientCA != "":
		return t.tls, cli.Usagef("--tls-client-ca needs --tls-cert or --self-signed")
	}
	return t.tls, nil
}

// ClientTLS is what applets that dial take to speak TLS with certificates.
type ClientTLS struct{ tls sock.ClientTLS }

// Declare declares the flags of t.
func (t *ClientTLS) Declare(fs *pflag.FlagSet) {
	fs.StringVar(&t.tls.CA, "tls-ca", "", "believe the server's certificate if one in `FILE` has signed it (default: those that the system trusts)")
	fs.StringVar(&t.tls.Name, "tls-name", "", "ask for `NAME`, and believe a certificate for it (default: the host)")
	fs.StringVar(&t.tls.Pin, "tls-pin", "", "believe the one certificate with `FINGERPRINT`, as --self-signed tells it")
	fs.BoolVar(&t.tls.Insecure, "tls-insecure", false, "believe any certificate")
	fs.StringVar(&t.tls.Cert, "tls-client-cert", "", "show the certificate in `FILE` to the server")
	fs.StringVar(&t.tls.Key, "tls-client-key", "", "its private key is in `FILE` (default: with the certificate)")
}

// Given tells whether any of the flags was used.
func (t *ClientTLS) Given() bool { return t.tls != sock.ClientTLS{} }

// TLS returns what was asked for.
func (t *ClientTLS) TLS() (sock.ClientTLS, error) {
	if t.tls.Cert == "" && t.tls.Key != "" {
		return t.tls, cli.Usagef("--tls-client-key needs --tls-client-cert")
	}
	if t.tls.Pin != "" {
		if _, err := sock.ParseFingerprint(t.tls.Pin); err != nil {
			return t.tls, cli.Usage(fmt.Errorf("--tls-pin: %w", err))
		}
	}
	return t.tls, nil
}

// Guard makes two processes of this call, see life.Guard. In the outer one, where the other has done it
// all by then, the error is what the call returns.
func Guard(ctx context.Context) (*life.Guarded, error) {
	guarded, end, err := life.Guard(ctx, false)
	switch {
	case guarded != nil || err != nil:
		return guarded, err
	case end.Signal == syscall.SIGPIPE: // which the Go runtime does not let a process raise
		return nil, cli.Output(syscall.EPIPE)
	case end.Signal != 0:
		life.RaiseAgain(end.Signal)
	}
	return nil, cli.Exit(end.Code, nil)
}
