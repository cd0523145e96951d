package sock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// How a path is taken: under a flock on its directory, so that of two who start
// at once the second sees the first's socket complete. The socket is bound
// under a name of its own, given its permissions (umask is the whole process's,
// and bind applies it), and renamed over the path. No other program's rule is
// needed: whoever dials the path finds nothing, the old socket, or the new one
// listening.

const (
	lockWait      = 5 * time.Second // for a directory's lock, which its holders keep for microseconds
	lockWaitClose = time.Second     // the same at the end: a path left behind does no harm, it is stale
	lockPause     = 2 * time.Millisecond
)

func listenUnix(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	ln := &unixListener{}
	err := ln.bind(ctx, path, mode, func(lc *net.ListenConfig, name string) (io.Closer, error) {
		l, err := lc.Listen(ctx, "unix", name)
		if err != nil {
			return nil, err
		}
		ln.UnixListener = l.(*net.UnixListener)
		ln.SetUnlinkOnClose(false) // it would remove whatever is there by then
		return l, nil
	})
	if err != nil {
		return nil, err
	}
	return ln, nil
}

func listenUnixgram(ctx context.Context, path string, mode os.FileMode) (net.PacketConn, error) {
	pc := &unixPacket{}
	err := pc.bind(ctx, path, mode, func(lc *net.ListenConfig, name string) (io.Closer, error) {
		c, err := lc.ListenPacket(ctx, "unixgram", name)
		if err != nil {
			return nil, err
		}
		pc.UnixConn = c.(*net.UnixConn)
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return pc, nil
}

// A unixPath is where a socket was put, and is removed from when it is closed.
type unixPath struct {
	name  string      // as it was asked for
	root  *os.Root    // the directory
	base  string      // the name in it
	inode os.FileInfo // ours, to tell it from a later one
	once  sync.Once
}

// bind has open make a socket under a temporary name and puts it in its place.
func (p *unixPath) bind(ctx context.Context, path string, mode os.FileMode,
	open func(lc *net.ListenConfig, name string) (io.Closer, error)) error {
	dir, base := filepath.Split(path)
	if base == "" || base == "." || base == ".." {
		return syscall.EISDIR
	}
	if dir == "" {
		dir = "."
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	p.name, p.root, p.base = path, root, base
	if err := p.place(ctx, dir, mode, open); err != nil {
		root.Close()
		return err
	}
	return nil
}

func (p *unixPath) place(ctx context.Context, dir string, mode os.FileMode,
	open func(lc *net.ListenConfig, name string) (io.Closer, error)) error {
	lock, err := lockDir(ctx, p.root, lockWait)
	if err != nil {
		return err
	}
	defer lock.Close()

	if err := checkStale(ctx, p.root, dir, p.base); err != nil {
		return err
	}
	temp := fmt.Sprintf(".sockbox-%08x", rand.Uint32())
	name, err := nameInDir(lock, dir, temp, p.base)
	if err != nil {
		return err
	}
	s, err := open(&net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Linux gives the path the socket's own mode: then not even the temporary
		// name is open to others for a moment. Elsewhere this fails, and the
		// umask has to do until the chmod.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}, name)
	if err != nil {
		return err
	}
	err = p.root.Chmod(temp, mode)
	if err == nil {
		p.inode, err = p.root.Lstat(temp)
	}
	if err == nil {
		err = p.root.Rename(temp, p.base)
	}
	if err != nil {
		s.Close()
		_ = p.root.Remove(temp)
	}
	return err
}

// remove removes the path, if it still leads to this socket, which is still open.
func (p *unixPath) remove() {
	p.once.Do(func() {
		defer p.root.Close()
		lock, err := lockDir(context.Background(), p.root, lockWaitClose)
		if err != nil {
			return
		}
		defer lock.Close()
		// While the socket is open its inode is too, so no other file can have
		// got the number.
		if fi, err := p.root.Lstat(p.base); err == nil && os.SameFile(fi, p.inode) {
			_ = p.root.Remove(p.base)
		}
	})
}

// checkStale returns nil where base is free to be taken: absent, or a socket
// that nobody listens on. The caller holds the lock.
func checkStale(ctx context.Context, root *os.Root, dir, base string) error {
	fi, err := root.Lstat(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != os.ModeSocket {
		return errors.New("not a socket")
	}
	c, err := dialUnix(ctx, &net.Dialer{}, "unix", filepath.Join(dir, base))
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return nil
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EPROTOTYPE):
		return syscall.EADDRINUSE // its backlog is full; it is not for streams
	}
	return err // it cannot be told: leave it alone
}

// lockDir takes the flock on the directory, and gives it up when the file it
// returns is closed. Others may hold the lock for reasons of their own (anybody can, on
// /tmp), so it is asked for again and again and not for ever.
func lockDir(ctx context.Context, root *os.Root, wait time.Duration) (*os.File, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			f.Close()
			return nil, err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			f.Close()
			return nil, &reason{"another process holds the lock on its directory", ctx.Err()}
		}
	}
}

// A unixListener removes its path when it is closed.
type unixListener struct {
	*net.UnixListener
	unixPath
}

// Addr is the path that was asked for, not the temporary name it was bound to.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.name, Net: "unix"} }

// Close removes the path first, so that nobody finds a path that refuses them.
func (l *unixListener) Close() error {
	l.remove()
	return l.UnixListener.Close()
}

// A unixPacket is the same for datagrams.
type unixPacket struct {
	*net.UnixConn
	unixPath
}

func (c *unixPacket) LocalAddr() net.Addr { return &net.UnixAddr{Name: c.name, Net: "unixgram"} }

func (c *unixPacket) Close() error {
	c.remove()
	return c.UnixConn.Close()
}

// dialUnix connects to a path of any length, or to an abstract name.
func dialUnix(ctx context.Context, d *net.Dialer, network, path string) (net.Conn, error) {
	if path[0] == '@' {
		if err := checkAbstract(path); err != nil {
			return nil, err
		}
		return d.DialContext(ctx, network, path)
	}
	name, done, err := nameToDial(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return d.DialContext(ctx, network, name)
}

// dialBacklog is dialUnix for a stream. It waits while the backlog is full, as connect(2) does with TCP, and on a
// unix socket too unless that must not block (EAGAIN): then nobody tells when there is room.
func dialBacklog(ctx context.Context, d *net.Dialer, path string) (net.Conn, error) {
	end := time.Now().Add(d.Timeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		c, err := dialUnix(ctx, d, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) || time.Until(end) < pause {
			return c, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func listenAbstract(ctx context.Context, name string) (net.Listener, error) {
	if err := checkAbstract(name); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", name)
}
