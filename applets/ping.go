package applets

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/bind"
	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/icmp"
	"sockbox/applets/internal/life"
	"sockbox/applets/internal/options"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

// aliveTries is how often a host is asked before it counts as unreachable, where nobody says how
// often: as many times as fping does.
const aliveTries = 4

// How long an answer may take: for one host until its network has found out that there is no such
// host, which ARP says after three seconds.
const patience, haste = 4 * time.Second, 2 * time.Second

var pingApplet = &cli.Applet{
	Name:     "ping",
	Operands: "[HOST...]",
	Short:    "Ask hosts whether they are there, and how long that takes",
	Long: `
Send ICMP echo requests to each HOST, by IPv4 or IPv6, and tell what comes back. One
host is asked on and on, or --count times, and what is printed is what iputils' ping
prints. Several hosts are asked at the same time, over one socket; what is printed is
what fping prints: without --count, which of them are alive, for which each of them is
asked up to 4 times; with it, every answer, and a line for each host at the end.
--count 0 goes on until INT.

Hosts come from the operands, from a file with one a line (--file), and from networks
(--generate). With an interval of 0.1 s or more the requests of a round are spread over
its first half; see also --rate.

Times are those at which the kernel got the answers. An answer after --timeout counts
as an answer, and is marked (late). (DUP!) marks one that had come before, (reordered)
one that came after the answer to a later request, (truncated) and (corrupted) one with
other data than was sent. Errors from the network are told with who sent them. On a
terminal, or with --percentiles, the summary has percentiles, the jitter (the mean
difference of one answer to the next), and on a terminal a histogram.

ICMP takes a right. Datagram sockets for ICMP are open to the groups in the sysctl
net.ipv4.ping_group_range (for IPv6 too); where the user is in none of them, raw
sockets are tried, which take root or the capability cap_net_raw; --verbose tells
which are used. Without either, --tcp PORT connects to a port in place of it: what is
shown then is the time that takes, and a port that refuses is no answer.

--wait ends when every host has answered, --until-down when one of them has not answered
three times in a row; --deadline limits both, and everything else. With --count and
--deadline it is answers that are counted, as with ping.

With --buffer the results become messages of a buffer, without headings and empty lines;
"read" takes them from there. Several hosts are then asked on and on, too. It is held by a daemon, whose PID is printed, and which ends with "close" or, when there is
nothing more to ask, as soon as all is read. Of a full buffer the oldest results are
dropped, and counted. Its statuses are those of bind-input.

INT, TERM and HUP end it; the summary is printed, and the status is as if it had come to
its end by itself. --json prints an object a line: unresolved for
a host without an address; reply, duplicate, lost and error as they come; then a summary for
each host, and a total. The names of its fields are stable.`,
	Example: `
sockbox ping -c 3 127.0.0.1
sockbox ping -c 2 -i 0.2 -q 127.0.0.1 127.0.0.2
sockbox ping -g 127.0.0.0/29
sockbox ping --json -c 1 localhost
sockbox ping --wait --deadline 30 127.0.0.1 && echo it is there
sockbox ping --tcp 9999 -c 1 127.0.0.1
sockbox ping --buffer pings -c 3 -i 0.1 127.0.0.1 && sockbox read --timeout 5 pings`,
	Exits: map[int]string{
		0: "every host has answered; with --until-down: one has stopped answering",
		1: "a host did not answer, or not --count times before the --deadline; with --until-down: all still do",
		2: "usage, a name without an address, or ICMP is not permitted",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		p := pinging{fs: fs, size: 56, interval: time.Second}
		fs.IntVarP(&p.count, "count", "c", 0, "ask each host `N` times; 0 = on and on")
		cli.Seconds(fs, &p.interval, "interval", "i", "ask a host again after `TIME`; below 2 ms, and 0 = as fast as it answers, for root only")
		cli.Seconds(fs, &p.timeout, "timeout", "W", fmt.Sprintf("an answer is late after `TIME` (default %v; with several hosts %v)", patience, haste))
		cli.Seconds(fs, &p.deadline, "deadline", "w", "end after `TIME`, whatever has come")
		fs.IntVarP(&p.size, "size", "s", p.size, fmt.Sprintf("send `N` bytes of data, at most %d", icmp.MaxSize))
		fs.IntVarP(&p.ttl, "ttl", "t", 0, "let requests pass `N` routers, 1 to 255 (default the system's)")
		fs.StringVarP(&p.from, "interface", "I", "", "ask from an address, or through an interface: `ADDR|NAME`")
		fs.BoolVarP(&p.v4, "ipv4", "4", false, "IPv4 only")
		fs.BoolVarP(&p.v6, "ipv6", "6", false, "IPv6 only")
		fs.StringVarP(&p.file, "file", "f", "", "ask the hosts in `FILE` too, one a line (- = stdin)")
		fs.StringSliceVarP(&p.ranges, "generate", "g", nil, "ask the hosts of `CIDR|FIRST-LAST` too (may be given more than once)")
		fs.IntVar(&p.rate, "rate", 0, "send at most `N` requests a second, to all hosts together")
		fs.IntVar(&p.tcp, "tcp", 0, "connect to `PORT`, in place of ICMP")
		fs.BoolVar(&p.wait, "wait", false, "end when every host has answered")
		fs.BoolVar(&p.untilDown, "until-down", false, "end when a host has stopped answering")
		fs.BoolVarP(&p.quiet, "quiet", "q", false, "print the summary only")
		fs.BoolVarP(&p.numeric, "numeric", "n", false, "print addresses, not names")
		fs.BoolVarP(&p.unix, "unix-time", "D", false, "print the time in front of each line, in seconds since 1970")
		fs.BoolVar(&p.stamps, "timestamps", false, "print the time in front of each line, as RFC 3339 has it")
		fs.BoolVarP(&p.audible, "audible", "a", false, "ring the bell for each answer")
		fs.BoolVar(&p.more, "percentiles", false, "have percentiles and jitter in the summary")
		fs.BoolVar(&p.json, "json", false, "print objects, one a line")
		fs.StringVar(&p.buffer, "buffer", "", "hold the buffer `NAME`, and put the results into it")
		fs.BoolVar(&p.foreground, "foreground", false, "with --buffer: stay in the foreground and print no PID")
		fs.CountVarP(&p.verbose, "verbose", "v", "tell which kind of socket is used, and what does not fit")
		return p.run
	},
}

