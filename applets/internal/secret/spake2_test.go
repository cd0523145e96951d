package secret

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"filippo.io/nistec"
)

// The vectors of RFC 9382, Appendix B; in testdata is a copy of what the RFC prints.
func TestSPAKE2Vectors(t *testing.T) {
	text, err := os.ReadFile("testdata/spake2-rfc9382-p256.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		M, N    string
		Vectors []map[string]string
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if file.M != hex.EncodeToString([]byte(pointM)) || file.N != hex.EncodeToString([]byte(pointN)) {
		t.Error("M or N is not the RFC's")
	}
	if len(file.Vectors) != 4 {
		t.Fatalf("%d vectors, want 4", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		unhex := func(name string) []byte {
			b, err := hex.DecodeString(v[name])
			if err != nil || len(b) == 0 {
				t.Fatalf("%s: %q: %v", name, v[name], err)
			}
			return b
		}
		a, err := newPartyWith(true, v["A"], v["B"], unhex("w"), unhex("x"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := newPartyWith(false, v["A"], v["B"], unhex("w"), unhex("y"))
		if err != nil {
			t.Fatal(err)
		}
		ka, err := a.finish(b.share, nil)
		if err != nil {
			t.Fatal(err)
		}
		kb, err := b.finish(a.share, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []*keys{ka, kb} {
			for name, got := range map[string][]byte{
				"pA": a.share, "pB": b.share, "K": k.shared, "TT": k.transcript, "Ke": k.ke, "Ka": k.ka,
				"KcA": k.kcA, "KcB": k.kcB, "confirmA": k.confirmA, "confirmB": k.confirmB,
			} {
				if !bytes.Equal(got, unhex(name)) {
					t.Errorf("%s/%s: %s = %x, want %s", v["A"], v["B"], name, got, v[name])
				}
			}
		}
	}
}

func TestSPAKE2Refuses(t *testing.T) {
	w, x := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{9}, 32)
	a, err := newPartyWith(true, "client", "server", w, x)
	if err != nil {
		t.Fatal(err)
	}
	// w*N alone: what is left of it after the mask is the identity
	n, _ := nistec.NewP256Point().SetBytes([]byte(pointN))
	onlyMask, _ := n.ScalarMult(n, w)
	generator := nistec.NewP256Point().SetGenerator()
	offCurve := generator.Bytes()
	offCurve[64] ^= 1
	beyond := append([]byte{4}, bytes.Repeat([]byte{0xff}, 64)...)
	for name, share := range map[string][]byte{
		"nothing":                nil,
		"the identity":           {0},
		"the identity, padded":   make([]byte, shareSize),
		"one byte short":         generator.Bytes()[:64],
		"one byte more":          append(generator.Bytes(), 0),
		"compressed":             generator.BytesCompressed(),
		"hybrid":                 append([]byte{6}, generator.Bytes()[1:]...),
		"off the curve":          offCurve,
		"coordinates beyond p":   beyond,
		"our own, sent back":     a.share,
		"the mask, so K is zero": onlyMask.Bytes(),
	} {
		if _, err := a.finish(share, nil); err != errShare {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	if _, err := a.finish(generator.Bytes(), nil); err != nil {
		t.Errorf("a point of the curve: %v", err)
	}
}

// Whatever differs between the two sides, the confirmations do too.
func TestSPAKE2Disagrees(t *testing.T) {
	w, other := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 32)
	exchange := func(wA, wB []byte, idA, idB, boundA, boundB string) bool {
		a, err := newParty(true, idA, "s", wA)
		if err != nil {
			t.Fatal(err)
		}
		b, err := newParty(false, idB, "s", wB)
		if err != nil {
			t.Fatal(err)
		}
		ka, err := a.finish(b.share, []byte(boundA))
		if err != nil {
			t.Fatal(err)
		}
		kb, err := b.finish(a.share, []byte(boundB))
		if err != nil {
			t.Fatal(err)
		}
		sameA, sameB := bytes.Equal(ka.confirmA, kb.confirmA), bytes.Equal(ka.confirmB, kb.confirmB)
		if sameA != sameB {
			t.Error("one confirmation agrees and the other does not")
		}
		return sameA
	}
	if !exchange(w, w, "c", "c", "x", "x") {
		t.Error("the same on both sides, and yet no agreement")
	}
	if exchange(w, other, "c", "c", "x", "x") {
		t.Error("agreement on two keys")
	}
	if exchange(w, w, "c", "d", "x", "x") {
		t.Error("agreement on two identities")
	}
	if exchange(w, w, "c", "c", "x", "y") {
		t.Error("agreement on two channels")
	}
}
