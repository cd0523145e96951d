package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A world is a sender, a receiver and a network between them that does all that networks do, by
// the steps alone: no clock, no goroutine, no socket. A seed is one course of events.
type world struct {
	*rand.Rand
	now time.Time

	// The sender and its queue.
	s       sender
	total   int
	offered int      // messages that were taken out of the queue
	at      *simConn // the connection it uses

	// The receiver and its queue.
	streams streams
	got     []uint64
	began   uint64 // got begins after it
	ever    uint64 // the last message that any receiver had
	credit  uint32

	conns   []*simConn
	faults  map[string]int
	restart bool // the receiver is killed and started again now and then
}

// A simConn is a connection, which the two sides leave each in its own time.
type simConn struct {
	up, down       []byte // on their way
	upEnd, downEnd bool   // behind that comes the end
	record         []byte // all that was sent up

	in   []byte // what the sender has not parsed yet
	gone bool   // the receiver has left it

	r       receiver
	buf     []byte
	st      *stream
	me      uint64
	pending []uint64 // wanted, and not in the queue yet
}

// content is what the message with the number seq says. Some are empty.
func content(seq uint64) []byte {
	if seq%7 == 0 {
		return nil
	}
	return append(binary.BigEndian.AppendUint64(nil, seq), bytes.Repeat([]byte{byte(seq)}, int(seq*seq%50))...)
}

func (w *world) connect() {
	w.at = &simConn{r: receiver{credit: w.credit}}
	w.conns = append(w.conns, w.at)
	w.up(w.at, w.s.connect(w.now))
}

func (w *world) up(c *simConn, b []byte) {
	c.up = append(c.up, b...)
	c.record = append(c.record, b...)
}

// leave is the sender's end of a connection.
func (w *world) leave() {
	w.at.down, w.at.downEnd = nil, true
	w.at = nil
}

// drop is the receiver's end of a connection.
func (w *world) drop(c *simConn, over bool) {
	if !c.gone && c.st != nil {
		w.streams.close(c.st, over)
	}
	c.gone, c.downEnd, c.up = true, true, nil
}

// write has the sender do one thing that it can do.
func (w *world) write() {
	c := w.at
	if i, seq, ok := w.s.ready(); ok {
		var b []byte
		for range w.s.window[i].n {
			b = appendData(b, seq, content(seq))
			seq++
		}
		w.up(c, b)
		w.s.send()
		return
	}
	if room := w.s.room(); room > 0 && w.offered < w.total {
		n, size := 0, 0
		for n < 1+w.IntN(20) && w.offered < w.total && (n == 0 || size < room) {
			w.offered++
			n++
			size += len(content(uint64(w.offered)))
		}
		w.s.take(n, size)
	}
}

// hear gives the sender what has come down.
func (w *world) hear(b []byte) error {
	c := w.at
	w.s.hear(w.now)
	c.in = append(c.in, b...)
	for {
		f, size, err := next(c.in, 0)
		if err != nil {
			return fmt.Errorf("the sender cannot read this: %w", err)
		}
		if size == 0 {
			return nil
		}
		before := w.s.first
		n, err := w.s.frame(f)
		if _, bye := err.(*ByeError); bye {
			w.leave()
			return nil
		}
		if err != nil {
			return fmt.Errorf("the sender refuses %+v: %w", f, err)
		}
		// What is acknowledged is in the receiver's queue.
		if last := before + uint64(n) - 1; n > 0 && last > w.ever {
			return fmt.Errorf("message %d is acknowledged, and the receiver has %d", last, w.ever)
		}
		c.in = c.in[size:]
	}
}

// take gives the receiver what has come up.
func (w *world) take(c *simConn, b []byte) error {
	c.r.hear(w.now)
	c.buf = append(c.buf, b...)
	for len(c.pending) == 0 || w.IntN(3) > 0 {
		if c.st == nil {
			n := min(len(c.buf), len(Magic))
			if string(c.buf[:n]) != Magic[:n] {
				return fmt.Errorf("no magic: %x", c.buf)
			}
			f, size, err := next(c.buf[n:], 0)
			if n < len(Magic) || size == 0 || err != nil {
				return err
			}
			c.buf = c.buf[n+size:]
			if c.st, c.me, err = w.streams.open(f.id, f.seq); err != nil {
				return err
			}
			for _, old := range w.conns {
				if old != c && old.st == c.st && !old.gone {
					w.drop(old, false)
					old.down = old.down[:w.IntN(len(old.down)+1)]
				}
			}
			if c.st.last == 0 && f.seq > 1 {
				w.began = f.seq - 1
			}
			c.st.resume(f.seq)
			c.r.begin(w.now)
			c.r.accept(c.st)
		}
		f, size, err := next(c.buf, 1000)
		if err != nil {
			return fmt.Errorf("the receiver cannot read this: %w", err)
		}
		if size == 0 {
			return nil
		}
		want, over, err := c.r.frame(f)
		if err != nil {
			return fmt.Errorf("the receiver refuses %+v: %w", f, err)
		}
		if want {
			if !bytes.Equal(f.text, content(f.seq)) {
				return fmt.Errorf("message %d is %x", f.seq, f.text)
			}
			c.pending = append(c.pending, f.seq)
		}
		c.buf = c.buf[size:]
		if over {
			w.drop(c, true)
			return nil
		}
	}
	c.r.listen(w.now, false)
	return nil
}

