package fleet

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// MasterOptions say what a master runs, and where it goes to.
type MasterOptions struct {
	Addr          sock.Addr
	Dial          sock.DialOptions
	Key           secret.Key
	Plain         bool // the reference's wire
	Dir           string
	Only          []string // patterns of names (filepath.Match); empty: all
	Watch         bool     // what comes into Dir joins, what goes is stopped
	Host          string   // what the pool calls this host
	Retry         time.Duration
	ResumeTimeout time.Duration // how long a broken link may be away
	Restart       Restart
	Pty           bool
	Stderr        Stderr
	Grace         time.Duration // between TERM and KILL
	Linger        time.Duration // for what has been printed, when asked to end
	Capacity      int           // bytes that wait for the pool, of each daemon
	MaxMessage    int

	Line func(name string, line []byte) error     // gets the lines of stderr; an error ends it all
	Note func(format string, args ...any)         // for the curious; nil = there are none
	Log  func(format string, args ...any)         // for everybody
	Look func(running, ended int, messages int64) // how it goes, some times a second; nil = nobody looks

	JSON   bool
	Joblog string
	Out    io.Writer // for the report; nil = no report
}

// Restart says when a daemon that has ended is started again.
type Restart int

const (
	RestartNever Restart = iota
	RestartOnFailure
	RestartAlways
)

// Stderr says where the daemons' standard error goes.
type Stderr int

const (
	StderrPass Stderr = iota // to Line
	StderrForward
	StderrDiscard
)

// ErrUnanswered says that the other side closed the connection and did not answer a clear line.
var ErrUnanswered = errors.New("the connection was closed without an answer")

// A HereError is about what is on this side: the directory, or the joblog.
type HereError struct{ error }

func (e *HereError) Unwrap() error { return e.error }

var (
	// ErrFailed says that not all daemons have ended with 0.
	ErrFailed = errors.New("not all daemons have ended with 0")

	errStopped = errors.New("asked to end")
	errPool    = errors.New("the pool is ending")
)

// Master runs the daemons until all have ended and the pool has all that they printed, or until stop
// is asked. Then it has ended them, and given their output Linger to be delivered.
func Master(stop *life.Stop, o MasterOptions) (err error) {
	life.CatchPipe() // daemons are ended, though nobody reads what they say
	if err := life.Adopt(); err != nil {
		o.Log("%v; what leaves its process group may be left behind", err)
	}
	m := &master{MasterOptions: o, report: report{JSON: o.JSON, Out: o.Out}, daemons: map[string]*daemon{}, over: map[string]os.FileInfo{}, skipped: map[string]string{}, left: make(chan struct{}, 1), dials: make(chan struct{}, maxDials)}
	boundMemory()
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	defer m.cancel(nil)
	out := newOutlet(m.ctx, o.Grace)
	defer func() { err = out.heard(err) }()
	m.Note, m.Log = out.oneLine(o.Note), out.oneLine(o.Log)
	m.Line = func(name string, line []byte) error { return out.do(func() error { return o.Line(name, line) }) }
	if o.Look != nil {
		m.Look = func(running, ended int, messages int64) {
			out.do(func() error { o.Look(running, ended, messages); return nil })
		}
	}
	unhook := context.AfterFunc(stop.Context(), func() { m.cancel(errStopped) })
	defer unhook()
	m.hurry = stop.Hurry()
	files, err := m.list()
	if err == nil && len(files) == 0 && !m.Watch {
		err = fmt.Errorf("%s: no file in it can be executed", m.Dir)
		if len(m.Only) > 0 {
			err = fmt.Errorf("%s: no file in it that --only lets in can be executed", m.Dir)
		}
	}
	if err == nil {
		if err = m.report.openJoblog(o.Joblog); err != nil {
			err = &HereError{err}
		}
	}
	if err == nil {
		err = m.connect()
	}
	if err != nil {
		return m.because(err)
	}
	defer m.pool.close()
	if err = m.report.beginJoblog(); err != nil {
		m.pool.end() // with nothing: the pool has lost nobody
		return &HereError{err}
	}

	look := m.look()
	if err = m.add(files); err == nil && m.Watch {
		err = m.watch()
	}
	if err != nil || m.Watch {
		m.cancel(err)
	}
	if err == nil || m.ctx.Err() != nil { // also of those who were stopped, if the pool still hears us
		if e := m.pool.end(); err == nil && e != nil {
			err = e
			m.cancel(err)
		}
	}
	m.all.Wait()
	if m.ctx.Err() == nil {
		m.pool.finish()
	}
	if e := life.StopAll(m.Grace, m.hurry); e != nil {
		m.Log("%v", e)
	}
	look()
	if e := out.do(m.report.tell); err == nil {
		err = e
	}
	if cause := context.Cause(m.ctx); cause != nil {
		err = cause
	}
	if err == nil && m.report.sum.Failed > 0 {
		return ErrFailed
	}
	return m.because(err)
}

