// Package bind is the engine of bind-input and bind-output: a daemon that holds one buffer and
// moves messages between it and the network. The two differ only in which end is the network.
package bind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/buffer"
)

// Options are what an input and an output have in common.
type Options struct {
	Name       string
	Queue      buffer.QueueOptions
	Linger     time.Duration // how long the end may take while nothing moves
	Foreground bool
	PrintPort  bool
	Verbose    int
	FIFO       bool       // readers of an input, and writers to an output, can have a FIFO
	Keep       []int      // descriptors that the endpoint inherits
	Key        secret.Key // with it there are links only, which prove it
}

// Streams are the process's own, and how it speaks to people.
type Streams struct {
	Stdout, Stderr io.Writer
	Tell           func(format string, args ...any)
}

// An endpoint is where a buffer meets the network.
type endpoint interface {
	kind() buffer.Kind
	// open gets ready: listening, or connected. Nothing is moved yet.
	open(ctx context.Context, d *daemon) error
	// run moves messages until ctx ends, or until nothing more can come. It then stops taking,
	// and delivers what can be delivered until abandon ends. Everything it opened is closed.
	run(ctx, abandon context.Context, d *daemon) error
	describe(s *buffer.Stat)
	close()
}

// ErrLeft says that the end of a buffer left messages behind.
type ErrLeft struct {
	Name string
	N    int
	Err  error // why it ended; nil when it was asked to
}

func (e *ErrLeft) Error() string {
	left := fmt.Sprintf("%d messages were not delivered", e.N)
	if e.N == 1 {
		left = "1 message was not delivered"
	}
	if e.Err != nil {
		return fmt.Sprintf("%v; %s", e.Err, left)
	}
	return e.Name + ": " + left
}

func (e *ErrLeft) Unwrap() error { return e.Err }

// ErrStatus is the status of a background process that ended before it was ready; it has said why.
type ErrStatus int

func (e ErrStatus) Error() string { return fmt.Sprintf("the daemon ended with status %d", int(e)) }

// A daemon is one bind at work.
type daemon struct {
	Options
	queue    *buffer.Queue
	stop     *life.Stop
	stale    bool // a daemon that was killed had the name
	log      func(format string, args ...any)
	settle   func()       // has the queue know what readers have taken out of FIFOs
	progress atomic.Int64 // grows whenever bytes move; what linger looks at
	passed   func() int64 // the same, for a service
}

// note logs what only the curious want to know.
func (d *daemon) note(format string, args ...any) {
	if d.Verbose > 0 {
		d.log(format, args...)
	}
}

// serve holds the buffer and runs its endpoint until it is asked to end. In the background form
// it returns as soon as the daemon, which is another process, is ready.
func serve(ctx context.Context, o Options, e endpoint, io Streams) error {
	started := life.StartedByBackground()
	if !o.Foreground && started == nil {
		return background(o, io)
	}

	d := &daemon{Options: o, stop: life.CatchSignals(ctx, started != nil), log: io.Tell}
	if started != nil {
		started.WhenAlone(func() { d.stop.Ask(true) })
	}
	lost := d.newQueue()

	entry, err := hold(d.stop.Context(), o.Name)
	if err != nil {
		return err
	}
	defer entry.Remove()
	d.stale = entry.Stale()
	if err := e.open(d.stop.Context(), d); err != nil {
		return err
	}
	defer e.close()
	host := &buffer.Host{Entry: entry, Queue: d.queue, Kind: e.kind(), Describe: func(s *buffer.Stat) {
		e.describe(s)
		if d.stop.Context().Err() != nil {
			s.State = "closing"
		}
	}, Close: d.stop.Ask, FIFO: o.FIFO}
	d.settle = host.Settle
	if err := host.Listen(); err != nil {
		return err
	}
	running := d.stop.Context() // what e.run goes by
	var in *intake
	if o.FIFO && e.kind() == buffer.Output {
		if in, err = d.newIntake(entry); err != nil {
			return err
		}
		defer in.close()
		running = in.after
	}
	served := make(chan struct{})
	go func() {
		host.Serve(context.WithoutCancel(ctx))
		close(served)
	}()

	if err := ready(d, started, entry, host, io); err != nil {
		host.Finish(0)
		return err
	}
	asked := d.stop.Context()
	go d.logLosses(asked, lost)
	abandon, cancel := d.abandon()
	defer cancel()
	stopping := sync.OnceFunc(func() {
		if started == nil { // one in the background is not the service that the variable is about
			life.Notify("STOPPING=1")
		}
	})
	context.AfterFunc(asked, stopping)
	if in != nil {
		in.start(asked, abandon)
	}
	err = e.run(running, abandon, d)
	stopping()
	if in != nil {
		in.close()
	}
	d.queue.Close()
	d.queue.WaitLeases(abandon)
	host.EndFIFOs()
	left := d.queue.Left()
	if in != nil {
		left += in.lost
	}

	// The name and the port are free before whoever asked for the end is told so.
	e.close()
	entry.Remove()
	host.Finish(left)
	<-served
	if left > 0 {
		err = &ErrLeft{o.Name, left, err}
	}
	if started != nil && err != nil {
		toSyslog(o.Name, err)
		err = nil
	}
	return err
}

