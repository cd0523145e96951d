package life

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestGroup(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, test := range []struct {
		name string
		end  func(cancel func(), g *Group)
		want string
	}{
		{"its context ends", func(cancel func(), g *Group) { cancel() }, ""},
		{"one ends", func(cancel func(), g *Group) { g.Go("one", func(context.Context) error { return nil }) }, ""},
		{"one fails", func(cancel func(), g *Group) { g.Go("one", func(context.Context) error { return broken }) }, "one: broken pipe"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			g := NewGroup(ctx)
			var calls []int
			for i := range 3 {
				g.Defer(func() { calls = append(calls, i) })
			}
			g.Go("other", func(ctx context.Context) error { <-ctx.Done(); return nil })
			c, err := Start(Command{Path: "sleep", Args: []string{"sleep", "1000"}})
			if err != nil {
				t.Fatal(err)
			}
			g.Child(c, 0, nil)
			test.end(cancel, g)
			for range 2 {
				err := g.Wait()
				if got := ""; err != nil {
					got = err.Error()
					if got != test.want || !errors.Is(err, broken) {
						t.Errorf("%v, want %q", err, test.want)
					}
				} else if got != test.want {
					t.Errorf("no error, want %q", test.want)
				}
			}
			if want := []int{2, 1, 0}; !slices.Equal(calls, want) {
				t.Errorf("cleanups %v, want %v", calls, want)
			}
			if g.Context().Err() == nil {
				t.Error("the context has not ended")
			}
			select {
			case <-c.Done():
			default:
				t.Error("the child is there")
			}
		})
	}
}
