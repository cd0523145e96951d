package buffer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func FuzzWire(f *testing.F) {
	take := func(flags byte, count int) []byte { return takeRequest{flags: flags, count: count}.append(nil) }
	ack := head{kindAck, 0, 0}.append(nil)
	write := func(flags byte) []byte { return writeRequest{flags: flags}.append(nil, []byte("a\nb")) }
	for _, kind := range []bool{false, true} {
		for _, in := range [][]byte{
			nil, []byte("GET / HTTP/1.0\r\n\r\n"),
			slices.Concat(take(0, 1), ack, take(flagAll, 0), ack, take(flagPeek, 2)),
			take(flagAll|flagWait, 0), take(flagFollow, 0), take(flagHand|flagFollow, 1), take(flagWait|flagPeek, 0),
			write(flagOne), write(flagOne | flagFlush), write(flagHand), write(flagWhole),
			slices.Concat(writeRequest{frame: Netstring}.append(nil, nil), head{kindData, 0, 5}.append(nil), []byte("2:ab,"), head{kindEnd, 0, 0}.append(nil)),
			head{kindStatus, 0, 0}.append(nil), head{kindClose, 1, 0}.append(nil),
			head{kindWrite, flagOne, 1 << 31}.append(nil), {'D', 0, 0, 1, 0, 0, 0, 0},
		} {
			f.Add(kind, in)
		}
	}
	dir := f.TempDir()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { ln.Close() })
	f.Fuzz(func(t *testing.T, output bool, in []byte) {
		if len(in) >= headSize {
			parseHead(in)
		}
		if r, err := parseTake(0, in); err == nil {
			if again, err := parseTake(0, r.append(nil)[headSize:]); again != r || err != nil {
				t.Errorf("parseTake(%q) = %+v, and that again %+v, %v", in, r, again, err)
			}
		}
		if r, m, err := parseWrite(0, in); err == nil {
			if again, m2, err := parseWrite(0, r.append(nil, m)[headSize:]); again != r || !bytes.Equal(m, m2) || err != nil {
				t.Errorf("parseWrite(%q) = %+v, %q, and that again %+v, %q, %v", in, r, m, again, m2, err)
			}
		}
		if err := parseError(in); err == nil || err != errWire && err.Error() != string(in[1:]) {
			t.Errorf("parseError(%q) = %v", in, err)
		}
		parseGood(in)

		h := &Host{
			Entry: &Entry{name: "fuzz"}, Queue: fresh(t, QueueOptions{Capacity: 5000, MaxMessage: 1000}, "a", "b", "c"), Kind: Input,
			conns: map[*net.UnixConn]struct{}{}, takers: map[int]chan struct{}{}, finished: make(chan struct{}), ln: ln,
		}
		if output {
			h.Kind = Output
			go func() { // its peer
				for {
					l, err := h.Queue.Take(context.Background(), Want{Messages: 2})
					if err != nil {
						return
					}
					l.Ack()
				}
			}()
		}
		defer h.Queue.Close()
		h.Close = func(bool) {
			select {
			case <-h.finished:
			default:
				close(h.finished)
			}
		}
		client, err := net.DialUnix("unix", nil, ln.Addr().(*net.UnixAddr))
		if err != nil {
			t.Fatal(err)
		}
		c, err := ln.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() { h.serve(t.Context(), c); close(served) }()
		go func() {
			client.Write(in)
			client.CloseWrite()
		}()
		read := make(chan struct{})
		go func() { io.Copy(io.Discard, client); close(read) }()
		for _, end := range []chan struct{}{read, served} { // the other side of a client that has said all ends too
			select {
			case <-end:
			case <-time.After(patience):
				t.Fatalf("%q is answered for ever", in)
			}
		}
		client.Close()
		audit(t, h.Queue)
		if c := h.Queue.Counts(); c.Leased > 0 && !output || c.Unfinished > 0 {
			t.Errorf("%d messages leased, %d bytes unfinished", c.Leased, c.Unfinished)
		}
	})
}

func TestParseWire(t *testing.T) {
	for _, test := range []struct {
		in   []byte
		want error
	}{
		{[]byte{}, errWire},
		{[]byte{byte(len(errorCodes))}, errWire},
		{append([]byte{1}, ErrEmpty.Error()...), ErrEmpty},
		{append([]byte{2}, "mail: closed"...), ErrEnd},
	} {
		if err := parseError(test.in); !errors.Is(err, test.want) {
			t.Errorf("parseError(%q) = %v, want %v", test.in, err, test.want)
		}
	}
	for _, err := range errorCodes[1:] {
		wrapped := fmt.Errorf("mail: %w", err)
		b := appendError(nil, wrapped)
		h, e := parseHead(b)
		if e != nil || h.kind != kindError || h.size != len(b)-headSize {
			t.Errorf("parseHead(%q) = %+v, %v", b, h, e)
		}
		if got := parseError(b[headSize:]); !errors.Is(got, err) || got.Error() != wrapped.Error() {
			t.Errorf("%v comes through as %v", wrapped, got)
		}
	}
	if _, err := parseHead([]byte{'T', 0, 0, 1, 0, 0, 0, 0}); err != errWire {
		t.Errorf("parseHead of what is not zero: %v, want %v", err, errWire)
	}
	if _, err := parseTake(0, make([]byte, takeSize+1)); err != errWire {
		t.Errorf("parseTake of too much: %v, want %v", err, errWire)
	}
	if _, err := parseTake(0, []byte{byte(FormatJSON) + 1, 0, 0, 0, 0, 0, 0, 0}); err != errWire {
		t.Errorf("parseTake of an unknown format: %v, want %v", err, errWire)
	}
	if _, _, err := parseWrite(0, []byte{0, 0, 0, 0, byte(Datagram), 0, 0, 0}); err != errWire {
		t.Errorf("parseWrite of datagrams: %v, want %v", err, errWire)
	}
	if n, size, err := parseGood(appendGood(nil, 1<<40, 7)[headSize:]); n != 1<<40 || size != 7 || err != nil {
		t.Errorf("parseGood = %d, %d, %v", n, size, err)
	}
	if got := binary.BigEndian.Uint32(takeRequest{count: 5}.append(nil)[headSize+4:]); got != 5 {
		t.Errorf("a count of 5 is sent as %d", got)
	}
}