type pinging struct {
	fs *pflag.FlagSet

	count, size, ttl, rate, tcp, verbose int
	interval, timeout, deadline          time.Duration
	from, file, buffer                   string
	ranges                               []string

	v4, v6, wait, untilDown, quiet, numeric, unix, stamps, audible, more, json, foreground bool
}

func (p *pinging) run(ctx context.Context, c *cli.Call) error {
	if err := p.check(c); err != nil {
		return err
	}
	if p.fs.Changed("buffer") {
		return p.serve(ctx, c)
	}
	asker := life.CatchAndReport(ctx) // and it is not raised: the summary is what people want then
	ctx = asker.Context()
	s, err := p.open(ctx, c)
	if err != nil {
		asker.Raise() // before the first request there is no summary
	}
	if s == nil {
		return err
	}
	out := bufio.NewWriterSize(c.Stdout, 32<<10)
	terminal := cli.IsTerminal(c.Stdout)
	s.report.Draw, s.report.More = terminal, p.more || terminal
	s.report.Emit = func(line []byte, _ netip.Addr) {
		out.Write(line)
		out.WriteByte('\n')
	}
	if err != nil {
		s.report.Miss()
		return cmp.Or(out.Flush(), err)
	}
	defer s.pinger.Close()
	err = s.ping(ctx, out.Flush)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return err
	}
	return s.status()
}

