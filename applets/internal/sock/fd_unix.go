//go:build unix

package sock

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// FromFD takes over the inherited descriptor n, whatever it is. What it returns
// is a duplicate that no child inherits, and n itself is closed, since an end of
// file or a free port must not wait for a second copy. The standard three stay
// open, as does a descriptor that is close-on-exec: it was not inherited but
// opened by this process, and whoever opened it closes it. After an error n is as
// it was.
//
// A pipe or FIFO is opened anew where the system can (Linux): O_NONBLOCK belongs
// to the open file, which a shell may share. Where it cannot, reads and writes
// block their thread and closing does not interrupt them.
func FromFD(n int) (Inherited, error) {
	in, err := takeFD(n, "")
	return in, fail(Addr{Net: "fd", FD: n}.String(), err)
}

// takeFD is FromFD for one kind, or with "" for all.
func takeFD(n int, want fdKind) (Inherited, error) {
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	if errors.Is(err, unix.EBADF) {
		return Inherited{}, &reason{fmt.Sprintf("descriptor %d is not open", n), err}
	}
	if err != nil {
		return Inherited{}, err
	}
	kind, err := kindOf(n)
	if err != nil {
		return Inherited{}, err
	}
	if want != "" && kind != want {
		return Inherited{}, fmt.Errorf("is %s, not %s", kind, want)
	}
	dup, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return Inherited{}, err
	}
	var in Inherited
	switch kind {
	case fdFile:
		in.File = newFile(dup, n)
	case fdFIFO:
		if own, err := reopen(dup); err == nil {
			unix.Close(dup)
			dup = own
		}
		in.File = newFile(dup, n)
	default:
		f := newFile(dup, n)
		in, err = sockets(f, kind)
		f.Close()
	}
	if err == nil && n > 2 && flags&unix.FD_CLOEXEC == 0 {
		unix.Close(n)
	}
	return in, err
}

func newFile(fd, n int) *os.File {
	return os.NewFile(uintptr(fd), fmt.Sprintf("fd:%d", n))
}

func kindOf(n int) (fdKind, error) {
	var st unix.Stat_t
	if err := unix.Fstat(n, &st); err != nil {
		return "", err
	}
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFIFO:
		return fdFIFO, nil
	case unix.S_IFREG, unix.S_IFCHR, unix.S_IFBLK:
		return fdFile, nil
	case unix.S_IFDIR:
		return "", unix.EISDIR
	case unix.S_IFSOCK:
		return socketKind(n)
	}
	// An epoll or event descriptor, perhaps the Go runtime's own.
	return "", errors.New("neither a socket nor a file")
}

func socketKind(n int) (fdKind, error) {
	typ, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return "", err
	}
	switch typ {
	case unix.SOCK_DGRAM:
		return fdPacket, nil
	case unix.SOCK_STREAM:
	default:
		return "", errors.New("neither a stream nor a datagram socket")
	}
	_, err = unix.Getpeername(n)
	if err == nil {
		return fdConn, nil
	}
	if accepts, err := unix.GetsockoptInt(n, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && accepts != 0 {
		return fdListener, nil
	}
	return "", err // ENOTCONN: neither listening nor connected, or a peer that has gone
}

// reopen gives a pipe an open file of its own, in non-blocking mode.
func reopen(fd int) (int, error) {
	if runtime.GOOS != "linux" {
		return -1, unix.ENOSYS
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return -1, err
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags&unix.O_ACCMODE|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}
