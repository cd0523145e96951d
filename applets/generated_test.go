package applets

import (
	"bytes"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sockbox/applets/internal/docs"
)

var update = flag.Bool("update", false, "write the generated files anew")

// What is generated and checked in: the completions, the text of the protocols' page, and two tables
// in the README.
func TestGenerated(t *testing.T) {
	var pages docs.Pages
	all := program().All()

	for shell, name := range completions {
		want, err := pages.Completion(shell, all)
		if err != nil {
			t.Fatal(err)
		}
		generated(t, filepath.Join("../completions", name), want)
	}

	var protocols strings.Builder
	for _, p := range docs.Sources {
		fmt.Fprintf(&protocols, "# %s\n\n%s\n", p.Title, comment(t, filepath.Join("..", p.File), p.Begins))
	}
	generated(t, "internal/docs/protocols.txt", protocols.String())

	const readme = "../README.md"
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	want := string(text)
	for mark, table := range map[string]string{"applets": pages.Table(All), "statuses": pages.Statuses()} {
		begin, end := "<!-- "+mark+" -->", "<!-- /"+mark+" -->"
		before, rest, found := strings.Cut(want, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Errorf("%s has no %s … %s", readme, begin, end)
			continue
		}
		want = before + begin + "\n" + table + end + after
	}
	generated(t, readme, want)
}

// comment returns the text of the one comment in a file that begins so.
func comment(t *testing.T, path, begins string) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, group := range file.Comments {
		if text := group.Text(); strings.HasPrefix(strings.Join(strings.Fields(text), " ")+" ", begins) {
			found = append(found, strings.ReplaceAll(text, "\t", "    "))
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s: %d comments begin with %q", path, len(found), begins)
	}
	return found[0]
}

// The files in completions/, under the names that their shells look for.
var completions = map[string]string{"bash": "sockbox.bash", "zsh": "_sockbox", "fish": "sockbox.fish"}

func generated(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not what the table of applets says (%v); run: make generate", path, err)
	}
}

func TestCompletionsParse(t *testing.T) {
	for shell, name := range completions {
		t.Run(shell, func(t *testing.T) {
			path := peer(t, shell)
			if out, err := exec.Command(path, "-n", filepath.Join("../completions", name)).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestExamplesParse(t *testing.T) {
	bash := peer(t, "bash")
	for _, a := range program().All() {
		cmd := exec.Command(bash, "-n")
		cmd.Stdin = strings.NewReader(a.Example)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", a.Name, err, out)
		}
	}
}

func TestManPages(t *testing.T) {
	mandoc, man := peer(t, "mandoc"), peer(t, "man")
	all := program().All()
	names := []string{docs.Protocols}
	for _, a := range all {
		names = append(names, a.Name)
	}
	for _, name := range names {
		text, err := docs.Pages{}.Man(name, all)
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{mandoc, "-T", "lint", "-W", "warning"},
			{man, "--warnings=all", "--encoding=UTF-8", "--local-file", "-"},
		} {
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdin = strings.NewReader(text)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80", "MANROFFSEQ=", "MANPAGER=cat")
			var out bytes.Buffer
			cmd.Stderr = &out
			if args[0] == mandoc {
				cmd.Stdout = &out
			}
			if err := cmd.Run(); err != nil || out.Len() > 0 {
				t.Errorf("%s: %s: %v\n%s", name, args[0], err, &out)
			}
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
