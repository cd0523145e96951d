package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/life"
)

// self is what the program calls itself when no applet's name is its own.
const self = "sockbox"

// A Program is the whole of sockbox: its table of applets, and what cli is not to know itself.
type Program struct {
	Applets []*Applet
	Status  func(error) int // the exit status of what an applet returned
	Docs    Docs
}

// Docs renders what can be read about applets. The table it is given begins with sockbox itself,
// which is hidden, and ends with help.
type Docs interface {
	Usage(a *Applet, called string) string                  // for APPLET --help
	Overview(all []*Applet) string                          // for sockbox --help
	Man(name string, all []*Applet) (string, error)         // roff for an applet, "sockbox" or a page of its own
	Completion(shell string, all []*Applet) (string, error) // a script for bash, zsh or fish
	Table(all []*Applet) string                             // Markdown: the applets
	Statuses() string                                       // Markdown: the exit statuses
}

// Main runs what the process was called for and ends the process.
func (p *Program) Main() {
	life.Stage()
	err := p.run(context.Background(), os.Args, &Call{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if brokenPipe(err) {
		diePipe()
		os.Exit(128 + 13)
	}
	os.Exit(p.status(err))
}

func (p *Program) status(err error) int {
	if brokenPipe(err) {
		return 128 + 13
	}
	return p.Status(err)
}

// run finds the applet by the name in argv[0] or else in argv[1], runs it, and reports its error.
// It starts from c, which has the streams.
func (p *Program) run(ctx context.Context, argv []string, c *Call) error {
	c.Applets = p.Applets
	c.Name = self

	if len(argv) > 0 {
		// A login shell's argv[0] begins with a dash, and so does one given by exec -l.
		base := strings.TrimPrefix(filepath.Base(argv[0]), "-")
		argv = argv[1:]
		if a := find(p.Applets, base); a != nil {
			c.Name = base
			return p.call(ctx, a, argv, c)
		}
	}
	if len(argv) > 0 && !strings.HasPrefix(argv[0], "-") {
		a, err := p.find(argv[0])
		if err == nil {
			c.Name = self + " " + argv[0]
			return p.call(ctx, a, argv[1:], c)
		}
		report(c.Stderr, c.Name, err)
		return err
	}
	// What sockbox does itself is an applet without a name.
	return p.call(ctx, p.top(), argv, c)
}

// call parses the options of a and runs it.
func (p *Program) call(ctx context.Context, a *Applet, args []string, c *Call) error {
	fs, run, all := a.flags()
	err := parse(fs, args)
	c.Quiet = all.quiet
	c.Args = fs.Args()
	switch {
	case all.help: // asked for, so an error elsewhere on the line does not matter
		_, err = io.WriteString(c.Stdout, p.usage(a, c.Name))
	case err == nil:
		err = run(ctx, c)
	}
	if err != nil && !c.Quiet {
		report(c.Stderr, c.Name, err)
	}
	if err != nil && a.Recode != nil && !brokenPipe(err) {
		code := p.status(err)
		if as := a.Recode(c.Called(), err, code); as != code {
			return Exit(as, err)
		}
	}
	return err
}

func (p *Program) usage(a *Applet, called string) string {
	if a.Name == self {
		return p.Docs.Overview(p.All())
	}
	return p.Docs.Usage(a, called)
}

// All is the table with what only cli can make: the entries for sockbox itself and for help.
func (p *Program) All() []*Applet {
	return slices.Concat([]*Applet{p.top()}, p.Applets, []*Applet{p.help()})
}

// find returns the applet that name calls.
func (p *Program) find(name string) (*Applet, error) {
	if a := find(p.Applets, name); a != nil {
		return a, nil
	}
	help := p.help()
	if name == help.Name {
		return help, nil
	}
	err := Usagef("%q: no such applet", name)
	if close := nearest(name, append(names(p.Applets), help.Name)); len(close) > 0 {
		return nil, Hint(err, "did you mean '%s'?", strings.Join(close, "' or '"))
	}
	return nil, Hint(err, "'%s --list' names them all", self)
}

func find(table []*Applet, name string) *Applet {
	for _, a := range table {
		if a.Name == name || slices.Contains(a.Aliases, name) {
			return a
		}
	}
	return nil
}

// top is sockbox called by its own name: what it can do besides running applets.
func (p *Program) top() *Applet {
	return &Applet{
		Name:     self,
		Hidden:   true,
		Operands: "APPLET [ARG...]",
		Short:    "Give shell scripts the network",
		Long: `
Sockbox is one program of many small commands, its applets. An applet is called by its name
after sockbox, or through a link with that name: where bind-input is a link to sockbox,
"bind-input mail 9999" is "sockbox bind-input mail 9999". Links for all applets are made with
--install.

Options come before the operands; the first operand ends them, and so does "--". Results are
written to standard output, and all else to standard error. Every applet knows --help.`,
		Example: `
sockbox --list
sockbox help read
sockbox help --man sockbox | man -l -`,
		Setup: func(fs *pflag.FlagSet) Run {
			t := top{program: p}
			fs.BoolVar(&t.list, "list", false, "print the names of the applets")
			fs.BoolVar(&t.install, "install", false, "make a link for every applet, in the folder that follows")
			fs.BoolVar(&t.force, "force", false, "with --install, put links in the place of other files")
			fs.BoolVar(&t.version, "version", false, "print the version")
			return t.run
		},
	}
}

type top struct {
	program                       *Program
	list, install, force, version bool
}

func (t *top) run(ctx context.Context, c *Call) error {
	if t.force && !t.install {
		return Usagef("--force goes with --install")
	}
	switch {
	case t.install:
		// --install DIR --force is what the hand types as often.
		if n := len(c.Args); n == 2 && c.Args[1] == "--force" {
			c.Args, t.force = c.Args[:1], true
		}
		dir, err := c.One("DIR")
		if err != nil {
			return err
		}
		return install(t.program.Applets, dir, t.force)
	case t.list, t.version:
		if _, err := c.Operands(); err != nil {
			return err
		}
		return t.print(c)
	case len(c.Args) > 0: // after "--", or a flag such as -q
		return Usagef("unexpected operand %q", c.Args[0])
	}
	io.WriteString(c.Stderr, "usage: sockbox APPLET [ARG...]\n"+
		"       sockbox --list | --install [--force] DIR | --help | --version\n")
	return Silent(Usage(errors.New("no applet")))
}

func (t *top) print(c *Call) error {
	if t.version {
		_, err := fmt.Fprintf(c.Stdout, "%s %s\n", self, Version())
		return err
	}
	var names strings.Builder
	for _, a := range t.program.Applets {
		if !a.Hidden {
			fmt.Fprintln(&names, a.Name)
		}
	}
	_, err := io.WriteString(c.Stdout, names.String())
	return err
}

// help is the applet that tells about the others.
func (p *Program) help() *Applet {
	return &Applet{
		Name:     "help",
		Operands: "[APPLET]",
		Short:    "Tell how an applet is used",
		Long: `
Show how APPLET is used, as APPLET --help does, or without APPLET, which there are.
The man pages and the completions of the shells are printed too, from the same table;
"sockbox help --man protocols" is the page of what sockbox says on its sockets.`,
		Example: `
sockbox help read
sockbox help --man read | man -l -
eval "$(sockbox help --completion bash)"`,
		Setup: func(fs *pflag.FlagSet) Run {
			h := helping{program: p}
			fs.BoolVar(&h.man, "man", false, "print the man page, for man -l -")
			Choice(fs, &h.shell, "completion", "", "print the completions for a `SHELL`: bash, zsh or fish", "bash", "zsh", "fish")
			fs.BoolVar(&h.table, "table", false, "print the table of applets in Markdown")
			fs.BoolVar(&h.statuses, "statuses", false, "print the table of exit statuses in Markdown")
			return h.run
		},
	}
}

type helping struct {
	program              *Program
	man, table, statuses bool
	shell                string
}

func (h *helping) run(ctx context.Context, c *Call) error {
	words := []string{"[APPLET]"}
	if h.shell != "" || h.table || h.statuses {
		words = nil
	}
	args, err := c.Operands(words...)
	if err != nil {
		return err
	}
	text, err := h.text(args)
	if err != nil {
		return err
	}
	_, err = io.WriteString(c.Stdout, text)
	return err
}

func (h *helping) text(args []string) (string, error) {
	p, docs := h.program, h.program.Docs
	name := self
	if len(args) > 0 && args[0] != self {
		a, err := p.find(args[0])
		if err != nil && h.man {
			if text, other := docs.Man(args[0], p.All()); other == nil {
				return text, nil // a page that is no applet's
			}
		}
		if err != nil {
			return "", err
		}
		if name = a.Name; !h.man {
			return docs.Usage(a, self+" "+args[0]), nil
		}
	}
	switch {
	case h.man:
		return docs.Man(name, p.All())
	case h.shell != "":
		return docs.Completion(h.shell, p.All())
	case h.table:
		return docs.Table(p.Applets), nil
	case h.statuses:
		return docs.Statuses(), nil
	}
	return docs.Overview(p.All()), nil
}
