//go:build unix

package buffer

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const atCWD = unix.AT_FDCWD

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func openFolder(at int, path string) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// noFolder tells what O_DIRECTORY|O_NOFOLLOW refuses.
func noFolder(err error) bool {
	return errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EMLINK) || errors.Is(err, unix.ENOTDIR)
}

// folderReason puts it into words.
func folderReason(err error) error {
	if noFolder(err) {
		return fmt.Errorf("not a directory, or a symbolic link to one: %w", err)
	}
	return err
}

// checkPrivate refuses a folder that others own or may enter.
func checkPrivate(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Getuid() {
		return fmt.Errorf("it belongs to user %d", st.Uid)
	}
	if st.Mode&0o077 != 0 {
		return fmt.Errorf("its mode is %04o, others may enter it; 0700 is wanted", st.Mode&0o7777)
	}
	return nil
}

func sameFolder(at int, name string, fd int) bool {
	var a, b unix.Stat_t
	return unix.Fstatat(at, name, &a, unix.AT_SYMLINK_NOFOLLOW) == nil && unix.Fstat(fd, &b) == nil &&
		a.Dev == b.Dev && a.Ino == b.Ino
}

func makeFolder(at int, name string) error   { return unix.Mkdirat(at, name, 0o700) }
func removeFolder(at int, name string) error { return unix.Unlinkat(at, name, unix.AT_REMOVEDIR) }
func removeFile(at int, name string)         { unix.Unlinkat(at, name, 0) }
func closeFD(fd int)                         { unix.Close(fd) }

func renameFile(at int, from, to string) error { return unix.Renameat(at, from, at, to) }

func createFile(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// tryLock takes the lock unless somebody has it.
func tryLock(fd int) (bool, error) {
	err := retry(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return false, nil
	}
	return err == nil, err
}

func waitLock(fd int) error { return retry(func() error { return unix.Flock(fd, unix.LOCK_EX) }) }

// dial connects to a unix socket, blocking.
func dial(path string) (fd int, err error) {
	fd, err = streamSocket()
	if err != nil {
		return -1, err
	}
	err = retry(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// nobodyListens tells a socket whose listener is gone, or that is not there, from other errors.
func nobodyListens(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}

// sendAll writes p in full; pass, if it is not negative, is a descriptor that goes along.
func sendAll(fd int, p []byte, pass int) error {
	var rights []byte
	if pass >= 0 {
		rights = unix.UnixRights(pass)
	}
	for len(p) > 0 {
		n, err := unix.SendmsgN(fd, p, rights, nil, noSignal)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p, rights = p[n:], nil
	}
	return nil
}

// receive reads once, waiting until deadline (none if it is zero).
func receive(fd int, p []byte, deadline time.Time) (int, error) {
	for {
		if !deadline.IsZero() {
			if err := pollIn(fd, time.Until(deadline)); err != nil {
				return 0, err
			}
		}
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// pollIn waits until fd can be read. ErrTimeout tells that the time is over.
func pollIn(fd int, d time.Duration) error {
	end := time.Now().Add(d)
	for {
		// rounded up, so that it is not polled in a hurry at the end
		ms := max(0, int((time.Until(end)+time.Millisecond-1)/time.Millisecond))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, ms)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n > 0:
			return nil
		case !time.Now().Before(end):
			return ErrTimeout
		}
	}
}

// hungUp returns those of the connections fds whose other side has gone.
func hungUp[V any](fds map[int]V) (gone []int) {
	if len(fds) == 0 {
		return nil
	}
	polls := make([]unix.PollFd, 0, len(fds))
	for fd := range fds {
		polls = append(polls, unix.PollFd{Fd: int32(fd)}) // these are told unasked
	}
	if retry(func() error { _, err := unix.Poll(polls, 0); return err }) != nil {
		return nil
	}
	for _, p := range polls {
		if p.Revents&(unix.POLLHUP|unix.POLLERR) != 0 { // of a socket; of a FIFO that is written to
			gone = append(gone, int(p.Fd))
		}
	}
	return gone
}

func writeFD(fd int, p []byte) (n int, err error) {
	err = retry(func() error { n, err = unix.Write(fd, p); return err })
	return n, err
}

func shutdown(fd int) { unix.Shutdown(fd, unix.SHUT_RDWR) }

// passedFDs takes the descriptors out of a message's ancillary data.
func passedFDs(oob []byte) []int {
	var fds []int
	msgs, _ := unix.ParseSocketControlMessage(oob)
	for i := range msgs {
		got, _ := unix.ParseUnixRights(&msgs[i])
		for _, fd := range got {
			unix.CloseOnExec(fd)
			fds = append(fds, fd)
		}
	}
	return fds
}

// usable tells whether a descriptor that was handed over is what the wire asks for: one that would
// block would stop all other sources of the queue as well.
func usable(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	_, file := isPipeOrFile(fd)
	return err == nil && (file || flags&unix.O_NONBLOCK != 0)
}

// isPipeOrFile tells what kind of thing a descriptor is.
func isPipeOrFile(fd int) (pipe, file bool) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false, false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFIFO, st.Mode&unix.S_IFMT == unix.S_IFREG
}
