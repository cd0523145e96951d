package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var out strings.Builder
	r := report{JSON: true, Out: &out}
	if err := r.openJoblog(path); err != nil {
		t.Fatal(err)
	}
	if err := r.beginJoblog(); err != nil {
		t.Fatal(err)
	}
	start := time.UnixMilli(1234567)
	for _, w := range []row{
		{Name: "b", Daemon: "b", Host: "h", Status: "SIGKILL", Code: 137, Signal: "KILL", Start: start, Seconds: 1.5, Messages: 2, Bytes: 10, Left: 1, seq: 2},
		{Name: "a", Daemon: "a", Host: "h", Status: "0", Start: start, Seconds: 2, Messages: 3, Bytes: 20, seq: 1},
		{Name: "c", Daemon: "c", Host: "h", Status: "removed", Start: start, seq: 3},
	} {
		if err := r.add(w); err != nil {
			t.Fatal(err)
		}
	}
	if r.sum.Failed != 1 {
		t.Error("nothing has failed")
	}
	if err := r.tell(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], `"name":"a"`) || !strings.Contains(lines[1], `"signal":"KILL"`) ||
		lines[3] != `{"summary":{"daemons":3,"failed":1,"messages":5,"bytes":30,"left":1}}` {
		t.Errorf("%s", &out)
	}
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := joblogHead + "2\th\t1234.567\t1.500\t10\t0\t137\t9\tb\n"; !strings.HasPrefix(string(log), want) {
		t.Errorf("%s", log)
	}
}

// A pool that is kept for long does not remember all that there was.
func TestReportIsBounded(t *testing.T) {
	var out strings.Builder
	r := report{Out: &out}
	for i := range maxRows + 7 {
		w := row{Name: "x", Status: "0", Messages: 2, Bytes: 3, Left: 1}
		if i == 0 {
			w.Status = "1"
		}
		r.add(w)
	}
	if len(r.rows) != maxRows {
		t.Errorf("%d rows", len(r.rows))
	}
	if want := (sums{maxRows + 7, 1, 2 * (maxRows + 7), 3 * (maxRows + 7), maxRows + 7}); r.sum != want {
		t.Errorf("the sums are %+v, want %+v", r.sum, want)
	}
	r.tell()
	if !strings.Contains(out.String(), "(and 7 before these)") {
		t.Error("what was dropped is not told")
	}
}
