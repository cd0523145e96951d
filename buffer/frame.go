package buffer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// The plain wire of a buffer is its messages and nothing else, in both directions of sockbox: there
// is no greeting, and whatever can send or take lines is a peer. Where a message ends is agreed on
// beforehand (--frame):
//
//	line       at "\n" (with --crlf at "\r\n" too)
//	nul        at a zero byte
//	netstring  LENGTH:MESSAGE, as in 5:hello, with a decimal LENGTH that has no
//	           leading zeros (cr.yp.to/proto/netstrings.txt)
//	datagram   each datagram of UDP is one message
//
// What is left in line or nul when a peer closes is a message too. A peer that gets a netstring
// wrong is cut off. An input that gets the first bytes of a link speaks that instead.

// A Frame says where a message ends in a stream of bytes. A queue keeps its messages in the
// encoding of its frame, one behind the other, so that a batch of them is one slice of bytes that
// goes to a peer, or comes from one, as it is.
type Frame uint8

const (
	Line      Frame = iota // a message ends at "\n"
	Nul                    // a message ends at a zero byte
	Netstring              // "5:hello," (cr.yp.to/proto/netstrings.txt)
	Datagram               // a datagram is a message; kept behind its length in 4 bytes
)

// ParseFrame reads the name of a frame as --frame takes it.
func ParseFrame(s string) (Frame, error) {
	for f := Line; f <= Datagram; f++ {
		if s == f.String() {
			return f, nil
		}
	}
	return 0, fmt.Errorf("%q is not a framing: line, nul, netstring or datagram", s)
}

func (f Frame) String() string {
	switch f {
	case Line:
		return "line"
	case Nul:
		return "nul"
	case Netstring:
		return "netstring"
	}
	return "datagram"
}

// end is the byte behind a message; only Line and Nul have one.
func (f Frame) end() byte {
	if f == Line {
		return '\n'
	}
	return 0
}

// delimited tells whether a message is found by the byte behind it.
func (f Frame) delimited() bool { return f <= Nul }

const datagramHead = 4

// errFrame is what a peer gets wrong in a frame that has rules; the peer is then cut off.
var errFrame = errors.New("not a netstring")

// Append encodes one message behind dst. A message that contains the frame's own end byte is
// thereby more than one for who decodes it.
func (f Frame) Append(dst, message []byte) []byte {
	switch f {
	case Netstring:
		dst = strconv.AppendInt(dst, int64(len(message)), 10)
		dst = append(dst, ':')
		dst = append(dst, message...)
		return append(dst, ',')
	case Datagram:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(message)))
		return append(dst, message...)
	}
	return append(append(dst, message...), f.end())
}

// Next returns the first message in b and how many bytes it takes up there; size 0 means that
// its end has not come yet. Only Netstring can fail.
func (f Frame) Next(b []byte) (message []byte, size int, err error) {
	switch f {
	case Netstring:
		head, length, err := netstringHead(b)
		if err != nil || head == 0 || length > math.MaxInt-head-1 || len(b) < head+length+1 {
			return nil, 0, err
		}
		if b[head+length] != ',' {
			return nil, 0, errFrame
		}
		return b[head : head+length], head + length + 1, nil
	case Datagram:
		if len(b) < datagramHead {
			return nil, 0, nil
		}
		n := int(binary.BigEndian.Uint32(b))
		if n < 0 || len(b)-datagramHead < n { // an int may have 32 bits
			return nil, 0, nil
		}
		return b[datagramHead : datagramHead+n], datagramHead + n, nil
	}
	i := bytes.IndexByte(b, f.end())
	if i < 0 {
		return nil, 0, nil
	}
	return b[:i], i + 1, nil
}

// Whole returns the size of the longest beginning of b that is made of whole messages, and how
// many they are. With an error the two still count what was good before it.
func (f Frame) Whole(b []byte) (size, messages int, err error) {
	if f.delimited() {
		size = bytes.LastIndexByte(b, f.end()) + 1
		return size, bytes.Count(b[:size], []byte{f.end()}), nil
	}
	for {
		_, n, err := f.Next(b[size:])
		if n == 0 || err != nil {
			return size, messages, err
		}
		size += n
		messages++
	}
}

// netstringHead reads "LENGTH:". size 0 means that the colon has not come yet.
func netstringHead(b []byte) (size, length int, err error) {
	const digits = 10 // more than any length that is allowed here
	for i, c := range b {
		switch {
		case c == ':' && i > 0:
			return i + 1, length, nil
		case c < '0' || c > '9' || i >= digits || i == 1 && b[0] == '0' || length > math.MaxInt/10-1:
			return 0, 0, errFrame
		}
		length = length*10 + int(c-'0')
	}
	return 0, 0, nil
}
