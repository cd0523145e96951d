// Package docs renders the table of applets: --help, man pages, completions and the tables of
// the README. It holds how things are said; what is said is in the applets.
package docs

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
)

// Pages renders everything; its methods are cli.Docs.
type Pages struct{}

// A Status is an exit status and what it means for every applet.
type Status struct{ Code, Means string }

// Statuses is the one list of the exit statuses. An applet's Exits say more about some of them.
var Statuses = []Status{
	{"0", "done"},
	{"1", "the answer is no, or it failed"},
	{"2", "usage: an unknown flag, a missing operand, a name that cannot be"},
	{"3", "no such buffer or service"},
	{"4", "end: the buffer is closed and drained"},
	{"5", "the key was refused"},
	{"124", "timed out"},
	{"126", "a program could not be run"},
	{"127", "a program could not be found"},
	{"128+N", "ended by signal N"},
}

// Words are the operands there are. Completion knows what to offer for each of them.
var Words = []string{
	"NAME", "HOST", "PORT", "ENDPOINT", "DIR", "FILE", "MESSAGE", "APPLET", "ARG",
	"KEY", "LISTEN", "DEST", "SOCKET", "PROGRAM", "CONFIG", "TARGET",
	"bash", "zsh", "sh", "fish", "ksh",
}

// forms are the ways to give operands: "NAME PORT | NAME ENDPOINT" is two.
func forms(operands string) []string { return strings.Split(operands, " | ") }

// An operand is what may stand at one place among the operands.
type operand struct {
	words []string // what it may be, as HOST or ENDPOINT
	many  bool     // and all that follow
}

// Operands are the words of a's operands by their place, whichever form has them there.
func Operands(a *cli.Applet) [][]string {
	var out [][]string
	for _, o := range operands(a) {
		out = append(out, o.words)
	}
	return out
}

func operands(a *cli.Applet) []operand {
	var out []operand
	for _, form := range forms(a.Operands) {
		for i, word := range strings.Fields(form) {
			if strings.Trim(word, "[]") == "--" {
				break // what follows is another program's, and its own completion's
			}
			if i == len(out) {
				out = append(out, operand{})
			}
			word = strings.ReplaceAll(word, "…", "...")
			word = strings.Trim(word, "[]")
			if cut := strings.TrimSuffix(word, "..."); cut != word {
				word, out[i].many = cut, true
			}
			for w := range strings.SplitSeq(word, "|") {
				if !slices.Contains(out[i].words, w) {
					out[i].words = append(out[i].words, w)
				}
			}
		}
	}
	return out
}

// offered are the words of o that there is something to offer for. The name of a buffer that is
// about to be made, which goes with the place it is bound to, is not among those in use.
func offered(all []operand, o operand) []string {
	makes := slices.ContainsFunc(all, func(o operand) bool {
		return slices.Contains(o.words, "PORT") || slices.Contains(o.words, "ENDPOINT")
	})
	var out []string
	for _, w := range o.words {
		if !(makes && w == "NAME") {
			out = append(out, w)
		}
	}
	return out
}

// An option is a flag as it is shown.
type option struct {
	short, long string   // "w", "wait"
	value       string   // the word for its value; "" for a switch
	optional    bool     // --dump[=hex]
	repeats     bool     // -vv, or --allow twice
	choices     []string // the words that its value may be, where there are few
	text        string
	def         string // the default, where it is worth showing
}

func options(a *cli.Applet) []option {
	fs, _ := a.Flags()
	var out []option
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		o := option{short: f.Shorthand, long: f.Name}
		o.value, o.text = pflag.UnquoteUsage(f)
		switch kind := f.Value.Type(); {
		case kind == "bool" || kind == "count":
			o.value = ""
		case o.value == "int" || o.value == "uint":
			o.value = "N"
		}
		_, slice := f.Value.(pflag.SliceValue)
		o.repeats = slice || f.Value.Type() == "count"
		o.optional = o.value != "" && f.NoOptDefVal != ""
		if c, ok := f.Value.(interface{ Choices() []string }); ok {
			o.choices = c.Choices()
		}
		if !slices.Contains([]string{"", "0", "false", "[]", "<nil>"}, f.DefValue) {
			o.def = f.DefValue
		}
		out = append(out, o)
	})
	return out
}

// help is the option's text with its default.
func (o option) help() string {
	if o.def == "" {
		return o.text
	}
	return o.text + " (default " + o.def + ")"
}

// names are "-w" and "--wait".
func (o option) names() []string {
	var out []string
	if o.short != "" {
		out = append(out, "-"+o.short)
	}
	return append(out, "--"+o.long)
}

// takesNext says that the next word on the line is the option's value.
func (o option) takesNext() bool { return o.value != "" && !o.optional }

// kind is what to offer for the option's value: its choices, or its word.
func (o option) kind() string {
	if len(o.choices) > 0 {
		return strings.Join(o.choices, "|")
	}
	return o.value
}

// shown are the applets of all that users are told of.
func shown(all []*cli.Applet) []*cli.Applet {
	var out []*cli.Applet
	for _, a := range all {
		if !a.Hidden {
			out = append(out, a)
		}
	}
	return out
}

func find(all []*cli.Applet, name string) *cli.Applet {
	i := slices.IndexFunc(all, func(a *cli.Applet) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

// called is how a is called by its whole name.
func called(a *cli.Applet) string {
	if a.Name == "sockbox" {
		return a.Name
	}
	return "sockbox " + a.Name
}

// Ours says that name belongs to nobody else, neither to a shell nor to a system: it may be linked
// into a common bin and have its completion. read, write and close are others' first.
func Ours(name string) bool {
	return strings.Contains(name, "-") || strings.HasPrefix(name, "sock")
}

// links are the names besides sockbox that are completed.
func links(all []*cli.Applet) []string {
	var out []string
	for _, a := range shown(all) {
		for _, name := range append([]string{a.Name}, a.Aliases...) {
			if Ours(name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// lines are the lines of text without the empty ones around it.
func lines(text string) []string {
	text = strings.Trim(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}
