// Package trigger is the engine of trigger-wait and trigger-send: one process waits, in no time of
// the processor's, until another one, which may be on another host, proves a key.
package trigger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// The wire of a trigger. When the key has been proven the sender says, in the channel,
//
//	'T'  length in 4 bytes, big-endian  data
//
// and the waiter answers with one byte: 'A', it has accepted, or 'L', it came too late: the waiter
// has all that it waits for. Then both close.
//
// On the plain wire the sender says the key and "\n"; the answer is "OK\n", "LATE\n" or "NO\n". Which
// of the two it is the first byte tells: TLS begins with 0x16, and a key may not. The plain wire
// carries no data: who sends with a netcat leaves the connection open, and there is no telling what
// belongs to the line.
const (
	request  = 'T'
	accepted = 'A'
	late     = 'L'

	plainAccepted = "OK"
	plainLate     = "LATE"
)

// MaxData is how much a sender may pass, in bytes.
const MaxData = 64 << 10

// answerTime is how long an answer may take, and a request.
const answerTime = 5 * time.Second

var (
	// ErrTimeout says that the time is over, and nothing was triggered.
	ErrTimeout = errors.New("timed out")

	// ErrLate says that the waiter was just being released by others.
	ErrLate = errors.New("the waiter has all that it waits for")

	// ErrLost says that the request was sent and the answer did not come: the waiter may or may
	// not have been released.
	ErrLost = errors.New("no answer: it may have been triggered, or not")
)

func writeRequest(w io.Writer, data []byte) error {
	b := make([]byte, 0, 5+len(data))
	b = append(b, request)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := w.Write(append(b, data...))
	return err
}

func readRequest(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != request || n > MaxData {
		return nil, fmt.Errorf("not a request to trigger")
	}
	data := make([]byte, n)
	_, err := io.ReadFull(r, data)
	return data, err
}
