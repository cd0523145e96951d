//go:build unix

package launch

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalName is a signal's name without SIG, or its number where it has none.
func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(sig))
}

// signalNumber is the signal with a name, with or without SIG, or with a number; 0: there is none.
func signalNumber(name string) syscall.Signal {
	if n, err := strconv.ParseUint(name, 10, 7); err == nil {
		return syscall.Signal(n)
	}
	return unix.SignalNum("SIG" + strings.TrimPrefix(name, "SIG"))
}

// setBacklog says how many connections may wait to be accepted: to listen again changes that.
func setBacklog(ln net.Listener, n int) error {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), n) }); e != nil {
		return e
	}
	return err
}

// openFiles returns how many descriptors this process may have open.
func openFiles() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	return uint64(min(l.Cur, 1<<30)), nil
}

// received reads from a unix socket, and takes a socket that came along.
func received(c *net.UnixConn, b []byte) (n int, with *net.UnixConn, err error) {
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	n = max(n, 0) // it is -1 with an error
	if err == nil && n == 0 && len(b) > 0 || errors.Is(err, io.EOF) {
		err = io.EOF // which package net wraps here, as it does not in Read
	}
	messages, bad := unix.ParseSocketControlMessage(oob[:oobn])
	if bad != nil {
		return n, nil, err
	}
	for _, m := range messages {
		fds, bad := unix.ParseUnixRights(&m)
		if bad != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			f := os.NewFile(uintptr(fd), "control")
			if conn, bad := net.FileConn(f); bad == nil { // which makes a duplicate
				if u, ok := conn.(*net.UnixConn); ok && with == nil {
					with = u
				} else {
					conn.Close()
				}
			}
			f.Close()
		}
	}
	return n, with, err
}

// sendAlong writes b, and passes one end of a pair of sockets with its first bytes. It returns the
// other end.
func sendAlong(c *net.UnixConn, b, first []byte) (*net.UnixConn, error) {
	syscall.ForkLock.RLock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(pair[0])
		unix.CloseOnExec(pair[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(pair[1])
	ours := os.NewFile(uintptr(pair[0]), "control")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	control := conn.(*net.UnixConn)
	if len(first) > 0 { // it is there when the server looks
		if _, err = control.Write(first); err != nil {
			control.Close()
			return nil, err
		}
	}
	n, _, err := c.WriteMsgUnix(b, unix.UnixRights(pair[1]), nil)
	for err == nil && n < len(b) {
		var m int
		m, err = c.Write(b[n:])
		n += m
	}
	if err != nil {
		control.Close()
		return nil, err
	}
	return control, nil
}

// waiting reads what is there, and does not wait for more.
func waiting(c *net.UnixConn, b []byte) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	raw.Read(func(fd uintptr) bool {
		n, _, _ = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
		return true
	})
	return max(n, 0)
}

// reads is one read of a descriptor that does not block; again: there is nothing yet.
func reads(fd uintptr, b []byte) (n int, again bool, err error) {
	for {
		n, err = unix.Read(int(fd), b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, true, nil
		case err == unix.EIO: // a terminal that nobody has open any more
			return 0, false, io.EOF
		case err == nil && n == 0:
			return 0, false, io.EOF
		}
		return n, false, err
	}
}

// writes is one write to a descriptor that does not block; again: there is no room.
func writes(fd uintptr, b []byte) (n int, again bool, err error) {
	for {
		n, err = unix.Write(int(fd), b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, true, nil
		}
		return max(n, 0), false, err
	}
}

// duplicate returns a file for the connection, to be waited for beside it.
func duplicate(raw syscall.RawConn) (*os.File, error) {
	dup := -1
	var err error
	if e := raw.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3) }); e != nil || err != nil {
		return nil, errors.Join(e, err)
	}
	return os.NewFile(uintptr(dup), "connection"), nil
}

// hungUp tells whether the other side has closed the connection; halfToo: also whether it has ended
// its own half, which over TCP cannot be told from that.
func hungUp(fd uintptr, halfToo bool) bool {
	want := int16(0)
	if halfToo {
		want = peerHalf
	}
	p := []unix.PollFd{{Fd: int32(fd), Events: want}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR|want) != 0
}
