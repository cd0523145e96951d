package applets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/text"
	"sockbox/buffer"
)

var listApplet = &cli.Applet{
	Name:     "list",
	Operands: "[NAME...]",
	Short:    "Show the buffers and how they are",
	Long: `
Show each buffer: its kind, endpoint, state and daemon, how many peers it has, what
waits in it, how much has gone in and out (with messages a second over about the
last ten), what was dropped, and how old it is. Without NAME all buffers are shown,
and what killed daemons have left is cleared away.

The table is for people. K, M and G are powers of 1024 for bytes, and k, M and G
powers of 1000 for messages. On a terminal it is made to fit: long names and endpoints
are cut in their middle, and then columns are left out, the least needed first. There
the state is green where messages can pass, yellow where somebody is waited for, and red
at the end, unless $NO_COLOR is set.

With --watch it is shown again every second, in place on a terminal, until INT (Ctrl-C)
ends it with 130; with --json that is a stream of objects. A NAME that is not there is
told in the table then, and may come.`,
	Example: `
sockbox list
sockbox list --quiet
sockbox list --json mail`,
	Exits: map[int]string{3: "no such buffer"},
	JSON: func() (fields []cli.Field) {
		for _, f := range buffer.StatFields() {
			fields = append(fields, cli.Field{Name: f.Name, Type: f.Type, Text: f.Doc, Optional: f.Optional})
		}
		return fields
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		l := listing{interval: time.Second}
		fs.BoolVarP(&l.names, "quiet", "q", false, "names only, one a line")
		fs.BoolVar(&l.json, "json", false, "one object a line")
		fs.BoolVar(&l.watch, "watch", false, "show it again and again")
		cli.Seconds(fs, &l.interval, "interval", "", "with --watch, every `TIME`")
		l.given = fs.Changed
		return l.run
	},
}

type listing struct {
	names, json, watch bool
	interval           time.Duration
	given              func(flag string) bool
}

func (l *listing) run(ctx context.Context, c *cli.Call) error {
	names, err := c.Operands("[NAME...]")
	switch {
	case err != nil:
		return err
	case l.names && l.json:
		return cli.Usagef("--quiet and --json exclude each other")
	case l.names && l.watch:
		return cli.Usagef("--quiet and --watch exclude each other")
	case l.given("interval") && !l.watch:
		return cli.Usagef("--interval goes with --watch")
	case l.interval < 10*time.Millisecond:
		return cli.Usagef("--interval: at least 10ms are needed")
	case l.watch:
		return l.repeat(ctx, c, names)
	}
	stats, failed, err := look(names)
	if err != nil {
		return err
	}
	if err := l.print(c, stats); err != nil {
		return err
	}
	return errors.Join(failed...)
}

// look asks the holders of names, or of all names, how they are. One that hangs keeps nobody else
// waiting.
func look(names []string) (stats []buffer.Stat, failed []error, err error) {
	all := len(names) == 0
	if all {
		if names, err = buffer.Names(); err != nil {
			return nil, nil, err
		}
	}
	type answer struct {
		stat buffer.Stat
		err  error
	}
	answers := make([]answer, len(names))
	var group sync.WaitGroup
	turns := make(chan struct{}, 64) // each takes a descriptor
	for i, name := range names {
		turns <- struct{}{}
		group.Go(func() {
			answers[i].stat, answers[i].err = stat(name)
			<-turns
		})
	}
	group.Wait()
	for _, a := range answers {
		switch {
		case a.err == nil:
			stats = append(stats, a.stat)
		case all && (errors.Is(a.err, buffer.ErrNoBuffer) || errors.Is(a.err, buffer.ErrGone) || errors.Is(a.err, buffer.ErrEnd)): // since, or it is not ready yet
		default:
			failed = append(failed, a.err)
		}
	}
	return stats, failed, nil
}

func stat(name string) (buffer.Stat, error) {
	b, err := buffer.Open(name)
	if err != nil {
		return buffer.Stat{}, err
	}
	defer b.Close()
	return b.Stat()
}

func (l *listing) print(c *cli.Call, stats []buffer.Stat) error {
	if l.json {
		enc := json.NewEncoder(c.Stdout)
		enc.SetEscapeHTML(false) // it is for no page, and a relay's endpoint has a ">"
		for _, s := range stats {
			if err := enc.Encode(s); err != nil {
				return err
			}
		}
		return nil
	}
	var out strings.Builder
	if l.names {
		for _, s := range stats {
			fmt.Fprintln(&out, s.Name)
		}
	} else if len(stats) > 0 {
		columns, _ := cli.TerminalSize(c.Stdout)
		for _, line := range table(stats, columns, cli.Colour(c.Stdout)) {
			fmt.Fprintln(&out, line)
		}
	}
	_, err := io.WriteString(c.Stdout, out.String())
	return err
}

