package life

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestNotify(t *testing.T) {
	places := []string{filepath.Join(t.TempDir(), "notify")}
	if _, err := os.Stat("/proc/net/unix"); err == nil { // Linux has names without a path
		places = append(places, fmt.Sprintf("@sockbox-notify-%d", os.Getpid()))
	}
	for _, place := range places {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: place, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		t.Setenv("NOTIFY_SOCKET", place)
		for _, want := range []string{"READY=1\nSTATUS=*:9999", "STOPPING=1"} {
			if err := Notify(want); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			n, err := c.Read(b)
			if got := string(b[:n]); got != want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		}
	}
}

// Without a manager there is nobody to tell, and one that is not there is told of by its address.
func TestNotifyNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil {
		t.Error(err)
	}
	place := filepath.Join(t.TempDir(), "nobody")
	t.Setenv("NOTIFY_SOCKET", place)
	err := Notify("READY=1")
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), place) {
		t.Errorf("%v; want the path and ENOENT", err)
	}
}
