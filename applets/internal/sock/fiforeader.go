package sock

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// A FIFOReader reads a FIFO as one peer after the other: Read waits for the
// first byte, then reports io.EOF when the last writer has gone, and after that
// waits for the next first byte. Writers that overlap are one peer; a FIFO cannot
// tell them apart. The FIFO is never without a reader meanwhile, so no writer is
// cut off. One goroutine reads; Close may be called from any other.
type FIFOReader struct {
	r *os.File

	mu     sync.Mutex
	keep   *os.File // our own way in: without it, a read would end when there is no writer
	gone   error    // why keep cannot be had again
	closed bool
}

// NewFIFOReader takes over f, which is OpenFIFO's reading side.
func NewFIFOReader(f *os.File) (*FIFOReader, error) {
	r, err := openFIFO(f.Name(), syscall.O_RDONLY)
	if err != nil {
		f.Close()
		return nil, fail("fifo:"+f.Name(), err)
	}
	return &FIFOReader{r: r, keep: f}, nil
}

// Read is as above. An error other than io.EOF means that no peer can come any
// more, as when the path has been removed.
func (f *FIFOReader) Read(p []byte) (int, error) {
	f.mu.Lock()
	gone := f.gone
	f.mu.Unlock()
	if gone != nil {
		return 0, gone
	}
	n, err := f.r.Read(p)

	f.mu.Lock()
	defer f.mu.Unlock()
	if n > 0 && f.keep != nil {
		f.keep.Close()
		f.keep = nil
	}
	if err == io.EOF && f.keep == nil && !f.closed {
		f.keep, f.gone = f.again()
	}
	return n, err
}

// again opens the FIFO for ourselves once more.
func (f *FIFOReader) again() (*os.File, error) {
	keep, err := openFIFO(f.r.Name(), syscall.O_RDWR)
	if err == nil {
		var was, is os.FileInfo
		if was, err = f.r.Stat(); err == nil {
			is, err = keep.Stat()
		}
		if err == nil && !os.SameFile(was, is) {
			err = errors.New("another FIFO is there now")
		}
		if err != nil {
			keep.Close()
			keep = nil
		}
	}
	return keep, fail("fifo:"+f.r.Name(), err)
}

// Rest reads what is there, without waiting: 0 bytes when nothing is. It is for after the last Read.
func (f *FIFOReader) Rest(p []byte) (n int, err error) {
	raw, err := f.r.SyscallConn()
	if err != nil {
		return 0, err
	}
	e := raw.Control(func(fd uintptr) {
		for {
			if n, err = syscall.Read(int(fd), p); err != syscall.EINTR {
				return
			}
		}
	})
	if err == syscall.EAGAIN {
		err = nil
	}
	return max(n, 0), errors.Join(e, err)
}

// SetReadDeadline is the file's.
func (f *FIFOReader) SetReadDeadline(t time.Time) error { return f.r.SetReadDeadline(t) }

// Close ends a Read that is waiting. The path stays.
func (f *FIFOReader) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	err := f.r.Close() // first: without our own way in, a Read would see the end of a peer
	if f.keep != nil {
		f.keep.Close()
		f.keep = nil
	}
	return err
}
