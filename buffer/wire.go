package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

// The local wire: what a client and the holder of a name say to each other over the unix socket
// "sock" in the name's folder of the runtime directory. The holder hears only clients of its own
// user. Numbers are big-endian. Each frame is
//
//	kind 1 byte, flags 1, zero 2, length of the payload 4, payload
//
// The client asks, one request after the other on a connection:
//
//	T take    flags wait 1, follow 2, all 4, peek 8, hand 16
//	          payload: format 1, zero 3, count 4 (0 = no limit)
//	W write   flags nowait 1, flush 2, whole 4, one 8, hand 16
//	          payload: timeout in ms 4 (0 = none), framing of what is
//	          written 1, zero 3, and with "one" the message itself
//	S status  no flags, no payload
//	P path    no flags, no payload
//	C close   flags now 1; no payload
//
// Formats are 0, a newline behind each message; 1, a zero byte; 2, nothing; and 3, an object of JSON
// a line. Framings are 0, line; 1, nul; and 2, netstring.
//
// A take is answered with M frames (count 4, the messages as they are to be printed). The client
// confirms each with K when it has written it out, except with peek; until then the holder sends
// no other, and if the client goes away the messages go back to their place. The end is the flag
// last 1 on the only M that is to come, or is G (messages 8, bytes 8), or X.
//
// A write that is neither "one" nor "hand" goes on with D frames (bytes of any size) and an E; if
// the client goes away before the E, what is unfinished is dropped. The answer is G when the queue
// has it all (with "flush": when it has left the queue), or X.
//
// With "hand" a descriptor comes along with the first byte of the request (unix(7), SCM_RIGHTS),
// open for non-blocking use or a plain file. The holder then writes the messages to it, or reads
// them from it, itself; the answer is G or X at the end, and it lets go at once when the client
// goes away.
//
// S is answered with J (the object that "list --json" prints). P is answered with N (the name that a
// FIFO has in the folder: for an output the one that all write to, for an input one that is made for
// this client to read). C is answered when the holder has given everything back, with G (messages that were
// left behind), which ends the connection. Then the holder's process ends too, unless the flag lives 1 is set.
//
// X is code 1, text, and ends the connection. The codes are 1, nothing is waiting; 2, the buffer is closed and drained; 3,
// timed out; 4, full; 5, the wrong kind of buffer; 6, too long; 7, the descriptor that was handed
// over cannot be written; 8, nobody reads it; and 0 for all else. When the holder ends, it says 2 to all
// that are still connected, also where they have not asked yet; with the flag lives 1 as in a G.
//
// One whole exchange, in which "hello" is the only message of an input:
//
//	> 54 00 00 00 00 00 00 08  00 00 00 00 00 00 00 01
//	< 4d 01 00 00 00 00 00 0a  00 00 00 01 68 65 6c 6c 6f 0a
//	> 4b 00 00 00 00 00 00 00
const (
	kindTake   = 'T'
	kindWrite  = 'W'
	kindStatus = 'S'
	kindClose  = 'C'
	kindData   = 'D'
	kindEnd    = 'E'
	kindAck    = 'K'
	kindPath   = 'P'

	kindMessages = 'M'
	kindGood     = 'G'
	kindJSON     = 'J'
	kindName     = 'N'
	kindError    = 'X'
)

const (
	flagWait = 1 << iota
	flagFollow
	flagAll
	flagPeek
	flagHand

	flagNoWait = 1
	flagFlush  = 2
	flagOne    = 8
	flagWhole  = 4

	flagNow   = 1
	flagLast  = 1
	flagLives = 1
)

const (
	headSize  = 8
	takeSize  = 8
	writeSize = 8

	window    = 64 << 10 // bytes that one M has at most, unless a single message is longer
	handBatch = 1 << 20  // and what the holder writes out itself at once
	maxAnswr  = 1 << 30  // no answer is longer: more is not our wire
)

// Format is how messages are printed.
type Format uint8

const (
	FormatLine Format = iota // a newline behind each
	FormatNul                // a zero byte behind each
	FormatBare               // nothing behind
	FormatJSON               // one object a line: seq, time, peer, message (or msg_b64)
)

