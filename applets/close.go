package applets

import (
	"context"
	"errors"
	"sync"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/bind"
	"sockbox/applets/internal/cli"
	"sockbox/buffer"
)

var closeApplet = &cli.Applet{
	Name:     "close",
	Operands: "[NAME...]",
	Short:    "End buffers, and wait until they are gone",
	Long: `
Ask the daemons of the buffers NAME to end, as a TERM signal would: an output
delivers what was written to it, an input finishes what readers hold. "close" waits
until each name and port is free and the process is gone, and tells how many
messages could not be delivered.`,
	Example: `
sockbox close mail
sockbox close --now mail
sockbox close --all`,
	Exits: map[int]string{
		0: "all are gone, and nothing was left in them",
		1: "messages were left behind",
		3: "no such buffer",
	},
	Setup: func(fs *pflag.FlagSet) cli.Run {
		var cl closing
		fs.BoolVar(&cl.all, "all", false, "close every buffer")
		fs.BoolVar(&cl.now, "now", false, "do not wait for messages to be delivered")
		return cl.run
	},
}

type closing struct{ all, now bool }

func (cl *closing) run(_ context.Context, c *cli.Call) error {
	names, err := c.Operands("[NAME...]")
	if err != nil {
		return err
	}
	switch {
	case cl.all && len(names) > 0:
		return cli.Usagef("--all and NAME exclude each other")
	case cl.all:
		if names, err = buffer.Names(); err != nil {
			return err
		}
	case len(names) == 0:
		return cli.Usagef("NAME is missing")
	}
	// All at once: each may take as long as it has messages to deliver.
	errs := make([]error, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		group.Go(func() {
			errs[i] = cl.close(name)
			if cl.all && errors.Is(errs[i], buffer.ErrNoBuffer) {
				errs[i] = nil // somebody else was faster
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (cl *closing) close(name string) error {
	b, err := buffer.Open(name)
	if err != nil {
		return err
	}
	defer b.Close()
	left, err := b.CloseBuffer(cl.now)
	if err == nil && left > 0 {
		err = &bind.ErrLeft{Name: name, N: left}
	}
	return err
}
