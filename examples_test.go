package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestExamples runs every example that help shows, as it is shown but for ports and /tmp: each has
// to exit 0 and has nothing to say on stderr.
func TestExamples(t *testing.T) {
	bash := peer(t, "bash")
	for _, applet := range append(strings.Fields(sockbox(t, "--list")), "help") {
		lines := examples(sockbox(t, "help", applet))
		if len(lines) == 0 {
			t.Errorf("%s has no examples", applet)
		}
		for _, line := range lines {
			t.Run(applet+"/"+line, func(t *testing.T) {
				if strings.HasSuffix(line, "| man -l -") {
					peer(t, "man")
				}
				s := newStage(t, line)
				if err := s.prepare(applet); err != nil {
					t.Fatal(err)
				}
				if other := s.otherSide(applet); other != nil {
					defer other()
				}
				if serves(s.line) {
					s.serve(bash)
					return
				}
				before := s.run(bash, "sockbox list --quiet")
				said := s.run(bash, s.line)
				after := s.run(bash, "sockbox list --quiet")
				switch applet {
				case "read":
					if !strings.Contains(said, "hello") {
						t.Errorf("the message is not in %q", said)
					}
				case "bind-input", "bind-output", "relay":
					if after == before {
						t.Error("there is no buffer")
					}
				case "close":
					if after == before {
						t.Error("nothing was closed")
					}
				}
				s.run(bash, "sockbox close --quiet --now --all || true")
			})
		}
	}
}

// A block of the README that is not closed turns text and code around from there on.
func TestReadmeBlocks(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	open := false
	for i, line := range strings.Split(string(readme), "\n") {
		if fence, ok := strings.CutPrefix(line, "```"); ok {
			if open == (fence != "") {
				t.Fatalf("README.md:%d: %q, and a block is open: %v", i+1, line, open)
			}
			open = !open
		}
	}
}

// The blocks of the README that begin with a bind, or with init, run as they stand there.
func TestReadme(t *testing.T) {
	bash := peer(t, "bash")
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, rest := range strings.Split(string(readme), "\n```sh\n")[1:] {
		block, _, _ := strings.Cut(rest, "```")
		if strings.HasPrefix(block, "sockbox bind-") || strings.HasPrefix(block, "eval ") {
			s := newStage(t, block)
			said = append(said, s.run(bash, "set -e\n"+s.line))
			s.run(bash, "sockbox close --quiet --now --all")
		}
	}
	want := []string{"\nhello, network\n", "\ngot one\ngot two\ngot three\n", "\nhello, and world\n", "\none and two\n"}
	if len(said) != len(want) {
		t.Fatalf("%d blocks, want %d", len(said), len(want))
	}
	for i := range want {
		if !strings.HasSuffix(said[i], want[i]) {
			t.Errorf("%q, want it to end in %q", said[i], want[i])
		}
	}
}

