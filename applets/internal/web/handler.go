package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"path"
	"strconv"
	"strings"
	"time"
)

// A response is what a handler writes to: it knows what was sent, for the log, and goes on only as
// long as the client takes something.
type response struct {
	http.ResponseWriter
	s      *Server
	c      *conn // nil for datagrams
	h2     bool
	status int
	bytes  int64
	moved  time.Time
	until  time.Time
	body   *body // of the request, if it is bounded
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		w.s.o.say(w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.extend()
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// extend moves the deadline of a stream of HTTP/2 on; a connection of HTTP/1 does that itself.
func (w *response) extend() {
	if now := time.Now(); w.h2 && now.Sub(w.moved) > w.s.o.Limits.step() {
		w.moved = now
		at := now.Add(w.s.o.Limits.Idle)
		if !w.until.IsZero() && w.until.Before(at) {
			at = w.until
		}
		http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at)
	}
}

func (w *response) ReadFrom(r io.Reader) (int64, error) {
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || w.h2 {
		return io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, 32<<10))
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := rf.ReadFrom(r)
	w.bytes += n
	return n, err
}

type peerKey struct{}

// withPeer gives a request that no connection of ours brought the peer that it came from.
func withPeer(ctx context.Context, p peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

// peerOf tells who asks.
func (s *Server) peerOf(r *http.Request) (p peer, c *conn) {
	if c, _ = r.Context().Value(connKey{}).(*conn); c != nil {
		p = peer{addr: c.remote, via: c.remote, local: c.local, tls: r.TLS != nil}
	} else {
		p, _ = r.Context().Value(peerKey{}).(peer)
		if p.addr == nil {
			p.addr, p.via, p.local = &net.TCPAddr{}, &net.TCPAddr{}, &net.TCPAddr{}
		}
	}
	if c != nil && c.speaks {
		s.forwarded(r.Header, &p)
	}
	p.host = hostName(r.Host)
	if p.port == 0 {
		p.port = portOf(p.local)
	}
	return p, c
}

// serve is the handler for all that is not answered by the fast path.
func (s *Server) serve(w0 http.ResponseWriter, r *http.Request) {
	if !s.requests.TryRLock() {
		panic(http.ErrAbortHandler) // the server has ended
	}
	defer s.requests.RUnlock()
	began := time.Now()
	w := &response{ResponseWriter: w0, s: s, h2: r.ProtoMajor == 2}
	p, c := s.peerOf(r)
	w.c = c
	switch {
	case c != nil && w.h2:
		c.asking.Store(framed)
	case c != nil:
		c.asking.Store(0)
	}
	if c != nil && r.Close && r.TLS == nil {
		// Who asks no more may end what it sends, as "printf | nc -N" does, and wants the answer all the
		// same. net/http takes that for its leaving.
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		defer cancel()
		stop := context.AfterFunc(r.Context(), func() { c.untilReset(); cancel() })
		defer stop()
		r = r.WithContext(ctx)
	}
	if limit := s.o.Limits.Total; limit > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		r = r.WithContext(ctx)
		w.until = began.Add(limit)
		if c != nil && !w.h2 {
			c.until.Store(w.until.UnixNano())
			c.wrote.Store(0)
		}
	}
	defer func() {
		problem := recover()
		if s.o.Log != nil {
			s.o.Log.slow(r, &p, w, began)
		}
		if problem != nil {
			panic(problem) // net/http cuts the connection
		}
	}()
	if w.h2 {
		from := network(p.addr)
		if s.streams.take(r.Context(), from, 0, nil) != nil {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable) // and no content, which nobody might take
			return
		}
		defer s.streams.give(from)
	}
	if headSize(r) > s.o.Limits.HeaderSize {
		s.fail(w, r, nil, http.StatusRequestHeaderFieldsTooLarge, "")
	} else {
		s.route(w, r, &p)
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.h2 && w.bytes > 0 {
		// While it has its place: net/http would wait behind us for a client that takes nothing.
		http.NewResponseController(w.ResponseWriter).Flush()
	}
}

