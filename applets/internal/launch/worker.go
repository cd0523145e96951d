package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sockbox/applets/internal/life"
	"sockbox/applets/internal/sock"
)

// A worker has one program, which stays, and gives it one line at a time: the next line that it
// prints is the answer. What it prints unasked is nobody's, and dropped.
type worker struct {
	a     *active
	hurry <-chan struct{}
	say   func(r *resident, line []byte, err error) // gets every line that the program prints
	stall []time.Time                               // starts of programs that have ended without an answer, one after the other
	now   *resident                                 // nil: it is started for the next line
}

// Why a line has no answer.
var (
	errEnded   = errors.New("the program has ended without an answer")
	errLate    = errors.New("the program took too long")
	errTooLong = errors.New("the line is too long")
	errTorn    = errors.New("the program has ended within a line")
	errSlow    = errors.New("the answer was not taken, and there are too many")
)

// lastLines is how long what a program has printed may take to be read after its end.
const lastLines = time.Second

// A resident is a running program, and who waits for what it prints.
type resident struct {
	child   *life.Child
	end     chan struct{} // closed when nothing more comes
	stopped atomic.Bool   // it ends because we want it to

	mu      sync.Mutex
	waiting chan answer // who has asked, if anybody
	unasked int
}

type answer struct {
	line []byte
	err  error
}

// resident starts the program.
func (w *worker) resident(ctx context.Context) (*resident, error) {
	a := w.a
	g := given{std: [3]*os.File{life.Pipe, life.Pipe, a.Stderr}}
	c, err := a.retry(ctx, g)
	if err != nil {
		return nil, err
	}
	a.Note("%s: process %d", a.Name, c.PID())
	r := &resident{child: c, end: make(chan struct{})}
	go func() {
		<-c.Done()
		if !r.stopped.Load() {
			a.ended(c)
		}
		// What it has left behind could hold the pipe open, and nobody would learn that it is gone.
		if err := c.Stop(a.KillTimeout, w.hurry); err != nil {
			a.Log("%s: %v", a.Name, err)
		}
		// What even so has it open is found in the end, when everything is stopped. What the program
		// itself has printed is read by then.
		select {
		case <-r.end:
		case <-time.After(lastLines):
			c.Stdout.Close()
		}
	}()
	a.running.Go(func() {
		defer close(r.end)
		defer c.Stdout.Close()
		in := bufio.NewReaderSize(c.Stdout, 4096)
		for {
			line, err := readLine(in, a.MaxMessage)
			if err != nil && err != errTooLong && err != errTorn {
				return
			}
			w.say(r, line, err)
		}
	})
	return r, nil
}

// readLine reads a line with its newline; what comes after the last one is returned with errTorn. Of a line
// that is longer than limit nothing is kept, and it is read to its end.
func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(line)+len(part) > limit+1; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil && (len(line) == 0 || err != io.EOF):
			return nil, err
		case long:
			return nil, errTooLong
		case err != nil:
			return line, errTorn
		default:
			return line, nil
		}
	}
}

// up has a program running.
func (w *worker) up(ctx context.Context) (err error) {
	if w.now != nil {
		select {
		case <-w.now.end:
			w.gone()
		default:
			return nil
		}
	}
	if len(w.stall) >= stallStarts && time.Since(w.stall[0]) < stallTime {
		w.a.Log("%s: started %d times in %v: a pause of %v", w.a.Name, stallStarts, stallTime, stallPause)
		if !sleep(ctx, stallPause) {
			return ctx.Err()
		}
		w.stall = w.stall[:0]
	}
	if !w.a.admitted.rate.wait(ctx) {
		return ctx.Err()
	}
	if w.now, err = w.resident(ctx); err == nil {
		if w.stall = append(w.stall, time.Now()); len(w.stall) > stallStarts {
			w.stall = w.stall[1:]
		}
	}
	return err
}

// answered has a line be the answer to whoever has asked.
func (w *worker) answered(r *resident, line []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		if r.unasked++; r.unasked == 1 {
			w.a.Log("%s: process %d prints what nobody has asked for: dropped", w.a.Name, r.child.PID())
		}
		return
	}
	r.waiting <- answer{line, err}
	r.waiting = nil
}

