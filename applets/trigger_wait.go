package applets

import (
	"context"
	"net"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/text"
	"sockbox/applets/internal/trigger"
)

var triggerWaitApplet = &cli.Applet{
	Name:     "trigger-wait",
	Operands: "KEY PORT | KEY ENDPOINT",
	Short:    "Wait until somebody who has the key triggers",
	Long: `
Wait on PORT until "trigger-send" proves, from this host or another one, that it
has the same KEY, and exit 0 then. To all else it is deaf: wrong keys, scans,
floods, peers that connect and say nothing. It waits without polling, and is
released within milliseconds.

Between the two the connection is encrypted, and the key itself is not sent: who
records it, or sits in between, gets nothing to try guesses on, and who guesses has
one guess a connection, at most five a second from one address. Wrong keys slow
down only those who send them; --verbose tells of them.

From this machine the key is also taken in clear, as a line, and answered with OK,
so that "echo KEY | nc 127.0.0.1 PORT" works; with --plain from anywhere. With
$SOCKBOX_NO_PLAIN set to 1 it never is.
` + options.Keys + `

INT, TERM and HUP end it as they end any program, so that nothing that follows
behind "&&" is run. In place of PORT any endpoint for streams may stand:
ADDR:PORT, unix:/PATH, unix:@NAME or fd:N (a listening socket that is inherited).`,
	Example: `
sockbox trigger-wait --timeout 1h @/tmp/key 9999 && echo released
sockbox trigger-wait --bind 127.0.0.1 somekey123 9999
sockbox trigger-wait --count 3 --data @/tmp/key 9999 | sort`,
	Exits: map[int]string{
		0:   "triggered: each of the senders has been told so",
		1:   "the port is in use, or the key cannot be read",
		124: "the time is over, and it was not triggered",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		w := triggerWait{count: 1}
		cli.Seconds(fs, &w.timeout, "timeout", "t", "wait at most `TIME`")
		fs.IntVarP(&w.count, "count", "n", w.count, "wait for `N` senders, who may come at any time")
		fs.BoolVar(&w.data, "data", false, "print what each sender passes, and a newline, as they come")
		fs.BoolVar(&w.plain, "plain", false, "take the key in clear from anywhere, not from this machine only")
		fs.BoolVar(&w.printPort, "print-port", false, "print the port first, when senders can connect")
		fs.CountVarP(&w.verbose, "verbose", "v", "tell who connects, and what is wrong with them")
		w.Declare(fs)
		return w.run
	},
}

type triggerWait struct {
	options.Listener
	timeout                time.Duration
	count, verbose         int
	data, plain, printPort bool
}

func (w *triggerWait) run(ctx context.Context, c *cli.Call) error {
	args, err := c.Operands("KEY", "PORT")
	if err != nil {
		if len(c.Args) == 3 && !cli.Hinted(err) {
			err = cli.Hint(err, "was trigger-send meant? It releases somebody who waits at HOST PORT")
		}
		return err
	}
	o := trigger.WaitOptions{Count: w.count, Timeout: w.timeout}
	if o.Addr, err = w.Here(args[1]); err != nil {
		return options.Misplaced(err, args, "PORT")
	}
	if o.Listen, o.Allow, err = w.Listen(o.Addr); err != nil {
		return err
	}
	if o.Plain, err = options.Plain(w.plain); err != nil {
		return err
	}
	switch {
	case o.Addr.Net == "udp" || o.Addr.Net == "fifo":
		return cli.Usagef("%s: a trigger takes connections", o.Addr)
	case w.count < 1:
		return cli.Usagef("--count: %d: at least 1 is needed", w.count)
	case w.Given("timeout") && w.timeout <= 0:
		return cli.Usagef("--timeout: 0: without it there is no limit")
	case w.printPort && o.Addr.Net != "tcp":
		return cli.Usagef("--print-port: %s has no port", o.Addr)
	}
	if o.Key, err = options.Key(c, args[0]); err != nil {
		return err
	}
	o.Note = options.Note(c, w.verbose)
	o.Ready = func(a net.Addr) error { return options.TellPort(c, w.printPort, o.Addr, a) }
	if w.data {
		o.Data = c.Stdout
		if cli.IsTerminal(c.Stdout) {
			o.Data = text.Harmless(c.Stdout)
		}
	}
	w.Notice(c, o.Addr)

	asker := life.CatchAndRaise(ctx)
	err = trigger.Wait(asker.Context(), o)
	asker.Raise()
	return err
}
