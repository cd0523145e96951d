package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
	"sockbox/buffer/link"
)

// A daemon is one program that a master runs, and the way of what it prints to the pool. The program
// writes to a pipe; what comes out of that is put into a queue, and from there sent: when the pool takes
// nothing, the queue is full, the pipe is, and the program waits.
type daemon struct {
	m    *master
	file string
	info os.FileInfo // of the file, to know another one of that name
	seq  int

	// What the pool has said.
	name    string
	where   sock.Addr
	ticket  secret.Ticket
	longest int // message that it takes, in bytes; 0 = any

	tried     chan struct{} // closed when there is a connection to where it goes, or one could not be made
	triedOnce func()

	ctx    context.Context // ends when this one is to be stopped
	stop   context.CancelCauseFunc
	sends  context.Context // ends when nothing more is to be delivered
	giveUp context.CancelCauseFunc
	began  time.Time
	queue  *buffer.Queue

	outcome outcome
}

// Why a daemon is stopped.
var errFileGone = errors.New("its file is gone")

// begin is called before anybody can stop it.
func (d *daemon) begin() {
	d.ctx, d.stop = context.WithCancelCause(d.m.ctx)
	d.sends, d.giveUp = context.WithCancelCause(context.Background())
	d.began = time.Now()
	d.tried = make(chan struct{})
	d.triedOnce = sync.OnceFunc(func() { close(d.tried) })
	most := d.m.MaxMessage
	if d.longest > 0 {
		most = min(most, d.longest)
	}
	d.queue = buffer.NewQueue(buffer.QueueOptions{Capacity: d.m.Capacity, MaxMessage: most})
}

// run runs the program until it is not started again, and returns when the pool has what it printed,
// or does not take it.
func (d *daemon) run() {
	d.m.running.Add(1)
	sent := make(chan error, 1)
	defer d.giveUp(nil)
	go func() {
		err := d.send(d.sends)
		if err != nil { // nobody takes what it prints
			d.stop(err)
			d.queue.Close()
		}
		sent <- err
	}()
	ended := make(chan struct{})
	go d.linger(ended)
	d.supervise()
	close(ended)
	d.queue.Close()
	d.outcome.Seconds = time.Since(d.began).Seconds()
	d.m.running.Add(-1)
	d.m.ended.Add(1)
	err := <-sent
	d.outcome.Lost = err != nil
	if err != nil && d.outcome.Failure == "" {
		d.outcome.Failure = sock.Reason(err).Error()
		if d.outcome.Code == 0 {
			d.outcome.Code = 1
		}
	}
	switch cause := context.Cause(d.ctx); {
	case cause == errFileGone:
		d.outcome.Stopped = "removed" // which is no failure
	case cause == errStopped && d.outcome.status() == "SIGTERM":
		d.outcome.Stopped = "stopped"
	}
	d.m.pool.done(d)
	d.m.addRow(d, d.queue.Left())
	defer d.stop(nil)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.daemons[d.file] == d {
		delete(d.m.daemons, d.file)
		d.m.over[d.file] = d.info
	}
	select {
	case d.m.left <- struct{}{}:
	default: // it is known already
	}
}

// linger gives the delivery up when it makes no progress any more, after a request to end. Without
// one it takes as long as it takes. While the program still runs, which may wait for the pool to take
// something, only what waits to be sent counts; having nothing to say is no lack of progress.
func (d *daemon) linger(ended <-chan struct{}) {
	select {
	case <-d.sends.Done():
		return
	case <-d.ctx.Done():
	}
	if context.Cause(d.ctx) == errPool {
		d.giveUp(errPool)
		return
	}
	const look = 50 * time.Millisecond
	last, moved := time.Now(), d.queue.Counts().Out
	tick := time.NewTicker(look)
	defer tick.Stop()
	for time.Since(last) < d.m.Linger {
		select {
		case <-d.sends.Done():
			return
		case <-d.m.hurry:
			d.giveUp(errStopped)
			return
		case <-tick.C:
		}
		c := d.queue.Counts()
		idle := c.Messages+c.Leased == 0
		select {
		case <-ended:
			idle = false
		default:
		}
		if c.Out != moved || idle {
			last, moved = time.Now(), c.Out
		}
	}
	d.giveUp(fmt.Errorf("not delivered within %v", d.m.Linger))
}

