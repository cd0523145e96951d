package web

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// broken is a listener whose connections fail in one way after another, and that is closed then.
type broken struct {
	net.Listener
	errors []syscall.Errno
}

func (l *broken) Accept() (net.Conn, error) {
	if len(l.errors) == 0 {
		return nil, net.ErrClosed
	}
	err := l.errors[0]
	l.errors = l.errors[1:]
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
}

func (l *broken) Addr() net.Addr { return &net.TCPAddr{} }
func (l *broken) Close() error   { return nil }

// What goes wrong with one connection does not end the server; what is wrong with the listener does.
func TestAcceptFails(t *testing.T) {
	note := func(string, ...any) {}
	s := &Server{o: Options{Note: note, Limits: NewLimits()}}
	l := &broken{errors: []syscall.Errno{syscall.ECONNABORTED, syscall.EPERM, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.EMFILE}}
	if err := s.accept(context.Background(), l); err != nil || len(l.errors) > 0 {
		t.Errorf("accept() = %v with %d errors left, want nil with none", err, len(l.errors))
	}
	l.errors = []syscall.Errno{syscall.EINVAL}
	if err := s.accept(context.Background(), l); err == nil {
		t.Error("accept() = nil from a listener that is none, want an error")
	}
}

// slow is a file that is being written to until it is closed.
type slow struct {
	begun, end chan struct{}
	written    atomic.Bool
}

func (s *slow) Write(b []byte) (int, error) {
	close(s.begun)
	<-s.end
	s.written.Store(true)
	return len(b), nil
}

// What is being written when the log is opened anew goes into the old file as a whole.
func TestReopen(t *testing.T) {
	l, err := OpenLog(filepath.Join(t.TempDir(), "log"), nil, false, t.Errorf)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.file.Close()
	old := &slow{begun: make(chan struct{}), end: make(chan struct{})}
	l.file, l.out, l.lines = nil, old, []byte("line\n")
	go l.flush()
	<-old.begun
	time.AfterFunc(10*time.Millisecond, func() { close(old.end) })
	if err := l.Reopen(); err != nil || !old.written.Load() {
		t.Errorf("opened anew with %v, and the line is written: %v", err, old.written.Load())
	}
}
