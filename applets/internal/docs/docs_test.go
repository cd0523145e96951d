package docs_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/docs"
)

var pages docs.Pages

func nothing(context.Context, *cli.Call) error { return nil }

// table is like the real one: sockbox first, then an applet that makes a buffer, one that uses it
// and one that takes words.
func table() []*cli.Applet {
	return []*cli.Applet{
		{
			Name: "sockbox", Hidden: true, Operands: "APPLET [ARG...]", Short: "Be many small commands", Long: "One of many.",
			Setup: func(fs *pflag.FlagSet) cli.Run {
				fs.Bool("list", false, "print the names")
				fs.Bool("install", false, "make links")
				return nothing
			},
		},
		{
			Name: "bind-output", Operands: "NAME HOST PORT | NAME ENDPOINT", Short: "Send the messages of a buffer",
			Long: `
Connect, and send.

.TH this is no request
'nor is this: C:\new "x" it's ~ ^

    verbatim  --flag
      .more

The end…`,
			Example: "\nsockbox bind-output post host 9999\n.x 'y'",
			Exits:   map[int]string{1: "nobody answered", 75: "of its own"},
			Setup: func(fs *pflag.FlagSet) cli.Run {
				frame, size, linger := "line", int64(16<<20), 5*time.Second
				cli.Choice(fs, &frame, "frame", "", "a message ends as `FRAME` says [line]: so", "line", "nul", "netstring")
				cli.Size(fs, &size, "capacity", "", "hold `SIZE` at most, which is a long story that has to be broken somewhere")
				cli.Seconds(fs, &linger, "linger", "", "deliver for `TIME`")
				fs.CountP("verbose", "v", "tell more")
				fs.StringSliceP("allow", "a", nil, "let in `CIDR`")
				fs.String("dump", "", "show what passes as `FORM`")
				fs.Lookup("dump").NoOptDefVal = "text"
				fs.Bool("secret", false, "not shown")
				fs.MarkHidden("secret")
				return nothing
			},
		},
		{
			Name: "read", Aliases: []string{"sock-read"}, Operands: "NAME", Short: "Take a message", Long: "Take it.",
			Exits: map[int]string{4: "closed and empty"},
			Setup: func(fs *pflag.FlagSet) cli.Run {
				fs.BoolP("wait", "w", false, "wait")
				cli.Seconds(fs, new(time.Duration), "timeout", "t", "wait at most `TIME`")
				fs.IntP("count", "n", 1, "take COUNT")
				fs.StringP("file", "o", "", "into `FILE`")
				return nothing
			},
		},
		{Name: "close", Operands: "NAME...", Short: "Close buffers", Long: "Close them.", Setup: func(fs *pflag.FlagSet) cli.Run { return nothing }},
		{Name: "write", Operands: "NAME [MESSAGE...]", Short: "Put a message", Long: "Put it.", Setup: func(fs *pflag.FlagSet) cli.Run { return nothing }},
		{Name: "worker", Hidden: true, Short: "Work", Setup: func(fs *pflag.FlagSet) cli.Run { return nothing }},
		{
			Name: "help", Operands: "[APPLET]", Short: "Tell about applets", Long: "Tell.",
			Setup: func(fs *pflag.FlagSet) cli.Run { return nothing },
		},
	}
}

func applet(t *testing.T, name string) *cli.Applet {
	t.Helper()
	i := slices.IndexFunc(table(), func(a *cli.Applet) bool { return a.Name == name })
	if i < 0 {
		t.Fatalf("no applet %s", name)
	}
	return table()[i]
}

func TestUsage(t *testing.T) {
	const want = `usage: read [options] NAME

Take a message.

Options:
  -w, --wait          wait
  -t, --timeout TIME  wait at most TIME
  -n, --count N       take COUNT (default 1)
  -o, --file FILE     into FILE
  -q, --quiet         no messages, only the exit status
  -h, --help          show this help

Exit status:
  0     done
  1     the answer is no, or it failed
  2     usage: an unknown flag, a missing operand, a name that cannot be
  4     closed and empty

More: sockbox help --man read | man -l -
`
	if got := pages.Usage(applet(t, "read"), "read"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}

	got := pages.Usage(applet(t, "bind-output"), "sockbox bind-output")
	for _, line := range []string{
		"usage: sockbox bind-output [options] NAME HOST PORT",
		"       sockbox bind-output [options] NAME ENDPOINT",
		"      --capacity SIZE  hold SIZE at most, which is a long story that has to be",
		"                       broken somewhere (default 16M)",
		"      --linger TIME    deliver for TIME (default 5s)",
		"  -v, --verbose        tell more",
		"      --dump[=FORM]    show what passes as FORM",
		"  sockbox bind-output post host 9999",
		"  1     nobody answered",
		"  75    of its own",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in:\n%s", line, got)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("a hidden flag is shown:\n%s", got)
	}
	for line := range strings.Lines(got) {
		if len(line) > 81 {
			t.Errorf("too wide: %q", line)
		}
	}
}

