package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// An error is printed as "who: about what: why" on one line of standard error. What the user can
// do next, where there is something, is a second line. The wrappers below add to an error how it
// is printed and which status it ends with; errors.Is and errors.As see through all of them.

// Usagef is an error in the use of an applet: status 2, and the way to its --help.
func Usagef(format string, args ...any) error { return Usage(fmt.Errorf(format, args...)) }

// Usage says that err is an error in the use of an applet: status 2, and the way to its --help.
func Usage(err error) error { return &statusError{err: err, code: 2, usage: true} }

// Exit gives err the status code. With a nil err nothing is printed.
func Exit(code int, err error) error {
	if err == nil {
		return &silentError{&statusError{err: fmt.Errorf("exit status %d", code), code: code}}
	}
	return &statusError{err: err, code: code}
}

// Silent keeps err from being printed. The status is what it would be for err.
func Silent(err error) error {
	if err == nil {
		return nil
	}
	return &silentError{err}
}

// Hint adds what the user can do next. It takes the place of the pointer to --help that an error
// of usage has.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// Output says that err came from writing the results, where err itself does not tell: a write
// by another process, or one past os.Stdout. A reader that has gone (EPIPE) then ends the
// process as SIGPIPE would.
func Output(err error) error {
	if err == nil {
		return nil
	}
	return &outputError{err}
}

// Status returns the exit status that err carries, if it carries one.
func Status(err error) (code int, ok bool) {
	var s *statusError
	if errors.As(err, &s) {
		return s.code, true
	}
	return 0, false
}

// IsUsage tells whether err is an error in the use of an applet.
func IsUsage(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.usage
}

type statusError struct {
	err   error
	code  int
	usage bool
}

type silentError struct{ err error }

type hintError struct {
	err  error
	hint string
}

type outputError struct{ err error }

func (e *statusError) Error() string { return e.err.Error() }
func (e *silentError) Error() string { return e.err.Error() }
func (e *hintError) Error() string   { return e.err.Error() }
func (e *outputError) Error() string { return "standard output: " + e.err.Error() }

func (e *statusError) Unwrap() error { return e.err }
func (e *silentError) Unwrap() error { return e.err }
func (e *hintError) Unwrap() error   { return e.err }
func (e *outputError) Unwrap() error { return e.err }

// brokenPipe tells a reader of our results that went away from a peer on the network that did.
// Only the first ends a program quietly.
func brokenPipe(err error) bool {
	if !errors.Is(err, syscall.EPIPE) {
		return false
	}
	var out *outputError
	if errors.As(err, &out) {
		return true
	}
	var path *os.PathError
	return errors.As(err, &path) && path.Path == os.Stdout.Name()
}

// report prints err, as who, with its second line.
func report(w io.Writer, who string, err error) {
	if brokenPipe(err) {
		return
	}
	if silent := (*silentError)(nil); errors.As(err, &silent) {
		return
	}
	tell(w, who, err.Error())

	if hint := (*hintError)(nil); errors.As(err, &hint) {
		tell(w, who, "hint: "+hint.hint)
		return
	}
	if status := (*statusError)(nil); errors.As(err, &status) && status.usage {
		tell(w, who, fmt.Sprintf("try '%s --help'", who))
	}
}

// tell prints message, each of its lines on one line of ours. A message may quote what a peer
// sent: control characters must not reach the terminal.
func tell(w io.Writer, who, message string) {
	var b strings.Builder
	for line := range strings.Lines(message) {
		b.WriteString(who)
		b.WriteString(": ")
		for _, r := range strings.TrimSuffix(line, "\n") {
			if (r < ' ' && r != '\t') || (r >= 0x7f && r < 0xa0) {
				fmt.Fprintf(&b, `\x%02x`, r)
				continue
			}
			b.WriteRune(r)
		}
		b.WriteByte('\n')
	}
	io.WriteString(w, b.String()) // nobody is left to tell when this fails
}
