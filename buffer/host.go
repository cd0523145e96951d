package buffer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// maxClients is how many local connections are served at once; more wait to be accepted.
const maxClients = 4096

// A Host answers the clients of a held name: it is the only way to the queue from other processes.
type Host struct {
	Entry    *Entry
	Queue    *Queue // nil for a Service
	Kind     Kind
	Describe func(*Stat)    // fills in what the endpoint knows; may be nil
	Close    func(now bool) // a client asks for the end; may be called more than once
	FIFO     bool           // there are FIFOs for whoever asks; an output's own is made and read by the caller
	Lives    bool           // the process is there for more than this name, and does not end with it

	ln      *net.UnixListener
	started time.Time
	group   sync.WaitGroup
	slots   chan struct{}

	mu       sync.Mutex
	conns    map[*net.UnixConn]struct{}
	takers   map[int]chan struct{} // descriptors of clients that may hold messages; closed when they do not
	finished chan struct{}
	left     int

	fifos fifos
}

// Listen makes the name's socket. From now on clients can connect; they are answered by Serve.
func (h *Host) Listen() error {
	if h.FIFO && h.Kind == Input && !readerFIFOs {
		return fmt.Errorf("%s: FIFOs for readers cannot be made on this system", h.Entry.name)
	}
	path, err := socketPath(h.Entry.dir, h.Entry.name)
	if err != nil {
		return err
	}
	h.ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return fmt.Errorf("%s: the local socket: %w", h.Entry.name, err)
	}
	h.ln.SetUnlinkOnClose(false) // the entry removes it, under the lock
	h.started = time.Now()
	h.conns = map[*net.UnixConn]struct{}{}
	h.takers = map[int]chan struct{}{}
	h.finished = make(chan struct{})
	h.fifos.open = map[*fifo]struct{}{}
	h.fifos.ctx, h.fifos.cancel = context.WithCancel(context.Background())
	h.slots = make(chan struct{}, maxClients)
	return nil
}

// Serve accepts clients until Finish, and returns when none is being answered any more.
func (h *Host) Serve(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		<-h.finished
		cancel(ErrEnd)
	}()
	defer func() { <-stop }()
	defer h.group.Wait()
	defer h.EndFIFOs()
	for {
		h.slots <- struct{}{}
		c, err := h.ln.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, most likely: wait for one to be given back
			<-h.slots
			select {
			case <-time.After(50 * time.Millisecond):
			case <-h.finished:
			}
			continue
		}
		if uid, err := peerUID(c); err != nil || uid != os.Getuid() {
			c.Close()
			<-h.slots
			continue
		}
		h.mu.Lock()
		h.conns[c] = struct{}{}
		h.listen(c)
		h.mu.Unlock()
		h.group.Go(func() {
			h.serve(ctx, c)
			h.mu.Lock()
			delete(h.conns, c)
			h.mu.Unlock()
			<-h.slots
		})
	}
}

// Finish tells those who asked for the end how many messages were left, and ends Serve. Who is
// being answered is told the end of it; a client that does not listen is waited for a second.
func (h *Host) Finish(left int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = left
	close(h.finished)
	h.ln.Close()
	for c := range h.conns {
		h.listen(c)
	}
}

// listen lets what a client says be waited for as long as it takes, and after Finish no more. h.mu
// is held: of a deadline that Finish set and one that is taken away, the order decides.
func (h *Host) listen(c *net.UnixConn) {
	select {
	case <-h.finished:
		c.SetReadDeadline(time.Unix(1, 0))
		c.SetWriteDeadline(time.Now().Add(time.Second))
	default:
		c.SetReadDeadline(time.Time{})
	}
}

// Stat returns what `list` shows.
func (h *Host) Stat() Stat {
	h.Settle()
	s := Stat{
		Name: h.Entry.name, Kind: h.Kind, PID: os.Getpid(), Started: h.started.UTC().Truncate(time.Millisecond),
		Age: math.Round(time.Since(h.started).Seconds()*1000) / 1000,
	}
	if h.Queue != nil {
		s.Frame, s.Capacity, s.Counts = h.Queue.frame.String(), h.Queue.capacity, h.Queue.Counts()
	}
	if h.Describe != nil {
		h.Describe(&s)
	}
	return s
}

// A session is one client's connection.
type session struct {
	h    *Host
	c    *net.UnixConn
	out  []byte
	hand *os.File // the descriptor that came with the request
	fd   int      // the same; hand's own Fd method would make it blocking
}

