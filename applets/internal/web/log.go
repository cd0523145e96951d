package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"sockbox/applets/internal/sock"
)

// A Log is where requests are written down, a line for each when it is over. Lines are collected for a
// moment and written whole. What cannot be written is lost, counted and told; requests never wait for
// it, nor for somebody who has stopped to read it.
type Log struct {
	path string // "": out is not ours
	json bool
	tell func(format string, args ...any)

	mu      sync.Mutex
	out     io.Writer
	file    *os.File
	lines   []byte
	spare   []byte // what was written last, to be used again
	writing bool   // somebody writes, without mu
	written *sync.Cond
	lost    int
	told    time.Time
	timer   *time.Timer
	set     bool // the timer is running
	ended   bool
	stamp   struct { // the time as it was written last
		second int64
		text   []byte
	}
}

const (
	logDelay = 100 * time.Millisecond
	logMost  = 64 << 10    // bytes that are collected before they are written
	logKept  = 1 << 20     // bytes that are kept while nobody takes them
	logEnd   = time.Second // for the last of them to be taken, at the end
)

// OpenLog opens the log at path, to be added to, or takes out if path is "". Lines are in the
// combined form of Apache and NCSA, or JSON objects.
func OpenLog(path string, out io.Writer, json bool, tell func(format string, args ...any)) (*Log, error) {
	l := &Log{path: path, out: out, json: json, tell: tell}
	l.written = sync.NewCond(&l.mu)
	l.timer = time.AfterFunc(time.Hour, l.flush)
	l.timer.Stop()
	return l, l.Reopen()
}

// Reopen opens the file by its name anew, after somebody has moved it away, when what was collected is in
// the old one. A FIFO needs a reader, and is not waited for.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return fmt.Errorf("%s: %w", l.path, sock.Reason(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.SetWriteDeadline(time.Now().Add(logEnd)) // of a FIFO; a file takes all
	}
	for l.writing {
		l.written.Wait()
	}
	l.write()
	if l.ended { // meanwhile
		f.Close()
		return nil
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.out = f, f
	return nil
}

// Close writes what is left, if it is taken.
func (l *Log) Close() {
	all := make(chan struct{})
	go func() {
		defer close(all)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.timer.Stop()
		for l.writing || len(l.lines) > 0 {
			if l.writing {
				l.written.Wait()
			} else {
				l.write()
			}
		}
		l.ended = true
	}()
	late := time.NewTimer(logEnd)
	defer late.Stop()
	select {
	case <-all:
	case <-late.C:
	}
	l.mu.Lock()
	left := bytes.Count(l.lines, []byte{'\n'})
	l.lines, l.ended = nil, true
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
	l.mu.Unlock()
	if left > 0 {
		l.tell("log: %v: %d lines are lost", errNotTaken, left)
	}
}

var errNotTaken = errors.New("nobody takes it")

func (l *Log) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = false
	l.write()
}

// write is called with mu locked, and lets go of it while it writes. There is nothing to do for it
// while somebody else does: what was collected meanwhile goes out behind that.
func (l *Log) write() {
	if l.writing || len(l.lines) == 0 || l.ended {
		return
	}
	lines, out := l.lines, l.out
	l.lines, l.writing = l.spare[:0], true
	l.mu.Unlock()
	n, err := out.Write(lines)
	l.mu.Lock()
	l.spare, l.writing = lines, false
	if err != nil {
		if told := l.lose(bytes.Count(lines[max(n, 0):], []byte{'\n'}), sock.Reason(err)); told != nil {
			l.mu.Unlock()
			told()
			l.mu.Lock()
		}
	}
	if len(l.lines) > 0 {
		l.start(logDelay)
	}
	l.written.Broadcast()
}

// lose counts lines that are lost, and now and then returns what tells it.
func (l *Log) lose(n int, why error) func() {
	l.lost += n
	now := time.Now()
	if now.Sub(l.told) <= time.Minute {
		return nil
	}
	l.told = now
	lost := l.lost
	return func() { l.tell("log: %v: %d lines are lost", why, lost) }
}

// start has what was collected written after a while.
func (l *Log) start(after time.Duration) {
	if !l.set && !l.ended {
		l.set = true
		l.timer.Reset(after)
	}
}

// A record is what is written down of a request.
type record struct {
	began          time.Time
	peer           net.Addr
	user, method   string // method is "" for what was no request, and of which nothing else is known
	target         []byte
	proto, host    string
	status         int
	bytes          int64
	referer, agent []byte
	tls            bool
}

