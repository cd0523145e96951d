package secret

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"syscall"
	"time"
)

// The channel: TLS 1.3 for secrecy, and inside it SPAKE2 (RFC 9382) for the key. The certificate is
// made anew by each process and never checked; what binds the two layers is the TLS exporter (RFC
// 9266), which goes into SPAKE2's confirmations: somebody in the middle has two TLS sessions, and so
// two different ones.
//
//	dialler                           listener
//	         TLS 1.3 handshake, ALPN sockbox/1
//	pA (65 bytes)              ->
//	                           <-     pB (65), confirmB (32)
//	confirmA (32), request     ->
//	                           <-     answer
//
// The listener shows its confirmation first: a listener that does not hold the key never sees the
// dialler's, and the dialler sends nothing of its request to it. A dialler that does not hold the
// key has spent one guess by then, whether it goes on or not, and it is counted as one. The key has
// to be proven within 5 s.
//
// The ciphersuite is P256-SHA256-HKDF-SHA256-HMAC-SHA256, with A the dialler and B the listener.
// Their identities are "sockbox client PURPOSE" and "sockbox server PURPOSE", where PURPOSE is
// trigger, pool, link, exec or relay: a proof for one is none for the other. Shares are uncompressed points. w is 48
// bytes of HKDF-SHA256 (RFC 5869) over the key with the salt "sockbox-spake2-v1" and no info, modulo
// the order of the group. AAD, which RFC 9382 puts into the confirmation keys, is 32 bytes of the
// exporter "EXPORTER-Channel-Binding" without a context.
//
// A ticket, which a listener has given to a dialler over such a channel, proves one more: 16 bytes
// of ID and 32 of secret are too long to be guessed, so an HMAC-SHA256 with the secret over the
// side's identity, with the purpose link, and the exporter will do. A listener that knows no such
// ticket answers with zero bytes, and closes. A pool has hundreds of these channels with one master, so that here a TLS session may
// resume one of the same two processes (RFC 8446, 2.2), with a Diffie-Hellman exchange of its own all
// the same: certificates and signatures, which prove nothing here, are left out. What it takes to resume
// is in the memory of the two, and ends with them.
//
//	'D', ticket's ID (16), MAC (32)  ->
//	                                 <-  MAC (32)

// ALPN is the protocol's name within TLS.
const ALPN = "sockbox/1"

// HandshakeTime is how long a peer may take until the key is proven.
const HandshakeTime = 5 * time.Second

// What a channel is for. A proof for one purpose is none for another.
const (
	ForTrigger = "trigger"
	ForPool    = "pool"
	ForLink    = "link"
	ForExec    = "exec"
	ForRelay   = "relay"
	forTicket  = "ticket"
)

var (
	// ErrRefused says that the peer does not hold the same key.
	ErrRefused = errors.New("the key was refused")

	// ErrUnknown says that the listener knows no such ticket: it has been started anew, or has given up what
	// the ticket was for. There is no use in showing it again.
	ErrUnknown = errors.New("the other side knows nothing of it: it was started anew, or has given it up")

	// ErrUnproven says that the listener went away, or sent the dialler away, before it had proven the key,
	// and so before it had a guess.
	ErrUnproven = errors.New("the connection was closed before the key was proven")

	// ErrForeign says that the peer speaks something else.
	ErrForeign = errors.New("the other side does not speak " + ALPN)
)

// errSlow says that a peer took more than HandshakeTime. It is os.ErrDeadlineExceeded.
type errSlow struct{}

func (errSlow) Error() string { return fmt.Sprintf("no proof of the key within %v", HandshakeTime) }
func (errSlow) Unwrap() error { return os.ErrDeadlineExceeded }

func identities(purpose string) (dialler, listener string) {
	return "sockbox client " + purpose, "sockbox server " + purpose
}

// Dial proves key to the listener at the other end of c and has it prove the same. Nothing but the
// proof is sent before the listener has. With ErrRefused the keys differ; each try is a guess for a
// listener that does not know the key, so it is not tried again. The channel takes c over: closing
// it closes c, and so does an error.
func Dial(ctx context.Context, c net.Conn, key Key, purpose string) (*tls.Conn, error) {
	t := tls.Client(c, dialConfig())
	err := prove(ctx, t, func() error {
		p, err := begin(true, key, purpose)
		if err != nil {
			return err
		}
		if _, err := t.Write(p.share); err != nil {
			return err
		}
		b := make([]byte, shareSize+confirmSize)
		if _, err := io.ReadFull(t, b); err != nil {
			return err
		}
		k, err := finish(t, p, b[:shareSize])
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(b[shareSize:], k.confirmB) != 1 {
			return ErrRefused
		}
		_, err = t.Write(k.confirmA)
		return err
	})
	return t, unproven(err)
}

