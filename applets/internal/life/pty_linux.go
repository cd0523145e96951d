package life

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pair of a terminal for a child and our side of it. Without a window what the
// child writes comes as it is (no CR before an LF), and what we write is not echoed.
func openTerminal(w *Window) (master *os.File, slave int, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	defer func() {
		if err != nil {
			master.Close()
			err = fmt.Errorf("a terminal for a child: %w", err)
		}
	}()
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, -1, err
	}
	fd, number := -1, 0
	var ioctl error
	if err := raw.Control(func(m uintptr) {
		if ioctl = unix.IoctlSetPointerInt(int(m), unix.TIOCSPTLCK, 0); ioctl != nil {
			return
		}
		// Asking for the other side itself works where /dev/pts is another's, as in a container.
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, m, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno == 0 {
			fd = int(peer)
			return
		}
		number, ioctl = unix.IoctlGetInt(int(m), unix.TIOCGPTN)
	}); err != nil {
		return nil, -1, err
	}
	switch {
	case ioctl != nil:
		return nil, -1, ioctl
	case fd < 0: // Linux before 4.13
		fd, err = unix.Open("/dev/pts/"+strconv.Itoa(number), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, -1, err
		}
	}
	slave = fd
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if w != nil {
		return master, slave, setWindow(master, *w)
	}
	mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, -1, err
	}
	mode.Oflag &^= unix.OPOST | unix.ONLCR
	mode.Lflag &^= unix.ECHO | unix.ECHONL
	if err = unix.IoctlSetTermios(fd, unix.TCSETS, mode); err != nil {
		return nil, -1, err
	}
	return master, slave, setWindow(master, Window{24, 80})
}
