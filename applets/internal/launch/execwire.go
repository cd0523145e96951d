package launch

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sockbox/applets/internal/life"
)

// The wire of exec: that of jprjr's sockexec, in netstrings (cr.yp.to/proto/netstrings.txt). Who
// connects sends
//
//	the number of arguments, in decimal, at least 1
//	that many arguments, the program first; any but the first may be empty
//	any number of strings for the program's standard input
//	an empty string, which is the end of that
//
// and the program starts when the last argument has come. The answer is pairs of strings:
//
//	stdout    DATA     what the program writes
//	stderr    DATA
//	exitcode  NUMBER   how it has ended: with this status,
//	termsig   NAME     or by this signal, as TERM
//
// of which one of the last two is the last, and then the connection is closed. So, from both sides:
//
//	> 1:2,5:uname,2:-a,0:,
//	< 6:stdout,91:Linux ... GNU/Linux\n,8:exitcode,1:0,
//
// A program that cannot be started is told in the same way: a line on stderr, and 127 where there is
// none, else 126. A connection that is closed without any answer was one too many, or what came was
// no request. Who closes the connection ends the program; who only ends his own side of it, after the
// empty string or in place of it, does not.
//
// Two ends that are both sockbox can say more. On a unix socket the client passes a descriptor along
// with its first bytes (SCM_RIGHTS), of a pair of sockets; others never see it, and a server that is
// not ours closes it, as does a relay. Who wants a terminal has written the window there, sends the first
// byte alone, and the rest when the server has written the window back: else the program would run
// without. Over TLS it is in the stream itself, where the two know each other by the purpose of the
// channel or by ALPN "sockbox-exec/1": then pairs may stand before the number of arguments, and behind
// the arguments there are nothing but pairs. They are
//
//	window  ROWSxCOLUMNS   before the request: the program gets a terminal of that size; later: its new size
//	signal  NAME           for the program's process group
//	stdin   DATA           in the stream only: for standard input; empty is its end
//
//	> 6:window,5:24x80,1:1,2:sh,5:stdin,5:exit\n,5:stdin,0:,
//	< 6:stdout,2:$ ,8:exitcode,1:0,

// ALPN is how two of us know each other within TLS.
const ALPN = "sockbox-exec/1"

const (
	tagStdout   = "stdout"
	tagStderr   = "stderr"
	tagExitCode = "exitcode"
	tagTermSig  = "termsig"
	tagUnknown  = "unknown"
	tagWindow   = "window"
	tagSignal   = "signal"
	tagStdin    = "stdin"
)

// maxWord is how long a number, a tag or the value of one may be.
const maxWord = 64

// argumentCost is what an argument needs beyond its bytes.
const argumentCost = 48

// appendRequest appends a request for a program.
func appendRequest(b []byte, args []string) []byte {
	b = appendNetstring(b, strconv.Itoa(len(args)))
	for _, a := range args {
		b = appendNetstring(b, a)
	}
	return b
}

// readRequest reads a request. grow is asked before memory is taken: it is told how much all of it
// is then. pair gets what stands before the request; nil: nothing may. io.EOF says that nobody asked.
func readRequest(s *netstrings, grow func(total int64) error, pair func(tag, value string) error) ([]string, error) {
	var count int64
	for {
		word, err := s.whole(maxWord)
		if err != nil {
			return nil, err
		}
		if pair != nil && word != "" && word[0] >= 'a' && word[0] <= 'z' {
			value, err := s.whole(maxWord)
			if err != nil {
				return nil, inside(err)
			}
			if err := pair(word, value); err != nil {
				return nil, err
			}
			continue
		}
		if strings.Trim(word, "0123456789") != "" {
			return nil, malformed("%q is no number of arguments", word)
		}
		if count, err = strconv.ParseInt(word, 10, 64); err != nil || count < 1 {
			return nil, malformed("%q is no number of arguments", word)
		}
		break
	}
	const most = 1 << 40 // nobody has as much, and sums of it are still numbers
	total := min(count, most/argumentCost) * argumentCost
	if err := grow(total); err != nil {
		return nil, err
	}
	var args []string
	for range count {
		n, err := s.length()
		if err != nil {
			return nil, inside(err)
		}
		total += min(n, most)
		if err := grow(total); err != nil {
			return nil, err
		}
		arg, err := s.rest(n)
		if err != nil {
			return nil, err
		}
		if strings.IndexByte(arg, 0) >= 0 {
			return nil, errors.New("an argument with a NUL in it, which no program can be given")
		}
		args = append(args, arg)
	}
	return args, nil
}

// A report is how a program has ended.
type report struct {
	code   int
	signal string // its name or number; empty: it has exited with code
}

// readReport reads an answer to its end, and writes what the program has written. io.ErrUnexpectedEOF
// says that it ended without a report, io.EOF that there was no answer at all.
func readReport(s *netstrings, stdout, stderr io.Writer) (report, error) {
	var r report
	known := false
	for n := 0; ; n++ {
		tag, err := s.whole(maxWord)
		switch {
		case err == io.EOF && known:
			return r, nil
		case err == io.EOF && n > 0:
			return r, io.ErrUnexpectedEOF
		case err != nil:
			return r, err
		}
		switch tag {
		case tagStdout:
			err = copyString(s, stdout)
		case tagStderr, tagUnknown:
			err = copyString(s, stderr)
		case tagExitCode:
			var text string
			if text, err = s.whole(maxWord); err == nil {
				if r.code, err = strconv.Atoi(text); err != nil {
					err = malformed("%q is no exit status", text)
				}
				known = true
			}
		case tagTermSig:
			r.signal, err = s.whole(maxWord)
			known = true
		default: // of a later version
			err = copyString(s, io.Discard)
		}
		if err != nil {
			return r, inside(err)
		}
	}
}

// copyString writes the next string, piece by piece.
func copyString(s *netstrings, w io.Writer) error {
	left, err := s.length()
	for err == nil && left > 0 {
		var p []byte
		if p, err = s.piece(left); err == nil {
			left -= int64(len(p))
			_, err = w.Write(p)
			if err != nil {
				return &writeError{w, err}
			}
		}
	}
	if err != nil {
		return err
	}
	return s.end()
}

// A writeError is one of our own streams, not of the connection.
type writeError struct {
	w   io.Writer
	err error
}

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func parseWindow(s string) (life.Window, error) {
	rows, columns, _ := strings.Cut(s, "x")
	r, err := strconv.ParseUint(rows, 10, 16)
	c, err2 := strconv.ParseUint(columns, 10, 16)
	if err != nil || err2 != nil {
		return life.Window{}, malformed("%q is no size of a terminal", s)
	}
	return life.Window{Rows: uint16(r), Columns: uint16(c)}, nil
}

func windowText(w life.Window) string { return fmt.Sprintf("%dx%d", w.Rows, w.Columns) }
