package life

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// startProcess starts with no signal blocked: a mask that we have inherited would be the child's too.
func startProcess(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	if blocking() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var before unix.Sigset_t
		if unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, &before) == nil {
			defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
		}
	}
	pid, _, err := syscall.StartProcess(path, argv, attr)
	return pid, err
}

// blocking tells whether this process was started with signals blocked. All its threads have the mask
// that it had then.
var blocking = sync.OnceValue(func() bool {
	var mask unix.Sigset_t
	return unix.PthreadSigmask(unix.SIG_SETMASK, nil, &mask) != nil || mask != unix.Sigset_t{}
})

// openPipe makes a pipe to a child, or from one. What package os makes of one would be in the poller at
// both ends, and be taken out of it at one again.
func openPipe(toChild bool) (ours *os.File, theirs int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, 0, err
	}
	our, theirs, name := p[0], p[1], "from child"
	if toChild {
		our, theirs, name = p[1], p[0], "to child"
	}
	unix.SetNonblock(our, true)
	return os.NewFile(uintptr(our), name), theirs, nil
}

// wait waits for a child that was started before Adopt was called, or where it is not. It first waits
// without reaping. The lock is then held for a moment only, and whoever holds it knows that the number
// of a child that is not reaped is that child's.
func (c *Child) wait() {
	for unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	family.mu.Lock()
	defer family.mu.Unlock()
	c.gone(c.wait4())
}

// adopted is set up once, by Adopt.
var adopted struct {
	sync.Mutex
	done    bool
	reaping atomic.Bool       // done, for those who hold other locks
	before  map[identity]bool // children that were here before us, as a shell's jobs are after its exec
	wake    chan struct{}
	strays  atomic.Uint64 // how many have ended
}

// Adopt makes this process the parent of its descendants' orphans (PR_SET_CHILD_SUBREAPER), so that
// they can be found, and reaps them when they end. From now on no child may be started but by Start:
// its status would be lost.
func Adopt() error {
	adopted.Lock()
	defer adopted.Unlock()
	if adopted.done {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("to take in orphans: %w", err)
	}
	adopted.before = map[identity]bool{}
	if _, err := waitAny(unix.WEXITED | unix.WNOWAIT | unix.WNOHANG); err == nil {
		family.mu.Lock()
		s := look()
		for _, p := range s.children[os.Getpid()] {
			if family.children[p.pid] == nil {
				adopted.before[p.identity] = true
			}
		}
		family.mu.Unlock()
	}
	adopted.wake = make(chan struct{}, 1)
	adopted.done = true
	adopted.reaping.Store(true)
	go reapStrays(adopted.wake)
	return nil
}

// wakeStrays is called when there is a child again.
func wakeStrays() {
	adopted.Lock()
	defer adopted.Unlock()
	if adopted.done {
		select {
		case adopted.wake <- struct{}{}:
		default:
		}
	}
}

// waitAny waits for whatever child of this process, and leaves it to be reaped.
func waitAny(options int) (pid int, err error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, options, nil)
		if err == unix.EINTR {
			continue
		}
		// si_pid is the first field after the three that x/sys names, aligned as a pointer is.
		const size = unsafe.Sizeof(uintptr(0))
		const offset = (3*4 + size - 1) / size * size
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset))), err
	}
}

// reapStrays reaps all that end: the children that Start has started, whose status it notes, so that
// none of them needs a thread that waits; and strays. To wait for any child and reap it at once, as
// wait4(-1) does, would take away the status of one that Start is about to enter.
func reapStrays(wake <-chan struct{}) {
	for {
		pid, err := waitAny(unix.WEXITED | unix.WNOWAIT)
		if err != nil { // ECHILD: and so no descendant either, until the next Start
			<-wake
			continue
		}
		if !reapKnown(pid) {
			family.forking.Lock()
			if !reapKnown(pid) {
				adopted.strays.Add(1) // before it is gone, for calm
				unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG, nil)
			}
			family.forking.Unlock()
		}
	}
}

// reapKnown reaps a child that Start has started, if pid is one.
func reapKnown(pid int) bool {
	family.mu.Lock()
	c := family.children[pid]
	if c != nil && !c.waited {
		c.gone(c.wait4())
		family.mu.Unlock()
		return true
	}
	family.mu.Unlock()
	if c != nil {
		<-c.done
	}
	return c != nil
}

