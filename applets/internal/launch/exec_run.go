package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/sock"
)

const (
	pieceSize   = 64 << 10 // what is read from a program at once, as much as a pipe holds
	headSize    = 32       // in front of it there is room for "6:stdout,65536:"
	requestSize = 4 << 10  // what is read from a client, until it sends more than that

	// lastWords is how long a client that reads nothing is waited for when its program is gone.
	lastWords = 2 * time.Second
)

var (
	outPieces = sync.Pool{New: func() any { b := make([]byte, headSize+pieceSize+1); return &b }}
	inPieces  = sync.Pool{New: func() any { b := make([]byte, pieceSize); return &b }}
)

// A run is a connection, and the program that was asked for over it.
//
// The goroutine that serves it reads the request, starts the program, passes its standard output on,
// and in the end says how it has ended. A second one passes its standard error on. A third one reads
// what the client goes on to send, and is the one that sees it leave. Each of them holds no buffer
// while it waits for bytes, so that what is idle is small; and all of them stop reading where nobody
// takes what they have read.
type run struct {
	s       *execServer
	conn    net.Conn
	pairs   bool          // what the client sends are pairs
	control *net.UnixConn // where signals come from, if a client has passed it
	began   time.Time
	number  uint64
	asked   atomic.Bool // the request is complete

	in   netstrings
	held int64 // bytes of arguments

	child atomic.Pointer[life.Child]
	name  string
	size  *life.Window // of the terminal that was asked for

	sending  sync.Mutex // of answers
	gone     atomic.Bool
	done     atomic.Bool // the program has ended, and its output: whoever leaves now is right
	stopping sync.Once

	mu       sync.Mutex
	stopped  chan struct{} // closed when Stop has returned; nil: it was not called
	watching *os.File
	over     bool // there is nothing to watch for any more

	ended   bool // standard input: its end has come
	open    bool // what has come of it ends within a line
	readers sync.WaitGroup
}

func (r *run) warn(format string, args ...any) {
	r.s.Warn("connection %d: %s", r.number, fmt.Sprintf(format, args...))
}

func (r *run) debug(format string, args ...any) {
	if r.s.Debug != nil {
		r.s.Debug("connection %d: %s", r.number, fmt.Sprintf(format, args...))
	}
}

func (r *run) serve() {
	defer r.conn.Close()
	defer r.s.exit(r) // before: whoever sees the end may come again at once
	var deadline *time.Timer
	if r.s.Timeout > 0 {
		r.conn.SetReadDeadline(r.began.Add(r.s.Timeout))
	}
	defer context.AfterFunc(r.s.ctx, func() {
		r.conn.SetReadDeadline(time.Unix(1, 0))
		r.stop(r.debug, "the server ends")
	})()

	buf := make([]byte, requestSize)
	r.in = netstrings{r: r.conn, buf: buf}
	if u, ok := r.conn.(*net.UnixConn); ok {
		r.in.r = &firstRead{Reader: u, run: r, conn: u}
	}
	args, err := r.request()
	if r.control != nil {
		defer r.control.Close()
	}
	if err != nil {
		r.s.shrink(r.held)
		switch {
		case r.s.ctx.Err() != nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.warn("closed, its request is not complete after %v", time.Since(r.began).Round(time.Second))
		case err == io.EOF:
			r.debug("closed without a request")
		case !errors.Is(err, net.ErrClosed):
			r.warn("closed: %v", sock.Reason(err))
		}
		return
	}
	r.conn.SetReadDeadline(time.Time{})
	child, err := r.start(args)
	r.s.shrink(r.held)
	if err != nil {
		r.refuse(args[0], err)
		return
	}
	if r.s.ctx.Err() != nil { // it may have looked before there was a child
		r.stop(r.debug, "the server ends")
	}
	if r.s.Timeout > 0 {
		name := args[0] // and not all of them, for as long as it runs
		deadline = time.AfterFunc(time.Until(r.began.Add(r.s.Timeout)), func() {
			r.stop(r.warn, fmt.Sprintf("%s: its time is over, %v", name, r.s.Timeout))
		})
		defer deadline.Stop()
	}

	r.s.workers.Go(&r.readers, r.input)
	if r.control != nil {
		r.readers.Go(func() { r.commands(&netstrings{r: r.control, buf: make([]byte, 2*maxWord)}) })
	}
	var other sync.WaitGroup
	if child.Stderr != nil {
		r.s.workers.Go(&other, func() { r.output(tagStderr, child.Stderr) })
	}
	if r.s.Linger >= 0 {
		go r.cut(child)
	}
	r.output(tagStdout, child.Stdout)
	other.Wait()
	<-child.Done()
	r.done.Store(true)
	r.report(child.Wait())
	r.finish(child)
}

