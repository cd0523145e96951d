package text

import (
	"fmt"
	"io"
	"time"
)

// A Meter shows on a terminal how far a stream of bytes has come: size, rate and, where the whole
// size is known, the time that is left. Nothing is shown before Show is called, nor more often
// than some times a second.
type Meter struct {
	W     io.Writer
	Total int64 // 0 = unknown

	start, last time.Time
}

const meterEvery = 200 * time.Millisecond

// Show says that n bytes have gone through.
func (m *Meter) Show(n int64) {
	now := time.Now()
	if m.start.IsZero() {
		m.start, m.last = now, now
	}
	if now.Sub(m.last) < meterEvery {
		return
	}
	m.last = now
	m.print(n, now)
}

// Done shows the last figures and ends the line.
func (m *Meter) Done(n int64) {
	if m.start.IsZero() {
		return
	}
	m.print(n, time.Now())
	fmt.Fprintln(m.W)
}

func (m *Meter) print(n int64, now time.Time) {
	spent := now.Sub(m.start).Seconds()
	rate := float64(n) / max(spent, 1e-3)
	line := fmt.Sprintf("%s, %s/s", Bytes(n), Bytes(int64(rate)))
	if m.Total > 0 && n < m.Total && rate > 0 {
		left := time.Duration(float64(m.Total-n) / rate * float64(time.Second)).Round(time.Second)
		line += fmt.Sprintf(", %d%%, %v left", 100*n/m.Total, left)
	}
	fmt.Fprintf(m.W, "\r%s\x1b[K", line)
}

// Bytes shows a number of bytes in three figures, in powers of 1024.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d", n)
	}
	f := float64(n)
	i := -1
	// The limits are where rounding would give one figure more.
	for f >= 1023.5 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return figures(f, units[i])
}

// figures shows f in three figures.
func figures(f float64, unit byte) string {
	switch {
	case f < 9.995:
		return fmt.Sprintf("%.2f%c", f, unit)
	case f < 99.95:
		return fmt.Sprintf("%.1f%c", f, unit)
	}
	return fmt.Sprintf("%.0f%c", f, unit)
}
