package sock

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Pump carries bytes both ways between two stream connections. The end of what one says is passed on as
// an end, while the other direction goes on (RFC 9293, 3.6); a reset is passed on as a reset. A peer who
// has closed its socket altogether, as far as its kind shows that, takes no answer: the other one has its
// end, and is closed.
//
// An idle direction has neither buffer nor pipe. A busy one between sockets of the kernel's has its bytes
// moved by splice(2) where there is that.
//
// The fields are set before Run. Drain and Cut may be called at any time, from anywhere.
type Pump struct {
	A, B    net.Conn
	Answers net.Conn // where what B says goes in place of A; nil is A

	// Look sees what A says, and what B says, before it is passed on; it may take its time. An error is
	// the pump's. nil sees nothing.
	Look [2]func(b []byte) error

	// Begin is passed on first, and Over tells what has ended before: what A says, and what B says.
	Begin [2][]byte
	Over  [2]bool

	Portion int // the most that is read at once, in bytes; 0 is as much as there is

	moved    [2]atomic.Int64
	ended    atomic.Int32 // directions that have
	draining atomic.Bool
	gone     atomic.Bool           // one has closed
	cause    atomic.Pointer[error] // Cut's
	broken   atomic.Pointer[error] // what ended it first
}

// Moved tells how many bytes were passed on of what A said, and of what B said.
func (p *Pump) Moved() (a, b int64) { return p.moved[0].Load(), p.moved[1].Load() }

// HalfClosed tells whether one of the two directions has ended.
func (p *Pump) HalfClosed() bool { return p.ended.Load() == 1 }

// Drain has nothing new taken: what the kernel has received by now is passed on, and then Run returns.
func (p *Pump) Drain() {
	p.draining.Store(true)
	p.A.SetReadDeadline(longAgo)
	p.B.SetReadDeadline(longAgo)
}

// Cut has Run return at once, with err; what has not been passed on is lost.
func (p *Pump) Cut(err error) {
	p.cause.CompareAndSwap(nil, &err)
	for _, c := range []net.Conn{p.A, p.B, p.Answers} {
		if c != nil {
			c.SetDeadline(longAgo)
		}
	}
}

// wake ends every wait, when the conversation is over.
func (p *Pump) wake() {
	p.A.SetDeadline(longAgo)
	p.B.SetDeadline(longAgo)
}

var longAgo = time.Unix(1, 0)

// A BrokenError says that a connection ended abruptly.
type BrokenError struct {
	Conn net.Conn
	Err  error
}

func (e *BrokenError) Error() string {
	return PeerName(e.Conn.RemoteAddr()) + ": " + Reason(e.Err).Error()
}
func (e *BrokenError) Unwrap() error { return e.Err }

// Run returns when both directions have ended, or as Drain and Cut say. With an error the conversation
// ended abruptly, and the caller passes that on with Abort for both connections; else it closes them.
// What was passed on before is in the peers' kernels then, unless they did not take it.
func (p *Pump) Run() error {
	back := p.A
	if p.Answers != nil {
		back = p.Answers
	}
	there := &lane{p: p, i: 0, src: p.A, dst: p.B}
	here := &lane{p: p, i: 1, src: p.B, dst: back}
	there.other, here.other = here, there
	done := make(chan struct{})
	go func() {
		defer close(done)
		here.run()
	}()
	there.run()
	<-done
	err := p.failed()
	if err != nil && p.cause.Load() == nil || p.draining.Load() || p.gone.Load() {
		p.flush(err) // a reset, which also a close with something unread is, would take away what is on its way
	}
	return p.failed()
}

// failed is why the conversation ended abruptly, if it did.
func (p *Pump) failed() error {
	if err := p.cause.Load(); err != nil {
		return *err
	}
	if err := p.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// flush waits until the peers' kernels have what they were sent, as long as they take something. One that
// is broken takes nothing.
func (p *Pump) flush(err error) {
	var broken *BrokenError
	var but net.Conn
	if errors.As(err, &broken) {
		but = broken.Conn
	}
	waitSent(func() int { return p.unsent(but) }, func() bool { return p.cause.Load() != nil })
}

// WaitSent waits until the kernel of c's peer has what it was sent, as long as it takes something and until
// ctx ends. After that a reset takes nothing away.
func WaitSent(ctx context.Context, c net.Conn) {
	waitSent(func() int {
		n, _ := Unsent(c)
		return n
	}, func() bool { return ctx.Err() != nil })
}

func waitSent(unsent func() int, over func() bool) {
	const patience = 5 * time.Second
	last, since := -1, time.Now()
	for pause := 500 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		n := unsent()
		if n != last {
			last, since = n, time.Now()
		}
		if n == 0 || time.Since(since) > patience || over() {
			return
		}
		time.Sleep(pause)
	}
}

