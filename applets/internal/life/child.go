package life

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Why a program did not start. A shell's statuses for them are 127 and 126.
var (
	ErrNotFound  = errors.New("no such program")
	ErrCannotRun = errors.New("the program cannot be run")
)

// Pipe, in place of a file of a Command, asks for a pipe whose other end the Child has.
var Pipe = new(os.File)

// A Command says what is to be started, and how.
type Command struct {
	Path string   // the program; looked up in our own $PATH if it has no slash
	Args []string // its arguments, its name first; none: Path
	Env  []string // its whole environment; nil: ours
	Dir  string   // where it starts, and what a relative Path with a slash belongs to; empty: here

	// The child's descriptors 0, 1 and 2. nil is /dev/null. Start closes none of them.
	Stdin, Stdout, Stderr *os.File
	// Extra are its descriptors 3, 4 and so on. It has no others.
	Extra []*os.File

	// Pty has a terminal of 80x24 in place of the pipe that Stdout asks for, and that Stdin asks
	// for: programs then write line by line. What is written passes as it is, nothing is echoed.
	// The child leads a session of its own.
	Pty bool
	// Window, with Pty, is for people: the terminal has this many rows and columns, echoes and
	// treats what passes as terminals do, and takes the place of the pipe that Stderr asks for too.
	Window *Window

	// Mark gives the child a variable that tells it from its siblings, $SOCKBOX_CHILD. With it Stop
	// finds also those descendants that had lost every other tie to the child by then.
	Mark bool

	Credential *syscall.Credential // whose the process is; nil: ours

	// These two cost one more exec, of this program: Limits are what the child may use, PIDVariables
	// the names of variables that are to hold the child's own pid, as LISTEN_PID.
	Limits       []Limit
	PIDVariables []string
}

// A Window is how much a terminal shows.
type Window struct{ Rows, Columns uint16 }

const markVariable = "SOCKBOX_CHILD"

// A Child is a process that Start has started.
type Child struct {
	// The other ends of what Pipe was given for, and nil where it was not. Whoever started the
	// child reads and closes them; Stop closes Stdin, which may be closed twice. What is a pipe is an
	// *os.File; with Pty both are the one terminal, which closing either closes.
	Stdin          io.WriteCloser
	Stdout, Stderr io.ReadCloser

	name     string
	pid      int
	mark     string   // NAME=VALUE
	session  bool     // it leads one
	terminal *os.File // our side of it, if it has one
	started  time.Time
	done     chan struct{}
	end      End // once done is closed

	stopping sync.Mutex

	reaped bool // under family.mu: from now on its pid may be somebody else's
	waited bool // somebody waits for it alone; else the reaper of strays does
}

// family is all the children of this process. To fork and to enter the child here is one step for
// the one who looks for strays, or he would take a child that ends at once for one of them.
var family struct {
	forking  sync.RWMutex
	mu       sync.Mutex
	children map[int]*Child
	marks    atomic.Uint64
}

var cleanDescriptors sync.Once

// Start starts a program: in a process group of its own, with no descriptor but those that the
// command names, with no signal blocked and all at their default, INT and QUIT too where a shell's
// "&" has us ignore them. Two kinds that were inherited as ignored stay so: HUP (nohup), unless this
// process catches it, and those of job control. Catch signals before the first Start.
//
// The error wraps ErrNotFound or ErrCannotRun if it is the program's; any other, as a shortage of
// processes or of descriptors, may pass.
func Start(cmd Command) (*Child, error) {
	path, err := LookUp(cmd.Path)
	if err != nil {
		return nil, err
	}
	if cmd.Dir != "" { // or the program would seem to be missing
		if _, err := os.Stat(cmd.Dir); err != nil {
			return nil, fmt.Errorf("%s: %w", cmd.Dir, reason(err))
		}
	}
	cleanDescriptors.Do(func() {
		closeOnExec()
		if signal.Ignored(syscall.SIGINT) { // caught and dropped here, and so reset by an exec
			signal.Notify(make(chan os.Signal, 1), syscall.SIGINT)
		}
	})

	staged := func(err error) error { return err }
	if len(cmd.Limits)+len(cmd.PIDVariables) > 0 {
		if cmd, staged, err = cmd.stage(path); err != nil {
			return nil, err
		}
		path = cmd.Path
	}

	c := &Child{name: cmd.Path, session: cmd.Pty, done: make(chan struct{})}
	sys := &syscall.SysProcAttr{Setpgid: !cmd.Pty, Setsid: cmd.Pty, Credential: cmd.Credential}
	var e ends
	if err = c.files(&cmd, sys, &e); err == nil {
		env := cmd.Env
		if env == nil {
			env = os.Environ()
		}
		if cmd.Mark {
			c.mark = markVariable + "=" + strconv.Itoa(os.Getpid()) + "." + strconv.FormatUint(family.marks.Add(1), 10)
			env = append(env[:len(env):len(env)], c.mark)
		}
		argv := cmd.Args
		if len(argv) == 0 {
			argv = []string{cmd.Path}
		}
		err = c.start(path, argv, &syscall.ProcAttr{Dir: cmd.Dir, Env: env, Files: e.files, Sys: sys})
		runtime.KeepAlive(&cmd) // its files
	}
	for _, fd := range e.theirs {
		syscall.Close(fd)
	}
	if err = staged(err); err != nil {
		for _, f := range e.ours {
			f.Close()
		}
		if c.pid != 0 { // it has told us, and ends
			<-c.done
		}
		return nil, err
	}
	return c, nil
}