// errorCode carries the errors that a client has to tell apart; all others are plain text.
var errorCodes = [...]error{nil, ErrEmpty, ErrEnd, ErrTimeout, ErrFull, ErrVerb, ErrTooLong, ErrOutput, syscall.EPIPE, ErrNoFIFO}

type head struct {
	kind, flags byte
	size        int
}

func (h head) append(b []byte) []byte {
	b = append(b, h.kind, h.flags, 0, 0)
	return binary.BigEndian.AppendUint32(b, uint32(h.size))
}

func parseHead(b []byte) (head, error) {
	if b[2] != 0 || b[3] != 0 {
		return head{}, errWire
	}
	return head{kind: b[0], flags: b[1], size: int(binary.BigEndian.Uint32(b[4:]))}, nil
}

var errWire = errors.New("the other side does not speak sockbox's local protocol, or a newer one")

// takeRequest and writeRequest are the fixed parts of T and W.
type takeRequest struct {
	flags  byte
	format Format
	count  int
}

type writeRequest struct {
	flags   byte
	timeout time.Duration
	frame   Frame
}

func (r takeRequest) append(b []byte) []byte {
	b = head{kindTake, r.flags, takeSize}.append(b)
	b = append(b, byte(r.format), 0, 0, 0)
	return binary.BigEndian.AppendUint32(b, uint32(r.count))
}

func parseTake(flags byte, b []byte) (takeRequest, error) {
	if len(b) != takeSize || b[0] > byte(FormatJSON) {
		return takeRequest{}, errWire
	}
	return takeRequest{flags, Format(b[0]), int(binary.BigEndian.Uint32(b[4:]))}, nil
}

func (r writeRequest) append(b []byte, message []byte) []byte {
	b = head{kindWrite, r.flags, writeSize + len(message)}.append(b)
	b = binary.BigEndian.AppendUint32(b, uint32(min(r.timeout.Milliseconds(), 1<<32-1)))
	b = append(b, byte(r.frame), 0, 0, 0)
	return append(b, message...)
}

func parseWrite(flags byte, b []byte) (r writeRequest, message []byte, err error) {
	if len(b) < writeSize || b[4] > byte(Netstring) {
		return r, nil, errWire
	}
	r = writeRequest{flags, time.Duration(binary.BigEndian.Uint32(b)) * time.Millisecond, Frame(b[4])}
	return r, b[writeSize:], nil
}

func appendGood(b []byte, messages, size int) []byte {
	b = head{kindGood, 0, 16}.append(b)
	b = binary.BigEndian.AppendUint64(b, uint64(messages))
	return binary.BigEndian.AppendUint64(b, uint64(size))
}

func parseGood(b []byte) (messages, size int, err error) {
	if len(b) != 16 {
		return 0, 0, errWire
	}
	return int(binary.BigEndian.Uint64(b)), int(binary.BigEndian.Uint64(b[8:])), nil
}

func appendError(b []byte, err error) []byte {
	code := byte(0)
	for i, e := range errorCodes {
		if i > 0 && errors.Is(err, e) {
			code = byte(i)
		}
	}
	text := err.Error()
	b = head{kindError, 0, 1 + len(text)}.append(b)
	return append(append(b, code), text...)
}

// A remoteError is an error of the holder's: its text, and what it is.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

func parseError(b []byte) error {
	if len(b) < 1 || int(b[0]) >= len(errorCodes) {
		return errWire
	}
	is := errorCodes[b[0]]
	if is != nil && is.Error() == string(b[1:]) {
		return is
	}
	return &remoteError{string(b[1:]), is}
}

// readPayload reads what belongs to h, into buf where it fits.
func readPayload(r io.Reader, h head, buf []byte, limit int) ([]byte, error) {
	if h.size > limit {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLong, h.size, limit)
	}
	if cap(buf) < h.size {
		buf = make([]byte, h.size)
	}
	buf = buf[:h.size]
	_, err := io.ReadFull(r, buf)
	return buf, err
}
