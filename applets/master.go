package applets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/fleet"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

var masterApplet = &cli.Applet{
	Name:     "master",
	Operands: "KEY HOST PORT DIR | KEY ENDPOINT DIR",
	Short:    "Run a directory of daemons, and hand their output to a pool",
	Long: `
Run every executable file in DIR, and hand what each of them prints to the "pool" at
HOST PORT that has the same KEY: a line is a message, in a buffer that is called like
the file. Hidden files, directories and what is not executable are left out. When
all have been started the pool is told so; master ends when all of them have ended
and the pool has what they printed, and says how they did.

Each runs in a process group of its own, with stdin empty and with SOCKBOX_NAME,
SOCKBOX_HOST and SOCKBOX_PORT in its environment: what the pool calls it, and where
its output goes (the endpoint and nothing, where that has no port). Its standard error is shown with its name in front. What it prints is
delivered once and in order over breaks of the connection; when the pool takes no
more, it waits as it would for a full pipe. Many programs collect what they print
unless it goes to a terminal: --pty gives them one.

INT, TERM and HUP end all of it: the daemons and whatever descends from them get a
TERM and, after --grace, a KILL; what they have printed is delivered, as long as
there is progress (--linger); the pool is told; then master dies by the same signal.
It is two processes, so that nothing is left behind when one of them is killed.

Without a pool there the connection is tried again for as long as --retry says. With
--plain the reference's clear lines are spoken; then a connection that breaks is the
end of its daemon.
` + options.Keys,
	Example: `
sockbox master @/tmp/key 127.0.0.1 9999 /tmp/daemons
sockbox master --only 'vm*' --restart on-failure @/tmp/key 127.0.0.1 9999 /tmp/daemons`,
	Exits: map[int]string{
		0:   "all daemons have ended with 0",
		1:   "one has not, as the table shows; or there is no daemon, or no pool any more",
		5:   "the pool has another key",
		124: "no pool was found in time",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		m := master{
			retry: 10 * time.Second, connectTimeout: 10 * time.Second, resume: 30 * time.Second, grace: 2 * time.Second, linger: 5 * time.Second,
			restart: "never", stderr: "pass", capacity: 64 << 10, maxMessage: 32 << 10,
		}
		fs.StringArrayVar(&m.only, "only", nil, "run files that match `GLOB` only (may be given more than once)")
		fs.BoolVar(&m.watch, "watch", false, "go on: files that come into DIR join, those that go are stopped")
		cli.Choice(fs, &m.restart, "restart", "", "start a daemon again that has ended", "never", "on-failure", "always")
		cli.Choice(fs, &m.stderr, "stderr", "", "show the daemons' standard error here, at the pool, or not at all", "pass", "forward", "discard")
		fs.BoolVar(&m.pty, "pty", false, "give daemons a terminal to print to")
		fs.StringVar(&m.host, "host", "", "let the pool call this host `NAME` (default its own name)")
		cli.Seconds(fs, &m.grace, "grace", "", "between TERM and KILL let `TIME` pass")
		cli.Seconds(fs, &m.linger, "linger", "", "when asked to end, wait at most `TIME` without progress for messages to be delivered")
		cli.Seconds(fs, &m.retry, "retry", "", "try for `TIME` while there is no pool; 0 = once")
		cli.Seconds(fs, &m.connectTimeout, "connect-timeout", "", "give up a try after `TIME`")
		cli.Seconds(fs, &m.resume, "resume-timeout", "", "stop a daemon whose link has been broken for `TIME`")
		cli.Size(fs, &m.capacity, "capacity", "", "hold at most `SIZE` bytes of each daemon that the pool has not taken")
		cli.Size(fs, &m.maxMessage, "max-message", "", "cut lines longer than `SIZE` bytes into pieces")
		fs.BoolVar(&m.plain, "plain", false, "speak the reference's clear lines")
		fs.BoolVar(&m.json, "json", false, "report in objects, one a line, and a last one with the sums")
		fs.StringVar(&m.joblog, "joblog", "", "write a line for each daemon that has ended to `FILE`")
		fs.CountVarP(&m.verbose, "verbose", "v", "tell what is left out, and of links that break")
		m.flags = fs
		m.Declare(fs)
		return m.run
	},
}

type master struct {
	options.Ports
	flags                                        *pflag.FlagSet
	only                                         []string
	restart, stderr, host, joblog                string
	watch, pty, plain, json                      bool
	retry, connectTimeout, resume, grace, linger time.Duration
	capacity, maxMessage                         int64
	verbose                                      int
}

