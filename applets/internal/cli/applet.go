// Package cli is the command line: what an applet is, how one is found by the name it was
// called by, how its flags and operands are read, and how its error becomes a message and an
// exit status. The process's own arguments, streams and exit are touched here and in life only.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// An Applet is one sockbox command. The table of applets is the only source of --help, the man
// pages, the completions and the README table: a fact about an applet is written here or nowhere.
type Applet struct {
	Name     string         // as typed: "bind-input"
	Aliases  []string       // other names it answers to: "sock-read"
	Hidden   bool           // an entry that only sockbox itself calls
	Operands string         // after the flags: "NAME HOST PORT | NAME ENDPOINT"; a closed vocabulary, it drives completion
	Short    string         // one line, no full stop
	Long     string         // paragraphs for the man page; indented lines are shown as they are
	Example  string         // one command a line, each of them true
	Exits    map[int]string // what this applet's own statuses mean

	// Recode, where it is there, is the exit status for an error in place of code, when the applet was
	// called by name: another program's, whose callers know other statuses.
	Recode func(name string, err error, code int) int

	// JSON tells of the fields that --json prints, where it does.
	JSON func() []Field

	// Setup declares the flags on fs and returns what to run once they are parsed. Options live
	// in a value made by Setup, never in the package, so an applet can run twice in one process.
	Setup func(fs *pflag.FlagSet) Run
}

// A Field is one of an object that an applet prints as JSON.
type Field struct {
	Name, Type string // Type as RFC 8259 calls it: string, number, boolean
	Text       string // what it means
	Optional   bool   // left out where it is empty
}

// Run does the work of one call. It returns when the work is done or ctx ends, and by then every
// socket, child and file it opened is closed, reaped and removed.
type Run func(ctx context.Context, c *Call) error

// A Call is one use of an applet: the operands it was given and the streams it may touch.
type Call struct {
	Name           string    // how it was called, for messages: "read" through a link, else "sockbox read"
	Args           []string  // the operands
	Stdin          io.Reader // the process's own streams are *os.File values, so that
	Stdout, Stderr io.Writer // bulk data can move from descriptor to descriptor
	Applets        []*Applet // handed in, so that help needs no global
	Quiet          bool      // -q: no messages
}

// Called is the applet's name, or the other one of its names, that it was called by.
func (c *Call) Called() string { return c.Name[strings.LastIndexByte(c.Name, ' ')+1:] }

// Tell prints a message on standard error, in the form that errors have, unless the call is
// quiet. It is for what a user should know though the work goes on.
func (c *Call) Tell(format string, args ...any) {
	if !c.Quiet {
		tell(c.Stderr, c.Name, fmt.Sprintf(format, args...))
	}
}

// One returns the only operand; what is its word in the synopsis.
func (c *Call) One(what string) (string, error) {
	args, err := c.Operands(what)
	if err != nil {
		return "", err
	}
	return args[0], nil
}

// Operands returns the operands after checking their number. Each of words stands for one of
// them, as in the synopsis: one in brackets may be left out, and the last takes all that follow
// when it ends in "...". So Operands("NAME", "[MESSAGE...]") wants one or more, Operands() none.
func (c *Call) Operands(words ...string) ([]string, error) {
	var missing []string
	var last string
	for i, word := range words {
		optional := strings.HasPrefix(word, "[")
		last = strings.Trim(word, "[]")
		if i >= len(c.Args) && !optional {
			missing = append(missing, strings.TrimSuffix(last, "..."))
		}
	}
	switch len(missing) {
	case 0:
	case 1:
		return nil, Usagef("%s is missing", missing[0])
	default:
		n := len(missing) - 1
		return nil, Usagef("%s and %s are missing", strings.Join(missing[:n], ", "), missing[n])
	}

	first, many := len(words), strings.HasSuffix(last, "...")
	if many && last != "NAME..." {
		return c.Args, nil
	}
	for i := first; i < len(c.Args); i++ {
		// A name never begins with a dash: among names it is an option in the wrong place.
		if !many || looksLikeOption(c.Args[i]) {
			return nil, c.unexpected(i, words)
		}
	}
	return c.Args, nil
}

// unexpected is the complaint about operand i. Options end at the first operand, which people
// who are used to GNU's permuting getopt run into, so the line they meant is spelled out. A key is not
// shown, wherever it was put.
func (c *Call) unexpected(i int, words []string) error {
	keyed := slices.Contains(words, "KEY")
	err := Usagef("unexpected operand %q", c.Args[i])
	if keyed && !looksLikeOption(c.Args[i]) {
		err = Usagef("there is an operand too many: %s are all", strings.Join(words, " "))
	}
	for j := i; j < len(c.Args); j++ {
		if !looksLikeOption(c.Args[j]) {
			continue
		}
		line := []string{c.Name}
		for k, arg := range c.Args[j:] {
			if name, _, ok := strings.Cut(arg, "="); ok && name == "--key" {
				arg = "--key=KEY"
			} else if k > 0 && c.Args[j+k-1] == "--key" {
				arg = "KEY"
			}
			line = append(line, shellWord(arg))
		}
		for k, arg := range c.Args[:j] {
			if keyed && k < len(words) {
				arg = strings.Trim(words[k], "[]")
			}
			line = append(line, shellWord(arg))
		}
		return Hint(err, "options go before the operands: %s", strings.Join(line, " "))
	}
	return err
}

// Hinted tells whether err has a hint already.
func Hinted(err error) bool { return errors.As(err, new(*hintError)) }

func looksLikeOption(arg string) bool { return len(arg) > 1 && arg[0] == '-' && arg != "--" }

// shellWord quotes s so that a POSIX shell reads it back as one word.
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
