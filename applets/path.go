package applets

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/options"
	"sockbox/buffer"
)

var pathApplet = &cli.Applet{
	Name:     "path",
	Operands: "NAME",
	Short:    "Tell the FIFO by which a shell uses a buffer",
	Long: `
Print the path of a FIFO by which a shell reads the messages of the input NAME, or
writes to the output NAME, without a program being started for each. The buffer has
to be bound with --fifo.

For an input each call makes a FIFO for one reader, who opens it once and keeps it
open. A message is a line (from a buffer with --frame nul it ends in a zero byte:
read -d ''):

    exec {in}<>"$(sockbox path jobs)"
    while read -r -u $in job; do echo "got $job"; done

With <> the read waits for ever when the buffer has been closed or its daemon was
killed; with < it ends then, with status 1, as at the end of a file. A message with a
newline in it is two lines. Up to 4 KiB of messages (or one, which is longer) are put
into the FIFO ahead of its reader, and other readers do not get these meanwhile. A
message counts as taken when its last byte has been read out of the FIFO, which is
before the script has done anything with it. Messages that are not read whole when
the reader closes its descriptor, or dies, go back to their place in the buffer. So
a shell, which reads byte by byte, loses none; a program that reads ahead may. When
the buffer is closed, messages in a FIFO are waited for as long as they are read
(--linger): a reader who wants no more closes its descriptor before.

The FIFO goes away with its reader, which is gone when the last process that has
inherited the descriptor is, and when nobody has opened it for a minute. Two readers
need two FIFOs: on one they tear each other's messages.

For an output the FIFO is one and the same for all writers, until the buffer ends:

    out=$(sockbox path mail)
    echo hello >"$out"

Each line is a message, without escapes (with --frame nul each text that ends in a zero
byte). What one write puts there is whole up to 4096 bytes (PIPE_BUF), newline
included; longer ones, and lines that are written in pieces, can be mixed with those of
other writers. What is left without a newline when the last writer has gone is a
message too. When the write has returned the message is in the FIFO, and this is no
promise that anybody has it: "sockbox write" says when the buffer does, and with
--flush when the peer does. At the end of the buffer what is in the FIFO is still sent;
a writer that has it open then gets a SIGPIPE. After a KILL of the daemon, opening the
FIFO to write waits for ever, until a command has cleared what is left: then it fails.
A full buffer makes writers wait.

FIFOs for readers are for Linux only.`,
	Example: `
exec {in}<>"$(sockbox path jobs)"; IFS= read -r -u $in job; echo "$job"
exec 3<"$(sockbox path jobs)"; IFS= read -r job <&3; echo "$job"
echo hello >"$(sockbox path mail)"`,
	Exits: map[int]string{1: "the buffer has no FIFO: it was bound without --fifo", 3: "no such buffer"},
	Setup: func(fs *pflag.FlagSet) cli.Run { return path },
}

func path(_ context.Context, c *cli.Call) error {
	name, err := c.One("NAME")
	if err != nil {
		return err
	}
	b, err := buffer.Open(name)
	if err != nil {
		return options.NoBuffer(err, "start one with 'sockbox bind-input --fifo %s PORT'", name)
	}
	defer b.Close()
	path, err := b.FIFO()
	if errors.Is(err, buffer.ErrNoFIFO) {
		return cli.Hint(err, "bind it with --fifo; the inputs of a pool have none")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Stdout, path)
	return err
}