// put puts into the queue what one connection wants there, or a part of it.
func (w *world) put(c *simConn) error {
	n := 1 + w.IntN(len(c.pending))
	for _, seq := range c.pending[:n] {
		if want := w.began + uint64(len(w.got)) + 1; seq != want {
			return fmt.Errorf("the queue gets message %d, after it had %d", seq, want-1)
		}
		w.got = append(w.got, seq)
		w.ever = max(w.ever, seq)
	}
	c.pending = c.pending[n:]
	c.r.put(n)
	if len(c.pending) == 0 {
		c.r.listen(w.now, true)
		return w.take(c, nil)
	}
	return nil
}

// move brings some bytes to the other side of a connection.
func (w *world) move(c *simConn) error {
	if w.IntN(2) == 0 && c == w.at {
		n := min(len(c.down), 1+w.IntN(100))
		b := c.down[:n]
		c.down = c.down[n:]
		if n > 0 {
			if err := w.hear(b); err != nil {
				return err
			}
		}
		if c == w.at && len(c.down) == 0 && c.downEnd {
			w.leave()
		}
		return nil
	}
	if c.gone || len(c.pending) > 0 {
		return nil
	}
	n := min(len(c.up), 1+w.IntN(300))
	b := c.up[:n]
	c.up = c.up[n:]
	if n > 0 {
		if err := w.take(c, b); err != nil {
			return err
		}
	}
	if len(c.up) == 0 && c.upEnd {
		w.drop(c, false)
	}
	return nil
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	if w.at != nil {
		if _, err := w.s.tick(w.now); err != nil {
			w.leave()
		}
	}
	for _, c := range w.conns {
		if !c.gone && c.st != nil {
			if _, err := c.r.tick(w.now); err != nil {
				w.drop(c, false)
			}
		}
	}
}

// harm does one of the things that networks do.
func (w *world) harm() {
	c := w.conns[w.IntN(len(w.conns))]
	what := ""
	switch w.IntN(7) {
	case 0, 1:
		what = "cut: what is on its way gets there up to some byte, and one side is told or both"
		if c == w.at {
			c.up = c.up[:w.IntN(len(c.up)+1)]
			c.upEnd = w.IntN(2) == 0
			w.leave()
		}
	case 2:
		what = "reset by the receiver"
		c.down = c.down[:w.IntN(len(c.down)+1)]
		w.drop(c, false)
	case 3:
		what = "silence: nothing gets through any more"
		c.up, c.down = nil, nil
		if c == w.at {
			w.at.upEnd = false
			for w.at == c {
				w.pass(time.Duration(w.IntN(5000)) * time.Millisecond)
			}
		}
	case 4:
		what = "a connection comes again, as somebody who repeats what was sent"
		if w.restart {
			break
		}
		again := &simConn{r: receiver{credit: w.credit}, up: bytes.Clone(c.record[:w.IntN(len(c.record)+1)]), upEnd: w.IntN(2) == 0}
		w.conns = append(w.conns, again)
	case 5:
		what = "two connections at once: the sender believes the old one dead, and it is not"
		if c == w.at {
			w.leave()
			w.connect()
		}
	case 6:
		what = "the receiver is killed and started again"
		if !w.restart {
			break
		}
		for _, c := range w.conns {
			w.drop(c, false)
		}
		w.streams = streams{most: 4}
		w.got, w.began = nil, 0
	}
	w.faults[what]++
	if len(w.conns) > 8 {
		old := w.conns[0]
		if old != w.at {
			w.drop(old, false)
			w.conns = w.conns[1:]
		}
	}
}

