package icmp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A world is a carrier with a clock of its own, which goes on when the pinger waits. What was sent
// is answered as fate says.
type world struct {
	at   time.Time
	p    *Pinger
	fate func(h *Host, seq int, id uint16) []act
	todo []act
	sent []time.Duration // since the beginning
	full int             // so many sends find no room
	cost time.Duration   // of a send
	stop context.CancelFunc
	end  time.Time
}

// An act is something that happens after a time.
type act struct {
	after time.Duration
	do    func(now time.Time)
	at    time.Time
}

var birth = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func (w *world) peer(*Host) (any, error) { return nil, nil }

func (w *world) send(h *Host, id uint16) error {
	if w.full > 0 {
		w.full--
		return errBusy
	}
	w.at = w.at.Add(w.cost)
	w.sent = append(w.sent, w.at.Sub(birth))
	for _, a := range w.fate(h, h.Sent+1, id) {
		a.at = w.at.Add(a.after)
		w.todo = append(w.todo, a)
	}
	return nil
}

func (w *world) receive(*Pinger) error {
	for {
		first := -1
		for i, a := range w.todo {
			if !a.at.After(w.at) && (first < 0 || a.at.Before(w.todo[first].at)) {
				first = i
			}
		}
		if first < 0 {
			return nil
		}
		a := w.todo[first]
		w.todo = append(w.todo[:first:first], w.todo[first+1:]...)
		a.do(a.at)
	}
}

func (w *world) wait(d time.Duration) error {
	next := w.at.Add(d)
	for _, a := range w.todo {
		if a.at.Before(next) {
			next = a.at
		}
	}
	if next.After(w.end) {
		w.stop()
	}
	w.at = next
	return nil
}

func (w *world) forget(uint16)    {}
func (w *world) interrupt()       {}
func (w *world) describe() string { return "a world" }
func (w *world) close()           {}

// reply answers after d.
func (w *world) reply(h *Host, id uint16, d time.Duration) act {
	return act{after: d, do: func(now time.Time) { w.p.answer(id, h.Addr, reply{seq: id, size: 64, ttl: 64}, time.Time{}, now) }}
}

// play runs a pinger with n hosts in the world, and returns what it told.
func play(t *testing.T, o Options, n int, w *world) (*Pinger, string) {
	t.Helper()
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		o.Targets = append(o.Targets, Target{fmt.Sprintf("h%d", i), a})
	}
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	var told strings.Builder
	o.Event = func(e *Event) {
		fmt.Fprintf(&told, "%s#%d ", e.Host.Name, e.Seq)
		switch {
		case e.Kind == Lost:
			told.WriteString("lost")
		case e.Kind == Failed:
			told.WriteString(e.Why)
		default:
			fmt.Fprint(&told, e.RTT)
			told.Write(marks(nil, e))
		}
		told.WriteByte('\n')
	}
	o.Flush = func() error { return nil }
	o.Note = func(string, ...any) {}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.at, w.stop = birth, cancel
	if w.end.IsZero() {
		w.end = birth.Add(time.Hour)
	}
	p, err := newPinger(o, w)
	if err != nil {
		t.Fatal(err)
	}
	w.p, p.now = p, func() time.Time { return w.at }
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return p, told.String()
}

const msec = time.Millisecond

func TestWhatBecomesOfRequests(t *testing.T) {
	w := &world{}
	w.fate = func(h *Host, seq int, id uint16) []act {
		again := w.reply(h, id, 2*msec)
		switch seq {
		case 1:
			return []act{w.reply(h, id, msec)}
		case 2: // twice, and once more much later
			return []act{w.reply(h, id, msec), again, w.reply(h, id, 1500*msec)}
		case 3: // behind the next
			return []act{w.reply(h, id, 120*msec)}
		case 5: // too late
			return []act{w.reply(h, id, 1100*msec)}
		case 6: // an error, and an answer all the same
			return []act{{after: msec, do: func(now time.Time) { w.p.fail(id, h.Addr, "no", now) }}, again}
		case 7: // never
			return nil
		}
		return []act{w.reply(h, id, msec)}
	}
	p, told := play(t, Options{Count: 12, Interval: 100 * msec}, 1, w)
	want := `h0#1 1ms
h0#2 1ms
h0#2 2ms (DUP!)
h0#4 1ms
h0#3 120ms (reordered)
h0#6 no
h0#6 2ms (late)
h0#8 1ms
h0#9 1ms
h0#10 1ms
h0#11 1ms
h0#12 1ms
h0#5 lost
h0#5 1.1s (late)
h0#2 1.5s (DUP!)
h0#7 lost
`
	if told != want {
		t.Errorf("told:\n%s\nwant:\n%s", told, want)
	}
	h := p.Hosts[0]
	if h.Sent != 12 || h.Received != 11 || h.Duplicates != 2 || h.Late != 2 || h.Errors != 1 || h.N() != 11 {
		t.Errorf("%+v", h)
	}
	if !p.Reached() {
		t.Error("a host that answered counts as down")
	}
}

