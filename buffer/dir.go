package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// The runtime directory holds one folder for each name that is held; see lock.go for what tells a
// live one from what a killed daemon left. In it are the socket that clients connect to, the daemon's
// log, and FIFOs (fifo.go).
const (
	socketFile = "sock"
	logFile    = "log"
	oldLogFile = "log.old"
)

// DirPath returns the path of the runtime directory: $SOCKBOX_DIR, else $XDG_RUNTIME_DIR/sockbox,
// else sockbox-UID in /tmp.
func DirPath() string {
	if d := os.Getenv("SOCKBOX_DIR"); d != "" {
		return filepath.Clean(d) // a slash at its end would have a symbolic link followed
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "sockbox")
	}
	return "/tmp/sockbox-" + strconv.Itoa(os.Getuid())
}

// SocketPath returns the path of the socket that the holder of name listens on, whether or not there
// is one. It is for who watches the path; Open connects.
func SocketPath(name string) string { return filepath.Join(DirPath(), name, socketFile) }

// A dir is the runtime directory, opened and found to be ours alone. Everything in it is reached
// by way of the descriptor, so that nobody can put another directory in its place.
type dir struct {
	fd   int
	path string
}

// openDir opens the runtime directory. Where there is none it is made, or, without make, the
// error is fs.ErrNotExist.
func openDir(make bool) (*dir, error) {
	path := DirPath()
	fd, err := openFolder(atCWD, path)
	if make && errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("the runtime directory: %w", err)
		}
		fd, err = openFolder(atCWD, path)
	}
	if err != nil {
		return nil, fmt.Errorf("the runtime directory %s: %w", path, folderReason(err))
	}
	if err := checkPrivate(fd); err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("the runtime directory %s is not safe: %w", path, err)
	}
	return &dir{fd: fd, path: path}, nil
}

func (d *dir) close() { closeFD(d.fd) }

// names lists the folders that carry a valid name, sorted.
func (d *dir) names() ([]string, error) {
	fd, err := openFolder(d.fd, ".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	all, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s string) bool { return CheckName(s) != nil })
	slices.Sort(all)
	return all, nil
}

// Names returns the names that are held, sorted, and clears what killed daemons have left.
func Names() ([]string, error) {
	d, err := openDir(false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	all, err := d.names()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(name string) bool {
		alive, _ := d.clear(name)
		return !alive
	}), nil
}
