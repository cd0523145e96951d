package options

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
)

func binding(t *testing.T, flags ...string) *Binding {
	t.Helper()
	var b Binding
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	b.Declare(fs)
	if err := fs.Parse(flags); err != nil {
		t.Fatal(err)
	}
	return &b
}

// usage tells whether err is one of usage, status 2.
func usage(err error) bool {
	code, ok := cli.Status(err)
	return ok && code == 2
}

func TestHere(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		operand, bind, flag string
		want                string // "" is an error of usage
	}{
		{"9999", "", "", "*:9999"},
		{"0", "", "", "*:0"},
		{"9999", "127.0.0.1", "", "127.0.0.1:9999"},
		{"9999", "::1", "", "[::1]:9999"},
		{"9999", "[::1]", "", "[::1]:9999"},
		{"udp://9999", "127.0.0.1", "", "udp://127.0.0.1:9999"},
		{"localhost:9999", "", "", "localhost:9999"},
		{"localhost:9999", "127.0.0.1", "", ""},
		{"unix:/x", "127.0.0.1", "", ""},
		{"9999", "not a host", "", ""},
		{"80", "", "", ""},
		{"80", "", "--any-port", "*:80"},
		{"65536", "", "--any-port", ""},
		// a daemon works in another directory
		{"unix:x", "", "", "unix:" + filepath.Join(dir, "x")},
		{"fifo:../x", "", "", "fifo:" + filepath.Join(filepath.Dir(dir), "x")},
		{"unix:@x", "", "", "unix:@x"},
		{"fd:3", "", "", "fd:3"},
	} {
		flags := strings.Fields(test.flag)
		if test.bind != "" {
			flags = append(flags, "--bind", test.bind)
		}
		a, err := binding(t, flags...).Here(test.operand)
		switch {
		case test.want == "" && !usage(err):
			t.Errorf("%+v: %v, %v; want an error of usage", test, a, err)
		case test.want != "" && (err != nil || a.String() != test.want):
			t.Errorf("%+v: %v, %v", test, a, err)
		}
	}
}

func TestThere(t *testing.T) {
	for _, test := range []struct{ operands, want string }{
		{"localhost 9999", "localhost:9999"},
		{"::1 9999", "[::1]:9999"},
		{"[::1] 9999", "[::1]:9999"},
		{"localhost:9999", "localhost:9999"},
		{"udp://localhost:9999", "udp://localhost:9999"},
		{"unix:/x", "unix:/x"},
		{"localhost 0", ""},
		{"localhost:0", ""},
		{"9999", ""},
		{":9999", ""},
		{"localhost", ""},
		{"localhost x", ""},
		{"localhost 80", ""},
	} {
		a, err := binding(t).There(strings.Fields(test.operands))
		switch {
		case test.want == "" && !usage(err):
			t.Errorf("%+v: %v, %v; want an error of usage", test, a, err)
		case test.want != "" && (err != nil || a.String() != test.want):
			t.Errorf("%+v: %v, %v", test, a, err)
		}
	}
}

func TestOptions(t *testing.T) {
	tcp, udp := sock.Addr{Net: "tcp", Port: 9999}, sock.Addr{Net: "udp", Port: 9999}
	for _, test := range []struct {
		flags    string
		a        sock.Addr
		ok       bool
		frame    buffer.Frame
		max, cap int
	}{
		{"", tcp, true, buffer.Line, 1 << 20, 16 << 20},
		{"", udp, true, buffer.Datagram, 1 << 20, 16 << 20},
		{"--frame nul", tcp, true, buffer.Nul, 1 << 20, 16 << 20},
		{"--frame datagram", tcp, false, 0, 0, 0},
		{"--frame line", udp, false, 0, 0, 0},
		// a capacity below the longest message makes messages shorter, unless both were given
		{"--capacity 64K", tcp, true, buffer.Line, 64 << 10, 64 << 10},
		{"--capacity 64K --max-message 64K", tcp, true, buffer.Line, 64 << 10, 64 << 10},
		{"--capacity 64K --max-message 65K", tcp, false, 0, 0, 0},
		{"--capacity 4095", tcp, false, 0, 0, 0},
		{"--max-message 0", tcp, false, 0, 0, 0},
	} {
		o, err := binding(t, strings.Fields(test.flags)...).Options("in", test.a)
		if !test.ok {
			if !usage(err) {
				t.Errorf("%q: %v; want an error of usage", test.flags, err)
			}
			continue
		}
		if err != nil || o.Queue.Frame != test.frame || o.Queue.MaxMessage != test.max || o.Queue.Capacity != test.cap {
			t.Errorf("%q %v: %+v, %v", test.flags, test.a, o.Queue, err)
		}
	}
	if _, err := binding(t).Options("a/b", tcp); !usage(err) {
		t.Errorf("a/b: %v", err)
	}
}

func TestMode(t *testing.T) {
	for mode, want := range map[string]os.FileMode{"0600": 0o600, "660": 0o660, "0777": 0o777, "0": 0, "8": 0, "1777": 0, "rw": 0, "": 0, "-1": 0} {
		l, _, err := binding(t, "--mode="+mode).Listen(sock.Addr{Net: "unix", Path: "/x"})
		if want == 0 && !usage(err) || want != 0 && (err != nil || l.Mode != want) {
			t.Errorf("%q: %v, %v", mode, l.Mode, err)
		}
	}
	if _, _, err := binding(t, "--mode=0660").Listen(sock.Addr{Net: "tcp", Port: 9999}); !usage(err) {
		t.Errorf("a mode for TCP: %v", err)
	}
}