func TestStrays(t *testing.T) {
	w := &world{}
	w.fate = func(h *Host, seq int, id uint16) []act {
		other := netip.MustParseAddr("10.9.9.9")
		return []act{
			{do: func(now time.Time) { w.p.answer(id+1, h.Addr, reply{}, time.Time{}, now) }},
			{do: func(now time.Time) { w.p.answer(id+5000, h.Addr, reply{}, time.Time{}, now) }},
			{do: func(now time.Time) { w.p.fail(id+5000, h.Addr, "no", now) }},
			{do: func(now time.Time) { w.p.answer(id, other, reply{}, time.Time{}, now) }},
		}
	}
	p, told := play(t, Options{Count: 1, Interval: msec * 10}, 1, w)
	if told != "h0#1 lost\n" || p.Strays != 4 || p.Reached() {
		t.Errorf("%q, %d strays", told, p.Strays)
	}
}

// Hosts are asked in turn, over half of the interval, and each at its own pace.
func TestPace(t *testing.T) {
	w := &world{}
	w.fate = func(h *Host, seq int, id uint16) []act { return []act{w.reply(h, id, msec)} }
	play(t, Options{Count: 3, Interval: time.Second}, 4, w)
	var want []time.Duration
	for round := range 3 {
		for i := range 4 {
			want = append(want, time.Duration(round)*time.Second+time.Duration(i)*125*msec)
		}
	}
	if fmt.Sprint(w.sent) != fmt.Sprint(want) {
		t.Errorf("sent at %v, want %v", w.sent, want)
	}

	w = &world{}
	w.fate = func(h *Host, seq int, id uint16) []act { return nil }
	play(t, Options{Count: 2, Interval: 100 * msec, Rate: 10}, 4, w)
	if len(w.sent) != 8 || w.sent[7] < 700*msec {
		t.Errorf("10 a second: %v", w.sent)
	}
}

// A machine that was busy or asleep goes on at its pace, and does not make up for what it missed.
func TestPaceAfterSleep(t *testing.T) {
	w := &world{}
	w.fate = func(h *Host, seq int, id uint16) []act {
		if seq == 2 {
			w.at = w.at.Add(10 * time.Second)
		}
		return nil
	}
	play(t, Options{Count: 5, Interval: 100 * msec}, 1, w)
	for i := 3; i < 5; i++ {
		if d := w.sent[i] - w.sent[i-1]; d < 99*msec || d > 201*msec {
			t.Errorf("%v between %d and %d: %v", d, i-1, i, w.sent)
		}
	}
}