// examples returns the lines below "Examples:".
func examples(help string) (lines []string) {
	_, rest, _ := strings.Cut(help, "\nExamples:\n")
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "  ") {
			break
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func sockbox(t *testing.T, args ...string) string {
	out, err := exec.Command(filepath.Join(binDir, "sockbox"), args...).Output()
	if err != nil {
		t.Fatalf("sockbox %q: %v", args, err)
	}
	return string(out)
}

// A stage is where one example runs: a runtime directory, a folder for /tmp, ports, and peers.
type stage struct {
	t     *testing.T
	line  string // the example, with this stage's ports and folder
	tmp   string
	env   []string
	ports map[string]string // as the examples have them, and as they are here
}

func newStage(t *testing.T, line string) *stage {
	tmp, err := os.MkdirTemp("", "ex") // short: it is part of a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	run := filepath.Join(tmp, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	mark := fmt.Sprintf("SOCKBOX_TEST=%x", rand.Uint64())
	t.Cleanup(func() { checkNothingLeft(scriptT{t}, run, mark) })

	s := &stage{t: t, tmp: tmp, ports: map[string]string{}, env: append(os.Environ(), mark,
		"SOCKBOX_DIR="+run,
		"XDG_CACHE_HOME="+filepath.Join(tmp, "cache"),
		"GORACE=atexit_sleep_ms=0 log_path="+raceLog,
		"PATH="+binDir+string(os.PathListSeparator)+os.Getenv("PATH"),
	)}
	fixed := []string{"9999", "9998", "8125", "7000", "8022"}
	from := []string{"/tmp/", tmp + "/"}
	for i, port := range freePorts(len(fixed)) {
		s.ports[fixed[i]] = strconv.Itoa(port)
		from = append(from, fixed[i], strconv.Itoa(port))
	}
	s.line = strings.NewReplacer(from...).Replace(line)
	return s
}

// prepare makes what the applet's examples take for granted.
func (s *stage) prepare(applet string) error {
	switch applet {
	case "bind-input":
		if strings.Contains(s.line, "--connect") {
			return s.listen("tcp", "127.0.0.1:"+s.ports["7000"])
		}
		return nil
	case "bind-output":
		if strings.Contains(s.line, "--listen") {
			return nil
		}
		if strings.Contains(s.line, "--link") {
			s.run("bash", "bind-input --bind 127.0.0.1 there "+s.ports["9999"])
			return nil
		}
		packets, err := net.ListenPacket("udp", "127.0.0.1:"+s.ports["8125"])
		if err != nil {
			return err
		}
		s.t.Cleanup(func() { packets.Close() })
		if err := s.listen("unix", filepath.Join(s.tmp, "tasks.sock")); err != nil {
			return err
		}
		return s.listen("tcp", "127.0.0.1:"+s.ports["9999"])
	case "read", "list", "close": // an input with a message, which somebody may close
		port := s.ports["9999"]
		s.run("bash", "bind-input --bind 127.0.0.1 mail "+port)
		if applet == "close" {
			return nil
		}
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "hello\n"); err != nil {
			return err
		}
		s.run("bash", `until [[ $(sockbox list --json mail) = *'"waiting":1,'* ]]; do :; done`)
		return nil
	case "write":
		if err := s.listen("tcp", "127.0.0.1:"+s.ports["9999"]); err != nil {
			return err
		}
		s.run("bash", "bind-output mail 127.0.0.1 "+s.ports["9999"])
		return nil
	case "www": // a site, and somebody who ends the server when it can be used
		for name, text := range map[string]string{
			"site/index.html": "hello", "site/cgi-bin/hello": "#!/bin/sh\necho", "site/org/index.html": "hello",
			"users": "anna:$2y$04$BJ9/r7bGxoRP5pOKGg6bLOGp6/NpJk80z0yXYXYoE9VNY1UyCLOwq\n",
		} {
			name = filepath.Join(s.tmp, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				return err
			}
		}
		at := "127.0.0.1:" + s.ports["9999"]
		if strings.Contains(s.line, "unix:") {
			at = "unix:" + filepath.Join(s.tmp, "www.sock")
		}
		s.line += " & sockbox wait --timeout 60 " + at + " && kill $! && wait $!"
		return nil
	case "wait": // all that is waited for, and not yet gone
		if err := s.listen("tcp", "127.0.0.1:"+s.ports["9999"]); err != nil {
			return err
		}
		s.run("bash", "bind-input mail unix:"+filepath.Join(s.tmp, "mail.sock"))
		return os.WriteFile(filepath.Join(s.tmp, "key"), nil, 0o600)
	case "exec":
		if err := os.WriteFile(filepath.Join(s.tmp, "key"), []byte("somekey123\n"), 0o600); err != nil {
			return err
		}
		if serves(s.line) {
			return nil
		}
		at := filepath.Join(s.tmp, "exec.sock")
		if strings.Contains(s.line, "--key") {
			at = "--key @" + filepath.Join(s.tmp, "key") + " 127.0.0.1:" + s.ports["9999"]
		}
		s.t.Cleanup(s.begin("bash", "sockbox exec "+at))
		return nil
	case "trigger-wait", "trigger-send":
		return os.WriteFile(filepath.Join(s.tmp, "key"), []byte("somekey123\n"), 0o600)
	case "pool", "master":
		if err := os.WriteFile(filepath.Join(s.tmp, "key"), []byte("somekey123\n"), 0o600); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(s.tmp, "daemons"), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(s.tmp, "daemons", "vmstat"), []byte("#!/bin/sh\necho hello\n"), 0o700)
	case "relay": // a service for each DEST, and another relay
		if err := os.WriteFile(filepath.Join(s.tmp, "key"), []byte("somekey123\n"), 0o600); err != nil {
			return err
		}
		return s.listen("tcp", "127.0.0.1:"+s.ports["7000"])
	case "path":
		s.run("bash", "bind-input --fifo --bind 127.0.0.1 jobs "+s.ports["9998"]+"; echo hello >/dev/tcp/127.0.0.1/"+s.ports["9998"])
		if err := s.listen("tcp", "127.0.0.1:"+s.ports["7000"]); err != nil {
			return err
		}
		s.run("bash", "bind-output --fifo mail 127.0.0.1 "+s.ports["7000"])
		return nil
	case "ping":
		if out, err := exec.Command(filepath.Join(binDir, "sockbox"), "ping", "-c1", "127.0.0.1").CombinedOutput(); err != nil {
			if os.Getenv("SOCKBOX_NO_SKIP") == "" {
				s.t.Skipf("ICMP cannot be had here: %s", out)
			}
			return fmt.Errorf("%s", out)
		}
		return s.listen("tcp", "127.0.0.1:"+s.ports["9999"])
	case "activate":
		if err := os.Mkdir(filepath.Join(s.tmp, "jobs"), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(s.tmp, "service"), []byte("#!/bin/sh\nexit 0\n"), 0o700)
	case "init", "help":
		return nil
	}
	return fmt.Errorf("what the examples of %s need is to be said here", applet)
}

