package secret

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Plain says from whom a listener takes the plain wire, on which the key itself is sent.
type Plain int

const (
	PlainLoopback Plain = iota // from this machine
	PlainAnywhere
	PlainNever
)

// Takes tells whether a peer at a may speak the plain wire.
func (p Plain) Takes(a net.Addr) bool {
	switch p {
	case PlainAnywhere:
		return true
	case PlainNever:
		return false
	}
	switch a := a.(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	return false
}

// A Server lets in who proves a key, and paces those who do not (see Gate). Which of the two wires a
// peer speaks is told by its first byte: TLS begins with 0x16. Its fields are set before Serve.
type Server struct {
	Key     Key
	Purpose string
	Plain   Plain
	Allow   func(net.Addr) bool         // who may connect at all
	Line    func(line []byte) bool      // whether a line of the plain wire, without its end, shows the key
	Handle  func(context.Context, Peer) // serves a peer that has; it closes Peer.Conn
	Note    func(peer net.Addr, err error)

	// Tickets, where there are any, prove as much as the key. Without a Key nothing else does.
	Tickets func(TicketID) (Ticket, bool)

	// What several servers of one process share; nil: each makes its own.
	Identity *Identity
	Gate     *Gate
}

// A Peer is one that has proven the key.
type Peer struct {
	Conn net.Conn
	Addr net.Addr
	Line []byte // on the plain wire the line that showed the key; else nil

	Ticket *TicketID // the ticket that was shown in place of the key; else nil
}

// RefusedLine answers a line of the plain wire that does not show the key.
const RefusedLine = "NO\n"

// ErrNotTaken says that a peer spoke the plain wire where that is not taken.
var ErrNotTaken = errors.New("a key in clear is not taken from there")

// Serve accepts from ln until ctx ends, and returns when no peer is being served any more. It closes
// ln. An error is ln's.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	id, gate := s.Identity, s.Gate
	if id == nil {
		var err error
		if id, err = NewIdentity(); err != nil {
			ln.Close()
			return err
		}
	}
	if gate == nil {
		gate = NewGate()
	}
	var peers sync.WaitGroup
	defer peers.Wait()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	for {
		c, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // as without descriptors: it passes
			s.Note(ln.Addr(), err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		case !s.Allow(c.RemoteAddr()):
			s.Note(c.RemoteAddr(), errors.New("not allowed"))
			c.Close()
		default:
			turn := gate.Admit(c)
			peers.Go(func() { s.peer(ctx, id, turn, c) })
		}
	}
}

// peer sees whether one peer has the key, and serves it then.
func (s *Server) peer(ctx context.Context, id *Identity, turn *Turn, c net.Conn) {
	addr := c.RemoteAddr()
	p, err := s.admit(ctx, id, turn, c)
	turn.Done(err == nil)
	if err != nil {
		if turn.Replaced() { // which looks like anything, from within
			err = ErrReplaced
		}
		if ctx.Err() == nil {
			s.Note(addr, err)
		}
		c.Close()
		return
	}
	s.Handle(ctx, p)
}

func (s *Server) admit(ctx context.Context, id *Identity, turn *Turn, c net.Conn) (Peer, error) {
	// Nobody waits longer for a first byte than for the rest.
	c.SetDeadline(time.Now().Add(HandshakeTime))
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	r := &peeked{Conn: c, r: bufio.NewReaderSize(c, maxLine)}
	first, err := r.r.Peek(1)
	if err != nil {
		return Peer{}, silent(err)
	}
	p := Peer{Conn: r, Addr: c.RemoteAddr()}
	if first[0] == recordHandshake {
		if err := turn.Wait(ctx); err != nil {
			return p, err
		}
		c.SetDeadline(time.Time{}) // Accept has its own
		ctx, cancel := after(ctx, lastMoment)
		defer cancel()
		p.Conn, p.Ticket, err = id.accept(ctx, r, s.Key, s.Purpose, s.Tickets)
		return p, err
	}
	if s.Line == nil || !s.Plain.Takes(c.RemoteAddr()) {
		return p, ErrNotTaken
	}
	line, err := readLine(r.r)
	if err != nil {
		return p, silent(err)
	}
	if err := turn.Wait(ctx); err != nil {
		return p, err
	}
	c.SetDeadline(time.Now().Add(HandshakeTime))
	if !s.Line(line) {
		io.WriteString(c, RefusedLine)
		return p, ErrRefused
	}
	p.Line = line
	return p, nil
}

// lastMoment is for peers in the midst of their proof when the server ends: cut off there, they could
// not know whether they had been served.
const lastMoment = 200 * time.Millisecond

// after returns a context that ends some time after ctx.
func after(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(d, func() { cancel(context.Cause(ctx)) })
	})
	return later, func() { stop(); cancel(nil) }
}

// silent says what a peer is that went away, or waited, before it said anything about the key.
func silent(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("went away without a key")
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("said nothing within %v", HandshakeTime)
	}
	return err
}

const recordHandshake = 0x16 // the first byte of TLS (RFC 8446, 5.1); no key in clear begins with it

// maxLine is the longest line of the plain wire: a key, a name and an address.
const maxLine = maxKey + 1024

// readLine reads a line of the plain wire, ended by "\n", "\r\n" or the end of the stream.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
	case err == io.EOF && len(line) > 0:
		return line, nil
	case err != nil:
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// A peeked is a connection of which the first bytes have been looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// NetConn returns the connection itself, as that of a tls.Conn does.
func (p *peeked) NetConn() net.Conn { return p.Conn }