func (m *master) run(ctx context.Context, c *cli.Call) error {
	words := []string{"KEY", "HOST", "PORT", "DIR"}
	if len(c.Args) == 3 {
		words = []string{"KEY", "ENDPOINT", "DIR"}
	}
	args, err := c.Operands(words...)
	if err != nil {
		return err
	}
	if err := options.Sizes(m.flags, &m.capacity, &m.maxMessage); err != nil {
		return err
	}
	last := len(args) - 1
	o := fleet.MasterOptions{
		Plain: m.plain, Dir: args[last], Only: m.only, Watch: m.watch, Host: m.host, Retry: m.retry, ResumeTimeout: m.resume,
		Pty: m.pty, Grace: m.grace, Linger: m.linger, Capacity: int(m.capacity), MaxMessage: int(m.maxMessage),
		JSON: m.json, Joblog: m.joblog, Out: c.Stdout, Log: c.Tell, Line: tagged(c),
		Restart: map[string]fleet.Restart{"on-failure": fleet.RestartOnFailure, "always": fleet.RestartAlways}[m.restart],
		Stderr:  map[string]fleet.Stderr{"forward": fleet.StderrForward, "discard": fleet.StderrDiscard}[m.stderr],
	}
	if o.Addr, err = m.There(args[1:last]); err != nil {
		return options.Misplaced(err, args[:last], "HOST PORT")
	}
	o.Dial.Timeout = m.connectTimeout
	if m.plain {
		if _, err = options.Plain(true); err != nil {
			return err
		}
	}
	switch {
	case o.Addr.Net != "tcp" && o.Addr.Net != "unix":
		return cli.Usagef("%s: a pool is at an address for streams", o.Addr)
	case m.plain && o.Addr.Net != "tcp":
		return cli.Usagef("--plain: %s: the clear lines need a host", o.Addr)
	case m.plain && m.stderr == "forward":
		return cli.Usagef("--stderr forward does not go with --plain")
	case m.resume <= 0:
		return cli.Usagef("--resume-timeout: some time is needed")
	}
	for _, pattern := range m.only {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return cli.Usagef("--only: %q is no pattern", pattern)
		}
	}
	if o.Host == "" {
		o.Host, _ = os.Hostname()
	}

	if secret.Exposed(args[0]) { // the other process has it too, and not where all can see it
		if o.Key, err = options.Key(c, args[0]); err == nil {
			err = life.ConcealOperand(len(c.Args), o.Key.Text())
		}
		if err != nil {
			return err
		}
	}
	guarded, err := options.Guard(ctx)
	if err != nil {
		return err
	}
	if o.Key, err = options.Key(c, args[0]); err != nil { // which may be typed
		return err
	}
	if err := guarded.LeaveGroup(); err != nil {
		return err
	}
	if m.verbose > 0 {
		o.Note = c.Tell
	}
	if c.Quiet {
		o.Out = nil
	}
	if cli.IsTerminal(c.Stderr) && !c.Quiet {
		s := &statusLine{out: c.Stderr}
		defer s.hide()
		line := o.Line
		o.Look = s.look
		o.Line = func(name string, b []byte) error { s.hide(); return line(name, b) }
		o.Log = func(format string, args ...any) { s.hide(); c.Tell(format, args...) }
		if o.Note != nil {
			o.Note = o.Log
		}
		o.Out = hiding{o.Out, s}
	}
	err = fleet.Master(guarded.Stop, o)
	if sig := guarded.Signal(); sig != 0 {
		life.RaiseAgain(sig)
	}
	var here *fleet.HereError
	var unheard *fleet.UnheardError
	switch {
	case errors.As(err, &unheard):
		return cli.Silent(err)
	case errors.As(err, &here):
	case errors.Is(err, secret.ErrRefused):
		return cli.Hint(err, "the pool there has another key, or is a trigger-wait; compare the two keys")
	case errors.Is(err, secret.ErrForeign):
		return cli.Hint(err, "what listens there is no pool, or one that takes clear lines only (--plain)")
	case errors.Is(err, secret.ErrUnproven):
		return cli.Hint(err, "the pool there may not let this host in (--allow)")
	case errors.Is(err, fleet.ErrUnanswered):
		return cli.Hint(err, "a pool takes clear lines from its own machine only, unless it has --plain")
	case sock.Refused(err):
		return cli.Hint(err, "start one there with 'sockbox pool KEY PORT'")
	}
	return err
}

// A statusLine shows on a terminal how it goes, in one line that is written anew. Whoever writes there
// as well, one at a time, hides it first.
type statusLine struct {
	out   io.Writer
	shown string
}

func (s *statusLine) look(running, ended int, messages int64) {
	line := fmt.Sprintf("%d running, %d ended, %d messages", running, ended, messages)
	if line != s.shown {
		fmt.Fprintf(s.out, "\r\x1b[K%s", line)
		s.shown = line
	}
}

func (s *statusLine) hide() {
	if s.shown != "" {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.shown = ""
	}
}

// hiding is a writer that hides the line first.
type hiding struct {
	io.Writer
	s *statusLine
}

func (h hiding) Write(b []byte) (int, error) {
	h.s.hide()
	return h.Writer.Write(b)
}
