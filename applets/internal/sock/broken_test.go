package sock

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestWaitBroken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pair := func() (ours net.Conn, peer *net.TCPConn) {
		ours, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ours.Close(); c.Close() })
		ours.SetDeadline(time.Now().Add(10 * time.Second))
		return ours, c.(*net.TCPConn)
	}

	// A peer that is gone answers what is sent to it with a reset.
	ours, peer := pair()
	peer.Close()
	if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("Read = %v, want EOF", err)
	}
	broken := make(chan error, 1)
	go func() { broken <- WaitBroken(ours) }()
	if _, err := ours.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-broken; !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("WaitBroken = %v, want a reset", err)
	}

	// A peer that has only ended its side is no break, and our own close ends the wait.
	ours, peer = pair()
	peer.CloseWrite()
	go func() { broken <- WaitBroken(ours) }()
	if _, err := ours.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-broken:
		t.Errorf("WaitBroken = %v, want it to wait", err)
	default:
	}
	ours.Close()
	if err := <-broken; err != nil {
		t.Errorf("WaitBroken = %v after Close, want nil", err)
	}
}
