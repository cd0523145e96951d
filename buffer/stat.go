package buffer

import (
	"reflect"
	"strings"
	"time"
)

// Kind says which end of a buffer is the network.
type Kind string

const (
	Input  Kind = "input"  // filled by the network, emptied by read
	Output Kind = "output" // filled by write, emptied into the network

	Service Kind = "service" // only the name is held: there is no queue, and nothing to read or to write
)

// Verb is the command that goes with the kind.
func (k Kind) Verb() string {
	if k == Input {
		return "read"
	}
	return "write"
}

// A Stat is what a holder tells about its buffer. The JSON names are stable; what a field means is
// said in its tag, which the man page of list shows.
type Stat struct {
	Name     string    `json:"name" doc:"the buffer's name"`
	Kind     Kind      `json:"kind" doc:"input, which is filled by the network and emptied by read; output, which is filled by write; or service, as a relay is, which is neither"`
	Endpoint string    `json:"endpoint" doc:"where the buffer meets the network; of a relay, from where to where"`
	State    string    `json:"state" doc:"listening, connected, connecting, waiting (for a peer), closing, or running (of a ping)"`
	PID      int       `json:"pid" doc:"the daemon that holds the buffer"`
	Port     int       `json:"port,omitempty" doc:"the port, where it listens at one"`
	Peers    int       `json:"peers" doc:"peers that are connected now"`
	Link     bool      `json:"link,omitempty" doc:"the peer of an output acknowledges messages, as --link asks for"`
	Frame    string    `json:"frame,omitempty" doc:"where a message ends: line, nul, netstring or datagram"`
	Capacity int       `json:"capacity,omitempty" doc:"bytes that the buffer holds at most"`
	Started  time.Time `json:"started" doc:"when the daemon began, in UTC (RFC 3339)"`
	Age      float64   `json:"age" doc:"seconds since then"`
	Counts
	Kernel     int64 `json:"kernel_dropped" doc:"datagrams that the kernel had no room for"`
	Connects   int64 `json:"connects" doc:"connections that were made or accepted so far"`
	Refused    int64 `json:"refused" doc:"peers that were not allowed"`
	Discarded  int64 `json:"discarded" doc:"bytes that the peer of an output sent back, which nobody reads"`
	Incomplete int64 `json:"incomplete" doc:"messages that a peer began and never ended, where the frame drops them"`
}

// A StatField is one of Stat's as JSON has it.
type StatField struct {
	Name, Type, Doc string // Type as RFC 8259 calls it
	Optional        bool   // left out where it is empty
}

// StatFields are all of them, in their order.
func StatFields() []StatField { return statFields(reflect.TypeFor[Stat]()) }

func statFields(t reflect.Type) (out []StatField) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			out = append(out, statFields(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind := "string"
		switch f.Type.Kind() {
		case reflect.Bool:
			kind = "boolean"
		case reflect.Int, reflect.Int64, reflect.Float64:
			kind = "number"
		}
		out = append(out, StatField{name, kind, f.Tag.Get("doc"), options == "omitempty"})
	}
	return out
}