// live is one course of events. At its end the receiver has all messages, each once and in order.
func live(seed uint64, faults map[string]int) error {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(1, 0), faults: faults, streams: streams{most: 4},
		s: sender{id: ID{byte(seed)}, name: "sim", first: 1},
	}
	w.total, w.credit, w.restart = w.IntN(400), uint32(w.IntN(2000)), w.IntN(4) == 0
	bad := w.IntN(400)
	w.connect()
	for step := 0; ; step++ {
		if step > 200000 {
			return fmt.Errorf("no end: %d of %d messages", len(w.got), w.total)
		}
		if step < 2000 && w.IntN(1000) < bad {
			w.harm()
		}
		if w.at == nil {
			if w.IntN(5) == 0 {
				w.connect()
			}
		} else {
			for range w.IntN(3) {
				w.write()
			}
			w.up(w.at, w.s.append(nil))
		}
		c := w.conns[w.IntN(len(w.conns))]
		if err := w.move(c); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		if len(c.pending) > 0 && !c.gone && w.IntN(2) == 0 {
			if err := w.put(c); err != nil {
				return fmt.Errorf("step %d: %w", step, err)
			}
		}
		if !c.gone && c.st != nil && w.IntN(2) == 0 {
			c.down = c.r.append(c.down)
		}
		if w.IntN(20) == 0 {
			w.pass(time.Duration(w.IntN(100)) * time.Millisecond)
		}
		if w.s.kept == 0 && w.offered == w.total {
			break
		}
	}
	if last := w.began + uint64(len(w.got)); last != uint64(w.total) && w.total > 0 && !w.restart {
		return fmt.Errorf("the receiver has up to %d of %d", last, w.total)
	}
	if len(w.streams.known) > 1 {
		return fmt.Errorf("%d streams are remembered", len(w.streams.known))
	}
	if w.s.size != 0 || w.s.flying != 0 || len(w.s.window) != 0 {
		return fmt.Errorf("the sender keeps %+v", w.s)
	}
	return nil
}

func TestSimulated(t *testing.T) {
	faults := map[string]int{}
	seeds := 0
	for began := time.Now(); time.Since(began) < time.Second || seeds < 200; seeds++ {
		if err := live(uint64(seeds), faults); err != nil {
			t.Fatalf("seed %d: %v", seeds, err)
		}
	}
	for what, n := range faults {
		t.Log(n, what)
	}
	t.Log(seeds, "seeds")
}

// A peer that is quiet is asked, and one that does not answer is dead; one that does not listen,
// as its queue is full, asks itself.
func TestPulse(t *testing.T) {
	now := time.Unix(1, 0)
	var p pulse
	p.begin(now)
	p.greeted = true
	said := func() string { return string(p.append(nil)) }
	after := func(d, again time.Duration, dead bool, want string) {
		t.Helper()
		now = now.Add(d)
		next, err := p.tick(now)
		if got := said(); next != again || (err != nil) != dead || got != want {
			t.Errorf("%v, %v, said %q, want %v, %v, %q", next, err, got, again, dead, want)
		}
	}
	after(4*time.Second, time.Second, false, "")
	after(time.Second, 5*time.Second, false, "P")
	p.hear(now.Add(time.Second))
	after(2*time.Second, 4*time.Second, false, "")
	after(4*time.Second, 5*time.Second, false, "P")
	p.listen(now, false)
	after(20*time.Second, 5*time.Second, false, "P")
	after(5*time.Second, 5*time.Second, false, "P")
	p.listen(now, true)
	after(14*time.Second, 5*time.Second, false, "P")
	after(time.Second, 0, true, "")
	p.begin(now)
	after(10*time.Second, 0, true, "")
}

// The idle streams that are remembered are bounded; the one that has been idle for longest goes.
func TestStreams(t *testing.T) {
	s := streams{most: 3}
	var open []*stream
	for i := range 3 {
		st, _, err := s.open(ID{byte(i)}, 1)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, st)
	}
	if _, _, err := s.open(ID{3}, 1); err != errStreams {
		t.Error(err)
	}
	s.close(open[1], false)
	s.close(open[0], false)
	s.open(ID{1}, 1)
	s.close(open[1], false)
	s.open(ID{4}, 1)
	for i, want := range []bool{false, true, true, false, true} {
		if _, ok := s.known[ID{byte(i)}]; ok != want {
			t.Errorf("stream %d: %v", i, ok)
		}
	}
	s.close(open[2], true)
	if len(s.known) != 2 {
		t.Error(len(s.known))
	}
	one := streams{most: 3, one: true}
	one.open(ID{1}, 1)
	if _, _, err := one.open(ID{2}, 1); err != errOther {
		t.Error(err)
	}
}
