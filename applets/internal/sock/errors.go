package sock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// A reason words an error for people and keeps the error it stands for.
type reason struct {
	text string
	err  error
}

func (r *reason) Error() string { return r.text }
func (r *reason) Unwrap() error { return r.err }

// fail puts subject before the innermost cause of err. It keeps a nil a nil.
func fail(subject string, err error) error {
	if err == nil {
		return nil
	}
	err = Reason(err)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.Name != "" {
		subject = show(dns.Name) // the port has no part in it
	}
	return fmt.Errorf("%s: %w", subject, err)
}

// About is err with the address that it is about, as Dial and Listen word theirs.
func About(a Addr, err error) error { return fail(a.String(), err) }

// Reason takes off what package net and package os wrap around a reason:
// operation, network and addresses, all of which a message's subject says
// already. What Go has words of its own for it says as the system does.
func Reason(err error) error {
	for {
		switch e := err.(type) {
		case *net.OpError:
			if e.Op == "remote error" { // an alert of TLS
				return &reason{"it says: " + strings.TrimPrefix(e.Err.Error(), "tls: "), e}
			}
			err = e.Err
		case *os.SyscallError:
			err = e.Err
		case *os.PathError:
			err = e.Err
		case *os.LinkError:
			err = e.Err
		case *net.DNSError:
			if e.IsTimeout {
				return &reason{"no name server answers", e}
			}
			return &reason{e.Err, e}
		case *net.AddrError:
			return &reason{e.Err, e}
		default:
			if text := plain(err); text != err.Error() {
				return &reason{text, err}
			}
			return err
		}
	}
}

// plain is what err says, without Go's names for things.
func plain(err error) string {
	text := err.Error()
	switch {
	case err == context.DeadlineExceeded, text == os.ErrDeadlineExceeded.Error(): // package net has another one that says the same
		return syscall.ETIMEDOUT.Error()
	case errors.As(err, new(tls.RecordHeaderError)), strings.HasPrefix(text, "tls: received unexpected handshake message"):
		return "it does not speak TLS as it should"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return strings.ReplaceAll(strings.TrimPrefix(text, "tls: "), "x509: ", "")
	}
	return strings.TrimPrefix(text, "tls: ")
}

// GaveUp is the last error of something that was tried again and again, for as long as was allowed. It
// is os.ErrDeadlineExceeded.
type GaveUp struct {
	Err   error
	After time.Duration
}

func (g *GaveUp) Error() string        { return fmt.Sprintf("%v (tried for %v)", g.Err, g.After) }
func (g *GaveUp) Unwrap() error        { return g.Err }
func (g *GaveUp) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// Refused tells whether nobody listens at the address yet, so that trying again
// may help: a refused connection, a unix path or FIFO that does not exist, a
// FIFO without a reader.
func Refused(err error) bool {
	return isAny(err, syscall.ECONNREFUSED, syscall.ENOENT, syscall.ENXIO)
}

// Unreachable tells whether there was no way to the host.
func Unreachable(err error) bool {
	return isAny(err, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN)
}

// Local tells whether something was missing here, an address or port to come from, a descriptor or memory,
// which says nothing about the peer.
func Local(err error) bool {
	return isAny(err, syscall.EADDRINUSE, syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENODEV)
}

// Unresolved tells whether a name could not be turned into an address. It is
// never true together with Refused or Unreachable.
func Unresolved(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// TimedOut tells whether time ran out: the caller's, or the kernel's for a peer
// that does not answer. A name server that does not answer counts too, then
// Unresolved is true as well.
func TimedOut(err error) bool {
	var t interface{ Timeout() bool }
	// A full backlog (EAGAIN) calls itself a timeout, which it is not.
	return errors.As(err, &t) && t.Timeout() && !errors.Is(err, syscall.EAGAIN)
}

func isAny(err error, reasons ...error) bool {
	if Unresolved(err) {
		return false // a name server's "connection refused" is not the peer's
	}
	for _, r := range reasons {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}
