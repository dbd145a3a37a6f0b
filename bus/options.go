// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// DefaultSampleTTL is how late a sample may be by default. It bounds how old
// the news is on which a backend is judged; a queue that drains after a
// partition is older than this.
const DefaultSampleTTL = 5 * time.Second

// MaxBodyBytes is the largest body that the embedded server takes. A decision
// of 1000 backends with their inputs has about 1 MB.
const MaxBodyBytes = 4 << 20

// Options say how the bus runs. The zero value but for Node is an embedded
// server that nobody else can reach.
type Options struct {
	Node string // name of this node: the source of all it publishes; required

	// StateDir is made if missing, and locked: two nodes on one directory would
	// also be two on one kernel table. Empty means no lock.
	StateDir string

	// Listen is the TCP address of the embedded server, "127.0.0.1:4222". Empty
	// means none. Port 0 takes any free port.
	Listen string
	TLS    TLSFiles // of Listen; required if its address is not loopback
	Users  []User   // who may come in through Listen; at least one

	// Servers are the URLs of an external NATS, used instead of an embedded
	// one. Listen, TLS and Users are then not allowed.
	Servers []string
	Login   Login

	// Roles and Group are what the log names where Servers refuse what the node needs.
	Roles []Role
	Group string

	// CloudEvents adds ce-* headers to what is published seldom: health, decisions,
	// commits, events and weights.
	CloudEvents bool

	SampleTTL time.Duration // 0 means DefaultSampleTTL; whole milliseconds
	Log       *slog.Logger  // nil means silence
}

// ReservedUser is the one name that no User may have.
const ReservedUser = internalUser

// TLSFiles are paths of PEM files.
type TLSFiles struct {
	Cert, Key string
	// CA are the authorities whose certificates users may have. A listener with
	// them asks every client for one, and users with Certificate must have it. Of
	// Options.TLS only.
	CA string
}

// A User may come in through Options.Listen. It proves itself in exactly one of
// three ways: Password, NKey or Certificate.
type User struct {
	Name     string      // letters, digits, - and _
	Password core.Secret // plain or bcrypt ("$2a$…")
	NKey     string      // public key, "U…"; the user has the seed
	// Certificate is a name in the client certificate, letter for letter: its
	// common name, or a DNS name, mail address or URI of its alternative names. The
	// certificate must be of one of TLSFiles.CA.
	Certificate string
	// Publish and Subscribe are the patterns that the user may use, and nothing
	// else; the prefix may be left out. Nil means the default: publish
	// metric.<Name>.>, subscribe to everything of steelyard's. A user may always
	// subscribe to _INBOX_<Name>.>.
	Publish, Subscribe []string
}

// A Login is how to join an external NATS. All of it is optional.
type Login struct {
	User        string
	Password    core.Secret
	NKey        core.Secret // seed, "SU…", or the path of a file that holds one
	Credentials string      // path of a .creds file
	CA          string      // path of a PEM file with the authorities to trust
	TLS         TLSFiles    // client certificate
}

func (o *Options) check() error {
	if o.Node == "" {
		return errors.New("node name is empty")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.SampleTTL = cmp.Or(o.SampleTTL, DefaultSampleTTL)
	if o.SampleTTL < time.Millisecond || o.SampleTTL > maxTTL {
		return fmt.Errorf("sample time to live %v: want 1ms to %v", o.SampleTTL, maxTTL)
	}
	if len(o.Servers) > 0 {
		if o.Listen != "" || len(o.Users) > 0 || o.TLS != (TLSFiles{}) {
			return errors.New("listen, users and TLS files belong to the embedded server; with external servers, configure them there")
		}
		return o.Login.check()
	}
	if o.Listen == "" {
		if len(o.Users) > 0 {
			return errors.New("users are configured, but nothing listens; set a listen address such as 127.0.0.1:4222")
		}
		return nil
	}
	return o.checkListen()
}

func (o *Options) checkListen() error {
	host, _, err := splitListen(o.Listen)
	if err != nil {
		return err
	}
	if (o.TLS.Cert == "") != (o.TLS.Key == "") {
		return fmt.Errorf("listen %s: TLS needs both a certificate and a key file", o.Listen)
	}
	if o.TLS.Cert == "" && o.TLS.CA != "" {
		return fmt.Errorf("listen %s: client authorities are no use without TLS; set a certificate and a key file", o.Listen)
	}
	if !loopback(host) && o.TLS.Cert == "" {
		return fmt.Errorf("listen %s: not a loopback address, and passwords would cross the network in the clear; "+
			"set a TLS certificate and key, or listen on 127.0.0.1", o.Listen)
	}
	if len(o.Users) == 0 {
		return fmt.Errorf("listen %s: no users, so nobody could come in; add one", o.Listen)
	}
	return o.checkUsers()
}

func (o *Options) checkUsers() error {
	names := map[string]bool{internalUser: true}
	proofs := make(map[string]string) // what a user shows, to who it is
	for _, u := range o.Users {
		if err := u.check(); err != nil {
			return err
		}
		if names[u.Name] {
			return fmt.Errorf("user %s: name is taken", u.Name)
		}
		names[u.Name] = true
		if u.Certificate != "" && o.TLS.CA == "" {
			return fmt.Errorf("user %s: a certificate needs TLS and the authorities to check it against; set their file, or use an nkey", u.Name)
		}
		for _, proof := range []string{u.NKey, u.Certificate} {
			if other := proofs[proof]; proof != "" && other != "" {
				return fmt.Errorf("user %s: %s is user %s already; two users cannot be told apart by it", u.Name, proof, other)
			}
			proofs[proof] = u.Name
		}
	}
	return nil
}

func (u User) check() error {
	if u.Name == "" || strings.IndexFunc(u.Name, func(r rune) bool { return r > 127 || !plain(byte(r)) }) >= 0 {
		return fmt.Errorf("user %q: a name is made of letters, digits, - and _", u.Name)
	}
	switch set := count(u.Password != "", u.NKey != "", u.Certificate != ""); {
	case set == 0:
		return fmt.Errorf("user %s: password is empty; set one, or an nkey, or the name in a client certificate", u.Name)
	case set > 1:
		return fmt.Errorf("user %s: more than one of password, nkey and certificate; keep one", u.Name)
	}
	if u.NKey != "" {
		if err := checkPublicKey(u.NKey); err != nil {
			return fmt.Errorf("user %s: nkey: %w", u.Name, err)
		}
	}
	_, err := u.permissions()
	return err
}

func (l Login) check() error {
	if count(l.User != "" || l.Password != "", l.NKey != "", l.Credentials != "") > 1 {
		return errors.New("login: more than one of user, nkey and credentials; keep one")
	}
	if l.TLS.CA != "" {
		return errors.New("login: authorities of clients belong to a server; those to trust have a setting of their own")
	}
	if (l.TLS.Cert == "") != (l.TLS.Key == "") {
		return errors.New("login: a client certificate needs both a certificate and a key file")
	}
	return nil
}

func count(set ...bool) (n int) {
	for _, is := range set {
		if is {
			n++
		}
	}
	return n
}

func splitListen(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("listen %q: want ADDRESS:PORT: %w", addr, err)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("listen %q: port: want 0 to 65535", addr)
	}
	return host, int(n), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost"
}