// supervise starts the program, and again as Restart says.
func (d *daemon) supervise() {
	const (
		first = 100 * time.Millisecond
		most  = 10 * time.Second
	)
	for wait := first; ; {
		began := time.Now()
		failed := d.once()
		if d.ctx.Err() != nil || d.m.Restart == RestartNever || d.m.Restart == RestartOnFailure && !failed {
			return
		}
		if time.Since(began) > most {
			wait = first
		}
		d.m.Note("%s: ended (%s); starting it again in %v", d.file, d.outcome.status(), wait)
		select {
		case <-time.After(wait):
		case <-d.ctx.Done():
			return
		}
		wait = min(2*wait, most)
		d.outcome = outcome{Restarts: d.outcome.Restarts + 1}
	}
}

// once runs the program to its end, or until it is stopped, and to the end of what it prints.
func (d *daemon) once() (failed bool) {
	cmd := life.Command{
		Path: filepath.Join(d.m.Dir, d.file), Stdout: life.Pipe, Pty: d.m.Pty, Mark: true,
		Env: append(os.Environ(), "SOCKBOX_NAME="+d.name, "SOCKBOX_HOST="+d.where.Host, "SOCKBOX_PORT="+strconv.Itoa(d.where.Port)),
	}
	if d.where.Net != "tcp" {
		cmd.Env = append(cmd.Env[:len(cmd.Env)-2], "SOCKBOX_HOST="+d.where.String(), "SOCKBOX_PORT=")
	}
	if !strings.Contains(cmd.Path, "/") {
		cmd.Path = "./" + cmd.Path
	}
	if d.m.Stderr != StderrDiscard {
		cmd.Stderr = life.Pipe
	}
	child, err := life.Start(cmd)
	for errors.Is(err, syscall.ETXTBSY) && d.ctx.Err() == nil { // somebody is still writing the file
		select {
		case <-time.After(50 * time.Millisecond):
		case <-d.ctx.Done():
		}
		child, err = life.Start(cmd)
	}
	if err != nil {
		d.outcome.Failure, d.outcome.Code = "cannot be run", 126
		if errors.Is(err, life.ErrNotFound) {
			d.outcome.Failure, d.outcome.Code = "not found", 127
		}
		d.m.Log("%s: %v", d.file, err)
		return true
	}
	var streams sync.WaitGroup
	streams.Go(func() { d.pull(child.Stdout) })
	if child.Stderr != nil {
		streams.Go(func() { d.complaints(child.Stderr) })
	}
	closed := make(chan struct{})
	go func() {
		streams.Wait()
		close(closed)
	}()
	// A program that has gone and left others behind that still print is not over, as in a shell's
	// pipe.
	select {
	case <-closed:
		select {
		case <-child.Done():
		case <-d.ctx.Done():
		}
	case <-d.ctx.Done():
	}
	if err := child.Stop(d.m.Grace, d.m.hurry); err != nil {
		d.m.Log("%s: %v", d.file, err)
	}
	end := child.Wait()
	<-closed
	d.outcome.Code = end.Status()
	if end.Signal != 0 {
		d.outcome.Signal = signalName(end.Signal)
	}
	return end.Status() != 0
}

// pull takes in what the program prints. When the queue is closed, as nobody takes it any more, the
// pipe is: the program gets a SIGPIPE.
func (d *daemon) pull(out io.ReadCloser) {
	defer out.Close()
	src := d.queue.NewSource(buffer.SourceOptions{})
	defer src.Finish()
	for {
		before := src.Messages()
		err := src.Pull(context.Background(), out.(syscall.Conn))
		d.m.messages.Add(int64(src.Messages() - before))
		if err != nil {
			return
		}
	}
}