// ends are the two ends of what is between us and a child.
type ends struct {
	files  []uintptr // what it has as 0, 1, 2 and so on
	theirs []int     // those of them that are to be closed once it has them
	ours   []*os.File
}

// files opens what the child has.
func (c *Child) files(cmd *Command, sys *syscall.SysProcAttr, e *ends) error {
	slave := -1
	e.files = make([]uintptr, 0, 3+len(cmd.Extra))
	for i, f := range []*os.File{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		fd := -1
		switch {
		case f == nil:
			var err error
			if fd, err = syscall.Open(os.DevNull, syscall.O_RDWR|syscall.O_CLOEXEC, 0); err != nil {
				return &os.PathError{Op: "open", Path: os.DevNull, Err: err}
			}
			e.theirs = append(e.theirs, fd)
		case f != Pipe:
			fd = int(f.Fd())
		case cmd.Pty && (i < 2 || cmd.Window != nil):
			if slave < 0 {
				master, s, err := openTerminal(cmd.Window)
				if err != nil {
					return err
				}
				slave = s
				e.theirs, e.ours = append(e.theirs, s), append(e.ours, master)
				c.Stdout, c.terminal = terminal{master}, master
				sys.Setctty, sys.Ctty = true, i
			}
			fd = slave
			if i == 0 {
				c.Stdin = c.terminal
			}
		default:
			ours, theirs, err := openPipe(i == 0)
			if err != nil {
				return os.NewSyscallError("pipe", err)
			}
			switch i {
			case 0:
				c.Stdin = ours
			case 1:
				c.Stdout = ours
			default:
				c.Stderr = ours
			}
			fd = theirs
			e.theirs, e.ours = append(e.theirs, theirs), append(e.ours, ours)
		}
		e.files = append(e.files, uintptr(fd))
	}
	if cmd.Pty && slave < 0 {
		return errors.New("a terminal takes the place of a pipe, and neither stdin nor stdout is one")
	}
	for _, f := range cmd.Extra {
		e.files = append(e.files, f.Fd())
	}
	return nil
}

// terminal is our side of a child's terminal.
type terminal struct{ *os.File }

// Read tells the end as a pipe does: the kernel says EIO when nobody has the other side open.
func (t terminal) Read(b []byte) (int, error) {
	n, err := t.File.Read(b)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}

func (c *Child) start(path string, argv []string, attr *syscall.ProcAttr) error {
	family.forking.RLock()
	defer family.forking.RUnlock()
	pid, err := startProcess(path, argv, attr)
	if err != nil {
		return cannotStart(path, attr.Dir, err)
	}
	family.mu.Lock()
	c.pid, c.started = pid, time.Now()
	c.waited = !reaperRuns()
	if family.children == nil {
		family.children = map[int]*Child{}
	}
	family.children[pid] = c
	family.mu.Unlock()
	if c.waited {
		go c.wait()
	} else {
		wakeStrays()
	}
	return nil
}

// wait4 waits for the child and reaps it.
func (c *Child) wait4() (ws syscall.WaitStatus, err error) {
	for {
		if _, err = syscall.Wait4(c.pid, &ws, 0, nil); err != syscall.EINTR {
			return ws, err
		}
	}
}

// gone notes how the child has ended, which is reaped. family.mu is held.
func (c *Child) gone(ws syscall.WaitStatus, err error) {
	c.reaped = true
	delete(family.children, c.pid)
	c.end.Time = time.Since(c.started)
	switch {
	case err != nil:
		c.end.Err = os.NewSyscallError("wait", err)
	case ws.Signaled():
		c.end.Signal, c.end.Core = ws.Signal(), ws.CoreDump()
	default:
		c.end.Code = ws.ExitStatus()
	}
	close(c.done)
}

// An End is how a child ended.
type End struct {
	Code   int            // what it exited with, if Signal is 0
	Signal syscall.Signal // what it was ended by
	Core   bool           // it left a core
	Time   time.Duration  // how long it ran
	Err    error          // we could not learn how it ended; nothing that is known leads here
}

// Status is the status that a shell would give: 128+N for an end by signal N.
func (e End) Status() int {
	switch {
	case e.Err != nil:
		return 1
	case e.Signal != 0:
		return 128 + int(e.Signal)
	}
	return e.Code
}

