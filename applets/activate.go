package applets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/launch"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/sock"
)

var activateApplet = &cli.Applet{
	Name:     "activate",
	Operands: "ENDPOINT... -- PROGRAM [ARG...] | FILE|DIR...",
	Short:    "Listen, and start a program when a peer comes",
	Long: `
Listen at every ENDPOINT, and start PROGRAM when somebody connects, or sends a
datagram. Until then it costs nothing; when it has ended it is started for the next
one. How the two meet is said by --mode:

  listen   the program gets the listeners themselves as descriptors 3 and on, and
           accepts; in LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, as systemd has
           them, and in UPSTART_FDS, as Upstart had. One runs at a time; while it
           runs, connections wait for it. A program that only is to be triggered
           need not accept, but is then started again and again, see below
  upstart  the same with UPSTART_FDS only; and with UPSTART_EVENTS, UPSTART_JOB,
           PROTO, PORT and ADDR, or SOCKET_PATH, of the socket event
  inetd    a program for each connection, which is its stdin and stdout. Who it is,
           is in TCPREMOTEIP, TCPREMOTEPORT, TCPLOCALIP, TCPLOCALPORT and PROTO, and
           in REMOTE_ADDR, REMOTE_PORT, SERVER_ADDR and SERVER_PORT; of a unix socket
           in UNIXREMOTEEUID, UNIXREMOTEEGID and UNIXREMOTEPID. Datagrams are handed
           over with their socket, to one program at a time
  worker   the program is started at once and stays, with what it has loaded. Each
           line of any client goes to its stdin, and the line that it prints then
           goes back to that client. It has to answer each line with one line, and
           at once: what collects its output first needs --pty

With inetd the system resets a connection when it is closed and not all that the peer
has sent is read; that may overtake the answer, and the peer see an error in its place.
So a program reads to the end of what its peer says before it exits: in HTTP/1.0 up to
the empty line behind the header, elsewhere the rest as with "cat > /dev/null".

Nothing is ever accepted in a program's place. One that has been started 20 times in
2 seconds and has not taken what waits is started again after 2 seconds, and so on.
A worker that ends unasked is started for the next line; the client who waits for an
answer is hung up on. With --broadcast it is started again while there are clients;
one that has only ended its own side hears on until it leaves, or there is no place
for others; what clients say to a program that has read nothing for 30 seconds is
dropped, and told of. Ends with another status than 0 are told of once a minute, all
of them with -v.

In place of endpoints and a program, job files of Upstart can be given, FILE.conf, or a
directory of them, which is watched: a file that comes is a job more, and one that
goes is a job less. They say "start on socket PROTO=inet PORT=34567 ADDR=127.0.0.1" (or
PROTO=unix SOCKET_PATH=/run/x), and with exec or script what is to be run; setuid,
setgid, env, chdir, umask, nice, limit and "kill timeout" are kept to, and what else
there is is told.

INT, TERM and HUP end it: nobody listens any more from then on, lines of clients that
have come are answered (--linger), and programs and all that descends from them get a
TERM and, after --kill-timeout, a KILL. It is two processes, so that no program is
left behind when one of them is killed.`,
	Example: `
sockbox activate --mode inetd 9999 -- cat
sockbox activate --fdname tcp:unix 127.0.0.1:9999 unix:/tmp/my.sock -- /tmp/service
sockbox activate --mode worker --timeout 5 unix:/tmp/sum.sock -- bc -l
sockbox activate /tmp/jobs`,
	Exits: map[int]string{
		0:   "it was asked to end",
		1:   "a port is in use, lines that had come are left unanswered, or something could not be ended",
		126: "the program cannot be run",
		127: "there is no such program",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		a := activate{mode: "listen", maxConns: -1, killTimeout: 2 * time.Second, linger: 5 * time.Second, maxMessage: 1 << 20, workers: 1, fs: fs}
		cli.Choice(fs, &a.mode, "mode", "", "how program and peers meet", "listen", "upstart", "inetd", "worker")
		fs.StringVar(&a.fdname, "fdname", "", "call the sockets `NAMES` in LISTEN_FDNAMES, as in http:https")
		fs.BoolVar(&a.accept, "accept", false, "listen, upstart: a program for each connection, which it gets as descriptor 3")
		fs.BoolVar(&a.wait, "wait", false, "inetd: one program at a time, with the listener as stdin and stdout")
		fs.BoolVar(&a.stderrSocket, "stderr-socket", false, "inetd: stderr goes to the peer too")
		fs.IntVar(&a.workers, "workers", a.workers, "worker: run `N` of the program")
		fs.BoolVar(&a.broadcast, "broadcast", false, "worker: what the program prints goes to every client, asked or not")
		fs.BoolVar(&a.hangUp, "hang-up", false, "worker: close a connection after an answer")
		fs.BoolVar(&a.pty, "pty", false, "worker: give the program a terminal to print to")
		cli.Size(fs, &a.maxMessage, "max-message", "", "worker: a line has at most `SIZE` bytes; who sends a longer one is hung up on")
		fs.StringVarP(&a.user, "user", "u", "", "run the program as `USER[:GROUP]`")
		fs.StringVar(&a.dir, "chdir", "", "run it in `DIR`")
		fs.StringArrayVar(&a.env, "env", nil, "run it with `NAME=VALUE` in its environment (may be given more than once)")
		fs.StringVar(&a.name, "name", "", "call the job `NAME` in messages and in UPSTART_JOB (default the program's)")
		fs.StringSliceVar(&a.allow, "allow", nil, "take only peers in `CIDR` (may be given more than once)")
		fs.IntVarP(&a.maxConns, "max-conns", "m", a.maxConns, "take at most `N` connections at a time, others wait; -1 = 40, for workers 1024")
		fs.IntVar(&a.perSource, "per-source", 0, "take at most `N` connections at a time from one address, and close others; of datagrams, those not answered yet")
		fs.StringVar(&a.rate, "rate", "", "start at most `N[/TIME]` programs, as 10 (in a second) or 100/1m; then peers wait")
		cli.Seconds(fs, &a.timeout, "timeout", "t", "end a program that has run for `TIME`; a worker that has not answered for so long; 0 = never")
		cli.Seconds(fs, &a.killTimeout, "kill-timeout", "", "between TERM and KILL let `TIME` pass")
		cli.Seconds(fs, &a.linger, "linger", "", "worker: when asked to end, take at most `TIME` to answer what has come")
		fs.IntVar(&a.backlog, "backlog", 0, "let at most `N` connections wait; 0 = the system's most")
		fs.StringVar(&a.socketMode, "socket-mode", "0600", "make a unix socket with the permissions `MODE`, in octal")
		fs.StringVar(&a.group, "group", "", "give a unix socket to `GROUP`")
		fs.BoolVar(&a.printPort, "print-port", false, "print the port of each endpoint, a line each, when they listen")
		fs.CountVarP(&a.verbose, "verbose", "v", "tell who connects, and how programs end")
		return a.run
	},
}

