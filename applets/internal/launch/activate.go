package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/sock"
)

// A Mode is how a program and its peers come together.
type Mode int

const (
	Listen  Mode = iota // it is handed the listeners, as sd_listen_fds(3) says, and as Upstart did
	Upstart             // it is handed the listeners as Upstart did
	Inetd               // a connection is its stdin and stdout
	Worker              // it stays; lines go in, and lines that come out are answers
)

// An Endpoint is where a job listens.
type Endpoint struct {
	Addr sock.Addr
	IPv4 bool // where no host is named: every address of IPv4, and none of IPv6
}

// A Job is a program, and when it is started. The zero value of a limit is none.
type Job struct {
	Name string // what messages and $UPSTART_JOB call it
	Mode Mode
	At   []Endpoint
	Bind sock.BindOptions

	Program
	FDNames []string // Listen: what the program is told that its sockets are called
	// Listen, Upstart: a program for each connection, which is handed that and not the listener.
	Accept bool
	// Inetd: the listener itself is its stdin and stdout, and one program runs at a time. Datagrams
	// come this way always.
	Wait         bool
	StderrSocket bool // Inetd: stderr goes to the peer too

	Allow       sock.AccessList // whose connections are taken; the list is of no use where the program accepts
	MaxConns    int             // connections at a time; more of them wait to be accepted
	PerSource   int             // and from one address (of IPv6 a /64; of a unix socket a user); more are closed
	Rate        Rate            // starts in a time; then connections wait to be accepted
	Timeout     time.Duration   // how long a program may run, or a Worker take for an answer
	KillTimeout time.Duration   // from TERM to KILL
	Linger      time.Duration   // Worker: for the answers to what had come when it was asked to end

	Workers    int  // Worker: how many of the program
	Broadcast  bool // Worker: what it prints goes to every peer
	HangUp     bool // Worker: an answer is the end of the connection
	Pty        bool // Worker: it has a terminal in place of pipes
	MaxMessage int  // Worker: the longest line either way

	Log  func(format string, args ...any) // what people should know
	Note func(format string, args ...any) // what the curious want to know
}

// A Program is what is started.
type Program struct {
	Path           string   // looked up as a shell does
	Args           []string // its name first
	Env            []string // NAME=VALUE, besides our own
	Dir            string
	User           *life.User // whose it is; nil: ours
	Limits         []life.Limit
	Stdout, Stderr *os.File // where it has no socket for them; nil is /dev/null
}

// An active is a job that listens.
type active struct {
	*Job
	socks    []*sock.Bound
	base     []string // the environment that every start has
	program  string   // the path that was found
	admitted admission
	running  sync.WaitGroup
	starting chan struct{} // one for each connection whose program is not started yet
	failed   failures
}

// startingMost is how many connections may be held whose programs are yet to be started, for want of
// processors or of descriptors: enough of these have to be left for a start, or none would succeed.
const startingMost = 16

// open finds the program and listens. After an error nothing is open.
func (j *Job) open(ctx context.Context) (*active, error) {
	a := &active{Job: j, base: environment(j), starting: make(chan struct{}, startingMost)}
	path, err := j.find()
	if err != nil {
		return nil, err
	}
	a.program = path
	for _, e := range j.At {
		o := j.Bind
		o.IPv4 = e.IPv4
		b, err := sock.Bind(ctx, e.Addr, o)
		if err != nil {
			a.close()
			return nil, err
		}
		a.socks = append(a.socks, b)
		switch {
		case j.Mode == Worker && j.Broadcast && !b.Stream():
			err = fmt.Errorf("%s: datagrams come from nobody in particular, and there is nobody to broadcast to", b.Asked())
		case j.Accept && !b.Stream():
			err = fmt.Errorf("%s: datagrams are not accepted one by one", b.Asked())
		}
		if err != nil {
			a.close()
			return nil, err
		}
	}
	a.admitted.open(j)
	return a, nil
}

// find looks for the program before anybody comes for it.
func (p *Program) find() (string, error) {
	path, err := life.LookUp(p.Path)
	if err != nil || !strings.Contains(p.Path, "/") {
		return path, err
	}
	at := path
	if !filepath.IsAbs(at) {
		at = filepath.Join(p.Dir, at)
	}
	switch fi, err := os.Stat(at); {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("%s: %w", p.Path, life.ErrNotFound)
	case err == nil && (fi.IsDir() || fi.Mode()&0o111 == 0):
		return "", fmt.Errorf("%s: %w", p.Path, life.ErrCannotRun)
	}
	return path, nil // or whoever starts it knows better, as another user
}

func (a *active) close() {
	for _, s := range a.socks {
		s.Close()
	}
}

