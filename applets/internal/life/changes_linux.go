package life

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Changes tells that the files in a directory are not what they were: inotify(7). A file that is being
// written is told of when that is over. A directory that takes the place of this one is looked for once a
// second, as long as there is none.
func Changes(dir string) (<-chan struct{}, func(), error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	const what = syscall.IN_CLOSE_WRITE | syscall.IN_MOVED_TO | syscall.IN_MOVED_FROM | syscall.IN_DELETE | syscall.IN_ATTRIB |
		syscall.IN_CREATE | syscall.IN_DELETE_SELF | syscall.IN_MOVE_SELF
	watch, err := syscall.InotifyAddWatch(fd, dir, what)
	if err != nil {
		syscall.Close(fd)
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	changed := make(chan struct{}, 1)
	go func() {
		b := make([]byte, 4096)
		there := true
		for {
			n, err := f.Read(b)
			if err != nil && !os.IsTimeout(err) {
				return
			}
			for e := b[:max(n, 0)]; len(e) >= syscall.SizeofInotifyEvent; {
				switch mask := binary.NativeEndian.Uint32(e[4:]); {
				case mask&syscall.IN_MOVE_SELF != 0:
					raw.Control(func(fd uintptr) { syscall.InotifyRmWatch(int(fd), uint32(watch)) })
				case mask&syscall.IN_IGNORED != 0 && int32(binary.NativeEndian.Uint32(e)) == int32(watch):
					there = false
				}
				e = e[syscall.SizeofInotifyEvent+binary.NativeEndian.Uint32(e[12:]):]
			}
			if !there {
				raw.Control(func(fd uintptr) {
					if w, err := syscall.InotifyAddWatch(int(fd), dir, what); err == nil {
						watch, there = w, true
					}
				})
				next := time.Time{}
				if !there {
					next = time.Now().Add(time.Second)
				}
				f.SetReadDeadline(next)
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed, func() { f.Close() }, nil
}
