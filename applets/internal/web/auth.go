package web

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"sockbox/applets/internal/sock"
)

// Users are those who may come in, with what their passwords are proven against.
type Users struct {
	file   string
	hashes map[string][]byte
	other  []byte // what a name that nobody has is compared with: that takes as long
}

// ReadUsers reads a file as htpasswd(1) writes it with -B: NAME:HASH a line, the hashes by bcrypt.
// Other hashes are an error, since they can be tried out by the billion.
func ReadUsers(file string) (*Users, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, sock.Reason(err))
	}
	defer f.Close()
	u := &Users{file: file, hashes: map[string][]byte{}}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		cost, err := bcrypt.Cost([]byte(hash))
		switch {
		case !ok || name == "":
			return nil, fmt.Errorf("%s: line %d: not NAME:HASH", file, n)
		case err != nil:
			return nil, fmt.Errorf("%s: line %d: not a hash by bcrypt, as 'htpasswd -B' makes", file, n)
		case cost > maxCost:
			return nil, fmt.Errorf("%s: line %d: a cost of %d takes too long: at most %d", file, n, cost, maxCost)
		}
		u.hashes[name], u.other = []byte(hash), []byte(hash)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, sock.Reason(err))
	}
	if len(u.hashes) == 0 {
		return nil, fmt.Errorf("%s: nobody is in it", file)
	}
	return u, nil
}

const maxCost = 14 // more than a second of work for each try

// A guard checks passwords. That is slow on purpose, so only few are checked at once, only few wait from
// one address, and who has proven one need not do it again for a while.
type guard struct {
	once  sync.Once
	slots chan struct{}
	key   [32]byte

	mu     sync.Mutex
	known  map[[32]byte]time.Time // until when
	trying map[netip.Addr]int
}

const (
	knownTime = 5 * time.Minute
	maxKnown  = 1024
	maxTrying = 16 // from one address (IPv6: one /64)
	checks    = 2  // at once
)

// user returns who has sent r, or the status to refuse it with.
func (g *guard) user(r *http.Request, u *Users, p *peer) (string, int) {
	g.once.Do(func() {
		g.slots = make(chan struct{}, checks)
		rand.Read(g.key[:])
		g.known, g.trying = map[[32]byte]time.Time{}, map[netip.Addr]int{}
	})
	name, password, ok := r.BasicAuth()
	if !ok {
		return "", http.StatusUnauthorized
	}
	hash, exists := u.hashes[name]
	if !exists {
		hash = u.other
	}
	sum := sha256.New()
	sum.Write(g.key[:])
	fmt.Fprintf(sum, "%d:%s%d:%s%s", len(name), name, len(password), password, hash)
	var id [32]byte
	sum.Sum(id[:0])

	from := network(p.addr)
	g.mu.Lock()
	until, known := g.known[id]
	if known && time.Now().Before(until) {
		g.mu.Unlock()
		return name, 0
	}
	if g.trying[from] >= maxTrying {
		g.mu.Unlock()
		return "", http.StatusTooManyRequests
	}
	g.trying[from]++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.trying[from]--; g.trying[from] == 0 {
			delete(g.trying, from)
		}
	}()
	select {
	case g.slots <- struct{}{}:
	case <-r.Context().Done():
		return "", http.StatusServiceUnavailable
	}
	err := bcrypt.CompareHashAndPassword(hash, []byte(password))
	<-g.slots
	if err != nil || !exists {
		return "", http.StatusUnauthorized
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for other, until := range g.known {
		if len(g.known) < maxKnown && now.Before(until) {
			break
		}
		delete(g.known, other)
	}
	g.known[id] = now.Add(knownTime)
	return name, 0
}
