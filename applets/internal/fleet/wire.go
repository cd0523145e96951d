// Package fleet is the engine of pool and master: master runs the programs of a directory, and hands
// what each of them prints to an input of its own on the pool's host.
package fleet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/applets/internal/text"
	"sockbox/buffer"
)

// The wire of a pool. A master proves the key to the pool, over the channel for pools, and keeps this
// connection as its session. Both say objects of JSON (RFC 8259), one a line:
//
//	master                                      pool
//	{"type":"hello","host":"web1"}          ->
//	                                        <-  {"type":"welcome","ticket":"…"}
//	{"type":"request","id":1,"daemon":"d"}  ->
//	                                        <-  {"type":"grant","id":1,"name":"d","port":12345,"max":32768,"ticket":"…"}
//	                                        or  {"type":"refuse","id":1,"why":"…"}
//	{"type":"end"}                          ->
//	                                        <-  {"type":"ended"}
//	{"type":"stderr","id":1,"text":"…"}     ->      (in base64; with --stderr forward)
//	{"type":"done","id":1,"outcome":{…}}     ->
//	                                        <-  {"type":"closed","id":1,"why":"…"} nothing more is taken
//	                                        <-  {"type":"stop"} the pool is ending
//
// A session that breaks before its end is taken up again with the ticket of the welcome; requests
// that were not answered are made again, and those that were are answered alike. The daemon's messages go
// over a link (see buffer/link) to the port of the grant, or where that is 0 to the pool's own: over
// a connection that shows the grant's ticket, and again over the next one when that breaks. The
// link's stream has the ticket's ID.
//
// The plain wire is the reference's. Each line has a connection of its own:
//
//	KEY:NAME:HOST:PORT  ->
//	                    <-  the number of a port, where NAME's lines are taken, from one peer, once
//	                        or NO, for another key or what is no request, or NO ROOM
//	ENDKEYEND           ->
type message struct {
	Type    string         `json:"type"`
	ID      int            `json:"id,omitempty"`
	Host    string         `json:"host,omitempty"`
	Daemon  string         `json:"daemon,omitempty"`
	Name    string         `json:"name,omitempty"`
	Port    int            `json:"port,omitempty"`
	Max     int            `json:"max,omitempty"` // bytes that a message may have
	Ticket  *secret.Ticket `json:"ticket,omitempty"`
	Why     string         `json:"why,omitempty"`
	Text    []byte         `json:"text,omitempty"`
	Outcome *outcome       `json:"outcome,omitempty"`
}

// An outcome is how a daemon ended.
type outcome struct {
	Code     int     `json:"code"`             // of the last time that it ran
	Signal   string  `json:"signal,omitempty"` // that ended it
	Failure  string  `json:"failure,omitempty"`
	Seconds  float64 `json:"seconds"`
	Restarts int     `json:"restarts"`
	Lost     bool    `json:"lost,omitempty"`    // not all that it printed was delivered
	Stopped  string  `json:"stopped,omitempty"` // in which case it was: "removed", with its file, or "stopped", with the master
}

// status is the outcome in one word, or some.
func (o *outcome) status() string {
	switch {
	case o.Stopped != "":
		return o.Stopped
	case o.Failure != "":
		return o.Failure
	case o.Signal != "":
		return "SIG" + o.Signal
	}
	return strconv.Itoa(o.Code)
}

// maxObject bounds an object: text of a line of stderr, in base64, and some more.
const maxObject = 128 << 10

// A talk is one side of a session. Say may be called by many at a time.
type talk struct {
	conn net.Conn
	r    *bufio.Reader
	mu   sync.Mutex
}

func newTalk(c net.Conn) *talk { return &talk{conn: c, r: bufio.NewReaderSize(c, 4<<10)} }

func (t *talk) say(messages ...message) error {
	var b []byte
	for _, m := range messages {
		one, err := json.Marshal(m)
		if err != nil {
			return err
		}
		b = append(append(b, one...), '\n')
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.conn.Write(b)
	return err
}

func (t *talk) hear() (m message, err error) {
	var line []byte
	for {
		part, err := t.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxObject:
			return m, errors.New("an object that is too long")
		case err == bufio.ErrBufferFull:
			continue
		case err != nil:
			return m, err
		}
		break
	}
	if err = json.Unmarshal(line, &m); err == nil {
		m.tidy()
	}
	return m, err
}

const (
	maxHost   = 255 // of the name of a host, RFC 1035's
	maxDaemon = 255 // of the name of a file (NAME_MAX)
	maxWhy    = 512
)

