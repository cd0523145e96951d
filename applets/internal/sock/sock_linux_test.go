package sock

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTuned(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	a := parse(t, ln.Addr().String())
	c, s := pair(t, ln, a)
	in := fromFD(t, s.(syscall.Conn))
	defer in.Conn.Close()
	for name, conn := range map[string]net.Conn{"dialled": c, "accepted": s, "inherited": in.Conn} {
		for _, tt := range []struct {
			option           string
			level, opt, want int
		}{
			{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
			{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
			{"SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
		} {
			control(conn.(syscall.Conn), func(fd int) error {
				got, err := unix.GetsockoptInt(fd, tt.level, tt.opt)
				if err != nil || got != tt.want {
					t.Errorf("%s: %s is %d, %v; want %d", name, tt.option, got, err, tt.want)
				}
				return nil
			})
		}
		control(conn.(syscall.Conn), func(fd int) error {
			retry, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS)
			timeout, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
			if kept := err == nil && retry == 2000 && timeout == 0; !kept && !(err != nil && timeout == 30000) {
				t.Errorf("%s: TCP_RTO_MAX_MS is %d, %v, and TCP_USER_TIMEOUT %d", name, retry, err, timeout)
			}
			return nil
		})
	}
	for _, tt := range []struct {
		what    string
		tune    func(net.Conn)
		timeout int
	}{
		{"a session", TuneSession, 10000},
		{"a link", TuneLink, 0}, // or it would end when an input is full
	} {
		tt.tune(wrapped{c})
		control(c.(syscall.Conn), func(fd int) error {
			if got, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || got != tt.timeout {
				t.Errorf("%s: TCP_USER_TIMEOUT is %d, %v", tt.what, got, err)
			}
			got, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS)
			if !errors.Is(err, unix.ENOPROTOOPT) && (err != nil || got != 1000) {
				t.Errorf("%s: TCP_RTO_MAX_MS is %d, %v", tt.what, got, err)
			}
			return nil
		})
	}
	// Neither a wrapper nor another kind of connection is a problem.
	Tune(wrapped{c})
	p, q := net.Pipe()
	Tune(p)
	p.Close()
	q.Close()
}

type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// until calls f until it says true. Nothing tells when an acknowledgement
// comes, so this asks, for as long as the slowest machine may need.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal(what)
		}
	}
}

