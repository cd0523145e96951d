package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/sock"
)

// A conn is a connection that was accepted. It begins on the fast path, unless it is encrypted, and
// goes over to net/http for good with the first request that is not simple.
type conn struct {
	net.Conn
	s             *Server
	tcp           *net.TCPConn // nil: another kind, or one behind a PROXY header
	remote, local net.Addr
	from          netip.Addr // by what it is counted; invalid: it is not
	speaks        bool       // it is a proxy that is believed whom it speaks for

	head    []byte       // read before net/http took over
	until   atomic.Int64 // when the request under way has to be over; 0: never
	wrote   atomic.Int64 // when the deadline for writing was moved on
	acked   uint64       // what the peer had acknowledged when a deadline was last met
	ackedAt time.Time    // when that was seen first
	idle    atomic.Int64 // since when it waits for the head of a request, in nanoseconds; 0: it does not
	unasked atomic.Bool  // net/http has it, and has not seen a request
	asking  atomic.Int32 // what net/http makes of a request before there is an http.Request; 0: there is one
	closed  atomic.Bool
}

const (
	reading    = 1 // it reads one, or waits for it
	turnedAway = 2 // it has answered it itself
	framed     = 3 // it is HTTP/2's, which answers in frames, and does not tell

	maxAlert = 64 // of TLS (RFC 8446): an alert or an update of keys is shorter, and no answer is

	lingerClose = time.Second / 2
	lingerBytes = 1 << 20
)

func (c *conn) RemoteAddr() net.Addr { return c.remote }
func (c *conn) LocalAddr() net.Addr  { return c.local }

// Close closes the connection, once. Who was refused may be sending still: what is unread when a
// connection is closed has the kernel reset it, and throw the answer away. So it ends in stages then
// (RFC 9112, 9.6).
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	if c.asking.Load() == turnedAway && c.CloseWrite() == nil {
		c.Conn.SetReadDeadline(time.Now().Add(lingerClose))
		io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	c.s.gone(c)
	return c.Conn.Close()
}

// wake has a Read that waits return.
func (c *conn) wake() { c.Conn.SetReadDeadline(time.Unix(1, 0)) }

func (c *conn) Read(b []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.head)
	if c.head = c.head[n:]; len(c.head) == 0 {
		c.head = nil
	}
	return n, nil
}

// Write writes b. Somebody who takes nothing for Limits.Idle is cut off.
func (c *conn) Write(b []byte) (int, error) {
	if c.asking.Load() == reading {
		c.turnAway(b)
	}
	c.extend()
	n, err := c.Conn.Write(b)
	for c.goesOn(err) {
		var more int
		more, err = c.Conn.Write(b[n:])
		n += more
	}
	if err == nil && n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, err
}

// turnAway has it written down if b is what net/http answers of its own accord, to something that no
// handler ever sees.
func (c *conn) turnAway(b []byte) {
	r := record{status: http.StatusBadRequest}
	switch {
	case bytes.HasPrefix(b, []byte("HTTP/1.")) && len(b) > len("HTTP/1.1 400"):
		r.status, _ = strconv.Atoi(string(b[len("HTTP/1.1 "):len("HTTP/1.1 400")]))
		_, content, _ := bytes.Cut(b, []byte("\r\n\r\n"))
		r.bytes = int64(len(content))
	case c.s.o.TLS != nil && !c.unasked.Load() && len(b) > maxAlert && b[0] == 23: // application_data
		r.tls = true // the status cannot be seen; that one is likely
	default:
		return
	}
	if c.asking.CompareAndSwap(reading, turnedAway) {
		c.refused(&r)
	}
}

// refused writes down what was answered to something that is no request.
func (c *conn) refused(r *record) {
	c.s.o.Note("%s: %d %s", sock.PeerName(c.remote), r.status, http.StatusText(r.status))
	if c.s.o.Log != nil {
		r.began, r.peer = time.Now(), c.remote
		c.s.o.Log.add(r)
	}
}

// SetWriteDeadline is for net/http, which takes a deadline away with each answer.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.wrote.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// extend moves the deadline for writing on.
func (c *conn) extend() {
	now := time.Now()
	until := c.until.Load()
	if now.UnixNano()-c.wrote.Load() < int64(c.s.o.Limits.step()) && until == 0 {
		return
	}
	c.moveOn(now, until)
}

func (c *conn) moveOn(now time.Time, until int64) {
	c.wrote.Store(now.UnixNano())
	at := now.Add(c.s.o.Limits.Idle)
	if c.tcp != nil && seesAcks {
		at = now.Add(c.s.o.Limits.Idle / 4) // goesOn looks how it is
	}
	if until != 0 && until < at.UnixNano() {
		at = time.Unix(0, until)
	}
	c.Conn.SetWriteDeadline(at)
}

// goesOn tells whether a write that ended with err is to be tried again with what is left, since it has
// met its deadline and the peer is not as idle as that. The kernel takes megabytes for a peer, and no
// more for as long as that takes a slow one to read: what it has acknowledged is what counts.
func (c *conn) goesOn(err error) bool {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.tcp == nil || c.closed.Load() {
		return false
	}
	now, until := time.Now(), c.until.Load()
	if until != 0 && now.UnixNano() >= until {
		return false
	}
	acked, ok := c.acks()
	if !ok {
		return false
	}
	if acked != c.acked || c.ackedAt.IsZero() {
		c.acked, c.ackedAt = acked, now
	}
	if now.Sub(c.ackedAt) >= c.s.o.Limits.Idle {
		return false
	}
	c.moveOn(now, until)
	return true
}

// piece is how much is sent with one deadline.
const piece = 1 << 20

// ReadFrom lets the kernel send a file (sendfile(2)), where it can.
func (c *conn) ReadFrom(r io.Reader) (total int64, err error) {
	lr, limited := r.(*io.LimitedReader)
	from := r
	if limited {
		from = lr.R
	}
	_, file := from.(*os.File)
	rf, ok := c.Conn.(io.ReaderFrom)
	if !ok || !file {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	for {
		c.extend()
		want := int64(piece)
		if limited {
			want = min(want, lr.N)
		}
		if want == 0 {
			return total, nil
		}
		part := io.LimitedReader{R: from, N: want} // package net knows one of these around a file, and no more
		n, err := rf.ReadFrom(&part)
		total += n
		if limited {
			lr.N -= n
		}
		if c.goesOn(err) {
			continue
		}
		if err != nil || n < want {
			return total, err
		}
	}
}

// CloseWrite ends what this side sends.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

type connKey struct{}

func connContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, connOf(nc))
}

// connOf is nil for what is no connection of ours.
func connOf(nc net.Conn) *conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}

// connState hears from net/http what a connection is doing.
func connState(nc net.Conn, state http.ConnState) {
	c := connOf(nc)
	if c == nil {
		return
	}
	switch state {
	case http.StateActive:
		if t, ok := nc.(*tls.Conn); ok && c.unasked.Load() && t.ConnectionState().NegotiatedProtocol == "h2" {
			c.asking.Store(framed)
		}
		c.unasked.Store(false)
		c.idle.Store(0)
	case http.StateIdle:
		c.asking.CompareAndSwap(0, reading)
		c.until.Store(0)
		c.idle.Store(time.Now().UnixNano())
	}
}
