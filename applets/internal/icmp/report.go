package icmp

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Style is what results look like.
type Style uint8

const (
	OneHost   Style = iota // as iputils' ping
	ManyHosts              // as fping with a count
	Liveness               // as fping without one
	JSON                   // an object a line
)

// A Reporter writes results: whole lines, without their newline, which Emit is given with the
// address that they are about.
type Reporter struct {
	Style   Style
	Quiet   bool // the summary only
	Unix    bool // a time in seconds since 1970 in front of each line, as ping -D
	Stamps  bool // a time in words in front of each line
	Bell    bool // a BEL for each answer
	Numeric bool // no names
	Bare    bool // no headings
	More    bool // percentiles and jitter
	Draw    bool // and a histogram, for people

	Missing []*Unresolved // hosts that cannot be asked; of interest to programs only

	Emit func(line []byte, about netip.Addr)

	p     *Pinger
	width int // of the longest name
	line  []byte
}

// Miss tells programs which hosts cannot be asked. Begin does, where there are others.
func (r *Reporter) Miss() {
	if r.Style != JSON {
		return
	}
	for _, u := range r.Missing {
		b := beginObject(r.line[:0], "unresolved", time.Now(), u.Name)
		why, _ := json.Marshal(u.Err.Error())
		r.line = append(append(append(b, `,"error":`...), why...), '}')
		r.Emit(r.line, netip.Addr{})
	}
}

// Begin says what is about to happen.
func (r *Reporter) Begin(p *Pinger) {
	r.p = p
	r.Miss()
	for _, h := range p.Hosts {
		r.width = max(r.width, len(r.name(h)))
	}
	if r.Style != OneHost || r.Bare {
		return
	}
	h := p.Hosts[0]
	b := fmt.Appendf(r.line[:0], "PING %s", h.Name) // also with Numeric, as ping has it
	if h.Addr.Is4() {
		b = append(b, ' ')
	}
	b = fmt.Appendf(b, "(%s)", h.Addr)
	if p.Source.IsValid() || p.Device != "" {
		from := p.Source
		if a, err := Route(&p.Options, h.Addr); err == nil {
			from = a
		}
		b = fmt.Appendf(b, " from %s %s:", from, p.Device)
	}
	switch {
	case p.TCP > 0:
		b = fmt.Appendf(b, " port %d/tcp.", p.TCP)
	case h.Addr.Is4():
		b = fmt.Appendf(b, " %d(%d) bytes of data.", p.Size, p.Size+28)
	default:
		b = fmt.Appendf(b, " %d data bytes", p.Size)
	}
	r.emit(b, h)
}

func (r *Reporter) name(h *Host) string {
	if r.Numeric {
		return h.Addr.String()
	}
	return h.Name
}

func (r *Reporter) emit(b []byte, h *Host) {
	r.line = b
	r.Emit(b, h.Addr)
}

// Event tells what became of a request.
func (r *Reporter) Event(e *Event) {
	if r.Quiet {
		return
	}
	b := r.line[:0]
	if r.Style == JSON {
		r.emit(appendEvent(b, e), e.Host)
		return
	}
	if r.Bell && e.Kind == Replied && !e.Duplicate {
		b = append(b, '\a')
	}
	b = r.stamp(b, e.At)
	body := len(b)
	switch r.Style {
	case OneHost:
		b = r.one(b, e)
	case ManyHosts:
		b = r.many(b, e)
	case Liveness:
		b = r.alive(b, e)
	}
	if len(b) > body {
		r.emit(b, e.Host)
	}
	r.line = b
}

func (r *Reporter) stamp(b []byte, t time.Time) []byte {
	if r.Unix {
		b = fmt.Appendf(b, "[%d.%06d] ", t.Unix(), t.Nanosecond()/1000)
	}
	if r.Stamps {
		b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z ")
	}
	return b
}

func (r *Reporter) seq() string {
	if r.p.TCP > 0 {
		return "tcp_seq"
	}
	return "icmp_seq"
}