func TestAckedUnsent(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	c, s := pair(t, ln, parse(t, ln.Addr().String()))
	for name, conn := range map[string]net.Conn{"dialled": c, "accepted": s} {
		base, ok := Acked(conn)
		if want := map[string]uint64{"dialled": 1}[name]; !ok || base != want {
			t.Errorf("%s: Acked = %d, %v; want %d (the SYN)", name, base, ok, want)
		}
	}

	// Write until the peer, which does not read, has no more room.
	if err := c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	sent, err := io.Copy(c, zeros{})
	if !TimedOut(err) {
		t.Fatalf("the peer's kernel took %d bytes: %v", sent, err)
	}
	var n uint64
	var left int
	until(t, "acknowledged and unsent do not add up", func() bool {
		n, _ = Acked(c)
		left, _ = Unsent(c)
		return n-1+uint64(left) >= uint64(sent)
	})
	if left == 0 {
		t.Fatal("nothing is left, and yet the peer took no more")
	}

	// As the peer reads, the rest is acknowledged.
	total := int64(n - 1 + uint64(left)) // Copy does not count a part of its last write
	if _, err := io.CopyN(io.Discard, s, total); err != nil {
		t.Fatal(err)
	}
	until(t, "not everything was acknowledged", func() bool {
		n, _ = Acked(c)
		left, _ = Unsent(c)
		return n == uint64(total)+1 && left == 0
	})

	// Our FIN counts one, and after the peer's reset the number stays.
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	until(t, "the FIN was not acknowledged", func() bool {
		n, _ = Acked(c)
		return n == uint64(total)+2
	})
	_ = s.(*net.TCPConn).SetLinger(0)
	s.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("Read = %v; want a reset", err)
	}
	if after, ok := Acked(c); !ok || after != n {
		t.Errorf("after a reset Acked = %d, %v; want %d", after, ok, n)
	}
	c.Close()
	if _, ok := Acked(c); ok {
		t.Error("Acked tells of a closed connection")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What was on its way when a reset came is sent no more, and not waited for.
func TestUnsentReset(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	c, s := pair(t, ln, parse(t, ln.Addr().String()))
	if err := c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if sent, err := io.Copy(c, zeros{}); !TimedOut(err) {
		t.Fatalf("the peer's kernel took %d bytes: %v", sent, err)
	}
	if left, _ := Unsent(c); left == 0 {
		t.Fatal("nothing is left, and yet the peer took no more")
	}
	Abort(s)
	until(t, "something is still on its way after a reset", func() bool {
		left, ok := Unsent(c)
		return ok && left == 0
	})
}

func TestAckedElsewhere(t *testing.T) {
	a := Addr{Net: "unix", Path: t.TempDir() + "/s"}
	ln := listen(t, a.String(), ListenOptions{})
	c, s := pair(t, ln, a)
	if n, ok := Acked(c); ok {
		t.Errorf("Acked = %d on a unix socket", n)
	}
	if n, ok := Unsent(c); !ok || n != 0 {
		t.Errorf("Unsent = %d, %v; want 0", n, ok)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if n, ok := Unsent(wrapped{c}); !ok || n < 5 {
		t.Errorf("Unsent = %d, %v; want 5 or more", n, ok)
	}
	if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if n, ok := Unsent(c); !ok || n != 0 {
		t.Errorf("Unsent = %d, %v; want 0", n, ok)
	}
	if _, ok := Acked(wrapped{c}); ok {
		t.Error("Acked looks through a wrapper")
	}
}

func TestDrops(t *testing.T) {
	pc, err := ListenPacket(t.Context(), parse(t, "udp://127.0.0.1:0"), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	u := pc.(*net.UDPConn)
	if err := u.SetReadBuffer(1); err != nil { // the kernel's least, a few datagrams
		t.Fatal(err)
	}
	c := dialOK(t, Addr{Net: "udp", Host: "127.0.0.1", Port: u.LocalAddr().(*net.UDPAddr).Port})
	const sent = 100
	for range sent {
		if _, err := c.Write(make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
	}
	// What is queued was there before the drops. One more brings the count.
	b, oob := make([]byte, 500), make([]byte, OOBSpace)
	read := func() (drops uint32, ok bool) {
		_, n, _, _, err := u.ReadMsgUDP(b, oob)
		if err != nil {
			t.Fatal(err)
		}
		return Drops(oob[:n])
	}
	if n, ok := read(); ok {
		t.Errorf("the first datagram tells of %d drops", n)
	}
	got := 1
	for ; ; got++ {
		_ = u.SetReadDeadline(time.Now())
		if _, _, _, _, err := u.ReadMsgUDP(b, oob); err != nil {
			break
		}
	}
	_ = u.SetReadDeadline(time.Time{})
	if _, err := c.Write(nil); err != nil {
		t.Fatal(err)
	}
	if n, ok := read(); !ok || int(n)+got != sent {
		t.Errorf("Drops = %d, %v; want %d", n, ok, sent-got)
	}
	if _, ok := Drops(nil); ok {
		t.Error("Drops tells from nothing")
	}
	if _, ok := Drops(make([]byte, OOBSpace)); ok {
		t.Error("Drops tells from zeros")
	}
}

func TestAbstract(t *testing.T) {
	a := Addr{Net: "unix", Path: "@" + strings.ReplaceAll(t.TempDir(), "/", "-")}
	ln := listen(t, a.String(), ListenOptions{})
	c, s := pair(t, ln, a)
	echoes(t, c, s)
	_, err := Listen(t.Context(), a, ListenOptions{})
	wantErr(t, err, a.String()+": address already in use", syscall.EADDRINUSE)

	for n, ok := range map[int]bool{107: true, 108: false} {
		a := Addr{Net: "unix", Path: "@" + (a.Path + strings.Repeat("x", 200))[1:n+1]}
		ln, err := Listen(t.Context(), a, ListenOptions{})
		if ok != (err == nil) {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
		if err == nil {
			ln.Close()
		} else {
			wantErr(t, err, a.String()+": an abstract name has at most 107 bytes", nil)
		}
	}
}

// A pipe that was opened anew can be waited for without a thread, and Close
// ends the wait.
func TestFromFDPipeClose(t *testing.T) {
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(p[1])
	in, err := FromFD(p[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := in.File.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := in.File.Read(make([]byte, 1)); !TimedOut(err) {
		t.Errorf("Read = %v; want a timeout", err)
	}
	in.File.Close()
}

func TestFromFDRuntime(t *testing.T) {
	n, err := unix.EpollCreate1(0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(n)
	if in, err := FromFD(n); err == nil {
		t.Errorf("an epoll descriptor is %+v", in)
	}
}
