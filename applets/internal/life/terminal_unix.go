//go:build unix

package life

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalSize returns how many columns and lines the terminal f shows; ok is false where f is none,
// or does not say.
func TerminalSize(f *os.File) (columns, lines int, ok bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	var size *unix.Winsize
	if e := raw.Control(func(fd uintptr) { size, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ) }); e != nil || err != nil {
		return 0, 0, false
	}
	return int(size.Col), int(size.Row), size.Col > 0 && size.Row > 0
}
