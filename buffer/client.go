package buffer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Client is a connection to the holder of a name. Its calls block; they are made one at a time.
// A process that ends in the midst of one leaves nothing behind: what it had taken and not
// confirmed is back in the buffer, what it had not written in full is dropped.
type Client struct {
	name  string
	fd    int
	buf   []byte
	lives bool // the last answer said that the holder does not end with its name
	close sync.Once
}

// Open connects to the holder of name. With nobody there it returns ErrNoBuffer, after clearing
// what a killed holder may have left. The caller closes the client.
func Open(name string) (*Client, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	d, err := openDir(false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", name, ErrNoBuffer)
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	path, err := socketPath(d, name)
	if err != nil {
		return nil, err
	}
	fd, err := dial(path)
	if err != nil {
		if nobodyListens(err) {
			d.clear(name)
			err = ErrNoBuffer
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Client{name: name, fd: fd}, nil
}

// Close gives the connection up. It may be called more than once, and from another goroutine to end
// a call that waits.
func (c *Client) Close() {
	c.close.Do(func() {
		shutdown(c.fd)
		closeFD(c.fd)
	})
}

// Name returns the name of the buffer.
func (c *Client) Name() string { return c.name }

// wrap names the buffer in an error of the connection.
func (c *Client) wrap(err error) error {
	var remote *remoteError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &remote) && (remote.is == ErrVerb || remote.is == ErrOutput || remote.is == syscall.EPIPE):
		return err // it says whose it is
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		err = ErrGone
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

// read fills p, waiting until deadline.
func (c *Client) read(p []byte, deadline time.Time) error {
	for len(p) > 0 {
		n, err := receive(c.fd, p, deadline)
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		p = p[n:]
	}
	return nil
}

// ask sends a request. A holder that has closed the connection has said why before, most likely: answer
// tells that.
func (c *Client) ask(b []byte, pass int) error {
	err := sendAll(c.fd, b, pass)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// answer reads one frame. An X becomes the error it stands for. The payload is valid until the
// next answer.
func (c *Client) answer(deadline time.Time) (head, []byte, error) {
	var b [headSize]byte
	if err := c.read(b[:], deadline); err != nil {
		return head{}, nil, err
	}
	h, err := parseHead(b[:])
	if err != nil || h.size > maxAnswr {
		return head{}, nil, errWire
	}
	if cap(c.buf) < h.size {
		c.buf = make([]byte, h.size)
	}
	payload := c.buf[:h.size]
	if err := c.read(payload, time.Time{}); err != nil {
		return head{}, nil, err
	}
	c.lives = (h.kind == kindError || h.kind == kindGood) && h.flags&flagLives != 0
	if h.kind == kindError {
		return head{}, nil, parseError(payload)
	}
	return h, payload, nil
}

// Taking says what Take is to take.
type Taking struct {
	Wait    bool      // for the first message and, with Count, until so many have come
	Follow  bool      // everything, as it comes, until the buffer is closed
	All     bool      // all that is there now
	Peek    bool      // leave it there
	Count   int       // at most so many; 0 = no limit
	Format  Format    // how each message is printed
	Until   time.Time // when waiting ends with ErrTimeout; zero = never
	HandOut *os.File  // where the holder may write itself; nil = it goes through Take's out
}

// Take takes messages out of an input and writes them to out. A message has left the buffer when
// out has accepted it; if out fails, what it was given last stays in the buffer. It returns how
// many messages were written. With nothing there the error is ErrEmpty; ErrEnd says that the
// buffer is closed and drained, which to Follow is no error.
func (c *Client) Take(t Taking, out io.Writer) (n int, err error) {
	r := takeRequest{format: t.Format, count: t.Count}
	for _, f := range []struct {
		on   bool
		flag byte
	}{{t.Wait, flagWait}, {t.Follow, flagFollow}, {t.All, flagAll}, {t.Peek, flagPeek}} {
		if f.on {
			r.flags |= f.flag
		}
	}
	pass := -1
	if t.HandOut != nil {
		if fd, own := handOver(t.HandOut, true); fd >= 0 {
			pass = fd
			r.flags |= flagHand
			if own {
				defer closeFD(fd)
			}
		}
	}
	if err := c.ask(r.append(make([]byte, 0, headSize+takeSize)), pass); err != nil {
		return 0, c.wrap(err)
	}
	for {
		h, b, err := c.answer(t.Until)
		if err != nil {
			return n, c.wrap(err)
		}
		switch {
		case h.kind == kindGood:
			if m, _, err := parseGood(b); err == nil && n == 0 {
				n = m // handed out by the holder
			}
			return n, nil
		case h.kind != kindMessages || len(b) < 4:
			return n, c.wrap(errWire)
		}
		if _, err := out.Write(b[4:]); err != nil {
			return n, err
		}
		n += int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		if !t.Peek {
			if err := sendAll(c.fd, head{kindAck, 0, 0}.append(nil), -1); err != nil {
				return n, c.wrap(err)
			}
		}
		if h.flags&flagLast != 0 {
			return n, nil
		}
	}
}

// Writing says how messages are put in.
type Writing struct {
	NoWait  bool          // a full buffer is ErrFull at once
	Flush   bool          // return when the peer's kernel has it
	Timeout time.Duration // when waiting ends with ErrTimeout; 0 = never
}

func (w Writing) flags() (f byte) {
	if w.NoWait {
		f |= flagNoWait
	}
	if w.Flush {
		f |= flagFlush
	}
	return f
}

// Put puts one message into an output. When it returns without an error the buffer has it.
func (c *Client) Put(message []byte, w Writing) error {
	r := writeRequest{flags: w.flags() | flagOne, timeout: w.Timeout}
	b := r.append(make([]byte, 0, headSize+writeSize+len(message)), message)
	if err := c.ask(b, -1); err != nil {
		return c.wrap(err)
	}
	_, _, err := c.good()
	return c.wrap(err)
}

// A Stream says how the messages are found in what PutStream reads.
type Stream struct {
	Frame Frame          // Line, Nul or Netstring
	Whole bool           // all of it is one message
	Hand  *os.File       // what the holder may read itself; nil = it goes through in
	Each  func(size int) // called with the bytes that have been passed on so far; may be nil
}

// PutStream puts what it reads from in, up to the end, into an output. It returns how many
// messages and bytes the buffer took.
func (c *Client) PutStream(in io.Reader, s Stream, w Writing) (messages, size int, err error) {
	r := writeRequest{flags: w.flags(), timeout: w.Timeout, frame: s.Frame}
	if s.Whole {
		r.flags |= flagWhole
	}
	pass := -1
	if s.Hand != nil {
		if fd, own := handOver(s.Hand, false); fd >= 0 {
			pass = fd
			r.flags |= flagHand
			if own {
				defer closeFD(fd)
			}
		}
	}
	if err := c.ask(r.append(nil, nil), pass); err != nil {
		return 0, 0, c.wrap(err)
	}
	if pass < 0 {
		if err := c.feed(in, s.Each); err != nil {
			return 0, 0, err
		}
	}
	messages, size, err = c.good()
	return messages, size, c.wrap(err)
}

// feed sends what it reads as D frames and an E. That the holder has stopped listening is no
// error here: it has said why.
func (c *Client) feed(in io.Reader, each func(int)) error {
	b := make([]byte, headSize+window)
	for size := 0; ; {
		n, err := in.Read(b[headSize:])
		if n > 0 {
			size += n
			head{kindData, 0, n}.append(b[:0])
			if err := sendAll(c.fd, b[:headSize+n], -1); err != nil {
				if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
					return nil
				}
				return c.wrap(err)
			}
			if each != nil {
				each(size)
			}
		}
		if err == io.EOF {
			err := sendAll(c.fd, head{kindEnd, 0, 0}.append(nil), -1)
			if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return c.wrap(err)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Client) good() (messages, size int, err error) {
	h, b, err := c.answer(time.Time{})
	if err != nil {
		return 0, 0, err
	}
	if h.kind != kindGood {
		return 0, 0, errWire
	}
	return parseGood(b)
}

// handOver returns a descriptor of f that the holder can use, or -1. own says that it is ours to
// close. Pipes are opened once more, plain files go as they are; a terminal or a socket is not
// given away.
func handOver(f *os.File, write bool) (fd int, own bool) {
	raw := -1
	if c, err := f.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { raw = int(fd) }) // Fd would change the shell's own open file
	}
	pipe, file := isPipeOrFile(raw)
	if file {
		return raw, false
	}
	if pipe {
		if fd, err := reopen(raw, write); err == nil {
			return fd, true
		}
	}
	return -1, false
}

// Stat asks the holder how it is.
func (c *Client) Stat() (Stat, error) {
	if err := c.ask(head{kindStatus, 0, 0}.append(nil), -1); err != nil {
		return Stat{}, c.wrap(err)
	}
	// A holder that is stopped or stuck must not stop everybody who wants to look.
	h, b, err := c.answer(time.Now().Add(5 * time.Second))
	if err == nil && h.kind != kindJSON {
		err = errWire
	}
	var s Stat
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, c.wrap(err)
}

// CloseBuffer asks the holder to end, at once or after it has delivered what it can, and returns
// when its process has given everything back, and has ended if it is there for this buffer alone. left says how many messages were not delivered; who
// comes too late to be told, as another has closed the buffer already, gets 0.
func (c *Client) CloseBuffer(now bool) (left int, err error) {
	flags := byte(0)
	if now {
		flags = flagNow
	}
	end := holderEnd(c.fd)
	defer func() { end(!c.lives) }()
	err = c.ask(head{kindClose, flags, 0}.append(nil), -1)
	if err == nil {
		left, _, err = c.good()
	}
	switch err = c.wrap(err); {
	case errors.Is(err, ErrEnd), // it was about to end, and has not heard of this
		errors.Is(err, ErrGone) && vacant(c.name): // it has ended before; one that dies leaves its folder
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var b [1]byte
	receive(c.fd, b[:], time.Time{}) // closed at the very end of the holder's work
	return left, nil
}
