package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"sockbox/applets/internal/sock"
)

const (
	maxCalls    = 256             // requests at once; the server has a limit of its own, and a queue
	callTimeout = 5 * time.Second // for the connection
	maxTogether = 48 << 10        // a request and its body that a socket takes whole, whoever reads from it
)

// StartsPHP tells whether php, as it is in DynamicOptions, is a program to be started, and not a server.
func StartsPHP(php string) bool {
	if php == "" {
		return false
	}
	_, server, _ := fastcgiAddr(php)
	return !server
}

// fastcgiAddr tells an address from the name of a program: unix:PATH, @NAME, HOST:PORT, and
// tcp:HOST:PORT or tcp://HOST:PORT.
func fastcgiAddr(s string) (a sock.Addr, ok bool, err error) {
	switch rest, tcp := strings.CutPrefix(s, "tcp:"); {
	case strings.HasPrefix(s, "unix:"), s[0] == '@':
		a, err = sock.ParseAddr(s)
	case tcp:
		a, err = sock.ParseAddr("tcp://" + strings.TrimPrefix(rest, "//"))
	case !strings.Contains(s, "/") && strings.Contains(s, ":"):
		a, err = sock.ParseAddr(s)
	default:
		return a, false, nil
	}
	if err == nil && a.Net == "tcp" && (a.Host == "" || a.Port == 0) {
		err = fmt.Errorf("%s: a FastCGI server is at HOST:PORT or unix:PATH", s)
	}
	return a, true, err
}

// call has a FastCGI server answer.
func (x *exchange) call() error {
	if err := x.enter(x.calls); err != nil {
		return err
	}
	defer x.calls.give(x.from)
	conn, err := x.dial()
	if err != nil {
		return err
	}
	defer conn.Close() // if the script has not ended by then, that is how it is told

	stderr := errorLines{log: x.errors, script: x.script.file}
	defer stderr.end()
	from := &fcgiReader{from: conn, errors: stderr.add}
	x.wake = func() { from.SetReadDeadline(longAgo) }

	b := appendParams(appendBegin(nil), environment(&x.o, x.r, x.script, x.peer, x.body.length, false))
	b = appendStream(b, fcgiStdin, x.body.memory)
	if x.body.file != nil {
		x.body.stream = x.body.file
	}
	if x.body.stream == nil {
		b = appendRecordHeader(b, fcgiStdin, 0)
	}
	// A server that does not want it all may have answered already: who reads knows more.
	send := func(b []byte) error {
		_, err := conn.Write(b)
		return err
	}
	conn.SetWriteDeadline(time.Now().Add(x.o.Timeout))
	wanted := true
	if len(b) <= maxTogether || x.body.stream != nil {
		wanted = send(b) == nil
	} else {
		go send(b)
	}
	if x.body.stream != nil {
		conn.SetWriteDeadline(time.Time{})
		x.stream(wanted, func(body []byte) error {
			if len(body) == 0 {
				return send(appendRecordHeader(b[:0], fcgiStdin, 0))
			}
			b = appendStream(b[:0], fcgiStdin, body)
			return send(b)
		})
	}
	err = x.relay(from)
	if errors.Is(err, errOverloaded) && !x.answering {
		return &refused{http.StatusServiceUnavailable, err}
	}
	return err
}

func (x *exchange) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(x.r.Context(), waitForSlot)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		conn, err := sock.Dial(ctx, x.fastcgi, sock.DialOptions{Timeout: callTimeout})
		switch {
		case err == nil:
			return conn, nil
		case x.r.Context().Err() != nil:
			return nil, &refused{0, errGone}
		case ctx.Err() != nil:
			return nil, &refused{http.StatusServiceUnavailable, err}
		case errors.Is(err, syscall.EAGAIN): // a unix socket whose queue is full
		default:
			return nil, &refused{http.StatusBadGateway, err}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}