type activate struct {
	mode, fdname, user, dir, name, rate, socketMode, group string
	accept, wait, stderrSocket, broadcast, hangUp, pty     bool
	printPort                                              bool
	workers, maxConns, perSource, backlog, verbose         int
	maxMessage                                             int64
	env, allow                                             []string
	timeout, killTimeout, linger                           time.Duration
	fs                                                     *pflag.FlagSet
}

var activateModes = map[string]launch.Mode{"listen": launch.Listen, "upstart": launch.Upstart, "inetd": launch.Inetd, "worker": launch.Worker}

// Flags that mean something in some modes only.
var activateFlags = map[string][]string{
	"fdname": {"listen"}, "accept": {"listen", "upstart"}, "wait": {"inetd"}, "stderr-socket": {"inetd"},
	"workers": {"worker"}, "broadcast": {"worker"}, "hang-up": {"worker"}, "pty": {"worker"}, "max-message": {"worker"}, "linger": {"worker"},
}

func (a *activate) run(ctx context.Context, c *cli.Call) error {
	at := slices.Index(c.Args, "--")
	endpoints := c.Args[:max(at, 0)]
	if at < 0 {
		endpoints = c.Args
	}
	for i, s := range endpoints {
		if len(s) > 1 && s[0] == '-' {
			return cli.Hint(cli.Usagef("unexpected operand %q", s), "options go before the endpoints: %s %s ...", c.Name, strings.Join(c.Args[i:max(at, i+1)], " "))
		}
	}
	if at < 0 && len(c.Args) > 0 && isFile(c.Args[0]) {
		return a.runFiles(ctx, c)
	}
	if at < 0 {
		err := cli.Usagef("ENDPOINT is missing")
		if len(c.Args) > 0 {
			err = cli.Usagef("-- is missing, between the endpoints and the program")
		}
		return cli.Hint(err, "as in: %s --mode inetd 2323 -- bc -l", c.Name)
	}
	program := c.Args[at+1:]
	switch {
	case at == 0:
		return cli.Usagef("ENDPOINT is missing")
	case len(program) == 0 || program[0] == "":
		return cli.Usagef("PROGRAM is missing")
	}
	j, err := a.job(c, c.Args[:at])
	if err != nil {
		return err
	}
	j.Path, j.Args = program[0], program
	if j.Name == "" {
		j.Name = filepath.Base(program[0])
	}
	if a.user != "" {
		if j.User, err = life.LookUpUser(a.user); err != nil {
			return cli.Usage(fmt.Errorf("--user: %w", err))
		}
	}
	return a.hold(ctx, c, func(stop *life.Stop, ready func([]*sock.Bound) error) error {
		return launch.Run(stop, []*launch.Job{j}, ready)
	})
}

