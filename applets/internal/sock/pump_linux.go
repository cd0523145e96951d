package sock

import (
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const canSplice = true

// pipeSize is what one splice moves at most. What a slow peer leaves in a pipe is kept by the kernel.
const pipeSize = 256 << 10

// A pipe is where spliced bytes are between two sockets. It is empty when nobody uses it.
type pipe struct{ r, w int }

// mostPipes are there at once: what slow peers leave in them is the kernel's memory.
const mostPipes = 256

var piping atomic.Int32

var pipes = sync.Pool{New: func() any {
	var fds [2]int
	if piping.Add(1) > mostPipes {
		piping.Add(-1)
		return error(unix.EMFILE)
	}
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		piping.Add(-1)
		return err
	}
	p := &pipe{fds[0], fds[1]}
	// Past a user's share (pipe-user-pages-soft, pipe(7)) it stays small, and works.
	_, _ = unix.FcntlInt(uintptr(p.r), unix.F_SETPIPE_SZ, pipeSize)
	runtime.SetFinalizer(p, (*pipe).close)
	return p
}}

func (p *pipe) close() {
	runtime.SetFinalizer(p, nil)
	piping.Add(-1)
	unix.Close(p.r)
	unix.Close(p.w)
}

// splice moves what there is to read, without copying it.
func (l *lane) splice() (n int, err error) {
	var p *pipe
	var got error
	err = l.in.Read(func(fd uintptr) bool {
		if p == nil {
			switch v := pipes.Get().(type) {
			case *pipe:
				p = v
			case error: // there are none: it is copied
				got = v
				return true
			}
		}
		for {
			var m int64
			m, got = unix.Splice(int(fd), nil, p.w, nil, pipeSize, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
			n = int(max(m, 0))
			if got != unix.EINTR {
				break
			}
		}
		if got == unix.EAGAIN {
			pipes.Put(p) // not held while there is nothing to read
			p = nil
			return false
		}
		return true
	})
	switch {
	case err != nil: // the time is over, and there is no pipe
		return 0, err
	case p == nil || got == unix.EINVAL || got == unix.ENOSYS:
		if p != nil {
			pipes.Put(p)
		}
		l.full = 0
		return 0, nil
	case got != nil:
		pipes.Put(p)
		return 0, l.p.brokenBy(l.src, got)
	case n == 0:
		pipes.Put(p)
		return 0, io.EOF
	}
	if n < smallRead {
		l.full-- // not so busy any more
	} else {
		l.full = busy
	}
	left := n
	var put error
	err = l.out.Write(func(fd uintptr) bool {
		for left > 0 {
			m, e := unix.Splice(p.r, nil, int(fd), nil, left, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
			switch {
			case e == unix.EINTR:
			case e == unix.EAGAIN:
				return false
			case e != nil:
				put = e
				return true
			default:
				left -= int(m)
				l.p.moved[l.i].Add(m)
			}
		}
		return true
	})
	if err == nil {
		err = put
	}
	if err != nil {
		p.close() // with what is left in it
		return 0, l.p.brokenBy(l.dst, err)
	}
	pipes.Put(p)
	return 0, nil
}

// unread tells how many bytes wait to be read.
func unread(c syscall.RawConn) (n int, ok bool) {
	err := c.Control(func(fd uintptr) {
		var e error
		n, e = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		ok = e == nil
	})
	return n, ok && err == nil
}