// serve starts programs until ctx ends; then it stops listening at once, and returns when all that it
// has started is gone.
func (a *active) serve(ctx context.Context, hurry <-chan struct{}) error {
	stop := context.AfterFunc(ctx, a.close)
	defer a.close()
	defer stop()
	if a.Mode == Worker {
		return a.work(ctx, hurry)
	}
	var each, one []*sock.Bound
	for _, s := range a.socks {
		if s.Stream() && (a.Accept || a.Mode == Inetd && !a.Wait) {
			each = append(each, s)
		} else {
			one = append(one, s)
		}
	}
	var all sync.WaitGroup
	for _, s := range each {
		all.Go(func() { a.acceptLoop(ctx, s, hurry) })
	}
	switch {
	case len(one) == 0:
	case a.Mode == Inetd: // each has a program of its own
		for _, s := range one {
			all.Go(func() { a.oneByOne(ctx, []*sock.Bound{s}, hurry) })
		}
	default:
		all.Go(func() { a.oneByOne(ctx, one, hurry) })
	}
	all.Wait()
	a.running.Wait()
	return nil
}

// Run serves jobs until stop is asked for. ready is called when all of them listen. It returns when
// every program is gone, with all that descends from it.
func Run(stop *life.Stop, jobs []*Job, ready func([]*sock.Bound) error) error {
	ctx := stop.Context()
	var open []*active
	var socks []*sock.Bound
	closeAll := func() {
		for _, a := range open {
			a.close()
		}
	}
	for _, j := range jobs {
		a, err := j.open(ctx)
		if err != nil {
			closeAll()
			return err
		}
		open = append(open, a)
		socks = append(socks, a.socks...)
	}
	if err := ready(socks); err != nil {
		closeAll()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, a := range open {
		all.Go(func() {
			if err := a.serve(ctx, stop.Hurry()); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
				cancel()
			}
		})
	}
	all.Wait()
	// What programs have left behind, in the background and in sessions of their own.
	grace := time.Duration(0)
	for _, j := range jobs {
		grace = max(grace, j.KillTimeout)
	}
	return errors.Join(append(errs, life.StopAll(grace, stop.Hurry()))...)
}

// A given is what a start has that the next one has not.
type given struct {
	std   [3]*os.File
	extra []*os.File
	env   []string
	pid   bool // it is to find its own pid in $LISTEN_PID
}

// start starts the program.
func (a *active) start(g given) (*life.Child, error) {
	cmd := life.Command{
		Path: a.program, Args: a.Args, Dir: a.Dir, Extra: g.extra, Pty: a.Pty, Limits: a.Limits,
		Mark:  a.Mode != Inetd, // a job that is taken away alone leaves nothing behind
		Env:   append(a.base[:len(a.base):len(a.base)], g.env...),
		Stdin: g.std[0], Stdout: g.std[1], Stderr: g.std[2],
	}
	if a.User != nil {
		cmd.Credential = a.User.Credential
	}
	if g.pid {
		cmd.PIDVariables = []string{"LISTEN_PID"}
	}
	return life.Start(cmd)
}

// retry starts the program though the system lacks something just now, as processes or descriptors:
// who waits for it goes on waiting. What can be told only by a look at the program is an error.
func (a *active) retry(ctx context.Context, g given) (*life.Child, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		c, err := a.start(g)
		if err == nil || errors.Is(err, life.ErrNotFound) || errors.Is(err, life.ErrCannotRun) {
			return c, err
		}
		a.Log("%s: %v: trying again", a.Name, err)
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}

// sleep tells whether it was not woken by the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// failures are how programs have ended by themselves that did not end well, by status.
type failures struct {
	mu    sync.Mutex
	kinds map[int]failure
}

type failure struct {
	told time.Time
	more int // since then
}

// failureQuiet is how long there is no more to be told of ends of one kind, which may come with every peer.
const failureQuiet = time.Minute

// count tells whether it is time to tell of such an end, and how many there were since the last time.
func (f *failures) count(status int, now time.Time) (more int, tell bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, known := f.kinds[status]
	if known && now.Sub(last.told) < failureQuiet {
		last.more++
		f.kinds[status] = last
		return 0, false
	}
	if f.kinds == nil {
		f.kinds = map[int]failure{}
	}
	f.kinds[status] = failure{told: now}
	return last.more, true
}

// ended tells how a program has ended by itself, if that was not well.
func (a *active) ended(c *life.Child) {
	end := c.Wait()
	if end.Status() == 0 {
		return
	}
	tell, more := a.Note, 0
	if end.Signal != syscall.SIGPIPE { // its peer has left
		var now bool
		if more, now = a.failed.count(end.Status(), time.Now()); now {
			tell = a.Log
		}
	}
	if more > 0 {
		tell("%s: process %d: %v, and %d more since the last that was told of", a.Name, c.PID(), end, more)
	} else {
		tell("%s: process %d: %v", a.Name, c.PID(), end)
	}
}

