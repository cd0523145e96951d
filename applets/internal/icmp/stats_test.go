package icmp

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestStats(t *testing.T) {
	var s Stats
	if s.Mean() != 0 || s.Deviation() != 0 || s.Jitter() != 0 || s.Percentile(50) != 0 {
		t.Error("nothing is something")
	}
	for _, ms := range []int{4, 2, 6, 8} {
		s.Add(time.Duration(ms) * time.Millisecond)
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		what      string
		got, want time.Duration
	}{
		{"min", s.Min, 2 * ms}, {"max", s.Max, 8 * ms}, {"mean", s.Mean(), 5 * ms},
		{"mdev", s.Deviation().Round(time.Microsecond), 2236 * time.Microsecond},
		{"jitter", s.Jitter(), 8 * ms / 3}, // 2, 4 and 2 apart
		{"p1", s.Percentile(1), 2 * ms}, {"p50", s.Percentile(50), 4 * ms}, {"p75", s.Percentile(75), 6 * ms},
		{"p99", s.Percentile(99), 8 * ms}, {"p100", s.Percentile(100), 8 * ms},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
	if got := s.Histogram(3); !slices.Equal(got, []int{1, 1, 2}) {
		t.Errorf("the histogram is %v", got)
	}
}

// Each number is in one class, and no class is wider than 1/16 of it.
func TestClasses(t *testing.T) {
	last := -1
	for _, us := range []int32{0, 1, 15, 16, 17, 31, 32, 33, 34, 63, 64, 1000, 65535, 65536, 1 << 30, math.MaxInt32} {
		c := class(us)
		if c < last || c >= maxClasses {
			t.Errorf("class(%d) = %d, after %d, of %d", us, c, last, maxClasses)
		}
		last = c
		least, width := floor(c)
		if int64(us) < least || int64(us) >= least+width || width > max(1, least/16) {
			t.Errorf("%d is in class %d, from %d, %d wide", us, c, least, width)
		}
	}
	for us := range int32(5000) {
		if c := class(us); us > 0 && c != class(us-1) && c != class(us-1)+1 {
			t.Fatalf("a class is left out before %d", us)
		}
	}
}

// However many there are, a percentile is right to 1/16, and memory does not grow.
func TestPercentiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s Stats
	var all []float64
	for range 20_000 {
		us := math.Exp(r.NormFloat64()) * 500
		all = append(all, us)
		s.Add(time.Duration(us * 1000))
	}
	slices.Sort(all)
	for _, p := range []float64{1, 50, 90, 99, 99.9} {
		want := all[int(p/100*float64(len(all)))]
		if got := float64(s.Percentile(p)) / 1000; math.Abs(got-want) > want/16+1 {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
	if s.exact != nil || len(s.classes) != maxClasses {
		t.Errorf("%d kept apart, %d classes", len(s.exact), len(s.classes))
	}
	n := 0
	for _, k := range s.Histogram(24) {
		n += k
	}
	if n != s.N() {
		t.Errorf("the histogram has %d of %d", n, s.N())
	}
}
