package applets

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/text"
	"sockbox/buffer"
)

var readApplet = &cli.Applet{
	Name:     "read",
	Aliases:  []string{"sock-read"},
	Operands: "NAME",
	Short:    "Take a message out of a buffer",
	Long: `
Print the oldest message of the buffer NAME and take it out of the buffer. It
does not wait: with nothing there it prints nothing and exits 1. An empty line is
a message too; only the status tells it from nothing.

A message leaves the buffer when it has been written out in full. If "read" is
killed before that, the message is still there, in its place; if it is killed
between writing and confirming, the message comes again (with --follow, at most
the last 64 KiB of them). Many readers may take from one buffer: each message goes
to one of them, and with --wait each wakes one.

Under "set -e" a bare message=$(sockbox read jobs) ends the script when nothing is
there; "while message=$(sockbox read --wait jobs); do" does not.

On a terminal, control sequences other than colours are shown as ^[ and the like;
see --raw. In bash, zsh and other shells a bare "read" is the shell's own: say
"sockbox read", or "sock-read" through a link, or see "sockbox init". Many messages
in a loop of bash are read faster by way of a FIFO: see "sockbox path".`,
	Example: `
sockbox read mail
sockbox read --timeout 2s mail || echo nothing came
sockbox read --all mail
sockbox read --json --peek mail`,
	Exits: map[int]string{
		1:   "no message is waiting",
		3:   "no such buffer",
		4:   "the buffer was closed, and empty, while waiting",
		124: "no message came in time",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		var r reading
		fs.BoolVarP(&r.wait, "wait", "w", false, "wait for a message")
		cli.Seconds(fs, &r.timeout, "timeout", "t", "wait at most `TIME`; 0 = do not wait")
		fs.IntVarP(&r.count, "count", "n", 1, "take up to `COUNT` messages that are there; with --wait or --timeout, until so many have come")
		fs.BoolVarP(&r.all, "all", "a", false, "take all that is there now")
		fs.BoolVarP(&r.follow, "follow", "f", false, "take everything, as it comes, until the buffer is closed")
		fs.BoolVarP(&r.null, "null", "0", false, "end each message with a zero byte, not a newline")
		fs.BoolVarP(&r.bare, "no-newline", "N", false, "end messages with nothing")
		fs.BoolVar(&r.peek, "peek", false, "leave the messages in the buffer")
		fs.BoolVar(&r.json, "json", false, "print objects, one a line: seq, time, peer, and message or (when it is not UTF-8) msg_b64")
		fs.BoolVar(&r.raw, "raw", false, "pass control sequences to a terminal as they are")
		fs.BoolVar(&r.ifLive, "if-live", false, "say nothing when there is no such buffer, or it is a service: the status, 3, tells")
		r.given = fs.Changed
		return r.run
	},
}

type reading struct {
	wait, all, follow, null, bare, peek, json, raw, ifLive bool

	timeout time.Duration
	count   int
	given   func(flag string) bool
}

func (r *reading) run(_ context.Context, c *cli.Call) error {
	name, err := c.One("NAME")
	if err != nil {
		return err
	}
	t, err := r.taking()
	if err != nil {
		return err
	}
	b, err := options.Open(name, r.ifLive, "start one with 'sockbox bind-input %s PORT'")
	if err != nil {
		return err
	}
	defer b.Close()

	out := c.Stdout
	switch {
	case cli.IsTerminal(out):
		if !r.raw {
			out = text.Harmless(out)
		}
	case t.Follow || t.All || t.Count > 1:
		t.HandOut, _ = out.(*os.File)
	}
	_, err = b.Take(t, out)
	switch {
	case errors.Is(err, buffer.ErrEmpty), errors.Is(err, buffer.ErrEnd), errors.Is(err, buffer.ErrTimeout):
		return cli.Silent(err) // an answer, not a failure
	case errors.Is(err, syscall.EPIPE):
		return cli.Output(err) // the holder found that nobody reads what it writes for us
	}
	return err
}

// taking says what the flags ask for.
func (r *reading) taking() (buffer.Taking, error) {
	t := buffer.Taking{Wait: r.wait, Follow: r.follow, All: r.all, Peek: r.peek, Count: r.count}
	switch {
	case r.count < 1:
		return t, cli.Usagef("--count: %d: at least 1 is needed", r.count)
	case r.all && r.follow:
		return t, cli.Usagef("--all and --follow exclude each other")
	case r.all && (r.wait || r.timeout > 0):
		return t, cli.Usagef("--all takes what is there now: it does not go with --wait or --timeout")
	case r.peek && (r.wait || r.follow || r.timeout > 0):
		return t, cli.Usagef("--peek looks at what is there now: it does not go with --wait, --timeout or --follow")
	case r.json && (r.null || r.bare) || r.null && r.bare:
		return t, cli.Usagef("--json, --null and --no-newline exclude each other")
	}
	if (r.all || r.follow) && !r.given("count") {
		t.Count = 0
	}
	if r.given("timeout") {
		t.Wait = r.timeout > 0
		if t.Wait {
			t.Until = time.Now().Add(r.timeout)
		} else if t.Follow {
			return t, cli.Usagef("--follow waits: it does not go with --timeout 0")
		}
	}
	switch {
	case r.json:
		t.Format = buffer.FormatJSON
	case r.null:
		t.Format = buffer.FormatNul
	case r.bare:
		t.Format = buffer.FormatBare
	}
	return t, nil
}
