package launch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// CallOptions say which program is to run, and where.
type CallOptions struct {
	Addr  sock.Addr
	Dial  sock.DialOptions
	Key   secret.Key
	Keyed bool        // there is a Key
	TLS   *tls.Config // and not Key
	Args  []string    // the program first

	Stdin          io.Reader // nil: it has none
	Stdout, Stderr io.Writer
	Terminal       *os.File // the program gets a terminal that is as large as this one
	Window         *life.Window

	Timeout time.Duration // 0: none
}

// A Called is how a program has ended that was called.
type Called struct {
	Code   int            // what it exited with, if Signal is 0
	Signal syscall.Signal // what it was ended by

	// Got is the last signal that came meanwhile. One that could not be passed on has ended the call.
	Got syscall.Signal
}

var (
	// ErrCallTimeout says that the time is over, and that the program was told to end.
	// It is os.ErrDeadlineExceeded.
	ErrCallTimeout error = callTimeout{}

	// ErrNoAnswer says that the server has closed the connection without a word.
	ErrNoAnswer = errors.New("closed without an answer")
)

type callTimeout struct{}

func (callTimeout) Error() string { return "timed out: the program has not ended yet, and is told to" }
func (callTimeout) Unwrap() error { return os.ErrDeadlineExceeded }

// IsOutput tells whether a call has ended because what the program writes could not be written here.
func IsOutput(err error) bool {
	var own *writeError
	return errors.As(err, &own)
}

// Call has the server run a program as if it ran here, and returns when it has ended: it reads our
// input, its output is ours, and INT, TERM, HUP and WINCH that come to this process go to it, if the
// server is one of ours. With another server, which knows no signals, INT, TERM and HUP close the
// connection, by which the program is ended. Our input may be read further than the program did.
func Call(ctx context.Context, o CallOptions) (Called, error) {
	c, pairs, err := o.dial(ctx)
	if err != nil {
		return Called{}, err
	}
	call := &call{CallOptions: o, conn: c, pairs: pairs}
	call.ctx, call.cancel = context.WithCancelCause(ctx)
	defer call.cancel(nil)
	stop := context.AfterFunc(call.ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	if o.Timeout > 0 {
		timer := time.AfterFunc(o.Timeout, func() { call.cancel(ErrCallTimeout) })
		defer timer.Stop()
	}
	// Before the program runs: what is to end it must not end us alone.
	undo := life.OnSignals(call.signal, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGWINCH)
	defer undo()
	r, err := call.run()
	call.mu.Lock()
	defer call.mu.Unlock()
	end := Called{Code: r.code, Got: call.got}
	if r.signal != "" {
		if end.Signal = signalNumber(r.signal); end.Signal == 0 && err == nil {
			err = fmt.Errorf("%s: the program was ended by a signal that is not known here: %q", o.Addr, r.signal)
		}
	}
	if cause := context.Cause(call.ctx); err != nil && cause != nil {
		err = cause
	}
	return end, err
}

// errSignal ends a call whose server knows no signals.
var errSignal = errors.New("ended by a signal")

func (o *CallOptions) dial(ctx context.Context) (c net.Conn, pairs bool, err error) {
	if o.Timeout > 0 && (o.Dial.Timeout == 0 || o.Timeout < o.Dial.Timeout) {
		o.Dial.Timeout = o.Timeout
	}
	if c, err = sock.Dial(ctx, o.Addr, o.Dial); err != nil {
		return nil, false, err
	}
	if t, ok := c.(*net.TCPConn); ok {
		// When we are killed, behind input that the program does not read: what only ends our half would
		// wait in line, and the server not learn that we have gone. What is sent to us we have by the end.
		t.SetLinger(0)
	}
	switch {
	case o.Keyed:
		t, err := secret.Dial(ctx, c, o.Key, secret.ForExec)
		if err != nil {
			c.Close()
			return nil, false, fmt.Errorf("%s: %w", o.Addr, sock.Reason(err))
		}
		return t, true, nil
	case o.TLS != nil:
		t := tls.Client(c, o.TLS)
		ctx, cancel := context.WithTimeout(ctx, handshakeTime)
		defer cancel()
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, false, fmt.Errorf("%s: %w", o.Addr, sock.Reason(err))
		}
		return t, t.ConnectionState().NegotiatedProtocol == ALPN, nil
	}
	return c, false, nil
}

type call struct {
	CallOptions
	conn   net.Conn
	pairs  bool // what we send are pairs
	ctx    context.Context
	cancel context.CancelCauseFunc

	sending sync.Mutex // on conn
	mu      sync.Mutex
	began   bool     // the request has been sent
	control net.Conn // where signals go: a unix socket of its own, or conn
	got     syscall.Signal
	pending []syscall.Signal
	many    int
}

// ErrNoTerminal says that the server cannot be asked for a terminal.
var ErrNoTerminal = errors.New("no terminal can be had: the server is not sockbox, or a relay is between")

