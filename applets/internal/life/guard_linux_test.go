package life

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	servants["guard"] = serveGuarded
	servants["background"] = serveInBackground
}

func serveInBackground() {
	if !Backgrounded() {
		status, err := Background(nil, os.Stdout, os.Stderr)
		if err != nil {
			fmt.Println(err)
		}
		os.Exit(status)
	}
	g, end, _ := Guard(context.Background(), true)
	if g == nil {
		os.Exit(end.Status())
	}
	started := StartedByBackground()
	if os.Getenv("LIFE_HOW") == "fail" {
		fmt.Fprintln(os.Stderr, "it does not work")
		os.Exit(3)
	}
	if _, err := Start(Command{Path: "sleep", Args: []string{"sleep", "1000"}}); err != nil {
		os.Exit(4)
	}
	log, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err == nil {
		err = started.Ready(fmt.Sprintf("%d %d", g.PID(), os.Getpid()), log)
	}
	if err != nil {
		os.Exit(5)
	}
	<-g.Context().Done()
	StopAll(patience, g.Hurry())
	os.Exit(0)
}

// A service of two processes goes to the background as one of one process does.
func TestGuardInBackground(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		how  string
		kill int // which of the two
		sig  syscall.Signal
	}{{"", 0, syscall.SIGTERM}, {"", 1, syscall.SIGTERM}, {"", 0, syscall.SIGKILL}, {"", 1, syscall.SIGKILL}, {"fail", 0, 0}} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "LIFE_TEST=background", "LIFE_HOW="+test.how, quick)
		out, err := cmd.CombinedOutput() // to the end of both, which a daemon must not hold
		if test.how == "fail" {
			if cmd.ProcessState.ExitCode() != 3 || string(out) != "it does not work\n" {
				t.Errorf("%v: %q", err, out)
			}
			continue
		}
		var pids [2]int
		if _, bad := fmt.Sscan(string(out), &pids[0], &pids[1]); bad != nil || err != nil {
			t.Fatalf("%v, %v: %q", bad, err, out)
		}
		s := look()
		found := map[int]process{}
		s.below(s.all[pids[0]], found, func(process) bool { return false })
		if _, ok := found[pids[1]]; !ok || len(found) != 2 {
			t.Errorf("below %d there are %v", pids[0], found)
		}
		found[pids[0]] = s.all[pids[0]]
		if at, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pids[0])); at != "/" {
			t.Errorf("the outer one is in %s", at)
		}
		syscall.Kill(pids[test.kill], test.sig)
		for _, p := range found {
			eventually(t, "all are gone", func() bool { return !alive(p.identity) })
		}
	}
}

// serveGuarded is a service of two processes. It tells the pid of the inner one, and those of a tree
// that it has started, then each request. LIFE_HOW says more.
func serveGuarded() {
	how := os.Getenv("LIFE_HOW")
	var reload <-chan os.Signal
	if strings.Contains(how, "reload") {
		reload = HangupReloads()
	}
	g, end, err := Guard(context.Background(), false)
	if g == nil {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
		fmt.Printf("the end: %v\n", end)
		if end.Signal != 0 && end.Signal != syscall.SIGKILL {
			RaiseAgain(end.Signal)
		}
		os.Exit(end.Status())
	}
	if !strings.Contains(how, "stay") {
		g.LeaveGroup()
	}
	fmt.Println(os.Getpid())
	if strings.Contains(how, "inherit") {
		_, marked := os.LookupEnv(guardVariable)
		f := os.NewFile(3, "inherited")
		fmt.Fprintln(f, os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()), marked)
		f.Close()
		Notify("READY=1")
	} else {
		for _, text := range []string{sessions, hoppingAway, daemon, stopped} {
			// Their pids go to our own stdout.
			if _, err := Start(Command{Path: "bash", Args: []string{"bash", "-c", text}, Stdout: os.Stdout, Stderr: os.Stderr}); err != nil {
				fmt.Println(err)
			}
		}
	}
	go func() {
		for range reload {
			fmt.Println("reload")
		}
	}()
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGUSR1)
	go func() {
		for range ask {
			g.mu.Lock()
			fmt.Println("asked", g.asked)
			g.mu.Unlock()
		}
	}()
	<-g.Context().Done()
	fmt.Println("first")
	if strings.Contains(how, "slow") {
		<-g.Hurry()
		fmt.Println("second")
	}
	if strings.Contains(how, "stubborn") {
		select {}
	}
	if err := StopAll(20*time.Millisecond, g.Hurry()); err != nil {
		fmt.Println(err)
	}
	if sig := g.Signal(); strings.Contains(how, "asker") && sig != 0 {
		RaiseAgain(sig)
	}
	os.Exit(0)
}

