package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata run the real program. A test binary that re-ran itself as a daemon would
// run the tests again, so the program is built first: with the race detector where the tests have
// it, and plain as well, for what is said about memory.
var (
	binDir  string // a link for each applet, and the program
	plain   string // the program as users have it
	raceLog string // where a daemon writes what the race detector has found
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		tmp, err := os.MkdirTemp("", "sockbox-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(tmp)
		if err := build(tmp); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		// Under nohup, or in the background of a script, signals are ignored, which programs would inherit and keep
		// to. One that is caught here is as usual there.
		for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
			if signal.Ignored(sig) {
				signal.Notify(make(chan os.Signal, 1), sig)
			}
		}
		code := m.Run()
		if logs, _ := filepath.Glob(raceLog + ".*"); len(logs) > 0 {
			for _, l := range logs {
				b, _ := os.ReadFile(l)
				fmt.Fprintf(os.Stderr, "%s\n", b)
			}
			code = 1
		}
		return code
	}())
}

func build(tmp string) error {
	binDir, plain, raceLog = filepath.Join(tmp, "bin"), filepath.Join(tmp, "plain", "sockbox"), filepath.Join(tmp, "race")
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return err
	}
	goTool := func(env string, args ...string) error {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), env)
		cmd.Stderr = os.Stderr
		return cmd.Run()
	}
	if err := goTool("CGO_ENABLED=0", "build", "-trimpath", "-o", plain, "."); err != nil {
		return err
	}
	program := filepath.Join(binDir, "sockbox")
	if raceDetector() {
		if err := goTool("CGO_ENABLED=1", "build", "-race", "-o", program, "."); err != nil {
			return err
		}
	} else if err := os.Symlink(plain, program); err != nil {
		return err
	}
	return exec.Command(program, "--install", binDir).Run()
}

// raceDetector tells whether these tests were built with -race.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func TestScripts(t *testing.T) {
	// What is read by the programs that scripts run, not by us, has to be told to go test, which remembers a
	// result until a file has changed that the test itself has looked at.
	for _, root := range []string{"README.md", "completions", "scripts", "testdata/lib"} {
		if err := filepath.WalkDir(root, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		Setup:         setUp,
		Condition:     condition,
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"signal":     signalCmd,
			"status":     statusCmd,
			"eventually": eventuallyCmd,
		},
	})
}