func (r *Reporter) one(b []byte, e *Event) []byte {
	switch e.Kind {
	case Replied:
		if r.p.TCP > 0 {
			b = append(b, "connected to "...)
		} else {
			b = append(strconv.AppendInt(b, int64(e.Bytes), 10), " bytes from "...)
		}
		if e.From == e.Host.Addr && e.Host.Named() && !r.Numeric {
			b = append(append(b, e.Host.Name...), " ("...)
			b = append(e.From.AppendTo(b), ')')
		} else {
			b = e.From.AppendTo(b)
		}
		if r.p.TCP > 0 {
			b = strconv.AppendInt(append(b, " port "...), int64(r.p.TCP), 10)
		}
		b = append(append(append(b, ": "...), r.seq()...), '=')
		b = strconv.AppendInt(b, int64(e.Seq), 10)
		if e.TTL > 0 {
			b = strconv.AppendInt(append(b, " ttl="...), int64(e.TTL), 10)
		}
		b = append(b, " time="...)
		b = append(appendTime(b, e.RTT), " ms"...)
		return marks(b, e)
	case Failed:
		if e.From.IsValid() {
			b = e.From.AppendTo(append(b, "From "...))
			b = append(b, ' ')
		}
		return fmt.Appendf(b, "%s=%d %s", r.seq(), e.Seq, r.why(e))
	}
	return b // ping says nothing of what does not come
}

func (r *Reporter) why(e *Event) string {
	if e.From.IsValid() {
		return e.Why
	}
	return "not sent: " + e.Why
}

func marks(b []byte, e *Event) []byte {
	if e.Duplicate {
		b = append(b, " (DUP!)"...)
	}
	if e.Truncated {
		b = append(b, " (truncated)"...)
	}
	if e.Corrupted {
		b = append(b, " (corrupted)"...)
	}
	if e.Late {
		b = append(b, " (late)"...)
	}
	if e.Reordered && !e.Late {
		b = append(b, " (reordered)"...)
	}
	return b
}

// appendTime writes milliseconds as ping does: four figures or so.
func appendTime(b []byte, d time.Duration) []byte {
	us := d.Microseconds()
	ms, rest := us/1000, us%1000
	b = strconv.AppendInt(b, ms, 10)
	switch {
	case us >= 100_000:
	case us >= 10_000:
		b = append(b, '.', byte('0'+rest/100))
	case us >= 1_000:
		b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10))
	default:
		b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	}
	return b
}

// many is a line of fping -c, whose numbers begin with 0.
func (r *Reporter) many(b []byte, e *Event) []byte {
	h := e.Host
	name := r.name(h)
	b = append(b, name...)
	for range r.width - len(name) {
		b = append(b, ' ')
	}
	b = append(b, " : ["...)
	b = append(strconv.AppendInt(b, int64(e.Seq-1), 10), "], "...)
	switch e.Kind {
	case Replied:
		if r.p.TCP == 0 {
			b = append(strconv.AppendInt(b, int64(e.Bytes), 10), " bytes, "...)
		}
		b = append(appendFigures(b, e.RTT), " ms"...)
	case Lost:
		b = append(b, "timed out"...)
	case Failed:
		b = append(b, r.why(e)...)
		if e.From.IsValid() && e.From != h.Addr {
			b = e.From.AppendTo(append(b, " from "...))
		}
	}
	b = append(b, " ("...)
	if h.Received > 0 {
		b = appendFigures(b, h.Mean())
	} else {
		b = append(b, "NaN"...)
	}
	// What is on its way is not lost yet.
	settled := h.Sent - h.waiting
	loss := 0
	if settled > 0 {
		loss = (settled - min(h.Received, settled)) * 100 / settled
	}
	b = strconv.AppendInt(append(b, " avg, "...), int64(loss), 10)
	b = append(b, "% loss)"...)
	return marks(b, e)
}

func (r *Reporter) alive(b []byte, e *Event) []byte {
	h := e.Host
	switch {
	case e.Kind == Replied && h.Received == 1 && !e.Duplicate:
		return append(append(b, r.name(h)...), " is alive"...)
	case e.Kind != Replied && h.Received == 0 && h.waiting == 0 && !r.p.sendable(h):
		return append(append(b, r.name(h)...), " is unreachable"...)
	}
	return b
}

// appendFigures writes milliseconds as fping does: three figures, and a microsecond at least.
func appendFigures(b []byte, d time.Duration) []byte {
	ms := float64(d) / 1e6
	switch {
	case ms < 1:
		return strconv.AppendFloat(b, ms, 'f', 3, 64)
	case ms < 10:
		return strconv.AppendFloat(b, ms, 'f', 2, 64)
	case ms < 100:
		return strconv.AppendFloat(b, ms, 'f', 1, 64)
	}
	return strconv.AppendFloat(b, ms, 'f', 0, 64)
}