// serve answers one client until it goes away.
func (h *Host) serve(ctx context.Context, c *net.UnixConn) {
	s := &session{h: h, c: c}
	defer c.Close()
	for {
		hd, err := s.readHead()
		if err == nil {
			err = s.answer(ctx, hd)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if s.hand != nil {
			s.hand.Close()
			s.hand = nil
		}
		if err == nil && hd.kind == kindClose {
			return // its answer was that this is the end
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrEnd // Finish came before the request, or the rest of it
			}
			if !errors.Is(err, errClientGone) {
				s.c.Write(h.last(appendError(s.out[:0], err)))
			}
			// What was said before the error has to be read by the client before it sees the end.
			s.c.CloseWrite()
			return
		}
	}
}

// errClientGone ends a session whose client has gone away.
var errClientGone = errors.New("the client has gone")

func (s *session) readHead() (head, error) {
	var b [headSize]byte
	var oob [64]byte
	n, k, _, _, err := s.c.ReadMsgUnix(b[:], oob[:])
	for _, fd := range passedFDs(oob[:k]) {
		if s.hand != nil {
			s.hand.Close()
		}
		s.hand, s.fd = os.NewFile(uintptr(fd), "handed over"), fd
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err == nil && n < headSize {
		_, err = io.ReadFull(s.c, b[n:])
	}
	if err != nil {
		return head{}, err
	}
	return parseHead(b[:])
}

func (s *session) answer(ctx context.Context, hd head) error {
	if s.h.Kind == Service && (hd.kind == kindTake || hd.kind == kindWrite || hd.kind == kindPath) {
		return &remoteError{s.h.Entry.name + ": a service is neither read nor written to; 'sockbox list' shows it, and 'sockbox close' ends it", ErrVerb}
	}
	switch hd.kind {
	case kindTake:
		b, err := readPayload(s.c, hd, nil, takeSize)
		if err != nil {
			return err
		}
		r, err := parseTake(hd.flags, b)
		if err != nil {
			return err
		}
		return s.taking(func() error { return s.take(ctx, r) })
	case kindWrite:
		b, err := readPayload(s.c, hd, nil, writeSize+s.h.Queue.max)
		if err != nil {
			return err
		}
		r, message, err := parseWrite(hd.flags, b)
		if err != nil {
			return err
		}
		return s.write(ctx, r, message)
	case kindPath:
		return s.path()
	case kindStatus:
		b, err := json.Marshal(s.h.Stat())
		if err != nil {
			return err
		}
		return s.send(append(head{kindJSON, 0, len(b)}.append(nil), b...))
	case kindClose:
		s.h.Close(hd.flags&flagNow != 0)
		<-s.h.finished
		return s.send(s.h.last(appendGood(nil, s.h.left, 0)))
	}
	return errWire
}

// last marks a frame that may be the last word of this name.
func (h *Host) last(frame []byte) []byte {
	if h.Lives {
		frame[1] |= flagLives
	}
	return frame
}

func (s *session) send(b []byte) error {
	if _, err := s.c.Write(b); err != nil {
		return errClientGone
	}
	return nil
}

// watch runs f with a context that ends when the client goes away, and returns when f has. The
// client has nothing to say in the meantime.
func (s *session) watch(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [1]byte
		n, err := s.c.Read(b[:])
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(errClientGone)
		}
	}()
	err := f(ctx)
	s.c.SetReadDeadline(time.Unix(1, 0))
	<-done
	s.h.mu.Lock()
	s.h.listen(s.c)
	s.h.mu.Unlock()
	if context.Cause(ctx) == errClientGone && err != nil {
		err = errClientGone
	}
	cancel(nil)
	return err
}

// taking runs f, which takes messages. The kernel closes a client's connection before anybody can
// learn of its death, but its session may be slower than whoever asks next: so first the messages
// of the dead go back to their place.
func (s *session) taking(f func() error) error {
	h := s.h
	h.mu.Lock()
	dead := make([]chan struct{}, 0, 1)
	for _, fd := range hungUp(h.takers) {
		dead = append(dead, h.takers[fd])
	}
	h.mu.Unlock()
	for _, done := range dead {
		<-done
	}

	raw, err := s.c.SyscallConn()
	if err != nil {
		return errClientGone
	}
	fd := -1
	if raw.Control(func(n uintptr) { fd = int(n) }) != nil {
		return errClientGone
	}
	done := make(chan struct{})
	h.mu.Lock()
	h.takers[fd] = done
	gone := len(hungUp(map[int]chan struct{}{fd: done})) > 0
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.takers, fd)
		h.mu.Unlock()
		close(done)
	}()
	if gone {
		return errClientGone
	}
	return f()
}

