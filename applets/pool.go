package applets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/fleet"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/sock"
	"sockbox/applets/internal/text"
	"sockbox/buffer"
)

var poolApplet = &cli.Applet{
	Name:     "pool",
	Operands: "KEY PORT | KEY ENDPOINT",
	Short:    "Take what the daemons of other hosts print, in a buffer for each",
	Long: `
Wait on PORT for a "master" that has the same KEY, on this host or another one. For
each of its daemons an input is opened that is called like the daemon: what the
daemon prints is a message a line there, for "read". A name that is in use gets the
master's host behind it, as in vmstat@web1, and a number if need be; bytes that a
name cannot have become "-", and "_" where it begins.

When a master has said that these are all, no more connections are taken, and pool
leaves when the daemons have ended and what they printed has been read (--discard:
at once). With --keep it stays, for more masters. In the end it says what there was.

Every daemon's messages come over a link of their own: encrypted, acknowledged, and
resumed where they were when a connection breaks, so that nothing is lost and
nothing comes twice. A link that is not resumed within --resume-timeout is given up. An
input that nobody reads fills, and then its daemon is slowed down, and no other one.

Each link has a port of its own, in --data-ports, which only its daemon's master can
use. With --single-port all come over PORT. From this machine, and with --plain from
anywhere, the reference's clear lines are taken too: KEY:NAME:HOST:PORT is answered
with the number of a port that takes NAME's lines from one peer of the same host,
and ENDKEYEND is the end. What comes so is neither encrypted nor resumed.

INT, TERM and HUP end it, its inputs, and the masters with all their daemons.
Messages that nobody has read are lost then, and counted.
` + options.Keys,
	Example: `
sockbox pool @/tmp/key 9999
sockbox pool --print @/tmp/key 9999 2>/tmp/report
sockbox pool --bind 127.0.0.1 --discard somekey123 9999`,
	Exits: map[int]string{
		0: "all that came has been read, or was to be discarded",
		1: "the port is in use, or messages were left that nobody has read",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		p := pool{maxDaemons: 256, capacity: 64 << 10, maxMessage: 32 << 10, resume: 30 * time.Second, grace: 2 * time.Second}
		fs.StringVar(&p.dataPorts, "data-ports", "", "open the daemons' ports in `LO-HI`, as for a firewall")
		fs.BoolVar(&p.singlePort, "single-port", false, "take the daemons' messages at PORT too")
		fs.BoolVar(&p.keep, "keep", false, "stay after a master's end, for more of them")
		fs.BoolVar(&p.print, "print", false, "print all that comes, each message as \"NAME: MESSAGE\"")
		fs.BoolVar(&p.discard, "discard", false, "leave without waiting for readers")
		fs.IntVar(&p.maxDaemons, "max-daemons", p.maxDaemons, "take at most `N` daemons at a time")
		cli.Size(fs, &p.capacity, "capacity", "", "hold at most `SIZE` bytes of each daemon")
		cli.Size(fs, &p.maxMessage, "max-message", "", "cut messages longer than `SIZE` bytes into pieces")
		cli.Seconds(fs, &p.resume, "resume-timeout", "", "give a daemon up whose link has been broken for `TIME`")
		cli.Seconds(fs, &p.grace, "grace", "", "when asked to end, let readers finish for `TIME`")
		fs.BoolVar(&p.plain, "plain", false, "take clear lines from anywhere, not from this machine only")
		fs.BoolVar(&p.printPort, "print-port", false, "print the port first, when masters can connect")
		fs.BoolVar(&p.json, "json", false, "report in objects, one a line, and a last one with the sums")
		fs.StringVar(&p.joblog, "joblog", "", "write a line for each daemon that has ended to `FILE`")
		fs.CountVarP(&p.verbose, "verbose", "v", "tell who connects, and of links that break")
		p.flags = fs
		p.Declare(fs)
		return p.run
	},
}

type pool struct {
	options.Listener
	flags                                         *pflag.FlagSet
	dataPorts, joblog                             string
	singlePort, keep, print, discard, plain, json bool
	printPort                                     bool
	maxDaemons, verbose                           int
	capacity, maxMessage                          int64
	resume, grace                                 time.Duration
}