// tidy makes what people are shown fit for that, and bounds what is remembered: the other side has
// the key, and may be broken all the same.
func (m *message) tidy() {
	m.Host, m.Why = shown(m.Host, maxHost), shown(m.Why, maxWhy)
	if o := m.Outcome; o != nil {
		o.Failure, o.Signal = shown(o.Failure, maxWhy), shown(o.Signal, 16)
		o.Code, o.Restarts = min(max(o.Code, 0), 255), max(o.Restarts, 0)
		o.Seconds = min(max(o.Seconds, 0), 1e9)
	}
}

// shown is s as it may be shown, and at most n bytes of it.
func shown(s string, n int) string {
	return text.Printable(s[:min(len(s), n)])
}

// A plainRequest is a line of the plain wire, behind the key.
type plainRequest struct {
	name string // empty: the end
	host string
}

// parsePlain reads a line of the plain wire. ok says whether the key is right; with err it is no
// request all the same.
func parsePlain(key secret.Key, line []byte) (r plainRequest, ok bool, err error) {
	if rest, isEnd := strings.CutPrefix(string(line), "END"); isEnd {
		if behind, ok := key.CutPrefix([]byte(rest)); ok && string(behind) == "END" {
			return r, true, nil
		}
	}
	behind, ok := key.CutPrefix(line)
	if !ok || len(behind) == 0 || behind[0] != ':' {
		return r, false, nil
	}
	name, address, ok := strings.Cut(string(behind[1:]), ":")
	colon := strings.LastIndexByte(address, ':')
	if !ok || name == "" || colon < 0 {
		return r, true, errors.New("a request is KEY:NAME:HOST:PORT")
	}
	if _, err := strconv.ParseUint(address[colon+1:], 10, 16); err != nil {
		return r, true, errors.New("a request ends in a port")
	}
	host := address[:colon]
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if len(name) > maxDaemon || len(host) > maxHost {
		return r, true, fmt.Errorf("a name has at most %d bytes", maxDaemon)
	}
	return plainRequest{name: name, host: host}, true, nil
}

// noRoom answers a request on the plain wire for which there is no port or no name.
const noRoom = "NO ROOM"

// plainTime is how long an answer on the plain wire may take.
const plainTime = 10 * time.Second

// askPlain says one line of the plain wire, and returns the line that is answered.
func askPlain(c net.Conn, line []byte) (string, error) {
	c.SetDeadline(time.Now().Add(plainTime))
	if _, err := c.Write(append(line, '\n')); err != nil {
		return "", err
	}
	b, err := bufio.NewReaderSize(c, 256).ReadSlice('\n')
	if err == io.EOF && len(b) > 0 {
		err = nil
	}
	return strings.TrimRight(string(b), "\r\n"), err
}

// plainLine is what a master says.
func plainLine(key secret.Key, name string, local net.Addr) ([]byte, error) {
	line, err := key.Line()
	if err != nil {
		return nil, err
	}
	if err := plainName(name); err != nil {
		return nil, err
	}
	return fmt.Appendf(line[:len(line)-1], ":%s:%s", name, local), nil
}

// plainName tells whether a daemon's name can be said.
func plainName(name string) error {
	if strings.ContainsAny(name, ":\n\r") {
		return errors.New("a name with a colon or a line's end in it cannot go over the plain wire")
	}
	return nil
}

func plainEnd(key secret.Key) ([]byte, error) {
	line, err := key.Line()
	return append(append([]byte("END"), line[:max(0, len(line)-1)]...), "END"...), err
}

// bufferName makes the name of a buffer of what a daemon is called: bytes that a name has not become
// "-", and what is too long is cut.
func bufferName(s string) string {
	if s == "" {
		return "_"
	}
	b := []byte(s[:min(len(s), buffer.MaxName)])
	for i := range b {
		if buffer.CheckName("x"+string(b[i])) != nil {
			b[i] = '-'
		}
	}
	if b[0] == '.' || b[0] == '-' {
		b[0] = '_'
	}
	return string(b)
}

// names returns what to call a daemon's buffer, the next one if the name before is in use: the name,
// the name and its host, and those with a number. Long ones are cut, and differ all the same.
func names(daemon, host string) func() string {
	host = bufferName(host)
	host = "@" + host[:min(len(host), buffer.MaxName/2)]
	n := 0
	return func() string {
		n++
		end := ""
		switch {
		case n == 2:
			end = host
		case n > 2:
			end = fmt.Sprintf("%s-%d", host, n-1)
		}
		return bufferName(daemon[:min(len(daemon), buffer.MaxName-len(end))] + end)
	}
}

// at returns a's port on the host that c is connected to.
func at(c net.Conn, port int) (sock.Addr, error) {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	return sock.Addr{Net: "tcp", Host: host, Port: port}, err
}
