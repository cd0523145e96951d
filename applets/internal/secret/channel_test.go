package secret

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

func identity(t testing.TB) *Identity {
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// pair is a connection over loopback; net.Pipe has no buffers, which TLS's closing wants.
func pair(t testing.TB) (dialler, listener net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

type outcome struct {
	conn *tls.Conn
	err  error
}

// exchange runs both sides over the two ends.
func exchange(t testing.TB, dialler, listener net.Conn, keyA, keyB, forA, forB string) (a, b outcome) {
	id := identity(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.conn, b.err = id.Accept(context.Background(), listener, Key{[]byte(keyB)}, forB)
	}()
	a.conn, a.err = Dial(context.Background(), dialler, Key{[]byte(keyA)}, forA)
	if a.err != nil {
		dialler.Close()
	}
	<-done
	return a, b
}

func TestChannel(t *testing.T) {
	x, y := pair(t)
	a, b := exchange(t, x, y, "k12", "k12", ForTrigger, ForTrigger)
	if a.err != nil || b.err != nil {
		t.Fatal(a.err, b.err)
	}
	for _, way := range [][2]*tls.Conn{{a.conn, b.conn}, {b.conn, a.conn}} {
		got := make([]byte, 5)
		if _, err := way[0].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
	}
}

func TestChannelRefuses(t *testing.T) {
	for _, c := range []struct{ name, keyA, keyB, forA, forB string }{
		{"another key", "k12", "k13", ForTrigger, ForTrigger},
		{"a key's beginning", "k12", "k1", ForTrigger, ForTrigger},
		{"another purpose", "k12", "k12", ForTrigger, "relay"},
	} {
		x, y := pair(t)
		a, b := exchange(t, x, y, c.keyA, c.keyB, c.forA, c.forB)
		if !errors.Is(a.err, ErrRefused) {
			t.Errorf("%s: the dialler: %v, want %v", c.name, a.err, ErrRefused)
		}
		if !errors.Is(b.err, ErrRefused) {
			t.Errorf("%s: the listener: %v, want %v", c.name, b.err, ErrRefused)
		}
	}
}

// Somebody in the middle ends both TLS sessions himself and passes on, byte by byte, what the two
// say inside. Both hold the key, and yet neither must believe it.
func TestManInTheMiddle(t *testing.T) {
	victim, middleA := pair(t)
	middleB, server := pair(t)
	id, middle := identity(t), identity(t)

	var group sync.WaitGroup
	var dialErr, acceptErr error
	group.Go(func() { _, dialErr = Dial(t.Context(), victim, Key{[]byte("k12")}, ForTrigger) })
	group.Go(func() { _, acceptErr = id.Accept(t.Context(), server, Key{[]byte("k12")}, ForTrigger) })

	in := tls.Server(middleA, middle.config)
	out := tls.Client(middleB, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{ALPN}, InsecureSkipVerify: true})
	if err := in.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := out.Handshake(); err != nil {
		t.Fatal(err)
	}
	passed := make([]int64, 2)
	group.Go(func() { passed[0], _ = io.Copy(out, in); middleB.Close() })
	group.Go(func() { passed[1], _ = io.Copy(in, out); middleA.Close() })
	group.Wait()
	if passed[0] < shareSize || passed[1] < shareSize+confirmSize {
		t.Fatalf("only %v bytes were passed on: the test has not tested anything", passed)
	}
	if !errors.Is(dialErr, ErrRefused) {
		t.Errorf("the dialler: %v", dialErr)
	}
	if acceptErr == nil {
		t.Error("the listener believes it")
	}
}

// A listener that sends the dialler's own share back, or a share and a confirmation of its own
// making, learns nothing: the dialler's confirmation is never sent.
func TestRogueListener(t *testing.T) {
	key := Key{[]byte("k12")}
	answers := map[string]func(share []byte) []byte{
		"reflects the share": func(s []byte) []byte { return append(bytes.Clone(s), make([]byte, confirmSize)...) },
		"knows no key": func(s []byte) []byte {
			p, _ := newParty(false, "", "", make([]byte, 32))
			return append(p.share, make([]byte, confirmSize)...)
		},
		"sends the identity":    func(s []byte) []byte { return make([]byte, shareSize+confirmSize) },
		"sends rubbish":         func(s []byte) []byte { return bytes.Repeat([]byte{0xa5}, shareSize+confirmSize) },
		"sends half and leaves": func(s []byte) []byte { return s[:10] },
		"guesses a key, and is wrong with": func(s []byte) []byte {
			w, _ := Key{[]byte("k13")}.scalar()
			a, b := identities(ForTrigger)
			p, _ := newParty(false, a, b, w)
			k, _ := p.finish(s, nil)
			return append(p.share, k.confirmB...)
		},
	}
	for name, answer := range answers {
		x, y := pair(t)
		var heard []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			s := tls.Server(y, identity(t).config)
			share := make([]byte, shareSize)
			if _, err := io.ReadFull(s, share); err != nil {
				return
			}
			s.Write(answer(share))
			y.SetReadDeadline(time.Now().Add(2 * time.Second))
			if name == "sends half and leaves" {
				y.Close()
				return
			}
			heard, _ = io.ReadAll(s)
		}()
		if _, err := Dial(t.Context(), x, key, ForTrigger); err == nil {
			t.Errorf("%s: believed", name)
		}
		<-done
		if len(heard) > 0 {
			t.Errorf("%s: heard %d bytes after its share", name, len(heard))
		}
	}
}

