package applets

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/bind"
	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/options"
)

var bindInputApplet = &cli.Applet{
	Name:     "bind-input",
	Operands: "NAME PORT | NAME ENDPOINT | NAME HOST PORT",
	Short:    "Listen, and keep what comes in a buffer",
	Long: `
Listen on PORT and keep the messages that come in the buffer NAME, from which
"read" takes them. Many peers may send at once; their messages are never torn
or mixed. When the port is open and the buffer can be used, the daemon's PID is
printed and the shell goes on; the daemon keeps none of the shell's descriptors.

A message is a line unless --frame says otherwise; what is left when a peer
closes is a message too. A full buffer stops reading its peers, so that TCP
slows them down; see --overflow. UDP cannot be slowed down: what does not fit
is dropped and counted.

A "bind-output --link" is known by its first bytes, and any other peer's bytes are
messages from the first one on. What comes by a link comes once and in order,
though its connection breaks and is made again, and keeps its boundaries: a
message with a newline in it is one message. For such a peer --idle-timeout and
--crlf do not count, and with --once it has gone when it says so. With --key only
links are taken, encrypted ones, of outputs that prove the same KEY (in the forms
that trigger-wait takes); to all else the port is deaf.

In place of PORT any endpoint may stand: ADDR:PORT, udp://ADDR:PORT,
unix:/PATH, unix:@NAME (abstract), fifo:/PATH (made if it is missing) or fd:N (a
listening socket, a connection or a pipe that is inherited). With --connect the
messages come from HOST PORT, which is dialled, and dialled again when the
connection ends. Under a service manager, with --foreground, a socket that is
passed (LISTEN_FDS) is used in place of the endpoint, and readiness is told
(NOTIFY_SOCKET).

INT, TERM, HUP and "close" end it: messages that a reader holds are finished,
readers that wait are told, the port and the name are free at once. Messages
that nobody has read are lost then, and counted. After a KILL the next command
clears what is left.`,
	Example: `
bind-input jobs 9999
pid=$(bind-input jobs 9999)
bind-input --bind 127.0.0.1 --overflow drop-oldest news 9998
bind-input --print-port jobs 0
bind-input metrics udp://127.0.0.1:8125
bind-input --mode 0660 tasks unix:/tmp/tasks.sock
bind-input --connect feed 127.0.0.1 7000`,
	Exits: map[int]string{
		0:   "the daemon is ready; with --foreground: it has ended and nothing was left",
		1:   "the name or the port is in use, or the peer cannot be reached; with --foreground: messages were left",
		124: "with --connect: the peer did not answer in time",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		in := bindInput{maxConns: 1024, connectTimeout: 10 * time.Second}
		fs.BoolVar(&in.connect, "connect", false, "dial HOST PORT and receive, in place of listening")
		fs.BoolVar(&in.retry, "retry", false, "with --connect: start though the peer is not up yet")
		cli.Seconds(fs, &in.connectTimeout, "connect-timeout", "", "with --connect: give up a try after `TIME`")
		fs.BoolVar(&in.once, "once", false, "end when the first peer that sent something has gone and all is read")
		fs.IntVarP(&in.maxConns, "max-conns", "m", in.maxConns, "serve at most `N` peers at once; others wait")
		cli.Seconds(fs, &in.idle, "idle-timeout", "", "let go of a peer that is silent for `TIME` (0 = never)")
		fs.BoolVar(&in.crlf, "crlf", false, "a line may end in \\r\\n, of which neither is part of the message")
		in.Declare(fs)
		return in.run
	},
}

type bindInput struct {
	options.Binding
	connect, retry bool
	connectTimeout time.Duration
	once, crlf     bool
	maxConns       int
	idle           time.Duration
}

func (in *bindInput) run(ctx context.Context, c *cli.Call) error {
	words := []string{"NAME", "PORT"}
	if in.connect {
		words = []string{"NAME", "HOST", "[PORT]"}
	}
	args, err := c.Operands(words...)
	if err != nil {
		if !in.connect && len(c.Args) == 3 {
			err = cli.Hint(err, "to receive from HOST PORT add --connect; to send to it use bind-output")
		}
		return err
	}
	o := bind.InputOptions{
		Connect: in.connect, Retry: in.retry, MaxConns: in.maxConns, IdleTimeout: in.idle, Once: in.once, CRLF: in.crlf,
	}
	if in.connect {
		o.Addr, err = in.There(args[1:])
	} else {
		o.Addr, err = in.Here(args[1])
	}
	if err != nil {
		return err
	}
	o.Dial.Timeout = in.connectTimeout
	if o.Options, err = in.Options(args[0], o.Addr); err != nil {
		return err
	}
	if o.Listen, o.Allow, err = in.Listen(o.Addr); err != nil {
		return err
	}
	for _, flag := range []string{"bind", "allow", "mode", "max-conns", "print-port"} {
		if in.connect && in.Given(flag) {
			return cli.Usagef("--%s does not go with --connect", flag)
		}
	}
	switch {
	case in.maxConns < 1:
		return cli.Usagef("--max-conns: %d: at least 1 is needed", in.maxConns)
	case in.retry && !in.connect:
		return cli.Usagef("--retry goes with --connect")
	case in.Given("connect-timeout") && !in.connect:
		return cli.Usagef("--connect-timeout goes with --connect")
	case in.once && o.Addr.Net == "udp":
		return cli.Usagef("--once: with datagrams there is no telling when a peer has gone")
	case in.Given("max-conns") && (o.Addr.Net == "udp" || o.Addr.Net == "fifo"):
		return cli.Usagef("--max-conns: %s has no peers to accept", o.Addr)
	case in.Given("idle-timeout") && (o.Addr.Net == "udp" || o.Addr.Net == "fifo"):
		return cli.Usagef("--idle-timeout: %s has no connections", o.Addr)
	case in.crlf && o.Queue.Frame.String() != "line":
		return cli.Usagef("--crlf goes with --frame line")
	case in.connect && (o.Addr.Net == "fifo" || o.Addr.Net == "fd" || o.Addr.Net == "udp"):
		return cli.Usagef("--connect: %s cannot be dialled for messages", o.Addr)
	}
	if in.Given("key") && (in.connect || o.Addr.Net == "udp" || o.Addr.Net == "fifo") {
		return cli.Usagef("--key: %s has no links to accept", o.Addr)
	}
	if err := in.Secure(c, &o.Options); err != nil {
		return err
	}
	if !in.connect {
		in.Notice(c, o.Addr)
	}
	return options.Bound(bind.Input(ctx, o, options.Streams(c)))
}