type master struct {
	MasterOptions
	ctx    context.Context // ends when the daemons are to be stopped; its cause says why
	cancel context.CancelCauseFunc
	hurry  <-chan struct{}
	report report
	pool   poolSide
	all    sync.WaitGroup
	dials  chan struct{} // bounds how many data links are being made at a time

	seq      int               // of the last daemon
	skipped  map[string]string // why, by name: told once
	refused  bool              // some daemon was, by the pool, and it is to be asked again
	mu       sync.Mutex
	daemons  map[string]*daemon     // by the name of their file
	over     map[string]os.FileInfo // files whose daemon has ended
	left     chan struct{}          // one has
	running  atomic.Int64
	ended    atomic.Int64
	messages atomic.Int64
}

// because is what an error is when the master was asked to end: nothing that is to be told.
func (m *master) because(err error) error {
	if errors.Is(err, errStopped) || context.Cause(m.ctx) == errStopped {
		return nil
	}
	return err
}

// list returns the files in Dir that are daemons, sorted; none of them has been begun.
func (m *master) list() ([]*daemon, error) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return nil, &HereError{fmt.Errorf("%s: %w", m.Dir, sock.Reason(err))}
	}
	var daemons []*daemon
	for _, e := range entries {
		fi, err := os.Stat(filepath.Join(m.Dir, e.Name())) // follows a symbolic link
		if why := m.skip(e.Name(), fi, err); why != "" {
			if m.skipped[e.Name()] != why { // it is looked at again with --watch
				m.Note("%s: skipped: %s", e.Name(), why)
				m.skipped[e.Name()] = why
			}
			continue
		}
		daemons = append(daemons, &daemon{m: m, file: e.Name(), info: fi})
	}
	return daemons, nil
}

// skip says why a file is no daemon.
func (m *master) skip(name string, fi os.FileInfo, err error) string {
	switch {
	case strings.HasPrefix(name, "."):
		return "it is hidden"
	case strings.HasSuffix(name, "~"):
		return "it is an editor's copy"
	case err != nil:
		return sock.Reason(err).Error()
	case fi.IsDir():
		return "it is a directory"
	case !fi.Mode().IsRegular():
		return "it is not a file"
	case fi.Mode().Perm()&0o111 == 0:
		return "it is not executable"
	}
	if len(m.Only) == 0 {
		return ""
	}
	for _, pattern := range m.Only {
		if ok, _ := filepath.Match(pattern, name); ok {
			return ""
		}
	}
	return "--only leaves it out"
}

// maxDials is how many data links are made at a time. A pool takes hardly more from one address at once.
const maxDials = 8

// add asks for ports for files, in their order, and starts each as soon as it has one. It asks for no
// more than twice what can be connected to at once, so that neither side waits for the other: a port
// that waits longer than 10 s is taken back, and a link takes some round trips, of which each may be a
// second.
func (m *master) add(daemons []*daemon) error {
	if len(daemons) == 0 {
		return nil
	}
	for _, d := range daemons {
		m.seq++
		d.seq = m.seq
	}
	var before []*daemon
	for some := range slices.Chunk(daemons, maxDials) {
		if err := m.pool.request(some, m.granted); err != nil {
			return err
		}
		if err := m.allTried(before); err != nil {
			return err
		}
		before = some
	}
	return m.allTried(before)
}