// isFile tells a job file, or a directory of them, from an endpoint.
func isFile(s string) bool {
	fi, err := os.Stat(s)
	return strings.HasSuffix(s, ".conf") || err == nil && fi.IsDir() || strings.HasSuffix(s, "/") && !strings.Contains(s, ":")
}

// Flags that a job file takes the place of.
var activateNoFile = []string{"fdname", "accept", "wait", "stderr-socket", "workers", "broadcast", "hang-up", "pty", "max-message", "linger",
	"user", "chdir", "name", "allow", "max-conns", "per-source"}

// runFiles serves job files, and directories of them.
func (a *activate) runFiles(ctx context.Context, c *cli.Call) error {
	for _, flag := range activateNoFile {
		if a.fs.Changed(flag) {
			return cli.Usagef("--%s does not go with a job file", flag)
		}
	}
	switch {
	case !a.fs.Changed("mode"):
		a.mode = "upstart"
	case a.mode != "upstart" && a.mode != "listen":
		return cli.Usagef("--mode %s does not go with a job file", a.mode)
	}
	base, err := a.common(c)
	if err != nil {
		return err
	}
	dirs := 0
	for _, path := range c.Args {
		if fi, err := os.Stat(path); err == nil && fi.IsDir() {
			dirs++
		}
	}
	if dirs > 0 && dirs < len(c.Args) {
		return cli.Usagef("job files and directories of them do not go together")
	}
	read := func(base *launch.Job) (jobs []*launch.Job, err error) {
		for _, path := range c.Args {
			j, err := launch.ReadConf(base, path)
			if wrong := (*launch.ConfError)(nil); errors.As(err, &wrong) {
				return nil, cli.Exit(2, err)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, sock.Reason(err))
			}
			jobs = append(jobs, j)
		}
		return jobs, nil
	}
	if dirs == 0 { // what is wrong is told by this process, and what is to be known by the other one
		silent := *base
		silent.Log = func(string, ...any) {}
		if _, err := read(&silent); err != nil {
			return err
		}
	}
	return a.hold(ctx, c, func(stop *life.Stop, ready func([]*sock.Bound) error) error {
		if dirs > 0 {
			return launch.Watch(stop, base, c.Args, ready)
		}
		jobs, err := read(base)
		if err != nil {
			return err
		}
		return launch.Run(stop, jobs, ready)
	})
}

// hold runs f in the inner one of two processes.
func (a *activate) hold(ctx context.Context, c *cli.Call, f func(*life.Stop, func([]*sock.Bound) error) error) error {
	guarded, err := options.Guard(ctx)
	if err != nil {
		return err
	}
	if err := guarded.LeaveGroup(); err != nil {
		return err
	}
	// Nobody may be reading our messages any more; the service goes on.
	defer life.OnSignals(func(syscall.Signal) {}, syscall.SIGPIPE)()
	err = f(guarded.Stop, func(socks []*sock.Bound) error {
		for _, s := range socks {
			if err := options.TellPort(c, a.printPort, s.Asked(), s.Local()); err != nil {
				return err
			}
		}
		return life.Notify("READY=1")
	})
	return started(err)
}

// started gives an error the status that a shell has for programs that cannot be started.
func started(err error) error {
	switch {
	case errors.Is(err, life.ErrNotFound):
		return cli.Exit(127, err)
	case errors.Is(err, life.ErrCannotRun):
		return cli.Exit(126, err)
	}
	return err
}