// request reads what program is asked for.
func (r *run) request() ([]string, error) {
	grow := func(total int64) error {
		err := r.s.grow(r.held, total)
		if err == nil {
			if total > smallRequest && r.held <= smallRequest { // it takes from what is for all
				soon := time.Now().Add(unasked)
				if all := r.began.Add(r.s.Timeout); r.s.Timeout > 0 && all.Before(soon) {
					soon = all
				}
				r.conn.SetReadDeadline(soon)
			}
			r.held = total
		}
		return err
	}
	pair := r.pair
	if !r.pairs {
		pair = nil
	}
	args, err := readRequest(&r.in, grow, pair)
	r.asked.Store(err == nil)
	return args, err
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// firstRead is the connection; with the first bytes a descriptor may come along.
type firstRead struct {
	io.Reader
	run  *run
	conn *net.UnixConn
}

func (f *firstRead) Read(b []byte) (n int, err error) {
	n, f.run.control, err = received(f.conn, b)
	f.run.in.r = f.Reader
	if f.run.control != nil {
		f.run.beside()
	}
	return n, err
}

// beside reads what stands at the socket that came along. A window is answered: the client waits for that,
// since whoever passes its bytes on would have lost the socket.
func (r *run) beside() {
	b := make([]byte, 4*maxWord)
	said := netstrings{buf: b, at: b[:waiting(r.control, b)], r: eof{}}
	for {
		tag, err := said.whole(maxWord)
		if err != nil {
			break
		}
		value, err := said.whole(maxWord)
		if err != nil || r.pair(tag, value) != nil {
			break
		}
	}
	if r.size != nil {
		r.control.SetWriteDeadline(time.Now().Add(lastWords))
		r.control.Write(appendNetstring(appendNetstring(nil, tagWindow), windowText(*r.size)))
	}
}

// pair is something that only a client of our own says.
func (r *run) pair(tag, value string) error {
	child := r.child.Load()
	switch tag {
	case tagWindow:
		w, err := parseWindow(value)
		if err != nil {
			return err
		}
		if child == nil {
			r.size = &w
		} else {
			child.Resize(w)
		}
	case tagSignal:
		sig := signalNumber(value)
		if child != nil && sig != 0 {
			r.debug("signal %s", signalName(sig))
			child.Signal(sig)
		}
	default:
		return malformed("%q is said by nobody here", tag)
	}
	return nil
}

// commands does what the client says beside its input, until it has gone.
func (r *run) commands(s *netstrings) {
	for {
		tag, err := s.whole(maxWord)
		if err != nil {
			return
		}
		value, err := s.whole(maxWord)
		if err != nil || r.pair(tag, value) != nil {
			return
		}
	}
}

func (r *run) start(args []string) (*life.Child, error) {
	cmd, err := r.s.command(args)
	if err != nil {
		return nil, err
	}
	const end = "0:,"
	switch {
	case r.size != nil:
		cmd.Pty, cmd.Window, cmd.Stdin = true, r.size, life.Pipe
	case !r.pairs && len(r.in.at) >= len(end) && string(r.in.at[:len(end)]) == end:
		// There is no input, and so no pipe for it. What the program has is a pipe all the same.
		cmd.Stdin, r.ended = r.s.none, true
		r.in.at = r.in.at[len(end):]
	default:
		cmd.Stdin = life.Pipe
	}
	if r.s.Debug != nil {
		r.debug("starting %q", args)
	}
	child, err := life.Start(cmd)
	if err != nil {
		return nil, err
	}
	r.s.count.Add(1)
	r.s.mu.Lock()
	r.name = args[0]
	r.s.mu.Unlock()
	r.child.Store(child)
	r.debug("started, pid %d", child.PID())
	return child, nil
}

// refuse tells why there is no program.
func (r *run) refuse(name string, err error) {
	status, why := 126, sock.Reason(err)
	var errno syscall.Errno
	switch {
	case errors.Is(err, life.ErrNotFound):
		status, why = 127, syscall.ENOENT
	case errors.As(err, &errno):
		why = errno
	}
	r.warn("%s: cannot be started: %v", name, why)
	if r.s.Strict {
		return
	}
	text := why.Error()
	if first, size := utf8.DecodeRuneInString(text); size > 0 { // as other programs have it from strerror(3)
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	b := appendNetstring(appendNetstring(nil, tagStderr), "sockbox: "+name+": "+text+"\n")
	b = appendNetstring(appendNetstring(b, tagExitCode), fmt.Sprint(status))
	r.conn.SetWriteDeadline(time.Now().Add(lastWords))
	if _, err := r.conn.Write(b); err == nil && !r.ended {
		r.drain()
	}
}

// drain lets a client finish what it is sending, which a connection that is closed meanwhile would make
// an error, and so what it was told be lost.
func (r *run) drain() {
	half, ok := r.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	r.conn.SetReadDeadline(time.Now().Add(lastWords))
	if r.s.ctx.Err() != nil {
		return
	}
	for total := 0; total < 16<<20; {
		n, err := r.conn.Read(r.in.buf)
		if total += n; err != nil {
			return
		}
	}
}

// output passes on what the program writes to one of its streams, until nobody has that open.
func (r *run) output(tag string, from io.ReadCloser) {
	defer from.Close()
	raw, err := from.(syscall.Conn).SyscallConn()
	if err != nil {
		return
	}
	head := appendNetstring(nil, tag)
	for {
		var n int
		var piece *[]byte
		var end error
		// The buffer is taken when there is something, and the turn to send with it.
		err := raw.Read(func(fd uintptr) bool {
			r.sending.Lock()
			piece = outPieces.Get().(*[]byte)
			var again bool
			n, again, end = reads(fd, (*piece)[headSize:headSize+pieceSize])
			if again || end != nil {
				outPieces.Put(piece)
				r.sending.Unlock()
			}
			return !again
		})
		if err != nil || end != nil {
			return
		}
		b := *piece
		b[headSize+n] = ','
		var digits [20]byte
		length := append(appendInt(digits[:0], n), ':')
		at := headSize - len(length)
		copy(b[at:], length)
		at -= len(head)
		copy(b[at:], head)
		if !r.gone.Load() {
			_, err = r.conn.Write(b[at : headSize+n+1])
		}
		outPieces.Put(piece)
		r.sending.Unlock()
		if err != nil {
			r.left(err)
		}
	}
}

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// cut ends the output of what has ended but left it open to others.
func (r *run) cut(child *life.Child) {
	<-child.Done()
	time.AfterFunc(r.s.Linger, func() {
		for _, f := range []io.ReadCloser{child.Stdout, child.Stderr} {
			if d, ok := f.(interface{ SetReadDeadline(time.Time) error }); ok {
				d.SetReadDeadline(time.Unix(1, 0))
			}
		}
	})
}

// report says how the program has ended.
func (r *run) report(end life.End) {
	tag, value := tagExitCode, ""
	if end.Signal != 0 {
		tag, value = tagTermSig, signalName(end.Signal)
	} else {
		value = fmt.Sprint(end.Code)
	}
	r.debug("ended: %s %s", tag, value)
	if r.gone.Load() {
		return
	}
	// A client that is slow is waited for, as long as it may be connected.
	b := appendNetstring(appendNetstring(make([]byte, 0, 32), tag), value)
	r.sending.Lock()
	r.conn.Write(b)
	r.sending.Unlock()
}

// finish ends what is left of a run: its program has ended, and its output.
func (r *run) finish(child *life.Child) {
	if child.Stdin != nil {
		child.Stdin.Close()
	}
	r.mu.Lock()
	stopped, watching := r.stopped, r.watching
	r.over = true
	r.mu.Unlock()
	if stopped != nil { // the place is free when nothing is left
		<-stopped
	}
	if r.control != nil {
		r.control.Close()
	}
	r.conn.SetReadDeadline(time.Unix(1, 0)) // for the one who reads
	if watching != nil {
		watching.Close()
	}
	r.readers.Wait()
	if !r.ended && !r.gone.Load() && r.s.ctx.Err() == nil {
		r.s.exit(r)
		r.drain()
	}
}

// stop ends the program and all that descends from it, and tells why if nobody has done so before. Its
// output is passed on meanwhile.
func (r *run) stop(tell func(format string, args ...any), why string) {
	child := r.child.Load()
	switch {
	case child == nil:
		return
	case r.done.Load(): // there is only the report to be sent
		r.conn.SetWriteDeadline(time.Now().Add(lastWords))
		return
	}
	r.stopping.Do(func() {
		tell("TERM: %s", why)
		stopped := make(chan struct{})
		r.mu.Lock()
		r.stopped = stopped
		r.mu.Unlock()
		go func() {
			defer close(stopped)
			if err := child.Stop(r.s.Kill, r.s.hurry); err != nil {
				r.warn("%v", err)
			}
			// A client that reads nothing keeps nobody.
			r.conn.SetWriteDeadline(time.Now().Add(lastWords))
		}()
	})
}

// left is called when the client has gone, or might as well have.
func (r *run) left(err error) {
	if !r.gone.Swap(true) {
		r.debug("the client has gone (%v)", sock.Reason(err))
	}
	r.stop(r.debug, "the client has gone")
}

var errHungUp = errors.New("hung up")

// input passes on what the client sends, to the end, and sees to it that its leaving is noticed.
func (r *run) input() {
	err := r.stdin()
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		if !r.pairs || !r.ended {
			r.endInput()
		}
		if err == nil {
			err = r.ignore()
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = r.awaitHangup()
		}
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return // the run is over
	}
	if errors.Is(err, errNetstring) {
		r.warn("closed: %v", err)
		r.gone.Store(true)
		r.conn.Close()
	}
	r.left(err)
}

// endInput is the end of the program's standard input.
func (r *run) endInput() {
	child := r.child.Load()
	if child.Stdin == nil {
		return
	}
	if r.size != nil {
		// What Ctrl-D sends, since a terminal has no end of its own. Within a line it only has that read.
		end := []byte{4, 4}
		if !r.open {
			end = end[1:]
		}
		child.Stdin.Write(end)
		return
	}
	child.Stdin.Close()
}

// stdin reads strings until the empty one, and of a client that speaks in pairs whatever it says.
func (r *run) stdin() error {
	if r.ended {
		return nil
	}
	for {
		tag := tagStdin
		if r.pairs {
			var err error
			if tag, err = r.in.whole(maxWord); err != nil {
				return err
			}
			if tag != tagStdin {
				value, err := r.in.whole(maxWord)
				if err == nil {
					err = r.pair(tag, value)
				}
				if err != nil {
					return err
				}
				continue
			}
		}
		n, err := r.in.length()
		if err != nil {
			return err
		}
		if n > int64(len(r.in.buf)) && len(r.in.buf) < pieceSize {
			big := inPieces.Get().(*[]byte)
			defer inPieces.Put(big)
			small := r.in.buf
			defer func() { // what is read from here on is not kept
				n := copy(small, r.in.at[:min(len(r.in.at), len(small))])
				r.in.buf, r.in.at = small, small[:n]
			}()
			m := copy(*big, r.in.at)
			r.in.buf, r.in.at = *big, (*big)[:m]
		}
		last := n == 0
		for n > 0 {
			p, err := r.in.piece(n)
			if err != nil {
				return err
			}
			n -= int64(len(p))
			r.open = bytes.IndexByte([]byte("\n\r\x04"), p[len(p)-1]) < 0
			r.feed(p)
		}
		if err := r.in.end(); err != nil {
			return err
		}
		if last && !r.ended {
			r.ended = true
			if !r.pairs {
				return nil
			}
			r.endInput() // and signals may still come
		}
	}
}

// feed writes to the program's standard input. What a program does not want to read any more is
// dropped.
func (r *run) feed(p []byte) {
	to, ok := r.child.Load().Stdin.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := to.SyscallConn()
	if err != nil {
		return
	}
	raw.Write(func(fd uintptr) bool {
		for len(p) > 0 {
			n, again, err := writes(fd, p)
			p = p[n:]
			if again {
				r.watch()
				return false
			}
			if err != nil {
				return true
			}
		}
		return true
	})
}

// watch has the leaving of the client noticed while nobody reads from it.
func (r *run) watch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watching != nil || r.over {
		return
	}
	raw := r.raw()
	if raw == nil {
		return
	}
	f, err := duplicate(raw)
	if err != nil {
		return
	}
	r.watching = f
	dup, err := f.SyscallConn()
	if err != nil {
		return
	}
	r.readers.Go(func() {
		over := false
		dup.Read(func(fd uintptr) bool {
			over = hungUp(fd, !r.unix())
			return over
		})
		if over {
			r.left(errHungUp)
		}
	})
}

