package applets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
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

--json prints one object a line with more in it: among others in_bytes, out_bytes,
leased (taken by a reader that has not confirmed yet), unfinished_bytes, cut,
kernel_dropped, discarded, capacity, started. The names of its fields are stable;
the table is for people.`,
	Example: `
sockbox list
sockbox list --quiet
sockbox list --json mail`,
	Exits: map[int]string{3: "no such buffer"},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		var l listing
		fs.BoolVarP(&l.names, "quiet", "q", false, "names only, one a line")
		fs.BoolVar(&l.json, "json", false, "one object a line")
		return l.run
	},
}

type listing struct{ names, json bool }

func (l *listing) run(_ context.Context, c *cli.Call) error {
	names, err := c.Operands("[NAME...]")
	if err != nil {
		return err
	}
	if l.names && l.json {
		return cli.Usagef("--quiet and --json exclude each other")
	}
	all := len(names) == 0
	if all {
		if names, err = buffer.Names(); err != nil {
			return err
		}
	}
	var stats []buffer.Stat
	var failed []error
	for _, name := range names {
		s, err := stat(name)
		switch {
		case err == nil:
			stats = append(stats, s)
		case all && errors.Is(err, buffer.ErrNoBuffer): // gone since, or not ready yet
		default:
			failed = append(failed, err)
		}
	}
	if err := l.print(c, stats); err != nil {
		return err
	}
	return errors.Join(failed...)
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
		for _, s := range stats {
			if err := enc.Encode(s); err != nil {
				return err
			}
		}
		return nil
	}
	if l.names {
		for _, s := range stats {
			if _, err := fmt.Fprintln(c.Stdout, s.Name); err != nil {
				return err
			}
		}
		return nil
	}
	if len(stats) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tENDPOINT\tSTATE\tPID\tPEERS\tWAITING\tBYTES\tIN\tOUT\tDROPPED\tAGE")
	for _, s := range stats {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%d\t%s\n", s.Name, s.Kind, s.Endpoint, s.State, s.PID, s.Peers,
			s.Messages+s.Leased, text.Bytes(int64(s.Bytes)), flow(s.In, s.InRate), flow(s.Out, s.OutRate), s.Dropped+s.Kernel, age(s.Age))
	}
	return w.Flush()
}

// flow shows a total and, where there is one, a rate.
func flow(n int64, rate float64) string {
	if rate < 0.05 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d (%.1f/s)", n, rate)
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
