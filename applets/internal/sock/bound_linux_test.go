package sock

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whether less waits at a socket is known also where the number alone does not tell it, and nothing is
// taken by asking.
func TestBoundQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, a := range []Addr{{Net: "tcp", Host: "127.0.0.1"}, {Net: "unix", Path: path}, {Net: "unix", Path: "@sockbox-bound-" + t.Name()}} {
		t.Run(a.String(), func(t *testing.T) {
			b, err := Bind(context.Background(), a, BindOptions{ListenOptions: ListenOptions{AnyPort: true}})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if b.Ready() || b.Queue(true).n != 0 {
				t.Errorf("something waits: %+v", b.Queue(true))
			}
			knock := func() net.Conn {
				before := b.Queue(false).n
				c, err := net.Dial(b.Local().Network(), b.Local().String())
				if err != nil {
					t.Fatal(err)
				}
				for deadline := time.Now().Add(10 * time.Second); b.Queue(false).n == before && time.Now().Before(deadline); {
					time.Sleep(time.Millisecond)
				}
				return c
			}
			defer knock().Close()
			if err := b.Wait(); err != nil || !b.Ready() {
				t.Fatal(err)
			}
			f, err := b.File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
				t.Errorf("it is not in blocking mode: %#x, %v", flags, err)
			}
			one := b.Queue(true)
			if one.n != 1 || len(one.who) != 1 || one.Shrank(b.Queue(true)) {
				t.Errorf("%+v, then %+v", one, b.Queue(true))
			}
			defer knock().Close()
			if one.Shrank(b.Queue(true)) {
				t.Errorf("%+v became shorter: %+v", one, b.Queue(true))
			}
			// One has gone, and there is one: the number is the same.
			c, peer, err := b.Accept()
			if err != nil || peer == nil {
				t.Fatal(err, peer)
			}
			defer c.Close()
			if now := b.Queue(true); now.n != 1 || !one.Shrank(now) {
				t.Errorf("%+v did not become shorter: %+v", one, now)
			}
		})
	}
}

func TestBoundPackets(t *testing.T) {
	b, err := Bind(context.Background(), Addr{Net: "udp", Host: "127.0.0.1"}, BindOptions{ListenOptions: ListenOptions{AnyPort: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := net.Dial("udp", b.Local().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("one"))
	if err := b.Wait(); err != nil {
		t.Fatal(err)
	}
	one := b.Queue(true)
	if one.n < 1 || len(one.who) != 1 || one.Shrank(b.Queue(true)) {
		t.Errorf("%+v, then %+v", one, b.Queue(true))
	}
	buf := make([]byte, 10)
	if n, _, err := b.Packets().ReadFrom(buf); err != nil || string(buf[:n]) != "one" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if !one.Shrank(b.Queue(true)) || b.Ready() {
		t.Errorf("%+v, then %+v", one, b.Queue(true))
	}
}

// Closing it ends a wait, and takes the path away.
func TestBoundClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	b, err := Bind(context.Background(), Addr{Net: "unix", Path: path}, BindOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- b.Wait() }()
	b.Close()
	b.Close()
	if err := <-ended; err == nil {
		t.Error("the wait ended without an error")
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the path is left")
	}
}