// raw is the socket that is inside of it all.
func (r *run) raw() syscall.RawConn {
	sc, ok := sock.Innermost(r.conn).(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

func (r *run) unix() bool {
	_, ok := r.conn.LocalAddr().(*net.UnixAddr)
	return ok
}

// ignore reads what comes after the end of the input.
func (r *run) ignore() error {
	told := false
	for {
		n := len(r.in.at)
		r.in.at = nil
		var err error
		if n == 0 {
			n, err = r.conn.Read(r.in.buf)
		}
		if n > 0 && !told {
			told = true
			r.warn("bytes after the end of its input are ignored")
		}
		if err != nil {
			return err
		}
	}
}

// awaitHangup is for a client that has ended its half: it still waits for the answer, or has gone. Over
// TCP this cannot be told, and one who has ended his half has gone; TLS has an end of its own, and the
// connection's comes after it. Our own clients, which speak in pairs, have no half to end.
func (r *run) awaitHangup() error {
	if r.pairs {
		return errHungUp
	}
	raw := r.raw()
	if raw == nil {
		return errHungUp
	}
	over := false
	if err := raw.Read(func(fd uintptr) bool {
		over = hungUp(fd, !r.unix())
		return over
	}); err != nil {
		return err
	}
	return errHungUp
}

// describe is a line for people. The server's mu is held.
func (r *run) describe() string {
	text := fmt.Sprintf("connection %d: for %v", r.number, time.Since(r.began).Round(time.Millisecond))
	if child := r.child.Load(); child != nil {
		text += fmt.Sprintf(", %q, pid %d", r.name, child.PID())
		select {
		case <-child.Done():
			text += ", ended, its output is still open"
		default:
		}
	}
	return text
}