// End tells how it went.
func (r *Reporter) End() {
	switch r.Style {
	case OneHost:
		r.oneSummary(r.p.Hosts[0])
	case ManyHosts:
		r.manySummary()
	case JSON:
		for _, h := range r.p.Hosts {
			r.emit(appendSummary(r.line[:0], h), h)
		}
		r.total()
	}
}

func (r *Reporter) oneSummary(h *Host) {
	p := r.p
	if !r.Bare {
		r.emit(r.line[:0], h)
		r.emit(fmt.Appendf(r.line[:0], "--- %s ping statistics ---", h.Name), h)
	}
	b := fmt.Appendf(r.line[:0], "%d packets transmitted, %d received", h.Sent, h.Received)
	for _, c := range []struct {
		n    int
		what string
	}{{h.Duplicates, "duplicates"}, {h.Corrupt, "corrupted"}, {h.Errors, "errors"}} {
		if c.n > 0 {
			b = fmt.Appendf(b, ", +%d %s", c.n, c.what)
		}
	}
	if h.Sent > 0 {
		b = strconv.AppendFloat(append(b, ", "...), h.Loss(), 'g', 6, 64)
		b = fmt.Appendf(b, "%% packet loss, time %dms", p.Ended.Sub(p.Began).Milliseconds())
	}
	r.emit(b, h)
	if h.N() == 0 {
		r.emit(r.line[:0], h)
		return
	}
	b = fmt.Appendf(r.line[:0], "rtt min/avg/max/mdev = %s/%s/%s/%s ms", micro(h.Min), micro(h.Mean()), micro(h.Max), micro(h.Deviation()))
	if p.InFlight() > 1 {
		b = fmt.Appendf(b, ", pipe %d", p.InFlight())
	}
	r.emit(b, h)
	r.more(h)
}

// more is what ping does not tell: it comes only where it is asked for, or looked at.
func (r *Reporter) more(h *Host) {
	if !r.More || h.N() == 0 {
		return
	}
	b := fmt.Appendf(r.line[:0], "rtt p50/p90/p99/jitter = %s/%s/%s/%s ms", micro(h.Percentile(50)), micro(h.Percentile(90)),
		micro(h.Percentile(99)), micro(h.Jitter()))
	if h.Reordered > 0 {
		b = fmt.Appendf(b, ", %d reordered", h.Reordered)
	}
	if h.Late > 0 {
		b = fmt.Appendf(b, ", %d late", h.Late)
	}
	r.emit(b, h)
	if r.Draw && h.N() > 1 {
		r.emit(fmt.Appendf(r.line[:0], "%s ms %s %s ms", micro(h.Min), bars(h.Histogram(24)), micro(h.Max)), h)
	}
}

// bars draws counts as bars of one character each. What is there at all can be seen.
func bars(counts []int) string {
	const levels = " ▁▂▃▄▅▆▇█"
	runes := []rune(levels)
	most := 1
	for _, n := range counts {
		most = max(most, n)
	}
	var b strings.Builder
	for _, n := range counts {
		level := int(math.Ceil(float64(n) * float64(len(runes)-1) / float64(most)))
		b.WriteRune(runes[level])
	}
	return b.String()
}

func micro(d time.Duration) string {
	us := d.Microseconds()
	return fmt.Sprintf("%d.%03d", us/1000, us%1000)
}

func (r *Reporter) manySummary() {
	if !r.Quiet {
		r.emit(r.line[:0], r.p.Hosts[0])
	}
	for _, h := range r.p.Hosts {
		loss := 0
		if h.Sent > 0 {
			loss = max(h.Sent-h.Received, 0) * 100 / h.Sent
		}
		b := fmt.Appendf(r.line[:0], "%-*s : xmt/rcv/%%loss = %d/%d/%d%%", r.width, r.name(h), h.Sent, h.Received, loss)
		if h.N() > 0 {
			b = appendFigures(append(b, ", min/avg/max = "...), h.Min)
			b = appendFigures(append(b, '/'), h.Mean())
			b = appendFigures(append(b, '/'), h.Max)
			if r.More {
				b = appendFigures(append(b, ", p50/p90/p99/jitter = "...), h.Percentile(50))
				b = appendFigures(append(b, '/'), h.Percentile(90))
				b = appendFigures(append(b, '/'), h.Percentile(99))
				b = appendFigures(append(b, '/'), h.Jitter())
			}
			if r.Draw && h.N() > 1 {
				b = append(append(b, ' '), bars(h.Histogram(12))...)
			}
		}
		if h.Duplicates > 0 {
			b = fmt.Appendf(b, ", +%d duplicates", h.Duplicates)
		}
		r.emit(b, h)
	}
}

