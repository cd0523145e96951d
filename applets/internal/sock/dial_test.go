package sock

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// closedPort is a TCP address of this machine that nobody listens on.
func closedPort(t *testing.T) Addr {
	t.Helper()
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	ln.Close()
	return parse(t, ln.Addr().String())
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	closed := closedPort(t)
	for _, tt := range []struct {
		ctx  context.Context
		a    Addr
		o    DialOptions
		text string
		kind string
	}{
		{t.Context(), closed, DialOptions{}, closed.String() + ": connection refused", "refused"},
		{t.Context(), Addr{Net: "unix", Path: dir + "/no"}, DialOptions{}, "unix:" + dir + "/no: no such file or directory", "refused"},
		{past, closed, DialOptions{}, closed.String() + ": connection timed out", "timed out"},
		{t.Context(), Addr{Net: "tcp", Host: "127.0.0.1"}, DialOptions{}, "127.0.0.1:0: port 0 cannot be dialled", ""},
		{t.Context(), closed, DialOptions{Source: "x:1"}, closed.String() + `: source "x" is not an address of this machine`, ""},
		{t.Context(), closed, DialOptions{Source: "1.2.3.4:x"}, closed.String() + `: source "x" is not a port number`, ""},
		{t.Context(), Addr{Net: "unix", Path: dir + "/no"}, DialOptions{Source: ":1"}, "unix:" + dir + "/no: only tcp and udp have a source address (:1)", ""},
	} {
		c, err := Dial(tt.ctx, tt.a, tt.o)
		if c != nil {
			t.Errorf("Dial(%s) gave a connection", tt.a)
		}
		wantErr(t, err, tt.text, nil)
		wantKind(t, err, tt.kind)
	}
}

func wantKind(t *testing.T, err error, kind string) {
	t.Helper()
	for name, is := range map[string]func(error) bool{
		"refused": Refused, "unreachable": Unreachable, "unresolved": Unresolved, "timed out": TimedOut,
	} {
		if is(err) != (name == kind) {
			t.Errorf("%v: %s is %v", err, name, is(err))
		}
	}
}

// The reasons that need a network are taken as package net wraps them.
func TestErrorKinds(t *testing.T) {
	op := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{}, Err: err}
	}
	sys := func(e syscall.Errno) error { return op(os.NewSyscallError("connect", e)) }
	for _, tt := range []struct {
		err        error
		text, kind string
	}{
		{sys(syscall.EHOSTUNREACH), "h:1: no route to host", "unreachable"},
		{sys(syscall.ENETUNREACH), "h:1: network is unreachable", "unreachable"},
		{sys(syscall.ETIMEDOUT), "", "timed out"},
		{sys(syscall.EACCES), "h:1: permission denied", ""},
		{sys(syscall.EAGAIN), "h:1: resource temporarily unavailable", ""},
		{op(&net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}), "h: no such host", "unresolved"},
		{op(&net.DNSError{UnwrapErr: syscall.ECONNREFUSED, Err: "connection refused", Name: "h"}), "h: connection refused", "unresolved"},
		{op(&net.AddrError{Err: "no suitable address found", Addr: "h"}), "h:1: no suitable address found", ""},
		{context.DeadlineExceeded, "h:1: connection timed out", "timed out"},
		{op(os.ErrDeadlineExceeded), "h:1: connection timed out", "timed out"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "h:1: it says: bad certificate", ""},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "h:1: it does not speak TLS as it should", ""},
		{errors.New("tls: received unexpected handshake message of type *tls.clientHelloMsg when waiting for *tls.serverHelloMsg"), "h:1: it does not speak TLS as it should", ""},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "h:1: failed to verify certificate: certificate signed by unknown authority", ""},
	} {
		err := fail("h:1", tt.err)
		if tt.text != "" {
			wantErr(t, err, tt.text, nil)
		}
		wantKind(t, err, tt.kind)
		wantKind(t, errors.Join(errors.New("more"), err), tt.kind)
	}
	if fail("h:1", nil) != nil {
		t.Error("fail keeps nil")
	}
}

func TestDialUnresolved(t *testing.T) {
	// RFC 6761: .invalid never resolves; without a name server it does not either.
	_, err := Dial(t.Context(), Addr{Net: "tcp", Host: "nosuch.invalid", Port: 1}, DialOptions{Timeout: 10 * time.Second})
	var dns *net.DNSError
	if !errors.As(err, &dns) || !Unresolved(err) || Refused(err) || Unreachable(err) || !strings.HasPrefix(err.Error(), "nosuch.invalid: ") {
		t.Errorf("error %v", err)
	}
}

func TestDialSource(t *testing.T) {
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	a := parse(t, ln.Addr().String())
	free := closedPort(t)
	for source, want := range map[string]string{
		"127.0.0.1":            "127.0.0.1:",
		"127.0.0.1:0":          "127.0.0.1:",
		free.String():          free.String(),
		free.String()[9:]:      free.String(), // ":PORT"
		"[::ffff:127.0.0.1]:0": "127.0.0.1:",
	} {
		// The second time, the first connection from the port is in TIME-WAIT.
		for range 2 {
			c, err := Dial(t.Context(), a, DialOptions{Source: source})
			if err != nil {
				t.Fatalf("from %s: %v", source, err)
			}
			s, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(s.RemoteAddr().String(), want) {
				t.Errorf("from %s: the peer sees %v", source, s.RemoteAddr())
			}
			c.Close()
			if _, err := io.ReadAll(s); err != nil {
				t.Error(err)
			}
			s.Close()
		}
	}
}

func TestDialOptionsCheck(t *testing.T) {
	for _, tt := range []struct {
		o       DialOptions
		a, want string
	}{
		{DialOptions{}, "unix:x", ""},
		{DialOptions{Source: "127.0.0.1"}, "127.0.0.1:80", ""},
		{DialOptions{Source: ":99"}, "[::1]:80", ""},
		{DialOptions{Source: "::1", Interface: "lo"}, "udp://host:80", ""},
		{DialOptions{Source: "host:80"}, "127.0.0.1:80", `source "host" is not an address of this machine`},
		{DialOptions{Source: "::1"}, "127.0.0.1:80", "source ::1 and 127.0.0.1 are not of one version of IP"},
		{DialOptions{Source: "127.0.0.1"}, "unix:x", "only tcp and udp have a source address (127.0.0.1)"},
		{DialOptions{Interface: "lo"}, "unix:x", "only tcp and udp go by an interface (lo)"},
	} {
		if err := tt.o.Check(parse(t, tt.a)); tt.want != "" {
			wantErr(t, err, tt.want, nil)
		} else if err != nil {
			t.Errorf("%+v for %s: %v", tt.o, tt.a, err)
		}
	}
	// An address that is not ours is the reason, and not the peer.
	ln := listen(t, "127.0.0.1:0", ListenOptions{})
	_, err := Dial(t.Context(), parse(t, ln.Addr().String()), DialOptions{Source: "192.0.2.1"}) // RFC 5737
	wantErr(t, err, ln.Addr().String()+": from 192.0.2.1: cannot assign requested address", syscall.EADDRNOTAVAIL)
}
