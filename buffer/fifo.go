package buffer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// FIFOs, by which a shell reads and writes messages without starting a program for each. They lie in
// the name's folder.
//
// An output has one, for all writers; whoever made the host reads it. An input makes one for each
// reader that asks (P on the wire). It is opened for writing, which waits for the reader; then
// messages are taken, a few at a time, and put into it. The pipe is made one page long (fcntl(2),
// F_SETPIPE_SZ), as small as it gets: it can then be written to when all that was in it has been
// read, so the kernel says when that is, and little is taken before its time. What has been read of
// it is told by the bytes that have not (FIONREAD): a message counts as taken when its last byte has
// gone. When the reader closes, or dies, the rest goes back to its place in the queue, and the FIFO
// is removed.
const (
	fifoFile  = "fifo"  // an output's
	fifoFor   = "fifo." // an input's, with a number that never comes again
	fifoAhead = 4 << 10 // bytes taken ahead for a reader, unless a single message is longer
	maxFIFOs  = 256     // readers' at once: each is a descriptor, and a thread until it is opened

	// fifoPatience is how long a FIFO waits to be opened: who asked for it may have died.
	fifoPatience = time.Minute
)

// ErrNoFIFO says that a buffer was made without FIFOs.
var ErrNoFIFO = errors.New("the buffer has no FIFO")

// FIFOPath returns the path, for this process, of the FIFO that an output's writers use.
func (e *Entry) FIFOPath() (string, error) { return folderPath(e.dir, e.name, e.fd, fifoFile) }

// FIFO returns the path of a FIFO: of an output's own, or of one that is made for this caller to read
// an input by. With none to be had the error is ErrNoFIFO.
func (c *Client) FIFO() (string, error) {
	if err := c.ask(head{kindPath, 0, 0}.append(nil), -1); err != nil {
		return "", c.wrap(err)
	}
	h, b, err := c.answer(time.Time{})
	if err == nil && (h.kind != kindName || len(b) == 0 || bytes.ContainsRune(b, '/')) {
		err = errWire
	}
	if err != nil {
		return "", c.wrap(err)
	}
	dir, err := filepath.Abs(DirPath())
	return filepath.Join(dir, c.name, string(b)), err
}

// fifos are a host's, for its readers.
type fifos struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu    sync.Mutex
	open  map[*fifo]struct{}
	ended bool
}

// path answers P.
func (s *session) path() error {
	h := s.h
	if !h.FIFO {
		return ErrNoFIFO
	}
	name := fifoFile
	if h.Kind == Input {
		var err error
		if name, err = h.newFIFO(); err != nil {
			return err
		}
	}
	return s.send(append(head{kindName, 0, len(name)}.append(nil), name...))
}

// newFIFO makes a FIFO for one reader, and serves it from now on.
func (h *Host) newFIFO() (string, error) {
	all := &h.fifos
	all.mu.Lock()
	defer all.mu.Unlock()
	switch {
	case all.ended:
		return "", ErrEnd
	case len(all.open) >= maxFIFOs:
		return "", fmt.Errorf("there are %d FIFOs already, more are not served at once", maxFIFOs)
	}
	f := &fifo{h: h, name: fifoFor + strings.ToLower(rand.Text()[:16])}
	if err := makeFIFO(h.Entry.fd, f.name); err != nil {
		return "", fmt.Errorf("a FIFO cannot be made: %w", err)
	}
	all.open[f] = struct{}{}
	all.group.Go(func() {
		f.run(all.ctx)
		all.mu.Lock()
		defer all.mu.Unlock()
		delete(all.open, f)
	})
	return f.name, nil
}

// Settle lets go of the messages that readers have read out of their FIFOs. The kernel tells of the
// last of those that were put there together, not of each.
func (h *Host) Settle() {
	all := &h.fifos
	all.mu.Lock()
	defer all.mu.Unlock()
	for f := range all.open {
		f.settle()
	}
}

// EndFIFOs ends what readers have open. What is in a FIFO can still be read, but counts as left in
// the queue, unless it has been read by now. It may be called more than once.
func (h *Host) EndFIFOs() {
	all := &h.fifos
	all.mu.Lock()
	all.ended = true
	all.mu.Unlock()
	all.cancel()
	all.group.Wait()
}

// A fifo is one reader's.
type fifo struct {
	h    *Host
	name string

	mu    sync.Mutex
	file  *os.File // to write to; nil before it was opened, and when it has been closed
	fd    int
	lease *Lease
	ends  []int // where each message of the lease ends, of the bytes that it is printed as
	sent  int   // of these bytes
	acked int   // messages
}