// background starts the daemon, and returns when it is ready.
func background(o Options, io Streams) error {
	if o.Key.Given() {
		if err := life.ConcealFlag("key", o.Key.Text()); err != nil {
			return err
		}
	}
	status, err := life.Background(o.Keep, io.Stdout, io.Stderr)
	if status != 0 && err == nil {
		err = ErrStatus(status)
	}
	return err
}

// ready tells whoever waits for it that messages can come.
func ready(d *daemon, started *life.Daemon, entry *buffer.Entry, host *buffer.Host, io Streams) error {
	s := host.Stat()
	line := fmt.Sprint(s.PID)
	if d.PrintPort {
		line = fmt.Sprint(s.PID, " ", s.Port)
	}
	if started != nil {
		log, err := entry.Log()
		if err != nil {
			return err
		}
		d.log = func(format string, args ...any) {
			fmt.Fprintf(log, "%s %s\n", time.Now().UTC().Format(time.RFC3339), printable(fmt.Sprintf(format, args...)))
		}
		return started.Ready(line, log.File())
	}
	if d.PrintPort {
		if _, err := fmt.Fprintln(io.Stdout, line); err != nil {
			return err
		}
	}
	if err := life.Notify("READY=1\nSTATUS=" + s.Endpoint); err != nil {
		io.Tell("%v", err) // whom it concerns waits in vain, the buffer works
	}
	return nil
}

// abandon ends when the linger time has gone by without a byte moving, counted from the request to
// end, or when there was a second request.
func (d *daemon) abandon() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-d.stop.Hurry():
			cancel()
			return
		case <-d.stop.Context().Done():
		}
		const look = 50 * time.Millisecond
		tick := time.NewTicker(look)
		defer tick.Stop()
		moved, last := d.moved(), time.Now()
		for time.Since(last) < d.Linger {
			select {
			case <-ctx.Done():
				return
			case <-d.stop.Hurry():
				cancel()
				return
			case <-tick.C:
			}
			if m := d.moved(); m != moved {
				moved, last = m, time.Now()
			}
		}
		cancel()
	}()
	return ctx, cancel
}

func (d *daemon) moved() int64 {
	if d.passed != nil {
		return d.passed()
	}
	d.settle()
	return d.progress.Load() + d.queue.Counts().OutBytes
}

// newQueue makes the queue, and returns what logLosses is woken by.
func (d *daemon) newQueue() (lost <-chan struct{}) {
	wake := make(chan struct{}, 1)
	d.Queue.Loss = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	d.queue = buffer.NewQueue(d.Queue)
	boundMemory(d.queue.Capacity())
	return wake
}

