package sock

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// echoing answers what comes to pc, from the address that it came to, until the test ends.
func echoing(t *testing.T, pc net.PacketConn) {
	t.Helper()
	d, err := NewDatagrams(pc)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Receive(NewRoom(1, 8), func(ds []Datagram) bool {
			if n, err := d.Send(ds); err != nil {
				t.Errorf("sent %d of %d: %v", n, len(ds), err)
			}
			return true
		})
	}()
	t.Cleanup(func() {
		pc.Close()
		<-done
	})
}

func packets(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	pc, err := ListenPacket(t.Context(), parse(t, addr), ListenOptions{AnyPort: true})
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

// What is sent comes back as it was, whatever its length, and from the address that was asked.
func TestDatagrams(t *testing.T) {
	for _, c := range []struct{ listen, dial string }{
		{"udp://127.0.0.1:0", "127.0.0.1"},
		{"udp://0.0.0.0:0", "127.0.0.2"},
		{"udp://:0", "127.0.0.3"},
		{"udp://:0", "::1"},
		{"udp://[::1]:0", "::1"},
	} {
		if ip := net.ParseIP(c.dial); ip[15] > 1 && runtime.GOOS != "linux" {
			continue // only Linux has all of 127/8
		}
		t.Run(c.listen+" "+c.dial, func(t *testing.T) {
			pc := packets(t, c.listen)
			echoing(t, pc)
			port := pc.LocalAddr().(*net.UDPAddr).Port
			// Connected, so that an answer from elsewhere does not come.
			conn := dialOK(t, Addr{Net: "udp", Host: c.dial, Port: port})
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			buf := make([]byte, room)
			for _, size := range []int{0, 1, 1400, MaxDatagram, 3} {
				sent := bytes.Repeat([]byte{byte(size)}, size)
				if _, err := conn.Write(sent); err != nil {
					t.Fatal(err)
				}
				n, err := conn.Read(buf)
				if err != nil || !bytes.Equal(buf[:n], sent) {
					t.Errorf("%d bytes: %d came back, %v", size, n, err)
				}
			}
		})
	}
}

func TestDatagramsUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	t.Run("echo", func(t *testing.T) {
		pc := packets(t, "unixgram:"+path)
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("Stat: %v, %v", fi, err)
		}
		if _, err := ListenPacket(t.Context(), parse(t, "unixgram:"+path), ListenOptions{}); err == nil {
			t.Error("taken twice")
		}
		if runtime.GOOS != "linux" {
			return // nobody else names a socket by itself
		}
		echoing(t, pc)
		conn := dialOK(t, parse(t, "unixgram:"+path))
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 2*room)
		for _, size := range []int{0, 5, room} {
			if _, err := conn.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(buf); n != size || err != nil {
				t.Errorf("%d bytes: %d, %v", size, n, err)
			}
		}
	})
	if _, err := os.Stat(path); err == nil {
		t.Error("the path is still there")
	}

	pc := packets(t, "unixgram:"+path)
	defer pc.Close()
	d, err := NewDatagrams(pc)
	if err != nil {
		t.Fatal(err)
	}
	conn := dialOK(t, parse(t, "unixgram:"+path))
	if _, err := conn.Write(make([]byte, room+1)); err != nil {
		t.Fatal(err)
	}
	err = d.Receive(NewRoom(1, 1), func(ds []Datagram) bool {
		if len(ds) != 1 || !ds[0].Cut || len(ds[0].Data) != room {
			t.Errorf("one that is too long: %d, cut %v", len(ds[0].Data), ds[0].Cut)
		}
		return false
	})
	if err != nil {
		t.Error(err)
	}
}

// A batch of any length goes out in order, and one error stops it there.
func TestDatagramsSend(t *testing.T) {
	pc := packets(t, "udp://127.0.0.1:0")
	defer pc.Close()
	from, err := NewDatagrams(pc)
	if err != nil {
		t.Fatal(err)
	}
	to := packets(t, "udp://127.0.0.1:0")
	defer to.Close()
	at := to.LocalAddr().(*net.UDPAddr).AddrPort()
	var ds []Datagram
	for i := range 150 {
		ds = append(ds, Datagram{Data: fmt.Append(nil, i), Peer: at})
	}
	ds[100].Data = make([]byte, MaxDatagram+1)
	if n, err := from.Send(ds); n != 100 || err == nil {
		t.Errorf("Send = %d, %v; want 100 and why", n, err)
	}
	if n, err := from.Send(ds[101:]); n != 49 || err != nil {
		t.Errorf("Send = %d, %v; want 49", n, err)
	}
	d, err := NewDatagrams(to)
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	err = d.Receive(NewRoom(1, 8), func(got []Datagram) bool {
		for _, g := range got {
			if next == 100 {
				next++
			}
			if string(g.Data) != fmt.Sprint(next) || g.Peer != pc.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("%d: %q from %v", next, g.Data, g.Peer)
			}
			next++
		}
		return next < 150
	})
	if err != nil {
		t.Error(err)
	}
}

// Who is connected is told that nobody takes it, and can go on.
func TestDatagramsRefused(t *testing.T) {
	pc := packets(t, "udp://127.0.0.1:0")
	addr := pc.LocalAddr().(*net.UDPAddr)
	pc.Close()
	conn := dialOK(t, Addr{Net: "udp", Host: "127.0.0.1", Port: addr.Port})
	d, err := NewDatagrams(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Send([]Datagram{{Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	refused := false
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	err = d.Receive(NewRoom(1, 1), func(ds []Datagram) bool {
		refused = ds == nil
		return false
	})
	if !refused {
		t.Errorf("not told: %v", err)
	}
}

// A datagram costs no garbage of its own.
func TestDatagramsGarbage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("one by one here")
	}
	pc := packets(t, "udp://127.0.0.1:0")
	defer pc.Close()
	d, err := NewDatagrams(pc)
	if err != nil {
		t.Fatal(err)
	}
	self := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	out := []Datagram{{Data: make([]byte, 100), Peer: self}, {Data: make([]byte, 10), Peer: self}}
	if _, err := d.Send(out); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	const rounds = 1000
	n := 0
	err = d.Receive(NewRoom(1, 4), func(ds []Datagram) bool {
		if n == 100 {
			runtime.ReadMemStats(&before)
		}
		n += len(ds)
		if _, err := d.Send(ds); err != nil {
			t.Error(err)
		}
		return n < rounds
	})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Error(err)
	}
	if got := after.Mallocs - before.Mallocs; got >= rounds {
		t.Errorf("%d allocations for %d datagrams", got, rounds)
	}
}
