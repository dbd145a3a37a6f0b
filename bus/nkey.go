// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/steelyard-lb/steelyard/core"
)

// NewNKey makes the key of a user: the public half is for the configuration of a server,
// the seed for the user alone.
func NewNKey() (public string, seed core.Secret, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", "", fmt.Errorf("make nkey: %w", err)
	}
	if public, err = pair.PublicKey(); err != nil {
		return "", "", fmt.Errorf("make nkey: %w", err)
	}
	text, err := pair.Seed()
	if err != nil {
		return "", "", fmt.Errorf("make nkey: %w", err)
	}
	return public, core.Secret(text), nil
}

// checkPublicKey refuses what is no public key of a user. It shows nothing of a key:
// what was pasted by mistake may be the secret one.
func checkPublicKey(key string) error {
	switch {
	case nkeys.IsValidPublicUserKey(key):
		return nil
	case len(key) > 1 && key[0] == 'S':
		return errors.New("it begins with S and is a seed, which only the user may have; make a new one, and give the public key, which begins with U")
	}
	return errors.New("want the public key of a user, U and 55 more letters and digits")
}

// signed reports whether sig is what the seed of key makes of nonce.
func signed(key string, nonce []byte, sig string) bool {
	if len(nonce) == 0 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		if raw, err = base64.StdEncoding.DecodeString(sig); err != nil { // some clients do so
			return false
		}
	}
	pub, err := nkeys.FromPublicKey(key)
	return err == nil && pub.Verify(nonce, raw) == nil
}

// newPass makes what tells the server the limits of a single connection: its payload
// in bytes and its subscriptions. The server reads them from a user's token and from
// nowhere else; nobody is authenticated by it, since there is no operator to trust.
func newPass(payload int64) (string, error) {
	public, _, err := NewNKey()
	if err != nil {
		return "", fmt.Errorf("make limits: %w", err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		return "", fmt.Errorf("make limits: %w", err)
	}
	claims := jwt.NewUserClaims(public)
	claims.Limits.Payload, claims.Limits.Subs = payload, maxSubscriptions
	pass, err := claims.Encode(account)
	if err != nil {
		return "", fmt.Errorf("make limits: %w", err)
	}
	return pass, nil
}

// The seed of a user within a file that may have other lines, as nk and nsc write it.
var seedPattern = regexp.MustCompile(`(?m)^\s*(SU[A-Z2-7]{56})\s*$`)

// nkeyOption logs in with the seed in s, or in the file of that path.
func nkeyOption(s core.Secret) (nats.Option, error) {
	seed, err := readSeed(s)
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("login: nkey: %w; a letter of the seed is wrong", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("login: nkey: %w", err)
	}
	return nats.Nkey(public, pair.Sign), nil
}

// readSeed shows nothing of what it refuses, unless that is a path.
func readSeed(s core.Secret) ([]byte, error) {
	text := s.Reveal()
	if m := seedPattern.FindStringSubmatch(text); m != nil {
		return []byte(m[1]), nil
	}
	if !strings.ContainsAny(text, "/.") {
		return nil, errors.New("login: nkey: not a seed; want SU and 56 more letters and digits, or the path of a file that holds one")
	}
	data, err := os.ReadFile(text)
	if err != nil {
		return nil, fmt.Errorf("login: read the seed of the nkey: %w", err)
	}
	m := seedPattern.FindSubmatch(data)
	if m == nil {
		return nil, fmt.Errorf("login: no seed of a user in %s; want a line of SU and 56 more letters and digits", text)
	}
	return m[1], nil
}
