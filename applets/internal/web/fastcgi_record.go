package web

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// FastCGI 1.0, the side of the web server: one request for a responder on a connection of its own.
//
// A record is a header of eight bytes, content, and padding that says nothing:
//
//	version 1 | type | request id, 16 bits | length of the content, 16 bits | length of the padding | 0
//
// We send BEGIN_REQUEST, PARAMS and STDIN, each of the last two ended by an empty record. The server
// sends STDOUT and STDERR in any order, and END_REQUEST. What else it sends is passed over.
const (
	fcgiVersion = 1
	fcgiRequest = 1 // the only id that we use

	fcgiBeginRequest = 1
	fcgiEndRequest   = 3
	fcgiParams       = 4
	fcgiStdin        = 5
	fcgiStdout       = 6
	fcgiStderr       = 7

	fcgiResponder = 1

	fcgiComplete   = 0 // protocol status of END_REQUEST
	fcgiOverloaded = 2

	fcgiHeader     = 8
	maxFCGIContent = 65535
)

func appendRecordHeader(b []byte, kind byte, length int) []byte {
	return append(b, fcgiVersion, kind, 0, fcgiRequest, byte(length>>8), byte(length), 0, 0)
}

// appendBegin begins a request. The connection ends with it: to keep it would bind a process of the
// server's to it, idle, while others wait.
func appendBegin(b []byte) []byte {
	b = appendRecordHeader(b, fcgiBeginRequest, 8)
	return append(b, 0, fcgiResponder, 0, 0, 0, 0, 0, 0)
}

// appendStream appends data as records of one kind; without data none.
func appendStream(b []byte, kind byte, data []byte) []byte {
	for len(data) > 0 {
		n := min(len(data), maxFCGIContent)
		b = append(appendRecordHeader(b, kind, n), data[:n]...)
		data = data[n:]
	}
	return b
}

// appendParams appends variables, each NAME=VALUE, and the end of them.
func appendParams(b []byte, env []string) []byte {
	var pairs []byte
	for _, v := range env {
		name := 0
		for name < len(v) && v[name] != '=' {
			name++
		}
		value := v[min(name+1, len(v)):]
		pairs = appendLength(appendLength(pairs, name), len(value))
		pairs = append(append(pairs, v[:name]...), value...)
	}
	return appendRecordHeader(appendStream(b, fcgiParams, pairs), fcgiParams, 0)
}

// appendLength appends a length: one byte if it is below 128, else four with the highest bit set.
func appendLength(b []byte, n int) []byte {
	if n < 128 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint32(b, uint32(n)|1<<31)
}

var errOverloaded = errors.New("the FastCGI server has too much to do")

// A fcgiReader reads what a FastCGI server answers. It keeps no more of it than its buffer, and may be
// read on after a deadline has passed.
type fcgiReader struct {
	from   source
	errors func([]byte) // takes what is written to stderr

	kind     byte
	mine     bool // the record is for our request
	content  int  // bytes of it that are still to come
	padding  int
	status   [8]byte // what END_REQUEST has said so far
	got      int
	end      error // what every Read from now on returns
	b        [16 << 10]byte
	from0, n int // what is in b
}

func (r *fcgiReader) SetReadDeadline(t time.Time) error { return r.from.SetReadDeadline(t) }

// Read returns what the script writes to stdout, and io.EOF when the server says that it has ended.
func (r *fcgiReader) Read(p []byte) (int, error) {
	for len(p) > 0 && r.end == nil {
		if n, ok := r.next(p); n > 0 {
			return n, nil
		} else if ok {
			continue
		}
		if n, err := r.fill(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, r.end
}

// fill reads more. Large content goes to where it is wanted without being copied.
func (r *fcgiReader) fill(p []byte) (int, error) {
	if r.kind == fcgiStdout && r.mine && r.content >= len(r.b) && r.from0 == r.n && len(p) >= len(r.b) {
		n, err := r.from.Read(p[:min(len(p), r.content)])
		r.content -= n
		if n > 0 {
			return n, nil
		}
		return 0, unexpected(err)
	}
	copy(r.b[:], r.b[r.from0:r.n])
	r.n, r.from0 = r.n-r.from0, 0
	n, err := r.from.Read(r.b[r.n:])
	r.n += n
	if n > 0 {
		return 0, nil
	}
	return 0, unexpected(err)
}

func unexpected(err error) error {
	if err == io.EOF {
		return errors.New("the FastCGI server closed the connection before the end")
	}
	return err
}

// next takes a piece of a record out of the buffer. n is what was put into p; false is that more has
// to be read.
func (r *fcgiReader) next(p []byte) (n int, ok bool) {
	have := r.b[r.from0:r.n]
	switch {
	case r.content > 0:
		if len(have) == 0 {
			return 0, false
		}
		have = have[:min(len(have), r.content)]
		switch {
		case !r.mine:
		case r.kind == fcgiStdout:
			have = have[:copy(p, have)]
			n = len(have)
		case r.kind == fcgiStderr:
			r.errors(have)
		case r.kind == fcgiEndRequest:
			r.got += copy(r.status[r.got:], have)
		}
		r.from0 += len(have)
		r.content -= len(have)
		if r.content == 0 && r.mine && r.kind == fcgiEndRequest {
			r.end = r.ended()
		}
		return n, true
	case r.padding > 0:
		if len(have) == 0 {
			return 0, false
		}
		skip := min(len(have), r.padding)
		r.from0 += skip
		r.padding -= skip
		return 0, true
	case len(have) < fcgiHeader:
		return 0, false
	}
	if have[0] != fcgiVersion {
		r.end = fmt.Errorf("no FastCGI: a record of version %d", have[0])
		return 0, true
	}
	r.kind = have[1]
	r.mine = binary.BigEndian.Uint16(have[2:]) == fcgiRequest
	r.content = int(binary.BigEndian.Uint16(have[4:]))
	r.padding = int(have[6])
	r.from0 += fcgiHeader
	if r.mine && r.kind == fcgiEndRequest && r.content != len(r.status) {
		r.end = fmt.Errorf("no FastCGI: the end of a request has %d bytes", r.content)
	}
	return 0, true
}

func (r *fcgiReader) ended() error {
	switch status := r.status[4]; status {
	case fcgiComplete:
		return io.EOF
	case fcgiOverloaded:
		return errOverloaded
	default:
		return fmt.Errorf("the FastCGI server refuses, with status %d", status)
	}
}
