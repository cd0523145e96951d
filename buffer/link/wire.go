// Package link is the acknowledged link between two sockbox ends: messages with their boundaries,
// each once and in order, whatever becomes of the connections that they come over.
package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The wire of a link. One side has messages to send and speaks first; it is the one that dials,
// where one does. Its first bytes are the magic, "\0SBXL1\r\n", with which it says that a link
// begins and not a plain stream of messages. From there on both sides send frames: one byte for the
// kind, then its fields. Numbers are big-endian.
//
//	sender    H hello    stream id 16, first 8, length of the name 1, name
//	          D data     sequence 8, length 4, sum 4, message
//	receiver  W welcome  last 8, credit 4
//	          A ack      last 8, credit 4
//	both      P ping
//	          Q pong
//	          B bye      length of the reason 1, reason
//
// A stream is what one sender has to say, over as many connections as it takes. Its id is random.
// Its messages are numbered from 1. Hello names the first one that the sender still keeps: those
// before it have been acknowledged. The name is for people.
//
// The receiver answers a hello with the last message of the stream that it has, which is first-1
// if it does not know the stream. Whoever gets a hello for a stream that another connection has at
// the moment takes it over: the older connection is closed before the welcome is sent, so that no
// message is taken twice. The sender goes on with last+1.
//
// A data frame is one message. The sum is the CRC-32C (RFC 3720) of sequence, length and message.
// The receiver takes the message that is its last+1, acknowledges again what it has, and closes the
// connection when there is a gap, the sum is wrong, the length is more than it can hold, or a
// frame is none of these. An ack is for all messages up to last: they are in the receiver's queue,
// and the sender forgets them. It need not come for each.
//
// Credit is how many bytes of messages may be on their way without having been acknowledged. One
// message may be on its way whatever the credit.
//
// Who has heard nothing for 5 s sends a ping, and again every 5 s; a ping is answered with a pong.
// Any byte is a sign of life. Who has heard nothing for 15 s closes the connection. A receiver
// whose queue is full does not read on, and so cannot answer pings; but it hears nothing then,
// sends pings of its own, and is thereby known to be alive. It does not take silence for death
// until it reads again. A hello and a welcome are due within 10 s.
//
// A sender says bye when all it had has been acknowledged and no more will come; the receiver
// forgets the stream and closes the connection. A receiver says bye to give the reason for closing
// it, a text for people. A connection that ends without a bye from the sender is a break: the
// stream goes on with the next one.
//
// One whole exchange, in which the stream 000102…0f, called "out", sends "hello" and an empty
// message to a receiver that does not know it and gives a credit of 64 KiB:
//
//	> 00 53 42 58 4c 31 0d 0a
//	> 48 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 00 00 00 00 00 00 00 01 03 6f 75 74
//	< 57 00 00 00 00 00 00 00 00 00 01 00 00
//	> 44 00 00 00 00 00 00 00 01 00 00 00 05 93 7d 49 5b 68 65 6c 6c 6f
//	> 44 00 00 00 00 00 00 00 02 00 00 00 00 5b 42 6a 05
//	< 41 00 00 00 00 00 00 00 02 00 01 00 00
//	> 50
//	< 51
//	> 42 00

// Magic is what a link begins with.
const Magic = "\x00SBXL1\r\n"

const (
	kindHello   = 'H'
	kindWelcome = 'W'
	kindData    = 'D'
	kindAck     = 'A'
	kindPing    = 'P'
	kindPong    = 'Q'
	kindBye     = 'B'
)

const (
	helloSize = 1 + len(ID{}) + 8 + 1 // and the name
	ackSize   = 1 + 8 + 4
	dataSize  = 1 + 8 + 4 + 4 // and the message
	byeSize   = 1 + 1         // and the reason
	maxText   = 255           // of a name or a reason
	maxSmall  = helloSize + maxText
)

// An ID names a stream.
type ID [16]byte

// A frame is what one says.
type frame struct {
	kind   byte
	id     ID
	seq    uint64 // data: its own; hello: the first one; welcome and ack: the last one
	credit uint32
	length int    // data: of the message
	sum    uint32 // data
	text   []byte // the message, the name or the reason; part of what was parsed
}

var (
	errFrame = errors.New("not a frame of a link")
	errSum   = errors.New("a message was damaged on its way")
)

// errLong refuses a message before any memory is spent on it.
func errLong(n uint32, longest int) error {
	return fmt.Errorf("a message of %d bytes is longer than can be taken, which is %d", n, longest)
}

// next parses the frame at the beginning of b and returns what it takes up there. Size 0 means that
// the end of it has not come yet; of a data frame the fields are then known once kind is set.
func next(b []byte, longest int) (f frame, size int, err error) {
	if len(b) == 0 {
		return f, 0, nil
	}
	switch b[0] {
	case kindPing, kindPong:
		return frame{kind: b[0]}, 1, nil
	case kindWelcome, kindAck:
		if len(b) < ackSize {
			return f, 0, nil
		}
		return frame{kind: b[0], seq: binary.BigEndian.Uint64(b[1:]), credit: binary.BigEndian.Uint32(b[9:])}, ackSize, nil
	case kindData:
		if len(b) < dataSize {
			return f, 0, nil
		}
		n := binary.BigEndian.Uint32(b[9:])
		if uint64(n) > uint64(longest) {
			return f, 0, errLong(n, longest)
		}
		f = frame{kind: kindData, seq: binary.BigEndian.Uint64(b[1:]), length: int(n), sum: binary.BigEndian.Uint32(b[13:])}
		if len(b)-dataSize < f.length {
			return f, 0, nil
		}
		f.text = b[dataSize : dataSize+f.length]
		if sum(b, f.text) != f.sum {
			return f, 0, errSum
		}
		return f, dataSize + f.length, nil
	case kindHello:
		if len(b) < helloSize || len(b)-helloSize < int(b[helloSize-1]) {
			return f, 0, nil
		}
		f = frame{kind: kindHello, id: ID(b[1:17]), seq: binary.BigEndian.Uint64(b[17:])}
		size = helloSize + int(b[helloSize-1])
		f.text = b[helloSize:size]
		if f.seq == 0 {
			return frame{}, 0, errFrame
		}
		return f, size, nil
	case kindBye:
		if len(b) < byeSize || len(b)-byeSize < int(b[1]) {
			return f, 0, nil
		}
		size = byeSize + int(b[1])
		return frame{kind: kindBye, text: b[byeSize:size]}, size, nil
	}
	return f, 0, errFrame
}

// sum is the checksum of a data frame of which head is the beginning.
func sum(head, message []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once, at the first call
	return crc32.Update(crc32.Update(0, table, head[1:13]), table, message)
}

func appendHello(dst []byte, id ID, first uint64, name string) []byte {
	name = name[:min(len(name), maxText)]
	dst = append(append(dst, kindHello), id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, first)
	return append(append(dst, byte(len(name))), name...)
}

// appendAck appends a welcome or an ack.
func appendAck(dst []byte, kind byte, last uint64, credit uint32) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, kind), last)
	return binary.BigEndian.AppendUint32(dst, credit)
}

func appendData(dst []byte, seq uint64, message []byte) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint64(append(dst, kindData), seq)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(message)))
	dst = binary.BigEndian.AppendUint32(dst, sum(dst[at:], message))
	return append(dst, message...)
}

func appendBye(dst []byte, reason string) []byte {
	reason = reason[:min(len(reason), maxText)]
	return append(append(dst, kindBye, byte(len(reason))), reason...)
}