// What a recorder sees has neither the key in it nor anything that is made of the key alone, and no
// share is used twice.
func TestNothingToGuessWith(t *testing.T) {
	const key = "somekey123"
	x, y := pair(t)
	wire := new(recorder)
	a, b := exchange(t, &recorded{x, wire}, y, key, key, ForTrigger, ForTrigger)
	if a.err != nil || b.err != nil {
		t.Fatal(a.err, b.err)
	}
	w, _ := Key{[]byte(key)}.scalar()
	s1, s2, s3 := sha256.Sum256([]byte(key)), sha512.Sum512([]byte(key)), sha256.Sum256([]byte(key+"\n"))
	for name, needle := range map[string][]byte{
		"the key": []byte(key), "in base64": []byte(base64.StdEncoding.EncodeToString([]byte(key)))[:12], "in hex": []byte(hex.EncodeToString([]byte(key))),
		"w": w, "SHA-256": s1[:], "SHA-512": s2[:], "SHA-256 of the line": s3[:],
	} {
		if bytes.Contains(wire.Bytes(), needle) {
			t.Errorf("%s is on the wire", name)
		}
	}
	if len(wire.Bytes()) < 1000 {
		t.Fatalf("only %d bytes were recorded", len(wire.Bytes()))
	}

	seen := map[string]bool{}
	for range 64 {
		for _, k := range []string{"a", "b"} {
			w, _ := Key{[]byte(k)}.scalar()
			p, err := newParty(true, "", "", w)
			if err != nil {
				t.Fatal(err)
			}
			if seen[string(p.share)] {
				t.Fatal("a share was used twice")
			}
			seen[string(p.share)] = true
		}
	}
}

type recorder struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *recorder) add(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.Write(p)
}

func (r *recorder) Bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.b.Bytes())
}

type recorded struct {
	net.Conn
	r *recorder
}

func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.r.add(p[:n])
	return n, err
}

func (c *recorded) Write(p []byte) (int, error) {
	c.r.add(p)
	return c.Conn.Write(p)
}