// Unsent tells how many bytes of what was passed on are still in our kernel. It is for the time in
// which Run is running.
func (p *Pump) Unsent() int { return p.unsent(nil) }

func (p *Pump) unsent(but net.Conn) (sum int) {
	for _, c := range []net.Conn{p.A, p.B, p.Answers} {
		if c == nil || c == but {
			continue
		}
		if n, ok := Unsent(c); ok {
			sum += n
		}
	}
	return sum
}

// Abort closes c in a way that its peer takes for a reset, where there is that (TCP). Inside TLS nothing
// says then that this was the end.
func Abort(c net.Conn) {
	inner := Innermost(c)
	if tcp, ok := inner.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	inner.Close()
	c.Close()
}

// A lane is one direction.
type lane struct {
	p        *Pump
	i        int
	src, dst net.Conn
	other    *lane

	in, out syscall.RawConn // of src and dst, where they are the kernel's; else nil
	buf     []byte
	size    *sync.Pool // where buf is from
	read    func(fd uintptr) bool
	n       int
	got     error
	full    int // reads in a row that filled the buffer
}

const (
	smallRead = 16 << 10 // as much as most answers are, and as TLS has in a record
	largeRead = 128 << 10
	busy      = 3 // full reads in a row after which a direction counts as busy
)

var (
	small = sync.Pool{New: func() any { b := make([]byte, smallRead); return &b }}
	large = sync.Pool{New: func() any { b := make([]byte, largeRead); return &b }}
)

// rawOf returns how to read from and write to the kernel's own socket, or nil where there is more
// between it and the bytes.
func rawOf(c net.Conn) syscall.RawConn {
	switch c := c.(type) {
	case *net.TCPConn:
		raw, _ := c.SyscallConn()
		return raw
	case *net.UnixConn:
		raw, _ := c.SyscallConn()
		return raw
	case *proxied: // for writing
		return rawOf(c.Conn)
	}
	return nil
}

// run carries until src has ended, and passes the end on.
func (l *lane) run() {
	p := l.p
	err := l.begin()
	if err == nil {
		err = l.carry()
	}
	if err != nil {
		p.broken.CompareAndSwap(nil, &err)
	}
	last := p.ended.Add(1) == 2
	var broken *BrokenError
	switch {
	case err == nil && p.failed() == nil:
	case errors.As(err, &broken) && broken.Conn == l.dst && l.dst == l.other.src && !last:
		// What dst has said before it broke still comes.
		l.dst.SetReadDeadline(time.Now().Add(lastWords))
		return
	default:
		p.wake()
		return
	}
	CloseWrite(l.dst)
	switch {
	case p.draining.Load():
	case last:
		p.wake() // the other waits for a reset
	case p.Answers == nil:
		// The other direction goes on; that src was reset, or is gone, has to be heard of though nobody
		// writes to it.
		gone, err := waitGone(l.src)
		switch {
		case p.ended.Load() != 1 || p.draining.Load():
			return
		case gone:
			p.gone.Store(true)
		case err != nil:
			err = &BrokenError{l.src, err}
			p.broken.CompareAndSwap(nil, &err)
		default:
			return
		}
		p.wake()
	}
}

// begin finds out how bytes are moved, and passes on what has been read before.
func (l *lane) begin() error {
	src := l.src
	if after, ok := src.(*proxied); ok {
		src = after.Conn
		rest := after.rest
		after.rest = nil
		if len(rest) > 0 {
			if err := l.send(rest); err != nil {
				return err
			}
			l.p.moved[l.i].Add(int64(len(rest)))
		}
	}
	if b := l.p.Begin[l.i]; len(b) > 0 {
		l.p.Begin[l.i] = nil
		if err := l.send(b); err != nil {
			return err
		}
		l.p.moved[l.i].Add(int64(len(b)))
	}
	l.in, l.out = rawOf(src), rawOf(l.dst)
	return nil
}

