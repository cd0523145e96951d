//go:build darwin || freebsd

package buffer

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const noSignal = 0 // the runtime ignores SIGPIPE on sockets

func streamSocket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}

const maxPath = 103 // sun_path is 104 bytes with its zero byte, the shortest among our systems

// socketPath returns the path of a name's socket.
func socketPath(d *dir, name string) (string, error) {
	path := filepath.Join(d.path, name, socketFile)
	if len(path) > maxPath {
		return "", fmt.Errorf("%s: a socket's path has at most %d bytes here; set SOCKBOX_DIR to a shorter one", path, maxPath)
	}
	return path, nil
}

func peerUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	uid := -1
	if e := raw.Control(func(fd uintptr) { uid, err = peerCred(int(fd)) }); e != nil {
		return 0, e
	}
	return uid, err
}

func reopen(int, bool) (int, error) {
	return -1, errors.New("a pipe cannot be opened again on this system")
}

func widen(int) {}

// holderEnd has nothing to wait for: the connection's own end must do.
func holderEnd(int) (end func(wait bool)) { return func(bool) {} }

// readerFIFOs: there is no telling how much of a FIFO has been read.
const readerFIFOs = false

var errNoReaderFIFOs = errors.New("not possible on this system")

func makeFIFO(int, string) error           { return errNoReaderFIFOs }
func openToWrite(int, string) (int, error) { return -1, errNoReaderFIFOs }
func openToRead(int, string) (int, error)  { return -1, errNoReaderFIFOs }
func narrow(int) error                     { return errNoReaderFIFOs }
func unread(int) (int, error)              { return 0, errNoReaderFIFOs }
func pipeState(int) (gone, room bool)      { return true, false }

// folderPath returns the path of a file in a name's folder.
func folderPath(d *dir, name string, _ int, file string) (string, error) {
	return filepath.Abs(filepath.Join(d.path, name, file))
}
