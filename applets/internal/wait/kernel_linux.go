package wait

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A watch tells of changes at a path, by inotify(7): it looks at the folder that the next missing
// part of the path would appear in. What it does not see (other hosts' changes in a file system of
// the network, a socket that is bound and not listening yet) is found by trying again.
type watch struct {
	path string // absolute
	file *os.File
	wd   int // what is watched now; -1: nothing
}

const changes = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_ATTRIB |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// newWatch calls hint after a change. It returns nil, which is a watch that sees nothing, where the
// kernel has none to give.
func newWatch(path string, hint func()) *watch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	w := &watch{path: path, file: os.NewFile(uintptr(fd), "inotify"), wd: -1}
	go func() {
		b := make([]byte, 16<<10)
		for {
			n, err := w.file.Read(b)
			if err != nil {
				return // closed
			}
			if concerns(b[:n], path) {
				hint()
			}
		}
	}()
	return w
}

// concerns tells whether one of the events is about the path: about the watched folder itself, or
// about a name that is a part of the path.
func concerns(b []byte, path string) bool {
	for len(b) >= unix.SizeofInotifyEvent {
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if size > len(b) {
			return true
		}
		name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00")
		if name == "" || strings.Contains(path+"/", "/"+name+"/") {
			return true
		}
		b = b[size:]
	}
	return false
}

// arm watches the deepest folder of the path that there is.
func (w *watch) arm() {
	if w == nil {
		return
	}
	for dir := filepath.Dir(w.path); ; dir = filepath.Dir(dir) {
		wd := -1
		err := w.control(func(fd int) (err error) {
			wd, err = unix.InotifyAddWatch(fd, dir, changes)
			return err
		})
		if err == nil {
			// The one before may be the same folder, which has one number.
			if w.wd >= 0 && w.wd != wd {
				old := w.wd
				w.control(func(fd int) error { _, err := unix.InotifyRmWatch(fd, uint32(old)); return err })
			}
			w.wd = wd
			return
		}
		if dir == "/" {
			return
		}
	}
}

func (w *watch) control(f func(fd int) error) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

func (w *watch) close() {
	if w != nil {
		w.file.Close()
	}
}

// A process is one that is waited for, by a descriptor of it (pidfd_open(2)): its number may be
// another's as soon as it is reaped.
type process struct {
	pid  int
	file *os.File // nil: the kernel gave none
	over bool     // there was none with this number
}

// watchProcess calls hint when the process has ended, where the kernel can tell.
func watchProcess(pid int, hint func()) *process {
	p := &process{pid: pid}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		p.over = true
		return p
	}
	if err != nil { // Linux before 5.3, or the number of a thread
		return p
	}
	unix.SetNonblock(fd, true) // or reading it would hold a thread
	p.file = os.NewFile(uintptr(fd), "pidfd")
	raw, err := p.file.SyscallConn()
	if err != nil {
		return p
	}
	go func() {
		ended := false
		raw.Read(func(fd uintptr) bool {
			ended = readable(int(fd))
			return ended
		})
		if ended {
			hint()
		}
	}()
	return p
}

// ended tells whether the process has exited, reaped or not.
func (p *process) ended() bool {
	if p.over || p.file == nil {
		return p.over || unix.Kill(p.pid, 0) == unix.ESRCH
	}
	raw, err := p.file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { p.over = readable(int(fd)) })
	}
	return p.over || err != nil && unix.Kill(p.pid, 0) == unix.ESRCH
}

func (p *process) close() {
	if p != nil && p.file != nil {
		p.file.Close()
	}
}

func readable(fd int) bool {
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(set, 0)
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}