// job is what the flags say, for these endpoints.
func (a *activate) job(c *cli.Call, endpoints []string) (*launch.Job, error) {
	j, err := a.common(c)
	if err != nil {
		return nil, err
	}
	for _, s := range endpoints {
		addr, err := sock.ParseAddr(s)
		if err != nil {
			return nil, cli.Usage(err)
		}
		if addr.Net == "fifo" {
			return nil, cli.Usagef("%s: a FIFO has nobody to listen for", addr)
		}
		if addr.Net == "unixgram" {
			return nil, cli.Usagef("%s: unix sockets for datagrams are for relay", addr)
		}
		if addr.Net == "udp" && a.wait {
			return nil, cli.Usagef("--wait: datagrams are handed over that way always")
		}
		if a.printPort && addr.Net != "tcp" && addr.Net != "udp" {
			return nil, cli.Usagef("--print-port: %s has no port", addr)
		}
		j.At = append(j.At, launch.Endpoint{Addr: addr})
	}
	for _, f := range []struct {
		flags, nets []string
		reason      string
	}{
		{[]string{"socket-mode", "group"}, []string{"unix"}, "goes with an endpoint unix:/PATH"},
		{[]string{"allow", "per-source"}, []string{"tcp", "udp", "fd"}, "who comes by a unix socket has no address"},
	} {
		useful := slices.ContainsFunc(j.At, func(e launch.Endpoint) bool { return slices.Contains(f.nets, e.Addr.Net) })
		for _, flag := range f.flags {
			if a.fs.Changed(flag) && !useful {
				return nil, cli.Usagef("--%s: %s", flag, f.reason)
			}
		}
	}
	for flag, modes := range activateFlags {
		if a.fs.Changed(flag) && !slices.Contains(modes, a.mode) {
			return nil, cli.Usagef("--%s goes with --mode %s", flag, strings.Join(modes, " or "))
		}
	}
	for _, flag := range []string{"allow", "per-source", "max-conns"} {
		if a.fs.Changed(flag) && j.Mode != launch.Worker && !a.accept && (j.Mode != launch.Inetd || a.wait) {
			return nil, cli.Usagef("--%s: the program itself accepts; there has to be one for each connection (--accept)", flag)
		}
	}
	return j, nil
}

// common is what holds for jobs of files too.
func (a *activate) common(c *cli.Call) (*launch.Job, error) {
	j := &launch.Job{
		Name: a.name, Mode: activateModes[a.mode], Accept: a.accept, Wait: a.wait, StderrSocket: a.stderrSocket,
		MaxConns: a.maxConns, PerSource: a.perSource, Timeout: a.timeout, KillTimeout: a.killTimeout, Linger: a.linger,
		Workers: a.workers, Broadcast: a.broadcast, HangUp: a.hangUp, Pty: a.pty, MaxMessage: int(a.maxMessage),
		Program: launch.Program{Dir: a.dir, Env: a.env}, Log: c.Tell, Note: options.Note(c, a.verbose),
	}
	j.Stdout, _ = c.Stdout.(*os.File)
	j.Stderr, _ = c.Stderr.(*os.File)
	if a.fdname != "" {
		j.FDNames = strings.Split(a.fdname, ":")
	}
	if j.MaxConns < 0 {
		j.MaxConns = 40
		if j.Mode == launch.Worker {
			j.MaxConns = 1024
		}
	}
	mode, err := strconv.ParseUint(a.socketMode, 8, 32)
	if err != nil || mode == 0 || mode > 0o777 {
		return nil, cli.Usagef("--socket-mode: %q is not a mode, such as 0660", a.socketMode)
	}
	j.Bind = sock.BindOptions{ListenOptions: sock.ListenOptions{AnyPort: true, Mode: os.FileMode(mode)}, Backlog: a.backlog}
	if a.group != "" {
		if j.Bind.Group, err = life.LookUpGroup(a.group); err != nil {
			return nil, cli.Usage(fmt.Errorf("--group: %w", err))
		}
	}
	if j.Allow, err = sock.ParseAccessList(a.allow); err != nil {
		return nil, cli.Usage(fmt.Errorf("--allow: %w", err))
	}
	if a.dir != "" {
		if fi, err := os.Stat(a.dir); err != nil {
			return nil, fmt.Errorf("--chdir: %s: %w", a.dir, sock.Reason(err))
		} else if !fi.IsDir() {
			return nil, fmt.Errorf("--chdir: %s: not a directory", a.dir)
		}
	}
	if a.rate != "" {
		if j.Rate, err = launch.ParseRate(a.rate); err != nil {
			return nil, cli.Usage(fmt.Errorf("--rate: %w", err))
		}
	}
	for _, v := range a.env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" {
			return nil, cli.Usagef("--env: %q is not NAME=VALUE", v)
		}
	}
	switch {
	case a.workers < 1:
		return nil, cli.Usagef("--workers: %d: at least 1 is needed", a.workers)
	case a.broadcast && (a.workers > 1 || a.hangUp):
		return nil, cli.Usagef("--broadcast goes with one worker, and not with --hang-up")
	case a.broadcast && a.timeout > 0:
		return nil, cli.Usagef("--timeout: with --broadcast nobody knows what an answer is")
	case a.maxConns == 0 || a.maxConns < -1:
		return nil, cli.Usagef("--max-conns: %d: at least 1 is needed", a.maxConns)
	case a.perSource < 0:
		return nil, cli.Usagef("--per-source: %d: at least 1 is needed", a.perSource)
	case a.backlog < 0:
		return nil, cli.Usagef("--backlog: %d: at least 1 is needed", a.backlog)
	case a.maxMessage < 1 || a.maxMessage > 8<<20:
		return nil, cli.Usagef("--max-message: %d: at least 1 and at most 8M are needed", a.maxMessage)
	}
	return j, nil
}
