package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// HTTP over UDP, as the reference has it and no standard does, is an experiment. A datagram is a request,
// and the answer comes in datagrams of at most 1400 bytes, in order and as in HTTP/1.0, with a
// Content-Length. None is sent again: a client that misses one asks again. A body is at most 64 KiB;
// longer files can be had in ranges. What is no request gets no answer, so two of these servers cannot
// keep each other busy.
//
// A datagram's sender can be invented, and an answer is larger than a request: whoever offers this to
// a network offers his machine for attacks on others. So it is for this machine alone, unless it is
// asked for.
const (
	datagramSize   = 1400     // of the answer; it passes through tunnels whole
	datagramAnswer = 64 << 10 // of a body: as much as fits into a socket's buffer. Longer files can be had in ranges
	datagramsBusy  = 16       // requests at once; others are dropped, as a network would
	datagramTime   = 10 * time.Second
)

// checkUDP is an error where datagrams from other machines could be answered.
func checkUDP(local net.Addr, anywhere bool) error {
	a, ok := local.(*net.UDPAddr)
	if anywhere || ok && a.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("udp://%v: answers would go to any machine that a datagram names as its sender (see --udp-anywhere)", local)
}

// serveUDP answers until ctx ends, which ends requests under way too. It does not close pc.
func (s *Server) serveUDP(ctx context.Context, pc net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { pc.SetReadDeadline(longAgo) })
	defer stop()
	busy := make(chan struct{}, datagramsBusy)
	var all sync.WaitGroup
	defer all.Wait()
	b := make([]byte, 64<<10)
	for failed := 0; ; {
		n, from, err := pc.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failed = 0
		case failed < 100: // some systems tell of an answer that did not arrive
			failed++
			continue
		default:
			return err
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.Clone(b[:n]))))
		if err != nil {
			continue
		}
		select {
		case busy <- struct{}{}:
			all.Go(func() {
				defer func() { <-busy }()
				s.answerUDP(ctx, pc, from, r)
			})
		default:
		}
	}
}

func (s *Server) answerUDP(ctx context.Context, pc net.PacketConn, to net.Addr, r *http.Request) {
	ctx, cancel := context.WithTimeout(ctx, datagramTime)
	defer cancel()
	local := pc.LocalAddr()
	r = r.WithContext(withPeer(ctx, peer{addr: to, via: to, local: local}))
	r.RemoteAddr = to.String()
	w := &datagrams{header: http.Header{}}
	if !w.done(func() { s.handler.ServeHTTP(w, r) }) {
		*w = datagrams{header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}}
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "there is no answer of at most %d bytes; a longer file can be had in ranges\n", datagramAnswer)
	}
	out := w.bytes(r.Method == http.MethodHead)
	for len(out) > 0 {
		n := min(len(out), datagramSize)
		if _, err := pc.WriteTo(out[:n], to); err != nil {
			return
		}
		out = out[n:]
	}
}

// datagrams keeps an answer until it is whole.
type datagrams struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *datagrams) Header() http.Header { return w.header }

func (w *datagrams) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *datagrams) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.body.Len()+len(b) > datagramAnswer {
		return 0, errors.New("too long for datagrams")
	}
	return w.body.Write(b)
}

// FlushError is for scripts, whose answer waits with all others.
func (w *datagrams) FlushError() error { return nil }

// done runs f, and tells whether it has answered.
func (w *datagrams) done(f func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	f()
	return true
}

func (w *datagrams) bytes(head bool) []byte {
	w.WriteHeader(http.StatusOK)
	h := w.header
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Del("Transfer-Encoding")
	switch {
	case w.status == http.StatusNoContent || w.status == http.StatusNotModified:
		h.Del("Content-Length")
	case !head:
		h.Set("Content-Length", strconv.Itoa(w.body.Len()))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.0 %d %s\r\n", w.status, http.StatusText(w.status))
	h.Write(&b)
	b.WriteString("\r\n")
	if !head {
		b.Write(w.body.Bytes())
	}
	return b.Bytes()
}
