package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A master with --watch asks again and again for what there is no room for: that is told once.
func TestRefusedToldOnce(t *testing.T) {
	var said []string
	p := &pool{PoolOptions: PoolOptions{Log: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}}
	s := &session{p: p, host: "web1"}
	full := errors.New("full")
	for range 3 {
		s.refuse("one", full)
		s.refuse("two", full)
	}
	s.refuse("one", errors.New("no port"))
	if got, want := strings.Join(said, ", "), "web1: one: full, web1: two: full, web1: one: no port"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for i := range 3 * maxRows { // from a master that makes names up
		s.refuse(fmt.Sprint(i), full)
	}
	if len(s.told) > maxRows {
		t.Errorf("%d names are remembered", len(s.told))
	}
}