// headSize is how long the head of r was, or would have been in HTTP/1.1. net/http lets through some KiB
// more than it was told.
func headSize(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto) + len("  \r\n\r\n")
	if r.Host != "" {
		n += len("Host: \r\n") + len(r.Host)
	}
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// local answers a request that a script has passed on to another path (RFC 3875, 6.2.2). It is part of
// the one that is under way, and not written down again.
func (s *Server) local(w http.ResponseWriter, r *http.Request) {
	p, c := s.peerOf(r)
	s.route(&response{ResponseWriter: w, s: s, c: c, h2: r.ProtoMajor == 2}, r, &p)
}

// route finds who answers.
func (s *Server) route(w *response, r *http.Request, p *peer) {
	if r.ProtoMajor == 1 && (len(r.TransferEncoding) > 0 || s.closing.Load()) {
		// Whether there was a Content-Length beside the Transfer-Encoding, net/http does not tell.
		// Such a connection has to end with the answer (RFC 9112, 6.1): what a proxy before us takes
		// for the next request must not be read as one.
		w.Header().Set("Connection", "close")
	}
	if !s.allowed(p.addr) {
		s.fail(w, r, nil, http.StatusForbidden, "")
		return
	}
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	at := s.site(p.host, p.local)
	if users := s.users.Load(); users != nil {
		user, status := s.guard.user(r, users, p)
		if status != 0 {
			if status == http.StatusUnauthorized {
				w.Header()["WWW-Authenticate"] = []string{fmt.Sprintf(`Basic realm=%q, charset="UTF-8"`, s.o.Realm)}
			} else {
				w.Header().Set("Retry-After", "1")
			}
			s.fail(w, r, at, status, "")
			return
		}
		p.user = user
	}
	raw := r.URL.EscapedPath()
	if raw == "" && r.URL.Host != "" { // RFC 9112, 3.2.2: http://host is http://host/
		raw = "/"
	}
	if r.Method == http.MethodPut && s.o.Upload && p.user != "" {
		s.put(w, r, at, raw)
		return
	}
	look := at.lookup
	if s.o.Zip && r.URL.RawQuery == zipQuery && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		look = at.lookupFolder
	}
	e, t, err := look(raw)
	if noneFree(err) {
		s.forget()
		e, t, err = look(raw)
	}
	if e != nil {
		defer e.release()
	}
	if t.kind == aScript && s.dynamic != nil {
		if r.ContentLength > s.o.Limits.BodySize { // before it has begun to answer
			s.fail(w, r, at, http.StatusRequestEntityTooLarge, "")
			return
		}
		s.bound(w, r)
		s.dynamic.serve(w, r, t.script, *p)
		return
	}
	allow := "GET, HEAD, OPTIONS"
	if s.o.Upload && p.user != "" {
		allow = "GET, HEAD, OPTIONS, PUT"
		if t.kind == aFolder {
			allow = "GET, HEAD, OPTIONS, POST"
		}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header().Set("Allow", allow)
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPost:
		if s.o.Upload && p.user != "" && t.kind == aFolder {
			s.form(w, r, at, t)
			return
		}
		fallthrough
	default:
		w.Header().Set("Allow", allow)
		s.fail(w, r, at, http.StatusMethodNotAllowed, "")
		return
	}
	switch {
	case err != nil:
		s.fail(w, r, at, statusOf(err), "")
	case e != nil:
		s.sendEntry(w, r, at, e)
	case t.kind == elsewhere:
		// A path by itself, and never one that begins with two slashes, which would be a host.
		to := "/" + strings.TrimLeft(raw, "/") + "/"
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", to)
		s.fail(w, r, nil, http.StatusMovedPermanently, "")
	case t.kind == aFolder && s.o.Zip && r.URL.RawQuery == zipQuery:
		s.sendZip(w, r, at, t)
	case t.kind == aFolder && s.o.Listing:
		s.list(w, r, at, t, p)
	case t.kind == aFolder, t.kind == forbidden:
		s.fail(w, r, at, http.StatusForbidden, "")
	default:
		if s.o.SPA && !strings.Contains(path.Base(raw), ".") {
			if e, _, err := at.lookup("/"); err == nil && e != nil {
				defer e.release()
				s.sendEntry(w, r, at, e)
				return
			}
		}
		s.fail(w, r, at, http.StatusNotFound, "")
	}
}

