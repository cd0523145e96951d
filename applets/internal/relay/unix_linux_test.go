package relay

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// What is behind descriptors that a client passes along, which are not passed on, comes all the same.
func TestBehindDescriptors(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("unix", dir+"/service")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r, err := New(Options{Listen: endpoints(t, "unix:"+dir+"/front")[0], Dests: endpoints(t, "unix:"+dir+"/service"), MaxConns: 10})
	if err == nil {
		err = r.Open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	near, err := net.Dial("unix", dir+"/front")
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	// All of it is there before it is read.
	if _, _, err := near.(*net.UnixConn).WriteMsgUnix([]byte("with "), syscall.UnixRights(int(os.Stdin.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("and without")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, t.Context()) }()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	far.SetDeadline(time.Now().Add(20 * time.Second))
	got := ""
	for b := make([]byte, 100); len(got) < len("with and without"); {
		n, err := far.Read(b)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += string(b[:n])
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