// take answers T.
func (s *session) take(ctx context.Context, r takeRequest) error {
	h := s.h
	if h.Kind != Input {
		return &remoteError{h.Entry.name + ": an output is written to, not read: use 'sockbox write " + h.Entry.name + "'", ErrVerb}
	}
	if r.flags&flagPeek != 0 {
		return s.peek(r)
	}
	hand := r.flags&flagHand != 0
	if hand && (s.hand == nil || !usable(s.fd)) {
		return errWire
	}
	want := Want{Messages: math.MaxInt, Bytes: window}
	if hand && h.Queue.keeps(r.format) {
		want.Bytes = handBatch // of which what was written is known to the byte
	}
	rest := math.MaxInt
	if r.count > 0 {
		rest = r.count
	}
	if r.flags&flagAll != 0 {
		want.Before = h.Queue.Seq()
	}
	wait := r.flags&(flagWait|flagFollow) != 0 && r.flags&flagAll == 0
	last := r.count == 1 && !hand
	messages, size := 0, 0
	loop := func(ctx context.Context) error {
		for rest > 0 {
			want.Messages = rest
			l, err := h.Queue.TryTake(want)
			if errors.Is(err, ErrEmpty) && wait {
				if hand {
					l, err = h.Queue.Take(ctx, want)
				} else {
					err = s.watch(ctx, func(ctx context.Context) error {
						l, err = h.Queue.Take(ctx, want)
						return err
					})
				}
			}
			switch {
			case err == ErrEmpty && messages > 0, err == ErrEnd && (messages > 0 && !wait || r.flags&flagFollow != 0):
				return nil
			case err != nil:
				return err
			}
			n, b := l.n, l.size
			if hand {
				err = s.printTo(ctx, l, r.format)
			} else {
				err = s.print(l, r.format, last)
			}
			if err != nil {
				return err
			}
			messages, size, rest = messages+n, size+b, rest-n
			if last {
				return nil
			}
		}
		return nil
	}
	var err error
	if hand {
		widen(s.fd)
		err = s.watch(ctx, loop)
	} else {
		err = loop(ctx)
	}
	if err != nil || last {
		return err
	}
	return s.send(appendGood(nil, messages, size))
}

// print sends the messages to the client and waits until it has written them out.
func (s *session) print(l *Lease, f Format, last bool) error {
	defer l.Return()
	flags := byte(0)
	if last {
		flags = flagLast
	}
	if err := s.sendMessages(l, f, flags); err != nil {
		return err
	}
	hd, err := s.readHead()
	if err != nil || hd.kind != kindAck || hd.size != 0 {
		return errClientGone
	}
	l.Ack()
	return nil
}

// peek sends what is there now and leaves it where it is.
func (s *session) peek(r takeRequest) error {
	q := s.h.Queue
	want := Want{Messages: math.MaxInt, Bytes: window, Before: q.Seq()}
	if r.count > 0 {
		want.Messages = r.count
	}
	messages, size := 0, 0
	for from := uint64(0); want.Messages > 0; {
		l := q.look(from, want)
		if l.n == 0 {
			break
		}
		tail := l.segs[len(l.segs)-1]
		from = tail.seq + uint64(tail.n)
		messages, size, want.Messages = messages+l.n, size+l.size, want.Messages-l.n
		err := s.sendMessages(l, r.format, 0)
		l.forget()
		if err != nil {
			return err
		}
	}
	switch {
	case messages > 0:
		return s.send(appendGood(nil, messages, size))
	case q.isClosed():
		return ErrEnd
	}
	return ErrEmpty
}

func (s *session) sendMessages(l *Lease, f Format, flags byte) error {
	b := append(s.out[:0], make([]byte, headSize+4)...)
	b = l.print(b, f)
	head{kindMessages, flags, len(b) - headSize}.append(b[:0])
	b[headSize], b[headSize+1], b[headSize+2], b[headSize+3] = byte(l.n>>24), byte(l.n>>16), byte(l.n>>8), byte(l.n)
	if cap(b) <= 2*window {
		s.out = b
	}
	return s.send(b)
}

// printTo writes the messages to the client's own output. What has been written in full is taken,
// the rest goes back when that fails.
func (s *session) printTo(ctx context.Context, l *Lease, f Format) error {
	defer l.Return()
	hand := s.hand // the function below may still be running when the session has gone on
	stop := context.AfterFunc(ctx, func() { hand.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if l.keeps(f) {
		for l.n > 0 {
			data := l.segs[0].data
			n, err := s.hand.Write(data)
			l.AckBytes(n)
			if err != nil {
				return s.outputError(ctx, err)
			}
		}
		return nil
	}
	s.out = l.print(s.out[:0], f)
	if _, err := s.hand.Write(s.out); err != nil {
		return s.outputError(ctx, err)
	}
	l.Ack()
	return nil
}

func (s *session) outputError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errClientGone
	}
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("%w: %w", ErrOutput, err)
}

// keeps tells whether messages are kept as f prints them.
func (q *Queue) keeps(f Format) bool {
	return f == FormatLine && q.frame == Line || f == FormatNul && q.frame == Nul
}

// keeps is the queue's, for the messages that are leased.
func (l *Lease) keeps(f Format) bool {
	for i := range l.segs {
		if l.segs[i].boxed {
			return false
		}
	}
	return l.q.keeps(f)
}