// lastWords is for what a peer has sent before it broke: it is in our kernel already.
const lastWords = 200 * time.Millisecond

// CloseWrite says to c's peer that nothing more comes, where the kind of c can say that.
func CloseWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite() // it fails where the peer is gone, which reading tells better
	}
}

// carry passes on what comes, until the end of src or an error.
func (l *lane) carry() error {
	p := l.p
	for !p.Over[l.i] {
		var n int
		var err error
		if l.full >= busy && l.in != nil && l.out != nil && p.Look[l.i] == nil && p.Portion == 0 && canSplice {
			n, err = l.splice()
		} else {
			n, err = l.copy()
		}
		p.moved[l.i].Add(int64(n))
		switch {
		case err == nil:
		case err == io.EOF:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case p.failed() == nil && p.draining.Load():
			return l.drain()
		default: // it is over, and somebody else has said why
			return nil
		}
	}
	return nil
}

// copy passes on one read.
func (l *lane) copy() (int, error) {
	n, err := l.receive()
	if n > 0 {
		if e := l.send(l.buf[:n]); e != nil {
			l.release()
			return 0, e
		}
	}
	l.release()
	if err != nil && err != io.EOF && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = l.p.brokenBy(l.src, err)
	}
	return n, err
}

// brokenBy is the error of a connection, if it was not Cut that broke it.
func (p *Pump) brokenBy(c net.Conn, err error) error {
	if cause := p.cause.Load(); cause != nil {
		return *cause
	}
	return &BrokenError{c, err}
}

// send passes b on.
func (l *lane) send(b []byte) error {
	if look := l.p.Look[l.i]; look != nil {
		if err := look(b); err != nil {
			return err
		}
	}
	if _, err := l.dst.Write(b); err != nil {
		return l.p.brokenBy(l.dst, err)
	}
	return nil
}

// receive reads into l.buf, which it takes when there is something to read.
func (l *lane) receive() (int, error) {
	if l.in == nil {
		l.take()
		n, err := l.src.Read(l.buf)
		l.count(n)
		return n, err
	}
	if l.read == nil {
		l.read = func(fd uintptr) bool {
			l.take()
			for {
				l.n, l.got = syscall.Read(int(fd), l.buf)
				if l.got != syscall.EINTR {
					break
				}
			}
			if l.got == syscall.EAGAIN {
				l.release()
				return false
			}
			return true
		}
	}
	l.n, l.got = 0, nil
	if err := l.in.Read(l.read); err != nil {
		return 0, err
	}
	if l.got != nil {
		return 0, l.got
	}
	if l.n == 0 {
		return 0, io.EOF
	}
	l.count(l.n)
	return l.n, nil
}

func (l *lane) count(n int) {
	if n == len(l.buf) {
		l.full = min(l.full+1, busy)
	} else {
		l.full = 0
	}
}

func (l *lane) take() {
	if l.buf != nil {
		return
	}
	l.size = &small
	if l.full >= busy {
		l.size = &large
	}
	l.buf = *l.size.Get().(*[]byte)
	if n := l.p.Portion; n > 0 && n < len(l.buf) {
		l.buf = l.buf[:n]
	}
}

func (l *lane) release() {
	if l.buf != nil {
		b := l.buf[:cap(l.buf)]
		l.buf = nil
		l.size.Put(&b)
	}
}

// drainTime is how long something that TLS has received may take to be seen.
const drainTime = 50 * time.Millisecond

// drain passes on what has been received when Drain was called, and no more.
func (l *lane) drain() error {
	left := 4 << 20 // more is not received by then
	end := time.Now().Add(drainTime)
	if l.in != nil {
		if n, ok := unread(l.in); ok {
			left = n
		}
	}
	for left > 0 && l.p.cause.Load() == nil {
		if l.in == nil {
			l.src.SetReadDeadline(end)
		} else {
			l.src.SetReadDeadline(time.Now().Add(time.Second)) // it is there
		}
		l.take()
		b := l.buf[:min(len(l.buf), left)]
		n, err := l.src.Read(b)
		if n > 0 {
			if e := l.send(b[:n]); e != nil {
				l.release()
				return e
			}
			l.p.moved[l.i].Add(int64(n))
			left -= n
		}
		l.release()
		if err != nil {
			return nil
		}
	}
	return nil
}
