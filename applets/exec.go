package applets

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/launch"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

var execApplet = &cli.Applet{
	Name:     "exec",
	Aliases:  []string{"sockexec", "sockexec.client"},
	Operands: "SOCKET | SOCKET PROGRAM [ARG...]",
	Short:    "Run programs for those who ask at a socket, or ask for one",
	Long: `
Listen at SOCKET, a path, and run the programs that clients ask for: there is no
shell, what a client sends is the words of a command. It speaks the protocol of
jprjr's sockexec, and has its options, limits and defaults. With --call it is the
client: PROGRAM is run by the server as if it ran here, with our input, output,
errors and exit status, 128+N for an end by signal N; INT, TERM, HUP and changes of
the window that come to the client go to the program.

The server stays in the foreground, and gives a program its own environment and
directory. A program is started as soon as its last argument has come, and while
its input does. When the client leaves, or --timeout is over, which counts from
when the client came, TERM is sent to the program and all that descends from it,
and KILL after --kill-after. A client that only ends its own side after the input
is still answered. What reads too slowly slows its program down, and is not
kept in memory. INT, TERM and HUP end the server and all programs in the same
way, the second one at once; it is two processes, so that nothing runs on when one
of them is killed. USR1 has it tell of its connections, USR2 of its descriptors.

On a unix socket --mode says who may connect, which is the user and the group, and
--allow-uid who of these; --allow-program says which programs there are for
them. A PATTERN without a slash, as "uname" or "git-*", is for names that the
server looks up in its PATH; one with a slash for the whole path, as "/opt/jobs/*".
Over TCP programs are run only for those who prove --key, over an encrypted
connection, or show a certificate that --tls-client-ca has signed.

--limit and --user are for programs. The limits are those of setrlimit(2): ` + strings.Join(life.LimitNames(), ", ") + `;
for each of them cpu counts seconds, as and data bytes of memory, and nofile descriptors.

With --pty the program gets a terminal, and ours passes every key on to it: for
editors and shells. That, and passing signals on, wants a server that is sockbox,
and without --key or TLS no relay between; else there is no terminal, and a signal
to the client closes the connection. The client reads its input whether the program
does or not: --no-stdin leaves it for who comes next.

Called as "sockexec" it is the server, and exits with 100 for a wrong command line
and 111 for what the system refuses, as that program does; "sockexec.client" is
exec --call, with the same two, and leaves its input alone where that is a terminal.
A service manager may pass the socket (sd_listen_fds(3)); fd:N is an inherited one.
` + options.Keys,
	Example: `
sockbox exec --timeout 10 /tmp/exec.sock
sockbox exec --call /tmp/exec.sock uname -a
echo hello | sockbox exec --call /tmp/exec.sock tr a-z A-Z
sockbox exec --allow-program uname --allow-program 'git-*' --limit cpu=10 --limit as=512M /tmp/exec.sock
sockbox exec --key @/tmp/key tcp://127.0.0.1:9999
sockbox exec --call --key @/tmp/key tcp://127.0.0.1:9999 id -un`,
	Exits: map[int]string{
		0:   "the server was asked to end; or the program exits with 0",
		1:   "nobody listens, or the connection broke; or it is the program's own",
		2:   "usage; or it is the program's own",
		5:   "the server has another key; or it is the program's own",
		124: "the time is over; or it is the program's own",
		126: "the server could not run the program, or does not want to",
		127: "the server has no such program",
	},
	Recode: func(name string, err error, code int) int {
		if name == "exec" {
			return code
		}
		_, own := cli.Status(err)
		switch {
		case cli.IsUsage(err):
			return 100
		case !own:
			return 111
		}
		return code
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		e := execute{fs: fs, backlog: 100, most: 100, timeout: 60 * time.Second, kill: 10 * time.Second, maxRequest: 16 << 20}
		fs.BoolVarP(&e.version, "version", "v", false, "print the version")
		fs.BoolVarP(&e.debug, "debug", "d", false, "tell what happens, not only what goes wrong")
		fs.IntVarP(&e.backlog, "backlog", "q", e.backlog, "let at most `N` connections wait to be accepted")
		fs.StringVarP(&e.mode, "mode", "M", "0660", "make the socket with the permissions `MODE`, in octal")
		fs.IntVarP(&e.most, "max-conns", "m", e.most, "serve at most `N` connections at the same time, and close the others")
		cli.Seconds(fs, &e.timeout, "timeout", "t", "end a connection and its program after `TIME`; 0 = never. With --call, which has no limit otherwise, give up then")
		cli.Seconds(fs, &e.kill, "kill-after", "k", "between TERM and KILL let `TIME` pass")
		fs.BoolVar(&e.queue, "queue", false, "let connections that are too many wait, and not close them")
		cli.Seconds(fs, &e.linger, "linger-output", "", "when a program has ended, wait at most `TIME` for what it has left behind to close its output (default no limit)")
		cli.Size(fs, &e.maxRequest, "max-request", "", "take at most `SIZE` bytes of arguments")
		fs.BoolVar(&e.strict, "strict", false, "close the connection without a word when a program cannot be started")
		fs.StringSliceVar(&e.uids, "allow-uid", nil, "run programs only for `USER`, a name or a number (may be given more than once)")
		fs.StringSliceVar(&e.allow, "allow", nil, "take only peers in `CIDR` (may be given more than once)")
		fs.StringArrayVar(&e.programs, "allow-program", nil, "run only programs that match `PATTERN` (may be given more than once)")
		fs.StringSliceVar(&e.limits, "limit", nil, "limit what a program may use: `LIMIT=N` (may be given more than once)")
		fs.StringVar(&e.user, "user", "", "run programs as `USER`, or USER:GROUP")
		fs.StringVar(&e.dir, "chdir", "", "run programs in `DIR`")
		fs.StringArrayVar(&e.env, "env", nil, "give programs the variable `NAME=VALUE`, or with NAME alone take it from them (may be given more than once)")
		fs.StringVar(&e.key, "key", "", "only encrypted connections, which prove `KEY`")
		e.server.Declare(fs)
		fs.BoolVar(&e.call, "call", false, "be the client: run PROGRAM there")
		fs.BoolVar(&e.pty, "pty", false, "with --call, give the program a terminal")
		fs.BoolVar(&e.noStdin, "no-stdin", false, "with --call, do not read our input: the program gets none")
		e.client.Declare(fs)
		return e.run
	},
}