// reaperRuns tells whether reapStrays does.
func reaperRuns() bool { return adopted.reaping.Load() }

// An identity is a process: a pid may be given away again, the start time tells.
type identity struct {
	pid   int
	start uint64
}

type process struct {
	identity
	parent, group, session int
	zombie                 bool
	name                   string
}

// A snapshot is the table of processes, as far as it did not change while it was read.
type snapshot struct {
	all      map[int]process
	children map[int][]process
}

func look() snapshot {
	s := snapshot{map[int]process{}, map[int][]process{}}
	dir, err := os.Open("/proc")
	if err != nil {
		return s
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := readProcess(pid); ok {
				s.all[pid] = p
				s.children[p.parent] = append(s.children[p.parent], p)
			}
		}
	}
	return s
}

// readProcess reads /proc/PID/stat, see proc_pid_stat(5).
func readProcess(pid int) (process, bool) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, false
	}
	defer unix.Close(fd)
	var b [1024]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return process{}, false
	}
	return parseStat(pid, b[:n])
}

func parseStat(pid int, b []byte) (process, bool) {
	// The name may hold anything, parentheses and spaces too.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return process{}, false
	}
	fields := bytes.Fields(b[end+1:]) // the first of these is the third of all
	if len(fields) < 20 {
		return process{}, false
	}
	p := process{identity: identity{pid: pid}, zombie: fields[0][0] == 'Z' || fields[0][0] == 'X', name: string(b[open+1 : end])}
	p.parent, _ = strconv.Atoi(string(fields[1]))
	p.group, _ = strconv.Atoi(string(fields[2]))
	p.session, _ = strconv.Atoi(string(fields[3]))
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	p.start = start
	return p, err == nil
}

// recent shares a look among all who ask for one while it goes on or is waited for: forty children
// that are stopped together do not read the table forty times.
var recent struct {
	sync.Mutex
	began time.Time
	snapshot
}

// lookNow is a look that began after the call. Nobody changes what it returns.
func lookNow() snapshot {
	asked := time.Now()
	recent.Lock()
	defer recent.Unlock()
	if !recent.began.After(asked) {
		recent.began = time.Now()
		recent.snapshot = look()
	}
	return recent.snapshot
}

// calm is called before a look, and what it returns after it. True says that the look has missed
// no orphan of ours. One that it has missed was forked meanwhile, by one that has ended meanwhile, or
// that one would have been seen; and who ends is a stray that was reaped or can be.
func calm() func() bool {
	before := adopted.strays.Load()
	return func() bool {
		pid, err := waitAny(unix.WEXITED | unix.WNOWAIT | unix.WNOHANG)
		return (pid == 0 || err != nil) && adopted.strays.Load() == before
	}
}

// noOrphans tells whether this process has adopted none that lives: then a child that has ended has
// left nothing behind. It costs the reading of one small file where a look reads the whole table.
//
// The kernel gives an orphan to the first thread of a process, which in Go never ends, and with Adopt
// there is nobody between an orphan of ours and us; so this thread's children are all the orphans, and
// those that it has forked itself. It is not asked where the system lacks the file (proc_pid_task(5),
// CONFIG_PROC_CHILDREN).
func noOrphans() bool {
	adopted.Lock()
	done := adopted.done
	adopted.Unlock()
	if !done {
		return false
	}
	if onlyChildren() {
		return true
	}
	// A fork that is under way has its child in the list before it is in the family.
	family.forking.Lock()
	defer family.forking.Unlock()
	return onlyChildren()
}

// onlyChildren tells whether all in the kernel's list are of the family. That list is whole only if
// nobody in it is reaped meanwhile; family.mu is held wherever that is done.
func onlyChildren() bool {
	family.mu.Lock()
	defer family.mu.Unlock()
	self := strconv.Itoa(os.Getpid())
	b, err := os.ReadFile("/proc/" + self + "/task/" + self + "/children")
	if err != nil {
		return false
	}
	for _, f := range bytes.Fields(b) {
		if pid, err := strconv.Atoi(string(f)); err != nil || family.children[pid] == nil {
			return false
		}
	}
	return true
}

