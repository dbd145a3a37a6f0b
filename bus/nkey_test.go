// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// TestLogins: each way in to a real nats-server.
func TestLogins(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	server, client := ca.server(t), ca.client(t, commonName("lb1"))
	stranger := foreign.client(t, commonName("lb1"))
	key, other := newKey(t), newKey(t)
	seed := filepath.Join(t.TempDir(), "lb1.nk")
	if err := os.WriteFile(seed, []byte("# of lb1\n"+key.seed+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tlsBlock := fmt.Sprintf("tls {cert_file: %q, key_file: %q, ca_file: %q, verify: true}\n", server.Cert, server.Key, ca.file)
	keyed := freePort(t)
	bustest.Serve(t, keyed, tlsBlock+fmt.Sprintf("authorization {users: [{nkey: %s}, {user: lb, password: secret}]}", key.public))
	mapped := freePort(t)
	bustest.Serve(t, mapped, strings.Replace(tlsBlock, "verify", "verify_and_map", 1)+`authorization {users: [{user: "CN=lb1"}]}`)
	operated := freePort(t)
	config, creds := operator(t)
	bustest.Serve(t, operated, config)
	withTLS := func(l bus.Login) bus.Login {
		l.CA, l.TLS = ca.file, client
		return l
	}
	tests := []struct {
		name  string
		port  int
		login bus.Login
		ok    bool
	}{
		{"seed", keyed, withTLS(bus.Login{NKey: core.Secret(key.seed)}), true},
		{"file of a seed", keyed, withTLS(bus.Login{NKey: core.Secret(seed)}), true},
		{"password", keyed, withTLS(bus.Login{User: "lb", Password: "secret"}), true},
		{"another seed", keyed, withTLS(bus.Login{NKey: core.Secret(other.seed)}), false},
		{"no login", keyed, withTLS(bus.Login{}), false},
		{"no certificate", keyed, bus.Login{NKey: core.Secret(key.seed), CA: ca.file}, false},
		{"foreign certificate", keyed, bus.Login{NKey: core.Secret(key.seed), CA: ca.file, TLS: stranger}, false},
		{"foreign server", keyed, bus.Login{NKey: core.Secret(key.seed), CA: foreign.file, TLS: client}, false},
		{"certificate alone", mapped, withTLS(bus.Login{}), true},
		{"credentials", operated, bus.Login{Credentials: creds}, true},
		{"no credentials", operated, bus.Login{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := stored("lb1", tt.port, tt.login)
			defer d.Close()
			// It tries once and says what is wrong. In, it finds no JetStream.
			_, _, err := d.Latest(t.Context())
			if in := err != nil && strings.Contains(err.Error(), "enable JetStream"); in != tt.ok {
				t.Errorf("%v, want in: %t", err, tt.ok)
			}
			if tt.ok {
				b := outside(t, "lb1", tt.port, tt.login)
				eventually(t, "connected", func() bool { return b.Stats().Connected })
			}
		})
	}
}

// operator is the configuration of a server that trusts an operator, and the file of a
// user whom the operator's account has signed.
func operator(t *testing.T) (config, creds string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	op, err := nkeys.CreateOperator()
	check(err)
	account, err := nkeys.CreateAccount()
	check(err)
	opKey, err := op.PublicKey()
	check(err)
	accountKey, err := account.PublicKey()
	check(err)
	user := newKey(t)
	opToken, err := jwt.NewOperatorClaims(opKey).Encode(op)
	check(err)
	accountToken, err := jwt.NewAccountClaims(accountKey).Encode(op)
	check(err)
	userToken, err := jwt.NewUserClaims(user.public).Encode(account)
	check(err)
	text, err := jwt.FormatUserConfig(userToken, []byte(user.seed))
	check(err)
	creds = filepath.Join(t.TempDir(), "lb1.creds")
	check(os.WriteFile(creds, text, 0o600))
	return fmt.Sprintf("operator: %s\nresolver: MEMORY\nresolver_preload: {%s: %s}\n", opToken, accountKey, accountToken), creds
}

// TestBadSeeds: a seed with a mistake is refused at once, and not shown.
func TestBadSeeds(t *testing.T) {
	key := newKey(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := key.seed[:20] + "AAAA" + key.seed[24:]
	for _, tt := range []struct{ name, key, want string }{
		{"a public key", key.public, "not a seed"}, {"cut off", key.seed[:40], "not a seed"}, {"a wrong letter", wrong, "a letter of the seed is wrong"},
		{"no file", "/nowhere/seed.nk", "read the seed of the nkey: open /nowhere/seed.nk"}, {"an empty file", empty, "no seed of a user in " + empty},
	} {
		b, err := bus.Start(t.Context(), bus.Options{Node: "lb1", Servers: []string{"nats://127.0.0.1:1"}, Login: bus.Login{NKey: core.Secret(tt.key)}})
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), key.seed[30:40]) {
			t.Errorf("%s: %v, want %q in it and nothing of the key", tt.name, err, tt.want)
		}
	}
	for _, tt := range []struct {
		name string
		user bus.User
		want string
	}{
		{"a seed", bus.User{Name: "a", NKey: key.seed}, "it begins with S and is a seed"},
		{"no key", bus.User{Name: "a", NKey: "UABC"}, "want the public key of a user"},
		{"two proofs", bus.User{Name: "a", NKey: key.public, Password: "x"}, "more than one of password, nkey and certificate"},
		{"no authority", bus.User{Name: "a", Certificate: "a"}, "a certificate needs TLS and the authorities"},
	} {
		_, err := bus.Start(t.Context(), bus.Options{Node: "lb1", Listen: "127.0.0.1:0", Users: []bus.User{tt.user}})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), key.seed[2:]) {
			t.Errorf("user with %s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
	twice := []bus.User{{Name: "a", NKey: key.public}, {Name: "b", NKey: key.public}}
	if _, err := bus.Start(t.Context(), bus.Options{Node: "lb1", Listen: "127.0.0.1:0", Users: twice}); err == nil || !strings.Contains(err.Error(), "is user a already") {
		t.Errorf("one key for two: %v", err)
	}
}
