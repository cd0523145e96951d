package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
	"sockbox/buffer"
	"sockbox/buffer/link"
)

// An input is one daemon's buffer on the pool's side: a named buffer like those of bind-input, for
// the one stream that it was made for.
type input struct {
	p      *pool
	seq    int
	name   string // of the buffer
	daemon string // as its master calls it
	from   string // its master's host
	peer   net.Addr
	ticket secret.Ticket
	plain  bool

	session *session // that asked for it, and by which number; nil on the plain wire
	request int

	began  time.Time
	entry  *buffer.Entry
	queue  *buffer.Queue
	host   *buffer.Host
	inbox  *link.Inbox
	ln     net.Listener // nil where the streams come over the pool's own port
	stream context.Context
	over   context.CancelCauseFunc // ends stream: why nothing more comes

	mu        sync.Mutex
	connected int
	connects  int64
	outage    *time.Timer // runs while nobody is connected
	outcome   *outcome
	told      chan struct{} // closed when outcome is there
}

// Why an input takes nothing more.
var (
	errDone   = errors.New("its daemon has ended")
	errClosed = errors.New("the input was closed")

	errGivenUp = errors.New("its master has given it up")
)

// open takes a name and a port, or gives everything back.
func (in *input) open(ctx context.Context) (err error) {
	in.began, in.told = time.Now(), make(chan struct{})
	next := names(in.daemon, in.from)
	for tries := 0; ; tries++ {
		in.name = next()
		in.entry, err = buffer.Hold(in.name)
		if !errors.Is(err, buffer.ErrHeld) || tries == in.p.MaxDaemons+8 {
			break
		}
	}
	if err != nil {
		return err
	}
	in.queue = buffer.NewQueue(buffer.QueueOptions{Capacity: in.p.Capacity, MaxMessage: in.p.MaxMessage})
	in.inbox = link.NewInbox(in.queue, link.InboxOptions{One: true, Accept: func(id link.ID, _ string) error {
		if id != link.ID(in.ticket.ID) {
			return errors.New("another stream's link")
		}
		return nil
	}})
	in.host = &buffer.Host{Entry: in.entry, Queue: in.queue, Kind: buffer.Input, Describe: in.describe, Close: func(bool) { in.over(errClosed) }, Lives: true}
	if in.plain || !in.p.SinglePort {
		in.ln, err = in.p.listenData(ctx)
	}
	if err == nil {
		if err = in.host.Listen(); err == nil {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.startOutage(in.p.firstTime(in.plain))
			return nil
		}
		if in.ln != nil {
			in.ln.Close()
		}
	}
	in.entry.Remove()
	return err
}

// port is where the stream is taken; 0 is the pool's own.
func (in *input) port() int {
	if in.ln == nil {
		return 0
	}
	return in.ln.Addr().(*net.TCPAddr).Port
}

func (in *input) describe(s *buffer.Stat) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s.Endpoint = fmt.Sprintf("pool %s from %s:%s", in.p.at, in.from, in.daemon)
	s.Peers, s.Connects, s.Port = in.connected, in.connects, in.port()
	switch {
	case in.stream.Err() != nil:
		s.State = "closing"
	case in.connected > 0:
		s.State = "connected"
	default:
		s.State = "waiting"
	}
}

// run serves the input until its stream has ended and what came has been read, or ctx ends. It
// returns how many messages nobody has read.
func (in *input) run(ctx context.Context) (left int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { in.host.Serve(context.WithoutCancel(ctx)) })
	if in.ln != nil {
		group.Go(func() { in.serve(in.stream) })
	}
	printed := make(chan struct{})
	if in.p.Print != nil {
		go func() { // not of the group: nobody may be reading what is printed
			defer close(printed)
			in.print(ctx)
		}()
	} else {
		close(printed)
	}

	select {
	case <-in.stream.Done():
	case <-ctx.Done():
		in.over(errEnding)
	}
	in.stopOutage()
	in.queue.Close()
	in.p.streamOver(in, context.Cause(in.stream))
	switch {
	case ctx.Err() != nil, context.Cause(in.stream) == errClosed, in.p.Discard && in.p.Print == nil:
		// Nobody is waited for but those who are reading now.
		lease, stop := context.WithTimeout(context.WithoutCancel(ctx), in.p.Grace)
		in.queue.WaitLeases(lease)
		stop()
	default:
		in.queue.WaitEmpty(ctx)
	}
	cancel()
	select {
	case <-printed:
	case <-time.After(in.p.Grace):
	}
	left = in.queue.Left()
	if in.ln != nil {
		in.ln.Close()
	}
	in.entry.Remove()
	in.host.Finish(left)
	group.Wait()
	if in.session != nil && context.Cause(in.stream) == errDone {
		select { // its master is about to say how it ended
		case <-in.told:
		case <-time.After(2 * time.Second):
		case <-in.p.ctx.Done():
		}
	}
	return left
}

