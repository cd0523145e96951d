package sock

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// inherit makes what c or f stands for look inherited: a descriptor that is not
// close-on-exec and that no Go value knows of.
func inherit(t *testing.T, c syscall.Conn) int {
	t.Helper()
	rc, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := -1
	if err := rc.Control(func(fd uintptr) { n, err = syscall.Dup(int(fd)) }); err != nil || n < 0 {
		t.Fatal(n, err)
	}
	return n
}

func wantClosed(t *testing.T, n int) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Fstat(n, &st); err != syscall.EBADF {
		t.Errorf("descriptor %d is still open (%v)", n, err)
		syscall.Close(n)
	}
}

func fromFD(t *testing.T, c syscall.Conn) Inherited {
	t.Helper()
	n := inherit(t, c)
	in, err := FromFD(n)
	if err != nil {
		t.Fatal(err)
	}
	wantClosed(t, n)
	return in
}

func TestFromFDListener(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	in := fromFD(t, ln.(syscall.Conn))
	if in.Listener == nil {
		t.Fatalf("%+v", in)
	}
	ln.Close()
	a := parse(t, ln.Addr().String())
	c, s := pair(t, in.Listener, a)
	echoes(t, c, s)

	// Closing it frees the port: no copy is left.
	in.Listener.Close()
	if _, err := Dial(t.Context(), a, DialOptions{}); !Refused(err) {
		t.Errorf("dialling gives %v; want refused", err)
	}
}

func TestFromFDConn(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	c, s := pair(t, ln, parse(t, ln.Addr().String()))
	in := fromFD(t, s.(syscall.Conn))
	if in.Conn == nil {
		t.Fatalf("%+v", in)
	}
	s.Close()
	echoes(t, c, in.Conn)
	echoes(t, in.Conn, c)
	in.Conn.Close()
	if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
		t.Errorf("after Close the peer reads %q, %v; want EOF", b, err)
	}
}

func TestFromFDPacket(t *testing.T) {
	pc, err := ListenPacket(t.Context(), parse(t, "udp://127.0.0.1:0"), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if in := fromFD(t, pc.(syscall.Conn)); in.Packet == nil {
		t.Errorf("%+v", in)
	} else {
		in.Packet.Close()
	}
}

func TestFromFDPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// As a shell has it: blocking.
	for _, f := range []*os.File{r, w} {
		if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
			t.Fatal(err)
		}
	}
	inR, inW := fromFD(t, r), fromFD(t, w)
	if inR.File == nil || inW.File == nil {
		t.Fatalf("%+v %+v", inR, inW)
	}
	for _, f := range []*os.File{r, w} {
		if nonblocking(t, int(f.Fd())) {
			t.Error("the shell's descriptor has become non-blocking")
		}
	}
	echoes(t, inW.File, inR.File)
	r.Close()
	w.Close()
	inW.File.Close()
	if b, err := io.ReadAll(inR.File); len(b) != 0 || err != nil {
		t.Errorf("read %q, %v; want EOF", b, err)
	}
	inR.File.Close()
}

func TestFromFDFile(t *testing.T) {
	path := t.TempDir() + "/f"
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := fromFD(t, f)
	if in.File == nil {
		t.Fatalf("%+v", in)
	}
	defer in.File.Close()
	if b, err := io.ReadAll(in.File); string(b) != "hello" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
}

// What this process opened itself is used, and left open.
func TestFromFDOwn(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	f, err := ln.(tcpListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := FromFD(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	in.Listener.Close()
	if _, err := f.Stat(); err != nil {
		t.Error(err)
	}
}

func TestFromFDErrors(t *testing.T) {
	_, err := FromFD(1 << 30) // more than a process can have
	wantErr(t, err, "fd:1073741824: descriptor 1073741824 is not open", syscall.EBADF)

	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	n := inherit(t, dir)
	defer syscall.Close(n)
	_, err = FromFD(n)
	wantErr(t, err, fmt.Sprintf("fd:%d: is a directory", n), syscall.EISDIR)

	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(s)
	_, err = FromFD(s)
	wantErr(t, err, fmt.Sprintf("fd:%d: transport endpoint is not connected", s), syscall.ENOTCONN)
}

// The wrong kind is told and left alone, so that another function may take it.
func TestFDWrongKind(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	n := inherit(t, ln.(syscall.Conn))
	a := Addr{Net: "fd", FD: n}
	_, err := Dial(t.Context(), a, DialOptions{})
	wantErr(t, err, a.String()+": is a listening socket, not a connected socket", nil)
	_, err = ListenPacket(t.Context(), a, ListenOptions{})
	wantErr(t, err, a.String()+": is a listening socket, not a socket for datagrams", nil)
	in := listen(t, a.String(), ListenOptions{})
	c, s := pair(t, in, parse(t, ln.Addr().String()))
	echoes(t, c, s)
	if _, ok := s.(*net.TCPConn); !ok {
		t.Errorf("accepted a %T", s)
	}
}

func TestPassed(t *testing.T) {
	us := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		pid, fds, names, name string
		n                     int
		ok                    bool
	}{
		{us, "1", "", "x", 3, true},
		{us, "2", "a:b", "b", 4, true},
		{us, "2", "a:b", "x", 3, true},
		{us, "1", "a:b", "b", 3, true}, // a name without a descriptor
		{us, "0", "a", "a", 0, false},
		{us, "x", "a", "a", 0, false},
		{"1", "2", "a:b", "b", 0, false},
		{"", "", "", "", 0, false},
	} {
		t.Setenv("LISTEN_PID", tt.pid)
		t.Setenv("LISTEN_FDS", tt.fds)
		t.Setenv("LISTEN_FDNAMES", tt.names)
		if n, ok := Passed(tt.name); n != tt.n || ok != tt.ok {
			t.Errorf("%+v: Passed = %d, %v", tt, n, ok)
		}
		for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			if _, set := os.LookupEnv(v); set {
				t.Errorf("%+v: %s is still set", tt, v)
			}
		}
	}
}