// below adds what descends from p to found, but not what skip says nor what descends from that.
func (s snapshot) below(p process, found map[int]process, skip func(process) bool) {
	for _, child := range s.children[p.pid] {
		if _, seen := found[child.pid]; !seen && !skip(child) {
			found[child.pid] = child
			s.below(child, found, skip)
		}
	}
}

// A lineage is what is known of the descendants of a child.
type lineage struct {
	c                *Child
	seen             map[identity]bool
	groups, sessions map[int]bool
}

// members finds those descendants of the child that live, but for the child itself.
func (l *lineage) members(s snapshot) map[int]process {
	self := os.Getpid()
	session, _ := unix.Getsid(0)
	family.mu.Lock()
	direct := map[int]bool{} // the other children
	for pid := range family.children {
		direct[pid] = true
	}
	reaped := l.c.reaped
	family.mu.Unlock()
	leader := l.c.pid
	if reaped && direct[leader] {
		return nil // its number is given away, and so nothing is left of its group
	}
	delete(direct, leader)
	skip := func(p process) bool { return p.parent == self && direct[p.pid] }

	found := map[int]process{}
	if !reaped {
		s.below(process{identity: identity{pid: leader}}, found, skip)
	}
	for _, p := range s.all {
		switch {
		case p.pid == self || p.pid == leader || p.parent == self && direct[p.pid]:
			continue
		case p.group == leader && (p.session == session || p.session == leader), p.session == leader:
			// Not only those that descend from us: without Adopt an orphan is another's.
		case p.parent != self:
			continue
		case l.seen[p.identity], l.groups[p.group], l.sessions[p.session]:
		case l.c.mark != "" && !adoptedBefore(p) && hasMark(p.pid, l.c.mark):
		default:
			continue
		}
		found[p.pid] = p
		s.below(p, found, skip)
	}
	if p, ok := s.all[leader]; ok && !reaped {
		l.learn(p, session, direct)
	}
	for pid, p := range found {
		l.learn(p, session, direct)
		if p.zombie {
			delete(found, pid)
		}
	}
	return found
}

// learn keeps p in mind, for the time when its parents are gone.
func (l *lineage) learn(p process, session int, direct map[int]bool) {
	l.seen[p.identity] = true
	if p.session != session {
		l.sessions[p.session] = true
	}
	if p.group != unix.Getpgrp() && !direct[p.group] {
		l.groups[p.group] = true
	}
}

func adoptedBefore(p process) bool {
	adopted.Lock()
	defer adopted.Unlock()
	return adopted.before[p.identity]
}

// hasMark looks at the environment that the process was started with.
func hasMark(pid int, mark string) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && bytes.Contains(append([]byte{0}, append(b, 0)...), []byte("\x00"+mark+"\x00"))
}

// send signals p, and nobody who has its number after it.
func (p process) send(sigs ...syscall.Signal) {
	h, err := os.FindProcess(p.pid) // holds a pidfd
	if err != nil {
		return
	}
	defer h.Release()
	if now, ok := readProcess(p.pid); !ok || now.start != p.start {
		return
	}
	for _, sig := range sigs {
		h.Signal(sig)
	}
}

// killAll sends KILL to all of them. Where they make up a whole process group the group is sent it
// too: it then reaches those also that have been forked since, and a process that forks and ends in
// turns does not run away from us.
func killAll(s snapshot, all map[int]process) {
	groups := map[int]bool{}
	for _, p := range all {
		groups[p.group] = true
	}
	delete(groups, unix.Getpgrp())
	for _, p := range s.all {
		if _, ok := all[p.pid]; !ok && !p.zombie {
			delete(groups, p.group)
		}
	}
	for g := range groups {
		if g > 1 {
			syscall.Kill(-g, syscall.SIGKILL)
		}
	}
	for _, p := range all {
		p.send(syscall.SIGKILL)
	}
}

