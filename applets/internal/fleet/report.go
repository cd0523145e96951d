package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"sockbox/applets/internal/text"
)

// A row is what is told about one daemon when all is over. The JSON names are stable.
type row struct {
	Name     string    `json:"name"`   // of the buffer on the pool's host
	Daemon   string    `json:"daemon"` // what master runs
	Host     string    `json:"host"`   // the other side
	Status   string    `json:"status"` // in words
	Code     int       `json:"code"`
	Signal   string    `json:"signal,omitempty"`
	Start    time.Time `json:"start"`
	Seconds  float64   `json:"seconds"`
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Restarts int       `json:"restarts"`
	Left     int       `json:"left"` // messages that were not delivered or not read
	seq      int
}

func (w *row) failed() bool { return w.Status != "0" && w.Status != "removed" }

// maxRows bounds what a pool that is kept for months remembers.
const maxRows = 4096

// A report collects the rows, and tells them at the end.
type report struct {
	JSON   bool
	Joblog *os.File
	Out    io.Writer // nil: nobody

	mu      sync.Mutex
	rows    []row
	dropped int
	failed  bool
}

// add adds one row, when its daemon has ended.
func (r *report) add(w row) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows = append(r.rows, w); len(r.rows) > maxRows {
		r.rows = r.rows[1:]
		r.dropped++
	}
	r.failed = r.failed || w.failed()
	if r.Joblog == nil {
		return nil
	}
	// The columns of GNU parallel's --joblog, which there are programs for.
	_, err := fmt.Fprintf(r.Joblog, "%d\t%s\t%.3f\t%.3f\t%d\t%d\t%d\t%s\t%s\n", w.seq, text.Printable(w.Host),
		float64(w.Start.UnixMilli())/1000, w.Seconds, w.Bytes, 0, w.Code, cmp.Or(w.Signal, "0"), text.Printable(w.Daemon))
	return err
}

const joblogHead = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

// openJoblog opens the file for a log of what ended.
func (r *report) openJoblog(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	r.Joblog = f
	_, err = io.WriteString(f, joblogHead)
	return err
}

// tell prints the rows: a table for people, or objects and a last one with the sums.
func (r *report) tell() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Joblog != nil {
		defer r.Joblog.Close()
	}
	if r.Out == nil {
		return nil
	}
	slices.SortStableFunc(r.rows, func(a, b row) int { return cmp.Compare(a.seq, b.seq) })
	var sum struct {
		Daemons  int   `json:"daemons"`
		Failed   int   `json:"failed"`
		Messages int64 `json:"messages"`
		Bytes    int64 `json:"bytes"`
		Left     int   `json:"left"`
	}
	sum.Daemons = r.dropped
	for _, w := range r.rows {
		sum.Daemons++
		sum.Messages += w.Messages
		sum.Bytes += w.Bytes
		sum.Left += w.Left
		if w.failed() {
			sum.Failed++
		}
	}
	if r.JSON {
		e := json.NewEncoder(r.Out)
		for _, w := range r.rows {
			if err := e.Encode(w); err != nil {
				return err
			}
		}
		return e.Encode(map[string]any{"summary": sum})
	}
	if len(r.rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(r.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "NAME\tHOST\tSTATUS\tTIME\tMESSAGES\tBYTES\tRESTARTS\tLEFT\t")
	for _, w := range r.rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1fs\t%d\t%d\t%d\t%d\t\n", w.Name, text.Printable(w.Host), text.Printable(w.Status), w.Seconds, w.Messages, w.Bytes, w.Restarts, w.Left)
	}
	if r.dropped > 0 {
		fmt.Fprintf(t, "(and %d before these)\n", r.dropped)
	}
	return t.Flush()
}