func (p *pool) run(ctx context.Context, c *cli.Call) error {
	args, err := c.Operands("KEY", "PORT")
	if err != nil {
		if len(c.Args) > 2 && !cli.Hinted(err) {
			err = cli.Hint(err, "was master meant? It runs the daemons: sockbox master KEY HOST PORT DIR")
		}
		return err
	}
	if err := options.Sizes(p.flags, &p.capacity, &p.maxMessage); err != nil {
		return err
	}
	o := fleet.PoolOptions{
		SinglePort: p.singlePort, Keep: p.keep, Discard: p.discard, MaxDaemons: p.maxDaemons,
		Capacity: int(p.capacity), MaxMessage: int(p.maxMessage), ResumeTimeout: p.resume, Grace: p.grace,
		JSON: p.json, Joblog: p.joblog, Out: c.Stdout, Log: c.Tell,
	}
	if o.Addr, err = p.Here(args[1]); err != nil {
		return options.Misplaced(err, args, "PORT")
	}
	if o.Listen, o.Allow, err = p.Listen(o.Addr); err != nil {
		return err
	}
	if o.Plain, err = options.Plain(p.plain); err != nil {
		return err
	}
	if o.DataPorts, err = p.ports(); err != nil {
		return err
	}
	switch {
	case o.Addr.Net == "udp" || o.Addr.Net == "fifo":
		return cli.Usagef("%s: a pool takes connections", o.Addr)
	case p.maxDaemons < 1:
		return cli.Usagef("--max-daemons: %d: at least 1 is needed", p.maxDaemons)
	case p.singlePort && p.dataPorts != "":
		return cli.Usagef("--single-port and --data-ports exclude each other")
	case p.printPort && o.Addr.Net != "tcp":
		return cli.Usagef("--print-port: %s has no port", o.Addr)
	case p.resume <= 0:
		return cli.Usagef("--resume-timeout: some time is needed")
	}
	o.SinglePort = o.SinglePort || o.Addr.Net != "tcp"
	if o.Key, err = options.Key(c, args[0]); err != nil {
		return err
	}
	if p.verbose > 0 {
		o.Note = c.Tell
	}
	tell := tagged(c)
	o.Stderr = func(name string, line []byte) { tell(name, line) } // that nobody reads it is no end
	if c.Quiet {
		o.Out = nil
	}
	if p.print {
		o.Out = nil // the report would be between the messages
		if !c.Quiet {
			o.Out = c.Stderr
		}
		o.Print = printer(c)
	}
	o.Ready = func(a net.Addr) error { return options.TellPort(c, p.printPort, o.Addr, a) }
	p.Notice(c, o.Addr)
	err = fleet.Pool(ctx, o)
	if unheard := (*fleet.UnheardError)(nil); errors.As(err, &unheard) {
		err = cli.Silent(err)
	}
	return err
}

// ports reads --data-ports.
func (p *pool) ports() (r [2]int, err error) {
	if p.dataPorts == "" {
		return r, nil
	}
	lo, hi, ok := strings.Cut(p.dataPorts, "-")
	if !ok {
		hi = lo
	}
	for i, s := range []string{lo, hi} {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return r, cli.Usagef("--data-ports: %q is no range of ports, such as 10000-10100", p.dataPorts)
		}
		if err := (sock.Addr{Net: "tcp", Port: int(n)}).CheckPort(p.AnyPort()); err != nil {
			return r, cli.Usage(fmt.Errorf("--data-ports: %w", err))
		}
		r[i] = int(n)
	}
	if r[0] > r[1] {
		return r, cli.Usagef("--data-ports: %s: the lower one comes first", p.dataPorts)
	}
	return r, nil
}

// printer merges messages, a batch at a time, into stdout.
func printer(c *cli.Call) func(name string, l *buffer.Lease) error {
	out := io.Writer(c.Stdout)
	if cli.IsTerminal(out) {
		out = text.Harmless(out)
	}
	var mu sync.Mutex
	return func(name string, l *buffer.Lease) error {
		b := make([]byte, 0, l.Size()+l.Messages()*(len(name)+2))
		l.Each(func(m buffer.Message) {
			b = append(append(append(b, name...), ": "...), m.Data...)
			b = append(b, '\n')
		})
		mu.Lock()
		defer mu.Unlock()
		_, err := out.Write(b)
		return err
	}
}

// tagged prints lines of daemons' standard error, each with its daemon's name.
func tagged(c *cli.Call) func(name string, line []byte) error {
	out := io.Writer(c.Stderr)
	if cli.IsTerminal(out) {
		out = text.Harmless(out)
	}
	var mu sync.Mutex
	return func(name string, line []byte) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Fprintf(out, "[%s] %s\n", name, line)
		return cli.Output(err)
	}
}