// ms is a time as JSON has it: milliseconds, to the microsecond.
func ms(b []byte, key string, d time.Duration) []byte {
	b = append(append(append(b, `,"`...), key...), `":`...)
	return strconv.AppendFloat(b, float64(d.Microseconds())/1e3, 'f', -1, 64)
}

func number64(b []byte, key string, n int) []byte {
	b = append(append(append(b, `,"`...), key...), `":`...)
	return strconv.AppendInt(b, int64(n), 10)
}

// begin begins an object about h.
func begin(b []byte, event string, at time.Time, h *Host) []byte {
	b = append(beginObject(b, event, at, h.Name), `,"addr":"`...)
	return append(h.Addr.AppendTo(b), '"')
}

func beginObject(b []byte, event string, at time.Time, host string) []byte {
	b = append(append(b, `{"event":"`...), event...)
	b = at.UTC().AppendFormat(append(b, `","time":"`...), "2006-01-02T15:04:05.000000Z")
	b = append(b, `","host":`...)
	name, _ := json.Marshal(host)
	return append(b, name...)
}

func appendEvent(b []byte, e *Event) []byte {
	what := map[Kind]string{Replied: "reply", Lost: "lost", Failed: "error"}[e.Kind]
	if e.Duplicate {
		what = "duplicate"
	}
	b = number64(begin(b, what, e.At, e.Host), "seq", e.Seq)
	if e.From.IsValid() && e.From != e.Host.Addr {
		b = append(e.From.AppendTo(append(b, `,"from":"`...)), '"')
	}
	switch e.Kind {
	case Replied:
		if e.Bytes > 0 {
			b = number64(b, "bytes", e.Bytes)
		}
		if e.TTL > 0 {
			b = number64(b, "ttl", e.TTL)
		}
		b = ms(b, "rtt_ms", e.RTT)
		for _, mark := range []struct {
			is  bool
			key string
		}{{e.Late, "late"}, {e.Reordered, "reordered"}, {e.Truncated, "truncated"}, {e.Corrupted, "corrupted"}} {
			if mark.is {
				b = append(append(append(b, `,"`...), mark.key...), `":true`...)
			}
		}
	case Failed:
		why, _ := json.Marshal(e.Why)
		b = append(append(b, `,"error":`...), why...)
	}
	return append(b, '}')
}

func appendSummary(b []byte, h *Host) []byte {
	b = begin(b, "summary", time.Now(), h)
	b = number64(b, "sent", h.Sent)
	b = number64(b, "received", h.Received)
	b = append(b, `,"loss_percent":`...)
	b = strconv.AppendFloat(b, math.Round(h.Loss()*1000)/1000, 'f', -1, 64)
	b = number64(b, "duplicates", h.Duplicates)
	b = number64(b, "errors", h.Errors)
	b = number64(b, "late", h.Late)
	b = number64(b, "reordered", h.Reordered)
	b = number64(b, "truncated", h.Truncated)
	b = number64(b, "corrupted", h.Corrupt)
	if h.N() > 0 {
		b = ms(b, "min_ms", h.Min)
		b = ms(b, "avg_ms", h.Mean())
		b = ms(b, "max_ms", h.Max)
		b = ms(b, "mdev_ms", h.Deviation())
		b = ms(b, "jitter_ms", h.Jitter())
		b = ms(b, "p50_ms", h.Percentile(50))
		b = ms(b, "p90_ms", h.Percentile(90))
		b = ms(b, "p99_ms", h.Percentile(99))
	}
	return append(b, '}')
}

func (r *Reporter) total() {
	up := 0
	for _, h := range r.p.Hosts {
		if h.Received > 0 {
			up++
		}
	}
	b := r.p.Ended.UTC().AppendFormat(append(r.line[:0], `{"event":"total","time":"`...), "2006-01-02T15:04:05.000000Z")
	kind, _ := json.Marshal(r.p.Describe())
	b = append(append(b, `","via":`...), kind...)
	b = number64(b, "hosts", len(r.p.Hosts)+len(r.Missing))
	b = number64(b, "up", up)
	b = number64(b, "strays", r.p.Strays)
	b = number64(b, "dropped", r.p.Dropped)
	r.line = append(ms(b, "time_ms", r.p.Ended.Sub(r.p.Began)), '}')
	r.Emit(r.line, netip.Addr{})
}
