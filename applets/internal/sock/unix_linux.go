package sock

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const maxPath = 107 // bytes of sun_path, unix(7), without the closing NUL

// nameInDir is a name short enough to bind temp in dir, of which f is open. A
// short path is used as it is, since tools such as ss show it.
func nameInDir(f *os.File, dir, temp, _ string) (string, error) {
	if name := filepath.Join(dir, temp); len(name) <= maxPath {
		return name, nil
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), temp), nil
}

// nameToDial is a name short enough to connect to path; done when connected.
func nameToDial(path string) (name string, done func(), err error) {
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	// The socket itself rather than its directory: the last part of a path
	// alone may be too long.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { unix.Close(fd) }, nil
}

func checkAbstract(name string) error {
	if len(name) > maxPath+1 { // no closing NUL, but the @ stands for a first one
		return fmt.Errorf("an abstract name has at most %d bytes", maxPath)
	}
	return nil
}