type execute struct {
	fs *pflag.FlagSet

	version, debug, queue, strict, call, pty, noStdin bool

	backlog, most                      int
	mode, user, dir, key               string
	timeout, kill, linger              time.Duration
	maxRequest                         int64
	uids, allow, programs, limits, env []string

	server options.ServerTLS
	client options.ClientTLS
}

// Flags that only one of the two sides has.
var (
	execServerFlags = []string{"debug", "backlog", "mode", "max-conns", "kill-after", "queue", "linger-output", "max-request", "strict",
		"allow-uid", "allow", "allow-program", "limit", "user", "chdir", "env", "tls-cert", "tls-key", "tls-client-ca", "self-signed"}
	execCallFlags = []string{"pty", "no-stdin", "tls-ca", "tls-name", "tls-pin", "tls-insecure", "tls-client-cert", "tls-client-key"}
)

func (e *execute) run(ctx context.Context, c *cli.Call) error {
	name := c.Called()
	e.call = e.call || name == "sockexec.client"
	if e.version {
		_, err := fmt.Fprintf(c.Stdout, "sockexec version: %s\n", cli.Version())
		return err
	}
	words, others := []string{"SOCKET"}, execCallFlags
	if e.call {
		words, others = []string{"SOCKET", "PROGRAM", "[ARG...]"}, execServerFlags
	}
	args, err := c.Operands(words...)
	if err != nil {
		if !e.call && len(c.Args) > 1 {
			err = cli.Hint(err, "to run a program there: %s --call %s", c.Name, strings.Join(c.Args, " "))
		}
		return err
	}
	for _, flag := range others {
		if e.fs.Changed(flag) && e.call {
			return cli.Usagef("--%s is for the server", flag)
		} else if e.fs.Changed(flag) {
			return cli.Usagef("--%s goes with --call", flag)
		}
	}
	addr, err := socket(args[0])
	switch {
	case err != nil:
		return cli.Usage(err)
	case addr.Net != "tcp" && addr.Net != "unix" && addr.Net != "fd":
		return cli.Usagef("%s: programs are asked for over connections", addr)
	case e.fs.Changed("key") && (e.server.Given() || e.client.Given()):
		return cli.Usagef("--key and TLS with certificates exclude each other")
	}
	if e.call {
		return e.ask(ctx, c, addr, args[1:])
	}
	return e.serve(ctx, c, addr)
}

// socket reads an address; a bare word, as reference/sockexec takes it, is a path.
func socket(s string) (sock.Addr, error) {
	if s != "" && !strings.ContainsAny(s, ":/@") && strings.Trim(s, "0123456789") != "" {
		s = "./" + s
	}
	return sock.ParseAddr(s)
}

