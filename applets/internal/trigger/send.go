package trigger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"sockbox/applets/internal/secret"
	"sockbox/applets/internal/sock"
)

// SendOptions say whom to release.
type SendOptions struct {
	Addr  sock.Addr
	Dial  sock.DialOptions
	Key   secret.Key
	Plain bool          // say the key in clear
	Retry time.Duration // how long to try for a waiter that is not up yet; 0 = once
	Data  []byte        // at most MaxData; none on the plain wire
	Note  func(format string, args ...any)
}

// Send returns nil when the waiter has accepted. A waiter that is not there, or has just been
// released by others, is tried again, as long as Retry says; the error is a *sock.GaveUp then. Nothing
// else is tried again: a refused key (secret.ErrRefused) is a guess for a waiter that is not ours, and
// a request without an answer (ErrLost) may have been taken.
func Send(ctx context.Context, o SendOptions) error {
	began := time.Now()
	pause := firstPause
	var before error
	for {
		err := o.try(ctx, began)
		switch {
		case err == nil || o.Retry == 0:
			return err
		case before != nil && sock.TimedOut(err) && time.Since(began) >= o.Retry:
			// What ended the last try is our own limit; what is wrong is what was before.
			return &sock.GaveUp{Err: before, After: o.Retry}
		case !again(err):
			return err
		}
		before = err
		o.Note("%v; trying again", err)
		left := o.Retry - time.Since(began)
		if left <= 0 {
			return &sock.GaveUp{Err: err, After: o.Retry}
		}
		// Many senders of one waiter do not come at the same instant.
		wait := min(left, pause/2+rand.N(pause/2))
		pause = min(2*pause, maxPause)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A try costs little, and the pause is what a waiter that comes up meanwhile waits for.
const (
	firstPause = 10 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// again tells whether the waiter is not there, or not any more.
func again(err error) bool {
	var down unanswered
	return sock.Refused(err) || sock.Unreachable(err) || errors.As(err, &down) || errors.Is(err, ErrLate) || errors.Is(err, secret.ErrUnproven)
}

// unanswered is the error of a connection that was not made in time: the host may not be up yet.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

func (o *SendOptions) try(ctx context.Context, began time.Time) error {
	dial := o.Dial
	if o.Retry > 0 {
		left := max(o.Retry-time.Since(began), time.Millisecond)
		if dial.Timeout == 0 || left < dial.Timeout {
			dial.Timeout = left
		}
	}
	c, err := sock.Dial(ctx, o.Addr, dial)
	switch {
	case sock.TimedOut(err) && !sock.Unresolved(err):
		return unanswered{err}
	case err != nil:
		return err
	}
	defer c.Close()
	if o.Plain {
		err = o.plain(ctx, c)
	} else {
		err = o.prove(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.Addr, sock.Reason(err))
	}
	return nil
}

// prove releases the waiter over the channel.
func (o *SendOptions) prove(ctx context.Context, c net.Conn) error {
	t, err := secret.Dial(ctx, c, o.Key, secret.ForTrigger)
	if err != nil {
		return err
	}
	stop := deadline(ctx, c)
	defer stop()
	answer := make([]byte, 1)
	if err = writeRequest(t, o.Data); err == nil {
		_, err = io.ReadFull(t, answer)
	}
	switch {
	case err != nil:
		return lost(err)
	case answer[0] == accepted:
		return nil
	case answer[0] == late:
		return ErrLate
	}
	return fmt.Errorf("an answer that is none: %q", answer)
}

// plain releases the waiter by the key in clear.
func (o *SendOptions) plain(ctx context.Context, c net.Conn) error {
	line, err := o.Key.Line()
	if err != nil {
		return err
	}
	stop := deadline(ctx, c)
	defer stop()
	if _, err := c.Write(line); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 64)
	b, err := r.ReadSlice('\n')
	switch answer := strings.TrimRight(string(b), "\r\n"); {
	case answer == plainAccepted:
		return nil
	case answer == plainLate:
		return ErrLate
	case answer+"\n" == secret.RefusedLine:
		return secret.ErrRefused
	case err != nil && len(b) == 0:
		return lost(err)
	default:
		return fmt.Errorf("an answer that is none: %q", b)
	}
}

func deadline(ctx context.Context, c net.Conn) (stop func() bool) {
	c.SetDeadline(time.Now().Add(answerTime))
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

func lost(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w (waited for %v)", ErrLost, answerTime)
	}
	return fmt.Errorf("%w (%w)", ErrLost, sock.Reason(err))
}
