package life

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 60 * time.Second // of a test, on a machine that does much else

// quick spares the second that the race detector waits for at the end of a process.
const quick = "GORACE=atexit_sleep_ms=0"

// alone runs the test in a process of its own, one that takes in orphans: there no other test
// starts children. It returns true there. wrap is a command that starts that process.
func alone(t *testing.T, wrap ...string) bool {
	t.Helper()
	need(t, "bash", "perl", "setsid")
	if os.Getenv("LIFE_ALONE") == t.Name() {
		if err := Adopt(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := StopAll(0, nil); err != nil {
				t.Error(err)
			}
			if _, err := waitAny(unix.WEXITED | unix.WNOWAIT | unix.WNOHANG); err != unix.ECHILD {
				t.Errorf("a child is left: %v", err)
			}
		})
		return true
	}
	t.Parallel()
	argv := append(wrap, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	if len(wrap) > 0 {
		argv[len(wrap)], _ = os.Executable()
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LIFE_ALONE="+t.Name(), quick)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if _, figure, ok := strings.Cut(line, "figure: "); ok {
			t.Log(strings.TrimSpace(figure))
		}
	}
	return false
}

func alive(id identity) bool {
	p, ok := readProcess(id.pid)
	return ok && !p.zombie && p.identity == id
}

