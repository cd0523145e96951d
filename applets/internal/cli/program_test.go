package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// TestMain is also the program that some tests run as a process of its own: what it does then is
// in the environment, and what it is called by in argv[0].
func TestMain(m *testing.M) {
	if os.Getenv("CLI_TEST_PROGRAM") != "" {
		p := program()
		p.Main()
	}
	os.Exit(m.Run())
}

var errNothing = errors.New("nothing is waiting")

// program has two applets that print how they were called, and one that is never to be set up.
func program() *Program {
	echo := func(fs *pflag.FlagSet) Run {
		wait := fs.BoolP("wait", "w", false, "wait")
		timeout := time.Duration(0)
		Seconds(fs, &timeout, "timeout", "t", "wait at most `TIME`")
		count := fs.IntP("count", "n", 1, "take `COUNT`")
		return func(ctx context.Context, c *Call) error {
			name, err := c.One("NAME")
			switch {
			case err != nil:
				return err
			case name == "nothing":
				return fmt.Errorf("%s: %w", name, errNothing)
			case name == "output":
				_, err := c.Stdout.Write([]byte("x\n"))
				return err
			case name == "elsewhere":
				return Output(os.NewSyscallError("splice", errPipe))
			}
			c.Tell("about %s", name)
			_, err = fmt.Fprintf(c.Stdout, "%s %v %v %d %s\n", c.Name, *wait, timeout, *count, name)
			return err
		}
	}
	own := func(fs *pflag.FlagSet) Run {
		quiet := fs.BoolP("quiet", "q", false, "names only")
		fs.BoolP("here", "h", false, "here")
		return func(ctx context.Context, c *Call) error {
			c.Tell("quiet %v %v", *quiet, c.Quiet)
			_, err := c.Operands("[NAME...]")
			return err
		}
	}
	return &Program{
		Applets: []*Applet{
			{Name: "read", Aliases: []string{"sock-read"}, Operands: "NAME", Setup: echo},
			{Name: "list", Setup: own},
			{Name: "other", Setup: func(*pflag.FlagSet) Run { panic("set up though not called") }},
			{Name: "worker", Hidden: true, Setup: echo},
		},
		Status: func(err error) int {
			if code, ok := Status(err); ok || err == nil {
				return code
			}
			return 1
		},
		Docs: fakeDocs{},
	}
}

type fakeDocs struct{}

func (fakeDocs) Usage(a *Applet, called string) string {
	return "usage of " + a.Name + " as " + called + "\n"
}
func (fakeDocs) Overview(all []*Applet) string {
	return "overview " + all[0].Name + " " + all[len(all)-1].Name + "\n"
}
func (fakeDocs) Man(name string, all []*Applet) (string, error)         { return "man " + name + "\n", nil }
func (fakeDocs) Completion(shell string, all []*Applet) (string, error) { return shell + "\n", nil }
func (fakeDocs) Table(all []*Applet) string                             { return "table\n" }
func (fakeDocs) Statuses() string                                       { return "statuses\n" }

