package applets

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/text"
	"sockbox/buffer"
)

var writeApplet = &cli.Applet{
	Name:     "write",
	Aliases:  []string{"sock-write"},
	Operands: "NAME [MESSAGE...]",
	Short:    "Put a message into a buffer",
	Long: `
Put MESSAGE into the buffer NAME, from which bind-output sends it. The words are
joined with spaces, and escapes are read as "echo -e" does: \\ \a \b \c \e \f \n \r
\t \v \0NNN \xHH \uHHHH \UHHHHHHHH. A buffer that is framed by lines sends a message
with a newline in it as two.

Options go before NAME; after it, everything is the message. One -- right after
NAME is dropped, so that "write NAME -- -- x" sends "-- x".

Without MESSAGE each line of standard input is a message, taken as it is, without
escapes. When "write" exits 0 the buffer has all of it, and with --flush the
peer's kernel too. If it is killed, the lines that were read by then are sent and
an unfinished one is not.

A full buffer makes "write" wait; see --no-wait and --timeout.`,
	Example: `
sockbox write mail hello
sockbox write mail 'two\tcolumns'
printf '%s\n' one two three | sockbox write mail
sockbox write --flush --timeout 5s mail 'END'
sockbox write mail -- -n`,
	Exits: map[int]string{
		1:   "the buffer is full (with --no-wait, or when it drops the newest), or the message is too long",
		3:   "no such buffer",
		4:   "the buffer is being closed",
		124: "there was no room, or with --flush no acknowledgement, in time",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		var w writing
		fs.BoolVarP(&w.literal, "literal", "E", false, "read no escapes")
		fs.BoolVarP(&w.null, "null", "0", false, "standard input: a message ends at a zero byte")
		fs.BoolVar(&w.whole, "whole", false, "standard input: all of it is one message")
		fs.BoolVar(&w.flush, "flush", false, "wait until the peer's kernel has acknowledged it")
		fs.BoolVar(&w.noWait, "no-wait", false, "do not wait for room: exit 1 when the buffer is full")
		cli.Seconds(fs, &w.timeout, "timeout", "t", "wait at most `TIME` for room, and with --flush for the peer (0 = as long as it takes)")
		fs.BoolVar(&w.progress, "progress", false, "standard input: show size, rate and time left, on a terminal")
		fs.BoolVar(&w.ifLive, "if-live", false, "say nothing when there is no such buffer, or it is a service: the status, 3, tells")
		return w.run
	},
}

type writing struct {
	literal, null, whole, flush, noWait, progress, ifLive bool

	timeout time.Duration
}

func (w *writing) run(_ context.Context, c *cli.Call) error {
	args, err := c.Operands("NAME", "[MESSAGE...]")
	if err != nil {
		return err
	}
	name, words := args[0], args[1:]
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	switch {
	case len(words) > 0 && (w.null || w.whole || w.progress):
		return cli.Usagef("--null, --whole and --progress are for standard input, not for a MESSAGE")
	case w.null && w.whole:
		return cli.Usagef("--null and --whole exclude each other")
	case len(words) == 0 && w.noWait:
		return cli.Usagef("--no-wait goes with a MESSAGE: standard input is read no faster than there is room")
	case w.timeout > 0 && w.timeout < time.Millisecond:
		w.timeout = time.Millisecond // the wire's unit
	}
	b, err := options.Open(name, w.ifLive, "start one with 'sockbox bind-output %s HOST PORT'")
	if err != nil {
		return err
	}
	defer b.Close()

	how := buffer.Writing{NoWait: w.noWait, Flush: w.flush, Timeout: w.timeout}
	if len(words) == 0 {
		return w.stream(c, b, how)
	}
	message := strings.Join(words, " ")
	if w.literal {
		return b.Put([]byte(message), how)
	}
	return b.Put(text.Unescape(message), how)
}

// stream sends standard input.
func (w *writing) stream(c *cli.Call, b *buffer.Client, how buffer.Writing) error {
	s := buffer.Stream{Whole: w.whole}
	if w.null {
		s.Frame = buffer.Nul
	}
	in, _ := c.Stdin.(*os.File)
	if !w.progress || !cli.IsTerminal(c.Stderr) {
		s.Hand = in
		_, _, err := b.PutStream(c.Stdin, s, how)
		return err
	}
	meter := text.Meter{W: c.Stderr}
	if in != nil {
		if fi, err := in.Stat(); err == nil && fi.Mode().IsRegular() {
			meter.Total = fi.Size()
		}
	}
	s.Each = func(n int) { meter.Show(int64(n)) }
	_, size, err := b.PutStream(c.Stdin, s, how)
	meter.Done(int64(size))
	return err
}