// statusOf is the status for what find, load or the system say.
func statusOf(err error) int {
	switch {
	case errors.Is(err, errBadPath):
		return http.StatusBadRequest
	case errors.Is(err, errHiddenPath), errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, fs.ErrPermission):
		return http.StatusForbidden
	case errors.Is(err, errChanging), noneFree(err):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// bound limits the body of r in size and time.
func (s *Server) bound(w *response, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	now := time.Now()
	b := &body{ReadCloser: r.Body, rc: http.NewResponseController(w.ResponseWriter), idle: s.o.Limits.Idle, until: now.Add(s.o.Limits.Body)}
	if !w.until.IsZero() && w.until.Before(b.until) {
		b.until = w.until
	}
	w.body = b
	r.Body = http.MaxBytesReader(w.ResponseWriter, b, s.o.Limits.BodySize)
}

// letBodyGo reads what is left of the body of r, for a moment: a client that is busy sending would
// otherwise be cut off before it sees the answer.
func (w *response) letBodyGo(r *http.Request) {
	if w.body == nil {
		return
	}
	http.NewResponseController(w.ResponseWriter).Flush()
	w.body.until, w.body.moved = time.Now().Add(lingerBody), time.Time{}
	io.Copy(io.Discard, r.Body)
}

// A body reads a request's body. The client has to send something every now and then, and all of it
// in some time.
type body struct {
	io.ReadCloser
	rc    *http.ResponseController
	idle  time.Duration
	until time.Time
	moved time.Time
}

func (b *body) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.moved) > min(time.Second, b.idle/4) {
		b.moved = now
		at := now.Add(b.idle)
		if b.until.Before(at) {
			at = b.until
		}
		b.rc.SetReadDeadline(at)
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.rc.SetReadDeadline(time.Time{}) // net/http goes on reading, to hear when the client goes
	}
	return n, err
}

func joined(h http.Header, name string) string {
	switch v := h[name]; len(v) {
	case 0:
		return ""
	case 1:
		return v[0]
	default:
		return strings.Join(v, ", ")
	}
}

// sendEntry answers with a file.
func (s *Server) sendEntry(w *response, r *http.Request, at *site, e *entry) {
	wish := wish{
		ifMatch: joined(r.Header, "If-Match"), ifNoneMatch: joined(r.Header, "If-None-Match"),
		ifModified: r.Header.Get("If-Modified-Since"), ifUnmodified: r.Header.Get("If-Unmodified-Since"),
		ifRange: r.Header.Get("If-Range"), ranges: joined(r.Header, "Range"), encodings: joined(r.Header, "Accept-Encoding"),
	}
	head := r.Method == http.MethodHead
	a := e.answer(&wish, head)
	if a.v.size < 0 && !head { // compressed as it is sent, for so many at once as may have the processor
		select {
		case s.squeezing <- struct{}{}:
			defer func() { <-s.squeezing }()
		default:
			wish.encodings = ""
			a = e.answer(&wish, head)
		}
	}
	h := w.Header()
	fields := a.v.fields
	if a.status == http.StatusNotModified {
		fields = a.v.common
	}
	switch a.status {
	case http.StatusPreconditionFailed:
		s.fail(w, r, at, a.status, "")
		return
	case http.StatusRequestedRangeNotSatisfiable:
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(a.v.size, 10))
		s.fail(w, r, at, a.status, "")
		return
	}
	maps.Copy(h, fields)
	switch {
	case a.status == http.StatusNotModified:
		w.WriteHeader(a.status)
	case len(a.parts) > 1:
		s.sendParts(w, e, a)
	case a.v.size < 0:
		w.WriteHeader(a.status)
		if !head {
			if _, err := squeeze(struct{ io.Writer }{w}, e.reader(e.variants[identity].Load())); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	default:
		part := span{0, a.v.size}
		if len(a.parts) == 1 {
			part = a.parts[0]
			h.Set("Content-Range", part.contentRange(a.v.size))
		}
		h.Set("Content-Length", strconv.FormatInt(part.size, 10))
		w.WriteHeader(a.status)
		if !head {
			s.sendPart(w, e, a.v, part, w.c != nil && w.c.tcp != nil && r.TLS == nil && !w.h2)
		}
	}
}