// serve takes the input's connections on a port of its own.
func (in *input) serve(ctx context.Context) {
	if in.plain {
		in.servePlain(ctx)
		return
	}
	server := &secret.Server{
		Purpose: secret.ForPool, Allow: in.p.Allow.Allows, Note: in.p.noteDoor,
		Tickets: func(id secret.TicketID) (secret.Ticket, bool) {
			if id == in.ticket.ID {
				return in.ticket, true
			}
			return in.p.sessionTicket(id) // its master may find the pool's own port closed
		},
		Handle: func(ctx context.Context, peer secret.Peer) {
			if *peer.Ticket == in.ticket.ID {
				in.take(ctx, peer.Conn, peer.Addr)
			} else {
				in.p.serve(ctx, peer)
			}
		},
		Identity: in.p.identity, Gate: in.p.gate,
	}
	if err := server.Serve(ctx, in.ln); err != nil && ctx.Err() == nil {
		in.p.log("%s: %v", in.name, err)
	}
}

// take takes in what comes over one connection, which has shown the ticket.
func (in *input) take(ctx context.Context, c net.Conn, peer net.Addr) {
	defer c.Close()
	if in.stream.Err() != nil {
		return
	}
	// The end of the stream ends its connections, but not the other way round: it may be resumed.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(in.stream, func() { cancel(context.Cause(in.stream)) })
	defer stop()
	c.SetDeadline(time.Time{})
	in.connect(1)
	defer in.connect(-1)
	in.p.note("%s: connected from %s", in.name, sock.PeerName(peer))
	sock.TuneLink(c)
	switch err := in.inbox.Serve(ctx, c, sock.PeerName(peer)); {
	case err == nil:
		in.over(errDone)
	case in.stream.Err() == nil && !errors.Is(err, link.ErrTakenOver):
		in.p.note("%s: %v", in.name, sock.Reason(err))
	}
}

// servePlain takes lines from the one host that has asked for the port, until it has sent all.
func (in *input) servePlain(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { in.ln.Close() })
	defer stop()
	for {
		c, err := in.ln.Accept()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				c.Close()
			}
			return
		case err != nil:
			time.Sleep(100 * time.Millisecond) // as without descriptors: it passes
			continue
		case !sameHost(c.RemoteAddr(), in.peer) || !in.p.Allow.Allows(c.RemoteAddr()):
			in.p.note("%s: %s did not ask for this port", in.name, sock.PeerName(c.RemoteAddr()))
			c.Close()
			continue
		}
		in.ln.Close()
		in.connect(1)
		in.takePlain(ctx, c)
		in.connect(-1)
		return
	}
}

func (in *input) takePlain(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	src := in.queue.NewSource(buffer.SourceOptions{Peer: sock.PeerName(c.RemoteAddr())})
	var err error
	for err == nil {
		err = src.Pull(ctx, c.(syscall.Conn))
	}
	src.Finish()
	if err == io.EOF {
		err = errDone
	}
	in.over(err)
}

func sameHost(a, b net.Addr) bool {
	x, okX := a.(*net.TCPAddr)
	y, okY := b.(*net.TCPAddr)
	return okX && okY && x.IP.Equal(y.IP)
}

// connect counts connections. While there is none, time runs until the daemon is given up.
func (in *input) connect(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if n > 0 {
		in.connects++
	}
	in.connected += n
	if in.outage != nil {
		in.outage.Stop()
	}
	if in.connected == 0 {
		in.startOutage(in.p.ResumeTimeout)
	}
}

// startOutage gives the stream up after d. mu is held.
func (in *input) startOutage(d time.Duration) {
	in.outage = time.AfterFunc(d, func() { in.over(fmt.Errorf("nobody connected for %v", d)) })
}

func (in *input) stopOutage() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.outage.Stop()
}

// print merges what comes into the pool's output, a message a line.
func (in *input) print(ctx context.Context) {
	for {
		lease, err := in.queue.Take(ctx, buffer.Want{Messages: 1024, Bytes: 64 << 10})
		if err != nil {
			return
		}
		if err := in.p.Print(in.name, lease); err != nil {
			lease.Return()
			in.p.fail(err)
			return
		}
		lease.Ack()
	}
}

func (in *input) setOutcome(o *outcome) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.outcome == nil {
		in.outcome = o
		close(in.told)
		// The master waits for the end of the stream before it says so, or has given it up.
		why := errDone
		if o.Lost {
			why = errGivenUp
		}
		time.AfterFunc(time.Second, func() { in.over(why) })
	}
}

// row is what is told of the input in the end.
func (in *input) row(left int) row {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.queue.Counts()
	w := row{
		Name: in.name, Daemon: in.daemon, Host: in.from, Start: in.began, Seconds: time.Since(in.began).Seconds(),
		Messages: c.In, Bytes: c.InBytes, Left: left, seq: in.seq,
	}
	if why := context.Cause(in.stream); why != errDone {
		w.Status, w.Code = why.Error(), 1
	}
	if o := in.outcome; o != nil {
		w.Seconds, w.Restarts, w.Signal = o.Seconds, o.Restarts, o.Signal
		if w.Code, w.Status = o.Code, o.status(); left > 0 && !in.p.Discard {
			w.Status += ", unread"
		}
	} else if w.Status == "" && in.session != nil {
		w.Status, w.Code = "unknown", 1 // the session was lost before it was told
	} else if w.Status == "" {
		w.Status = "0"
	}
	return w
}
