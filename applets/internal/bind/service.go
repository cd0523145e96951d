package bind

import (
	"context"
	"net"

	"sockbox/applets/internal/life"
	"sockbox/buffer"
)

// A Service is a daemon that is no bind: it has a name as a buffer has one, for list and close, or none
// in the foreground. With Tee there is a buffer of that name too, which shows what the service does.
type Service struct {
	Tee bool
	// Open gets ready; its error is told by whoever starts the daemon. put hands a message to the buffer,
	// if there is one, and never blocks: the oldest ones make room.
	Open func(ctx context.Context, put func(message []byte, from string), log, note func(format string, args ...any)) error
	Addr func() net.Addr // where it listens
	// Ready is called in the foreground, when peers can come.
	Ready func() error
	// Run works until ctx ends, and then finishes what it can until abandon ends.
	// It tells how many of its peers it did not wait for in the end.
	Run      func(ctx, abandon context.Context) (left int, err error)
	Passed   func() int64 // bytes; --linger counts the time in which they are the same
	Describe func(s *buffer.Stat)
	Close    func() // gives back what Open has opened, whether or not Run was called
}

// Serve runs s. It returns when the service has ended or, in the background form, when the daemon, which
// is another process, is ready.
func (s *Service) Serve(ctx context.Context, o Options, io Streams) error {
	started := life.StartedByBackground()
	if !o.Foreground && started == nil {
		return background(o, io)
	}
	d := &daemon{Options: o, stop: life.CatchSignals(ctx, started != nil), log: io.Tell, passed: s.Passed}
	if started != nil {
		started.WhenAlone(func() { d.stop.Ask(true) })
	}
	kind, put := buffer.Service, func([]byte, string) {}
	var lost <-chan struct{}
	if s.Tee {
		lost = d.newQueue()
		kind, put = buffer.Input, d.queue.Offer
	}
	asked := d.stop.Context()
	var entry *buffer.Entry
	if o.Name != "" {
		var err error
		if entry, err = hold(asked, o.Name); err != nil {
			return err
		}
		defer entry.Remove()
		d.stale = entry.Stale()
	}
	log := func(format string, args ...any) { d.log(format, args...) } // it changes when the daemon is ready
	open := func() error { return s.Open(asked, put, log, d.note) }
	if err := d.listen(asked, open); err != nil {
		return err
	}
	defer s.Close()
	abandon, cancel := d.abandon()
	defer cancel()
	finish := func(int) {}
	if entry != nil {
		host := &buffer.Host{Entry: entry, Queue: d.queue, Kind: kind, Close: d.stop.Ask, Describe: func(st *buffer.Stat) {
			st.State = "listening"
			s.Describe(st)
			st.Port = port(s.Addr())
			if asked.Err() != nil {
				st.State = "closing"
			}
		}}
		if err := host.Listen(); err != nil {
			return err
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			host.Serve(context.WithoutCancel(ctx))
		}()
		finish = func(left int) {
			// The name and the port are free before whoever asked for the end is told so.
			s.Close()
			if d.queue != nil {
				d.queue.Close()
				d.queue.WaitLeases(abandon)
				host.EndFIFOs()
			}
			entry.Remove()
			host.Finish(left)
			<-served
		}
		if started != nil {
			if err := ready(d, started, entry, host, io); err != nil {
				finish(0)
				return err
			}
		}
	}
	if started == nil {
		err := s.Ready()
		if err != nil {
			finish(0)
			return err
		}
		if err := life.Notify("READY=1"); err != nil {
			io.Tell("%v", err) // whom it concerns waits in vain, the service works
		}
		context.AfterFunc(asked, func() { life.Notify("STOPPING=1") })
	}
	if s.Tee {
		go d.logLosses(asked, lost)
	}
	left, err := s.Run(asked, abandon)
	finish(left)
	if started != nil && err != nil {
		toSyslog(o.Name, err)
		err = nil
	}
	return err
}