// check finds what does not go together.
func (p *pinging) check(c *cli.Call) error {
	if _, err := c.Operands("[NAME...]"); err != nil { // no host begins with a dash either
		return err
	}
	given := p.fs.Changed
	var decoration string
	for _, flag := range []string{"unix-time", "timestamps", "audible", "percentiles", "numeric"} {
		if given(flag) {
			decoration = flag
		}
	}
	switch {
	case len(c.Args) == 0 && p.file == "" && len(p.ranges) == 0:
		return cli.Usagef("HOST is missing")
	case p.count < 0:
		return cli.Usagef("--count: %d: it cannot be negative", p.count)
	case p.wait && p.untilDown:
		return cli.Usagef("--wait and --until-down exclude each other")
	case (p.wait || p.untilDown) && given("count"):
		return cli.Usagef("--count does not go with --wait and --until-down: use --deadline")
	case p.v4 && p.v6:
		return cli.Usagef("--ipv4 and --ipv6 exclude each other")
	case given("deadline") && p.deadline <= 0:
		return cli.Usagef("--deadline: 0: without it there is no limit")
	case given("timeout") && p.timeout <= 0:
		return cli.Usagef("--timeout: 0: an answer takes some time")
	case given("ttl") && (p.ttl < 1 || p.ttl > 255):
		return cli.Usagef("--ttl: %d: 1 to 255 are possible", p.ttl)
	case given("tcp") && (p.tcp < 1 || p.tcp > 65535):
		return cli.Usagef("--tcp: %d: ports are 1 to 65535", p.tcp)
	case given("tcp") && given("size"):
		return cli.Usagef("--size does not go with --tcp, which sends no data")
	case p.size < 0 || p.size > icmp.MaxSize:
		return cli.Usagef("--size: %d: 0 to %d bytes are possible", p.size, icmp.MaxSize)
	case given("rate") && p.rate < 1:
		return cli.Usagef("--rate: %d: at least 1 is needed", p.rate)
	case p.interval < 2*time.Millisecond && os.Geteuid() != 0:
		return cli.Usagef("--interval: below 2 ms is for root")
	case p.json && decoration != "":
		return cli.Usagef("--%s does not go with --json, which has all of it", decoration)
	case p.foreground && p.buffer == "":
		return cli.Usagef("--foreground goes with --buffer")
	case p.buffer != "" && p.audible:
		return cli.Usagef("--audible does not go with --buffer")
	case p.buffer != "" && p.file == "-" && !p.foreground:
		return cli.Usagef("--file -: a daemon has no stdin; add --foreground")
	}
	if given("buffer") {
		return buffer.CheckName(p.buffer)
	}
	return nil
}

// A session is one ping at work.
type session struct {
	pinger *icmp.Pinger
	report *icmp.Reporter
	call   *cli.Call
}

// open finds the addresses and opens the sockets. With the error that no host has an address there is a
// session, which can tell programs so.
func (p *pinging) open(ctx context.Context, c *cli.Call) (*session, error) {
	o := icmp.Options{
		Count: p.count, Interval: p.interval, Timeout: p.timeout, Rate: p.rate,
		Size: p.size, TTL: p.ttl, TCP: p.tcp, Root: os.Geteuid() == 0,
		Note: func(format string, args ...any) {
			if p.verbose > 0 {
				c.Tell(format, args...)
			}
		},
	}
	if p.deadline > 0 {
		o.Deadline = time.Now().Add(p.deadline) // finding addresses counts too
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, o.Deadline)
		defer cancel()
	}
	if a, err := netip.ParseAddr(p.from); err == nil {
		o.Source = a.Unmap()
	} else {
		o.Device = p.from
	}
	s := &session{call: c, report: &icmp.Reporter{
		Quiet: p.quiet, Unix: p.unix, Stamps: p.stamps, Bell: p.audible, Numeric: p.numeric, More: p.more,
	}}
	if p.json {
		s.report.Style = icmp.JSON
	}
	var err error
	if o.Targets, s.report.Missing, err = p.targets(ctx, c, o.Source); err != nil {
		return nil, err
	}
	failed := s.report.Missing
	for i, err := range failed {
		if len(o.Targets) == 0 && i == len(failed)-1 {
			return s, cli.Exit(2, err)
		}
		c.Tell("%v", err)
	}
	if len(o.Targets) == 0 {
		return nil, cli.Usagef("%s: there is no host in it", p.file)
	}

	many := len(o.Targets)+len(failed) > 1
	if o.Timeout == 0 {
		o.Timeout = patience
		if many {
			o.Timeout = haste
		}
	}
	switch {
	case p.wait:
		o.Goal = icmp.Up
	case p.untilDown:
		o.Goal = icmp.Down
	case many && !p.fs.Changed("count") && p.buffer == "":
		o.Goal, o.Count = icmp.Alive, aliveTries
	}
	switch {
	case p.json:
	case o.Goal == icmp.Alive:
		s.report.Style = icmp.Liveness
	case many:
		s.report.Style = icmp.ManyHosts
	}
	o.Event = s.report.Event
	if s.pinger, err = icmp.New(o); err != nil {
		return nil, refused(err)
	}
	o.Note("using %s", s.pinger.Describe())
	return s, nil
}

