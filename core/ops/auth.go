// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"github.com/steelyard-lb/steelyard/core"
)

// What a user may do.
const (
	RightRead = "read" // metrics, and what readiness says in full
	RightPush = "push" // metrics and alerts of its own
)

// A User may use the listener, with a password or a token.
type User struct {
	Name     string
	Password core.Secret // plain, or a bcrypt hash
	Token    core.Secret // for Authorization: Bearer
	Rights   []string
}

func (u *User) may(right string) bool { return slices.Contains(u.Rights, right) }

// hashedAtOnce bounds the processors that guesses of passwords can take: a comparison
// with a bcrypt hash takes some 50 ms by design.
const hashedAtOnce = 1

// A keeper knows the users.
type keeper struct {
	users  []User
	dummy  []byte // what the password of nobody is compared with
	hashed chan struct{}

	mu    sync.Mutex
	known map[string][sha256.Size]byte // guarded by mu; the digest of the password that fit a user's hash
}

func newKeeper(users []User) (*keeper, error) {
	k := &keeper{users: users, hashed: make(chan struct{}, hashedAtOnce), known: make(map[string][sha256.Size]byte)}
	for i, u := range users {
		switch {
		case u.Name == "" || slices.ContainsFunc(users[:i], func(o User) bool { return o.Name == u.Name }):
			return nil, fmt.Errorf("http.users: the name %q is empty or there twice", u.Name)
		case u.Password == "" && u.Token == "":
			return nil, fmt.Errorf("http.users.%s has neither a password nor a token", u.Name)
		}
		for _, r := range u.Rights {
			if r != RightRead && r != RightPush {
				return nil, fmt.Errorf("http.users.%s.rights: %q, want %s or %s", u.Name, r, RightRead, RightPush)
			}
		}
		if isHash(u.Password) {
			if _, err := bcrypt.Cost([]byte(u.Password.Reveal())); err != nil {
				return nil, fmt.Errorf("http.users.%s.password looks like a bcrypt hash and is none: %w", u.Name, err)
			}
			k.dummy = []byte(u.Password.Reveal())
		}
	}
	return k, nil
}

func isHash(p core.Secret) bool { return strings.HasPrefix(p.Reveal(), "$2") }

// who is the user of a request; nil if it names none or does not prove it.
func (k *keeper) who(r *http.Request) *User {
	if name, password, ok := r.BasicAuth(); ok {
		return k.byPassword(r, name, password)
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	var found *User
	for i := range k.users {
		u := &k.users[i]
		if u.Token != "" && same(u.Token.Reveal(), token) {
			found = u
		}
	}
	return found
}

// byPassword takes as long for a name that is not there as for one that is, so that
// the time does not tell names.
func (k *keeper) byPassword(r *http.Request, name, password string) *User {
	i := slices.IndexFunc(k.users, func(u User) bool { return u.Name == name && u.Password != "" })
	if i < 0 {
		if k.dummy != nil {
			k.compare(r, k.dummy, password)
		}
		return nil
	}
	u := &k.users[i]
	if !isHash(u.Password) {
		if same(u.Password.Reveal(), password) {
			return u
		}
		return nil
	}
	if k.fits(r, u, password) {
		return u
	}
	return nil
}

// fits remembers the password that fit, by its digest: a scrape every few seconds must
// not cost 50 ms of a processor each time.
func (k *keeper) fits(r *http.Request, u *User, password string) bool {
	digest := sha256.Sum256([]byte(password))
	k.mu.Lock()
	known, ok := k.known[u.Name]
	k.mu.Unlock()
	if ok && subtle.ConstantTimeCompare(known[:], digest[:]) == 1 {
		return true
	}
	if !k.compare(r, []byte(u.Password.Reveal()), password) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known[u.Name] = digest
	return true
}

// compare waits for its turn, unless the client goes.
func (k *keeper) compare(r *http.Request, hash []byte, password string) bool {
	select {
	case k.hashed <- struct{}{}:
		defer func() { <-k.hashed }()
	case <-r.Context().Done():
		return false
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
}

// same compares without telling by its time how much is right.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
