package launch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// How long things may take that a peer does.
const (
	lineTime  = 10 * time.Second // for a line that has begun
	lineMore  = 64 << 10         // and a second more for so many bytes of it
	writeTime = 30 * time.Second // to take an answer
)

// A lineReader reads the lines of one client. While nothing comes it holds little memory.
type lineReader struct {
	s     *shop
	c     net.Conn
	buf   []byte // what has been read and not been taken
	from  int    // where no newline has been looked for yet
	held  int    // what it has told the budget
	stop  func() bool
	ended error
}

const smallBuffer = 512

func newLineReader(s *shop, c net.Conn) *lineReader {
	l := &lineReader{s: s, c: c}
	l.stop = context.AfterFunc(s.ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	return l
}

func (l *lineReader) free() {
	l.stop()
	l.buf = nil
	l.hold(begun, 0)
}

// hold says that there are size bytes of that kind, besides what has been read. It tells whether there is
// room for them; if not, the connection is closed.
func (l *lineReader) hold(what kind, size int) bool {
	if n := cap(l.buf); n > smallBuffer {
		size += n
	}
	if size <= smallBuffer {
		size = 0
	}
	if size == 0 && l.held == 0 {
		return true
	}
	l.held = size
	return l.s.lines.set(l, holding{kind: what, size: size})
}

// due is when the line has to be complete that began then.
func (l *lineReader) due(began time.Time) time.Time {
	return began.Add(lineTime + time.Duration(l.from/lineMore)*time.Second)
}

// deadline is when the line that has begun has to be complete; the zero time while none has. When no
// more lines are taken the time is over for all.
func (l *lineReader) deadline(t time.Time) {
	l.c.SetReadDeadline(t)
	if l.s.ctx.Err() != nil {
		l.c.SetReadDeadline(time.Unix(1, 0))
	}
}

// next returns a line with its newline, which is added to the last one. It is the caller's, who has
// to tell when it is needed no more (hold).
func (l *lineReader) next() ([]byte, error) {
	var began time.Time
	for {
		i := bytes.IndexByte(l.buf[l.from:], '\n')
		if n := l.from + i; i >= 0 && n <= l.s.MaxMessage {
			return l.take(n + 1), nil
		}
		l.from = len(l.buf)
		switch {
		case i >= 0, l.from > l.s.MaxMessage:
			return nil, fmt.Errorf("%w: more than %d bytes", errTooLong, l.s.MaxMessage)
		case l.ended == io.EOF && l.from > 0:
			l.buf = append(l.buf, '\n')
			return l.take(l.from + 1), nil
		case l.ended != nil:
			return nil, l.ended
		}
		if l.from == 0 {
			l.deadline(time.Time{})
			began = time.Time{}
		} else {
			if began.IsZero() {
				began = time.Now()
			}
			l.deadline(l.due(began))
		}
		if cap(l.buf)-len(l.buf) < smallBuffer/2 {
			size := max(smallBuffer, 2*cap(l.buf))
			if size > smallBuffer {
				waited, ok := l.s.lines.room(l.s.ctx, size-l.held)
				began = began.Add(waited)
				l.deadline(l.due(began))
				l.held = size
				if !ok || !l.s.lines.set(l, holding{size: size}) {
					return nil, fmt.Errorf("%w: there are too many that have begun", errTooLong)
				}
			}
			l.buf = append(make([]byte, 0, size), l.buf...)
		}
		n, err := l.c.Read(l.buf[len(l.buf):cap(l.buf)])
		l.buf = l.buf[:len(l.buf)+n]
		if err != nil {
			l.ended = err
		}
	}
}

// lines is how many lines have been read that next has not returned.
func (l *lineReader) lines() int {
	if l.ended == io.EOF {
		return countLines(l.buf)
	}
	return bytes.Count(l.buf, []byte("\n"))
}

// countLines counts the last one too that has no newline.
func countLines(b []byte) int {
	n := bytes.Count(b, []byte("\n"))
	if len(b) > 0 && b[len(b)-1] != '\n' {
		n++
	}
	return n
}

func (l *lineReader) take(n int) []byte {
	var line []byte
	if n == len(l.buf) && n > smallBuffer {
		line, l.buf = l.buf, nil
	} else {
		line = append(make([]byte, 0, n), l.buf[:n]...)
		l.buf = l.buf[:copy(l.buf, l.buf[n:])]
		if len(l.buf) == 0 && cap(l.buf) > smallBuffer {
			l.buf = nil
		}
	}
	l.from = 0
	l.hold(asked, cap(line))
	return line
}

// linesMost is what there may be of lines and answers together, beyond a little for each client.
const linesMost = 16 << 20

// What a client has of them.
type kind int

const (
	begun kind = iota // a line that is not complete
	asked             // one that has no answer yet
	told              // an answer that the client has not taken
)

type holding struct {
	kind  kind
	size  int
	since time.Time
}

// A budget is shared by the clients of a worker. When it is used up whoever sends more waits until lines
// are answered. Where nothing is to be waited for, the answer gives way that was not taken for the
// longest, or else the longest of the lines that have begun: no set of peers stops the rest.
type budget struct {
	mu      sync.Mutex
	used    int
	asked   int // of that
	holders map[*lineReader]holding
	freed   chan struct{} // closed when there is less; nil: nobody waits
}

// add is called with mu held.
func (b *budget) add(h holding, sign int) {
	b.used += sign * h.size
	if h.kind == asked {
		b.asked += sign * h.size
	}
	if sign < 0 && b.freed != nil {
		close(b.freed)
		b.freed = nil
	}
}

// takeTime is how long an answer may be on its way to its client while others need its room.
const takeTime = time.Second

// room waits until there is room for more bytes, or nothing that makes it by itself, or an answer that
// has to give way. It tells how long that took, and whether ctx has not ended.
func (b *budget) room(ctx context.Context, more int) (waited time.Duration, ok bool) {
	began := time.Now()
	for {
		b.mu.Lock()
		enough := b.used+more <= linesMost || b.asked == 0
		if !enough {
			oldest := b.holders[b.victim()]
			enough = oldest.kind == told && time.Since(oldest.since) > takeTime
		}
		if enough {
			b.mu.Unlock()
			return waited, true
		}
		if b.freed == nil {
			b.freed = make(chan struct{})
		}
		freed := b.freed
		b.mu.Unlock()
		again := time.NewTimer(takeTime)
		select {
		case <-freed:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return 0, false
		}
		again.Stop()
		waited = time.Since(began)
	}
}

// set says what l holds, and tells whether it may.
func (b *budget) set(l *lineReader, h holding) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	h.since = time.Now()
	b.add(b.holders[l], -1)
	delete(b.holders, l)
	if h.size == 0 {
		return true
	}
	b.add(h, 1)
	b.holders[l] = h
	for b.used > linesMost {
		victim := b.victim()
		if victim == nil { // all of it will be answered
			break
		}
		what := b.holders[victim]
		b.add(what, -1)
		delete(b.holders, victim)
		if what.kind == told {
			l.s.Log("%s: %s: does not take its answer, and others wait: closed", l.s.Name, peerAddr(victim.c.RemoteAddr()))
		} else {
			l.s.Log("%s: %s: a line has to give way to others: closed", l.s.Name, peerAddr(victim.c.RemoteAddr()))
		}
		victim.c.Close()
		if victim == l {
			return false
		}
	}
	return true
}

func (b *budget) victim() (victim *lineReader) {
	var worst holding
	for l, h := range b.holders {
		switch {
		case h.kind == asked, h.kind < worst.kind:
		case victim == nil, h.kind > worst.kind, h.kind == told && h.since.Before(worst.since), h.kind == begun && h.size > worst.size:
			victim, worst = l, h
		}
	}
	return victim
}

// take is for what has no client to be closed: it tells whether there is room for n bytes that will be
// answered.
func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used+n > linesMost {
		return false
	}
	b.add(holding{kind: asked, size: n}, 1)
	return true
}

// calm tells whether it is well away from being used up.
func (b *budget) calm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used < linesMost/2
}

// give gives back what was taken.
func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(holding{kind: asked, size: n}, -1)
}
