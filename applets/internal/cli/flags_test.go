package cli

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestSeconds(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		bad  bool
	}{
		{in: "0"},
		{in: "3", want: 3 * time.Second},
		{in: "0.5", want: 500 * time.Millisecond},
		{in: ".5", want: 500 * time.Millisecond},
		{in: "5.", want: 5 * time.Second},
		{in: "0.1", want: 100 * time.Millisecond},
		{in: "5s", want: 5 * time.Second},
		{in: "250ms", want: 250 * time.Millisecond},
		{in: "2m", want: 2 * time.Minute},
		{in: "1h", want: time.Hour},
		{in: "1h30m", want: 90 * time.Minute},
		{in: "1.5d", want: 36 * time.Hour},
		{in: "-1", bad: true},
		{in: "-5s", bad: true},
		{in: "+5", bad: true},
		{in: "", bad: true},
		{in: ".", bad: true},
		{in: "s", bad: true},
		{in: "d", bad: true},
		{in: "1e3", bad: true},
		{in: "inf", bad: true},
		{in: "NaN", bad: true},
		{in: "0x10", bad: true},
		{in: "1_000", bad: true},
		{in: "5 s", bad: true},
		{in: "99999999999999999999", bad: true},
		{in: "999999999999", bad: true},
		{in: "200000d", bad: true},
	} {
		got, err := parseSeconds(c.in)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("parseSeconds(%q) = %v, %v; want %v, error %v", c.in, got, err, c.want, c.bad)
		}
	}
	for want, d := range map[string]time.Duration{
		"0": 0, "5s": 5 * time.Second, "10s": 10 * time.Second, "250ms": 250 * time.Millisecond,
		"2m": 2 * time.Minute, "10m": 10 * time.Minute, "1m30s": 90 * time.Second, "1h": time.Hour,
		"1h30m": 90 * time.Minute, "20h": 20 * time.Hour, "1.5s": 1500 * time.Millisecond,
	} {
		s := seconds(d)
		if s.String() != want {
			t.Errorf("%v is shown as %q, want %q", d, s.String(), want)
		}
		if back, err := parseSeconds(want); back != d || err != nil {
			t.Errorf("parseSeconds(%q) = %v, %v", want, back, err)
		}
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		bad  bool
	}{
		{in: "0"},
		{in: "4096", want: 4096},
		{in: "64K", want: 64 << 10},
		{in: "64k", want: 64 << 10},
		{in: "1M", want: 1 << 20},
		{in: "2G", want: 2 << 30},
		{in: "1T", want: 1 << 40},
		{in: "8388607T", want: 8388607 << 40},
		{in: "9223372036854775807", want: math.MaxInt64},
		{in: "9223372036854775808", bad: true},
		{in: "8388608T", bad: true},
		{in: "99999999999999999999999K", bad: true},
		{in: "-1", bad: true},
		{in: "-1K", bad: true},
		{in: "+1", bad: true},
		{in: "", bad: true},
		{in: "K", bad: true},
		{in: "1KB", bad: true},
		{in: "1.5M", bad: true},
		{in: "1 M", bad: true},
		{in: "0x10", bad: true},
		{in: "1P", bad: true},
		{in: "1\v", bad: true},
	} {
		got, err := parseSize(c.in)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("parseSize(%q) = %v, %v; want %v, error %v", c.in, got, err, c.want, c.bad)
		}
	}
	for want, n := range map[string]int64{"0": 0, "100": 100, "64K": 64 << 10, "16M": 16 << 20, "1536K": 1536 << 10, "2G": 2 << 30, "2048T": 2 << 50} {
		if s := size(n); s.String() != want {
			t.Errorf("%d is shown as %q, want %q", n, s.String(), want)
		}
	}
}

// Each use of an applet has flags and options of its own.
func TestFlagsAreFresh(t *testing.T) {
	a := &Applet{Name: "x", Setup: func(fs *pflag.FlagSet) Run {
		size, frame := int64(1<<20), "line"
		Size(fs, &size, "size", "", "`SIZE`")
		Choice(fs, &frame, "frame", "", "`FRAME`", "line", "nul")
		return func(context.Context, *Call) error { return nil }
	}}
	first, _ := a.Flags()
	if err := first.Parse([]string{"--size", "2G", "--frame", "nul"}); err != nil {
		t.Fatal(err)
	}
	second, _ := a.Flags()
	for name, want := range map[string]string{"size": "1M", "frame": "line"} {
		if f := second.Lookup(name); f.DefValue != want || f.Value.String() != want {
			t.Errorf("--%s is %s, by default %s; want %s", name, f.Value, f.DefValue, want)
		}
	}
	if err := second.Parse([]string{"--frame", "netstring"}); err == nil || !strings.Contains(err.Error(), "not one of line, nul") {
		t.Errorf("a word that is no choice: %v", err)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"bind-input", "bind-output", "read", "write", "list", "close"}
	for word, want := range map[string]string{
		"raed":       "read",
		"reads":      "read",
		"rite":       "write",
		"bind":       "bind-input bind-output",
		"bind_input": "bind-input",
		"lst":        "list",
		"cloes":      "close",
		"x":          "",
		"":           "",
		"zzzz":       "",
		"ls":         "",
	} {
		if got := strings.Join(nearest(word, names), " "); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzSeconds(f *testing.F) {
	for _, s := range []string{"0.5", "5s", "-1", "1d", "99999999999h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseSeconds(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Errorf("parseSeconds(%q) = %v", s, d)
		}
		shown := seconds(d)
		if back, err := parseSeconds(shown.String()); err != nil || back != d {
			t.Errorf("%q is shown as %s, which is %v, %v", s, &shown, back, err)
		}
	})
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "64K", "-1", "8388607T"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize(s)
		if err != nil {
			return
		}
		shown := size(n)
		if back, err := parseSize(shown.String()); n < 0 || err != nil || back != n {
			t.Errorf("parseSize(%q) = %d, shown as %s, which is %d, %v", s, n, &shown, back, err)
		}
	})
}