// repeat prints again and again, until a signal ends the process or nobody reads any more.
func (l *listing) repeat(ctx context.Context, c *cli.Call, names []string) error {
	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	var last frame
	for {
		stats, failed, err := look(names)
		if err != nil {
			return err
		}
		if columns, lines := cli.TerminalSize(c.Stdout); l.json || !cli.CanRedraw(c.Stdout) {
			for _, err := range failed {
				c.Tell("%v", err)
			}
			if err := l.print(c, stats); err != nil {
				return err
			}
		} else {
			next := frame{columns: columns, lines: table(stats, columns, cli.Colour(c.Stdout))}
			for _, err := range failed {
				next.lines = append(next.lines, err.Error())
			}
			if len(next.lines) >= lines { // the cursor stands below
				more := len(next.lines) - max(lines-2, 1)
				next.lines = append(next.lines[:max(lines-2, 1)], fmt.Sprintf("and %d more", more))
			}
			if _, err := io.WriteString(c.Stdout, last.replace(next)); err != nil {
				return err
			}
			last = next
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// A frame is what stands on the terminal, with the cursor in the line below.
type frame struct {
	columns int
	lines   []string
}

// replace is what puts next in its place (ECMA-48: CUP, CUU, EL and ED; DECAWM). A terminal that was made
// wider or narrower may have moved everything, and begins anew.
func (f frame) replace(next frame) string {
	var b strings.Builder
	b.WriteString("\x1b[?7l") // a line that is too wide all the same ends at the edge
	switch {
	case f.columns != 0 && f.columns != next.columns:
		b.WriteString("\x1b[H\x1b[2J")
	case len(f.lines) > 0:
		fmt.Fprintf(&b, "\x1b[%dA", len(f.lines))
	}
	for _, line := range next.lines {
		fmt.Fprintf(&b, "%s\x1b[K\n", line)
	}
	b.WriteString("\x1b[J\x1b[?7h")
	return b.String()
}

// table is for people; columns is what there is room for, 0 = any.
func table(stats []buffer.Stat, columns int, colour bool) []string {
	t := text.Table{Width: columns, Colour: colour, Columns: []text.Column{
		{Head: "NAME", Least: 12},
		{Head: "KIND", Rank: 3},
		{Head: "ENDPOINT", Least: 15, Rank: 2},
		{Head: "STATE"},
		{Head: "PID", Right: true, Rank: 9},
		{Head: "PEERS", Right: true, Rank: 6},
		{Head: "WAITING", Right: true, Rank: 1},
		{Head: "BYTES", Right: true, Rank: 5},
		{Head: "IN", Right: true, Rank: 4},
		{Head: "OUT", Right: true, Rank: 4},
		{Head: "DROPPED", Right: true, Rank: 7},
		{Head: "AGE", Right: true, Rank: 8},
	}}
	for _, s := range stats {
		dropped := s.Dropped + s.Kernel
		in, out := flow(s.In, s.InRate), flow(s.Out, s.OutRate)
		if s.Kind == buffer.Service { // what passes it are bytes
			in, out = text.Bytes(s.InBytes), text.Bytes(s.OutBytes)
		}
		t.Rows = append(t.Rows, []text.Cell{
			{Text: s.Name},
			{Text: string(s.Kind)},
			{Text: s.Endpoint},
			{Text: s.State, Colour: stateColour(s.State)},
			{Text: fmt.Sprint(s.PID)},
			{Text: fmt.Sprint(s.Peers)},
			{Text: text.Count(int64(s.Messages + s.Leased))},
			{Text: text.Bytes(int64(s.Bytes))},
			{Text: in},
			{Text: out},
			{Text: text.Count(dropped), Colour: map[bool]string{true: red}[dropped > 0]},
			{Text: age(s.Age)},
		})
	}
	return t.Lines()
}

// The parameters of SGR (ECMA-48).
const red, green, yellow = "31", "32", "33"

func stateColour(state string) string {
	switch state {
	case "listening", "connected":
		return green
	case "closing":
		return red
	}
	return yellow
}

// flow shows a total and, where there is one, a rate.
func flow(n int64, rate float64) string {
	if rate < 0.05 {
		return text.Count(n)
	}
	if rate >= 999.5 {
		return fmt.Sprintf("%s (%s/s)", text.Count(n), text.Count(int64(rate)))
	}
	return fmt.Sprintf("%s (%.1f/s)", text.Count(n), rate)
}

func age(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
