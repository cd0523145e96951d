package sock

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCert writes a new self-signed certificate and its key, and returns its fingerprint.
func writeCert(t *testing.T, cert, key string) string {
	t.Helper()
	c, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Fingerprint(c.Certificate[0])
}

// shake makes one handshake and returns the fingerprint that the client saw, and both errors.
func shake(s, c *tls.Config) (string, error, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a pipe holds nothing: two alerts would wait for each other
	if err != nil {
		return "", err, nil
	}
	defer l.Close()
	deadline := time.Now().Add(30 * time.Second)
	server := make(chan error, 1)
	go func() {
		a, err := l.Accept()
		if err != nil {
			server <- err
			return
		}
		defer a.Close()
		a.SetDeadline(deadline)
		t := tls.Server(a, s)
		if err = t.Handshake(); err == nil {
			_, err = t.Write([]byte("x")) // in TLS 1.3 the client's certificate is judged after its handshake
		}
		server <- err
	}()
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return "", err, nil
	}
	b.SetDeadline(deadline)
	t := tls.Client(b, c)
	err = t.Handshake()
	if err == nil {
		_, err = t.Read(make([]byte, 1))
	}
	b.Close()
	seen := ""
	if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
		seen = Fingerprint(certs[0].Raw)
	}
	return seen, err, <-server
}

func TestTLSConfigs(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	theirs, theirKey := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	print := writeCert(t, cert, key)
	writeCert(t, theirs, theirKey)
	other := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		what   string
		server ServerTLS
		client ClientTLS
		host   string
		want   string // "" or a part of the client's error
	}{
		{"signed by itself, trusted", ServerTLS{Cert: cert, Key: key}, ClientTLS{CA: cert}, "localhost", ""},
		{"by address", ServerTLS{Cert: cert, Key: key}, ClientTLS{CA: cert}, "127.0.0.1", ""},
		{"another name", ServerTLS{Cert: cert, Key: key}, ClientTLS{CA: cert}, "example.org", "not example.org"},
		{"another name, told", ServerTLS{Cert: cert, Key: key}, ClientTLS{CA: cert, Name: "localhost"}, "example.org", ""},
		{"untrusted", ServerTLS{Cert: cert, Key: key}, ClientTLS{}, "localhost", "unknown authority"},
		{"untrusted, whatever", ServerTLS{Cert: cert, Key: key}, ClientTLS{Insecure: true}, "localhost", ""},
		{"pinned", ServerTLS{Cert: cert, Key: key}, ClientTLS{Pin: print}, "example.org", ""},
		{"pinned as openssl writes it", ServerTLS{Cert: cert, Key: key}, ClientTLS{Pin: "SHA256:" + colons(print)}, "example.org", ""},
		{"pinned to another", ServerTLS{Cert: cert, Key: key}, ClientTLS{Pin: other}, "localhost", "fingerprint " + print},
		{"pinned to another, insecure", ServerTLS{Cert: cert, Key: key}, ClientTLS{Pin: other, Insecure: true}, "localhost", "fingerprint " + print},
		{"made now", ServerTLS{SelfSigned: true}, ClientTLS{Insecure: true}, "localhost", ""},
		{"client without a certificate", ServerTLS{Cert: cert, Key: key, ClientCA: theirs}, ClientTLS{CA: cert}, "localhost", "certificate required"},
		{"client with the wrong one", ServerTLS{Cert: cert, Key: key, ClientCA: cert}, ClientTLS{CA: cert, Cert: theirs, Key: theirKey}, "localhost", "tls:"},
	} {
		s, mine, err := c.server.Config()
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		d, err := c.client.Config(c.host)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		seen, err, serr := shake(s, d)
		switch {
		case c.want == "" && (err != nil || serr != nil):
			t.Errorf("%s: %v, %v", c.what, err, serr)
		case c.want == "" && seen != mine:
			t.Errorf("%s: saw %s, told %s", c.what, seen, mine)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
	}
}

func colons(print string) string {
	var b strings.Builder
	for i, r := range strings.ToUpper(strings.TrimPrefix(print, "sha256:")) {
		if i > 0 && i%2 == 0 {
			b.WriteByte(':')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func TestTLSClientCertificate(t *testing.T) {
	// One that may sign for a client: our own kind is for servers only.
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCert(t, cert, key)
	s, _, err := ServerTLS{Cert: cert, Key: key}.Config()
	if err != nil {
		t.Fatal(err)
	}
	s.ClientAuth = tls.RequireAnyClientCert
	c, err := ClientTLS{CA: cert, Cert: cert, Key: key}.Config("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if _, err, serr := shake(s, c); err != nil || serr != nil {
		t.Error(err, serr)
	}
}

func TestTLSRenewal(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writeCert(t, cert, key)
	var failed []error
	s, print, err := ServerTLS{Cert: cert, Key: key, Failed: func(err error) { failed = append(failed, err) }}.Config()
	if err != nil || print != first {
		t.Fatal(print, first, err)
	}
	serves := func(want string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			seen, err, _ := shake(s, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			if seen == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s is served, not %s", seen, want)
			}
		}
	}
	serves(first)
	serves2 := writeCert(t, cert, key)
	serves(serves2)
	if err := os.WriteFile(cert, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); len(failed) == 0; {
		serves(serves2) // goes on
		if time.Now().After(end) {
			t.Fatal("nobody was told")
		}
	}
	if !strings.Contains(failed[0].Error(), cert) {
		t.Error(failed[0])
	}
}

func TestTLSBadFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCert(t, cert, key)
	open := filepath.Join(dir, "open.pem")
	b, _ := os.ReadFile(key)
	if os.WriteFile(open, b, 0o644) != nil || os.Chmod(open, 0o644) != nil {
		t.Fatal("no file")
	}
	for want, s := range map[string]ServerTLS{
		"there is no certificate":               {},
		"gone.pem: no such file or directory":   {Cert: filepath.Join(dir, "gone.pem")},
		"failed to find any PEM data in key":    {Cert: cert, Key: os.DevNull},
		"open.pem: everybody may use":           {Cert: cert, Key: open},
		"key.pem: there is no certificate in i": {Cert: cert, Key: key, ClientCA: key},
	} {
		if _, _, err := s.Config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
	for want, c := range map[string]ClientTLS{
		"no fingerprint": {Pin: "sha256:12"},
		"gone.pem":       {CA: filepath.Join(dir, "gone.pem")},
		"open.pem":       {Cert: cert, Key: open},
	} {
		if _, err := c.Config("x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}
