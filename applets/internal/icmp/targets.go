package icmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"sockbox/applets/internal/sock"
)

// A Target is a host as the user names it, and its address.
type Target struct {
	Name string
	Addr netip.Addr
}

// Named tells whether the user gave a name and not an address.
func (t Target) Named() bool {
	_, err := literal(t.Name)
	return err != nil
}

// ErrTooMany says that there are more hosts than one call may ask.
var ErrTooMany error = tooMany{}

type tooMany struct{}

func (tooMany) Error() string { return fmt.Sprintf("more than %d hosts", MaxHosts) }

// ReadHosts returns the names in a list: the first word of each line. What follows "#" is a comment.
func ReadHosts(r io.Reader) (names []string, err error) {
	const longest = 4096 // bytes of a line; names have 253
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, longest), longest)
	for in.Scan() {
		line, _, _ := strings.Cut(in.Text(), "#")
		if words := strings.Fields(line); len(words) > 0 {
			if names = append(names, words[0]); len(names) > MaxHosts {
				return nil, ErrTooMany
			}
		}
	}
	if err := in.Err(); err != bufio.ErrTooLong {
		return names, err
	}
	return nil, fmt.Errorf("a line of more than %d bytes", longest)
}

// ParseRange returns the addresses of a network as CIDR, or of FIRST-LAST. Of an IPv4 network they
// are those that hosts may have: without its own and the broadcast address.
func ParseRange(s string) ([]Target, error) {
	var first, last netip.Addr
	if a, b, ok := strings.Cut(s, "-"); ok {
		var err error
		if first, err = netip.ParseAddr(a); err != nil {
			return nil, fmt.Errorf("%q: not an address", a)
		}
		if last, err = netip.ParseAddr(b); err != nil {
			return nil, fmt.Errorf("%q: not an address", b)
		}
		if first.Zone() != last.Zone() || first.Is4() != last.Is4() || last.Less(first) {
			return nil, fmt.Errorf("%q: not from an address to a higher one", s)
		}
	} else {
		network, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q: not a network, such as 192.168.0.0/24, nor a range, such as 192.168.0.1-192.168.0.9", s)
		}
		network = network.Masked()
		host := network.Addr().BitLen() - network.Bits()
		if host > 17 {
			return nil, fmt.Errorf("%q: %w", s, ErrTooMany)
		}
		first, last = network.Addr(), network.Addr()
		for range 1<<host - 1 {
			last = last.Next()
		}
		if first.Is4() && host > 1 { // RFC 3021: of two addresses both are hosts'
			first, last = first.Next(), last.Prev()
		}
	}
	var out []Target
	for a := first; ; a = a.Next() {
		if len(out) == MaxHosts {
			return nil, fmt.Errorf("%q: %w", s, ErrTooMany)
		}
		out = append(out, Target{a.String(), a})
		if a == last {
			return out, nil
		}
	}
}

// Unresolved is the error of a host that has no address to be asked at.
type Unresolved struct {
	Name string
	Err  error
}

func (u *Unresolved) Error() string { return u.Name + ": " + u.Err.Error() }
func (u *Unresolved) Unwrap() error { return u.Err }

// A Resolver turns names into addresses.
type Resolver struct {
	Network string // ip, ip4 or ip6
	Patient bool   // a name server that does not answer is asked again until the context ends
}

// Resolve returns the targets of the names that have one, in their order, and an error for each of
// the others. Many names are asked for at once.
func (r *Resolver) Resolve(ctx context.Context, names []string) ([]Target, []*Unresolved) {
	const atOnce = 32
	targets := make([]Target, len(names))
	errs := make([]error, len(names))
	var group sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, name := range names {
		if a, err := literal(name); err == nil {
			targets[i], errs[i] = Target{name, a}, r.fits(a)
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			var a netip.Addr
			a, errs[i] = r.lookup(ctx, name)
			targets[i] = Target{name, a}
		})
	}
	group.Wait()
	var good []Target
	var bad []*Unresolved
	for i := range names {
		if errs[i] != nil {
			bad = append(bad, &Unresolved{names[i], errs[i]})
		} else {
			good = append(good, targets[i])
		}
	}
	return good, bad
}

// literal reads an address; that of no host is this one.
func literal(s string) (netip.Addr, error) {
	if len(s) > 1 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		if a, err = short(s); err != nil {
			return a, err
		}
	}
	switch a = a.Unmap(); {
	case a == netip.IPv4Unspecified():
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case a == netip.IPv6Unspecified():
		a = netip.IPv6Loopback()
	}
	return a, nil
}

// short reads the other forms that inet_aton(3) does: of one to four numbers, in decimal or hexadecimal,
// the last has all bytes that are left, as in 127.1. A number that begins with a zero is octal to some
// programs and decimal to others, and so none here.
func short(s string) (netip.Addr, error) {
	var a uint32
	bits := 32 // that are left
	for rest, more := s, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, ".")
		base := 10
		if hex, ok := strings.CutPrefix(part, "0x"); ok {
			part, base = hex, 16
		} else if len(part) > 1 && part[0] == '0' {
			bits = 0
		}
		size := bits
		if more {
			size = 8
		}
		n, err := strconv.ParseUint(part, base, size)
		if err != nil || size > bits || bits == 0 {
			return netip.Addr{}, fmt.Errorf("%q: not an address", s)
		}
		bits -= size
		a |= uint32(n) << bits
	}
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), nil
}

func (r *Resolver) fits(a netip.Addr) error {
	switch {
	case r.Network == "ip4" && !a.Is4():
		return errors.New("not an IPv4 address")
	case r.Network == "ip6" && !a.Is6():
		return errors.New("not an IPv6 address")
	}
	return nil
}

func (r *Resolver) lookup(ctx context.Context, name string) (netip.Addr, error) {
	for {
		all, err := net.DefaultResolver.LookupNetIP(ctx, r.Network, name)
		if err == nil && len(all) > 0 {
			return all[0].Unmap(), nil
		}
		var dns *net.DNSError
		if r.Patient && errors.As(err, &dns) && !dns.IsNotFound {
			t := time.NewTimer(time.Second)
			select {
			case <-ctx.Done():
			case <-t.C:
				continue
			}
			t.Stop()
		}
		if err == nil {
			err = errors.New("no address")
		}
		return netip.Addr{}, sock.Reason(err)
	}
}