func TestOverview(t *testing.T) {
	got := pages.Overview(table())
	for _, line := range []string{
		"usage: sockbox [options] APPLET [ARG...]",
		"  bind-output  Send the messages of a buffer",
		"  help         Tell about applets",
		"      --install  make links",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in:\n%s", line, got)
		}
	}
	if strings.Contains(got, "worker") {
		t.Errorf("a hidden applet is shown:\n%s", got)
	}
}

func TestTables(t *testing.T) {
	got := pages.Table([]*cli.Applet{{Name: "a", Short: "Do this | that"}, {Name: "b", Hidden: true}})
	if want := "| Applet | What it does |\n|---|---|\n| `a` | Do this \\| that |\n"; got != want {
		t.Errorf("Table = %q, want %q", got, want)
	}
	got = pages.Statuses()
	for _, row := range []string{"| 0 | done |\n", "| 124 | timed out |\n", "| 128+N | ended by signal N |\n"} {
		if !strings.Contains(got, row) {
			t.Errorf("no row %q in:\n%s", row, got)
		}
	}
}

func TestManIsWellFormed(t *testing.T) {
	mandoc := peer(t, "mandoc")
	for _, a := range table() {
		if a.Name == "worker" {
			continue
		}
		text, err := pages.Man(a.Name, table())
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(mandoc, "-T", "lint")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s\n%s", a.Name, err, out, text)
		}
	}
}

// What is written comes out as it is: no line of ours is taken for a request, no hyphen or quote
// for a typographic one.
func TestManShowsTextAsItIs(t *testing.T) {
	mandoc := peer(t, "mandoc")
	text, err := pages.Man("bind-output", table())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(mandoc, "-T", "utf8", "-O", "width=100")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var plain []byte // without the overstrikes of bold and italic
	for i, c := range out {
		switch {
		case c == '\b':
			plain = plain[:len(plain)-1]
		case i > 0 && out[i-1] == '\b', c != '\b':
			plain = append(plain, c)
		}
	}
	got := string(plain)
	for _, line := range []string{
		"sockbox-bind-output - send the messages of a buffer",
		"sockbox bind-output [options] NAME HOST PORT",
		`.TH this is no request 'nor is this: C:\new "x" it's ~ ^`,
		"    verbatim  --flag\n             .more",
		"The end…",
		".x 'y'",
		"--dump[=FORM]",
		"(default 16M)",
		"nobody answered",
		"of its own",
		"SOCKBOX_DIR",
		"sockbox(1), sockbox-close(1)",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is not in:\n%s", line, got)
		}
	}
	if strings.Contains(got, "worker") {
		t.Error("a hidden applet is named")
	}
}

func TestManOfNothing(t *testing.T) {
	if _, err := pages.Man("nope", table()); err == nil {
		t.Error("no error for an applet that is not there")
	}
	if _, err := pages.Completion("tcsh", table()); err == nil {
		t.Error("no error for a shell that is not there")
	}
}

// stage makes a folder with a sockbox that knows two buffers, and the completion script.
func stage(t *testing.T, shell string) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	fake := "#!/bin/sh\n[ \"$*\" = 'list -q' ] && printf 'mail\\npost\\n'\n"
	if err := os.WriteFile(filepath.Join(dir, "sockbox"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	script, err := pages.Completion(shell, table())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "completion"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "letter"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)
}

// What each line is completed to, in all shells. The words are those that bash cuts it into.
var completed = []struct {
	words string
	want  string
}{
	{"sockbox |", "bind-output close help read write"},
	{"sockbox r|", "read"},
	{"sockbox --li|", "--list"},
	{"sockbox help r|", "read"},
	{"sockbox read |", "mail post"},
	{"sockbox sock-read m|", "mail"},
	{"sock-read m|", "mail"},
	{"sockbox read --w|", "--wait"},
	{"sockbox read mail --w|", ""},
	{"sockbox read mail |", ""},
	{"sockbox read -t |", ""},
	{"sockbox read -wt |", ""},
	{"sockbox read -wt 5 p|", "post"},
	{"sockbox read --timeout 5 p|", "post"},
	{"sockbox read -- p|", "post"},
	{"sockbox read -o lett|", "letter"},
	{"sockbox close mail p|", "post"},
	{"sockbox write mail p|", ""},
	{"sockbox worker |", ""},
	{"bind-output p|", ""}, // a name that is not there yet
	{"bind-output --frame n|", "netstring nul"},
	{"bind-output --frame nul x un|", "unix:"},
	{"bind-output --dump x un|", "unix:"},
}