// unproven makes ErrUnproven of the end of a connection. It remains the error that it was, too.
func unproven(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return &early{err}
	}
	return err
}

type early struct{ error }

func (e *early) Error() string        { return ErrUnproven.Error() }
func (e *early) Unwrap() error        { return e.error }
func (e *early) Is(target error) bool { return target == ErrUnproven }

func dialConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		InsecureSkipVerify:     true, // what is inside does it, bound to this very session
		SessionTicketsDisabled: true,
		ServerName:             "sockbox", // sent in clear, and says nothing
	}
}

// Accept is the listener's part of Dial. When it returns without an error the dialler has proven
// that it holds key.
func (l *Identity) Accept(ctx context.Context, c net.Conn, key Key, purpose string) (*tls.Conn, error) {
	t, _, err := l.accept(ctx, c, key, purpose, nil)
	return t, err
}

// accept is Accept, where a ticket will do as well. No key, the zero Key, is not enough for anything.
func (l *Identity) accept(ctx context.Context, c net.Conn, key Key, purpose string, find func(TicketID) (Ticket, bool)) (t *tls.Conn, id *TicketID, err error) {
	config := l.config
	if find != nil {
		config = l.resuming
	}
	t = tls.Server(c, config)
	err = prove(ctx, t, func() error {
		b := make([]byte, shareSize)
		if _, err := io.ReadFull(t, b[:1]); err != nil {
			return err
		}
		if b[0] == ticketFollows {
			id, err = acceptTicket(t, find)
			return err
		}
		if len(key.text) == 0 {
			return ErrRefused
		}
		p, err := begin(false, key, purpose)
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(t, b[1:]); err != nil {
			return err
		}
		k, err := finish(t, p, b)
		if err != nil {
			return err
		}
		if _, err := t.Write(append(p.share, k.confirmB...)); err != nil {
			return err
		}
		theirs := make([]byte, confirmSize)
		if _, err := io.ReadFull(t, theirs); err != nil {
			return fmt.Errorf("%w, or the peer went away: %w", ErrRefused, err)
		}
		if subtle.ConstantTimeCompare(theirs, k.confirmA) != 1 {
			return ErrRefused
		}
		return nil
	})
	return t, id, err
}

// prove runs the handshake and f, both together within HandshakeTime and ctx. With an error the
// connection is closed.
func prove(ctx context.Context, t *tls.Conn, f func() error) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, HandshakeTime, errSlow{})
	defer cancel()
	stop := context.AfterFunc(ctx, func() { t.NetConn().SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() { // the error, if there is one, is of the deadline
			err = context.Cause(ctx)
		}
		if err != nil {
			t.NetConn().Close()
		}
	}()
	if err := t.HandshakeContext(ctx); err != nil {
		if ended(err) {
			return err
		}
		return ErrForeign // what it is that TLS does not like is of no use to anybody
	}
	if t.ConnectionState().NegotiatedProtocol != ALPN {
		return ErrForeign
	}
	return f()
}

// ended tells whether an error is of the connection, or of ctx, and not of what was said.
func ended(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func begin(dials bool, key Key, purpose string) (*party, error) {
	w, err := key.scalar()
	if err != nil {
		return nil, err
	}
	a, b := identities(purpose)
	return newParty(dials, a, b, w)
}

// finish binds the exchange to the TLS session (RFC 9266, tls-exporter).
func finish(t *tls.Conn, p *party, theirs []byte) (*keys, error) {
	bound, err := exporter(t)
	if err != nil {
		return nil, err
	}
	return p.finish(theirs, bound)
}

func exporter(t *tls.Conn) ([]byte, error) {
	s := t.ConnectionState()
	return s.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
}

// An Identity is what a listener needs to speak TLS: a certificate that nobody checks, made once.
type Identity struct{ config, resuming *tls.Config }

// NewIdentity makes one. It is used for any number of channels at the same time.
func NewIdentity() (*Identity, error) {
	// Of the signatures that TLS has this one costs both sides the least.
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true,
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	resuming := config.Clone()
	resuming.SessionTicketsDisabled = false
	return &Identity{config, resuming}, nil
}