func (e End) String() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.Signal != 0:
		return "ended by " + e.Signal.String()
	}
	return "exit status " + strconv.Itoa(e.Code)
}

// PID is the child's process id, and its group's. It is for people: the number may be another
// process's once the child has ended.
func (c *Child) PID() int { return c.pid }

// Done is closed when the child has ended and is reaped. Descendants of it may live on, and hold
// its pipes open.
func (c *Child) Done() <-chan struct{} { return c.done }

// Wait waits until the child has ended, and tells how. Any number may wait.
func (c *Child) Wait() End {
	<-c.done
	return c.end
}

// Signal sends sig to the child's process group, as long as the child has not ended.
func (c *Child) Signal(sig syscall.Signal) error {
	family.mu.Lock()
	defer family.mu.Unlock()
	if c.reaped {
		return os.ErrProcessDone
	}
	return c.signalGroup(sig)
}

// only sends sig to the child alone.
func (c *Child) only(sig syscall.Signal) {
	family.mu.Lock()
	defer family.mu.Unlock()
	if !c.reaped {
		syscall.Kill(c.pid, sig)
	}
}

// signalGroup is called before the child is reaped, under family.mu: until then no other group can
// have the number.
func (c *Child) signalGroup(sig syscall.Signal) error { return syscall.Kill(-c.pid, sig) }

// Resize tells the child's terminal, if it has one, how large it is now, and so the programs there.
func (c *Child) Resize(w Window) error {
	if c.terminal == nil {
		return errors.ErrUnsupported
	}
	return setWindow(c.terminal, w)
}

// Stop ends the child and its descendants, and returns when all of them are gone. It closes the
// child's stdin, sends TERM and CONT, waits for grace or until hurry is closed, and sends KILL
// until none is left. It may be called at any time, also after the child has ended, to end what it
// has left behind, and more than once.
//
// The child's descendants are: all that the tree of parents leads to from the child; the members of
// its process group and of its session; and, on Linux in a process that has called Adopt, orphans
// that were seen in that tree before, or are of a group or session that was, or that have the
// child's mark. An orphan that had lost all these ties before Stop is found by StopAll only.
// Elsewhere it is the process group alone.
//
// The error says that something cannot be ended, as a process of another user's or one that hangs
// in the kernel.
func (c *Child) Stop(grace time.Duration, hurry <-chan struct{}) error {
	if c.Stdin != nil && !c.session { // a terminal has no half to close
		c.Stdin.Close()
	}
	c.stopping.Lock() // the child is asked once at a time
	defer c.stopping.Unlock()
	err := c.finish(grace, hurry)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	<-c.done
	return nil
}

// LookUp finds a program as a shell does: a name without a slash in our own $PATH. The error wraps
// ErrNotFound or ErrCannotRun.
func LookUp(name string) (string, error) {
	if name == "" {
		return "", &startError{"''", ErrNotFound, ErrNotFound}
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	var denied error
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if dir == "" {
			dir = "."
		}
		path := dir + "/" + name
		st, err := os.Stat(path)
		switch {
		case err != nil || st.IsDir():
		case st.Mode()&0o111 == 0:
			denied = &startError{path, ErrCannotRun, syscall.EACCES}
		default:
			return filepath.Abs(path)
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &startError{name, ErrNotFound, ErrNotFound}
}

// Lacking tells whether err is that the system lacks something just now, as descriptors, memory or
// processes: not what the caller named is wrong, and a later try may succeed.
func Lacking(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// cannotStart tells a program that is not there from one that cannot be run, and both from what
// the system lacks just now.
func cannotStart(path, dir string, err error) error {
	why := reason(err)
	switch {
	case Lacking(why):
		return fmt.Errorf("%s: %w", path, why)
	case errors.Is(why, syscall.ENOENT), errors.Is(why, syscall.ENOTDIR):
		at := path
		if !filepath.IsAbs(path) {
			at = filepath.Join(dir, path)
		}
		if _, err := os.Stat(at); err == nil {
			return &startError{path, ErrCannotRun, fmt.Errorf("what its first line names, or its loader: %w", why)}
		}
		return &startError{path, ErrNotFound, why}
	}
	return &startError{path, ErrCannotRun, why}
}

// reason is the system's own word in an error of package os.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

type startError struct {
	path      string
	kind, why error
}

func (e *startError) Error() string   { return e.path + ": " + e.why.Error() }
func (e *startError) Unwrap() []error { return []error{e.kind, e.why} }

// Run starts a command, and stops it when ctx ends; it returns when the child has ended, and its
// descendants too if it was stopped.
func Run(ctx context.Context, cmd Command, grace time.Duration, hurry <-chan struct{}) (End, error) {
	c, err := Start(cmd)
	if err != nil {
		return End{}, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		err = c.Stop(grace, hurry)
	}
	select {
	case <-c.done:
		return c.end, err
	default:
		return End{Err: err}, err
	}
}
