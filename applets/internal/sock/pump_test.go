package sock

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// socketPair returns the two ends of a connection, tcp or unix.
func socketPair(t testing.TB, network string) (dialled, accepted net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if dialled, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	for _, c := range []net.Conn{dialled, accepted} {
		c.SetDeadline(time.Time{})
	}
	return dialled, accepted
}

// pumped returns a client and a server with a pump between them, and what Run returns; then the ends of
// the pump are closed as they should be.
func pumped(t testing.TB, from, to string, set func(*Pump)) (client, server net.Conn, p *Pump, done chan error) {
	client, a := socketPair(t, from)
	b, server := socketPair(t, to)
	p = &Pump{A: a, B: b}
	if set != nil {
		set(p)
	}
	done = make(chan error, 1)
	go func() {
		err := p.Run()
		if err != nil {
			Abort(a)
			Abort(b)
		} else {
			a.Close()
			b.Close()
		}
		done <- err
	}()
	for _, c := range []net.Conn{client, server} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return client, server, p, done
}

func ended(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("the pump does not end\n%s", buf[:runtime.Stack(buf, true)])
		return nil
	}
}

var crossings = [][2]string{{"tcp", "tcp"}, {"tcp", "unix"}, {"unix", "tcp"}, {"unix", "unix"}}

// Both directions at once, whatever the sizes of the writes, with and without somebody who looks.
func TestPumpCarries(t *testing.T) {
	const size = 4 << 20
	for _, c := range crossings {
		for _, look := range []bool{false, true} {
			t.Run(c[0]+" to "+c[1], func(t *testing.T) {
				seen := [2]int{}
				client, server, p, done := pumped(t, c[0], c[1], func(p *Pump) {
					if look {
						p.Look = [2]func([]byte) error{
							func(b []byte) error { seen[0] += len(b); return nil },
							func(b []byte) error { seen[1] += len(b); return nil },
						}
					}
				})
				sums := make(chan [2][32]byte, 2)
				for _, end := range []net.Conn{client, server} {
					sent := make(chan [32]byte, 1)
					go func() {
						h := sha256.New()
						b := make([]byte, 300<<10)
						for left := size; left > 0; {
							n := min(left, 1+rand.IntN(len(b)))
							for i := range b[:n] {
								b[i] = byte(rand.Uint32())
							}
							h.Write(b[:n])
							if _, err := end.Write(b[:n]); err != nil {
								t.Error(err)
								return
							}
							left -= n
						}
						CloseWrite(end)
						sent <- [32]byte(h.Sum(nil))
					}()
					go func() {
						h := sha256.New()
						if n, err := io.Copy(h, end); n != size || err != nil {
							t.Errorf("%d bytes, %v", n, err)
						}
						sums <- [2][32]byte{<-sent, [32]byte(h.Sum(nil))}
					}()
				}
				one, two := <-sums, <-sums
				if one[0] != two[1] || one[1] != two[0] {
					t.Error("what came is not what was sent")
				}
				if err := ended(t, done); err != nil {
					t.Error(err)
				}
				if a, b := p.Moved(); a != size || b != size {
					t.Errorf("moved %d and %d", a, b)
				}
				if look && (seen[0] != size || seen[1] != size) {
					t.Errorf("saw %d", seen)
				}
			})
		}
	}
}

// The end of one side is an end for the other, and the answer still comes.
func TestPumpHalfClose(t *testing.T) {
	for _, c := range crossings {
		client, server, p, done := pumped(t, c[0], c[1], nil)
		for _, ends := range [][2]net.Conn{{client, server}, {server, client}} {
			first, second := ends[0], ends[1]
			io.WriteString(first, "question")
			CloseWrite(first)
			if b, err := io.ReadAll(second); string(b) != "question" || err != nil {
				t.Fatalf("%q, %v", b, err)
			}
			if first == server {
				break
			}
			for !p.HalfClosed() {
				runtime.Gosched()
			}
		}
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
	}
}

// A reset is passed on as a reset, behind what was sent before it; also one by who has ended his side.
func TestPumpReset(t *testing.T) {
	for _, half := range []bool{false, true} {
		for _, back := range []bool{false, true} {
			client, server, p, done := pumped(t, "tcp", "tcp", nil)
			if back {
				client, server = server, client
			}
			big := bytes.Repeat([]byte("x"), 200<<10)
			got := make(chan error, 1)
			n := make(chan int, 1)
			begun := make(chan struct{})
			go func() {
				b := make([]byte, len(big))
				k, _ := io.ReadFull(server, b)
				n <- k
				close(begun)
				_, err := server.Read(b)
				if half && err == io.EOF { // the half-close first
					for err == io.EOF { // which hides the reset from those who read
						if _, err = server.Write([]byte("y")); err == nil {
							time.Sleep(time.Millisecond)
							err = io.EOF
						}
					}
				}
				got <- err
			}()
			client.Write(big)
			<-begun
			if half {
				CloseWrite(client)
				for !p.HalfClosed() {
					runtime.Gosched()
				}
			}
			client.(*net.TCPConn).SetLinger(0)
			client.Close()
			if k := <-n; k != len(big) {
				t.Errorf("half %v, back %v: %d bytes before the reset", half, back, k)
			}
			if err := <-got; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("half %v, back %v: the other side sees %v", half, back, err)
			}
			err := ended(t, done)
			if !errors.As(err, new(*BrokenError)) {
				t.Errorf("half %v, back %v: %v", half, back, err)
			}
		}
	}
}

// Drain passes on what has been received, closes, and waits for nobody's end.
func TestPumpDrain(t *testing.T) {
	for _, c := range crossings {
		client, server, p, done := pumped(t, c[0], c[1], nil)
		io.WriteString(client, "to the server")
		io.WriteString(server, "to the client")
		p.Drain()
		for end, want := range map[net.Conn]string{server: "to the server", client: "to the client"} {
			if b, err := io.ReadAll(end); string(b) != want || err != nil {
				t.Errorf("%v: %q, %v", c, b, err)
			}
		}
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
	}
}

// Cut ends a pump whose peer takes nothing, and one that waits.
func TestPumpCut(t *testing.T) {
	for _, full := range []bool{false, true} {
		client, _, p, done := pumped(t, "tcp", "unix", nil)
		if full {
			client.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			client.Write(make([]byte, 64<<20))
		}
		p.Drain() // which waits for the server to take it
		if full {
			select {
			case err := <-done:
				t.Fatalf("it ended with what is not passed on: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			p.Cut(errCutTest)
			if err := ended(t, done); err != errCutTest {
				t.Error(err)
			}
			continue
		}
		if err := ended(t, done); err != nil {
			t.Error(err)
		}
	}
}

var errCutTest = errors.New("cut")

// An idle pump holds two goroutines and no buffer.
func TestPumpLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		client, server, _, done := pumped(t, "tcp", "tcp", nil)
		io.WriteString(client, "x")
		io.ReadFull(server, make([]byte, 1))
		client.Close()
		server.Close()
		ended(t, done)
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}
