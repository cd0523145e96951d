package text

import (
	"strings"
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0:              "0",
		999:            "999",
		1023:           "1023",
		1024:           "1.00K",
		1536:           "1.50K",
		10 << 10:       "10.0K",
		100 << 10:      "100K",
		1023 << 10:     "1023K",
		1<<20 - 1:      "1.00M",
		10<<10 - 1:     "10.0K",
		100<<10 - 1:    "100K",
		1 << 20:        "1.00M",
		5 << 30:        "5.00G",
		3 << 40:        "3.00T",
		1<<63 - 1:      "8.00E",
		1500 * 1 << 50: "1.46E",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestMeter(t *testing.T) {
	var b strings.Builder
	m := Meter{W: &b, Total: 4096}
	m.Done(1)
	if b.Len() > 0 {
		t.Errorf("Done without Show shows %q", b.String())
	}

	m.Show(1)
	m.Show(2)
	if b.Len() > 0 {
		t.Errorf("shown at once: %q", b.String())
	}

	// as if ten seconds ago
	m.start, m.last = time.Now().Add(-10*time.Second), time.Now().Add(-time.Second)
	m.Show(1024)
	if got, want := b.String(), "\r1.00K, 102/s, 25%, 30s left\x1b[K"; got != want {
		t.Errorf("Show: %q, want %q", got, want)
	}

	b.Reset()
	m.Show(2048)
	if b.Len() > 0 {
		t.Errorf("shown twice at once: %q", b.String())
	}

	m.Done(4096)
	if got, want := b.String(), "\r4.00K, 409/s\x1b[K\n"; got != want {
		t.Errorf("Done: %q, want %q", got, want)
	}
}

// Where the whole is not known, or the file has grown, there is no time left to tell.
func TestMeterUnknown(t *testing.T) {
	for _, total := range []int64{0, 1000} {
		var b strings.Builder
		m := Meter{W: &b, Total: total, start: time.Now().Add(-2 * time.Second)}
		m.Done(2048)
		if got, want := b.String(), "\r2.00K, 1.00K/s\x1b[K\n"; got != want && got != "\r2.00K, 1023/s\x1b[K\n" {
			t.Errorf("of %d: %q, want %q", total, got, want)
		}
	}
}
