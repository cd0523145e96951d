package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	"sockbox/applets/internal/sock"
)

// How datagrams stand in a stream. Raw, each datagram is one write and each read makes one datagram:
// the kernels between are free to join and to split them. With a frame the boundaries are kept:
//
//	line       a datagram ends at "\n"
//	nul        a datagram ends at a zero byte
//	netstring  LENGTH:DATAGRAM, as in 5:hello, (cr.yp.to/proto/netstrings.txt)
//	len16      LENGTH in 2 bytes, the high one first, then the datagram; as DNS
//	           has it over TCP (RFC 1035, 4.2.2)
//
// A datagram that ends with the end byte of line or nul gets no second one, and one that has that byte
// inside is several when it comes back. What is left in line or nul when the stream ends is a datagram
// too. A frame that is longer than --max-datagram ends the session.

// Frame is how datagrams stand in a stream.
type Frame int

const (
	Raw       Frame = iota // a datagram is one write, and a read one datagram
	Line                   // a datagram is a line, without the newline
	Nul                    // ended by a zero byte
	Netstring              // as a netstring
	Len16                  // behind its length, 2 bytes, big-endian
)

// Frames are the names that ParseFrame knows.
var Frames = []string{"raw", "line", "nul", "netstring", "len16"}

// ParseFrame reads the name of a frame.
func ParseFrame(s string) (Frame, error) {
	for i, name := range Frames {
		if s == name {
			return Frame(i), nil
		}
	}
	return 0, fmt.Errorf("%q is not a framing: raw, line, nul, netstring or len16", s)
}

func (f Frame) String() string { return Frames[f] }

// end is the byte behind a datagram; only Line and Nul have one.
func (f Frame) end() byte {
	if f == Line {
		return '\n'
	}
	return 0
}

// A frameError is what a peer gets wrong.
type frameError string

func (e frameError) Error() string { return string(e) }

const (
	errNetstring frameError = "not a netstring"
	errTorn      frameError = "the stream ended within a frame"
)

// longest is what fits a frame; for those that are not told here, any datagram does.
const longestLen16 = 1<<16 - 1

// append puts one datagram behind dst as it stands in the stream.
func (f Frame) append(dst, datagram []byte) ([]byte, error) {
	switch f {
	case Line, Nul:
		dst = append(dst, datagram...)
		if n := len(datagram); n == 0 || datagram[n-1] != f.end() {
			dst = append(dst, f.end())
		}
		return dst, nil
	case Netstring:
		dst = strconv.AppendInt(dst, int64(len(datagram)), 10)
		dst = append(dst, ':')
		dst = append(dst, datagram...)
		return append(dst, ','), nil
	case Len16:
		if len(datagram) > longestLen16 {
			return dst, fmt.Errorf("%d bytes: a len16 frame has at most %d", len(datagram), longestLen16)
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(datagram)))
	}
	return append(dst, datagram...), nil
}

// next finds the first datagram in b, and how many bytes it takes up there; size 0 means that its end
// has not come yet. One of more than limit bytes is an error as soon as it can be told.
func (f Frame) next(b []byte, limit int) (datagram []byte, size int, err error) {
	head, length, tail := 0, len(b), 0
	switch f {
	case Line, Nul:
		tail = 1
		if length = bytes.IndexByte(b, f.end()); length < 0 {
			if len(b) > limit {
				err = tooLong(limit)
			}
			return nil, 0, err
		}
	case Netstring:
		tail = 1
		if head, length, err = netstringHead(b, limit); head == 0 || err != nil {
			return nil, 0, err
		}
	case Len16:
		if head = 2; len(b) < head {
			return nil, 0, nil
		}
		length = int(binary.BigEndian.Uint16(b))
	default: // raw
		length = min(length, limit)
	}
	size = head + length + tail
	switch {
	case length > limit:
		return nil, 0, tooLong(limit)
	case len(b) < size:
		return nil, 0, nil
	case f == Netstring && b[size-1] != ',':
		return nil, 0, errNetstring
	}
	return b[head : head+length : head+length], size, nil
}

func tooLong(limit int) error {
	return frameError(fmt.Sprintf("a frame has more than %d bytes", limit))
}

// netstringHead reads "LENGTH:". size 0 means that the colon has not come yet.
func netstringHead(b []byte, limit int) (size, length int, err error) {
	for i, c := range b {
		switch {
		case c == ':' && i > 0:
			return i + 1, length, nil
		case c < '0' || c > '9' || i == 1 && b[0] == '0':
			return 0, 0, errNetstring
		}
		if length = length*10 + int(c-'0'); length > limit {
			return 0, 0, tooLong(limit)
		}
	}
	return 0, 0, nil
}

// A deframer finds the datagrams in a stream that comes in pieces. It keeps no more than one frame.
type deframer struct {
	frame Frame
	limit int    // no datagram is longer
	rest  []byte // the beginning of one whose end has not come
	found []sock.Datagram
}

// atOnce is how many datagrams feed hands over together, at most: a stream of newlines is no reason to
// take more memory.
const atOnce = 64

// feed calls f with the datagrams that b completes; what f is given is its own until it returns.
func (d *deframer) feed(b []byte, f func([]sock.Datagram)) (err error) {
	if len(d.rest) > 0 {
		d.rest = append(d.rest, b...)
		b = d.rest
	}
	d.found = d.found[:0]
	for len(b) > 0 {
		datagram, size, wrong := d.frame.next(b, d.limit)
		if err = wrong; size == 0 {
			break
		}
		if d.found = append(d.found, sock.Datagram{Data: datagram}); len(d.found) == atOnce {
			f(d.found)
			d.found = d.found[:0]
		}
		b = b[size:]
	}
	if len(d.found) > 0 {
		f(d.found)
	}
	if len(b) == 0 && cap(d.rest) > 4<<10 {
		d.rest = nil // a stream that was torn once need not pay for it for ever
	}
	d.rest = append(d.rest[:0], b...) // b may be its end
	return err
}

// finish is called at the end of the stream.
func (d *deframer) finish(f func([]sock.Datagram)) error {
	switch {
	case len(d.rest) == 0:
		return nil
	case d.frame != Line && d.frame != Nul:
		return errTorn
	}
	f(append(d.found[:0], sock.Datagram{Data: d.rest}))
	d.rest = nil
	return nil
}
