package buffer

import "time"

// Kind says which end of a buffer is the network.
type Kind string

const (
	Input  Kind = "input"  // filled by the network, emptied by read
	Output Kind = "output" // filled by write, emptied into the network
)

// Verb is the command that goes with the kind.
func (k Kind) Verb() string {
	if k == Input {
		return "read"
	}
	return "write"
}

// A Stat is what a holder tells about its buffer. The JSON names are stable.
type Stat struct {
	Name     string    `json:"name"`
	Kind     Kind      `json:"kind"`
	Endpoint string    `json:"endpoint"`
	State    string    `json:"state"` // listening, connected, connecting, waiting (for a peer), closing
	PID      int       `json:"pid"`
	Port     int       `json:"port,omitempty"`
	Peers    int       `json:"peers"`
	Link     bool      `json:"link,omitempty"` // the peer of an output acknowledges messages
	Frame    string    `json:"frame"`
	Capacity int       `json:"capacity"`
	Started  time.Time `json:"started"`
	Age      float64   `json:"age"` // seconds
	Counts
	Kernel     int64 `json:"kernel_dropped"` // datagrams that the kernel had no room for
	Connects   int64 `json:"connects"`       // connections made or accepted so far
	Refused    int64 `json:"refused"`        // peers that were not allowed
	Discarded  int64 `json:"discarded"`      // bytes that the peer of an output sent back
	Incomplete int64 `json:"incomplete"`     // messages that a peer began and never ended, where the frame drops them
}