// logLosses says, at most once a second, what had to be dropped or cut.
func (d *daemon) logLosses(ctx context.Context, lost <-chan struct{}) {
	var dropped, cut int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-lost:
		}
		c := d.queue.Counts()
		if n := c.Dropped - dropped; n > 0 {
			d.log("dropped %d messages: the buffer is full (%d in all)", n, c.Dropped)
		}
		if n := c.Cut - cut; n > 0 {
			d.log("cut %d pieces off messages that were too long (%d in all)", n, c.Cut)
		}
		dropped, cut = c.Dropped, c.Cut
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// boundMemory makes the collector work harder before memory grows past what the queue needs. The
// bound itself is kept by counting; see buffer.Queue.
func boundMemory(capacity int) {
	const rest = 24 << 20 // peers, clients, the program itself
	debug.SetMemoryLimit(int64(capacity) + rest)
}

// dying is how long a process that has been killed may take to end: the kernel gives back what it
// had one after the other, and only after kill(1) has returned.
const dying = time.Second

// hold takes the name. Where somebody has it the error says who; where nobody answers for it, as
// its daemon is not ready yet or is being killed, it is tried again for a moment.
func hold(ctx context.Context, name string) (*buffer.Entry, error) {
	for end := time.Now().Add(dying); ; {
		entry, err := buffer.Hold(name)
		if !errors.Is(err, buffer.ErrHeld) {
			return entry, err
		}
		s, ok := holder(name)
		if ok {
			return nil, fmt.Errorf("%w by pid %d (%s, %s)", err, s.PID, s.Kind, s.Endpoint)
		}
		if !patience(ctx, end) {
			return nil, err
		}
	}
}

func holder(name string) (buffer.Stat, bool) {
	c, err := buffer.Open(name)
	if err != nil {
		return buffer.Stat{}, false
	}
	defer c.Close()
	s, err := c.Stat()
	return s, err == nil
}

// listen calls bind, which makes a listening socket. Where a daemon was killed that had the name,
// an address that is in use may be free in a moment.
func (d *daemon) listen(ctx context.Context, bind func() error) error {
	end := time.Now().Add(dying)
	err := bind()
	for d.stale && errors.Is(err, syscall.EADDRINUSE) && patience(ctx, end) {
		err = bind()
	}
	return err
}

// patience waits a little, until end.
func patience(ctx context.Context, end time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(10 * time.Millisecond):
		return time.Now().Before(end)
	}
}

// toSyslog is for a daemon whose log goes away with it.
func toSyslog(name string, err error) {
	w, dialErr := syslog.New(syslog.LOG_WARNING|syslog.LOG_DAEMON, "sockbox")
	if dialErr != nil {
		return // no syslog here: there is nobody left to tell
	}
	defer w.Close()
	text := err.Error()
	if !strings.HasPrefix(text, name+": ") {
		text = name + ": " + text
	}
	w.Warning(printable(text))
}

// printable replaces control characters in what may quote a peer.
func printable(s string) string {
	b := []rune(s)
	for i, r := range b {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			b[i] = '?'
		}
	}
	return string(b)
}

// A backoff is how long to wait before the next try: from 50 ms, doubling to 1 s, with jitter so
// that those who lost the same peer do not come back at the same instant.
type backoff time.Duration

// wait waits, or returns early when ctx ends.
func (b *backoff) wait(ctx context.Context) error {
	d := max(time.Duration(*b), 50*time.Millisecond)
	*b = backoff(min(2*d, time.Second))
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// outOfDescriptors is the answer to an accept that failed: others will give some back.
func outOfDescriptors(ctx context.Context) {
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// descriptors returns how many peers there may be at most, so that local clients can be served too.
func descriptors(want int) int {
	const kept = 32 + 16 // for clients, and for our own
	limit, err := openFiles()
	if err != nil || limit-kept > want {
		return want
	}
	return max(1, limit-kept)
}

var errNothingMore = errors.New("nothing more can come")
