package life

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// guardVariable tells a process that it is the inner one of two, and which descriptor leads to the
// outer one. It is taken out of the environment at once.
const guardVariable = "SOCKBOX_GUARD"

// strayGrace is what the descendants of an inner process have that has gone without ending them.
const strayGrace = 2 * time.Second

// Two processes are one service whose children do not outlive it, whichever of the two is killed.
//
// The outer process is the one that the user has started. It passes requests on and waits. The inner
// one does the work, and takes in the orphans of what it starts. When the outer one vanishes, even
// by SIGKILL, the inner one sees the end of the socket between them, is asked to end in a hurry, and
// ends what it has started. When the inner one vanishes, its descendants become the outer one's,
// which ends them. If both are killed in the same instant nothing can be done.
//
// A signal may reach both: a terminal, "kill -- -GROUP", pkill and a service manager send to all.
// So the outer process counts the requests and passes their number on; a signal that comes to the
// inner one itself says no more than "at least one". However it comes, one Ctrl-C is one request.
//
// The link between them: the outer one writes two bytes for a request, its number and the signal;
// the inner one writes what Notify has to say, two bytes of length before it, because a service
// manager listens to the process that it has started.

// Guarded is the inner process of two. As a Stop it ends with the requests to the outer one, and is
// in a hurry when that one has vanished. If it is there still ten seconds after that, its descendants
// and it are ended on the spot.
type Guarded struct {
	*Stop
	outer  int
	signal atomic.Int32
}

var guardLink atomic.Pointer[os.File]

// Guard makes two processes of this one, and is called before anything is opened or started. In the
// inner one, which is this program run again with the same arguments and all the same descriptors,
// it returns a Guarded. In the outer one it returns nil, when the inner one and all that descends
// from it are gone, and tells how that one ended: the status to leave with, or the signal to
// RaiseAgain.
//
// INT and TERM are requests to end, and HUP is, but for HangupReloads; if background is false, a HUP
// that was inherited as ignored stays so. The third request ends the inner process by SIGKILL, and End tells of the signal
// that was the third request. USR1, USR2 and WINCH are passed on as they are. LISTEN_PID and
// WATCHDOG_PID name the inner process if they named this one. Ctrl-Z stops the outer one only. The
// end of ctx is a request too.
//
// What is to go to the background calls Background first, unless it is Backgrounded, then Guard, and
// StartedByBackground in the inner process, which is the one that is ready.
//
// On a system where Adopt does not exist, descendants that have left their groups live on.
func Guard(ctx context.Context, background bool) (*Guarded, End, error) {
	if link, outer := guardedBy(); link != nil {
		return guarded(ctx, link, outer, background), End{}, nil
	}
	end, err := guard(ctx, background)
	return nil, end, err
}

// guardedBy returns the link to the outer process, if there is one, and its pid.
func guardedBy() (link *os.File, outer int) {
	fd, err := strconv.Atoi(os.Getenv(guardVariable))
	os.Unsetenv(guardVariable)
	if err != nil || fd < 3 {
		return nil, 0
	}
	// A variable that came from elsewhere names something else.
	if outer, err = socketMaker(fd); err != nil {
		return nil, 0
	}
	syscall.CloseOnExec(fd)
	syscall.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "outer process"), outer
}

func guarded(ctx context.Context, link *os.File, outer int, background bool) *Guarded {
	g := &Guarded{Stop: &Stop{hurry: make(chan struct{})}, outer: outer}
	g.ctx, g.cancel = context.WithCancel(ctx)
	g.Stop.signal = make(chan os.Signal, 3)
	signal.Notify(g.Stop.signal, requests(background)...)
	Adopt() // where it does not exist, Guard's comment tells
	for _, name := range []string{"LISTEN_PID", "WATCHDOG_PID"} {
		if os.Getenv(name) == strconv.Itoa(outer) {
			os.Setenv(name, strconv.Itoa(os.Getpid()))
		}
	}
	guardLink.Store(link)

	go func() {
		for sig := range g.Stop.signal {
			g.request(1, sig.(syscall.Signal))
		}
	}()
	go func() {
		var b [2]byte
		for {
			if _, err := io.ReadFull(link, b[:]); err != nil {
				break
			}
			g.request(int(b[0]), syscall.Signal(b[1]))
		}
		g.request(2, 0)
		// Nobody is left who could ask a third time.
		time.Sleep(lastWait)
		StopAll(0, nil)
		os.Exit(1)
	}()
	return g
}

// request says that there have been n of them, with sig or, if it is 0, without a signal.
func (g *Guarded) request(n int, sig syscall.Signal) {
	g.signal.CompareAndSwap(0, int32(sig))
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.asked
	g.asked = max(g.asked, n)
	g.cancel()
	if before < 2 && g.asked >= 2 {
		close(g.hurry)
	}
}