func TestRun(t *testing.T) {
	const try = "sockbox read: try 'sockbox read --help'\n"
	const brief = "usage: sockbox APPLET [ARG...]\n       sockbox --list | --install [--force] DIR | --help | --version\n"
	for _, c := range []struct {
		line           string
		status         int
		stdout, stderr string
	}{
		// By its link, by its name, by an alias.
		{"read mail", 0, "read false 0s 1 mail\n", "read: about mail\n"},
		{"/usr/bin/read mail", 0, "read false 0s 1 mail\n", "read: about mail\n"},
		{"-read mail", 0, "read false 0s 1 mail\n", "read: about mail\n"},
		{"sock-read mail", 0, "sock-read false 0s 1 mail\n", "sock-read: about mail\n"},
		{"sockbox read mail", 0, "sockbox read false 0s 1 mail\n", "sockbox read: about mail\n"},
		{"./sockbox sock-read mail", 0, "sockbox sock-read false 0s 1 mail\n", "sockbox sock-read: about mail\n"},
		{"sockbox-1.2 read mail", 0, "sockbox read false 0s 1 mail\n", "sockbox read: about mail\n"},
		{"sockbox worker mail", 0, "sockbox worker false 0s 1 mail\n", "sockbox worker: about mail\n"},

		// Options.
		{"read -w -t 0.5 -n3 mail", 0, "read true 500ms 3 mail\n", "read: about mail\n"},
		{"read --timeout=2m -- mail", 0, "read false 2m0s 1 mail\n", "read: about mail\n"},
		{"sockbox read -q mail", 0, "sockbox read false 0s 1 mail\n", ""},
		{"sockbox read", 2, "", "sockbox read: NAME is missing\n" + try},
		{"read", 2, "", "read: NAME is missing\nread: try 'read --help'\n"},
		{"sockbox read -q", 2, "", ""},
		{"sockbox read nothing", 1, "", "sockbox read: nothing: nothing is waiting\n"},
		{"sockbox read --quiet nothing", 1, "", ""},
		{"sockbox read a b", 2, "", "sockbox read: unexpected operand \"b\"\n" + try},
		{"sockbox read a b --wait -n 5", 2, "", "sockbox read: unexpected operand \"b\"\n" +
			"sockbox read: hint: options go before the operands: sockbox read --wait -n 5 a b\n"},
		{"read mail -w", 2, "", "read: unexpected operand \"-w\"\nread: hint: options go before the operands: read -w mail\n"},
		{"sockbox read --wiat a", 2, "", "sockbox read: unknown flag: --wiat\nsockbox read: hint: did you mean --wait?\n"},
		{"sockbox read --zzzzzz a", 2, "", "sockbox read: unknown flag: --zzzzzz\n" + try},
		{"sockbox read -wz a", 2, "", "sockbox read: unknown flag: -z\n" + try},
		{"sockbox read -count 3 a", 2, "", "sockbox read: unknown flag: -c\nsockbox read: hint: did you mean --count?\n"},
		{"sockbox read -timeout 3 a", 2, "", "sockbox read: --timeout: \"imeout\": not a time, such as 0.5, 3, 250ms, 5s, 2m or 1h\n" +
			"sockbox read: hint: did you mean --timeout?\n"},
		{"sockbox read -n", 2, "", "sockbox read: -n: COUNT is missing\n" + try},
		{"sockbox read --timeout", 2, "", "sockbox read: --timeout: TIME is missing\n" + try},
		{"sockbox read -n x a", 2, "", "sockbox read: --count: \"x\": not a number\n" + try},
		{"sockbox read -n 99999999999999999999 a", 2, "", "sockbox read: --count: \"99999999999999999999\": value out of range\n" + try},
		{"sockbox read --wait=x a", 2, "", "sockbox read: --wait: \"x\": not true or false\n" + try},

		// An applet's own --quiet and -h.
		{"sockbox list -q", 0, "", "sockbox list: quiet true false\n"},
		{"sockbox list -h", 0, "", "sockbox list: quiet false false\n"},
		{"sockbox list --help", 0, "usage of list as sockbox list\n", ""},
		{"sockbox list mail -q", 2, "", "sockbox list: quiet false false\nsockbox list: unexpected operand \"-q\"\n" +
			"sockbox list: hint: options go before the operands: sockbox list -q mail\n"},

		// Help.
		{"sockbox read --help", 0, "usage of read as sockbox read\n", ""},
		{"sock-read -h", 0, "usage of read as sock-read\n", ""},
		{"sockbox read -h --zzz", 0, "usage of read as sockbox read\n", ""},
		{"sockbox help read", 0, "usage of read as sockbox read\n", ""},
		{"sockbox help", 0, "overview sockbox help\n", ""},
		{"sockbox help sockbox", 0, "overview sockbox help\n", ""},
		{"sockbox --help", 0, "overview sockbox help\n", ""},
		{"sockbox help --help", 0, "usage of help as sockbox help\n", ""},
		{"sockbox help help", 0, "usage of help as sockbox help\n", ""},
		{"sockbox help --man", 0, "man sockbox\n", ""},
		{"sockbox help --man sock-read", 0, "man read\n", ""},
		{"sockbox help --completion zsh", 0, "zsh\n", ""},
		{"sockbox help --completion ksh", 2, "", "sockbox help: --completion: \"ksh\": not one of bash, zsh, fish\nsockbox help: try 'sockbox help --help'\n"},
		{"sockbox help --table", 0, "table\n", ""},
		{"sockbox help --statuses", 0, "statuses\n", ""},
		{"sockbox help raed", 2, "", "sockbox help: \"raed\": no such applet\nsockbox help: hint: did you mean 'read'?\n"},
		{"sockbox help read list", 2, "", "sockbox help: unexpected operand \"list\"\nsockbox help: try 'sockbox help --help'\n"},

		// Sockbox itself.
		{"sockbox", 2, "", brief},
		{"sockbox --", 2, "", brief},
		{"sockbox --list", 0, "read\nlist\nother\n", ""},
		{"sockbox --list x", 2, "", "sockbox: unexpected operand \"x\"\nsockbox: try 'sockbox --help'\n"},
		{"sockbox --version", 0, "sockbox (devel)\n", ""},
		{"sockbox --force", 2, "", "sockbox: --force goes with --install\nsockbox: try 'sockbox --help'\n"},
		{"sockbox --install", 2, "", "sockbox: DIR is missing\nsockbox: try 'sockbox --help'\n"},
		{"sockbox --lst", 2, "", "sockbox: unknown flag: --lst\nsockbox: hint: did you mean --list?\n"},
		{"sockbox raed mail", 2, "", "sockbox: \"raed\": no such applet\nsockbox: hint: did you mean 'read'?\n"},
		{"sockbox zzzz", 2, "", "sockbox: \"zzzz\": no such applet\nsockbox: hint: 'sockbox --list' names them all\n"},
		{"sockbox sockbox", 2, "", "sockbox: \"sockbox\": no such applet\nsockbox: hint: 'sockbox --list' names them all\n"},
		{"sockbox worke", 2, "", "sockbox: \"worke\": no such applet\nsockbox: hint: 'sockbox --list' names them all\n"},
	} {
		var stdout, stderr bytes.Buffer
		p := program()
		err := p.run(t.Context(), strings.Fields(c.line), &Call{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr})
		if got := p.status(err); got != c.status {
			t.Errorf("%s: status %d, want %d", c.line, got, c.status)
		}
		if stdout.String() != c.stdout {
			t.Errorf("%s: stdout %q, want %q", c.line, &stdout, c.stdout)
		}
		if stderr.String() != c.stderr {
			t.Errorf("%s: stderr %q, want %q", c.line, &stderr, c.stderr)
		}
	}
}