// gone is called when nothing more comes from the program: it has ended, or closed its output, and is
// of no more use.
func (w *worker) gone() {
	c := w.now.child
	w.now = nil
	if err := c.Stop(w.a.KillTimeout, w.hurry); err != nil {
		w.a.Log("%s: %v", w.a.Name, err)
	}
}

// stop ends the program: it sees the end of its input, and a TERM.
func (w *worker) stop() {
	if w.now != nil {
		w.now.stopped.Store(true)
		w.gone()
	}
}

// ask gives the program a line, and returns what it answers.
func (w *worker) ask(ctx context.Context, line []byte) ([]byte, error) {
	if err := w.up(ctx); err != nil {
		return nil, err
	}
	r := w.now
	got := make(chan answer, 1)
	r.mu.Lock()
	r.waiting = got
	r.mu.Unlock()

	var over <-chan time.Time
	if w.a.Timeout > 0 {
		t := time.NewTimer(w.a.Timeout)
		defer t.Stop()
		over = t.C
	}
	written := make(chan struct{})
	go func() { // who has not read all yet may print
		defer close(written)
		r.child.Stdin.Write(line)
	}()
	var said answer
	for answered := false; ; {
		select {
		case said = <-got:
			got, answered = nil, true
			w.stall = w.stall[:0]
		case <-written:
			written = nil
		case <-r.end:
			w.gone()
			select {
			case said = <-got: // its last word
				answered = true
			default:
			}
			if !answered {
				return nil, errEnded
			}
			written = nil
		case <-over:
			w.a.Log("%s: process %d: no answer for %v: ended", w.a.Name, r.child.PID(), w.a.Timeout)
			w.stop()
			return nil, errLate
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if answered && written == nil {
			return said.line, said.err
		}
	}
}

// A question is a line for whichever worker is free.
type question struct {
	line   []byte // with its newline
	answer chan answer
}

// work is serve for Mode Worker. It stops taking lines when ctx ends; those that have come are
// answered, for as long as Linger.
func (a *active) work(ctx context.Context, hurry <-chan struct{}) error {
	collectSooner()
	inside, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer a.running.Wait()
	var clients, doors sync.WaitGroup
	s := &shop{active: a, ctx: ctx, inside: inside, questions: make(chan question)}
	s.lines.holders = map[*lineReader]holding{}
	var workers sync.WaitGroup
	first := func(up func(context.Context) error) { // so that the first peer need not wait for it
		if err := up(inside); err != nil && inside.Err() == nil {
			a.Log("%s: %v", a.Name, err)
		}
	}
	if a.Broadcast {
		r := &room{shop: s, patience: writeTime, said: make(chan saying), members: map[*member]bool{}, deaf: make(chan struct{}), over: make(chan struct{})}
		r.w = &worker{a: a, hurry: hurry, say: r.say}
		s.room = r
		workers.Go(r.pass)
		workers.Go(func() {
			first(func(ctx context.Context) error {
				_, err := r.up(ctx)
				return err
			})
			<-inside.Done()
			r.stop()
		})
	} else {
		for range max(a.Workers, 1) {
			w := &worker{a: a, hurry: hurry}
			w.say = w.answered
			workers.Go(func() {
				defer w.stop()
				first(w.up)
				for {
					select {
					case q := <-s.questions:
						line, err := w.ask(inside, q.line)
						q.answer <- answer{line, err}
					case <-inside.Done():
						return
					}
				}
			})
		}
	}
	for _, b := range a.socks {
		doors.Go(func() {
			if b.Stream() {
				s.accept(&clients, b)
			} else {
				s.receive(&clients, b)
			}
		})
	}
	<-ctx.Done()
	doors.Wait() // their sockets are closed
	if s.room != nil {
		go func() {
			s.room.readers.Wait()
			close(s.room.said)
		}()
	}
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	late := time.NewTimer(a.Linger)
	defer late.Stop()
	after := ""
	select {
	case <-done:
	case <-late.C:
		after = fmt.Sprintf(" after %v", a.Linger)
	case <-hurry:
	}
	cancel()
	<-done
	workers.Wait()
	if n := s.left.Load(); n > 0 {
		return fmt.Errorf("%s: left unanswered%s: %d of the lines that had come", a.Name, after, n)
	}
	return nil
}

// A shop is where clients and workers meet.
type shop struct {
	*active
	ctx       context.Context // while lines are taken
	inside    context.Context // while they are answered
	questions chan question
	lines     budget
	left      atomic.Int64 // lines without an answer when the time for that was over
	outside   atomic.Int32 // endpoints where somebody waits for a place
	room      *room
}

func (s *shop) ask(line []byte) ([]byte, error) {
	q := question{line, make(chan answer, 1)}
	select {
	case s.questions <- q:
	case <-s.inside.Done():
		return nil, s.inside.Err()
	}
	a := <-q.answer // a worker that has taken it answers, with an error at the least
	return a.line, a.err
}

func (s *shop) accept(clients *sync.WaitGroup, b *sock.Bound) {
	pause := time.Duration(0)
	for b.Wait() == nil {
		s.outside.Add(1)
		if s.room != nil {
			s.room.makeWay()
		}
		in := s.admitted.place(s.ctx)
		s.outside.Add(-1)
		if !in {
			return
		}
		c, err := b.Own().Accept()
		if err != nil {
			s.admitted.leave()
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			if pause == 0 {
				s.Log("%s: %s: %v", s.Name, b.Name(), sock.Reason(err))
			}
			pause = min(max(2*pause, 10*time.Millisecond), time.Second)
			sleep(s.ctx, pause)
			continue
		}
		pause = 0
		leave, why := s.admitted.enter(c.RemoteAddr(), descriptor(c))
		if leave == nil {
			s.Note("%s: %s: %s", s.Name, peerAddr(c.RemoteAddr()), why)
			c.Close()
			s.admitted.leave()
			continue
		}
		if s.room != nil {
			s.room.readers.Add(1)
		}
		clients.Go(func() {
			defer s.admitted.leave()
			defer leave()
			defer c.Close()
			// Whoever does not take what waits for him is not waited for.
			defer context.AfterFunc(s.inside, func() { c.Close() })()
			sock.Tune(c)
			if err := s.serveOne(c); err != nil && s.inside.Err() == nil {
				s.Note("%s: %s: %v", s.Name, peerAddr(c.RemoteAddr()), sock.Reason(err))
			}
		})
	}
}

// leave counts the lines that a client leaves without an answer: all those that are not answered when the
// time for that is over.
func (s *shop) leave(lines int) {
	if s.inside.Err() != nil {
		s.left.Add(int64(lines))
	}
}

// serveOne is a client's conversation: a line, its answer, the next line.
func (s *shop) serveOne(c net.Conn) error {
	in := newLineReader(s, c)
	defer in.free()
	if s.room != nil {
		return s.room.member(c, in)
	}
	asked := 0
	defer func() { s.leave(asked + in.lines()) }()
	for {
		line, err := in.next()
		if err == io.EOF || s.ctx.Err() != nil && line == nil {
			return nil
		}
		if err != nil {
			return err
		}
		asked = 1
		line, err = s.ask(line)
		if err != nil && err != errTorn {
			return err
		}
		if !in.hold(told, len(line)) {
			return errSlow
		}
		c.SetWriteDeadline(time.Now().Add(writeTime))
		if _, bad := c.Write(line); bad != nil {
			return bad
		}
		asked = 0
		if err != nil || s.HangUp {
			return err
		}
		in.hold(begun, 0)
	}
}

// receive answers datagrams: each of their lines is a question, and each answer a datagram. One that is not
// answered yet counts as a connection.
func (s *shop) receive(clients *sync.WaitGroup, b *sock.Bound) {
	pc := b.Packets()
	buf := make([]byte, 64<<10)
	dropped := 0
	for b.Wait() == nil && s.admitted.place(s.ctx) {
		n, peer, err := pc.ReadFrom(buf)
		if err != nil {
			s.admitted.leave()
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			sleep(s.ctx, 10*time.Millisecond)
			continue
		}
		leave, why := s.admitted.enter(peer, 0)
		if leave == nil {
			s.Note("%s: %s: %s", s.Name, peerAddr(peer), why)
			s.admitted.leave()
			continue
		}
		if !s.lines.take(n) {
			if dropped++; dropped == 1 {
				s.Log("%s: %s: more comes than is answered: dropped", s.Name, b.Name())
			}
			leave()
			s.admitted.leave()
			continue
		}
		if dropped > 0 && s.lines.calm() {
			s.Log("%s: %s: %d datagrams were dropped", s.Name, b.Name(), dropped)
			dropped = 0
		}
		rest := append([]byte(nil), buf[:n]...)
		clients.Go(func() {
			defer s.admitted.leave()
			defer leave()
			defer s.lines.give(n)
			for len(rest) > 0 {
				line := append([]byte(nil), rest...)
				if i := bytes.IndexByte(rest, '\n'); i >= 0 {
					line, rest = rest[:i+1:i+1], rest[i+1:]
				} else {
					line, rest = append(line, '\n'), nil
				}
				line, err := s.ask(line)
				if err == nil {
					_, err = pc.WriteTo(line, peer)
				}
				if err != nil {
					if s.inside.Err() == nil {
						s.Note("%s: %s: %v", s.Name, peerAddr(peer), sock.Reason(err))
					}
					s.leave(1 + countLines(rest))
					return
				}
			}
		})
	}
}

// A room is where every client hears what the program prints.
type room struct {
	*shop
	w        *worker
	turn     sync.Mutex     // whose the worker is; not while it is written to, which can last
	patience time.Duration  // with a program that reads nothing
	said     chan saying    // closed when no more lines come
	readers  sync.WaitGroup // members of whom lines may come
	over     chan struct{}  // closed when nothing more is printed, after the last line has gone in

	mu      sync.Mutex
	members map[*member]bool
	deaf    chan struct{} // closed: the program has not read for so long that nobody waits for it
	dropped int           // lines since then
}

// A saying is a line of a member's on its way to the program.
type saying struct {
	line []byte
	done chan error
}

// memberMost is what may wait for one client that does not keep up.
const memberMost = 256 << 10

type member struct {
	c    net.Conn
	half time.Time // when it ended its own side; the room's mu is held

	mu     sync.Mutex
	queue  net.Buffers
	size   int
	behind bool
	wake   chan struct{}
}

// up returns the program that runs. When that has ended it is started again while there are members: they
// listen, and need not speak.
func (r *room) up(ctx context.Context) (*resident, error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	before := r.w.now
	err := r.w.up(ctx)
	now := r.w.now
	if now != before && now != nil {
		r.running.Go(func() {
			<-now.end
			if r.ctx.Err() != nil || !r.heard() {
				return
			}
			if _, err := r.up(r.inside); err != nil && r.inside.Err() == nil {
				r.Log("%s: %v", r.Name, err)
				r.empty()
			}
		})
	}
	return now, err
}

// heard tells whether there are members.
func (r *room) heard() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members) > 0
}