// Signal is the first that asked us to end, and 0 if none did. One who was to bring an answer does
// not leave with 0 then, but cleans up and calls RaiseAgain; the outer process does as it did.
func (g *Guarded) Signal() syscall.Signal { return syscall.Signal(g.signal.Load()) }

// PID is the outer process's, the one that people and service managers know and send signals to.
func (g *Guarded) PID() int { return g.outer }

// LeaveGroup makes a process group for the inner process, so that a SIGKILL of the outer one's whole
// group, as "kill -9 %1" and timeout(1) send it, does not end both. It is called as soon as the
// terminal is not read any more: from then on, to read it would stop the process, as would to write
// where "stty tostop" is set.
func (g *Guarded) LeaveGroup() error { return syscall.Setpgid(0, 0) }

func guard(ctx context.Context, background bool) (End, error) {
	self, err := os.Executable()
	if err != nil {
		return End{}, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return End{}, err
	}
	defer null.Close()
	Adopt()
	syscall.ForkLock.RLock()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(pair[0])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return End{}, os.NewSyscallError("socketpair", err)
	}
	syscall.SetNonblock(pair[0], true)
	link := os.NewFile(uintptr(pair[0]), "inner process")
	defer link.Close()

	asks := make(chan os.Signal, 8)
	pass := []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}
	if hangupReloads.Load() {
		pass = append(pass, syscall.SIGHUP)
	}
	signal.Notify(asks, append(requests(background), pass...)...)
	defer signal.Stop(asks)

	// Descriptors that we have inherited have no mark to be closed and pass; so does the link's
	// other end, under the number that it has here.
	env := []string{guardVariable + "=" + strconv.Itoa(pair[1])}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, guardVariable+"=") {
			env = append(env, v)
		}
	}
	inner := &Child{name: self, done: make(chan struct{})}
	err = inner.start(self, arguments(), &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		syscall.Close(pair[1])
		return End{}, err
	}
	// What we hold open would seem to be in use after the inner process has closed it: a listener
	// would go on to take connections.
	closeInherited(pair[0])
	if Backgrounded() {
		// The launcher reads our stderr to its end, and no directory is to be kept in use.
		duplicate(int(null.Fd()), 2)
		os.Chdir("/")
	}

	told := make(chan struct{})
	go func() {
		defer close(told)
		forwardNotices(link)
	}()
	var (
		count int
		hurry = make(chan struct{})
		third syscall.Signal
		done  = inner.done
		gone  chan struct{}
		left  error
		ended = ctx.Done()
	)
	request := func(sig syscall.Signal) {
		switch count++; count {
		case 1, 2:
			link.Write([]byte{byte(count), byte(sig)})
			if count == 2 {
				close(hurry)
			}
		case 3:
			third = sig
			inner.proc.Kill()
		}
	}
	for {
		select {
		case s := <-asks:
			sig := s.(syscall.Signal)
			if slices.Contains(pass, s) {
				inner.proc.Signal(sig)
				continue
			}
			request(sig)
		case <-ended:
			ended = nil
			request(0)
		case <-done:
			done, gone = nil, make(chan struct{})
			go func() {
				defer close(gone)
				select {
				case <-told:
				case <-time.After(time.Second): // a descendant has the link's other end: none of ours does that
				}
				left = StopAll(strayGrace, hurry)
			}()
		case <-gone:
			end := inner.end
			if third != 0 && end.Signal == syscall.SIGKILL {
				end.Signal = third
			}
			return end, errors.Join(end.Err, left)
		}
	}
}

// forwardNotices tells the service manager what the inner process has to say.
func forwardNotices(link io.Reader) {
	for {
		var size [2]byte
		if _, err := io.ReadFull(link, size[:]); err != nil {
			return
		}
		state := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(link, state); err != nil {
			return
		}
		Notify(string(state))
	}
}

var notifying sync.Mutex

// notifyThrough sends state to the outer process, for the service manager.
func notifyThrough(link io.Writer, state string) error {
	if len(state) > 0xffff {
		return syscall.EMSGSIZE
	}
	notifying.Lock()
	defer notifying.Unlock()
	_, err := link.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(state))), state...))
	return err
}

// RaiseAgain ends this process by sig, as if it had never been caught. It does not return. If the
// signal was inherited as ignored, or cannot end this process, it exits with 128+sig.
func RaiseAgain(sig syscall.Signal) {
	signal.Reset(sig)
	if !ignored(sig) && os.Getpid() != 1 { // the first process of a container is spared by the kernel
		syscall.Kill(os.Getpid(), sig)
		time.Sleep(5 * time.Second) // it is another thread that dies of it
	}
	os.Exit(128 + int(sig))
}