// otherSide runs, beside the example, who it is meant for. What it returns waits for the end of that.
func (s *stage) otherSide(applet string) (wait func()) {
	var line string
	switch port := s.ports["9999"]; applet {
	case "trigger-wait":
		line = `for i in 1 2 3; do trigger-send --retry 60 --data $i somekey123 127.0.0.1 ` + port + ` || exit; done`
		if !strings.Contains(s.line, "--count") {
			line = "trigger-send --retry 60 somekey123 127.0.0.1 " + port
		}
	case "trigger-send":
		line = "trigger-wait --timeout 60 --bind 127.0.0.1 somekey123 " + port
	case "pool":
		line = "master --retry 60 --quiet somekey123 127.0.0.1 " + port + " daemons"
		if !strings.Contains(s.line, "--discard") && !strings.Contains(s.line, "--print") {
			line += "; sock-read --wait vmstat"
		}
	case "master":
		line = "pool --quiet --discard --bind 127.0.0.1 somekey123 " + port
	case "wait":
		if !strings.Contains(s.line, "--gone") {
			return nil
		}
		line = "close mail"
	default:
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run("bash", line)
	}()
	return func() { <-done }
}

// serves tells the examples that are there until they are asked to end.
func serves(line string) bool {
	return strings.HasPrefix(line, "sockbox activate ") || strings.HasPrefix(line, "sockbox exec ") && !strings.Contains(line, "--call")
}

// serve runs an example that stays.
func (s *stage) serve(bash string) { s.begin(bash, s.line)() }

// begin runs a line that stays: it has to tell a service manager that it is ready, to end with 0 when
// it is asked to, which end does, and to be silent on stderr.
func (s *stage) begin(bash, line string) (end func()) {
	path := filepath.Join(s.tmp, "notify")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer ready.Close()
	var stderr bytes.Buffer
	cmd := exec.Command(bash, "-c", "exec "+line)
	cmd.Dir, cmd.Env, cmd.Stderr = s.tmp, append(s.env, "NOTIFY_SOCKET="+path), &stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	said := make([]byte, 64)
	ready.SetReadDeadline(time.Now().Add(30 * time.Second))
	n, err := ready.Read(said)
	if err != nil || string(said[:n]) != "READY=1" {
		s.t.Errorf("%s\nit is not ready: %q, %v", line, said[:n], err)
	}
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
			s.t.Errorf("%s\n%v\n%s", line, err, &stderr)
		}
	}
}

// listen is a peer that takes connections, and reads what comes to its end.
func (s *stage) listen(network, addr string) error {
	ln, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	s.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, c)
			}()
		}
	}()
	return nil
}

// run runs a line of bash, which has to exit 0 and to be silent on stderr, and returns its output.
func (s *stage) run(bash, line string) string {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(bash, "-o", "pipefail", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.tmp, s.env, &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		s.t.Errorf("%s\n%v\n%s", line, err, &stderr)
	}
	return stdout.String()
}

// peer returns the path of a program that a test needs. Without it the test is left out, or fails
// where skips are forbidden (SOCKBOX_NO_SKIP=1).
func peer(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && os.Getenv("SOCKBOX_NO_SKIP") != "" {
		t.Fatalf("%s is not installed, and skips are forbidden", program)
	}
	if err != nil {
		t.Skipf("%s is not here", program)
	}
	return path
}

// scriptT is a test as testscript sees one.
type scriptT struct{ *testing.T }

func (t scriptT) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(scriptT{t}) })
}

func (scriptT) Verbose() bool { return testing.Verbose() }
