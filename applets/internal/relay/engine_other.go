//go:build !linux

package relay

import (
	"context"
	"sync"
)

// An engine is for Linux only.
type engine struct{}

func (r *Relay) newEngine() *engine { return nil }

func (*engine) run(context.Context, context.Context, *sync.WaitGroup) error { return nil }