// chase ends an orphan that is another process, in another session, at each look: it asks the kernel
// for the number that was given last, which takes no longer than a fork, and not for all.
func chase() {
	self := os.Getpid()
	for range 500 {
		b, err := os.ReadFile("/proc/loadavg")
		fields := bytes.Fields(b)
		if err != nil || len(fields) < 5 {
			return
		}
		last, _ := strconv.Atoi(string(fields[4]))
		for pid := last; pid > last-2; pid-- {
			p, ok := readProcess(pid)
			if !ok || p.zombie || p.parent != self || adoptedBefore(p) {
				continue
			}
			p.send(syscall.SIGKILL)
		}
	}
}

func leftOver(all map[int]process) error {
	var who []string
	for _, p := range all {
		who = append(who, fmt.Sprintf("%d (%q)", p.pid, p.name))
	}
	if len(who) == 0 {
		return errors.New("there are always new processes")
	}
	slices.Sort(who)
	return fmt.Errorf("still there after KILL: %s", strings.Join(who[:min(len(who), 8)], ", "))
}

func (c *Child) finish(grace time.Duration, hurry <-chan struct{}) error {
	l := &lineage{c, map[identity]bool{}, map[int]bool{}, map[int]bool{}}
	ended := func() bool {
		select {
		case <-c.done:
			return true
		default:
			return false
		}
	}
	var s snapshot
	var members map[int]process
	ask := func() {
		// One TERM each: to many a program a second one means something else.
		inGroup := c.Signal(syscall.SIGTERM) == nil
		c.Signal(syscall.SIGCONT)
		for _, p := range members {
			if !inGroup || p.group != c.pid {
				p.send(syscall.SIGTERM, syscall.SIGCONT)
			}
		}
	}
	kill := func() {
		c.Signal(syscall.SIGKILL)
		killAll(s, members)
	}
	gone := func() bool {
		if ended() && noOrphans() {
			return true
		}
		// Where others' strays end all the time it is never calm, and there are looks enough.
		for range 10 {
			end := ended() // before the look: what it leaves behind is in there
			missedNone := calm()
			s = lookNow()
			if members = l.members(s); !end || len(members) > 0 {
				return false
			}
			if len(l.seen) < 2 || missedNone() { // it never had a descendant, or none was missed
				break
			}
		}
		return true
	}
	return finish(ask, kill, gone, func() error { return leftOver(members) }, c.done, grace, hurry)
}

// StopAll ends every descendant of this process, children or not: TERM and CONT, after grace or when
// hurry is closed KILL, until none is left. It does not touch the children that were here before
// Adopt, nor what descends from these. Nothing may be started meanwhile.
//
// In a process that has called Adopt, none is left means that there is none: what has left its
// group, its session and its parents is found too. Without Adopt, orphans are another's.
func StopAll(grace time.Duration, hurry <-chan struct{}) error {
	family.mu.Lock()
	for _, c := range family.children {
		if c.Stdin != nil && !c.session {
			c.Stdin.Close()
		}
	}
	family.mu.Unlock()

	var s snapshot
	var found map[int]process
	gone := func() bool {
		if _, err := waitAny(unix.WEXITED | unix.WNOWAIT | unix.WNOHANG); err == unix.ECHILD {
			s, found = snapshot{}, nil
			return true // no child, and so no descendant
		}
		missedNone := calm()
		s = lookNow()
		found = map[int]process{}
		s.below(process{identity: identity{pid: os.Getpid()}}, found, adoptedBefore)
		adopted.Lock()
		defer adopted.Unlock()
		return len(found) == 0 && (len(adopted.before) > 0 || !adopted.done) && missedNone()
	}
	ask := func() {
		for _, p := range found {
			p.send(syscall.SIGTERM, syscall.SIGCONT)
		}
	}
	rounds := 0
	kill := func() {
		killAll(s, found)
		if rounds++; rounds > 10 {
			chase()
		}
	}
	return finish(ask, kill, gone, func() error { return leftOver(found) }, nil, grace, hurry)
}

// ignored tells whether this process ignores the signal.
func ignored(sig syscall.Signal) bool {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return signal.Ignored(sig)
	}
	_, rest, _ := bytes.Cut(b, []byte("\nSigIgn:\t"))
	mask, err := strconv.ParseUint(string(rest[:min(16, len(rest))]), 16, 64)
	return err == nil && mask&(1<<(sig-1)) != 0
}
