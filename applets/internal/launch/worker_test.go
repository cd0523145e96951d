package launch

import (
	"bufio"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"sockbox/applets/internal/life"
)

// What is said to a program that does not read is dropped after a while, and nobody is kept by it; the
// line on its way is not torn, and from then on the program gets what is said.
func TestRoomWithDeafProgram(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	inside, cancel := context.WithCancel(context.Background())
	defer cancel()
	logged := make(chan string, 100)
	a := &active{Job: &Job{Log: func(format string, _ ...any) { logged <- format }}}
	now := &resident{child: &life.Child{Stdin: out}, end: make(chan struct{})}
	r := &room{shop: &shop{active: a, inside: inside}, w: &worker{a: a, now: now}, patience: 10 * time.Millisecond,
		said: make(chan saying), deaf: make(chan struct{}), over: make(chan struct{})}
	go r.pass()
	long := strings.Repeat("x", 1<<20) + "\n"
	for _, line := range []string{long, "lost\n", "lost\n"} {
		if err := r.put([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewReader(in)
	if line, err := lines.ReadString('\n'); line != long || err != nil {
		t.Fatalf("%d bytes, %v; want %d", len(line), err, len(long))
	}
	for _, want := range []string{"read nothing", "dropped"} {
		if text := <-logged; !strings.Contains(text, want) {
			t.Errorf("%q, want %q", text, want)
		}
	}
	if err := r.put([]byte("heard\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); line != "heard\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	close(now.end)
	close(r.said)
	<-r.over
	if line, err := lines.ReadString('\n'); line != "" || err == nil {
		t.Fatalf("%q, %v; want the end", line, err)
	}
}

// Of ends of one kind there is one word in a while, with how many there were meanwhile.
func TestFailures(t *testing.T) {
	var f failures
	now := time.Now()
	for _, c := range []struct {
		status int
		after  time.Duration
		more   int
		tell   bool
	}{
		{1, 0, 0, true}, {1, time.Second, 0, false}, {139, time.Second, 0, true}, {1, 2 * time.Second, 0, false},
		{1, failureQuiet, 2, true}, {1, failureQuiet + time.Second, 0, false}, {139, failureQuiet + time.Second, 0, true},
	} {
		if more, tell := f.count(c.status, now.Add(c.after)); more != c.more || tell != c.tell {
			t.Errorf("%d after %v: %d, %t; want %d, %t", c.status, c.after, more, tell, c.more, c.tell)
		}
	}
}