// allTried waits until each of the daemons has been connected, or could not be.
func (m *master) allTried(daemons []*daemon) error {
	for _, d := range daemons {
		select {
		case <-d.tried:
		case <-m.ctx.Done():
			return context.Cause(m.ctx)
		}
	}
	return nil
}

// granted starts a daemon that has a port; why is the pool's no.
func (m *master) granted(d *daemon, why error) {
	d.begin()
	m.mu.Lock()
	defer m.mu.Unlock()
	if why != nil {
		d.triedOnce()
		if m.Watch { // it is asked again; there may be room then
			m.refused = true
			if m.skipped[d.file] != why.Error() {
				m.skipped[d.file] = why.Error()
				m.Log("%s: %v", d.file, why)
			}
			return
		}
		m.Log("%s: %v", d.file, why)
		d.outcome.Failure, d.outcome.Code = why.Error(), 1
		m.addRow(d, 0)
		m.over[d.file] = d.info
		return
	}
	if d.name != d.file {
		m.Note("%s: the pool calls it %s", d.file, d.name)
	}
	m.daemons[d.file] = d
	m.all.Go(d.run)
}

// boundMemory has the collector run seldom, and more often as memory comes near to 64 MiB, of which the
// program itself is some. The bound itself is kept by counting: there has to be room left below this
// one, or the collector does nothing but run.
func boundMemory() {
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(53 << 20)
}

// addRow puts a daemon into the report.
func (m *master) addRow(d *daemon, left int) {
	if err := m.report.add(d.row(left)); err != nil {
		m.Log("%v", err)
	}
}

// look tells how it goes, now and then, until what it returns is called.
func (m *master) look() (stop func()) {
	if m.Look == nil {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				m.Look(int(m.running.Load()), int(m.ended.Load()), m.messages.Load())
			}
		}
	}()
	return func() { close(done); <-gone }
}

// places are where the pool can be found: at its own port, and at those of the daemons.
func (m *master) places() []sock.Addr {
	places := []sock.Addr{m.Addr}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.daemons {
		if len(places) < 4 && d.where != m.Addr {
			places = append(places, d.where)
		}
	}
	return places
}

// A poolSide is how a master speaks with its pool, over either wire.
type poolSide interface {
	// request asks for ports, and fills in what the daemons are to know. answered is called for each
	// of them, in their order; with the pool's reason where that refuses one. After an error there
	// is no pool any more, or the master is to end.
	request(daemons []*daemon, answered func(*daemon, error)) error
	// dial connects to where a daemon's output goes.
	dial(ctx context.Context, d *daemon) (net.Conn, error)
	// done tells how a daemon ended, stderr what it had to say.
	done(d *daemon)
	stderr(d *daemon, line []byte)
	// end says that there are no more daemons, finish waits until the pool knows how they ended.
	end() error
	finish()
	close()
}

func (m *master) connect() error {
	if m.Plain {
		m.pool = &plainPool{m: m}
		return nil
	}
	s := &sessionPool{m: m, before: tls.NewLRUClientSessionCache(1)}
	m.pool = s
	return s.connect(m.Retry)
}

// again dials until it succeeds. A pool that is not there is tried again for as long as retry says;
// anything else is an error at once.
func (m *master) again(ctx context.Context, retry time.Duration, dial func(context.Context) error) error {
	began := time.Now()
	pause := pause(10 * time.Millisecond) // the two are often started together
	for {
		err := dial(ctx)
		if err == nil || retry == 0 || !(sock.Refused(err) || sock.Unreachable(err) || sock.TimedOut(err) && !sock.Unresolved(err) || gone(err)) {
			return err
		}
		if time.Since(began) >= retry {
			return &sock.GaveUp{Err: err, After: retry}
		}
		if pause.wait(ctx) != nil {
			return context.Cause(ctx)
		}
	}
}

// A pause is how long to wait before the next try: doubling to 1 s, with jitter. The zero one begins
// with 50 ms.
type pause time.Duration

func (p *pause) wait(ctx context.Context) error {
	d := cmp.Or(time.Duration(*p), 50*time.Millisecond)
	*p = pause(min(2*d, time.Second))
	select {
	case <-time.After(d/2 + rand.N(d/2)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
