package bind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

// An intake is the FIFO by which an output is written to without a program. What was in it when the
// end is asked for is taken in first, as what was written any other way is.
type intake struct {
	d    *daemon
	path string
	fifo *sock.FIFOReader

	after  context.Context // ends when the end was asked for and all is taken in
	over   context.CancelFunc
	read   chan struct{} // closed when nobody reads the FIFO any more; nil before start
	quit   context.CancelFunc
	lost   int // messages that there was no room for at the end
	ending sync.Once
}

func (d *daemon) newIntake(entry *buffer.Entry) (*intake, error) {
	path, err := entry.FIFOPath()
	if err != nil {
		return nil, err
	}
	f, _, err := sock.OpenFIFO(sock.Addr{Net: "fifo", Path: path}, false, sock.ListenOptions{Mode: 0o600})
	if err != nil {
		return nil, fmt.Errorf("%s: the FIFO: %w", d.Name, err)
	}
	in := &intake{d: d, path: path}
	if in.fifo, err = sock.NewFIFOReader(f); err != nil {
		return nil, err
	}
	in.after, in.over = context.WithCancel(context.Background())
	return in, nil
}

// start reads the FIFO until asked ends or close is called.
func (in *intake) start(asked, abandon context.Context) {
	in.read = make(chan struct{})
	abandon, in.quit = context.WithCancel(abandon)
	stop := context.AfterFunc(asked, in.stop)
	go func() {
		defer close(in.read)
		defer stop()
		defer in.over()
		in.take(abandon)
	}()
}

// stop lets nobody open the FIFO any more, and ends the wait for those who have.
func (in *intake) stop() {
	in.ending.Do(func() { // the folder's descriptor is not ours for ever
		os.Remove(in.path)
		in.fifo.SetReadDeadline(time.Unix(1, 0))
	})
}

// close returns when nothing is read any more; what there is no room for is not waited for. It may be
// called more than once.
func (in *intake) close() {
	in.stop()
	if in.read != nil {
		in.quit()
		<-in.read
	}
	in.over()
	in.fifo.Close()
}

// take puts what is written into the queue. Like a peer's, a message that the last writer leaves
// unfinished is one too.
func (in *intake) take(abandon context.Context) {
	q := in.d.queue
	frame := buffer.Line
	if q.Frame() == buffer.Nul {
		frame = buffer.Nul
	}
	buf := make([]byte, 64<<10)
	for {
		src := q.NewSource(buffer.SourceOptions{Peer: "local", Frame: frame})
		more, cut, rest := in.writers(abandon, src, buf)
		if cut {
			src.Abort()
			in.count(rest, frame)
			return
		}
		if err := src.Finish(); err != nil {
			in.d.log("the FIFO: %v", err)
		}
		if !more {
			return
		}
	}
}

// count counts the messages that are not taken any more: rest, and what the FIFO has now.
func (in *intake) count(rest []byte, frame buffer.Frame) {
	end := frame.Append(nil, nil)
	b := make([]byte, fifoHolds)
	n, _ := in.fifo.Rest(b)
	rest = append(rest, b[:n]...)
	in.lost = bytes.Count(rest, end)
	if !bytes.HasSuffix(rest, end) {
		in.lost++
	}
}

// fifoHolds is what a FIFO holds (pipe(7)). Of one whose writer goes on and on no more is taken in at
// the end: it was not there when the end was asked for.
const fifoHolds = 64 << 10

// writers takes in what is written until the last of the writers has gone. It tells whether there may
// be others; where not, whether some of what was written is not taken in, and what it had read of that.
func (in *intake) writers(abandon context.Context, src *buffer.Source, buf []byte) (more, cut bool, rest []byte) {
	read, left := in.fifo.Read, -1 // bytes that are still taken in at the end
	for {
		before := src.Size()
		n, err := read(buf)
		if n > 0 && src.Feed(abandon, buf[:n]) != nil {
			return false, true, buf[src.Size()-before : n]
		}
		switch {
		case err == io.EOF:
			return true, false, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			read, left = in.fifo.Rest, fifoHolds+1
		case err != nil:
			in.d.log("%v", err)
			return false, false, nil
		case n == 0:
			return false, false, nil
		case left >= 0:
			if left -= n; left <= 0 {
				return false, true, nil
			}
			buf = buf[:min(len(buf), left)]
		}
	}
}
