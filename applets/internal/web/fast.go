package web

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// The fast path answers what is asked most: a file, by a simple request (head.go), without
// encryption. Everything else it hands to net/http with all that it has read, and the connection
// stays there. It allocates nothing for a request, and sends the head of an answer and a small file
// in one piece.

const (
	readSize  = 4 << 10  // a longer head is none of a simple request
	writeSize = 20 << 10 // an answer that is copied together
)

type buffers struct {
	in  [readSize]byte
	out []byte
}

var spare = sync.Pool{New: func() any { return &buffers{out: make([]byte, 0, writeSize)} }}

// serve answers the simple requests of c, and then closes it or hands it over.
func (c *conn) serve() {
	b := spare.Get().(*buffers)
	defer spare.Put(b)
	var h head
	limits := &c.s.o.Limits
	n := 0
	// Whoever connects has something to say.
	moved := time.Now()
	c.Conn.SetReadDeadline(moved.Add(limits.Header))
	first, begun := true, false
	for {
		verdict, used := partial, 0
		if n > 0 {
			verdict, used = parseHead(b.in[:n], &h)
		}
		if verdict == partial && n < readSize {
			if n > 0 && !begun { // the first bytes of a head: the rest is due
				begun = true
				c.Conn.SetReadDeadline(time.Now().Add(limits.Header))
				moved = time.Time{}
			}
			m, err := c.Conn.Read(b.in[n:])
			n += m
			if err != nil {
				if n > 0 && errors.Is(err, os.ErrDeadlineExceeded) && !c.s.closing.Load() {
					c.reply(b, http.StatusRequestTimeout)
				}
				c.Close()
				return
			}
			continue
		}
		c.idle.Store(0)
		begun = false
		if verdict != simple || used > limits.HeaderSize {
			break
		}
		done, err := c.answer(&h, b)
		if err != nil {
			c.Close()
			return
		}
		if !done {
			break
		}
		switch {
		case h.closing && used == n: // whoever says so sends no more
			c.Close()
			return
		case h.closing, c.s.closing.Load():
			c.bye()
			return
		}
		n = copy(b.in[:], b.in[used:n])
		now := time.Now()
		if n == 0 {
			c.idle.Store(now.UnixNano())
			if c.s.closing.Load() { // drain may have looked before that
				c.Close()
				return
			}
		}
		if first || now.Sub(moved) > limits.step() {
			c.Conn.SetReadDeadline(now.Add(limits.Idle))
			moved, first = now, false
		}
	}
	c.head = bytes.Clone(b.in[:n])
	c.unasked.Store(!bytes.Contains(c.head, []byte("\r\n\r\n"))) // at the end half a head is not waited for
	c.asking.Store(reading)
	c.Conn.SetReadDeadline(time.Time{})
	c.s.shelf.put(c, c)
}

// bye closes the connection so that the peer gets all of the answer: bytes of its own that were not
// read would otherwise have the kernel throw it away.
func (c *conn) bye() {
	if c.CloseWrite() == nil {
		c.Conn.SetReadDeadline(time.Now().Add(time.Second))
		var rest [512]byte
		for range 64 {
			if _, err := c.Conn.Read(rest[:]); err != nil {
				break
			}
		}
	}
	c.Close()
}

// reply sends an answer without a body to what is no request, and asks for no more.
func (c *conn) reply(b *buffers, status int) {
	c.refused(&record{status: status})
	out := appendStatus(b.out[:0], status)
	out = appendDate(out, time.Now())
	out = append(out, "Content-Length: 0\r\nConnection: close\r\n\r\n"...)
	c.Write(out)
}

// answer answers h if it is for a file. done is false, and nothing was sent, if it is not for here.
func (c *conn) answer(h *head, b *buffers) (done bool, err error) {
	began := time.Now()
	s := c.s
	if s.o.Users != nil || s.o.Limits.Total > 0 || c.speaks {
		return false, nil
	}
	if s.o.Zip && len(h.target) > len(h.path) && string(h.target[len(h.path)+1:]) == zipQuery {
		return false, nil
	}
	var at *site
	if len(s.hosts) == 0 {
		at = s.sites[0]
	} else {
		at = s.site(hostName(string(h.host)), c.local)
	}
	e := at.cache.get(h.path, began.UnixNano())
	if e == nil {
		if s.dynamic != nil && at.soundsDynamic(h.path) { // it would be looked for twice
			return false, nil
		}
		if e, _, err = at.lookup(string(h.path)); e == nil || err != nil {
			return false, nil // net/http looks again, and says why
		}
	}
	defer e.release()
	var a answer
	if h.plain {
		a = answer{status: 200, v: e.variants[identity].Load()}
	} else {
		a = e.answer(&h.wish, h.isHead)
	}
	if a.v.size < 0 || a.status == 412 || a.status == 416 || len(a.parts) > 1 {
		return false, nil
	}
	out := appendStatus(b.out[:0], a.status)
	out = appendDate(out, began)
	part := span{0, a.v.size}
	switch a.status {
	case 304:
		out = append(out, a.v.head3...)
		part.size = 0
	default:
		if a.status == 206 {
			part = a.parts[0]
			out = append(out, "Content-Range: "...)
			out = append(out, part.contentRange(a.v.size)...)
			out = append(out, "\r\n"...)
		}
		out = append(out, a.v.head...)
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, part.size, 10)
		out = append(out, "\r\n"...)
	}
	if h.closing || s.closing.Load() {
		out = append(out, "Connection: close\r\n"...)
	}
	out = append(out, "\r\n"...)
	sent := int64(0)
	switch {
	case h.isHead || part.size == 0:
		_, err = c.Write(out)
	case a.v.body != nil && len(out)+int(part.size) <= writeSize:
		out = append(out, a.v.body[part.from:part.from+part.size]...)
		_, err = c.Write(out)
		sent = part.size
	case a.v.body != nil:
		sent, err = c.sendBytes(out, a.v.body[part.from:part.from+part.size])
	default:
		sent, err = c.sendFile(out, a.v, part)
	}
	b.out = out[:0]
	if s.o.Log != nil {
		s.o.Log.fast(c, h, a.status, sent, began)
	}
	return true, err
}

// soundsDynamic tells whether path is probably a script's. It is no more than a guess.
func (s *site) soundsDynamic(path []byte) bool {
	for _, prefix := range s.o.Dynamic.CGI {
		if len(path) > len(prefix) && string(path[:len(prefix)]) == prefix {
			return true
		}
	}
	return s.o.Dynamic.PHP != "" && bytes.Contains(path, []byte(".php"))
}

func appendStatus(b []byte, status int) []byte {
	switch status {
	case 200:
		return append(b, "HTTP/1.1 200 OK\r\n"...)
	case 206:
		return append(b, "HTTP/1.1 206 Partial Content\r\n"...)
	case 304:
		return append(b, "HTTP/1.1 304 Not Modified\r\n"...)
	case 408:
		return append(b, "HTTP/1.1 408 Request Timeout\r\n"...)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	return append(b, " \r\n"...)
}

// The Date field of the current second.
type dated struct {
	second int64
	line   []byte
}

var today atomic.Pointer[dated]

func appendDate(b []byte, now time.Time) []byte {
	d := today.Load()
	if d == nil || d.second != now.Unix() {
		d = &dated{now.Unix(), now.UTC().AppendFormat([]byte("Date: "), dateForm+"\r\n")}
		today.Store(d)
	}
	return append(b, d.line...)
}
