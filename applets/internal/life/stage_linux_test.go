package life

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]Limit{
		"cpu=10": {"cpu", 10}, "as=512M": {"as", 512 << 20}, "nofile=64": {"nofile", 64}, "fsize=2k": {"fsize", 2048}, "core=0": {"core", 0},
	} {
		if got, err := ParseLimit(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "cpu", "cpu=", "cpu=-1", "cpu=x", "rss=1", "as=9999999999999T", "=1"} {
		if got, err := ParseLimit(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

// said starts cmd and returns what it prints, once it has ended with 0.
func said(t *testing.T, cmd Command) string {
	t.Helper()
	cmd.Stdout = Pipe
	c, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stdout.Close()
	b, err := io.ReadAll(c.Stdout)
	if end := c.Wait(); err != nil || end.Status() != 0 {
		t.Fatalf("%v, %v", err, end)
	}
	return string(b)
}

func TestStage(t *testing.T) {
	sh := Command{Path: "sh", Env: append(os.Environ(), "X=1"), PIDVariables: []string{"LISTEN_PID", "OTHER"}}
	sh.Args = []string{"sh", "-c", `echo $((LISTEN_PID == $$)) $((OTHER == $$)) $0 $1 $X "${SOCKBOX_STAGE-none}"; for n in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || echo $n; done`, "name", "a b"}
	if got, want := said(t, sh), "1 1 name a b 1 none\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	limited := Command{Path: "sh", Args: []string{"sh", "-c", "ulimit -n; ulimit -t; ulimit -Hn"},
		Limits: []Limit{{"nofile", 50}, {"cpu", 7}}}
	if got, want := said(t, limited), "50\n7\n50\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	none := Command{Path: "/nowhere/none", Limits: []Limit{{"cpu", 7}}}
	if _, err := Start(none); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, want %v", err, ErrNotFound)
	}
	bad := Command{Path: "/etc/passwd", PIDVariables: []string{"X"}}
	if _, err := Start(bad); !errors.Is(err, ErrCannotRun) {
		t.Errorf("%v, want %v", err, ErrCannotRun)
	}
}

func TestLookUpUser(t *testing.T) {
	for _, s := range []string{"", ":x", "x:", "no such user", "nobody:no such group", "4294967296", "12345678"} {
		if u, err := LookUpUser(s); err == nil {
			t.Errorf("%q: %+v, want an error", s, u)
		}
	}
	if os.Getuid() != 0 {
		if _, err := LookUpUser("0"); err == nil {
			t.Error("anybody may be root")
		}
		return
	}
	need(t, "id")
	want, err := exec.Command("id", "-G", "nobody").Output()
	if err != nil {
		t.Skip(err)
	}
	u, err := LookUpUser("nobody")
	if err != nil {
		t.Fatal(err)
	}
	id := Command{Path: "sh", Args: []string{"sh", "-c", "id -G; id -un; echo $HOME $USER $LOGNAME"}, Credential: u.Credential, Env: u.Environment(nil)}
	if got, want := said(t, id), string(want)+"nobody\n"+u.Home+" nobody nobody\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Nothing of root's is left, with limits too.
	id.Limits, id.Dir = []Limit{{"nofile", 30}}, "/"
	id.Args[2] = "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status"
	got := said(t, id)
	if strings.Contains(got, "\t0\t") || !strings.Contains(got, "CapEff:\t0000000000000000") {
		t.Errorf("%q", got)
	}
	if one, err := LookUpUser("12345678:4321"); err != nil || one.Credential.Uid != 12345678 || one.Credential.Gid != 4321 || len(one.Credential.Groups) > 0 {
		t.Errorf("%+v, %v", one, err)
	}
	if !slices.Contains(u.Environment([]string{"A=b", "HOME=/root"}), "A=b") {
		t.Error("A is lost")
	}
}

// Whatever the program is allowed to have, we do not run out of memory on the way to it.
func TestStageWithoutMemory(t *testing.T) {
	env := append(os.Environ(), "LONG="+strings.Repeat("x", 100_000))
	for range 50 {
		cmd := Command{Path: "/etc/passwd", Env: env, Limits: []Limit{{"as", 1 << 20}, {"nofile", 20}, {"core", 0}}}
		if _, err := Start(cmd); !errors.Is(err, ErrCannotRun) {
			t.Fatalf("%v, want %v", err, ErrCannotRun)
		}
	}
	small := Command{Path: "sh", Args: []string{"sh", "-c", "ulimit -v; echo ${#LONG}"}, Env: env, Limits: []Limit{{"as", 32 << 20}}}
	for range 50 {
		if got, want := said(t, small), "32768\n100000\n"; got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
}

// Nor does it depend on how full the heap is: each of these is another number of spans, one of which has
// the runtime ask the system for memory of its own. Where something is allocated after the limit was set,
// some of them end with a stack trace.
func TestStageWithoutMemoryHowever(t *testing.T) {
	for n := 5000; n < 8000; n += 30 {
		env := make([]string, n)
		for i := range env {
			env[i] = fmt.Sprintf("V%d=%s", i, strings.Repeat("x", 300_000/n-8))
		}
		cmd := Command{Path: "/etc/passwd", Env: env, Limits: []Limit{{"as", 1 << 20}}}
		if _, err := Start(cmd); !errors.Is(err, ErrCannotRun) {
			t.Fatalf("with %d variables: %v, want %v", n, err, ErrCannotRun)
		}
	}
}

// A program finds the soft limit on descriptors that we were started with, not the one of the Go runtime.
func TestStageDescriptors(t *testing.T) {
	cmd := Command{Path: "sh", Args: []string{"sh", "-c", "ulimit -n"}}
	want := said(t, cmd)
	cmd.Limits = []Limit{{"core", 0}}
	if got := said(t, cmd); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
