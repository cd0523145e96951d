package secret

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"

	"filippo.io/nistec"
)

// SPAKE2 (RFC 9382), ciphersuite P256-SHA256-HKDF-SHA256-HMAC-SHA256: two sides that hold the same
// key prove it to each other. Who listens learns nothing to try guesses on; who takes part with a
// guess of his own learns whether that one is right, and no more.

const (
	shareSize   = 65 // an uncompressed point (SEC 1, 2.3.3)
	confirmSize = sha256.Size
	scalarSize  = 32
)

// errShare refuses a peer's share: not a point of the curve, the identity, or our own sent back.
var errShare = errors.New("not a share")

// The points M and N of RFC 9382, 6, for P-256, in compressed form.
const (
	pointM = "\x02\x88\x6e\x2f\x97\xac\xe4\x6e\x55\xba\x9d\xd7\x24\x25\x79\xf2\x99\x3b\x64\xe1\x6e\xf3\xdc\xab\x95\xaf\xd4\x97\x33\x3d\x8f\xa1\x2f"
	pointN = "\x03\xd8\xbb\xd6\xc6\x39\xc6\x29\x37\xb0\x4d\x99\x7f\x38\xc3\x77\x07\x19\xc6\x29\xd7\x01\x4d\x49\xa2\x4b\x4f\x98\xba\xa1\x29\x2b\x49"
)

// order is the order of the group, n.
func order() *big.Int {
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	return n
}

// A party is one side of an exchange. It is used once.
type party struct {
	dials  bool   // it is A of the RFC
	a, b   string // the identities
	w      []byte // the key as a scalar
	secret []byte // x or y
	share  []byte // pA or pB
}

// newParty begins an exchange with a fresh secret.
func newParty(dials bool, a, b string, w []byte) (*party, error) {
	x, err := randomScalar()
	if err != nil {
		return nil, err
	}
	return newPartyWith(dials, a, b, w, x)
}

// newPartyWith is newParty with a secret that is given, as the RFC's test vectors have it.
func newPartyWith(dials bool, a, b string, w, x []byte) (*party, error) {
	p := &party{dials: dials, a: a, b: b, w: w, secret: x}
	mask, err := p.mask(dials)
	if err != nil {
		return nil, err
	}
	public, err := nistec.NewP256Point().ScalarBaseMult(x)
	if err != nil {
		return nil, err
	}
	p.share = nistec.NewP256Point().Add(mask, public).Bytes()
	return p, nil
}

// mask is w*M, which hides the share of A, or w*N for B.
func (p *party) mask(ofA bool) (*nistec.P256Point, error) {
	base := pointN
	if ofA {
		base = pointM
	}
	point, err := nistec.NewP256Point().SetBytes([]byte(base))
	if err != nil {
		return nil, err
	}
	return point.ScalarMult(point, p.w)
}

// keys are what both sides get when, and only when, they hold the same key.
type keys struct {
	transcript []byte // TT
	shared     []byte // K
	ke, ka     []byte
	kcA, kcB   []byte
	confirmA   []byte
	confirmB   []byte
}

// finish takes the other side's share. bound (AAD) is what else both must agree on.
func (p *party) finish(theirs, bound []byte) (*keys, error) {
	if len(theirs) != shareSize || theirs[0] != 4 || bytes.Equal(theirs, p.share) {
		return nil, errShare
	}
	point, err := nistec.NewP256Point().SetBytes(theirs) // refuses what is not on the curve
	if err != nil {
		return nil, errShare
	}
	mask, err := p.mask(!p.dials)
	if err != nil {
		return nil, err
	}
	point.Add(point, mask.Negate(mask))
	if point, err = point.ScalarMult(point, p.secret); err != nil {
		return nil, err
	}
	if point.IsInfinity() == 1 {
		return nil, errShare
	}
	k := &keys{shared: point.Bytes()}

	pA, pB := p.share, theirs
	if !p.dials {
		pA, pB = theirs, p.share
	}
	for _, field := range [][]byte{[]byte(p.a), []byte(p.b), pA, pB, k.shared, p.w} {
		k.transcript = binary.LittleEndian.AppendUint64(k.transcript, uint64(len(field)))
		k.transcript = append(k.transcript, field...)
	}
	hash := sha256.Sum256(k.transcript)
	k.ke, k.ka = hash[:16], hash[16:]
	kc, err := hkdf.Key(sha256.New, k.ka, nil, "ConfirmationKeys"+string(bound), 32)
	if err != nil {
		return nil, err
	}
	k.kcA, k.kcB = kc[:16], kc[16:]
	k.confirmA, k.confirmB = tag(k.kcA, k.transcript), tag(k.kcB, k.transcript)
	return k, nil
}

func tag(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// scalar reduces 48 bytes modulo the order of the group: so many that the result is as good as
// uniform (RFC 9382, 3.2).
func scalar(wide []byte) []byte {
	return new(big.Int).Mod(new(big.Int).SetBytes(wide), order()).FillBytes(make([]byte, scalarSize))
}

const wideSize = 48

func randomScalar() ([]byte, error) {
	wide := make([]byte, wideSize)
	for {
		if _, err := rand.Read(wide); err != nil {
			return nil, err
		}
		if s := scalar(wide); !bytes.Equal(s, make([]byte, scalarSize)) {
			return s, nil
		}
	}
}
