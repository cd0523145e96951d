//go:build unix

package sock

import (
	"testing"

	"golang.org/x/sys/unix"
)

func nonblocking(t *testing.T, n int) bool {
	t.Helper()
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.O_NONBLOCK != 0
}