const treeSize = 5 // the pids that serveGuarded's tree tells

type service struct {
	*testing.T
	cmd  *exec.Cmd
	out  *bufio.Reader
	pids []identity // the inner process and its tree
}

func serve(t *testing.T, how string, more ...func(*exec.Cmd)) *service {
	t.Helper()
	need(t, "bash", "perl", "setsid")
	s := &service{T: t, cmd: exec.Command("/proc/self/exe")}
	s.cmd.Env = append(os.Environ(), "LIFE_TEST=guard", "LIFE_HOW="+how, quick)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = w, os.Stderr
	for _, m := range more {
		m(s.cmd)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(2 * patience))
	s.out = bufio.NewReader(r)
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		r.Close()
	})
	s.pids = pids(t, s.out, 1)
	if how != "inherit" {
		s.pids = append(s.pids, pids(t, s.out, treeSize)...)
	}
	return s
}

func (s *service) says(want string) {
	s.Helper()
	line, err := s.out.ReadString('\n')
	if line != want+"\n" {
		s.Fatalf("%q, %v; want %q", line, err, want)
	}
}

// asked puts a question through the outer process, several times because a signal that was sent
// before may come after the first.
func (s *service) asked(times int) {
	s.Helper()
	for range 4 {
		s.cmd.Process.Signal(syscall.SIGUSR1)
		s.says("asked " + strconv.Itoa(times))
	}
}

// ends waits for the outer process. The inner one and all of its tree must be gone then: at once,
// unless it was killed, and could not wait for them.
func (s *service) ends(status int) {
	s.Helper()
	rest, err := io.ReadAll(s.out) // EOF: of all who had the pipe
	if err != nil {
		s.Fatal(err)
	}
	s.cmd.Wait()
	for _, pid := range s.pids {
		if status == -9 {
			eventually(s.T, "the tree is gone", func() bool { return !alive(pid) })
		}
		if alive(pid) {
			s.Errorf("%d is alive", pid)
		}
	}
	ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus)
	got := ws.ExitStatus()
	if ws.Signaled() {
		got = -int(ws.Signal())
	}
	if got != status {
		s.Errorf("status %d, want %d (below 0: the signal that ended it); it said %q", got, status, rest)
	}
}

func TestGuard(t *testing.T) {
	inner := func(s *service) int { return s.pids[0].pid }
	for _, test := range []struct {
		name, how string
		do        func(s *service)
		status    int // -N: ended by signal N
	}{
		{"a holder that is asked leaves with 0", "", func(s *service) {
			s.cmd.Process.Signal(syscall.SIGTERM)
			s.says("first")
		}, 0},
		{"an asker ends by the signal", "asker", func(s *service) {
			s.cmd.Process.Signal(syscall.SIGHUP)
			s.says("first")
		}, -1},
		{"two requests", "slow asker", func(s *service) {
			s.cmd.Process.Signal(syscall.SIGINT)
			s.says("first")
			s.cmd.Process.Signal(syscall.SIGTERM)
			s.says("second")
		}, -2},
		{"the third ends it", "slow stubborn", func(s *service) {
			s.cmd.Process.Signal(syscall.SIGTERM)
			s.says("first")
			s.cmd.Process.Signal(syscall.SIGTERM)
			s.says("second")
			s.cmd.Process.Signal(syscall.SIGINT)
		}, -2},
		{"a signal to the inner one is one request, and those to both are no more", "slow", func(s *service) {
			syscall.Kill(inner(s), syscall.SIGTERM)
			s.says("first")
			for range 3 {
				syscall.Kill(inner(s), syscall.SIGTERM)
			}
			s.cmd.Process.Signal(syscall.SIGTERM)
			s.asked(1)
			s.cmd.Process.Signal(syscall.SIGTERM)
			s.says("second")
		}, 0},
		{"the inner one is killed", "", func(s *service) {
			syscall.Kill(inner(s), syscall.SIGKILL)
		}, 128 + 9},
		{"the outer one is killed", "", func(s *service) {
			s.cmd.Process.Kill()
			s.says("first")
		}, -9},
		{"the outer one is killed together with its group", "slow", func(s *service) {
			syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
			s.says("first")
			s.says("second")
		}, -9},
		{"the inner one is stopped and the outer one asked three times", "", func(s *service) {
			syscall.Kill(inner(s), syscall.SIGSTOP)
			eventually(s.T, "it stops", func() bool { return state(inner(s)) == 'T' })
			for range 3 {
				s.cmd.Process.Signal(syscall.SIGTERM)
				s.cmd.Process.Signal(syscall.SIGHUP)
				s.cmd.Process.Signal(syscall.SIGINT)
			}
		}, -2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.how)
			test.do(s)
			if strings.Contains(test.name, "three times") {
				s.anySignal()
				return
			}
			s.ends(test.status)
		})
	}
}