// run serves the reader until it has gone or ctx ends.
func (f *fifo) run(ctx context.Context) {
	e := f.h.Entry
	defer removeFile(e.fd, f.name)
	fd, ok := f.opened(ctx)
	if !ok {
		return
	}
	if narrow(fd) != nil { // without it nobody would say when it is empty
		closeFD(fd)
		return
	}
	file := os.NewFile(uintptr(fd), f.name)
	f.mu.Lock()
	f.file, f.fd = file, fd
	f.mu.Unlock()

	// Whoever takes next may be faster than we are to see that this reader has gone: see taking.
	done := make(chan struct{})
	f.h.mu.Lock()
	f.h.takers[fd] = done
	f.h.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.settleLocked()
		if f.lease != nil {
			f.lease.Return()
			f.lease = nil
		}
		f.file = nil
		f.mu.Unlock()
		f.h.mu.Lock()
		delete(f.h.takers, fd)
		f.h.mu.Unlock()
		close(done)
		file.Close()
	}()
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	watched := make(chan struct{})
	defer func() { <-watched }()
	defer cancel()
	go func() { // the end of the reader, while there is nothing for it
		defer close(watched)
		defer cancel()
		raw.Read(func(fd uintptr) bool {
			gone, _ := pipeState(int(fd))
			return gone
		})
	}()
	q := f.h.Queue
	for !q.isClosed() {
		l, err := q.Take(ctx, Want{Messages: math.MaxInt, Bytes: fifoAhead})
		if err != nil || f.put(raw, l) != nil {
			return
		}
	}
}

// opened waits until somebody has opened the FIFO to read.
func (f *fifo) opened(ctx context.Context) (fd int, ok bool) {
	e := f.h.Entry
	got := make(chan int, 1)
	go func() {
		fd, err := openToWrite(e.fd, f.name) // waits for a reader (fifo(7))
		if err != nil {
			fd = -1
		}
		got <- fd
	}()
	patience := time.NewTimer(fifoPatience)
	defer patience.Stop()
	select {
	case fd = <-got:
		return fd, fd >= 0
	case <-ctx.Done():
	case <-patience.C:
	}
	// The wait is ended by opening it ourselves. Where somebody has removed it that is not possible,
	// and nobody can come.
	r, err := openToRead(e.fd, f.name)
	if err != nil {
		return -1, false
	}
	fd = <-got
	closeFD(r)
	if fd < 0 {
		return -1, false
	}
	if gone, _ := pipeState(fd); !gone { // it came in the same instant
		return fd, true
	}
	closeFD(fd)
	return -1, false
}

var errReaderGone = errors.New("the reader has gone")

// put writes messages into the FIFO and returns when all of them have been read.
func (f *fifo) put(raw syscall.RawConn, l *Lease) error {
	format := byte('\n')
	if l.q.frame == Nul {
		format = 0
	}
	var b []byte
	var ends []int
	l.Each(func(m Message) {
		b = append(append(b, m.Data...), format)
		ends = append(ends, len(b))
	})
	f.mu.Lock()
	f.lease, f.ends, f.sent, f.acked = l, ends, 0, 0
	f.mu.Unlock()
	for len(b) > 0 {
		n, err := 0, error(nil)
		e := raw.Write(func(fd uintptr) bool {
			f.mu.Lock() // who settles counts what was sent and what is in the pipe together
			defer f.mu.Unlock()
			n, err = writeFD(int(fd), b[:min(len(b), fifoAhead)])
			f.sent += max(n, 0)
			return !errors.Is(err, syscall.EAGAIN)
		})
		if err := errors.Join(e, err); err != nil {
			return err
		}
		b = b[n:]
		gone := false
		e = raw.Write(func(fd uintptr) bool {
			var empty bool
			gone, empty = pipeState(int(fd))
			return gone || empty
		})
		if e != nil {
			return e
		}
		f.settle()
		if gone {
			return errReaderGone
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lease = nil
	return nil
}

func (f *fifo) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settleLocked()
}

func (f *fifo) settleLocked() {
	if f.file == nil || f.lease == nil {
		return
	}
	rest, err := unread(f.fd)
	if err != nil {
		return
	}
	// The messages whose ends have been read.
	n, _ := slices.BinarySearch(f.ends, f.sent-rest+1)
	if n > f.acked {
		f.lease.AckMessages(n - f.acked)
		f.acked = n
	}
}