// A whole recorded connection, played again, proves nothing: the listener's share is another.
func TestReplay(t *testing.T) {
	x, y := pair(t)
	sent := new(recorder)
	id := identity(t)
	done := make(chan error)
	go func() {
		_, err := id.Accept(t.Context(), y, Key{[]byte("k12")}, ForTrigger)
		done <- err
	}()
	if _, err := Dial(t.Context(), &writes{x, sent}, Key{[]byte("k12")}, ForTrigger); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	again, server := pair(t)
	go func() {
		_, err := id.Accept(t.Context(), server, Key{[]byte("k12")}, ForTrigger)
		done <- err
	}()
	again.Write(sent.Bytes())
	again.(*net.TCPConn).CloseWrite()
	if err := <-done; err == nil {
		t.Error("a recorded connection was taken for a live one")
	}
}

type writes struct {
	net.Conn
	r *recorder
}

func (c *writes) Write(p []byte) (int, error) {
	c.r.add(p)
	return c.Conn.Write(p)
}

// A peer that is not sockbox, or an older TLS, is refused before SPAKE2 begins.
func TestNotSockbox(t *testing.T) {
	for name, config := range map[string]*tls.Config{
		"no ALPN": {MinVersion: tls.VersionTLS13, InsecureSkipVerify: true},
		"h2":      {MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"h2"}},
		"TLS 1.2": {MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{ALPN}},
	} {
		x, y := pair(t)
		go func() { tls.Client(x, config).Handshake(); x.Close() }()
		if _, err := identity(t).Accept(t.Context(), y, Key{[]byte("k12")}, ForTrigger); !errors.Is(err, ErrForeign) {
			t.Errorf("%s dials: %v, want %v", name, err, ErrForeign)
		}
		served := config.Clone()
		served.Certificates = identity(t).config.Certificates
		server, dialler := pair(t)
		go func() { tls.Server(server, served).Handshake(); io.Copy(io.Discard, server) }()
		if _, err := Dial(t.Context(), dialler, Key{[]byte("k12")}, ForTrigger); !errors.Is(err, ErrForeign) {
			t.Errorf("%s listens: %v, want %v", name, err, ErrForeign)
		}
	}
}

// ctx ends a handshake with a peer that says nothing.
func TestSilentPeer(t *testing.T) {
	x, y := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { _, err := identity(t).Accept(ctx, y, Key{[]byte("k12")}, ForTrigger); done <- err }()
	cancel()
	if err := <-done; err == nil {
		t.Error("the listener believes a silent peer")
	}
	if _, err := x.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

// FuzzAccept is a dialler that says anything, inside TLS, to a listener.
func FuzzAccept(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, shareSize+confirmSize))
	f.Add([]byte(pointM))
	w, _ := Key{[]byte("k13")}.scalar()
	if p, err := newParty(true, "a", "b", w); err == nil {
		f.Add(append(p.share, make([]byte, confirmSize)...))
	}
	id := identity(f)
	f.Fuzz(func(t *testing.T, said []byte) {
		x, y := pair(t)
		done := make(chan error, 1)
		go func() { _, err := id.Accept(context.Background(), y, Key{[]byte("k12")}, ForTrigger); done <- err }()
		c := tls.Client(x, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{ALPN}, InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		c.Write(said)
		c.Close()
		if err := <-done; err == nil {
			t.Fatalf("believed %x", said)
		}
	})
}

// FuzzShare is the arithmetic alone, where the fuzzer is fast.
func FuzzShare(f *testing.F) {
	f.Add(make([]byte, shareSize))
	f.Add([]byte{4})
	w, _ := Key{[]byte("k12")}.scalar()
	p, err := newParty(false, "a", "b", w)
	if err != nil {
		f.Fatal(err)
	}
	q, _ := newParty(true, "a", "b", w)
	f.Add(q.share)
	f.Add(p.share)
	f.Fuzz(func(t *testing.T, share []byte) {
		k, err := p.finish(share, nil)
		if err == nil && (len(share) != shareSize || share[0] != 4 || bytes.Equal(share, p.share) || len(k.confirmA) != confirmSize) {
			t.Errorf("%x was taken for a share", share)
		}
	})
}
