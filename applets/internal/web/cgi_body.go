package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"unicode/utf8"
)

// An input is what a script gets from the client: one of memory, file and stream, or nothing.
type input struct {
	length int64
	memory []byte
	file   *os.File
	stream io.Reader
}

// take prepares the body of r. A short one is read, and one whose length is not known: how long it is
// must be known before a script starts (RFC 3875, 4.1.2). The others are for the script to wait for.
func (b *input) take(r *http.Request) error {
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		return nil
	case r.ContentLength > smallBody:
		b.length, b.stream = r.ContentLength, r.Body
		return nil
	case r.ContentLength > 0:
		b.length, b.memory = r.ContentLength, make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, b.memory); err != nil {
			return refuseBody(err)
		}
		return nil
	}
	var first bytes.Buffer
	n, err := io.CopyN(&first, r.Body, spoolMemory)
	if err == io.EOF {
		if n > 0 {
			b.length, b.memory = n, first.Bytes()
		}
		return nil
	}
	if err != nil {
		return refuseBody(err)
	}
	return b.spool(io.MultiReader(&first, readErrors{r.Body}))
}

// spool puts the body into a file without a name.
func (b *input) spool(from io.Reader) error {
	f, err := os.CreateTemp("", "sockbox-www-")
	if err != nil {
		return &refused{http.StatusInsufficientStorage, err}
	}
	b.file = f
	if err := os.Remove(f.Name()); err != nil {
		return &refused{http.StatusInsufficientStorage, err}
	}
	if b.length, err = io.Copy(f, from); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	var reading *readError
	switch {
	case errors.As(err, &reading):
		return refuseBody(reading.error)
	case err != nil:
		return &refused{http.StatusInsufficientStorage, err}
	}
	return nil
}

func (b *input) close() {
	if b.file != nil {
		b.file.Close()
	}
}

// readErrors tells the errors of what is read from those of what is written to.
type readErrors struct{ io.Reader }

type readError struct{ error }

func (r readErrors) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

// refuseBody says what a client is told whose body could not be read.
func refuseBody(err error) *refused {
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return &refused{http.StatusRequestEntityTooLarge, err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refused{http.StatusRequestTimeout, err}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, http.ErrBodyReadAfterClose):
		return &refused{0, errGone}
	}
	return &refused{http.StatusBadRequest, err} // as chunks that are none
}

const (
	maxErrorLine = 1 << 10  // bytes of a line that a script writes to stderr
	maxErrors    = 64 << 10 // bytes of all of them for one request
)

// A scriptLog writes down what scripts say on stderr, a line at a time.
type scriptLog struct {
	mu sync.Mutex
	w  io.Writer
}

// copy takes all that from has to say, so that no script waits for us, and keeps the beginning.
func (l *scriptLog) copy(script string, from io.Reader) {
	b := make([]byte, 4<<10)
	s := errorLines{log: l, script: script}
	for {
		n, err := from.Read(b)
		s.add(b[:n])
		if err != nil {
			s.end()
			return
		}
	}
}

// errorLines is what one script says on stderr, for one request.
type errorLines struct {
	log     *scriptLog
	script  string
	line    []byte
	cut     bool
	written int
	dropped int
}

func (s *errorLines) add(b []byte) {
	for len(b) > 0 {
		if s.written >= maxErrors {
			s.dropped += len(b)
			return
		}
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		room := maxErrorLine - len(s.line)
		s.cut = s.cut || len(line) > room
		s.line = append(s.line, line[:min(len(line), room)]...)
		if ended {
			s.flush()
		}
		b = rest
	}
}

func (s *errorLines) flush() {
	s.written += len(s.line) + 1
	line := bytes.TrimSuffix(s.line, []byte{'\r'})
	if s.cut {
		line = append(line, "..."...)
	}
	s.log.write(s.script, line)
	s.line, s.cut = s.line[:0], false
}

func (s *errorLines) end() {
	if len(s.line) > 0 {
		s.flush()
	}
	if s.dropped > 0 {
		s.log.write(s.script, fmt.Appendf(nil, "and %d more bytes", s.dropped))
	}
}

func (l *scriptLog) write(script string, line []byte) {
	if l.w == nil {
		return
	}
	out := append(appendPlain([]byte{'['}, []byte(script)), "] "...)
	out = append(appendPlain(out, line), '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Write(out)
}

// appendPlain appends text from a script, whose words may be a client's, in a form that no terminal
// obeys.
func appendPlain(out, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\t', r >= 0x7f && r < 0xa0:
			out = fmt.Appendf(out, `\x%02x`, b[0])
			if n > 1 {
				out = fmt.Appendf(out, `\x%02x`, b[1])
			}
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}