// fast writes down a request of the fast path.
func (l *Log) fast(c *conn, h *head, status int, bytes int64, began time.Time) {
	r := record{
		began: began, peer: c.remote, method: http.MethodGet, target: h.target, proto: "HTTP/1.1",
		status: status, bytes: bytes, referer: h.referer, agent: h.agent,
	}
	if h.isHead {
		r.method = http.MethodHead
	}
	if l.json {
		r.host = string(h.host)
	}
	l.add(&r)
}

// slow writes down a request that net/http has had.
func (l *Log) slow(r *http.Request, p *peer, w *response, began time.Time) {
	status := w.status
	if status == 0 {
		status = 499 // as nginx does: nothing was answered
	}
	l.add(&record{
		began: began, peer: p.addr, user: p.user, method: r.Method, target: []byte(r.RequestURI), proto: r.Proto,
		host: r.Host, status: status, bytes: w.bytes, referer: []byte(r.Referer()), agent: []byte(r.UserAgent()), tls: p.tls,
	})
}

func (l *Log) add(r *record) {
	took := time.Since(r.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	if len(l.lines) >= logKept {
		if told := l.lose(1, errNotTaken); told != nil {
			go told() // stderr may be where nobody reads, too
		}
		return
	}
	if l.json {
		l.lines = r.appendJSON(l.lines, took)
	} else {
		if second := r.began.Unix(); second != l.stamp.second || l.stamp.text == nil {
			l.stamp.second = second
			l.stamp.text = r.began.AppendFormat(l.stamp.text[:0], " [02/Jan/2006:15:04:05 -0700] \"")
		}
		l.lines = r.appendCombined(l.lines, l.stamp.text)
	}
	if len(l.lines) >= logMost && !l.writing {
		l.set = true
		l.timer.Reset(0)
	}
	l.start(logDelay)
}

// appendCombined appends the line that Apache and nginx call combined. The bytes are those of the
// content.
func (r *record) appendCombined(b, when []byte) []byte {
	b = appendAddr(b, r.peer)
	b = append(b, " - "...)
	if r.user == "" {
		b = append(b, '-')
	} else {
		b = appendQuoted(b, []byte(r.user), true)
	}
	b = append(b, when...)
	if r.method == "" {
		b = append(b, '-')
	} else {
		b = appendQuoted(b, []byte(r.method), false)
		b = append(b, ' ')
		b = appendQuoted(b, r.target, false)
		b = append(b, ' ')
		b = append(b, r.proto...)
	}
	b = append(b, "\" "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.bytes, 10)
	for _, text := range [][]byte{r.referer, r.agent} {
		b = append(b, " \""...)
		if len(text) == 0 {
			b = append(b, '-')
		}
		b = appendQuoted(b, text, false)
		b = append(b, '"')
	}
	return append(b, '\n')
}

// appendQuoted appends what a client sent so that it stays where it is in the line: quotes,
// backslashes, control characters and all that is not ASCII as \xHH, and spaces too where the value has no
// quotes around it.
func appendQuoted(b, text []byte, bare bool) []byte {
	const hex = "0123456789abcdef"
	for _, c := range text {
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' || bare && c == ' ' {
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

func (r *record) appendJSON(b []byte, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = r.began.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","peer":"`...)
	b = appendAddr(b, r.peer)
	b = append(b, `","port":`...)
	b = strconv.AppendInt(b, int64(portOf(r.peer)), 10)
	for _, f := range []struct{ name, text string }{
		{"user", r.user}, {"method", r.method}, {"target", string(r.target)}, {"proto", r.proto}, {"host", r.host},
		{"referer", string(r.referer)}, {"agent", string(r.agent)},
	} {
		if f.text == "" {
			continue
		}
		b = append(b, `,"`...)
		b = append(b, f.name...)
		b = append(b, `":`...)
		b = appendJSONString(b, f.text)
	}
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, r.bytes, 10)
	b = append(b, `,"seconds":`...)
	b = strconv.AppendFloat(b, took.Seconds(), 'f', 6, 64)
	b = append(b, `,"tls":`...)
	b = strconv.AppendBool(b, r.tls)
	return append(b, "}\n"...)
}

// appendJSONString appends s as a string of RFC 8259. Bytes that are no UTF-8 become U+FFFD.
func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029:
			b = append(b, '\\', 'u', hex[c>>12&15], hex[c>>8&15], hex[c>>4&15], hex[c&15])
		default:
			b = append(b, string(c)...)
		}
	}
	return append(b, '"')
}
