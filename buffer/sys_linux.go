package buffer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const noSignal = unix.MSG_NOSIGNAL

func streamSocket() (int, error) {
	return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// socketPath returns the path of a name's socket. By way of /proc it is short however deep the
// directory lies, and leads into this directory and no other.
func socketPath(d *dir, name string) (string, error) {
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + name + "/" + socketFile, nil
}

// folderPath returns the path of a file in a name's folder, which is open as fd.
func folderPath(_ *dir, _ string, fd int, file string) (string, error) {
	return "/proc/self/fd/" + strconv.Itoa(fd) + "/" + file, nil
}

// peerUID returns who connected to a unix socket (unix(7), SO_PEERCRED).
func peerUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil {
		return 0, e
	}
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

// reopen opens a pipe once more, so that there is an open file of our own to set non-blocking:
// that flag belongs to the open file, and the one that fd refers to is the shell's as well.
func reopen(fd int, write bool) (int, error) {
	mode := unix.O_RDONLY
	if write {
		mode = unix.O_WRONLY
	}
	n, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), mode|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENXIO) && write {
		return -1, fmt.Errorf("nobody reads: %w", unix.EPIPE)
	}
	return n, err
}

// widen makes a pipe hold more, where the system lets us: fewer wake-ups for the same bytes. That
// it does not is no error.
func widen(fd int) {
	const want = 256 << 10 // one chunk: with more, the pages no longer fit the cache and it gets slower
	if n, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err == nil && n < want {
		unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, want)
	}
}

// holderEnd returns what waits, or not, until the process at the other end of a client's connection has
// ended, and is called once. It is asked for while that process lives: its number may be another's afterwards.
func holderEnd(fd int) (end func(wait bool)) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(cred.Pid) == os.Getpid() {
		return func(bool) {}
	}
	process, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil { // Linux before 5.3, or a process in another namespace
		return func(bool) {}
	}
	return func(wait bool) {
		if wait {
			pollIn(process, 5*time.Second) // it has said its last word: only the kernel's part is left
		}
		unix.Close(process)
	}
}

// readerFIFOs tells whether this system has what FIFOs for readers take.
const readerFIFOs = true

func makeFIFO(at int, name string) error { return unix.Mkfifoat(at, name, 0o600) }

// openToWrite opens a FIFO when somebody has opened it to read; its descriptor does not block.
func openToWrite(at int, name string) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(at, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	return fd, err
}

func openToRead(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// narrow makes a pipe as small as it gets: a page.
func narrow(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 1)
	return err
}

// unread returns the bytes that are in a pipe.
func unread(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.TIOCINQ) }

// pipeState tells whether nobody has the other side of a pipe, that is written to, open any more, and
// whether there is room in it; in one that is narrow, that is when it is empty.
func pipeState(fd int) (gone, room bool) {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if retry(func() error { _, err := unix.Poll(poll, 0); return err }) != nil {
		return true, false
	}
	return poll[0].Revents&unix.POLLERR != 0, poll[0].Revents&unix.POLLOUT != 0
}
