package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

const errPipe = syscall.EPIPE

func TestReport(t *testing.T) {
	base := fmt.Errorf("mail: %w", fs.ErrNotExist)
	for _, c := range []struct {
		err    error
		want   string
		status int // -1: none of its own
	}{
		{base, "read: mail: file does not exist\n", -1},
		{Usagef("NAME is missing"), "read: NAME is missing\nread: try 'read --help'\n", 2},
		{Usage(base), "read: mail: file does not exist\nread: try 'read --help'\n", 2},
		{Hint(base, "make %s", "one"), "read: mail: file does not exist\nread: hint: make one\n", -1},
		{Hint(Usage(base), "write it"), "read: mail: file does not exist\nread: hint: write it\n", 2},
		{Usage(Hint(base, "write it")), "read: mail: file does not exist\nread: hint: write it\n", 2},
		{fmt.Errorf("again: %w", Hint(base, "h")), "read: again: mail: file does not exist\nread: hint: h\n", -1},
		{Exit(5, base), "read: mail: file does not exist\n", 5},
		{Exit(5, nil), "", 5},
		{Exit(5, Silent(base)), "", 5},
		{Exit(5, Usage(base)), "read: mail: file does not exist\n", 5},
		{Silent(base), "", -1},
		{Silent(Usage(base)), "", 2},
		{Silent(Exit(7, base)), "", 7},
		{errors.Join(base, Exit(9, errors.New("post: gone"))), "read: mail: file does not exist\nread: post: gone\n", 9},
		{errors.New("peer said \x1b[31m\a\u009bx\tö"), "read: peer said \\x1b[31m\\x07\\x9bx\tö\n", -1},
		{Output(errPipe), "", -1},
		{Output(syscall.ENOSPC), "read: standard output: no space left on device\n", -1},
		{&os.PathError{Op: "write", Path: os.Stdout.Name(), Err: errPipe}, "", -1},
		{&os.PathError{Op: "write", Path: "/run/other", Err: errPipe}, "read: write /run/other: broken pipe\n", -1},
		{fmt.Errorf("tcp:10.0.0.1:80: %w", errPipe), "read: tcp:10.0.0.1:80: broken pipe\n", -1},
	} {
		var b strings.Builder
		report(&b, "read", c.err)
		if b.String() != c.want {
			t.Errorf("%v: printed %q, want %q", c.err, b.String(), c.want)
		}
		got, ok := Status(c.err)
		if !ok {
			got = -1
		}
		if got != c.status {
			t.Errorf("%v: status %d, want %d", c.err, got, c.status)
		}
	}
	if Hint(nil, "x") != nil || Silent(nil) != nil || Output(nil) != nil {
		t.Error("no error became one")
	}
	for _, err := range []error{Usage(base), Exit(3, base), Silent(base), Hint(base, "h"), Output(base)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%T hides what it wraps", err)
		}
	}
}

func TestOperands(t *testing.T) {
	for _, c := range []struct {
		args  string
		words string
		want  string // the message, or "" for none
	}{
		{"a", "NAME", ""},
		{"a b", "NAME PORT", ""},
		{"", "", ""},
		{"", "NAME", "NAME is missing"},
		{"", "NAME PORT", "NAME and PORT are missing"},
		{"", "NAME HOST PORT", "NAME, HOST and PORT are missing"},
		{"a", "NAME HOST PORT", "HOST and PORT are missing"},
		{"a", "NAME [PORT]", ""},
		{"a b", "NAME [PORT]", ""},
		{"", "[NAME]", ""},
		{"a b", "NAME", `unexpected operand "b"`},
		{"a", "", `unexpected operand "a"`},
		{"a b c", "NAME [PORT]", `unexpected operand "c"`},
		{"a b c d", "NAME...", ""},
		{"", "NAME...", "NAME is missing"},
		{"", "[NAME...]", ""},
		{"a -", "NAME...", ""},
		{"a -q", "NAME...", `unexpected operand "-q"`},
		{"a -n -- x", "NAME [MESSAGE...]", ""},
	} {
		call := &Call{Args: strings.Fields(c.args)}
		got, err := call.Operands(strings.Fields(c.words)...)
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("Operands(%s) of %q = %v, want %q", c.words, c.args, err, c.want)
		}
		if err == nil && strings.Join(got, " ") != c.args {
			t.Errorf("Operands(%s) of %q = %q", c.words, c.args, got)
		}
	}
}

// The line that a hint proposes can be pasted.
func TestHintQuotes(t *testing.T) {
	call := &Call{Name: "sockbox read", Args: []string{"a b", "-t", "it's", ""}}
	_, err := call.Operands("NAME")
	var b strings.Builder
	report(&b, call.Name, err)
	const want = `sockbox read -t 'it'\''s' '' 'a b'`
	if !strings.HasSuffix(b.String(), ": "+want+"\n") {
		t.Errorf("got %q, want %q at its end", b.String(), want)
	}
}
