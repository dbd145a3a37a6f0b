// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"
)

// A doorman decides who may use the embedded server, and as whom. The server's own
// ways do not mix: where it maps certificates to users, nobody comes in by password,
// not even this process. See RATIONALE.md, "Why a doorman of our own?".
type doorman struct {
	log     *slog.Logger
	secret  string // of internalUser
	byName  map[string]*guest
	byNKey  map[string]*guest
	byNames map[string]*guest // by User.Certificate
	// account is the only one. The server applies the limits of a connection when it
	// comes to an account.
	account atomic.Pointer[natsserver.Account]
	// hashing is taken while a password is compared with a hash; capacity hashedAtOnce.
	hashing chan struct{}

	mu sync.Mutex
}

// hashedAtOnce bounds the processors that guesses of passwords can take: a comparison
// with a bcrypt hash takes some 50 ms by design, and there may be 128 connections.
const hashedAtOnce = 1

// A guest is a User as the doorman knows it.
type guest struct {
	user  User
	perms *natsserver.Permissions
	// pass carries the limits of its connections; empty: those of the server.
	pass string
	// inside are its connections by their number; guarded by doorman.mu. Those that
	// ended stay until the next one comes.
	inside map[uint64]natsserver.ClientAuthentication
	known  []byte // the digest of the password that fit the hash; guarded by doorman.mu
}

// newDoorman fails on users that Options.check would have refused.
func newDoorman(o Options, secret string) (*doorman, error) {
	d := &doorman{log: o.Log.With("part", "nats"), secret: secret, hashing: make(chan struct{}, hashedAtOnce),
		byName: make(map[string]*guest), byNKey: make(map[string]*guest), byNames: make(map[string]*guest)}
	pass, err := newPass(MaxSampleBytes)
	if err != nil {
		return nil, err
	}
	plain := false
	for _, u := range o.Users {
		perms, err := u.permissions()
		if err != nil {
			return nil, err
		}
		g := &guest{user: u, perms: perms, inside: make(map[uint64]natsserver.ClientAuthentication)}
		if onlyMetrics(perms) {
			g.pass = pass
		}
		switch {
		case u.NKey != "":
			d.byNKey[u.NKey] = g
		case u.Certificate != "":
			d.byNames[u.Certificate] = g
		default:
			d.byName[u.Name] = g
			plain = plain || !hashed(u.Password.Reveal())
		}
	}
	if plain {
		d.log.Warn("Plaintext passwords in the configuration; an nkey, a certificate or a bcrypt hash tells nothing to who reads it")
	}
	return d, nil
}

// onlyMetrics reports whether a user feeds readings and nothing else.
func onlyMetrics(p *natsserver.Permissions) bool {
	for _, subject := range p.Publish.Allow {
		if !isMetric(subject) {
			return false
		}
	}
	return true
}

// Check implements natsserver.Authentication.
func (d *doorman) Check(c natsserver.ClientAuthentication) bool {
	addr := c.RemoteAddress()
	if addr == nil || c.Kind() != natsserver.CLIENT {
		return false
	}
	// The server gives connections of this process a pipe, and nobody else one.
	if addr.Network() == "pipe" {
		o := c.GetOpts()
		if o.Username != internalUser || !same(o.Password, d.secret) {
			return false
		}
		c.RegisterUser(&natsserver.User{Username: internalUser, Account: d.account.Load()})
		return true
	}
	g, until := d.find(c)
	if g == nil || !d.admit(g, c) {
		return false
	}
	c.GetOpts().JWT = g.pass // never what the client sent
	c.RegisterUser(&natsserver.User{Username: g.user.Name, Account: d.account.Load(), Permissions: g.perms, ConnectionDeadline: until})
	return true
}

// find is who c is, and until when it can prove that; no time means for ever. Each
// way stands for itself: who shows an nkey is not let in for its certificate.
func (d *doorman) find(c natsserver.ClientAuthentication) (*guest, time.Time) {
	o := c.GetOpts()
	switch {
	case o.Nkey != "":
		g := d.byNKey[o.Nkey]
		if g == nil || !signed(o.Nkey, c.GetNonce(), o.Sig) {
			return nil, time.Time{}
		}
		return g, time.Time{}
	case o.Password != "":
		g := d.byName[o.Username]
		if g == nil || !d.passwordFits(g, o.Password) {
			return nil, time.Time{}
		}
		return g, time.Time{}
	}
	return d.certified(c.GetTLSConnectionState(), o.Username)
}

// admit counts the connections of a user: one that leaks them locks out itself, and
// no other.
func (d *doorman) admit(g *guest, c natsserver.ClientAuthentication) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, other := range g.inside {
		if other.RemoteAddress() == nil { // it has ended
			delete(g.inside, id)
		}
	}
	if len(g.inside) >= maxPerUser {
		d.log.Warn("user has too many connections", "user", g.user.Name, "limit", maxPerUser)
		return false
	}
	g.inside[c.GetID()] = c
	return true
}

func hashed(password string) bool {
	return strings.HasPrefix(password, "$2a$") || strings.HasPrefix(password, "$2b$") ||
		strings.HasPrefix(password, "$2x$") || strings.HasPrefix(password, "$2y$")
}

// passwordFits remembers the password that fit a hash, by its digest: who is known does
// not wait behind those who guess.
func (d *doorman) passwordFits(g *guest, got string) bool {
	want := g.user.Password.Reveal()
	if !hashed(want) {
		return same(want, got)
	}
	digest := sha256.Sum256([]byte(got))
	d.mu.Lock()
	known := g.known
	d.mu.Unlock()
	if subtle.ConstantTimeCompare(known, digest[:]) == 1 {
		return true
	}
	d.hashing <- struct{}{}
	defer func() { <-d.hashing }()
	if bcrypt.CompareHashAndPassword([]byte(want), []byte(got)) != nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	g.known = digest[:]
	return true
}

// same takes the same time for all strings, whatever they have in common.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