// need skips a test on a machine that lacks a program which it runs.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("SOCKBOX_NO_SKIP") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// known is the process that has the number now; none, if nobody has.
func known(pid int) identity {
	p, _ := readProcess(pid)
	return p.identity
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// script starts a shell script, and reads n pids from it, one a line.
func script(t *testing.T, text string, n int, more ...func(*Command)) (*Child, []identity) {
	t.Helper()
	cmd := Command{Path: "bash", Args: []string{"bash", "-c", text}, Stdout: Pipe, Stderr: os.Stderr}
	for _, m := range more {
		m(&cmd)
	}
	c, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return c, pids(t, bufio.NewReader(c.Stdout), n)
}

func pids(t *testing.T, from *bufio.Reader, n int) (all []identity) {
	t.Helper()
	for range n {
		line, err := from.ReadString('\n')
		pid, bad := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || bad != nil {
			t.Fatalf("%q, %v; want a pid", line, err)
		}
		all = append(all, known(pid))
	}
	return all
}

// Each of them tells the pids that have to be gone.
const (
	deaf     = `trap "" TERM; echo $$; while :; do sleep 1000; done`
	polite   = `trap "exit 7" TERM; echo $$; while :; do sleep 0.01; done`
	stopped  = `trap "exit 3" TERM; echo $$; kill -STOP $$; exit 4`
	session  = `setsid perl -e '$| = 1; $SIG{TERM} = "IGNORE"; print "$$\n"; sleep 1000' & wait`
	sessions = `setsid bash -c 'trap "" TERM; echo $$; setsid sleep 1000 & echo $!; wait; wait; sleep 1000' & wait`
	// nothing leads to it from the shell, once its parents have ended
	daemon = `perl -e 'use POSIX; exit if fork; POSIX::setsid; exit if fork; $| = 1; $SIG{TERM} = "IGNORE"; print "$$\n"; sleep 1000'; sleep 1000`
	// it is another process at each look
	hopping = `perl -e '$| = 1; print "$$\n"; while (1) { exit if fork; select undef, undef, undef, 0.001 }'; sleep 1000`
	// the same in a session of its own
	hoppingAway = `perl -e 'use POSIX; $| = 1; exit if fork; POSIX::setsid; print "$$\n"; while (1) { exit if fork; select undef, undef, undef, 0.001 }'; sleep 1000`
	// and one that is in another session each time, and does not pause. It comes to rest by itself: beside others
	// who fork all the time it may outrun us until there is no number of a process left
	runaway = `perl -e 'use POSIX; $| = 1; print "$$\n"; for (1 .. 5000) { exit if fork; POSIX::setsid } sleep 1000'`
	growing = `perl -e '$| = 1; $SIG{TERM} = "IGNORE"; for (1 .. 60) { fork or do { setpgrp if $_ % 2; sleep 1000 } } print "$$\n"; sleep 1000'`
)

func TestStopHostile(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, test := range []struct {
		name, text string
		pids       int
		grace      time.Duration
		end        End
	}{
		{"one that is deaf to TERM", deaf, 1, 50 * time.Millisecond, End{Signal: syscall.SIGKILL}},
		{"one that leaves when it is asked", polite, 1, patience, End{Code: 7}},
		{"one that has stopped itself", stopped, 1, patience, End{Code: 3}},
		{"a grandchild with a session", session, 1, 50 * time.Millisecond, End{Signal: syscall.SIGTERM}},
		{"a session in a session", sessions, 2, 50 * time.Millisecond, End{Signal: syscall.SIGTERM}},
		{"one that forks and ends in turns", hopping, 1, 50 * time.Millisecond, End{Signal: syscall.SIGTERM}},
		{"one that has many children, some with groups", growing, 1, 50 * time.Millisecond, End{Signal: syscall.SIGKILL}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, pids := script(t, test.text, test.pids)
			other, others := script(t, session, 1) // a sibling is left alone
			began := time.Now()
			if test.name == "one that has stopped itself" {
				eventually(t, "it stops", func() bool { return state(pids[0].pid) == 'T' })
			}
			if err := c.Stop(test.grace, nil); err != nil {
				t.Error(err)
			}
			took := time.Since(began)
			for _, pid := range pids {
				if alive(pid) {
					t.Errorf("%d is alive", pid)
				}
			}
			end := c.Wait()
			end.Time = 0
			if end != test.end && (test.grace == patience || end.Signal != syscall.SIGKILL) { // a busy machine may be late for the grace
				t.Errorf("%v, want %v", end, test.end)
			}
			if test.grace == patience && took > patience/2 {
				t.Errorf("it took %v", took)
			}
			if _, err := io.ReadAll(c.Stdout); err != nil { // EOF: nobody holds it any more
				t.Error(err)
			}
			if !alive(known(other.PID())) || !alive(others[0]) {
				t.Error("the sibling has been ended too")
			}
			if err := other.Stop(0, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func state(pid int) byte {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	if rest == "" {
		return 0
	}
	return rest[0]
}

// What has lost every tie is found by its mark, or when all is stopped.
func TestStopDaemon(t *testing.T) {
	if !alone(t) {
		return
	}
	orphan := func(id identity) func() bool {
		return func() bool { p, ok := readProcess(id.pid); return ok && p.parent == os.Getpid() }
	}
	t.Run("marked", func(t *testing.T) {
		c, pids := script(t, daemon, 1, func(cmd *Command) { cmd.Mark = true })
		other, others := script(t, daemon, 1, func(cmd *Command) { cmd.Mark = true })
		eventually(t, "it is an orphan", orphan(pids[0]))
		if err := c.Stop(50*time.Millisecond, nil); err != nil || alive(pids[0]) {
			t.Errorf("%v, alive %v", err, alive(pids[0]))
		}
		if !alive(others[0]) {
			t.Error("the sibling's has been ended too")
		}
		if err := other.Stop(0, nil); err != nil || alive(others[0]) {
			t.Errorf("%v, alive %v", err, alive(others[0]))
		}
	})
	for name, text := range map[string]string{"all": daemon, "one that forks and ends in turns": hoppingAway,
		"one that does so at full speed": runaway, "a tree": growing} {
		t.Run(name, func(t *testing.T) {
			c, pids := script(t, text, 1)
			if name == "all" {
				eventually(t, "it is an orphan", orphan(pids[0]))
			}
			if err := StopAll(50*time.Millisecond, nil); err != nil {
				t.Error(err)
			}
			if alive(pids[0]) {
				t.Errorf("%d is alive", pids[0])
			}
			<-c.Done()
			if _, err := waitAny(unix.WEXITED | unix.WNOWAIT | unix.WNOHANG); err != unix.ECHILD {
				t.Errorf("a child is left: %v", err)
			}
		})
	}
}

// What the child has left behind goes when it is stopped after its end.
func TestStopLate(t *testing.T) {
	if !alone(t) {
		return
	}
	c, pids := script(t, `sleep 1000 >&2 & echo $!`, 1)
	if end := c.Wait(); end.Status() != 0 {
		t.Error(end)
	}
	if !alive(pids[0]) {
		t.Error("it is gone before the stop")
	}
	for range 2 {
		if err := c.Stop(patience, nil); err != nil || alive(pids[0]) {
			t.Errorf("%v, alive %v", err, alive(pids[0]))
		}
	}
}

// Hurry cuts the grace short.
// A child that has ended and left nothing is told from one that has, without a look at all processes.
func TestNoOrphans(t *testing.T) {
	if !alone(t) {
		return
	}
	other, _ := script(t, "echo $$; exec sleep 1000", 1)
	for range 50 {
		c, _ := script(t, "echo $$", 1)
		c.Wait()
		if !noOrphans() {
			t.Fatal("an orphan is seen where there is none")
		}
		if err := c.Stop(patience, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"sleep 1000 >&- & echo $!", "setsid sleep 1000 >&- & echo $!"} {
		c, left := script(t, text, 1)
		c.Wait()
		if noOrphans() {
			t.Errorf("%s: nothing is seen", text)
		}
		if strings.HasPrefix(text, "setsid") { // nothing leads from the child to it any more
			syscall.Kill(left[0].pid, syscall.SIGKILL)
		} else if err := c.Stop(patience, nil); err != nil {
			t.Error(err)
		}
		eventually(t, "it is gone", func() bool { return !alive(left[0]) && noOrphans() })
	}
	if err := other.Stop(patience, nil); err != nil {
		t.Error(err)
	}
}

func TestStopHurry(t *testing.T) {
	if !alone(t) {
		return
	}
	c, _ := script(t, deaf, 1)
	hurry := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(hurry) })
	began := time.Now()
	if err := c.Stop(10*patience, hurry); err != nil || time.Since(began) > patience {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// Orphans that end are reaped, and no child's status is lost by that.
func TestStrays(t *testing.T) {
	if !alone(t) {
		return
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				c, err := Start(Command{Path: "bash", Args: []string{"bash", "-c",
					`for i in 1 2 3 4 5; do (sleep 0.01 & sleep 0.01 &) ; done; exit ` + strconv.Itoa(i+1)}})
				if err != nil {
					t.Error(err)
					return
				}
				if end := c.Wait(); end.Code != i+1 || end.Err != nil {
					t.Errorf("%v, want status %d", end, i+1)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "all are reaped", func() bool {
		_, err := waitAny(unix.WEXITED | unix.WNOWAIT | unix.WNOHANG)
		return err == unix.ECHILD
	})
}

func TestManyChildren(t *testing.T) {
	if !alone(t) {
		return
	}
	const many = 200
	before := descriptors(t)
	began := time.Now()
	var all [many]*Child
	var wg sync.WaitGroup
	for i := range all {
		c, err := Start(Command{Path: "sleep", Args: []string{"sleep", "1000"}, Stdout: Pipe})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = c
	}
	started := time.Since(began)
	for _, c := range all {
		wg.Go(func() {
			if err := c.Stop(patience, nil); err != nil {
				t.Error(err)
			}
			c.Stdout.Close()
		})
	}
	wg.Wait()
	t.Logf("figure: %d children: started in %v, stopped in %v", many, started, time.Since(began)-started)
	if after := descriptors(t); after > before+4 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// A child has what it was given, and nothing that we have inherited or opened.
func TestChildDescriptors(t *testing.T) {
	if !alone(t, "bash", "-c", `exec 7</dev/zero 9>&1; exec "$@"`, "bash") {
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := Start(Command{Path: "sleep", Args: []string{"sleep", "1000"}, Stdin: Pipe, Extra: []*os.File{w, os.Stderr}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var names []string
	want := []string{"0", "1", "2", "3", "4"}
	for deadline := time.Now().Add(patience); !slices.Equal(names, want); { // its loader opens files
		names, _ = filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.PID()))
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q, want %q", names, want)
		}
	}
	if err := c.Stop(0, nil); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// What we have inherited as ignored or blocked is not the child's.
func TestChildSignals(t *testing.T) {
	if !alone(t, "perl", "-e", `use POSIX; $SIG{$_} = "IGNORE" for qw(INT QUIT PIPE TERM CHLD USR1);
		sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM, SIGUSR2, SIGINT)); exec @ARGV`) {
		return
	}
	c, err := Start(Command{Path: "sleep", Args: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	for _, name := range []string{"SigIgn", "SigBlk"} {
		_, rest, _ := strings.Cut(string(status), "\n"+name+":\t")
		value, _, _ := strings.Cut(rest, "\n")
		set, bad := strconv.ParseUint(value, 16, 64)
		// 32 and 33 are the C library's own, which its posix_spawn leaves ignored.
		if set &^= 1<<31 | 1<<32; err != nil || bad != nil || set != 0 {
			t.Errorf("%s: %s (%v, %v)", name, value, err, bad)
		}
	}
	if p, _ := readProcess(c.PID()); p.group != p.pid {
		t.Errorf("its group is %d", p.group)
	}
	c.Signal(syscall.SIGINT)
	if end := c.Wait(); end.Signal != syscall.SIGINT || end.Status() != 130 || end.Time <= 0 {
		t.Errorf("%+v", end)
	}
	if err := c.Signal(syscall.SIGINT); !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

func TestCannotStart(t *testing.T) {
	need(t, "bash")
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	file("denied-here", "#!/bin/sh\n", 0o644)
	for _, test := range []struct {
		path string
		want error
		text string
	}{
		{dir + "/missing", ErrNotFound, dir + "/missing: no such file or directory"},
		{"no-such-program-anywhere", ErrNotFound, "no-such-program-anywhere: no such program"},
		{"", ErrNotFound, "'': no such program"},
		{file("data", "x", 0o644), ErrCannotRun, dir + "/data: permission denied"},
		{"denied-here", ErrCannotRun, dir + "/denied-here: permission denied"},
		{dir, ErrCannotRun, dir + ": permission denied"},
		{file("nothing", "echo x\n", 0o755), ErrCannotRun, dir + "/nothing: exec format error"},
		{file("lost", "#!/no/such/sh\n", 0o755), ErrCannotRun, dir + "/lost: what its first line names, or its loader: no such file or directory"},
	} {
		_, err := Start(Command{Path: test.path})
		if !errors.Is(err, test.want) || err.Error() != test.text {
			t.Errorf("%q: %v", test.path, err)
		}
	}
	_, err := Start(Command{Path: "true", Dir: dir + "/nowhere"})
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrCannotRun) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a folder that is missing: %v", err)
	}
}

func TestPipes(t *testing.T) {
	need(t, "bash")
	c, err := Start(Command{Path: "bash", Args: []string{"sh", "-c", `read x; echo "$0 $x $A $PWD"; echo err >&2; exit 3`},
		Env: []string{"A=b"}, Dir: "/", Stdin: Pipe, Stdout: Pipe, Stderr: Pipe})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c.Stdin, "in\n")
	out, _ := io.ReadAll(c.Stdout)
	errs, _ := io.ReadAll(c.Stderr)
	if end := c.Wait(); string(out) != "sh in b /\n" || string(errs) != "err\n" || end.Status() != 3 {
		t.Errorf("%q, %q, %v", out, errs, end)
	}
}

func TestTerminal(t *testing.T) {
	if !alone(t) {
		return
	}
	c, err := Start(Command{Path: "bash", Pty: true, Stdin: Pipe, Stdout: Pipe, Stderr: Pipe, Args: []string{"bash", "-c",
		`stty size; read x; printf 'a\nb\t%s\r\n' "$x"; [ -t 0 ] && [ -t 1 ] && ! [ -t 2 ] && : </dev/tty && echo yes`}})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c.Stdin, "hello\n")
	out, err := io.ReadAll(c.Stdout)
	if want := "24 80\na\nb\thello\r\nyes\n"; string(out) != want || err != nil {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	if end := c.Wait(); end.Status() != 0 {
		t.Error(end)
	}
	// one that has a terminal has a session
	c, pids := script(t, `set -m; trap "" TERM HUP; sleep 1000 & echo $!; wait; sleep 1000`, 1, func(cmd *Command) { cmd.Pty = true })
	if err := c.Stop(20*time.Millisecond, nil); err != nil || alive(pids[0]) {
		t.Errorf("%v, alive %v", err, alive(pids[0]))
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99"
	for text, want := range map[string]process{
		"5 (sh)" + rest:          {identity{5, 4242}, 7, 8, 9, false, "sh"},
		"5 (a) Z 1 1 (b)" + rest: {identity{5, 4242}, 7, 8, 9, false, "a) Z 1 1 (b"},
	} {
		if got, ok := parseStat(5, []byte(text)); !ok || got != want {
			t.Errorf("%q: %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "5", "5 (sh", "5 )sh(" + rest, "5 (sh) S 1 2"} {
		if got, ok := parseStat(5, []byte(text)); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
