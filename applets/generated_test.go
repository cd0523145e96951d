package applets

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sockbox/applets/internal/docs"
)

var update = flag.Bool("update", false, "write the generated files anew")

// What is generated and checked in: the completions, and two tables in the README.
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
	mandoc := peer(t, "mandoc")
	all := program().All()
	for _, a := range all {
		text, err := docs.Pages{}.Man(a.Name, all)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(mandoc, "-T", "lint", "-W", "warning")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", a.Name, err, out)
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