func TestBashCompletion(t *testing.T) {
	bash := peer(t, "bash")
	dir, env := stage(t, "bash")
	run := func(script string, args ...string) string {
		cmd := exec.Command(bash, append([]string{"--norc", "-c", script, "bash"}, args...)...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	const ask = `. ./completion; COMP_LINE=$1; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sockbox 2>/dev/null
		printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort | tr '\n' ' '`

	for _, c := range completed {
		line := strings.TrimSuffix(c.words, "|")
		got := strings.TrimSpace(run(ask, append([]string{line}, strings.Split(line, " ")...)...))
		if got != c.want {
			t.Errorf("%s = %q, want %q", c.words, got, c.want)
		}
	}

	// Bash cuts words at : and =, and takes only what follows the last of them.
	for _, c := range []struct{ line, words, want string }{
		{"bind-output --frame=n", "bind-output --frame = n", "netstring nul"},
		{"bind-output --frame=", "bind-output --frame =", "line netstring nul"},
		{"bind-output --frame=nul x unix:./let", "bind-output --frame = nul x unix : ./let", "./letter"},
		{"sockbox  read   --timeout=5  p", "sockbox read --timeout = 5 p", "post"},
	} {
		if got := strings.TrimSpace(run(ask, append([]string{c.line}, strings.Fields(c.words)...)...)); got != c.want {
			t.Errorf("%s = %q, want %q", c.line, got, c.want)
		}
	}

	// The shells' own read and write, and whatever close is, are left alone.
	got := run(`. ./completion; complete -p`)
	for line := range strings.Lines(got) {
		switch f := strings.Fields(line); f[len(f)-1] {
		case "sockbox", "bind-output", "sock-read":
		default:
			t.Errorf("completion is set for %q", line)
		}
	}
}

func TestFishCompletion(t *testing.T) {
	fish := peer(t, "fish")
	dir, env := stage(t, "fish")
	for _, c := range completed {
		line := strings.TrimSuffix(c.words, "|")
		cmd := exec.Command(fish, "--no-config", "-c", `source completion; complete -C $argv[1]`, line)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
		}
		var got []string
		for l := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(l), "\t")
			got = append(got, word)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s = %q, want %q", c.words, got, c.want)
		}
	}
}

func TestZshCompletionParses(t *testing.T) {
	zsh := peer(t, "zsh")
	dir, env := stage(t, "zsh")
	// It can be evaluated as well as found in fpath, and write stays with the system.
	cmd := exec.Command(zsh, "-f", "-c", `zsh -n completion && autoload -Uz compinit && compinit -u -D && source ./completion && print -- $_comps[sockbox] $_comps[sock-read] $_comps[write]`)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "_sockbox _sockbox _users_on\n" {
		t.Errorf("%v: %q", err, out)
	}
	script, _ := pages.Completion("zsh", table())
	for _, spec := range []string{
		`#compdef sockbox bind-output sock-read` + "\n",
		`'(-w --wait)'{-w,--wait}'[wait]'`,
		`'(-o --file)'{-o+,--file=}'[into FILE]:file: _sockbox_offer FILE'`,
		`'--frame=[a message ends as FRAME says \[line\]\: so]:frame: _sockbox_offer line nul netstring'`,
		`'*'{-v,--verbose}'[tell more]'`,
		`'--dump=-[show what passes as FORM]::form: _sockbox_offer FORM'`,
		`'2:HOST or ENDPOINT: _sockbox_offer HOST ENDPOINT'`,
		`'*:NAME: _sockbox_offer NAME'`,
	} {
		if !strings.Contains(script, spec) {
			t.Errorf("no %s in:\n%s", spec, script)
		}
	}
}

func TestOurs(t *testing.T) {
	for name, want := range map[string]bool{
		"bind-input": true, "sock-read": true, "sockexec": true,
		"read": false, "write": false, "close": false, "list": false, "ping": false, "exec": false,
	} {
		if got := docs.Ours(name); got != want {
			t.Errorf("Ours(%q) = %v, want %v", name, got, want)
		}
	}
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