// anySignal is an end by one of the signals that were sent in one go, in whatever order they came.
func (s *service) anySignal() {
	s.Helper()
	io.ReadAll(s.out)
	s.cmd.Wait()
	if ws := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() {
		s.Errorf("%v", s.cmd.ProcessState)
	}
	for _, pid := range s.pids {
		if alive(pid) {
			s.Errorf("%d is alive", pid)
		}
	}
}

// Where HUP is the wish to read files again it is no request, also if it was inherited as ignored.
func TestGuardReloads(t *testing.T) {
	for _, ignored := range []string{"", `trap "" HUP; `} {
		t.Run(ignored, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "reload", func(cmd *exec.Cmd) {
				exe, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-c", ignored + `exec "$0"`, exe}
			})
			for range 4 {
				s.cmd.Process.Signal(syscall.SIGHUP)
				s.says("reload")
			}
			s.asked(0)
			s.cmd.Process.Signal(syscall.SIGTERM)
			s.says("first")
			s.ends(0)
		})
	}
}

// Ctrl-C on a terminal is one request, whether or not the inner process has left the group.
func TestGuardTerminal(t *testing.T) {
	for _, how := range []string{"slow stubborn", "slow stubborn stay"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			master, slave, err := openTerminal()
			if err != nil {
				t.Fatal(err)
			}
			defer master.Close()
			s := serve(t, how, func(cmd *exec.Cmd) {
				cmd.Stdin = slave
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			})
			slave.Close()
			press := func() {
				t.Helper()
				if _, err := master.Write([]byte{3}); err != nil {
					t.Fatal(err)
				}
			}
			press()
			s.says("first")
			s.asked(1)
			press()
			s.says("second")
			press()
			s.ends(-2)
		})
	}
}

// What this process inherits is the inner one's, under the same numbers; nobody else has it open.
func TestGuardInherits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	place := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: place, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	s := serve(t, "inherit", func(cmd *exec.Cmd) {
		// exec keeps the pid
		cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-c", `trap "" INT HUP; LISTEN_PID=$$ exec "$0"`, cmd.Path}
		if exe, err := os.Executable(); err == nil {
			cmd.Args[3] = exe
		}
		cmd.ExtraFiles = []*os.File{w}
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+place, guardVariable+"=0")
	})
	w.Close()
	r.SetReadDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(r); err != nil || string(b) != "true false\n" {
		t.Errorf("%q, %v", b, err)
	}
	manager.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	if n, err := manager.Read(b); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:n], err)
	}
	// HUP was inherited as ignored, and so was INT, by which a job ends all the same
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.cmd.Process.Signal(syscall.SIGINT)
	s.says("first")
	s.ends(0)
}

// A shell's jobs are its own, also when it has become a service by exec.
func TestGuardJobs(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		s := serve(t, "", func(cmd *exec.Cmd) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-c", `sleep 1000 >&- 2>&- & echo $!; exec "$0"`, exe}
		})
		job := s.pids[0]
		s.pids = append(s.pids[1:], pids(t, s.out, 1)...)
		status := 0
		if sig == syscall.SIGKILL {
			status = 128 + 9
		}
		syscall.Kill(s.pids[0].pid, sig) // the inner one
		s.ends(status)
		if !alive(job) {
			t.Error("the job was ended")
		}
		syscall.Kill(job.pid, syscall.SIGKILL)
	}
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	end, err := Run(ctx, Command{Path: "bash", Args: []string{"bash", "-c", "exit 5"}}, patience, nil)
	if err != nil || end.Status() != 5 {
		t.Errorf("%v, %v", end, err)
	}
	cancel()
	end, err = Run(ctx, Command{Path: "sleep", Args: []string{"sleep", "1000"}}, patience, nil)
	if err != nil || end.Signal != syscall.SIGTERM {
		t.Errorf("%v, %v", end, err)
	}
}
