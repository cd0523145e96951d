package applets

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/docs"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/trigger"
	"sockbox/buffer"
)

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{buffer.ErrEmpty, 1},
		{buffer.ErrHeld, 1},
		{cli.Usagef("x"), 2},
		{buffer.ErrNoBuffer, 3},
		{buffer.ErrEnd, 4},
		{buffer.ErrTimeout, 124},
		{secret.ErrRefused, 5},
		{trigger.ErrTimeout, 124},
		{context.DeadlineExceeded, 124},
		{os.ErrDeadlineExceeded, 124},
		{cli.Exit(5, buffer.ErrNoBuffer), 5},
		{cli.Silent(buffer.ErrNoBuffer), 3},
		{cli.Hint(fmt.Errorf("mail: %w", buffer.ErrNoBuffer), "x"), 3},
		{cli.Usage(buffer.ErrNoBuffer), 2},
	} {
		if got := status(c.err); got != c.want {
			t.Errorf("status(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// Names are one word each, nobody's twice, and what the file is called.
func TestNames(t *testing.T) {
	word := regexp.MustCompile(`^[a-z][a-z0-9]*([-.][a-z0-9]+)*$`)
	seen := map[string]bool{"sockbox": true, "help": true}
	var files []string
	for _, a := range All {
		for _, name := range append([]string{a.Name}, a.Aliases...) {
			if !word.MatchString(name) {
				t.Errorf("%q is no name for an applet", name)
			}
			if seen[name] {
				t.Errorf("%s: there are two", name)
			}
			seen[name] = true
		}
		files = append(files, strings.ReplaceAll(a.Name, "-", "_")+".go")
	}

	got, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	got = slices.DeleteFunc(got, func(f string) bool { return f == "applets.go" || strings.HasSuffix(f, "_test.go") })
	slices.Sort(files)
	if !slices.Equal(got, files) {
		t.Errorf("the files here are %q, the applets want %q", got, files)
	}
}

func TestTexts(t *testing.T) {
	for _, a := range program().All() {
		for what, text := range map[string]string{"Operands": a.Operands, "Short": a.Short, "Long": a.Long, "Example": a.Example} {
			switch {
			case text == "" && !a.Hidden:
				t.Errorf("%s: no %s", a.Name, what)
			case strings.Contains(text, "\t"):
				t.Errorf("%s: a tab in %s", a.Name, what)
			}
		}
		if !a.Hidden {
			lintShort(t, a)
		}
		for _, words := range docs.Operands(a) {
			for _, word := range words {
				if !slices.Contains(docs.Words, word) {
					t.Errorf("%s: operand %q is not one of %q", a.Name, word, docs.Words)
				}
			}
		}
		for code, means := range a.Exits {
			if !slices.ContainsFunc(docs.Statuses, func(s docs.Status) bool { return s.Code == strconv.Itoa(code) }) {
				t.Errorf("%s: status %d is not one of ours", a.Name, code)
			}
			lintPhrase(t, fmt.Sprintf("%s: status %d", a.Name, code), means)
		}
		lintExample(t, a)
	}
}

func lintShort(t *testing.T, a *cli.Applet) {
	if s := a.Short; s != "" && (s[0] < 'A' || s[0] > 'Z' || strings.HasSuffix(s, ".") || strings.Contains(s, "\n") || len(s) > 64) {
		t.Errorf("%s: Short is one line of at most 64 bytes, with a capital and without a full stop: %q", a.Name, s)
	}
}

// lintPhrase is the rule for what stands beside a flag or a status.
func lintPhrase(t *testing.T, who, text string) {
	first := strings.Trim(text, "`")
	switch {
	case text == "":
		t.Errorf("%s has no text", who)
	case strings.HasSuffix(text, "."):
		t.Errorf("%s: no full stop: %q", who, text)
	case len(first) > 1 && first[0] >= 'A' && first[0] <= 'Z' && first[1] >= 'a' && first[1] <= 'z':
		t.Errorf("%s begins with a capital: %q", who, text)
	}
}

// lintExample looks at the flags of every applet that is called in an example.
func lintExample(t *testing.T, a *cli.Applet) {
	for line := range strings.Lines(strings.Trim(a.Example, "\n")) {
		calls := 0
		for _, part := range regexp.MustCompile(`[|&;()"]+|\bwhile\b|\bdo\b|\bif\b`).Split(line, -1) {
			words := strings.Fields(part)
			if len(words) > 0 && words[0] == "sockbox" {
				calls++
				words = words[1:]
			}
			if len(words) == 0 {
				continue
			}
			i := slices.IndexFunc(program().All(), func(a *cli.Applet) bool { return a.Name == words[0] })
			if i < 0 {
				continue
			}
			calls++
			called, _ := program().All()[i].Flags()
			if err := called.Parse(words[1:]); err != nil {
				t.Errorf("%s: example %q: %v", a.Name, strings.TrimSpace(line), err)
			}
		}
		if calls == 0 {
			t.Errorf("%s: example %q calls nothing of ours", a.Name, strings.TrimSpace(line))
		}
	}
}

// What a letter means wherever it is a flag. exec and ping keep the letters of their fields.
var letters = map[string][]string{
	"0": {"null"},
	"a": {"all"},
	"c": {"config"},
	"f": {"follow", "foreground"},
	"h": {"help"},
	"j": {"json"},
	"k": {"kill-after"},
	"l": {"listen"},
	"m": {"max-conns"},
	"M": {"mode"},
	"n": {"count"},
	"N": {"no-newline"},
	"q": {"quiet"},
	"t": {"timeout"},
	"u": {"user"},
	"v": {"verbose"},
	"w": {"wait"},
}

func TestFlags(t *testing.T) {
	long := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	value := regexp.MustCompile(`^[A-Z][A-Z0-9]*([-:/|.,@=[\]]*[A-Z0-9]+)*(\.\.\.)?\]*$`)
	meant := map[string]string{}
	for _, a := range program().All() {
		flags, run := a.Flags()
		if run == nil {
			t.Errorf("%s: Setup returns nothing to run", a.Name)
		}
		flags.VisitAll(func(f *pflag.Flag) {
			who := a.Name + " --" + f.Name
			if !long.MatchString(f.Name) {
				t.Errorf("%s: not lower-case words joined by dashes", who)
			}
			lintPhrase(t, who, f.Usage)
			if strings.Contains(f.Usage, "(default") && !slices.Contains([]string{"", "0", "[]"}, f.DefValue) {
				t.Errorf("%s: its default is shown from its value, %s", who, f.DefValue)
			}
			_, few := f.Value.(interface{ Choices() []string })
			if kind := f.Value.Type(); kind != "bool" && kind != "count" && !few {
				if word, _ := pflag.UnquoteUsage(f); !value.MatchString(word) {
					t.Errorf("%s: the word for its value is %q; it is `NAMED` in the text", who, word)
				}
			}
			letter := f.Shorthand
			if letter == "" || a.Name == "exec" || a.Name == "ping" {
				return
			}
			if want, ok := letters[letter]; ok && !slices.Contains(want, f.Name) {
				t.Errorf("%s: -%s is for %q", who, letter, want)
			} else if other := meant[letter]; !ok && other != "" && other != f.Name {
				t.Errorf("%s: -%s is --%s elsewhere", who, letter, other)
			}
			meant[letter] = f.Name
		})
	}
}

// Who may import whom. A package is known by its folder; what is not named here, and the
// standard library, may be imported by nobody and everybody in turn.
var mayImport = map[string][]string{
	".":       {"sockbox/applets"},
	"applets": {"sockbox/applets/internal/...", "sockbox/buffer", "github.com/spf13/pflag"},

	"applets/internal/bind":      {"sockbox/buffer", "sockbox/buffer/link", internal + "life", internal + "sock", internal + "secret"},
	"applets/internal/cli":       {internal + "life", "github.com/spf13/pflag", "github.com/mattn/go-isatty"},
	"applets/internal/docs":      {internal + "cli", "github.com/spf13/pflag"},
	"applets/internal/fleet":     {internal + "bind", internal + "life", internal + "sock", internal + "secret", internal + "text", "sockbox/buffer", "sockbox/buffer/link"},
	"applets/internal/icmp":      {internal + "sock", "golang.org/x/..."},
	"applets/internal/launch":    {internal + "life", internal + "sock", internal + "secret", "golang.org/x/..."},
	"applets/internal/life":      {"golang.org/x/..."},
	"applets/internal/options":   {internal + "bind", internal + "cli", internal + "life", internal + "secret", internal + "sock", "sockbox/buffer", "github.com/spf13/pflag"},
	"applets/internal/relay":     {internal + "life", internal + "sock", internal + "secret", "golang.org/x/..."},
	"applets/internal/secret":    {"golang.org/x/...", "filippo.io/nistec"},
	"applets/internal/sock":      {"golang.org/x/..."},
	"applets/internal/supervise": {internal + "life", internal + "sock"},
	"applets/internal/text":      {},
	"applets/internal/trigger":   {internal + "life", internal + "sock", internal + "secret"},
	"applets/internal/wait":      {"sockbox/buffer", internal + "sock", "golang.org/x/..."},
	"applets/internal/web":       {"sockbox/buffer", internal + "life", internal + "sock", "golang.org/x/..."},

	"buffer":         {"sockbox/buffer/journal", "golang.org/x/..."},
	"buffer/journal": {"golang.org/x/..."},
	"buffer/link":    {"sockbox/buffer", "golang.org/x/..."},
}

const internal = "sockbox/applets/internal/"

// The process itself, its arguments, streams, signals and end, belongs to these.
var owners = []string{"applets/internal/cli", "applets/internal/life"}

var owned = []string{
	"os.Exit", "os.Args", "os.Stdin", "os.Stdout", "os.Stderr",
	"signal.Notify", "signal.NotifyContext", "isatty.IsTerminal",
}

func TestHouseRules(t *testing.T) {
	found := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		// The tools of the benchmarks measure the program and are no part of it.
		if entry.IsDir() && (name == "testdata" || name == "scripts" || len(name) > 2 && strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			found++
			rel, err := filepath.Rel("..", path)
			if err != nil {
				return err
			}
			lintFile(t, path, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 10 {
		t.Errorf("only %d files were looked at", found)
	}
}

func lintFile(t *testing.T, path, rel string) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	folder := filepath.ToSlash(filepath.Dir(rel))
	allowed, known := mayImport[folder]
	if !known {
		t.Errorf("%s: no rule says whom %s may import", rel, folder)
	}
	for _, spec := range file.Imports {
		to, _ := strconv.Unquote(spec.Path.Value)
		ours, elsewhere := strings.HasPrefix(to, "sockbox/"), strings.Contains(strings.Split(to, "/")[0], ".")
		if (ours || elsewhere) && !slices.ContainsFunc(allowed, func(rule string) bool { return matches(rule, to) }) {
			t.Errorf("%s: %s may not import %s", rel, folder, to)
		}
		if strings.HasPrefix(to, "golang.org/x/sys/") && !forSomeSystems(rel, file) {
			t.Errorf("%s: %s is for files with the name of a system or a build constraint", rel, to)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(owned, x.Name+"."+sel.Sel.Name) && !slices.Contains(owners, folder) {
			t.Errorf("%s: %s.%s is for cli and life", set.Position(n.Pos()), x.Name, sel.Sel.Name)
		}
		return true
	})
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			t.Errorf("%s: an init is paid by every start", set.Position(f.Pos()))
		}
		if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.VAR {
			lintStartup(t, set, g)
		}
	}
}

// lintStartup finds work that a package-level variable has done at every start.
func lintStartup(t *testing.T, set *token.FileSet, vars *ast.GenDecl) {
	ast.Inspect(vars, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit: // done when it is called
			return false
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains([]string{"regexp", "template", "fmt"}, x.Name) &&
				!slices.Contains([]string{"Regexp", "Template", "Stringer"}, n.Sel.Name) {
				t.Errorf("%s: %s.%s is work at every start", set.Position(n.Pos()), x.Name, n.Sel.Name)
			}
		}
		return true
	})
}

func matches(rule, path string) bool {
	if prefix, ok := strings.CutSuffix(rule, "..."); ok {
		return strings.HasPrefix(path, prefix)
	}
	return rule == path
}

// forSomeSystems says that the file is built for some systems only.
func forSomeSystems(name string, file *ast.File) bool {
	for _, system := range []string{"linux", "darwin", "freebsd"} {
		if strings.HasSuffix(name, "_"+system+".go") || strings.Contains(name, "_"+system+"_") {
			return true
		}
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if group.Pos() < file.Package && strings.HasPrefix(c.Text, "//go:build ") {
				return true
			}
		}
	}
	return false
}