// watch waits for the end of a program: its own, that of its time, or that of ctx.
func (a *active) watch(ctx context.Context, c *life.Child, hurry <-chan struct{}) {
	var over <-chan time.Time
	if a.Timeout > 0 {
		t := time.NewTimer(a.Timeout)
		defer t.Stop()
		over = t.C
	}
	var err error
	select {
	case <-c.Done():
		a.ended(c)
		return
	case <-over:
		a.Log("%s: process %d has run for %v: ended", a.Name, c.PID(), a.Timeout)
		err = c.Stop(a.KillTimeout, hurry)
	case <-ctx.Done():
		err = c.Stop(a.KillTimeout, hurry)
	}
	if err != nil {
		a.Log("%s: %v", a.Name, err)
	}
}

// oneByOne hands the sockets themselves to one program at a time: when there is something at one of
// them and no program runs. It never takes anything from a socket.
func (a *active) oneByOne(ctx context.Context, socks []*sock.Bound, hurry <-chan struct{}) {
	type knock struct {
		*sock.Bound
		stall stalls
		again chan struct{}
	}
	knocks := make(chan *knock)
	for _, s := range socks {
		k := &knock{Bound: s, again: make(chan struct{}, 1)}
		go func() {
			for k.Wait() == nil {
				select {
				case knocks <- k:
				case <-ctx.Done():
					return
				}
				select {
				case <-k.again:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	for {
		var k *knock
		select {
		case k = <-knocks:
		case <-ctx.Done():
			return
		}
		if !k.Ready() { // the program that ran meanwhile has taken it
			k.again <- struct{}{}
			continue
		}
		if !a.admitted.rate.wait(ctx) {
			return
		}
		before := k.Queue(false)
		began := time.Now()
		g, files, err := a.handOver(k.Bound, socks)
		var c *life.Child
		if err == nil {
			c, err = a.retry(ctx, g)
		}
		for _, f := range files {
			f.Close()
		}
		if ctx.Err() != nil && c == nil {
			return
		}
		if err != nil {
			a.Log("%s: %v", a.Name, err)
		} else {
			a.Note("%s: %s: process %d", a.Name, k.Name(), c.PID())
			a.watch(ctx, c, hurry)
		}
		if ctx.Err() != nil {
			return
		}
		if k.stall.ran(began, before, k.Bound) {
			a.Log("%s: %s: started %d times in %v, and nobody took what waits there: a pause of %v",
				a.Name, k.Name(), stallStarts, stallTime, stallPause)
			time.AfterFunc(stallPause, func() { k.again <- struct{}{} })
			continue
		}
		k.again <- struct{}{}
	}
}

// handOver is what a program gets that accepts, or receives, itself.
func (a *active) handOver(trigger *sock.Bound, socks []*sock.Bound) (g given, files []*os.File, err error) {
	for _, s := range socks {
		f, err := s.File()
		if err != nil {
			return g, files, err
		}
		files = append(files, f)
	}
	g.std = [3]*os.File{nil, a.Stdout, a.Stderr}
	if a.Mode == Inetd {
		g.std[0], g.std[1] = files[0], files[0]
		if a.StderrSocket {
			g.std[2] = files[0]
		}
		g.env = []string{"PROTO=" + protocol(trigger)}
		return g, files, nil
	}
	g.extra = files
	g.env = upstartEnv(a.Name, trigger, len(files))
	if a.Mode == Listen {
		g.pid = true
		g.env = append(g.env, "LISTEN_FDS="+strconv.Itoa(len(files)))
		if len(a.FDNames) > 0 {
			g.env = append(g.env, "LISTEN_FDNAMES="+fdNames(a.FDNames, len(files)))
		}
	}
	return g, files, nil
}

// How often a program may be started for something that it does not take.
const (
	stallStarts = 20
	stallTime   = 2 * time.Second
	stallPause  = 2 * time.Second
)

// stalls tells a program that does not take what waits from one for which more comes than it takes.
type stalls struct {
	starts []time.Time // of those runs, one after the other, after which the queue was not shorter
	first  sock.Queue  // what waited after the first of them
}

// ran is told of a run, and returns true when it is time for a pause.
func (s *stalls) ran(began time.Time, before sock.Queue, b *sock.Bound) bool {
	if !b.Ready() || before.Shrank(b.Queue(false)) {
		s.starts = s.starts[:0]
		return false
	}
	s.starts = append(s.starts, began)
	if len(s.starts) == 1 {
		s.first = b.Queue(true)
	}
	if len(s.starts) < stallStarts {
		return false
	}
	s.starts = slices.Delete(s.starts, 0, len(s.starts)-stallStarts)
	if time.Since(s.starts[0]) > stallTime {
		return false
	}
	pause := !s.first.Shrank(b.Queue(true))
	s.starts = s.starts[:0]
	return pause
}

// peerAddr is what a peer is called in a message.
func peerAddr(a net.Addr) string { return sock.PeerName(a) }
