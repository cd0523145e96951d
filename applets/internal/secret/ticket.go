package secret

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
)

// A Ticket proves that a peer has been given it over a channel before. It does not print.
type Ticket struct {
	ID     TicketID
	Secret [32]byte
}

// A TicketID names a ticket. It is no secret, but nobody but the two needs to know it.
type TicketID [16]byte

// ticketFollows is not the first byte of a share, which is 4 (SEC 1, 2.3.3).
const ticketFollows = 'D'

// unknownTicket is the answer to a ticket that is not known, where else there is a MAC.
var unknownTicket [sha256.Size]byte

// NewTicket makes a ticket. Who makes it gives it to a peer over a channel.
func NewTicket() Ticket {
	var t Ticket
	rand.Read(t.ID[:])
	rand.Read(t.Secret[:])
	return t
}

// Format keeps the ticket out of every message.
func (t Ticket) Format(s fmt.State, _ rune) { io.WriteString(s, "[ticket]") }

// MarshalText is how a ticket goes over a channel.
func (t Ticket) MarshalText() ([]byte, error) {
	return []byte(base64.RawStdEncoding.EncodeToString(append(t.ID[:], t.Secret[:]...))), nil
}

// UnmarshalText reads what MarshalText has written.
func (t *Ticket) UnmarshalText(text []byte) error {
	b, err := base64.RawStdEncoding.DecodeString(string(text))
	if err != nil || len(b) != len(t.ID)+len(t.Secret) {
		return errors.New("not a ticket")
	}
	copy(t.ID[:], b)
	copy(t.Secret[:], b[len(t.ID):])
	return nil
}

// mac is what one side shows, in the session that is bound.
func (t Ticket) mac(identity string, bound []byte) []byte {
	h := hmac.New(sha256.New, t.Secret[:])
	h.Write([]byte(identity))
	h.Write(bound)
	return h.Sum(nil)
}

// DialTicket is Dial for who has a ticket. What is in before is resumed; nil: nothing. One of those is
// for one listening process.
func DialTicket(ctx context.Context, c net.Conn, ticket Ticket, before tls.ClientSessionCache) (*tls.Conn, error) {
	config := dialConfig()
	config.SessionTicketsDisabled, config.ClientSessionCache = before == nil, before
	// A pool may have hundreds of these at once, and the hybrid exchange that is otherwise made
	// (X25519MLKEM768) is the half of what one costs.
	config.CurvePreferences = []tls.CurveID{tls.X25519}
	t := tls.Client(c, config)
	dialler, listener := identities(forTicket)
	err := prove(ctx, t, func() error {
		bound, err := exporter(t)
		if err != nil {
			return err
		}
		b := append([]byte{ticketFollows}, ticket.ID[:]...)
		if _, err := t.Write(append(b, ticket.mac(dialler, bound)...)); err != nil {
			return err
		}
		theirs := make([]byte, sha256.Size)
		switch _, err := io.ReadFull(t, theirs); {
		case err != nil:
			return err
		case bytes.Equal(theirs, unknownTicket[:]):
			return ErrUnknown
		case !hmac.Equal(theirs, ticket.mac(listener, bound)):
			return ErrRefused
		}
		return nil
	})
	return t, unproven(err)
}

// acceptTicket is the listener's part, behind the first byte.
func acceptTicket(t *tls.Conn, find func(TicketID) (Ticket, bool)) (*TicketID, error) {
	var b [len(TicketID{}) + sha256.Size]byte
	if _, err := io.ReadFull(t, b[:]); err != nil {
		return nil, err
	}
	id := TicketID(b[:len(TicketID{})])
	bound, err := exporter(t)
	if err != nil {
		return nil, err
	}
	dialler, listener := identities(forTicket)
	if find != nil {
		if ticket, ok := find(id); ok && hmac.Equal(b[len(id):], ticket.mac(dialler, bound)) {
			_, err := t.Write(ticket.mac(listener, bound))
			return &id, err
		}
	}
	t.Write(unknownTicket[:]) // an end alone could be one of the path's
	return nil, ErrUnknown
}
