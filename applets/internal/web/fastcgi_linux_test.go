package web

import (
	"errors"
	"net/http/httptest"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sockbox/applets/internal/sock"
)

// A unix socket whose queue is full says so at once, and a request waits until there is room.
func TestFastCGIQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(listener)
	if err := errors.Join(syscall.Bind(listener, &syscall.SockaddrUnix{Name: path}), syscall.Listen(listener, 0)); err != nil {
		t.Fatal(err)
	}
	g := &gateway{fastcgi: sock.Addr{Net: "unix", Path: path}}
	for full := false; !full; {
		conn, err := sock.Dial(t.Context(), g.fastcgi, sock.DialOptions{})
		if full = errors.Is(err, syscall.EAGAIN); !full {
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
	}
	x := &exchange{gateway: g, r: httptest.NewRequest("GET", "/", nil)}
	done := make(chan error)
	go func() {
		conn, err := x.dial()
		if err == nil {
			conn.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond): // it waits for whatever time that is
	}
	taken, _, err := syscall.Accept(listener)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(taken)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
