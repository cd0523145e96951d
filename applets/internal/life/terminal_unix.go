//go:build unix

package life

import (
	"errors"
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

// setWindow says how much the terminal f shows. Where that changes, the programs there get a WINCH.
func setWindow(f *os.File, w Window) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Columns})
	}); e != nil {
		return e
	}
	return err
}

// RawTerminal has the terminal f pass every byte as it is, and echo none, as a program wants it that
// shows another machine's terminal. restore makes it what it was.
func RawTerminal(f *os.File) (restore func(), err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var before *unix.Termios
	if e := raw.Control(func(fd uintptr) {
		if before, err = unix.IoctlGetTermios(int(fd), getTermios); err != nil {
			return
		}
		mode := *before // as cfmakeraw(3) says
		mode.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		mode.Oflag &^= unix.OPOST
		mode.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		mode.Cflag = mode.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(int(fd), setTermios, &mode)
	}); e != nil || err != nil {
		return nil, errors.Join(e, err)
	}
	return func() {
		raw.Control(func(fd uintptr) { unix.IoctlSetTermios(int(fd), setTermios, before) })
	}, nil
}
