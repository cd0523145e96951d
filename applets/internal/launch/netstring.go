package launch

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// errNetstring is what an error about bytes that are no netstring is.
var errNetstring = errors.New("not a netstring")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNetstring, fmt.Sprintf(format, args...))
}

// maxDigits bounds a length before its colon has come: no 64-bit number has more.
const maxDigits = 20

// appendNetstring appends s as a netstring (cr.yp.to/proto/netstrings.txt).
func appendNetstring[T string | []byte](b []byte, s T) []byte {
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, ':')
	b = append(b, s...)
	return append(b, ',')
}

// A netstrings reads netstrings from a stream, whole ones or piece by piece, and needs no more memory
// than its buffer, and what it is asked for at once.
type netstrings struct {
	r   io.Reader
	buf []byte
	at  []byte // what has been read and not yet been taken, a part of buf
}

// fill reads more. The error of a stream that ends is io.EOF.
func (s *netstrings) fill() error {
	if len(s.at) == 0 {
		s.at = s.buf[:0]
	} else if cap(s.at) == len(s.at) {
		s.at = s.buf[:copy(s.buf, s.at)]
	}
	n, err := s.r.Read(s.at[len(s.at):cap(s.at)])
	s.at = s.at[:len(s.at)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// length reads how long the next string is. io.EOF says that there is none, io.ErrUnexpectedEOF that
// the stream ended within one.
func (s *netstrings) length() (int64, error) {
	var n uint64
	for digits := 0; ; digits++ {
		for len(s.at) == 0 {
			if err := s.fill(); err != nil {
				if err == io.EOF && digits > 0 {
					err = io.ErrUnexpectedEOF
				}
				return 0, err
			}
		}
		c := s.at[0]
		switch {
		case c == ':' && digits > 0:
			s.at = s.at[1:]
			return int64(n), nil
		case c < '0' || c > '9':
			return 0, malformed("%q where a length is to be", c)
		case digits == 1 && n == 0:
			return 0, malformed("a length that begins with a zero")
		case digits == maxDigits || n > (1<<63-1-9)/10:
			return 0, malformed("a length that is no number of bytes")
		}
		n = 10*n + uint64(c-'0')
		s.at = s.at[1:]
	}
}

// piece returns some of the left bytes of a string, at least one; they are good until the next call.
func (s *netstrings) piece(left int64) ([]byte, error) {
	for len(s.at) == 0 {
		if err := s.fill(); err != nil {
			return nil, inside(err)
		}
	}
	n := min(int64(len(s.at)), left)
	p := s.at[:n]
	s.at = s.at[n:]
	return p, nil
}

// end reads what follows a string.
func (s *netstrings) end() error {
	p, err := s.piece(1)
	if err == nil && p[0] != ',' {
		err = malformed("%q where a comma is to be", p[0])
	}
	return err
}

// whole reads a string of at most most bytes.
func (s *netstrings) whole(most int64) (string, error) {
	n, err := s.length()
	if err != nil {
		return "", err
	}
	if n > most {
		return "", &tooLong{n, most}
	}
	return s.rest(n)
}

// rest reads the n bytes of a string whose length has been read. It takes the memory for all of them at
// once, as whoever asks has allowed.
func (s *netstrings) rest(n int64) (string, error) {
	var b strings.Builder
	b.Grow(int(n))
	for left := n; left > 0; {
		p, err := s.piece(left)
		if err != nil {
			return "", err
		}
		b.Write(p)
		left -= int64(len(p))
	}
	return b.String(), s.end()
}

// A tooLong is the error of a string that is longer than is taken there.
type tooLong struct{ n, most int64 }

func (e *tooLong) Error() string {
	return fmt.Sprintf("a string of %d bytes, where at most %d are taken", e.n, e.most)
}

func (e *tooLong) Unwrap() error { return errNetstring }

func inside(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