// sendPart sends a part of v. What cannot be sent as it was promised cuts the connection.
func (s *Server) sendPart(w io.Writer, e *entry, v *variant, part span, byKernel bool) {
	var from io.Reader
	if v.body != nil {
		_, err := w.Write(v.body[part.from : part.from+part.size])
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return
	}
	from = io.NewSectionReader(v.file, part.from, part.size)
	if byKernel && v == e.variants[identity].Load() && part.size > smallFile {
		// sendfile(2) by way of net/http takes an open file of its own.
		if f, _, err := e.s.open(e.name); err == nil {
			defer f.Close()
			if now, ok := stampOf(descriptor(f)); ok && now == e.stamp {
				if _, err := f.Seek(part.from, io.SeekStart); err == nil {
					from = f
				}
			}
		}
	}
	if n, err := io.CopyN(w, from, part.size); err != nil || n < part.size {
		panic(http.ErrAbortHandler)
	}
}

// sendParts answers with several parts (RFC 9110, 14.6).
func (s *Server) sendParts(w *response, e *entry, a answer) {
	var size int64
	count := multipart.NewWriter(countTo{&size})
	head := func(m *multipart.Writer, p span) (io.Writer, error) {
		return m.CreatePart(textproto.MIMEHeader{"Content-Range": {p.contentRange(a.v.size)}, "Content-Type": {e.media}})
	}
	for _, p := range a.parts {
		head(count, p)
		size += p.size
	}
	count.Close()
	m := multipart.NewWriter(w)
	m.SetBoundary(count.Boundary())
	h := w.Header()
	h.Set("Content-Type", "multipart/byteranges; boundary="+m.Boundary())
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	w.WriteHeader(a.status)
	for _, p := range a.parts {
		to, err := head(m, p)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		s.sendPart(to, e, a.v, p, false)
	}
	if m.Close() != nil {
		panic(http.ErrAbortHandler)
	}
}

type countTo struct{ n *int64 }

func (c countTo) Write(b []byte) (int, error) {
	*c.n += int64(len(b))
	return len(b), nil
}

// fail answers with a status and a page about it: the site's own, if it has one, else a line of text
// or a small page, as the client prefers. why, if any, is shown.
func (s *Server) fail(w *response, r *http.Request, at *site, status int, why string) {
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "ETag", "Last-Modified", "Cache-Control", "Accept-Ranges"} {
		delete(h, name)
	}
	if status >= 400 {
		h.Set("Cache-Control", "no-store")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if name := s.o.Pages[status]; name != "" && at != nil && why == "" {
		if t, err := at.find(name, true); err == nil && t.kind == aFile {
			if e, err := at.load(t.file); err == nil {
				defer e.release()
				v := e.variants[identity].Load()
				h.Set("Content-Type", e.media)
				h.Set("Content-Length", strconv.FormatInt(v.size, 10))
				w.WriteHeader(status)
				if r.Method != http.MethodHead {
					s.sendPart(w, e, v, span{0, v.size}, false)
				}
				return
			}
		}
	}
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if why != "" {
		text += ": " + why
	}
	body := text + "\n"
	h.Set("Content-Type", "text/plain; charset=utf-8")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
		body = errorPage(text)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.WriteString(w, body)
	}
}
