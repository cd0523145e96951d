package sock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// OpenFIFO opens a FIFO for reading or writing without waiting for the other
// side, in non-blocking mode so that deadlines and Close work.
//
// The reading side makes a FIFO that is missing, and created says that the
// caller is to remove it. The file is open for writing too: so a read waits when
// there is no writer, instead of ending, and never ends by itself.
// NewFIFOReader tells one writer from the next.
//
// The writing side needs a FIFO that exists and that somebody reads; else
// Refused(err) is true.
func OpenFIFO(a Addr, write bool, o ListenOptions) (f *os.File, created bool, err error) {
	if a.Net != "fifo" {
		return nil, false, fmt.Errorf("%s: is not a FIFO's address", a)
	}
	if write {
		f, err = openFIFO(a.Path, syscall.O_WRONLY)
		if errors.Is(err, syscall.ENXIO) {
			err = &reason{"no reader has it open", err}
		}
		return f, false, fail(a.String(), err)
	}
	f, err = openFIFO(a.Path, syscall.O_RDWR)
	if errors.Is(err, os.ErrNotExist) {
		f, created, err = makeFIFO(a.Path, o.mode())
	}
	return f, created, fail(a.String(), err)
}

func makeFIFO(path string, mode os.FileMode) (f *os.File, created bool, err error) {
	err = syscall.Mkfifo(path, 0o600)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, false, err
	}
	created = err == nil
	if f, err = openFIFO(path, syscall.O_RDWR); err == nil && created {
		err = f.Chmod(mode) // through the file: the path may be another's by now
	}
	if err != nil && created {
		if f != nil {
			f.Close()
		}
		os.Remove(path)
		return nil, false, err
	}
	return f, created, err
}

func openFIFO(path string, flag int) (*os.File, error) {
	// Look first: opening a device may do something to it.
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if fi.Mode().Type() != os.ModeNamedPipe {
		return nil, errors.New("not a FIFO")
	}
	// Not os.OpenFile, which gives up the poller for FIFOs on some systems.
	fd, err := syscall.Open(path, flag|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if now, err := f.Stat(); err != nil || !os.SameFile(fi, now) {
		f.Close()
		return nil, errors.New("changed while it was opened")
	}
	return f, nil
}