// empty hangs up on all members, as on each who comes when the program cannot be started.
func (r *room) empty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.members {
		m.c.Close()
	}
}

func (r *room) stop() {
	r.turn.Lock()
	defer r.turn.Unlock()
	r.w.stop()
}

// say passes a line on to everybody. Who has too much waiting already is sent away.
func (r *room) say(_ *resident, line []byte, err error) {
	if err != nil {
		r.Log("%s: %v: dropped", r.Name, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range r.members {
		m.mu.Lock()
		if m.size > 0 && m.size+len(line) > memberMost && !m.behind {
			m.behind = true
			r.Log("%s: %s: does not keep up: closed", r.Name, peerAddr(m.c.RemoteAddr()))
			m.c.Close()
		}
		if !m.behind {
			m.queue = append(m.queue, line)
			m.size += len(line)
		}
		m.mu.Unlock()
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// pass gives the program what is said, one line after the other, and in the end the end.
func (r *room) pass() {
	defer close(r.over)
	for one := range r.said {
		one.done <- r.give(one.line)
	}
	r.turn.Lock()
	now := r.w.now
	r.turn.Unlock()
	if now != nil && !r.Pty { // a terminal has no end to close
		now.stopped.Store(true)
		now.child.Stdin.Close()
		select {
		case <-now.end:
		case <-r.inside.Done():
		}
	}
}

func (r *room) give(line []byte) error {
	now, err := r.up(r.inside)
	if err != nil {
		return err
	}
	defer context.AfterFunc(r.inside, func() { now.child.Stdin.Close() })()
	written := make(chan error, 1)
	go func() {
		_, err := now.child.Stdin.Write(line)
		written <- err
	}()
	late := time.NewTimer(r.patience)
	defer late.Stop()
	select {
	case err = <-written:
	case <-late.C:
		r.Log("%s: process %d has read nothing for %v: what clients say is dropped", r.Name, now.child.PID(), r.patience)
		close(r.deaf)
		err = <-written
		r.mu.Lock()
		dropped := r.dropped
		r.deaf, r.dropped = make(chan struct{}), 0
		r.mu.Unlock()
		if dropped > 0 {
			r.Log("%s: %d lines were dropped", r.Name, dropped)
		}
	}
	if err != nil {
		return errEnded
	}
	return nil
}

// member is a client's time in the room: until it has gone. One that has only ended its own side hears on.
func (r *room) member(c net.Conn, in *lineReader) error {
	m := &member{c: c, wake: make(chan struct{}, 1)}
	r.mu.Lock()
	r.members[m] = true
	r.mu.Unlock()
	left := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { m.write(left) })
	err := r.listen(in)
	if err == nil && r.ctx.Err() == nil {
		r.mu.Lock()
		m.half = time.Now()
		r.mu.Unlock()
		if r.outside.Load() > 0 {
			r.makeWay()
		}
		in.deadline(time.Time{})
		untilHungUp(c)
	}
	if r.ctx.Err() != nil {
		select {
		case <-r.over:
		case <-r.inside.Done():
		}
	}
	r.mu.Lock()
	delete(r.members, m)
	r.mu.Unlock()
	close(left)
	all.Wait()
	return err
}

// makeWay has a client come in though there are as many as may be. Of one that has ended its own side it
// may take long to learn that it has gone, if nothing is printed that it does not take: where there is no
// place for others, whoever has done so first has to leave.
func (r *room) makeWay() {
	if r.MaxConns == 0 || len(r.admitted.slots) < r.MaxConns {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var first *member
	for m := range r.members {
		if !m.half.IsZero() && (first == nil || m.half.Before(first.half)) {
			first = m
		}
	}
	if first != nil {
		r.Log("%s: %s: has ended its side, and others wait: closed", r.Name, peerAddr(first.c.RemoteAddr()))
		delete(r.members, first)
		first.c.Close()
	}
}

// listen gives the program the lines of one member.
func (r *room) listen(in *lineReader) error {
	defer r.readers.Done()
	if _, err := r.up(r.inside); err != nil { // after it has come in: a program that ends now is started again
		return err
	}
	for {
		line, err := in.next()
		if err == io.EOF || r.ctx.Err() != nil && line == nil {
			return nil
		}
		if err != nil {
			return err
		}
		err = r.put(line)
		in.hold(begun, 0)
		if err != nil {
			r.leave(1 + in.lines())
			return err
		}
	}
}

// put has the program given a line, and waits for that. Who speaks to a program that does not read at all
// hears it all the same, and leaves when he wants to: the line is dropped.
func (r *room) put(line []byte) error {
	r.mu.Lock()
	deaf := r.deaf
	r.mu.Unlock()
	one := saying{line, make(chan error, 1)}
	select {
	case r.said <- one:
	case <-deaf:
		r.mu.Lock()
		r.dropped++
		r.mu.Unlock()
		return nil
	case <-r.inside.Done():
		return r.inside.Err()
	}
	select {
	case err := <-one.done:
		return err
	case <-deaf: // it is on its way still
		return nil
	case <-r.inside.Done():
		return r.inside.Err()
	}
}

// write writes to the client what waits for it, until it leaves and that is all.
func (m *member) write(left <-chan struct{}) {
	last := false
	for {
		m.mu.Lock()
		queue := m.queue
		size := m.size
		m.queue = nil
		m.mu.Unlock()
		if len(queue) > 0 {
			m.c.SetWriteDeadline(time.Now().Add(writeTime))
			if _, err := queue.WriteTo(m.c); err != nil {
				m.c.Close()
				return
			}
			m.mu.Lock()
			m.size -= size
			m.mu.Unlock()
			continue
		}
		if last {
			return
		}
		select {
		case <-m.wake:
		case <-left:
			last = true
		}
	}
}
