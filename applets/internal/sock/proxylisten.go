package sock

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	proxyTimeout = 5 * time.Second // for a header to come whole; whoever sends one does so at once
	proxyWaiting = 1024            // connections at most that wait for their headers; the rest waits in the backlog
)

// A ProxyListener takes the PROXY header off connections from trusted networks.
type ProxyListener struct {
	net.Listener

	// Refused, where it is set before the first Accept, is told of connections that are closed because
	// their header did not come or was none. It is called by several goroutines.
	Refused func(peer net.Addr, err error)

	trusted AccessList
	start   sync.Once
	ready   chan net.Conn
	failed  chan error      // one that Accept returns, for good unless it is temporary
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
}

// NewProxyListener returns a listener whose connections from the networks of trusted have to begin with
// a PROXY header (version 1 or 2), within 5 s, and tell the header's addresses as theirs. Connections from
// elsewhere pass untouched, as if they had come to l. Accept never waits for a slow header. The listener
// owns l; Close also closes the connections that are still waiting for their headers.
//
// The empty list trusts everybody.
func NewProxyListener(l net.Listener, trusted AccessList) *ProxyListener {
	p := &ProxyListener{Listener: l, trusted: trusted, ready: make(chan net.Conn), failed: make(chan error)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// Accept returns the next connection whose header is there, or that needs none.
func (l *ProxyListener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.accept() })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close closes the listener.
func (l *ProxyListener) Close() error {
	l.stop()
	return l.Listener.Close()
}

func (l *ProxyListener) accept() {
	room := make(chan struct{}, proxyWaiting)
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.failed <- err: // the caller decides whether to go on
			case <-l.ctx.Done():
				return
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !l.trusted.Allows(c.RemoteAddr()) {
			l.hand(c)
			continue
		}
		select {
		case room <- struct{}{}:
		case <-l.ctx.Done():
			c.Close()
			return
		}
		go func() {
			defer func() { <-room }()
			p, err := l.header(c)
			if err != nil {
				if l.Refused != nil && l.ctx.Err() == nil {
					l.Refused(c.RemoteAddr(), err)
				}
				c.Close()
				return
			}
			l.hand(p)
		}()
	}
}

// hand gives c to Accept, or closes it where nobody will accept any more.
func (l *ProxyListener) hand(c net.Conn) {
	select {
	case l.ready <- c:
	case <-l.ctx.Done():
		c.Close()
	}
}

// header reads the header of c, and not for longer than the listener lives.
func (l *ProxyListener) header(c net.Conn) (net.Conn, error) {
	end := context.AfterFunc(l.ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	p, err := ReadProxy(c, time.Now().Add(proxyTimeout))
	if !end() { // closed: the deadline may come after ReadProxy took its own away
		return nil, net.ErrClosed
	}
	return p, err
}

// ReadProxy takes the PROXY header off c, until deadline at the latest, and returns a connection that
// begins after it and tells its addresses. With an error c is of no use; ReadProxy does not close it.
func ReadProxy(c net.Conn, deadline time.Time) (net.Conn, error) {
	if err := c.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, 256)
	for {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, MaxProxyHeader), buf...)
		}
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		h, used, perr := ParseProxy(buf)
		switch {
		case perr == nil:
			p := &proxied{Conn: c, rest: buf[used:], local: c.LocalAddr(), remote: c.RemoteAddr()}
			if !h.Local {
				p.local, p.remote = h.Dest, h.Source
			}
			return p, c.SetReadDeadline(time.Time{})
		case perr != ErrProxyShort:
			return nil, perr
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, errors.New("no PROXY header came in time")
		case err == io.EOF:
			return nil, ErrProxyShort
		case err != nil:
			return nil, Reason(err)
		}
	}
}

// proxied is a connection after its header. Where the connection below can move bytes by itself, so
// can this one.
type proxied struct {
	net.Conn
	rest          []byte // read behind the header
	local, remote net.Addr
}

func (p *proxied) LocalAddr() net.Addr  { return p.local }
func (p *proxied) RemoteAddr() net.Addr { return p.remote }

func (p *proxied) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *proxied) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := p.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{p.Conn}, r)
}

// CloseWrite ends what this side sends.
func (p *proxied) CloseWrite() error {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
