package wait

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		kind kind
	}{
		{"9999", anEndpoint},
		{"localhost:80", anEndpoint},
		{"[::1]:80", anEndpoint},
		{"tcp://buffer:80", anEndpoint},
		{"unix:/run/x", anEndpoint},
		{"unix:@x", anEndpoint},
		{"/run/x", anEndpoint},
		{"buffer:mail", aBuffer},
		{"file:x:y", aFile},
		{"file:/x", aFile},
		{"pid:1", aProcess},
	} {
		got, err := Parse(c.text)
		if err != nil || got.kind != c.kind || got.String() != c.text {
			t.Errorf("Parse(%q) = %v, %v", c.text, got, err)
		}
	}
	for _, s := range []string{
		"", "localhost", "0", "localhost:0", "localhost:65536", "udp://x:1", "fifo:/x", "fd:3", "tls://x:1",
		"buffer:", "buffer:.x", "buffer:80/x", "file:", "file:a\x00b", "pid:", "pid:0", "pid:-1", "pid:+1", "pid:x", "pid:99999999999",
	} {
		if got, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", s, got)
		}
	}
}

func target(t *testing.T, s string) Target {
	t.Helper()
	got, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A peer that does not answer does not hold up the end of the time.
func TestDeadline(t *testing.T) {
	t.Setenv("SOCKBOX_DIR", t.TempDir())
	err := Wait(context.Background(), Options{
		Targets: []Target{target(t, "192.0.2.1:9"), target(t, "buffer:nobody")}, // TEST-NET-1 (RFC 5737)
		Timeout: time.Millisecond, Try: time.Hour,
	})
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	if !strings.Contains(err.Error(), "buffer:nobody: ") || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("%v", err)
	}
}

// Whoever ends ctx gets its cause.
func TestEnded(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	o := Options{Targets: []Target{target(t, "file:"+filepath.Join(t.TempDir(), "none"))}, Try: time.Second,
		Note: func(Target, string) { cancel(why) }}
	if err := Wait(ctx, o); err != why {
		t.Errorf("%v, want %v", err, why)
	}
}

// A name is waited for through folders that come, go and are renamed.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "c")
	reached := make(chan error, 1)
	noted := make(chan string, 10)
	go func() {
		reached <- Wait(context.Background(), Options{Targets: []Target{{text: "c", kind: aFile, name: path}}, Try: time.Second,
			Note: func(_ Target, why string) { noted <- why }})
	}()
	<-noted
	for _, f := range []func() error{
		func() error { return os.Mkdir(filepath.Join(dir, "a"), 0o700) },
		func() error { return os.Mkdir(filepath.Join(dir, "a", "b"), 0o700) },
		func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "z")) },
		func() error { return os.WriteFile(filepath.Join(dir, "z", "b", "c"), nil, 0o600) },
		func() error { return os.Rename(filepath.Join(dir, "z"), filepath.Join(dir, "a")) },
	} {
		select {
		case err := <-reached:
			t.Fatalf("reached too early: %v", err)
		default:
		}
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-reached; err != nil {
		t.Error(err)
	}
}

// Of two that come in one instant --any tells one.
func TestAnyTellsOne(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range 50 {
		n := 0
		err := Wait(context.Background(), Options{
			Targets: []Target{target(t, "file:/"), target(t, ln.Addr().String()), target(t, "file:/.")},
			Any:     true, Try: time.Minute, Reached: func(Target) { n++ },
		})
		if err != nil || n != 1 {
			t.Fatalf("%d were told, %v", n, err)
		}
	}
}