// setUp gives a script an empty runtime directory and free ports. At its end the directory must be
// empty again and no process of the script's left: every script is a teardown test too.
func setUp(e *testscript.Env) error {
	run := filepath.Join(e.WorkDir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	scripts, err := filepath.Abs("scripts")
	if err != nil {
		return err
	}
	data, err := filepath.Abs("testdata")
	if err != nil {
		return err
	}
	mark := fmt.Sprintf("SOCKBOX_TEST=%x", rand.Uint64())
	e.Vars = append(e.Vars, mark,
		"TESTDATA="+data,
		"SOCKBOX_DIR="+run,
		"PLAIN="+plain,
		"SCRIPTS="+scripts,
		"RELAY_MIB="+os.Getenv("RELAY_MIB"),   // how much goes through a relay each way, see relay_bulk.txtar
		"EXEC_TIMES="+os.Getenv("EXEC_TIMES"), // how often each client calls, see exec_load.txtar
		// The race detector would have every process sleep for a second at its end.
		"GORACE=atexit_sleep_ms=0 log_path="+raceLog,
		"PATH="+binDir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HOME="+e.WorkDir,
		"LC_ALL=C",
	)
	for i, port := range freePorts(4) {
		name := "PORT"
		if i > 0 {
			name += strconv.Itoa(i + 1)
		}
		e.Vars = append(e.Vars, name+"="+strconv.Itoa(port))
	}
	e.Defer(func() { checkNothingLeft(e.T(), run, mark) })
	return nil
}

// given are the ports that freePorts has returned: nobody may listen at one of them yet, and it is taken all the same.
var given struct {
	sync.Mutex
	ports map[int]bool
}

// freePorts returns ports of the range that bind-* take, which nobody uses now, and each of them only once as
// long as there are others.
func freePorts(n int) []int {
	given.Lock()
	defer given.Unlock()
	if given.ports == nil || len(given.ports) > 10000 {
		given.ports = map[int]bool{}
	}
	var ports []int
	for len(ports) < n {
		p := 10000 + rand.IntN(20000) // below what the kernel gives to those who connect
		if given.ports[p] {
			continue
		}
		tcp, err := net.Listen("tcp", ":"+strconv.Itoa(p))
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", ":"+strconv.Itoa(p))
		tcp.Close()
		if err != nil {
			continue
		}
		udp.Close()
		given.ports[p] = true
		ports = append(ports, p)
	}
	return ports
}

func checkNothingLeft(t testscript.T, run, mark string) {
	// A daemon that was asked to end may need a moment for it.
	deadline := time.Now().Add(5 * time.Second)
	for {
		pids := processes(mark)
		entries, err := os.ReadDir(run)
		if len(pids) == 0 && len(entries) == 0 {
			return
		}
		if time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		for _, pid := range pids {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Log("left running:", pid, strings.ReplaceAll(string(cmdline), "\x00", " "))
			syscall.Kill(pid, syscall.SIGKILL)
		}
		t.Fatal("left in the runtime directory:", entries, err, "processes left:", pids)
	}
}

// processes returns those with mark in their environment, as all that a script starts have.
func processes(mark string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, err := os.ReadFile(dir + "/environ")
		if err == nil && bytes.Contains(env, []byte(mark+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// condition knows [peer:PROGRAM]: a program that the tests talk to is installed. Where skips are
// forbidden (SOCKBOX_NO_SKIP=1) its absence fails the script.
func condition(cond string) (bool, error) {
	switch cond {
	case "root": // for what takes two users
		return os.Getuid() == 0, nil
	case "netns": // for what takes several hosts: see testdata/lib/hosts.bash
		err := exec.Command("unshare", "--net", "true").Run()
		if err != nil && os.Getenv("SOCKBOX_NO_SKIP") != "" {
			return false, fmt.Errorf("network namespaces cannot be made, and skips are forbidden: %v", err)
		}
		return err == nil, nil
	}
	program, ok := strings.CutPrefix(cond, "peer:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	err := errors.New("no such program")
	if strings.Contains(program, "*") { // one whose name has its version in it
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if found, _ := filepath.Glob(filepath.Join(dir, program)); len(found) > 0 {
				err = nil
			}
		}
	} else {
		_, err = exec.LookPath(program)
	}
	if err != nil && os.Getenv("SOCKBOX_NO_SKIP") != "" {
		return false, fmt.Errorf("%s is not installed, and skips are forbidden", program)
	}
	return err == nil, nil
}

// signal NAME SIGNAL: send the signal to the daemon that holds the buffer NAME.
func signalCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME SIGNAL")
	}
	ts.Check(ts.Exec("sockbox", "list", "--json", args[0]))
	var s struct{ PID int }
	ts.Check(json.NewDecoder(strings.NewReader(ts.ReadFile("stdout"))).Decode(&s))
	ts.Check(ts.Exec("kill", "-"+args[1], strconv.Itoa(s.PID)))
}

// status N COMMAND…: run it and want exactly this exit status, 128+N for a death by signal N.
func statusCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := run(ts, args[1:]); got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

// eventually COMMAND…: run it again and again until it succeeds (with "!": fails), for at most thirty
// seconds. It is for what happens in another process, and has no other way to be told.
func eventuallyCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: [!] eventually COMMAND [ARG…]")
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if (run(ts, args) == 0) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within thirty seconds")
		}
	}
}

func run(ts *testscript.TestScript, args []string) (status int) {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		ts.Fatalf("%v", err)
	}
	if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}
