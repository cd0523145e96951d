package trigger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// WaitOptions say what is waited for.
type WaitOptions struct {
	Addr    sock.Addr
	Listen  sock.ListenOptions
	Allow   sock.AccessList
	Key     secret.Key
	Plain   secret.Plain
	Count   int                              // senders to wait for
	Timeout time.Duration                    // 0 = none
	Data    io.Writer                        // gets what each sender passes, and a newline; nil = nobody
	Ready   func(ln net.Addr) error          // called when senders can connect
	Note    func(format string, args ...any) // what happens at the door; no byte of the key
}

// Wait returns nil when Count senders have proven the key and passed what they had to. Each of them
// has been told so, or was on its way to be. Whoever does not prove it is not noticed but by Note.
// With ErrTimeout the time is over; with ctx's error ctx is.
func Wait(ctx context.Context, o WaitOptions) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &waiter{WaitOptions: o, done: cancel}
	if o.Timeout > 0 {
		timer := time.AfterFunc(o.Timeout, func() { cancel(ErrTimeout) })
		defer timer.Stop()
	}
	ln, err := w.listen(ctx)
	if err != nil {
		return err
	}
	if err := o.Ready(ln.Addr()); err != nil {
		ln.Close()
		return err
	}
	server := &secret.Server{
		Key: o.Key, Purpose: secret.ForTrigger, Plain: o.Plain, Allow: o.Allow.Allows,
		Line: o.Key.Equal, Handle: w.serve, Note: w.refuse,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		select {
		case err = <-served:
		case <-time.After(lastWords):
			if !w.mu.TryLock() {
				// Somebody's data cannot be written, as nobody reads it. He is not told that it was.
				return context.Cause(ctx)
			}
			w.mu.Unlock()
		}
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch err := context.Cause(ctx); {
	case w.taken == o.Count: // also when the time was over meanwhile: the senders know of it
		return nil
	case err == ErrTimeout:
		return w.timedOut()
	default:
		return err
	}
}

// At the end, lastWords is how long it may take to answer those who have proven the key, and lastMoment
// how long they may take to say what they want.
const (
	lastWords  = time.Second
	lastMoment = 200 * time.Millisecond
)

type waiter struct {
	WaitOptions
	done context.CancelCauseFunc

	mu      sync.Mutex // held while one sender is being taken, so that data does not mix
	taken   int
	failed  bool
	wrong   int // peers with another key
	wrongBy string
}

func (w *waiter) listen(ctx context.Context) (net.Listener, error) {
	if w.Addr.Net != "fd" {
		return sock.Listen(ctx, w.Addr, w.Listen)
	}
	got, err := sock.FromFD(w.Addr.FD)
	switch {
	case err != nil:
		return nil, err
	case got.Listener == nil:
		return nil, fmt.Errorf("%s: not a listening socket", w.Addr)
	}
	return got.Listener, nil
}

func (w *waiter) timedOut() error {
	err := ErrTimeout
	if w.Count > 1 {
		err = fmt.Errorf("%w; %d of %d have come", err, w.taken, w.Count)
	}
	if w.wrong > 0 {
		err = fmt.Errorf("%w; the last of %d that had another key was %s", err, w.wrong, w.wrongBy)
	}
	return err
}

func (w *waiter) refuse(peer net.Addr, err error) {
	if errors.Is(err, secret.ErrRefused) {
		w.mu.Lock()
		w.wrong++
		w.wrongBy = sock.PeerName(peer)
		w.mu.Unlock()
	}
	w.Note("%s: %v", sock.PeerName(peer), sock.Reason(err))
}

// serve takes one sender, that has proven the key.
func (w *waiter) serve(ctx context.Context, p secret.Peer) {
	defer p.Conn.Close()
	p.Conn.SetDeadline(time.Now().Add(answerTime))
	stop := context.AfterFunc(ctx, func() { p.Conn.SetReadDeadline(time.Now().Add(lastMoment)) })
	defer stop()
	var data []byte
	if p.Line == nil {
		var err error
		if data, err = readRequest(p.Conn); err != nil {
			w.Note("%s: %v", sock.PeerName(p.Addr), sock.Reason(err))
			return
		}
	}
	answer, last := w.take(p, data)
	if answer != "" {
		io.WriteString(p.Conn, answer) // who has gone meanwhile has been counted all the same
	}
	if last {
		w.done(nil)
	}
}

// take counts a sender. What it passed is printed before it is told that it was accepted: from then
// on nothing of it can be lost.
func (w *waiter) take(p secret.Peer, data []byte) (answer string, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	yes, no := string(rune(accepted)), string(rune(late))
	if p.Line != nil {
		yes, no = plainAccepted+"\n", plainLate+"\n"
	}
	if w.failed || w.taken == w.Count {
		return no, false
	}
	if w.Data != nil {
		if _, err := w.Data.Write(append(data, '\n')); err != nil {
			w.failed = true
			w.done(err)
			return "", false
		}
	}
	w.taken++
	w.Note("%s: accepted, %d of %d", sock.PeerName(p.Addr), w.taken, w.Count)
	return yes, w.taken == w.Count
}
