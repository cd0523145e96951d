package web

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
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
