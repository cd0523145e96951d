package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Who holds a name: the process that has an exclusive flock(2) on the name's own folder. The
// kernel drops it when the process dies, however it dies, so a folder without the lock is stale,
// and a pid is never asked. Folders are made and removed, and the lock is taken, only under a
// short flock on the runtime directory: nobody then sees a folder that is half made, and no lock
// is taken on a folder that is being removed. Clients never lock: they connect, and only where
// nobody answers do they look whether the entry is stale.

// An Entry is a name held by this process.
type Entry struct {
	name string
	dir  *dir
	fd   int // the folder, locked
	log  *Log

	stale bool
}

// Hold takes a name, clearing what a killed holder left. If somebody holds it the error is ErrHeld.
// The caller ends the hold with Remove.
func Hold(name string) (*Entry, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	d, err := openDir(true)
	if err != nil {
		return nil, err
	}
	e, err := d.hold(name)
	if err != nil {
		d.close()
		return nil, err
	}
	return e, nil
}

func (d *dir) hold(name string) (*Entry, error) {
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	err = makeFolder(d.fd, name)
	stale := errors.Is(err, os.ErrExist) // unless it is locked
	if err != nil && !stale {
		return nil, fmt.Errorf("%s: %w", filepath.Join(d.path, name), err)
	}
	fd, err := openFolder(d.fd, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(d.path, name), folderReason(err))
	}
	if ok, err := tryLock(fd); !ok {
		closeFD(fd)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", name, ErrHeld)
	}
	e := &Entry{name: name, dir: d, fd: fd, stale: stale}
	if stale {
		e.sweep()
	}
	return e, nil
}

// lock takes the short lock on the directory itself.
func (d *dir) lock() (unlock func(), err error) {
	// The lock belongs to the open file: a descriptor of its own is let go by closing it.
	fd, err := openFolder(d.fd, ".")
	if err != nil {
		return nil, err
	}
	if err := waitLock(fd); err != nil {
		closeFD(fd)
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	return func() { closeFD(fd) }, nil
}

// clear removes the entry of a holder that has died. It tells whether the name is held, which what
// is no folder cannot be; where that cannot be found out it is taken to be.
func (d *dir) clear(name string) (alive bool, err error) {
	unlock, err := d.lock()
	if err != nil {
		return true, err
	}
	defer unlock()
	fd, err := openFolder(d.fd, name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return !noFolder(err), err
	}
	defer closeFD(fd)
	ok, err := tryLock(fd)
	if !ok || err != nil {
		return !ok, err
	}
	e := &Entry{name: name, dir: d, fd: fd}
	e.sweep()
	return false, removeFolder(d.fd, name)
}

// vacant tells whether there is no folder with that name, not even a dead holder's.
func vacant(name string) bool {
	d, err := openDir(false)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	defer d.close()
	fd, err := openFolder(d.fd, name)
	if err == nil {
		closeFD(fd)
	}
	return errors.Is(err, os.ErrNotExist)
}

// sweep removes the files that a holder makes.
func (e *Entry) sweep() {
	for _, f := range []string{socketFile, logFile, oldLogFile, fifoFile} {
		removeFile(e.fd, f)
	}
	fd, err := openFolder(e.fd, ".")
	if err != nil {
		return
	}
	folder := os.NewFile(uintptr(fd), e.name)
	defer folder.Close()
	files, _ := folder.Readdirnames(-1)
	for _, f := range files {
		if strings.HasPrefix(f, fifoFor) {
			removeFile(e.fd, f)
		}
	}
}

// Stale tells whether a holder that died had left the name.
func (e *Entry) Stale() bool { return e.stale }

// Name returns the name that is held.
func (e *Entry) Name() string { return e.name }

// Remove gives the name back and leaves nothing of it behind. If others have removed the entry, or
// put another in its place, theirs is left alone.
func (e *Entry) Remove() error {
	if e.fd < 0 {
		return nil
	}
	unlock, err := e.dir.lock()
	if err == nil {
		defer unlock()
	}
	if e.log != nil {
		e.log.close()
	}
	e.sweep()
	if sameFolder(e.dir.fd, e.name, e.fd) {
		err = removeFolder(e.dir.fd, e.name)
	}
	closeFD(e.fd)
	e.dir.close()
	e.fd = -1
	return err
}
