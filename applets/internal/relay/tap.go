package relay

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// A tap sees what one sender says in one conversation: it is where Dump and Tee look, and Rate counts.
// A nil tap sees nothing and has no limit. It is used by one goroutine at a time.
type tap struct {
	r      *Relay
	who    string // CLIENT > DESTINATION, or <
	from   string // who says it
	pace   *pace
	offset int64
	line   []byte // of a stream, what has not ended yet
}

// tap returns the one for what from says to to, both as sock.PeerName shows them; back says that it is
// an answer, on its way to the client. It is nil where nobody looks.
func (r *Relay) tap(from, to string, back bool) *tap {
	if r.Dump == DumpNothing && r.Tee == nil && r.Rate == 0 {
		return nil
	}
	t := &tap{r: r, from: from, who: from + " > " + to, pace: &r.pace[0]}
	if back {
		t.who, t.pace = to+" < "+from, &r.pace[1]
	}
	return t
}

// maxLine is the longest line of a stream that is handed to Tee in one piece.
const maxLine = 64 << 10

// datagram shows one datagram, and waits as long as Rate demands or until ctx ends.
func (t *tap) datagram(ctx context.Context, b []byte) error {
	if t == nil {
		return nil
	}
	if t.r.Tee != nil {
		t.r.Tee(bytes.TrimSuffix(b, []byte{'\n'}), t.from) // which scripts send
	}
	return t.show(ctx, b, [][]byte{b})
}

// bytes shows a part of a stream, and waits as long as Rate demands or until ctx ends.
func (t *tap) bytes(ctx context.Context, b []byte) error {
	if t == nil {
		return nil
	}
	if t.r.Tee != nil {
		t.split(b)
	}
	return t.show(ctx, b, bytes.SplitAfter(b, []byte{'\n'}))
}

// split hands lines to Tee, all that have come whole together: one by one they cost more than the relay.
func (t *tap) split(b []byte) {
	for len(b) > 0 {
		if end := bytes.LastIndexByte(b, '\n'); end >= 0 && len(t.line) == 0 {
			t.r.Tee(b[:end], t.from)
			b = b[end+1:]
			continue
		}
		n := bytes.IndexByte(b, '\n')
		whole := n >= 0
		if !whole {
			n = len(b)
		}
		if room := maxLine - len(t.line); n > room {
			n, whole = room, false
		}
		t.line = append(t.line, b[:n]...)
		b = b[n:]
		if whole {
			b = b[1:]
		}
		if whole || len(t.line) == maxLine {
			t.r.Tee(t.line, t.from)
			t.line = t.line[:0]
		}
	}
}

// end says that no more comes of a stream.
func (t *tap) end() {
	if t == nil {
		return
	}
	if t.r.Tee != nil && len(t.line) > 0 {
		t.r.Tee(t.line, t.from)
		t.line = nil
	}
	if t.r.Dump != DumpNothing {
		t.r.print([]byte(t.who + " end\n"))
	}
}

func (t *tap) show(ctx context.Context, b []byte, lines [][]byte) error {
	var out []byte
	switch t.r.Dump {
	case DumpText:
		for _, line := range lines {
			if len(line) > 0 || len(b) == 0 {
				out = append(out, t.who...)
				out = append(strconv.AppendQuote(append(out, ' '), string(line)), '\n')
			}
		}
	case DumpHex:
		out = t.hex(b)
	}
	if out != nil {
		if err := t.r.print(out); err != nil {
			return err
		}
	}
	if t.r.Rate > 0 {
		return t.pace.wait(ctx, len(b), t.r.Rate)
	}
	return nil
}

// hex shows b as hexdump -C does, with the sender before each line.
func (t *tap) hex(b []byte) (out []byte) {
	for first := true; first || len(b) > 0; first = false {
		row := b[:min(16, len(b))]
		b = b[len(row):]
		out = fmt.Appendf(out, "%s %08x  % -23x  % -23x  |", t.who, t.offset, row[:min(8, len(row))], row[min(8, len(row)):])
		for _, c := range row {
			if c < ' ' || c > '~' {
				c = '.'
			}
			out = append(out, c)
		}
		out = append(out, "|\n"...)
		t.offset += int64(len(row))
	}
	return out
}

// print writes to Out in one piece. Where nobody reads that any more the relay ends; who reads and does
// not go on is waited for until the relay's end was waited for long enough.
func (r *Relay) print(b []byte) error {
	ctx := r.dests.ctx
	select {
	case r.out <- struct{}{}:
	case <-ctx.Done():
		return errAbandoned
	}
	written := make(chan error, 1)
	b = bytes.Clone(b) // a write to a full pipe cannot be ended, and may outlive this call
	go func() {
		_, err := r.Out.Write(b)
		<-r.out
		written <- err
	}()
	select {
	case err := <-written:
		if err != nil {
			r.fail(err)
		}
		return err
	case <-ctx.Done():
		return errAbandoned
	}
}

// A pace is a limit that all who wait share.
type pace struct {
	mu   sync.Mutex
	next time.Time // when what has been allowed so far is through
}

// wait waits until n more bytes may pass.
func (p *pace) wait(ctx context.Context, n int, rate int64) error {
	const burst = 20 * time.Millisecond
	p.mu.Lock()
	now := time.Now()
	if early := now.Add(-burst); p.next.Before(early) {
		p.next = early
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	d := p.next.Sub(now)
	p.mu.Unlock()
	if d > 0 && !sleep(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}

// portion is how much is read at once where a rate is to be kept, so that little passes often.
func portion(rate int64) int { return int(min(max(rate/50, 1), 64<<10)) }