// print appends the messages as a person or a program wants to read them.
func (l *Lease) print(b []byte, f Format) []byte {
	if l.keeps(f) {
		for i := range l.segs {
			b = append(b, l.segs[i].data...)
		}
		return b
	}
	l.Each(func(m Message) {
		switch f {
		case FormatJSON:
			b = appendJSON(b, m)
		case FormatBare:
			b = append(b, m.Data...)
		case FormatNul:
			b = append(append(b, m.Data...), 0)
		default:
			b = append(append(b, m.Data...), '\n')
		}
	})
	return b
}

func appendJSON(b []byte, m Message) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), m.Seq, 10)
	b = m.Time.UTC().AppendFormat(append(b, `,"time":"`...), "2006-01-02T15:04:05.000000Z07:00")
	peer, _ := json.Marshal(m.Peer)
	b = append(append(b, `","peer":`...), peer...)
	if utf8.Valid(m.Data) {
		text, _ := json.Marshal(string(m.Data))
		return append(append(append(b, `,"message":`...), text...), "}\n"...)
	}
	b = base64.StdEncoding.AppendEncode(append(b, `,"msg_b64":"`...), m.Data)
	return append(b, "\"}\n"...)
}

// write answers W.
func (s *session) write(ctx context.Context, r writeRequest, message []byte) error {
	q := s.h.Queue
	if s.h.Kind != Output {
		return &remoteError{s.h.Entry.name + ": an input is read, not written to: use 'sockbox read " + s.h.Entry.name + "'", ErrVerb}
	}
	patient := func() (context.Context, context.CancelFunc) {
		if r.timeout == 0 {
			return ctx, func() {}
		}
		return context.WithTimeoutCause(ctx, r.timeout, ErrTimeout)
	}
	var n, size int
	var seq uint64
	var err error
	switch {
	case r.flags&flagOne != 0:
		size = len(message)
		ctx, cancel := patient()
		n, seq, err = s.put(ctx, message, r.flags&flagNoWait != 0)
		cancel()
	default:
		src := q.NewSource(SourceOptions{Peer: "local", Frame: r.frame, Whole: r.flags&flagWhole != 0, Patience: r.timeout})
		if r.flags&flagHand != 0 {
			err = s.pullFrom(ctx, src)
		} else {
			err = s.pull(ctx, src)
		}
		if err == io.EOF {
			err = src.Finish()
		} else {
			src.Abort()
		}
		n, size, seq = src.n, src.size, q.Seq()-1
		if err != nil && n > 0 {
			err = fmt.Errorf("%w (after %d messages)", err, n)
		}
	}
	if err != nil {
		return err
	}
	if r.flags&flagFlush != 0 {
		ctx, cancel := patient()
		defer cancel()
		err := s.watch(ctx, func(ctx context.Context) error { return q.WaitGone(ctx, seq) })
		if err != nil {
			return err
		}
	}
	return s.send(appendGood(nil, n, size))
}

// put puts one message in, watching the client only when it comes to waiting.
func (s *session) put(ctx context.Context, message []byte, noWait bool) (n int, seq uint64, err error) {
	n, seq, err = s.h.Queue.TryPut(message, "local")
	if err != ErrFull || noWait || s.h.Queue.overflow != Block {
		return n, seq, err
	}
	err = s.watch(ctx, func(ctx context.Context) error {
		n, seq, err = s.h.Queue.Put(ctx, message, "local")
		return err
	})
	return n, seq, err
}

// pull takes in D frames until E, which is io.EOF.
func (s *session) pull(ctx context.Context, src *Source) error {
	for {
		hd, err := s.readHead()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrEnd
		}
		if err != nil {
			return errClientGone
		}
		switch hd.kind {
		case kindEnd:
			return io.EOF
		case kindData:
			for rest := hd.size; rest > 0; {
				var n int
				switch err := src.PullN(ctx, s.c, rest, &n); {
				case errors.Is(err, os.ErrDeadlineExceeded):
					return ErrEnd
				case err == io.EOF:
					return errClientGone
				case err != nil:
					return err
				}
				rest -= n
			}
		default:
			return errWire
		}
	}
}

// pullFrom reads the client's own input to its end, which is io.EOF.
func (s *session) pullFrom(ctx context.Context, src *Source) error {
	if s.hand == nil || !usable(s.fd) {
		return errWire
	}
	widen(s.fd)
	return s.watch(ctx, func(ctx context.Context) error {
		hand := s.hand // as in printTo
		stop := context.AfterFunc(ctx, func() { hand.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
		for {
			if err := src.Pull(ctx, s.hand); err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				return err
			}
			if ctx.Err() != nil { // a plain file has no deadline
				return context.Cause(ctx)
			}
		}
	})
}