func TestNoArguments(t *testing.T) {
	var stderr bytes.Buffer
	p := program()
	if err := p.run(t.Context(), nil, &Call{Stdout: io.Discard, Stderr: &stderr}); p.status(err) != 2 {
		t.Errorf("an empty argv: %v", err)
	}
}

// The rest needs a process: a signal, real streams, an executable to link to.

func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args[1:]...)
	cmd.Args[0] = args[0]
	// The race detector would sleep a second at each exit.
	cmd.Env = append(os.Environ(), "CLI_TEST_PROGRAM=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// A reader that goes away ends us as it ends cat(1), whoever wrote to it.
func TestBrokenPipe(t *testing.T) {
	for _, args := range [][]string{
		{"sockbox", "--list"}, {"sockbox", "read", "--help"}, {"read", "output"}, {"read", "elsewhere"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var stderr bytes.Buffer
		cmd := process(t, args...)
		cmd.Stdout, cmd.Stderr = w, &stderr
		err = cmd.Run()
		w.Close()
		if cmd.ProcessState.String() != "signal: broken pipe" {
			t.Errorf("%q: %v, want it ended by SIGPIPE", args, err)
		}
		if stderr.Len() > 0 {
			t.Errorf("%q: %s", args, &stderr)
		}
	}
}

// Results that cannot be written are a failure, also those of --help.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		if os.Getenv("SOCKBOX_NO_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skipf("no full device: %v", err)
	}
	defer full.Close()
	for _, args := range [][]string{
		{"sockbox", "--list"}, {"sockbox", "--help"}, {"sockbox", "--version"}, {"sockbox", "help", "--table"}, {"sockbox", "read", "output"},
	} {
		var stderr bytes.Buffer
		cmd := process(t, args...)
		cmd.Stdout, cmd.Stderr = full, &stderr
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != 1 {
			t.Errorf("%q: status %d, want 1", args, got)
		}
		if !strings.HasSuffix(stderr.String(), "no space left on device\n") {
			t.Errorf("%q: stderr %q", args, &stderr)
		}
	}
}

func TestIsTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if IsTerminal(w) || IsTerminal(new(bytes.Buffer)) || IsTerminal(nil) {
		t.Error("what is not a terminal was taken for one")
	}
}
