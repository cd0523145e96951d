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

	"sockbox/applets/internal/sock"
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

	mu   sync.Mutex
	rows []row
	sum  sums // of all, though some rows may have been forgotten
}

type sums struct {
	Daemons  int   `json:"daemons"`
	Failed   int   `json:"failed"`
	Messages int64 `json:"messages"`
	Bytes    int64 `json:"bytes"`
	Left     int   `json:"left"`
}

// add adds one row, when its daemon has ended.
func (r *report) add(w row) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows = append(r.rows, w); len(r.rows) > maxRows {
		r.rows = r.rows[1:]
	}
	r.sum.Daemons++
	r.sum.Messages += w.Messages
	r.sum.Bytes += w.Bytes
	r.sum.Left += w.Left
	if w.failed() {
		r.sum.Failed++
	}
	if r.Joblog == nil {
		return nil
	}
	// The columns of GNU parallel's --joblog, which there are programs for.
	_, err := fmt.Fprintf(r.Joblog, "%d\t%s\t%.3f\t%.3f\t%d\t%d\t%d\t%d\t%s\n", w.seq, text.Printable(w.Host),
		float64(w.Start.UnixMilli())/1000, w.Seconds, w.Bytes, 0, w.Code, signalNumber(w.Signal), text.Printable(w.Daemon))
	return err
}

const joblogHead = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"

// openJoblog opens the file for a log of what ended. What is in it stays until beginJoblog.
func (r *report) openJoblog(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", path, sock.Reason(err))
	}
	r.Joblog = f
	return nil
}

// beginJoblog begins the file anew, once it is clear that there will be something to log.
func (r *report) beginJoblog() error {
	if r.Joblog == nil {
		return nil
	}
	fi, err := r.Joblog.Stat()
	if err == nil && fi.Mode().IsRegular() {
		err = r.Joblog.Truncate(0)
	}
	if err == nil {
		_, err = io.WriteString(r.Joblog, joblogHead)
	}
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
	if r.JSON {
		e := json.NewEncoder(r.Out)
		for _, w := range r.rows {
			if err := e.Encode(w); err != nil {
				return err
			}
		}
		return e.Encode(map[string]any{"summary": r.sum})
	}
	if len(r.rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(r.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "NAME\tHOST\tSTATUS\tTIME\tMESSAGES\tBYTES\tRESTARTS\tLEFT\t")
	for _, w := range r.rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1fs\t%d\t%d\t%d\t%d\t\n", text.Printable(w.Name), text.Printable(w.Host), text.Printable(w.Status), w.Seconds, w.Messages, w.Bytes, w.Restarts, w.Left)
	}
	if n := r.sum.Daemons - len(r.rows); n > 0 {
		fmt.Fprintf(t, "(and %d before these)\n", n)
	}
	return t.Flush()
}
