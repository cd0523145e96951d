package icmp

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// Stats are the round-trip times of one host. Their size is bounded, however many there are: the
// first few are kept as they are, more of them in classes that are 1/16 of their value wide.
type Stats struct {
	Min, Max time.Duration

	n           int
	sum, square float64 // of nanoseconds
	previous    time.Duration
	apart       float64 // sum of the differences of one to the next
	exact       []int32 // microseconds
	classes     []uint32
}

const (
	keptExact  = 32
	classBits  = 4 // 16 classes from a power of two to the next
	maxClasses = (32 - classBits + 1) << classBits
)

// Add takes one round-trip time in.
func (s *Stats) Add(d time.Duration) {
	if s.n == 0 || d < s.Min {
		s.Min = d
	}
	s.Max = max(s.Max, d)
	if s.n > 0 {
		s.apart += math.Abs(float64(d - s.previous))
	}
	s.previous = d
	s.n++
	s.sum += float64(d)
	s.square += float64(d) * float64(d)

	us := int32(min((d + 500).Microseconds(), math.MaxInt32))
	if s.classes == nil && len(s.exact) < keptExact {
		s.exact = append(s.exact, us)
		return
	}
	if s.classes == nil {
		s.classes = make([]uint32, maxClasses)
		for _, us := range s.exact {
			s.classes[class(us)]++
		}
		s.exact = nil
	}
	s.classes[class(us)]++
}

// class is where a number of microseconds is counted: those below 16 each have one of their own.
func class(us int32) int {
	v := uint32(max(us, 0))
	if v < 1<<classBits {
		return int(v)
	}
	shift := bits.Len32(v) - classBits - 1
	return (shift+1)<<classBits + int(v>>shift) - 1<<classBits
}

// floor is the least number of microseconds in class c, and width how many more there are.
func floor(c int) (us, width int64) {
	if c < 1<<classBits {
		return int64(c), 1
	}
	shift := c>>classBits - 1
	return int64(1<<classBits+c&(1<<classBits-1)) << shift, int64(1) << shift
}

// N is how many there are.
func (s *Stats) N() int { return s.n }

// Mean is their mean.
func (s *Stats) Mean() time.Duration {
	if s.n == 0 {
		return 0
	}
	return time.Duration(s.sum / float64(s.n))
}

// Deviation is what iputils calls mdev: the standard deviation.
func (s *Stats) Deviation() time.Duration {
	if s.n == 0 {
		return 0
	}
	mean := s.sum / float64(s.n)
	return time.Duration(math.Sqrt(max(s.square/float64(s.n)-mean*mean, 0)))
}

// Jitter is the mean difference of one to the next.
func (s *Stats) Jitter() time.Duration {
	if s.n < 2 {
		return 0
	}
	return time.Duration(s.apart / float64(s.n-1))
}

// Percentile is the time that p percent of the answers did not exceed: exactly, to the microsecond,
// among a few of them, and to 1/16 among many.
func (s *Stats) Percentile(p float64) time.Duration {
	if s.n == 0 {
		return 0
	}
	rank := max(int(math.Ceil(p/100*float64(s.n))), 1)
	var us int64
	if s.classes == nil {
		sorted := slices.Clone(s.exact)
		slices.Sort(sorted)
		us = int64(sorted[min(rank, len(sorted))-1])
	} else {
		for c, n := range s.classes {
			if rank -= int(n); rank <= 0 {
				least, width := floor(c)
				us = least + width/2
				break
			}
		}
	}
	// Whole microseconds are no less than the least nor more than the greatest of them.
	return min(max(time.Duration(us)*time.Microsecond, s.Min), s.Max)
}

// Histogram counts the times in n classes of equal width from the least to the greatest.
func (s *Stats) Histogram(n int) []int {
	out := make([]int, n)
	width := float64(s.Max-s.Min) / float64(n)
	put := func(us float64, count int) {
		i := 0
		if width > 0 {
			i = int((us*1e3 - float64(s.Min)) / width)
		}
		out[min(max(i, 0), n-1)] += count
	}
	for _, us := range s.exact {
		put(float64(us), 1)
	}
	for c, count := range s.classes {
		if count > 0 {
			least, w := floor(c)
			put(float64(least)+float64(w)/2, int(count))
		}
	}
	return out
}
