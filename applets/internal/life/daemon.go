package life

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
)

// readyVariable tells a process that it is a daemon which was started by Launch, and which
// descriptor it reports on. It is taken out of the environment at once.
const readyVariable = "SOCKBOX_READY"

// Background goes to the background: it starts this program again, with the same arguments, in a
// session of its own and with none of the descriptors that are open here but those in keep, which
// have the same numbers there. It returns when that process calls Ready; what it had to say is
// then written to stdout. If it ends before that, its messages are written to stderr and status is
// how it ended.
//
// Starting again, and not forking, is the only way that a Go program has; and so there is one code
// path for the foreground and the background.
func Background(keep []int, stdout, stderr io.Writer) (status int, err error) {
	keep = append(keep[:len(keep):len(keep)], concealed.fds...)
	for _, fd := range keep {
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err != nil {
			return 0, fmt.Errorf("descriptor %d is not open", fd)
		}
	}
	closeOnExec()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer readyR.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer errR.Close()

	files := []*os.File{null, null, errW}
	for _, fd := range keep {
		for len(files) <= fd {
			files = append(files, nil)
		}
		switch fd {
		case 0:
			files[fd] = os.Stdin
		case 1:
			files[fd] = os.Stdout
		case 2:
			return 0, errors.New("descriptor 2 is where a daemon's messages go: give it another number, as in 3>&2")
		default:
			files[fd] = os.NewFile(uintptr(fd), "inherited")
		}
	}
	files = append(files, readyW)
	child, err := os.StartProcess(self, arguments(), &os.ProcAttr{
		Env:   append(os.Environ(), readyVariable+"="+strconv.Itoa(len(files)-1)),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	readyW.Close()
	errW.Close()
	if err != nil {
		return 0, err
	}

	// Both ends are closed by Ready, and by the end of the process.
	said, readErr := io.ReadAll(readyR)
	complaint, _ := io.ReadAll(errR)
	stderr.Write(complaint)
	if bytes.HasSuffix(said, []byte{'\n'}) {
		if _, err := stdout.Write(said); err != nil {
			// A daemon that nobody knows of is not left behind.
			child.Signal(syscall.SIGTERM)
			child.Wait()
			return 0, err
		}
		child.Release()
		return 0, nil
	}
	state, err := child.Wait()
	if err = errors.Join(readErr, err); err != nil {
		return 0, err
	}
	if ws := state.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 0, fmt.Errorf("the daemon was ended by %s before it was ready", ws.Signal())
	}
	return state.ExitCode(), nil
}

// A Daemon is this process, as one that Background has started and that has not reported yet.
type Daemon struct{ ready *os.File }

// Backgrounded tells whether this process is one that Background has started and that has not asked
// StartedByBackground yet.
func Backgrounded() bool {
	fd, err := strconv.Atoi(os.Getenv(readyVariable))
	return err == nil && fd >= 3
}

// StartedByBackground returns nil in a process that the user started himself. It is called once,
// before anything is opened.
func StartedByBackground() *Daemon {
	fd, err := strconv.Atoi(os.Getenv(readyVariable))
	if err != nil || fd < 3 {
		return nil
	}
	os.Unsetenv(readyVariable)
	syscall.CloseOnExec(fd)
	syscall.SetNonblock(fd, true) // for WhenAlone; no other process has this end of the pipe
	syscall.Umask(0o077)
	return &Daemon{os.NewFile(uintptr(fd), "ready")}
}

// Ready reports line to who started the daemon, and cuts the last ties: messages go to log from
// now on, and no directory is kept from being unmounted. An error means that nobody is waiting any
// more: the user has given up, and the daemon should end.
func (d *Daemon) Ready(line string, log *os.File) error {
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := duplicate(int(log.Fd()), 2); err != nil {
		return err
	}
	defer d.ready.Close()
	if _, err := io.WriteString(d.ready, line+"\n"); err != nil {
		return fmt.Errorf("whoever started the daemon has gone: %w", err)
	}
	return nil
}
