package web

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func fcgiRecord(kind byte, id int, content string, padding int) string {
	b := []byte{1, kind, byte(id >> 8), byte(id), byte(len(content) >> 8), byte(len(content)), byte(padding), 0}
	return string(b) + content + strings.Repeat("p", padding)
}

// pieces is a source that gives what it has in pieces, and says between them that it is late.
type pieces struct {
	io.Reader
	late bool
}

func (*pieces) SetReadDeadline(time.Time) error { return nil }
func (p *pieces) Read(b []byte) (int, error) {
	if p.late = !p.late; p.late {
		return 0, os.ErrDeadlineExceeded
	}
	return p.Reader.Read(b)
}

// all reads as relay does, which goes on after a deadline.
func all(r *fcgiReader, size int) (string, error) {
	var got strings.Builder
	b := make([]byte, size)
	for {
		n, err := r.Read(b)
		got.Write(b[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err == io.EOF {
			return got.String(), nil
		}
		if err != nil {
			return got.String(), err
		}
	}
}

func TestFastCGIAnswer(t *testing.T) {
	end := fcgiRecord(fcgiEndRequest, 1, "\x00\x00\x00\x07\x00aaa", 0)
	big := strings.Repeat("0123456789abcdef", 4095)
	for _, test := range []struct{ name, in, out, stderr, err string }{
		{"nothing", end, "", "", ""},
		{"both streams", fcgiRecord(fcgiStdout, 1, "a", 7) + fcgiRecord(fcgiStderr, 1, "e", 0) + fcgiRecord(fcgiStdout, 1, "bc", 255) + fcgiRecord(fcgiStderr, 1, "f", 1) +
			fcgiRecord(fcgiStdout, 1, "", 3) + end, "abc", "ef", ""},
		{"large records", strings.Repeat(fcgiRecord(fcgiStdout, 1, big, 8), 3) + end, big + big + big, "", ""},
		{"what we do not know", fcgiRecord(11, 0, "\x0bxxxxxxx", 0) + fcgiRecord(fcgiStdout, 1, "a", 0) + fcgiRecord(99, 1, "x", 9) + end, "a", "", ""},
		{"of another request", fcgiRecord(fcgiStdout, 2, "x", 0) + fcgiRecord(fcgiEndRequest, 257, "", 0) + fcgiRecord(fcgiStdout, 1, "a", 0) + end, "a", "", ""},
		{"more after the end", end + fcgiRecord(fcgiStdout, 1, "x", 0), "", "", ""},
		{"no end", fcgiRecord(fcgiStdout, 1, "a", 0), "a", "", "closed the connection"},
		{"within a record", fcgiRecord(fcgiStdout, 1, "abcd", 0)[:10], "ab", "", "closed the connection"},
		{"within a header", end[:5], "", "", "closed the connection"},
		{"another version", "\x02" + end[1:], "", "", "version 2"},
		{"no FastCGI", "HTTP/1.1 400 Bad Request\r\n", "", "", "version 72"},
		{"a short end", fcgiRecord(fcgiEndRequest, 1, "\x00\x00\x00\x00", 0), "", "", "4 bytes"},
		{"too much to do", fcgiRecord(fcgiEndRequest, 1, "\x00\x00\x00\x00\x02aaa", 0), "", "", errOverloaded.Error()},
		{"refused", fcgiRecord(fcgiEndRequest, 1, "\x00\x00\x00\x00\x03aaa", 0), "", "", "status 3"},
	} {
		for how, cut := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader} {
			for _, size := range []int{1, 100, blockSize} {
				var stderr strings.Builder
				r := &fcgiReader{from: &pieces{Reader: cut(strings.NewReader(test.in))}, errors: func(b []byte) { stderr.Write(b) }}
				out, err := all(r, size)
				if out != test.out || stderr.String() != test.stderr || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("%s, %s, %d at a time: %.20q, %.20q, %v", test.name, how, size, out, stderr.String(), err)
				}
			}
		}
	}
}

// What we send, byte for byte.
func TestFastCGIRequest(t *testing.T) {
	long := strings.Repeat("v", 128)
	got := appendBegin(nil)
	got = appendParams(got, []string{"A=b=c", "EMPTY=", "L=" + long})
	got = appendStream(got, fcgiStdin, []byte("body"))
	got = appendRecordHeader(got, fcgiStdin, 0)
	pairs := "\x01\x03Ab=c" + "\x05\x00EMPTY" + "\x01\x80\x00\x00\x80L" + long
	want := fcgiRecord(fcgiBeginRequest, 1, "\x00\x01\x00\x00\x00\x00\x00\x00", 0) + fcgiRecord(fcgiParams, 1, pairs, 0) + fcgiRecord(fcgiParams, 1, "", 0) +
		fcgiRecord(fcgiStdin, 1, "body", 0) + fcgiRecord(fcgiStdin, 1, "", 0)
	if string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	big := bytes.Repeat([]byte("x"), maxFCGIContent+1)
	if got := appendStream(nil, fcgiStdin, big); string(got) != fcgiRecord(fcgiStdin, 1, string(big[1:]), 0)+fcgiRecord(fcgiStdin, 1, "x", 0) {
		t.Error("what is longer than a record can be is not two")
	}
}

func TestFastCGIAddr(t *testing.T) {
	for in, want := range map[string]string{
		"unix:/run/php-fpm.sock": "unix:/run/php-fpm.sock", "unix:@fpm": "unix:@fpm", "@fpm": "unix:@fpm",
		"127.0.0.1:9000": "127.0.0.1:9000", "tcp:127.0.0.1:9000": "127.0.0.1:9000", "tcp://[::1]:9000": "[::1]:9000",
		"php-cgi": "program", "/usr/bin/php-cgi": "program", "./a:b": "program",
		"unix:": "error", "tcp:9000": "error", "tcp:host": "error", "host:": "error", ":9000": "error",
	} {
		a, ok, err := fastcgiAddr(in)
		got := a.String()
		switch {
		case err != nil:
			got = "error"
		case !ok:
			got = "program"
		}
		if got != want && strings.TrimPrefix(got, "tcp://") != want {
			t.Errorf("%s: %s (%v), want %s", in, got, err, want)
		}
	}
}

// However a stream is cut, it is read as the same; and never for ever.
func FuzzFastCGIAnswer(f *testing.F) {
	f.Add([]byte(fcgiRecord(fcgiStdout, 1, "abc", 3)+fcgiRecord(fcgiStderr, 1, "e", 0)+fcgiRecord(fcgiEndRequest, 1, "\x00\x00\x00\x00\x00aaa", 2)), 3)
	f.Add([]byte(fcgiRecord(fcgiEndRequest, 1, "", 0)), 1)
	f.Add([]byte(fcgiRecord(fcgiStdout, 2, "abc", 3)), 9)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = 1 + (size&0x7fffffff)%(2*blockSize)
		var outs, errs [2]string
		var fails [2]error
		for i, from := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))} {
			r := &fcgiReader{from: &pieces{Reader: from}, errors: func(b []byte) { errs[i] += string(b) }}
			outs[i], fails[i] = all(r, size)
			if len(outs[i])+len(errs[i]) > len(in) {
				t.Fatal("more than there was")
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Fatalf("%d bytes after the end, %v", n, err)
			}
		}
		if outs[0] != outs[1] || errs[0] != errs[1] || (fails[0] == nil) != (fails[1] == nil) {
			t.Fatalf("%q %q %v, byte by byte %q %q %v", outs[0], errs[0], fails[0], outs[1], errs[1], fails[1])
		}
	})
}