func (e *execute) serve(ctx context.Context, c *cli.Call, addr sock.Addr) error {
	o := launch.ExecOptions{
		Addr: addr, Backlog: e.backlog, Programs: e.programs, MaxConns: e.most, Queue: e.queue, Timeout: e.timeout, Kill: e.kill,
		Linger: -1, MaxRequest: e.maxRequest, Strict: e.strict, Keyed: e.fs.Changed("key"), Warn: c.Tell,
	}
	if e.fs.Changed("linger-output") {
		o.Linger = e.linger
	}
	if e.debug {
		o.Debug = c.Tell
	}
	mode, err := strconv.ParseUint(e.mode, 8, 32)
	switch {
	case err != nil || mode == 0 || mode > 0o777:
		return cli.Usagef("--mode: %q is not a mode, such as 0660", e.mode)
	case e.fs.Changed("mode") && addr.Net == "tcp":
		return cli.Usagef("--mode: %s is no file", addr)
	case e.fs.Changed("allow") && addr.Net == "unix":
		return cli.Usagef("--allow: who comes by %s has no address; --allow-uid goes by the user", addr)
	case e.backlog < 1:
		return cli.Usagef("--backlog: %d: at least 1 is needed", e.backlog)
	case e.most < 1:
		return cli.Usagef("--max-conns: %d: at least 1 is needed", e.most)
	case e.kill <= 0:
		return cli.Usagef("--kill-after: some time is needed")
	case e.maxRequest < 1:
		return cli.Usagef("--max-request: at least 1 byte is needed")
	}
	o.Listen = sock.ListenOptions{AnyPort: true, Mode: os.FileMode(mode)}
	if err := e.access(c, &o); err != nil {
		return err
	}
	if err := e.surroundings(&o); err != nil {
		return err
	}
	o.Ready = func(a net.Addr) error { return options.TellPort(c, false, addr, a) }

	if o.Keyed && secret.Exposed(e.key) { // the other process has it too, and not where all can see it
		if o.Key, err = options.Key(c, e.key); err == nil {
			err = life.ConcealFlag("key", o.Key.Text())
		}
		if err != nil {
			return err
		}
	}
	guarded, err := options.Guard(ctx)
	if err != nil {
		return err
	}
	if o.Keyed {
		if o.Key, err = options.Key(c, e.key); err != nil { // which may be typed
			return err
		}
	}
	if err := guarded.LeaveGroup(); err != nil {
		return err
	}
	return launch.Exec(guarded.Stop, o)
}

// access reads who may ask, and for what.
func (e *execute) access(c *cli.Call, o *launch.ExecOptions) error {
	var err error
	if o.Allow, err = sock.ParseAccessList(e.allow); err != nil {
		return cli.Usage(fmt.Errorf("--allow: %w", err))
	}
	for _, name := range e.uids {
		uid, err := life.LookUpUID(name)
		if err != nil {
			return cli.Usage(fmt.Errorf("--allow-uid: %w", err))
		}
		o.UIDs = append(o.UIDs, uid)
	}
	if err := launch.CheckPatterns(e.programs); err != nil {
		return cli.Usage(fmt.Errorf("--allow-program: %w", err))
	}
	with, err := e.server.TLS()
	if err != nil {
		return err
	}
	if e.server.Given() {
		with.Failed = func(err error) { c.Tell("%v", err) }
		config, fingerprint, err := with.Config()
		if err != nil {
			return err
		}
		config.NextProtos = []string{launch.ALPN}
		o.TLS = config
		if e.fs.Changed("self-signed") {
			c.Tell("the certificate is %s", fingerprint)
		}
	}
	switch {
	case o.TLS != nil && o.TLS.ClientAuth != tls.RequireAndVerifyClientCert && o.Addr.Net == "tcp",
		o.TLS == nil && !o.Keyed && o.Addr.Net == "tcp":
		return cli.Hint(cli.Usagef("%s: programs are run for those only who prove a key, or show a certificate", o.Addr), "give it --key, or --tls-cert and --tls-client-ca")
	case o.UIDs != nil && (o.Addr.Net == "tcp" || o.Keyed):
		return cli.Usagef("--allow-uid goes with a unix socket without --key: nobody else can be seen")
	}
	return nil
}