func TestGoals(t *testing.T) {
	silentUntil := func(w *world, n int) func(h *Host, seq int, id uint16) []act {
		return func(h *Host, seq int, id uint16) []act {
			if h.Name == "h1" && seq < n {
				return nil
			}
			return []act{w.reply(h, id, msec)}
		}
	}
	w := &world{}
	w.fate = silentUntil(w, 3)
	p, _ := play(t, Options{Goal: Alive, Count: 4, Interval: 100 * msec}, 2, w)
	if !p.Reached() || p.Hosts[0].Sent != 1 || p.Hosts[1].Sent != 3 || w.at.Sub(birth) > time.Second/2 {
		t.Errorf("alive: %+v %+v after %v", p.Hosts[0], p.Hosts[1], w.at.Sub(birth))
	}
	w = &world{}
	w.fate = silentUntil(w, 9)
	if p, _ = play(t, Options{Goal: Alive, Count: 4, Interval: 100 * msec}, 2, w); p.Reached() || p.Hosts[1].Sent != 4 {
		t.Errorf("alive: %+v", p.Hosts[1])
	}
	w = &world{}
	w.fate = silentUntil(w, 50)
	if p, _ = play(t, Options{Goal: Up, Interval: 100 * msec}, 2, w); !p.Reached() || p.Hosts[0].Sent != 1 || p.Hosts[1].Sent != 50 {
		t.Errorf("up: %+v", p.Hosts[1])
	}
	w = &world{}
	w.fate = silentUntil(w, 50)
	p, _ = play(t, Options{Goal: Up, Interval: 100 * msec, Deadline: birth.Add(2 * time.Second)}, 2, w)
	if p.Reached() || w.at.Sub(birth) != 2*time.Second {
		t.Errorf("up, with a deadline: %+v after %v", p.Hosts[1], w.at.Sub(birth))
	}
	w = &world{}
	w.fate = func(h *Host, seq int, id uint16) []act {
		if seq == 3 || seq == 5 || seq == 6 || seq > 8 { // one or two may get lost
			return nil
		}
		return []act{w.reply(h, id, msec)}
	}
	if p, _ = play(t, Options{Goal: Down, Interval: 100 * msec, Timeout: 50 * msec}, 1, w); !p.Reached() || p.Hosts[0].Sent != 11 {
		t.Errorf("down: %+v", p.Hosts[0])
	}
	// With a deadline it is answers that are counted.
	w = &world{}
	w.fate = func(h *Host, seq int, id uint16) []act {
		if seq%2 == 0 {
			return nil
		}
		return []act{w.reply(h, id, msec)}
	}
	p, _ = play(t, Options{Count: 3, Interval: 100 * msec, Deadline: birth.Add(time.Minute)}, 1, w)
	if !p.Reached() || p.Hosts[0].Sent != 5 {
		t.Errorf("three answers: %+v", p.Hosts[0])
	}
}

// There are 65536 numbers. However many hosts there are and however slow they answer, none is
// given to two requests at once, and none is lost by us.
func TestManyHosts(t *testing.T) {
	w := &world{cost: time.Microsecond, full: 3}
	w.fate = func(h *Host, seq int, id uint16) []act {
		r := w.p.slot(id)
		if r.state == waiting {
			t.Fatalf("%d is still waited for", id)
		}
		return nil
	}
	p, _ := play(t, Options{Count: 1, Interval: 10 * msec, Timeout: 300 * msec}, 70_000, w)
	if len(w.sent) != 70_000 || p.waiting != 0 || p.InFlight() > 1<<16 {
		t.Errorf("%d sent, %d waited for, %d at once", len(w.sent), p.waiting, p.InFlight())
	}
	for _, h := range p.Hosts {
		if h.Sent != 1 || h.waiting != 0 {
			t.Fatalf("%+v", h)
		}
	}
}

func TestFlood(t *testing.T) {
	w := &world{}
	w.fate = func(h *Host, seq int, id uint16) []act {
		if seq == 3 {
			return nil
		}
		return []act{w.reply(h, id, msec)}
	}
	play(t, Options{Count: 5, Root: true}, 1, w)
	if want := "[0s 1ms 2ms 12ms 22ms]"; fmt.Sprint(w.sent) != want {
		t.Errorf("sent at %v, want %v", w.sent, want)
	}
}

// The kernel's stamp counts, unless the clock was set.
func TestRoundTrip(t *testing.T) {
	sent := time.Now()
	now := sent.Add(10 * msec)
	wall := sent.Round(0)
	for _, c := range []struct {
		what  string
		stamp time.Time
		want  time.Duration
	}{
		{"none", time.Time{}, 10 * msec},
		{"in between", wall.Add(3 * msec), 3 * msec},
		{"before", wall.Add(-3 * msec), 10 * msec},
		{"after", wall.Add(30 * msec), 10 * msec},
	} {
		if got := roundTrip(sent, c.stamp, now); got != c.want {
			t.Errorf("a stamp %s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := Options{Targets: []Target{{}}, Interval: time.Second, Timeout: time.Second}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for what, spoil := range map[string]func(*Options){
		"nobody":      func(o *Options) { o.Targets = nil },
		"a flood":     func(o *Options) { o.Interval = 0 },
		"almost one":  func(o *Options) { o.Interval = msec },
		"too large":   func(o *Options) { o.Size = MaxSize + 1 },
		"negative":    func(o *Options) { o.Size = -1 },
		"a long TTL":  func(o *Options) { o.TTL = 256 },
		"a high port": func(o *Options) { o.TCP = 65536 },
		"no time":     func(o *Options) { o.Timeout = 0 },
	} {
		o := good
		if spoil(&o); o.Check() == nil {
			t.Errorf("%s is good", what)
		}
	}
}
