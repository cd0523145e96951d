package wait

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

// A Target is one thing that can be waited for.
type Target struct {
	text string // as it was given
	kind kind
	addr sock.Addr // endpoint
	name string    // buffer: its name; file: its path
	pid  int
}

type kind int

const (
	anEndpoint kind = iota
	aBuffer
	aFile
	aProcess
)

// Parse reads a target: buffer:NAME, file:PATH, pid:N, or else an address as sock.ParseAddr has it,
// of something that takes connections.
func Parse(s string) (Target, error) {
	t := Target{text: s}
	switch what, rest, ok := strings.Cut(s, ":"); {
	case ok && what == "buffer":
		t.kind, t.name = aBuffer, rest
		return t, buffer.CheckName(rest)
	case ok && what == "file":
		t.kind, t.name = aFile, rest
		if rest == "" {
			return t, fmt.Errorf("%s: the path is missing", s)
		}
		if strings.ContainsRune(rest, 0) {
			return t, errors.New("a path cannot hold a NUL")
		}
		return t, nil
	case ok && what == "pid":
		t.kind = aProcess
		n, err := strconv.ParseInt(rest, 10, 32)
		if err != nil || n < 1 || rest[0] == '+' {
			return t, fmt.Errorf("%q is not the number of a process", rest)
		}
		t.pid = int(n)
		return t, nil
	}
	var err error
	if t.addr, err = sock.ParseAddr(s); err != nil {
		return t, err
	}
	switch a := t.addr; {
	case a.Net == "udp":
		return t, fmt.Errorf("%s: nothing tells whether somebody takes datagrams", a)
	case a.Net == "fifo":
		return t, fmt.Errorf("%s: to try a FIFO is to use it; file:%s waits until it is there", a, a.Path)
	case a.Net == "fd":
		return t, fmt.Errorf("%s: it is open already", a)
	case a.Net == "tcp" && a.Port == 0:
		return t, fmt.Errorf("%s: a peer has a port other than 0", a)
	}
	return t, nil
}

// String is the target as it was given.
func (t Target) String() string { return t.text }

// here tells whether it is on this machine.
func (t Target) here() bool {
	ip, err := netip.ParseAddr(t.addr.Host)
	return t.addr.Net != "tcp" || t.addr.Host == "" || t.addr.Host == "localhost" || err == nil && ip.IsLoopback()
}

// A scout looks after one target.
type scout struct {
	Target
	gone bool
	wait time.Duration // how long a try may take
	wake chan struct{} // told by the kernel: try again

	watch  *watch   // of a path; nil: there is none, or it cannot be watched
	proc   *process // of a pid, or of the daemon that holds a buffer
	holder int      // whose pid proc is then
}

func newScout(t Target, gone bool, try time.Duration) *scout {
	s := &scout{Target: t, gone: gone, wait: try, wake: make(chan struct{}, 1)}
	var path string
	switch {
	case t.kind == aFile:
		path = t.name
	case t.kind == aBuffer:
		path = buffer.SocketPath(t.name)
	case t.kind == aProcess:
		s.proc = watchProcess(t.pid, s.hint)
	case t.addr.Net == "unix" && t.addr.Path[0] != '@':
		path = t.addr.Path
	}
	if path != "" {
		if path, err := filepath.Abs(path); err == nil {
			s.watch = newWatch(path, s.hint)
		}
	}
	return s
}

func (s *scout) close() {
	s.watch.close()
	s.proc.close()
}

func (s *scout) arm() { s.watch.arm() }

func (s *scout) hint() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// try finds out once. Where the answer is no, why says it for people.
func (s *scout) try(ctx context.Context) (yes bool, why string) {
	switch s.kind {
	case aFile:
		return s.file()
	case aProcess:
		return s.proc.ended(), "it runs"
	case aBuffer:
		return s.buffer(ctx)
	}
	return s.endpoint(ctx)
}

func (s *scout) file() (bool, string) {
	stat := os.Stat // a link that leads nowhere is not a file yet
	if s.gone {
		stat = os.Lstat // and it is still something
	}
	_, err := stat(s.name)
	missing := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR)
	switch {
	case s.gone && err == nil:
		return false, "it is there"
	case s.gone && missing, !s.gone && err == nil:
		return true, ""
	}
	return false, sock.Reason(err).Error()
}

// endpoint connects, for only that shows that somebody listens. What ends a wait for the end is
// that nobody can connect, not that this machine could not try.
func (s *scout) endpoint(ctx context.Context) (bool, string) {
	c, err := sock.Dial(ctx, s.addr, sock.DialOptions{Timeout: s.wait})
	if err == nil {
		c.Close()
		return !s.gone, "it takes connections"
	}
	why := errors.Unwrap(err) // the address is said already
	if why == nil {
		why = err
	}
	var dns *net.DNSError
	nobody := sock.Refused(err) || sock.Unreachable(err) || errors.As(err, &dns) && dns.IsNotFound ||
		sock.TimedOut(err) && !sock.Unresolved(err) && ctx.Err() == nil
	return s.gone && nobody, why.Error()
}

// buffer asks the one who holds it: a daemon that hangs, or is about to end, is of no use.
func (s *scout) buffer(ctx context.Context) (bool, string) {
	c, err := buffer.Open(s.name)
	if errors.Is(err, buffer.ErrNoBuffer) {
		return s.gone, buffer.ErrNoBuffer.Error()
	}
	if err != nil {
		return false, strings.TrimPrefix(err.Error(), s.name+": ")
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	defer context.AfterFunc(ctx, c.Close)() // it ends an answer that is waited for
	stat, err := c.Stat()
	switch {
	case err != nil && s.gone:
		return false, "it is there"
	case err != nil:
		return false, strings.TrimPrefix(err.Error(), s.name+": ")
	case s.gone:
		if s.holder != stat.PID { // the kernel tells when it dies, however it does
			s.proc.close()
			s.proc, s.holder = watchProcess(stat.PID, s.hint), stat.PID
		}
		return false, "it is " + stat.State
	case stat.State == "closing":
		return false, "it is closing"
	}
	return true, ""
}
