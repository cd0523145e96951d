package sock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T, addr string, o ListenOptions) net.Listener {
	t.Helper()
	ln, err := Listen(t.Context(), parse(t, addr), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func parse(t *testing.T, addr string) Addr {
	t.Helper()
	a, err := ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func dialOK(t *testing.T, a Addr) net.Conn {
	t.Helper()
	c, err := Dial(t.Context(), a, DialOptions{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// pair is a connection over ln: the dialling side, then the accepted one.
func pair(t *testing.T, ln net.Listener, a Addr) (net.Conn, net.Conn) {
	t.Helper()
	c := dialOK(t, a)
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c, s
}

// echoes fails unless what goes in at c comes out at s.
func echoes(t *testing.T, c io.Writer, s io.Reader) {
	t.Helper()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v; want hello", b, err)
	}
}

func wantErr(t *testing.T, err error, text string, is error) {
	t.Helper()
	if err == nil || err.Error() != text || is != nil && !errors.Is(err, is) {
		t.Errorf("error %v (%T); want %q, which is %v", err, errors.Unwrap(err), text, is)
	}
}

func TestListenTCP(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	port := ln.Addr().(*net.TCPAddr).Port
	if port < MinPort || port > MaxPort {
		t.Errorf("port 0 gave %d; want one in %d-%d", port, MinPort, MaxPort)
	}
	a := Addr{Net: "tcp", Host: "127.0.0.1", Port: port}
	c, s := pair(t, ln, a)
	echoes(t, c, s)

	_, err := Listen(t.Context(), a, ListenOptions{})
	wantErr(t, err, a.String()+": address already in use", syscall.EADDRINUSE)
	if Refused(err) || Unreachable(err) || Unresolved(err) || TimedOut(err) {
		t.Errorf("%v is none of refused, unreachable, unresolved, timed out", err)
	}

	// The port is free again at once, though a connection to it is still open.
	ln.Close()
	if ln, err = Listen(t.Context(), a, ListenOptions{}); err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

func TestListenAnyPort(t *testing.T) {
	ln := listen(t, "localhost:0", ListenOptions{AnyPort: true})
	if ln.Addr().(*net.TCPAddr).Port == 0 {
		t.Error("no port")
	}
	// Nothing is free: the search ends.
	tries := 0
	err := bindPort(Addr{Net: "tcp"}, ListenOptions{}, func(a Addr) error {
		if a.Port < MinPort || a.Port > MaxPort {
			t.Errorf("tried port %d", a.Port)
		}
		tries++
		return syscall.EADDRINUSE
	})
	wantErr(t, err, "no free port in 1024-49151 was found", syscall.EADDRINUSE)
	if tries != portTries {
		t.Errorf("%d tries; want %d", tries, portTries)
	}
}

func TestListenDualStack(t *testing.T) {
	ln := listen(t, "0", ListenOptions{})
	port := ln.Addr().(*net.TCPAddr).Port
	_, s := pair(t, ln, Addr{Net: "tcp", Host: "127.0.0.1", Port: port})
	if name := PeerName(s.RemoteAddr()); !strings.HasPrefix(name, "127.0.0.1:") {
		t.Errorf("the peer is shown as %s", name)
	}
}

func TestListenPacket(t *testing.T) {
	pc, err := ListenPacket(t.Context(), parse(t, "udp://127.0.0.1:0"), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	port := pc.LocalAddr().(*net.UDPAddr).Port
	if port < MinPort || port > MaxPort {
		t.Errorf("port 0 gave %d", port)
	}
	a := Addr{Net: "udp", Host: "127.0.0.1", Port: port}
	c := dialOK(t, a)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, from, err := pc.ReadFrom(b); string(b[:n]) != "hello" || from.String() != c.LocalAddr().String() {
		t.Errorf("ReadFrom = %q, %v, %v", b[:n], from, err)
	}
	_, err = ListenPacket(t.Context(), a, ListenOptions{})
	wantErr(t, err, a.String()+": address already in use", syscall.EADDRINUSE)
}

func TestListenWrongKind(t *testing.T) {
	_, err := Listen(t.Context(), Addr{Net: "udp", Port: 1}, ListenOptions{})
	wantErr(t, err, "udp://*:1: cannot be listened on", nil)
	_, err = ListenPacket(t.Context(), Addr{Net: "tcp", Port: 1}, ListenOptions{})
	wantErr(t, err, "*:1: is not for datagrams", nil)
	_, err = Dial(t.Context(), Addr{Net: "fifo", Path: "f"}, DialOptions{})
	wantErr(t, err, "fifo:f: cannot be dialled", nil)
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	a := Addr{Net: "unix", Path: dir + "/s"}
	for _, mode := range []os.FileMode{0, 0o660, 0o666} {
		ln := listen(t, a.String(), ListenOptions{Mode: mode})
		if mode == 0 {
			mode = 0o600
		}
		fi, err := os.Lstat(a.Path)
		if err != nil || fi.Mode() != os.ModeSocket|mode {
			t.Errorf("mode is %v, %v; want %v", fi.Mode(), err, mode)
		}
		if ln.Addr().String() != a.Path {
			t.Errorf("Addr is %v; want %s", ln.Addr(), a.Path)
		}
		c, s := pair(t, ln, a)
		echoes(t, c, s)
		if name := PeerName(s.RemoteAddr()); name != "unix" {
			t.Errorf("the peer is shown as %s", name)
		}
		ln.Close()
		wantNames(t, dir)
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a second Close: %v; want net.ErrClosed", err)
		}
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("in %s there is %q; want %q", dir, got, want)
	}
}

// stale leaves a socket that nobody listens on at path.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestListenUnixStale(t *testing.T) {
	a := Addr{Net: "unix", Path: t.TempDir() + "/s"}
	stale(t, a.Path)
	_, err := Dial(t.Context(), a, DialOptions{})
	wantErr(t, err, a.String()+": connection refused", syscall.ECONNREFUSED)
	if !Refused(err) {
		t.Error("a stale socket refuses")
	}
	ln := listen(t, a.String(), ListenOptions{})
	c, s := pair(t, ln, a)
	echoes(t, c, s)
}

func TestListenUnixLive(t *testing.T) {
	a := Addr{Net: "unix", Path: t.TempDir() + "/s"}
	ln := listen(t, a.String(), ListenOptions{})
	_, err := Listen(t.Context(), a, ListenOptions{})
	wantErr(t, err, a.String()+": address already in use", syscall.EADDRINUSE)

	// The live one was probed and is as it was.
	if probe, err := ln.Accept(); err == nil {
		probe.Close()
	}
	c, s := pair(t, ln, a)
	echoes(t, c, s)
	wantNames(t, filepath.Dir(a.Path), "s")

	// A socket of another type is live too.
	d := Addr{Net: "unix", Path: t.TempDir() + "/d"}
	pc, err := net.ListenPacket("unixgram", d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_, err = Listen(t.Context(), d, ListenOptions{})
	wantErr(t, err, d.String()+": address already in use", syscall.EADDRINUSE)
}

func TestListenUnixNotASocket(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	stale(t, dir+"/sock")
	if err := os.Symlink("sock", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"/file": "not a socket", "/link": "not a socket", "/.": "is a directory", "/": "is a directory",
		"/no/s": "no such file or directory", "/file/s": "not a directory",
	} {
		a := Addr{Net: "unix", Path: dir + path}
		_, err := Listen(t.Context(), a, ListenOptions{})
		wantErr(t, err, a.String()+": "+text, nil)
	}
	wantNames(t, dir, "file", "link", "sock")
	if b, err := os.ReadFile(dir + "/file"); string(b) != "mine" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

// Of many who start at once on a stale path, one gets it, and it works.
func TestListenUnixAtOnce(t *testing.T) {
	a := Addr{Net: "unix", Path: t.TempDir() + "/s"}
	stale(t, a.Path)
	var mu sync.Mutex
	var won []net.Listener
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			ln, err := Listen(t.Context(), a, ListenOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, ln)
			} else if !errors.Is(err, syscall.EADDRINUSE) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d got the path; want 1", len(won))
	}
	dialOK(t, a)
	won[0].Close()
	wantNames(t, filepath.Dir(a.Path))
}

// A path that somebody else has taken over stays theirs.
func TestListenUnixCloseOnlyOurs(t *testing.T) {
	a := Addr{Net: "unix", Path: t.TempDir() + "/s"}
	first := listen(t, a.String(), ListenOptions{})
	if err := os.Remove(a.Path); err != nil {
		t.Fatal(err)
	}
	second := listen(t, a.String(), ListenOptions{})
	first.Close()
	c, s := pair(t, second, a)
	echoes(t, c, s)
}

func TestListenUnixLocked(t *testing.T) {
	dir := t.TempDir()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := Addr{Net: "unix", Path: dir + "/s"}
	_, err = Listen(ctx, a, ListenOptions{})
	wantErr(t, err, a.String()+": another process holds the lock on its directory", context.Canceled)
}

func TestUnixLongPath(t *testing.T) {
	dir := t.TempDir()
	for range 5 {
		dir += "/" + strings.Repeat("d", 50)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := Addr{Net: "unix", Path: dir + "/" + strings.Repeat("s", 200)}
	if runtime.GOOS != "linux" {
		text := fmt.Sprintf("%s: the path is too long: this system allows %d bytes for a unix socket", a, maxPath)
		_, err := Listen(t.Context(), a, ListenOptions{})
		wantErr(t, err, text, nil)
		_, err = Dial(t.Context(), a, DialOptions{})
		wantErr(t, err, text, nil)
		return
	}
	stale := listen(t, a.String(), ListenOptions{}).(*unixListener)
	stale.UnixListener.Close()
	ln := listen(t, a.String(), ListenOptions{})
	c, s := pair(t, ln, a)
	echoes(t, c, s)
	_, err := Listen(t.Context(), a, ListenOptions{})
	wantErr(t, err, a.String()+": address already in use", syscall.EADDRINUSE)
	ln.Close()
	wantNames(t, dir)
	_, err = Dial(t.Context(), a, DialOptions{})
	wantErr(t, err, a.String()+": no such file or directory", syscall.ENOENT)
}

func TestUnixRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	a := Addr{Net: "unix", Path: "s"}
	ln := listen(t, a.String(), ListenOptions{})
	c, s := pair(t, ln, a)
	echoes(t, c, s)
	t.Chdir("/") // as a daemon does; the listener still knows its directory
	ln.Close()
	wantNames(t, dir)
}