func (c *call) run() (report, error) {
	var first []byte
	if c.Window != nil {
		first = appendNetstring(appendNetstring(nil, tagWindow), windowText(*c.Window))
	}
	request := appendRequest(nil, c.Args)
	if c.Stdin == nil {
		request = c.chunk(request, nil)
	}
	err := c.ask(first, request)
	if c.control != nil && c.control != c.conn {
		defer c.control.Close()
	}
	c.mu.Lock()
	c.began = true
	for _, sig := range c.pending {
		c.pass(sig)
	}
	c.mu.Unlock()
	switch {
	case errors.Is(err, ErrNoTerminal):
		return report{}, fmt.Errorf("%s: %w", c.Addr, err)
	case err != nil && !gone(err):
		return report{}, fmt.Errorf("%s: %w", c.Addr, sock.Reason(err))
	}
	if c.Stdin != nil && err == nil {
		go c.feed()
	}
	r, err := readReport(&netstrings{r: c.conn, buf: make([]byte, pieceSize)}, c.Stdout, c.Stderr)
	switch {
	case err == nil || IsOutput(err):
		return r, err
	case err == io.EOF, gone(err):
		err = ErrNoAnswer
	case err == io.ErrUnexpectedEOF:
		err = errors.New("the connection ended, and how the program did is not known")
	default:
		err = sock.Reason(err)
	}
	return r, fmt.Errorf("%s: %w", c.Addr, err)
}

// gone tells of a connection that the server has closed: what it has said before can still be read.
func gone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// ask sends the request.
func (c *call) ask(first, request []byte) error {
	if c.pairs {
		c.control = c.conn
		_, err := c.conn.Write(append(first, request...))
		return err
	}
	if u, ok := c.conn.(*net.UnixConn); ok {
		begin := len(request)
		if first != nil { // without a terminal it is not to be run
			begin = 1
		}
		control, err := sendAlong(u, request[:begin], first)
		if err != nil {
			return err
		}
		c.control = control
		if first != nil {
			if err = c.understood(u, control); err == nil {
				_, err = u.Write(request[begin:])
			}
		}
		return err
	}
	if first != nil {
		return ErrNoTerminal
	}
	_, err := c.conn.Write(request)
	return err
}

// understood waits until the server has said that it has the window. Who passes on only what he reads, as
// a relay, has lost the socket that came along, and the other end of it is at its end.
func (c *call) understood(u *net.UnixConn, control net.Conn) error {
	defer context.AfterFunc(c.ctx, func() { control.Close() })()
	answer := netstrings{r: control, buf: make([]byte, 2*maxWord)}
	tag, err := answer.whole(maxWord)
	if err == nil {
		_, err = answer.whole(maxWord)
	}
	switch {
	case c.ctx.Err() != nil:
		return c.ctx.Err()
	case err == nil && tag == tagWindow:
		return nil
	}
	raw, bad := u.SyscallConn()
	if bad != nil {
		return bad
	}
	left := false
	raw.Control(func(fd uintptr) { left = hungUp(fd, true) })
	if left { // the server wants none of us
		return syscall.EPIPE
	}
	return ErrNoTerminal
}

// chunk appends a piece of standard input; an empty one is its end.
func (c *call) chunk(b, p []byte) []byte {
	if c.pairs {
		b = appendNetstring(b, tagStdin)
	}
	return appendNetstring(b, p)
}

// feed sends our input. An error is of a connection that has ended: the one who reads knows more.
func (c *call) feed() {
	p, b := make([]byte, pieceSize), make([]byte, 0, pieceSize+2*headSize)
	for {
		n, err := c.Stdin.Read(p)
		if n > 0 || err != nil {
			b = b[:0]
			if n > 0 {
				b = c.chunk(b, p[:n])
			}
			if err != nil { // a program that reads no further will not miss it
				b = c.chunk(b, nil)
			}
			c.sending.Lock()
			_, bad := c.conn.Write(b)
			c.sending.Unlock()
			if bad != nil || err != nil {
				return
			}
		}
	}
}

// signal passes a signal on, or ends the call.
func (c *call) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sig != syscall.SIGWINCH {
		c.got = sig
		if c.many++; c.many > 2 { // whoever asks three times wants us to leave
			c.cancel(errSignal)
			return
		}
	}
	if !c.began {
		c.pending = append(c.pending, sig)
		return
	}
	c.pass(sig)
}

// pass sends a signal. mu is held.
func (c *call) pass(sig syscall.Signal) {
	tag, value := tagSignal, signalName(sig)
	if sig == syscall.SIGWINCH && c.Window != nil {
		columns, lines, ok := life.TerminalSize(c.Terminal)
		if !ok {
			return
		}
		tag, value = tagWindow, windowText(life.Window{Rows: uint16(lines), Columns: uint16(columns)})
	}
	if err := c.tell(appendNetstring(appendNetstring(nil, tag), value)); err != nil && sig != syscall.SIGWINCH {
		c.cancel(errSignal)
	}
}

// tell sends a pair, and does not wait for long: on a connection that is full of input, of which the
// program reads nothing, there is no way through.
func (c *call) tell(pair []byte) error {
	const patience = time.Second
	switch c.control {
	case nil:
		return errSignal
	case c.conn:
		for began := time.Now(); !c.sending.TryLock(); time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > patience {
				return os.ErrDeadlineExceeded
			}
		}
		defer c.sending.Unlock()
		defer c.conn.SetWriteDeadline(time.Time{})
	}
	c.control.SetWriteDeadline(time.Now().Add(patience))
	_, err := c.control.Write(pair)
	return err
}