// surroundings reads what a program has around it.
func (e *execute) surroundings(o *launch.ExecOptions) error {
	var err error
	for _, text := range e.limits {
		l, err := life.ParseLimit(text)
		if err != nil {
			return cli.Usage(fmt.Errorf("--limit: %w", err))
		}
		o.Limits = append(o.Limits, l)
	}
	if e.user != "" {
		if o.User, err = life.LookUpUser(e.user); err != nil {
			return cli.Usage(fmt.Errorf("--user: %w", err))
		}
		o.Env = o.User.Environment(nil)
	}
	if o.Dir = e.dir; o.Dir != "" {
		if info, err := os.Stat(o.Dir); err != nil {
			return fmt.Errorf("--chdir: %s: %w", o.Dir, sock.Reason(err))
		} else if !info.IsDir() {
			return fmt.Errorf("--chdir: %s: not a directory", o.Dir)
		}
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	// What a service manager and our other half have told is for us.
	o.Env = slices.DeleteFunc(o.Env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "SOCKBOX_GUARD"}, name)
	})
	for _, v := range e.env {
		name, _, set := strings.Cut(v, "=")
		if name == "" {
			return cli.Usagef("--env: %q is not NAME=VALUE or NAME", v)
		}
		o.Env = slices.DeleteFunc(o.Env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		if set {
			o.Env = append(o.Env, v)
		}
	}
	return nil
}

func (e *execute) ask(ctx context.Context, c *cli.Call, addr sock.Addr, args []string) error {
	o := launch.CallOptions{
		Addr: addr, Dial: sock.DialOptions{Timeout: 10 * time.Second}, Keyed: e.fs.Changed("key"), Args: args,
		Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr,
	}
	if e.fs.Changed("timeout") {
		o.Timeout = e.timeout
	}
	in, _ := c.Stdin.(*os.File)
	typed := in != nil && cli.IsTerminal(in)
	if e.noStdin || c.Called() == "sockexec.client" && typed {
		o.Stdin = nil
	}
	var err error
	switch {
	case slices.ContainsFunc(args, func(a string) bool { return strings.ContainsRune(a, 0) }):
		return cli.Usagef("an argument cannot hold a NUL")
	case e.client.Given() && addr.Net != "tcp":
		return cli.Usagef("TLS is for tcp, not for %s", addr)
	case addr.Net == "tcp" && !o.Keyed && !e.client.Given():
		return cli.Hint(cli.Usagef("%s: over a network a server runs nothing without a proof", addr), "give it --key, or --tls-client-cert")
	case e.client.Given():
		with, err := e.client.TLS()
		if err != nil {
			return err
		}
		if o.TLS, err = with.Config(addr.Host); err != nil {
			return err
		}
		o.TLS.NextProtos = []string{launch.ALPN}
	case o.Keyed:
		if o.Key, err = options.Key(c, e.key); err != nil {
			return err
		}
	}
	restore := func() {}
	if e.pty {
		o.Window = &life.Window{Rows: 24, Columns: 80}
		if typed {
			if columns, lines, ok := life.TerminalSize(in); ok {
				o.Window = &life.Window{Rows: uint16(lines), Columns: uint16(columns)}
			}
			o.Terminal = in
			if restore, err = life.RawTerminal(in); err != nil {
				return err
			}
		}
	}
	end, err := launch.Call(ctx, o)
	restore()
	return e.called(c, addr, end, err)
}

// called is what an applet returns whose program has ended elsewhere.
func (e *execute) called(c *cli.Call, addr sock.Addr, end launch.Called, err error) error {
	switch {
	case launch.IsOutput(err):
		return cli.Output(err)
	case err != nil && end.Got != 0:
		life.RaiseAgain(end.Got)
	case errors.Is(err, secret.ErrRefused):
		return cli.Hint(err, "the server has another key; compare the two")
	case errors.Is(err, secret.ErrForeign):
		return cli.Hint(err, "what listens there is no exec, or one without --key")
	case errors.Is(err, launch.ErrNoTerminal) && addr.Net == "unix":
		return cli.Hint(err, "through a relay it takes a server and a client with --key")
	case errors.Is(err, launch.ErrNoAnswer):
		return cli.Hint(err, "it may serve too many already (-m), or not us; what it says of us, it says on its own stderr")
	case sock.Refused(err):
		key := ""
		if e.fs.Changed("key") {
			key = "--key KEY "
		}
		return cli.Hint(err, "start a server with 'sockbox exec %s%s'", key, addr)
	case err != nil:
		return err
	case end.Signal != 0 && end.Signal == end.Got: // by what was to end us
		life.RaiseAgain(end.Signal)
	case end.Signal != 0:
		return cli.Exit(128+int(end.Signal), nil)
	case end.Code != 0:
		return cli.Exit(end.Code, nil)
	}
	return nil
}
