package applets

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/bind"
	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/options"
)

var bindOutputApplet = &cli.Applet{
	Name:     "bind-output",
	Operands: "NAME HOST PORT | NAME ENDPOINT",
	Short:    "Connect, and send what is written to a buffer",
	Long: `
Connect to HOST PORT and send it the messages that "write" puts into the buffer
NAME. When the connection stands and the buffer can be used, the daemon's PID is
printed and the shell goes on; the daemon keeps none of the shell's descriptors.

When the connection breaks it is made again, and the messages that the peer's
kernel had not acknowledged are sent again, whole and in order, from the first
that was not. What a peer's kernel took and its process never read is gone: a
plain TCP peer cannot tell. A peer that ends its own side of the connection still
gets messages; what it sends is dropped and counted.

With --link the peer is a bind-input, to which each message is sent until that
has said that it is in its buffer: nothing is lost and nothing comes twice, in
order, however often the connection breaks, and messages have there the
boundaries that they have here, whatever --frame says at either end. A full
buffer there makes this one wait. "write --flush", "close" and a signal then wait
for the other buffer too. What is in a buffer is in memory: a message that a
bind-input had when it was killed is gone. With --key the link is encrypted, and
both ends prove that they have the same KEY, in the forms that trigger-wait takes;
it is not sent. An input that refuses the key ends the output. That there is one, and
that it takes links, is seen before bind-output returns, unless it is to --retry.

In place of HOST PORT any endpoint may stand: HOST:PORT, udp://HOST:PORT,
unix:/PATH, unix:@NAME (abstract), fifo:/PATH or fd:N (a connection, a listening
socket or a pipe that is inherited). With --listen it does not dial but takes one
peer at a time on PORT, and sends to that.

INT, TERM, HUP and "close" end it: what was written is delivered first, as long
as there is progress (--linger), then the name is free. A second signal does not
wait. What could not be delivered is counted: told by "close", in the foreground
by the exit status, otherwise in the system log. After a KILL the next command
clears what is left.`,
	Example: `
bind-output mail 127.0.0.1 9999
pid=$(bind-output mail 127.0.0.1 9999)
bind-output --retry mail 127.0.0.1 9999
bind-output --link mail 127.0.0.1 9999
bind-output --listen news 9998
bind-output metrics udp://127.0.0.1:8125
bind-output tasks unix:/tmp/tasks.sock`,
	Exits: map[int]string{
		0:   "the daemon is ready; with --foreground: it has ended and all was delivered",
		1:   "the name is in use, or the peer refuses or cannot be reached; with --foreground: messages were left",
		5:   "with --key: the input has another key",
		124: "the peer did not answer in time",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		out := bindOutput{connectTimeout: 10 * time.Second}
		fs.BoolVar(&out.link, "link", false, "send to a bind-input, which acknowledges each message when it has it")
		fs.BoolVar(&out.listen, "listen", false, "take one peer at a time at PORT, in place of dialling")
		fs.BoolVar(&out.retry, "retry", false, "start though the peer is not up yet")
		cli.Seconds(fs, &out.connectTimeout, "connect-timeout", "", "give up a try after `TIME`")
		fs.StringVar(&out.source, "source", "", "dial from `ADDR[:PORT]` of this machine")
		fs.BoolVar(&out.crlf, "crlf", false, "end each line in \\r\\n")
		out.Declare(fs)
		return out.run
	},
}

type bindOutput struct {
	options.Binding
	listen, retry  bool
	link           bool
	connectTimeout time.Duration
	source         string
	crlf           bool
}

func (out *bindOutput) run(ctx context.Context, c *cli.Call) error {
	words := []string{"NAME", "HOST", "[PORT]"}
	if out.listen {
		words = []string{"NAME", "PORT"}
	}
	args, err := c.Operands(words...)
	if err != nil {
		return err
	}
	o := bind.OutputOptions{Retry: out.retry, ListenAt: out.listen, Link: out.link}
	if out.listen {
		o.Addr, err = out.Here(args[1])
	} else {
		o.Addr, err = out.There(args[1:])
	}
	if err != nil {
		return err
	}
	o.Dial.Timeout, o.Dial.Source = out.connectTimeout, out.source
	if o.Options, err = out.Options(args[0], o.Addr); err != nil {
		return err
	}
	o.Queue.CRLF = out.crlf
	if o.Addr.Net == "udp" {
		const most = 65507 // what IPv4 leaves of 64 KiB for a datagram's payload; IPv6 some bytes more
		o.Queue.MaxMessage = min(o.Queue.MaxMessage, most)
	}
	if o.Listen, o.Allow, err = out.Listen(o.Addr); err != nil {
		return err
	}
	for _, flag := range []string{"allow", "mode", "print-port"} {
		if !out.listen && out.Given(flag) {
			return cli.Usagef("--%s goes with --listen", flag)
		}
	}
	switch {
	case out.Given("bind") && !out.listen:
		return cli.Usagef("--bind goes with --listen; --source says where to dial from")
	case out.source != "" && (out.listen || o.Addr.Net != "tcp" && o.Addr.Net != "udp"):
		return cli.Usagef("--source goes with a peer that is dialled by TCP or UDP")
	case out.retry && out.listen:
		return cli.Usagef("--retry does not go with --listen, which waits for its peer anyhow")
	case out.listen && out.Given("connect-timeout"):
		return cli.Usagef("--connect-timeout does not go with --listen, which dials nobody")
	case out.listen && (o.Addr.Net == "udp" || o.Addr.Net == "fifo"):
		return cli.Usagef("--listen: %s has no peers to accept", o.Addr)
	case out.Given("key") && !out.link:
		return cli.Usagef("--key goes with --link")
	case out.link && out.listen:
		return cli.Usagef("--link goes with a peer that is dialled, not with --listen")
	case out.link && o.Addr.Net != "tcp" && o.Addr.Net != "unix":
		return cli.Usagef("--link: %s is not dialled: it takes a bind-input that listens at a TCP or unix address", o.Addr)
	case out.link && out.crlf:
		return cli.Usagef("--crlf does not go with --link, which needs no ends of lines")
	case out.crlf && o.Queue.Frame.String() != "line":
		return cli.Usagef("--crlf goes with --frame line")
	}
	if err := out.Secure(c, &o.Options); err != nil {
		return err
	}
	return options.Bound(bind.Output(ctx, o, options.Streams(c)))
}
