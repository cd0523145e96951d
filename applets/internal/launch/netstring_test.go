package launch

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func reader(r io.Reader, size int) *netstrings { return &netstrings{r: r, buf: make([]byte, size)} }

func TestNetstrings(t *testing.T) {
	long := strings.Repeat("x", 1000)
	wire := appendNetstring(appendNetstring(appendNetstring(nil, "hello"), ""), long)
	for _, size := range []int{1, 2, 7, 4096} {
		for _, r := range []io.Reader{bytes.NewReader(wire), iotest.OneByteReader(bytes.NewReader(wire))} {
			s := reader(r, size)
			for _, want := range []string{"hello", "", long} {
				if got, err := s.whole(1000); err != nil || got != want {
					t.Fatalf("%q, %v, want %q", got, err, want)
				}
			}
			if _, err := s.whole(1000); err != io.EOF {
				t.Errorf("%v, want the end", err)
			}
		}
	}
	for wire, want := range map[string]error{
		"":                               io.EOF,
		"5":                              io.ErrUnexpectedEOF,
		"5:":                             io.ErrUnexpectedEOF,
		"5:hell":                         io.ErrUnexpectedEOF,
		"0:":                             io.ErrUnexpectedEOF,
		":,":                             errNetstring,
		"05:hello,":                      errNetstring,
		"00:,":                           errNetstring,
		"-1:,":                           errNetstring,
		"+1:a,":                          errNetstring,
		" 1:a,":                          errNetstring,
		"1:a;":                           errNetstring,
		"0:x":                            errNetstring,
		"a":                              errNetstring,
		"11:hello world,":                errNetstring, // longer than is taken
		"9223372036854775807:":           errNetstring,
		"99999999999999999999999999999:": errNetstring,
	} {
		if got, err := reader(strings.NewReader(wire), 16).whole(10); !errors.Is(err, want) {
			t.Errorf("%q: %q, %v, want %v", wire, got, err, want)
		}
	}
}

// Whatever comes is read without a crash, in little memory, and what is read is what was sent.
func FuzzNetstrings(f *testing.F) {
	for _, seed := range []string{"1:2,5:uname,2:-a,0:,", "1:1,3:cat,5:hello,0:,", "3:a", "9999999999:", "1:1,0:,0:,", "6:stdout,3:a\nb,8:exitcode,1:0,"} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, wire []byte, size uint8) {
		s := reader(iotest.HalfReader(bytes.NewReader(wire)), int(size)+1)
		var again []byte
		for {
			got, err := s.whole(1 << 20)
			if err != nil {
				if err == io.EOF && !bytes.Equal(again, wire) {
					t.Errorf("%q was read as %q", wire, again)
				}
				break
			}
			again = appendNetstring(again, got)
		}
		if !bytes.HasPrefix(wire, again) {
			t.Errorf("%q was read as %q", wire, again)
		}

		// Requests and reports, which are made of them.
		grow := func(total int64) error {
			if total > 1<<16 {
				return errors.New("too much")
			}
			return nil
		}
		if args, err := readRequest(reader(bytes.NewReader(wire), 64), grow, nil); err == nil && len(args) == 0 {
			t.Errorf("%q asks for no program", wire)
		}
		readRequest(reader(bytes.NewReader(wire), 64), grow, func(tag, value string) error { return nil })
		readReport(reader(bytes.NewReader(wire), 64), io.Discard, io.Discard)
	})
}