// maxComplaint is the longest line of stderr that is passed on whole.
const maxComplaint = 64 << 10

// complaints passes on what the program says on stderr, line by line.
func (d *daemon) complaints(in io.ReadCloser) {
	defer in.Close()
	r := bufio.NewReaderSize(in, 4<<10)
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if err == bufio.ErrBufferFull && len(line) < maxComplaint {
			continue
		}
		if len(line) > 0 {
			text := strings.TrimSuffix(string(line), "\n")
			if d.m.Stderr == StderrForward {
				d.m.pool.stderr(d, []byte(text))
			} else if err := d.m.Line(d.name, []byte(text)); err != nil {
				d.m.cancel(err)
			}
		}
		line = line[:0]
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// send carries the queue to the pool, over as many connections as it takes. It returns nil when all
// has arrived.
func (d *daemon) send(ctx context.Context) error {
	if d.m.Plain {
		return d.sendPlain(ctx)
	}
	out := link.NewOutbox(d.queue, link.OutboxOptions{Name: d.name, ID: link.ID(d.ticket.ID)})
	defer out.Release()
	var pause pause
	lost := time.Now() // since when there is no link
	for {
		conn, err := d.connect(ctx)
		if err == nil {
			up, moved := time.Now(), d.queue.Counts().Out
			sock.TuneLink(conn)
			if err = out.Run(ctx, conn); err == nil {
				return nil
			}
			// A link that does nothing but break is none, though the pool can be reached.
			if time.Since(up) > time.Second || d.queue.Counts().Out != moved {
				pause, lost = 0, time.Now()
			}
			if bye := (*link.ByeError)(nil); errors.As(err, &bye) {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, secret.ErrUnknown) {
			return fmt.Errorf("the pool is not the one it was linked to, or has given it up")
		}
		d.m.Note("%s: %v", d.name, sock.Reason(err))
		if away := time.Since(lost); away > d.m.ResumeTimeout {
			return fmt.Errorf("no link to the pool for %v (%w)", d.m.ResumeTimeout, sock.Reason(err))
		}
		if pause.wait(ctx) != nil {
			return context.Cause(ctx)
		}
	}
}

// connect makes one try at a connection.
func (d *daemon) connect(ctx context.Context) (net.Conn, error) {
	defer d.triedOnce()
	select {
	case d.m.dials <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-d.m.dials }()
	return d.m.pool.dial(ctx, d)
}

// sendPlain sends the lines as they are. A connection that breaks is the end: there is no telling what
// has arrived.
func (d *daemon) sendPlain(ctx context.Context) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		lease, err := d.queue.Take(ctx, buffer.Want{Messages: 4096, Bytes: 256 << 10})
		if errors.Is(err, buffer.ErrEnd) {
			return nil
		}
		if err != nil {
			return err
		}
		batch := net.Buffers(lease.Slices(nil))
		if _, err := batch.WriteTo(conn); err != nil {
			lease.Return()
			return err
		}
		lease.Ack()
	}
}

// row is what is told of the daemon in the end.
func (d *daemon) row(left int) row {
	c := d.queue.Counts()
	name := d.name
	if name == "" {
		name = d.file
	}
	return row{
		Name: name, Daemon: d.file, Host: d.m.Addr.String(), Status: d.outcome.status(), Code: d.outcome.Code, Signal: d.outcome.Signal,
		Start: d.began, Seconds: d.outcome.Seconds, Messages: c.Out, Bytes: c.OutBytes, Restarts: d.outcome.Restarts, Left: left, seq: d.seq,
	}
}

// closed is the pool's word that it takes nothing more from one daemon.
func (m *master) closed(id int, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.daemons {
		if d.seq == id {
			m.Log("%s: the pool takes nothing more: %s", d.file, why)
			d.stop(errors.New(why))
			d.giveUp(errors.New(why))
		}
	}
}
