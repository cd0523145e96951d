package applets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/wait"
)

var waitApplet = &cli.Applet{
	Name:     "wait",
	Operands: "TARGET... [-- PROGRAM [ARG...]]",
	Short:    "Wait for ports, buffers, files and processes",
	Long: `
Wait until each TARGET is there, and then exit 0, or become PROGRAM. A TARGET is one of

  HOST:PORT     somebody takes connections there; PORT alone is on this machine,
                and unix:/PATH and unix:@NAME are unix sockets
  buffer:NAME   the buffer can be used
  file:PATH     there is such a file, folder or anything else
  pid:N         the process N has ended, whosever child it was

"wait" connects, and does not look at tables or names only: what answers is ready.
Each connection is closed at once, and nothing is sent. (Who speaks first speaks to
"wait" then: for a "bind-output --listen", which would send it a message, wait for its
buffer.) A name that cannot be
resolved is tried again, as is everything else, until the time is over; --timeout is
a limit for all together, which slow name servers and silent hosts do not stretch.
Then the status is 124, and each TARGET that was missing is told, with the reason.

Of files, unix sockets, buffers and processes Linux tells in the instant in which
they change. Everything else is tried again, first after 10 ms and then less and less
often, down to once a second, or five times on this machine.

With --gone it is the other way round: "wait" ends when nobody can connect any more,
and when there is no such buffer or file. pid:N means the end of a process either way;
so "wait --any 9999 pid:$!" returns when a server has come up, or has failed to. To
tell which, add --print.

PROGRAM takes the place of "wait", as exec does it in a shell, and is not run when the
time is over. Options may also stand between the TARGETs and "--". A host that is called
buffer, file or pid is written tcp://buffer:9999. UDP and FIFOs cannot be waited for: to
try them is to use them.`,
	Example: `
sockbox wait --timeout 30s localhost:9999 && echo 'the server is up'
sockbox wait -t 1m 127.0.0.1:9999 buffer:mail file:/tmp/key -- sockbox list
sleep 0.2 & sockbox wait --any --print buffer:nobody pid:$!
sockbox wait --gone --timeout 1m buffer:mail`,
	Exits: map[int]string{
		0:   "all that was waited for has come; with --any, one of them",
		124: "the time is over; the messages say what was missing, and why",
		126: "PROGRAM could not be run",
		127: "there is no PROGRAM",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		// As wait-for-it and its like have it: HOST:PORT --timeout 30 -- PROGRAM. No TARGET begins
		// with a dash.
		fs.SetInterspersed(true)
		w := waitFor{try: 3 * time.Second, dash: fs.ArgsLenAtDash, given: fs.Changed}
		fs.BoolVarP(&w.all, "all", "a", false, "wait for all of them, which is the default")
		fs.BoolVar(&w.any, "any", false, "wait for one of them")
		fs.BoolVar(&w.gone, "gone", false, "wait until they are no more")
		cli.Seconds(fs, &w.timeout, "timeout", "t", "wait at most `TIME`; 0 = look once")
		cli.Seconds(fs, &w.try, "connect-timeout", "", "give up one try to connect after `TIME`")
		fs.BoolVar(&w.print, "print", false, "print each TARGET when it is reached")
		fs.CountVarP(&w.verbose, "verbose", "v", "tell what is reached, and why something is not yet")
		return w.run
	},
}

type waitFor struct {
	all, any, gone, print bool
	timeout, try          time.Duration
	verbose               int
	dash                  func() int
	given                 func(flag string) bool
}

func (w *waitFor) run(ctx context.Context, c *cli.Call) error {
	targets, program := c.Args, []string(nil)
	if n := w.dash(); n >= 0 {
		targets, program = c.Args[:n], c.Args[n:]
	}
	o := wait.Options{Any: w.any, Gone: w.gone, Timeout: w.timeout, Try: w.try, Once: w.given("timeout") && w.timeout == 0}
	switch {
	case len(targets) == 0:
		return cli.Usagef("TARGET is missing")
	case w.dash() >= 0 && len(program) == 0:
		return cli.Usagef("PROGRAM is missing after --")
	case w.all && w.any:
		return cli.Usagef("--all and --any exclude each other")
	case w.try <= 0:
		return cli.Usagef("--connect-timeout: 0: a try takes some time")
	}
	for _, s := range targets {
		t, err := wait.Parse(s)
		if err != nil {
			if !slices.ContainsFunc([]byte(s), func(b byte) bool { return b == ':' || b == '/' }) {
				return cli.Hint(cli.Usage(err), "a TARGET is one word, as in HOST:PORT or buffer:NAME")
			}
			return cli.Usage(err)
		}
		o.Targets = append(o.Targets, t)
	}
	var printing error
	o.Reached = func(t wait.Target) {
		if w.verbose > 0 {
			c.Tell("%s: %s", t, map[bool]string{false: "ready", true: "gone"}[w.gone])
		}
		if w.print && printing == nil {
			_, printing = fmt.Fprintln(c.Stdout, t)
		}
	}
	o.Note = func(t wait.Target, why string) {
		if w.verbose > 0 {
			c.Tell("%s: %s", t, why)
		}
	}
	err := wait.Wait(ctx, o)
	if err == nil {
		err = printing
	}
	if err != nil || len(program) == 0 {
		return err
	}
	err = life.Exec(program)
	switch {
	case errors.Is(err, life.ErrNotFound):
		return cli.Exit(127, err)
	case errors.Is(err, life.ErrCannotRun):
		return cli.Exit(126, err)
	}
	return err
}
