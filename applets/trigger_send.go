package applets

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/applets/internal/trigger"
)

var triggerSendApplet = &cli.Applet{
	Name:     "trigger-send",
	Operands: "KEY HOST PORT | KEY ENDPOINT",
	Short:    "Release somebody who waits with the same key",
	Long: `
Release the "trigger-wait" that waits at HOST PORT with the same KEY. Exit 0 means
that it has accepted, and nothing less. A waiter that is not up yet is tried again
for as long as --retry says, so it does not matter which of the two starts first.

A key that the waiter refuses is not tried again: each try is a guess for whoever
listens there. When the connection breaks between the request and the answer, the
waiter may have been released or not; the message says so, the status is 1.

With --plain the key is sent in clear, as a line, to a waiter that takes that; it is
never done by itself. $SOCKBOX_NO_PLAIN set to 1 forbids it.
` + options.Keys + `

In place of HOST PORT an endpoint may stand: HOST:PORT, unix:/PATH, unix:@NAME or
fd:N (a connection that is inherited).`,
	Example: `
sockbox trigger-send somekey123 127.0.0.1 9999
sockbox trigger-send --data 'the backup is done' @/tmp/key 127.0.0.1 9999
sockbox trigger-send --retry 5m @/tmp/key localhost:9999
export KEY=somekey123; sockbox trigger-send --plain env:KEY 127.0.0.1 9999`,
	Exits: map[int]string{
		0:   "the waiter has accepted",
		1:   "the name cannot be resolved, the answer was lost, or (with --retry 0) nobody waits there",
		5:   "the waiter has another key",
		124: "nobody came to wait there, or to answer, in time",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		s := triggerSend{retry: 10 * time.Second, connectTimeout: 10 * time.Second}
		cli.Seconds(fs, &s.retry, "retry", "", "try for `TIME` while nobody waits there; 0 = once")
		cli.Seconds(fs, &s.connectTimeout, "connect-timeout", "", "give up a try after `TIME`")
		fs.StringVar(&s.data, "data", "", "pass `TEXT`, which \"trigger-wait --data\" prints")
		fs.StringVar(&s.source, "source", "", "dial from `ADDR[:PORT]` of this machine")
		fs.BoolVar(&s.plain, "plain", false, "send the key in clear")
		fs.CountVarP(&s.verbose, "verbose", "v", "tell of tries that failed")
		s.Declare(fs)
		return s.run
	},
}

type triggerSend struct {
	options.Ports
	retry, connectTimeout time.Duration
	data, source          string
	plain                 bool
	verbose               int
}

func (s *triggerSend) run(ctx context.Context, c *cli.Call) error {
	args, err := c.Operands("KEY", "HOST", "[PORT]")
	if err != nil {
		return err
	}
	o := trigger.SendOptions{Plain: s.plain, Retry: s.retry, Data: []byte(s.data)}
	if o.Addr, err = s.There(args[1:]); err != nil {
		return options.Misplaced(err, args, "HOST PORT")
	}
	if s.plain {
		if _, err = options.Plain(true); err != nil {
			return err
		}
	}
	o.Dial.Timeout, o.Dial.Source = s.connectTimeout, s.source
	switch {
	case o.Addr.Net == "udp" || o.Addr.Net == "fifo":
		return cli.Usagef("%s: a trigger takes connections", o.Addr)
	case len(s.data) > trigger.MaxData:
		return cli.Usagef("--data: %d bytes: at most %d can be passed", len(s.data), trigger.MaxData)
	case s.plain && s.data != "":
		return cli.Usagef("--data does not go with --plain, which carries the key only")
	case s.source != "" && o.Addr.Net != "tcp":
		return cli.Usagef("--source goes with a peer that is dialled by TCP")
	}
	if o.Addr.Net == "fd" {
		o.Retry = 0 // there is one connection
	}
	if o.Key, err = options.Key(c, args[0]); err != nil {
		return err
	}
	o.Note = options.Note(c, s.verbose)
	return s.advise(trigger.Send(ctx, o), o)
}

// advise adds to an error what can be done next.
func (s *triggerSend) advise(err error, o trigger.SendOptions) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, secret.ErrRefused):
		return cli.Hint(err, "what waits there has another key, or is a pool; compare the two keys")
	case errors.Is(err, secret.ErrForeign):
		return cli.Hint(err, "what listens there is no trigger-wait, or one that takes keys in clear only (--plain)")
	case errors.Is(err, secret.ErrUnproven):
		return cli.Hint(err, "what waits there was about to end, or may not let this host in (--allow)")
	case errors.Is(err, trigger.ErrLost) && s.plain:
		return cli.Hint(err, "trigger-wait takes a key in clear from its own machine only, unless it has --plain")
	case sock.Refused(err):
		return cli.Hint(err, "wait there with 'sockbox trigger-wait KEY PORT'")
	}
	return err
}
