package sock

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// ServerTLS is how a listener speaks TLS to programs that are not sockbox: with certificates. (Between
// sockbox ends a key does better, see package secret.)
type ServerTLS struct {
	Cert, Key  string // PEM files: the chain, our certificate first, and its key; Key "" means that Cert holds both
	ClientCA   string // PEM file: clients must show a certificate that one of these has signed; it is read once
	SelfSigned bool   // without Cert: a certificate made now, for this host's names and addresses

	// Failed, if it is set, is told when changed files cannot be used; the certificate stays as it was.
	Failed func(error)
}

// certCheck is how often at most the files are looked at: a handshake costs a thousand times what two
// stats do, but nobody needs them more often.
const certCheck = time.Second

// Config returns a configuration for tls.Server or tls.NewListener, TLS 1.2 at least, and the fingerprint
// of the certificate, see Fingerprint. When the files change, connections that come later get what is
// in them then: a renewed certificate needs no restart. The caller sets NextProtos as it likes.
func (t ServerTLS) Config() (*tls.Config, string, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.ClientCA != "" {
		pool, err := readPool(t.ClientCA)
		if err != nil {
			return nil, "", err
		}
		c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	if t.Cert == "" {
		if !t.SelfSigned {
			return nil, "", errors.New("there is no certificate")
		}
		cert, err := selfSigned()
		if err != nil {
			return nil, "", err
		}
		c.Certificates = []tls.Certificate{cert}
		return c, Fingerprint(cert.Certificate[0]), nil
	}
	if t.Key == "" {
		t.Key = t.Cert
	}
	f := &certFiles{ServerTLS: t}
	if err := f.read(f.stamp()); err != nil {
		return nil, "", err
	}
	f.looked = time.Now()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.current(), nil }
	return c, Fingerprint(f.cert.Certificate[0]), nil
}

// Fingerprint is "sha256:" and the SHA-256 of a certificate in DER, in hex: what "openssl x509
// -fingerprint -sha256" tells, without the colons.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParseFingerprint reads what Fingerprint returns, with or without colons, in either case.
func ParseFingerprint(s string) ([]byte, error) {
	hexes, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(s, ":", "")), "sha256")
	sum, err := hex.DecodeString(hexes)
	if !ok || err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("%q is no fingerprint, as sha256: and 64 hexadecimal digits", s)
	}
	return sum, nil
}

// certFiles is a certificate that is read again when its files change.
type certFiles struct {
	ServerTLS

	mu     sync.Mutex
	cert   *tls.Certificate
	looked time.Time
	seen   [2]fileStamp // of the files as they were last tried
}

// A fileStamp tells one state of a file from another.
type fileStamp struct {
	info os.FileInfo
	size int64
	time time.Time
}

func (s fileStamp) same(o fileStamp) bool {
	if s.info == nil || o.info == nil {
		return s.info == o.info
	}
	return os.SameFile(s.info, o.info) && s.size == o.size && s.time.Equal(o.time)
}

func (f *certFiles) stamp() (s [2]fileStamp) {
	for i, path := range []string{f.Cert, f.Key} {
		if fi, err := os.Stat(path); err == nil {
			s[i] = fileStamp{fi, fi.Size(), fi.ModTime()}
		}
	}
	return s
}

// read reads the files, whose state just before was s: if they change meanwhile, the next look sees it.
func (f *certFiles) read(s [2]fileStamp) error {
	f.seen = s
	chain, err := os.ReadFile(f.Cert)
	if err != nil {
		return fail(f.Cert, err)
	}
	key, err := readPrivate(f.Key)
	if err != nil {
		return fail(f.Key, err)
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fail(f.Cert, errors.New(strings.TrimPrefix(err.Error(), "tls: ")))
	}
	f.cert = &cert
	return nil
}

func (f *certFiles) current() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= certCheck {
		f.looked = now
		if s := f.stamp(); !s[0].same(f.seen[0]) || !s[1].same(f.seen[1]) {
			// A renewal in the middle, one file new and one old, is seen once more when it is through.
			if err := f.read(s); err != nil && f.Failed != nil {
				f.Failed(fmt.Errorf("%w; the certificate stays as it was", err))
			}
		}
	}
	return f.cert
}

// readPrivate reads a file that not everybody may read.
func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, err
	}
	// A group is common and meant, as Debian's ssl-cert.
	if mode := fi.Mode().Perm(); fi.Mode().IsRegular() && mode&0o007 != 0 {
		return nil, fmt.Errorf("everybody may use the private key, its mode is %04o (chmod o= makes it private)", mode)
	}
	return io.ReadAll(io.LimitReader(file, 1<<20))
}

func readPool(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fail(path, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fail(path, errors.New("there is no certificate in it"))
	}
	return pool, nil
}

// selfSigned makes a certificate for localhost, the host's name, and its addresses.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280, 4.1.2.2: positive, at most 20 bytes
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "sockbox"},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.AddDate(10, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},

		BasicConstraintsValid: true,
	}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		template.DNSNames = append(template.DNSNames, name)
	}
	addrs, _ := net.InterfaceAddrs() // without them it is a certificate for fewer names
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			template.IPAddresses = append(template.IPAddresses, n.IP)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// ClientTLS is how a dialler speaks TLS to programs that are not sockbox.
type ClientTLS struct {
	CA        string // PEM file: who may have signed the server's certificate; "" means whom the system trusts
	Name      string // what the certificate must be for; "" means the host that was dialled
	Pin       string // the certificate must have this Fingerprint, and need not be signed or named at all
	Cert, Key string // PEM files: what we show if the server asks; Key "" means that Cert holds both
	Insecure  bool   // believe any certificate
}

// Config returns a configuration for tls.Client on connections to host, TLS 1.2 at least.
func (t ClientTLS) Config(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name, InsecureSkipVerify: t.Insecure}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if t.CA != "" {
		pool, err := readPool(t.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if t.Pin != "" {
		want, err := ParseFingerprint(t.Pin)
		if err != nil {
			return nil, err
		}
		c.InsecureSkipVerify = true // what follows is stricter
		c.VerifyConnection = func(s tls.ConnectionState) error {
			got := sha256.Sum256(s.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare(got[:], want) != 1 {
				return fmt.Errorf("the certificate has the fingerprint sha256:%x, not the one it must have", got)
			}
			return nil
		}
	}
	if t.Cert != "" {
		f := certFiles{ServerTLS: ServerTLS{Cert: t.Cert, Key: t.Key}}
		if f.Key == "" {
			f.Key = f.Cert
		}
		if err := f.read(f.stamp()); err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{*f.cert}
	}
	return c, nil
}
