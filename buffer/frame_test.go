package buffer

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

func TestWhole(t *testing.T) {
	tests := []struct {
		frame    Frame
		in       string
		size     int
		messages int
		err      error
	}{
		{Line, "", 0, 0, nil},
		{Line, "a", 0, 0, nil},
		{Line, "\n", 1, 1, nil},
		{Line, "a\nb", 2, 1, nil},
		{Line, "a\n\nb\n", 5, 3, nil},
		{Line, "a\x00b\r\n", 5, 1, nil},
		{Nul, "a\nb", 0, 0, nil},
		{Nul, "a\x00\x00b", 3, 2, nil},
		{Netstring, "", 0, 0, nil},
		{Netstring, "0:,", 3, 1, nil},
		{Netstring, "3:a\nb,", 6, 1, nil},
		{Netstring, "3:abc,0:,1:", 9, 2, nil},
		{Netstring, "3", 0, 0, nil},
		{Netstring, "3:abc", 0, 0, nil},
		{Netstring, "3:abc;", 0, 0, errFrame},
		{Netstring, "1:a,3:abc;", 4, 1, errFrame},
		{Netstring, "1:a,:", 4, 1, errFrame},
		{Netstring, ":", 0, 0, errFrame},
		{Netstring, "01:a,", 0, 0, errFrame},
		{Netstring, "00", 0, 0, errFrame},
		{Netstring, "-1:", 0, 0, errFrame},
		{Netstring, " 1:a,", 0, 0, errFrame},
		{Netstring, "1 :a,", 0, 0, errFrame},
		{Netstring, "9999999999:a", 0, 0, nil},
		{Netstring, "99999999999", 0, 0, errFrame},
		{Datagram, "\x00\x00\x00", 0, 0, nil},
		{Datagram, "\x00\x00\x00\x00", 4, 1, nil},
		{Datagram, "\x00\x00\x00\x02ab\x00\x00\x00\x01", 6, 1, nil},
		{Datagram, "\xff\xff\xff\xffab", 0, 0, nil},
	}
	for _, test := range tests {
		size, messages, err := test.frame.Whole([]byte(test.in))
		if size != test.size || messages != test.messages || err != test.err {
			t.Errorf("%v.Whole(%q) = %d, %d, %v, want %d, %d, %v",
				test.frame, test.in, size, messages, err, test.size, test.messages, test.err)
		}
	}
}

func TestAppend(t *testing.T) {
	tests := []struct {
		frame    Frame
		in, want string
	}{
		{Line, "", "\n"},
		{Line, "a b", "a b\n"},
		{Nul, "a\nb", "a\nb\x00"},
		{Netstring, "", "0:,"},
		{Netstring, "hello, world", "12:hello, world,"},
		{Datagram, "", "\x00\x00\x00\x00"},
		{Datagram, "ab", "\x00\x00\x00\x02ab"},
	}
	for _, test := range tests {
		if got := test.frame.Append([]byte("before"), []byte(test.in)); string(got) != "before"+test.want {
			t.Errorf("%v.Append(before, %q) = %q, want %q", test.frame, test.in, got, "before"+test.want)
		}
	}
}

func TestParseFrame(t *testing.T) {
	for _, f := range frames {
		if got, err := ParseFrame(f.String()); got != f || err != nil {
			t.Errorf("ParseFrame(%q) = %v, %v, want %v", f.String(), got, err, f)
		}
	}
	for _, s := range []string{"", "Line", "lines", "netstring "} {
		if got, err := ParseFrame(s); err == nil {
			t.Errorf("ParseFrame(%q) = %v, want an error", s, got)
		} else if !strings.Contains(err.Error(), strconv.Quote(s)) {
			t.Errorf("ParseFrame(%q): %v, want an error that shows what was given", s, err)
		}
	}
}

var frames = []Frame{Line, Nul, Netstring, Datagram}

// naive decodes what Frame decodes, one message after the other and with nothing clever.
func naive(f Frame, in string) (messages []string, rest string, err error) {
	for in != "" {
		switch f {
		case Line, Nul:
			m, after, found := strings.Cut(in, string(f.end()))
			if !found {
				return messages, in, nil
			}
			messages, in = append(messages, m), after
		case Netstring:
			digits, after, found := strings.Cut(in, ":")
			if strings.Trim(digits, "0123456789") != "" || len(digits) > 10 || found && digits == "" ||
				len(digits) > 1 && digits[0] == '0' {
				return messages, in, errFrame
			}
			n, _ := strconv.Atoi(digits)
			if !found || len(after) <= n {
				return messages, in, nil
			}
			if after[n] != ',' {
				return messages, in, errFrame
			}
			messages, in = append(messages, after[:n]), after[n+1:]
		case Datagram:
			if len(in) < 4 {
				return messages, in, nil
			}
			n := int(in[0])<<24 | int(in[1])<<16 | int(in[2])<<8 | int(in[3])
			if len(in) < 4+n {
				return messages, in, nil
			}
			messages, in = append(messages, in[4:4+n]), in[4+n:]
		}
	}
	return messages, "", nil
}

func FuzzFrame(f *testing.F) {
	for _, s := range []string{"", "a\nb", "a\x00", "3:abc,", "0:,0:,", "1:a;", "\x00\x00\x00\x02ab\xff", "9999999999:", "01:"} {
		for _, frame := range frames {
			f.Add(uint8(frame), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, in []byte) {
		frame := Frame(kind % 4)
		want, rest, wantErr := naive(frame, string(in))
		size, n, err := frame.Whole(in)
		if size != len(in)-len(rest) || n != len(want) || err != wantErr {
			t.Errorf("%v.Whole(%q) = %d, %d, %v, want %d, %d, %v", frame, in, size, n, err, len(in)-len(rest), len(want), wantErr)
		}
		for i, off := 0, 0; ; i++ {
			m, k, err := frame.Next(in[off:])
			if i == len(want) {
				if k != 0 || err != wantErr {
					t.Errorf("%v.Next(%q) = %q, %d, %v, want nothing and %v", frame, in[off:], m, k, err, wantErr)
				}
				break
			}
			if string(m) != want[i] || k == 0 || err != nil {
				t.Fatalf("%v.Next(%q) = %q, %d, %v, want %q", frame, in[off:], m, k, err, want[i])
			}
			off += k
		}
		if frame.delimited() && bytes.IndexByte(in, frame.end()) >= 0 {
			return
		}
		whole := frame.Append(nil, in)
		if m, k, err := frame.Next(whole); !bytes.Equal(m, in) || k != len(whole) || err != nil {
			t.Errorf("%v.Next(%v.Append(%q)) = %q, %d, %v", frame, frame, in, m, k, err)
		}
		for _, short := range []int{0, len(whole) / 2, len(whole) - 1} {
			if m, k, err := frame.Next(whole[:short]); k != 0 || err != nil {
				t.Errorf("%v.Next(%q) = %q, %d, %v, want that its end has not come", frame, whole[:short], m, k, err)
			}
		}
	})
}

func ExampleFrame_Whole() {
	size, messages, _ := Line.Whole([]byte("one\ntwo\nthr"))
	fmt.Println(size, messages)
	// Output: 8 2
}