// refused says what to do where nothing can be opened.
func refused(err error) error {
	if !errors.Is(err, icmp.ErrNotPermitted) {
		return cli.Exit(2, err)
	}
	self, pathErr := os.Executable()
	if pathErr != nil {
		self = "sockbox"
	}
	return cli.Hint(cli.Exit(2, err), "as root: sysctl -w net.ipv4.ping_group_range='0 2147483647', "+
		"or: setcap cap_net_raw+ep %s; without root: --tcp PORT", self)
}

// targets returns the hosts that are to be asked, and an error for each that has no address.
func (p *pinging) targets(ctx context.Context, c *cli.Call, source netip.Addr) ([]icmp.Target, []*icmp.Unresolved, error) {
	names := c.Args
	if p.file != "" {
		in := c.Stdin
		if p.file != "-" {
			f, err := os.Open(p.file)
			if err != nil {
				return nil, nil, cli.Exit(2, fmt.Errorf("%s: %w", p.file, sock.Reason(err)))
			}
			defer f.Close()
			in = f
		}
		more, err := icmp.ReadHosts(in)
		if err != nil {
			return nil, nil, cli.Exit(2, fmt.Errorf("%s: %w", p.file, sock.Reason(err)))
		}
		names = append(names[:len(names):len(names)], more...)
	}
	var ranges []icmp.Target
	for _, text := range p.ranges {
		some, err := icmp.ParseRange(text)
		if err != nil {
			return nil, nil, cli.Usage(fmt.Errorf("--generate: %w", err))
		}
		ranges = append(ranges, some...)
	}
	if len(names)+len(ranges) > icmp.MaxHosts {
		return nil, nil, cli.Usage(icmp.ErrTooMany)
	}
	r := icmp.Resolver{Network: "ip", Patient: p.wait}
	switch {
	case p.v4 || source.Is4():
		r.Network = "ip4"
	case p.v6 || source.Is6():
		r.Network = "ip6"
	}
	targets, failed := r.Resolve(ctx, names)
	for _, t := range ranges {
		if t.Addr.Is4() && r.Network == "ip6" || t.Addr.Is6() && r.Network == "ip4" {
			return nil, nil, cli.Usagef("--generate: %s: not of the family that is asked for", t.Name)
		}
	}
	return append(targets, ranges...), failed, nil
}

func (s *session) ping(ctx context.Context, flush func() error) error {
	s.pinger.Flush = flush
	s.report.Begin(s.pinger)
	if err := s.pinger.Run(ctx); err != nil {
		return err
	}
	s.report.End()
	if n := s.pinger.Dropped; n > 0 {
		s.call.Tell("%d answers came while the kernel had no room for them: they count as lost", n)
	}
	return nil
}

// status is ping's own: 0, 1 or 2.
func (s *session) status() error {
	switch {
	case len(s.report.Missing) > 0:
		return cli.Exit(2, nil)
	case !s.pinger.Reached():
		return cli.Exit(1, nil)
	}
	return nil
}

// serve is ping as the holder of a buffer.
func (p *pinging) serve(ctx context.Context, c *cli.Call) error {
	var s *session
	feed := bind.Feed{
		Endpoint: p.endpoint(c),
		Open: func(ctx context.Context) error {
			opened, err := p.open(ctx, c)
			if err == nil {
				s = opened
			}
			return err
		},
		Close: func() {
			if s != nil {
				s.pinger.Close()
				s = nil
			}
		},
		Run: func(ctx context.Context, put func([]byte, string)) error {
			s.report.Bare = true
			s.report.Emit = func(line []byte, about netip.Addr) {
				if len(line) > 0 {
					put(line, about.String())
				}
			}
			return s.ping(ctx, func() error { return nil })
		},
	}
	o := bind.Options{
		Name: p.buffer, Foreground: p.foreground, Verbose: p.verbose,
		Queue: buffer.QueueOptions{Frame: buffer.Line, Overflow: buffer.DropOldest},
	}
	return options.Bound(bind.Feeder(ctx, o, feed, options.Streams(c)))
}

// endpoint is what list shows: whom it asks.
func (p *pinging) endpoint(c *cli.Call) string {
	all := append(c.Args[:len(c.Args):len(c.Args)], p.ranges...)
	if p.file != "" {
		all = append(all, "@"+filepath.Base(p.file))
	}
	how := "icmp:"
	if p.tcp > 0 {
		how = fmt.Sprintf("tcp/%d:", p.tcp)
	}
	const most = 3
	if n := len(all); n > most {
		return fmt.Sprintf("%s%s+%d", how, strings.Join(all[:most], ","), n-most)
	}
	return how + strings.Join(all, ",")
}
