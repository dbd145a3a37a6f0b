// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"os"
	"time"
)

// certified is the user whose name a verified client certificate has, and when the
// certificate ends. asked is the user that the client named; empty if it named none.
// A certificate with the names of two users is neither's, unless the client says whose.
func (d *doorman) certified(state *tls.ConnectionState, asked string) (*guest, time.Time) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil, time.Time{}
	}
	leaf := state.VerifiedChains[0][0]
	var found *guest
	for _, name := range certificateNames(leaf) {
		g := d.byNames[name]
		if g == nil || asked != "" && asked != g.user.Name {
			continue
		}
		if found != nil && found != g {
			return nil, time.Time{}
		}
		found = g
	}
	if found == nil {
		return nil, time.Time{}
	}
	return found, leaf.NotAfter
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// certificateNames are the names in a certificate that may stand for a user. They are
// never parsed nor joined: what a name contains is a part of the name. A subject with
// two common names has none, since readers differ in which of them counts.
func certificateNames(c *x509.Certificate) []string {
	var names []string
	commons := 0
	for _, a := range c.Subject.Names {
		if a.Type.Equal(oidCommonName) {
			commons++
		}
	}
	if commons == 1 && c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	names = append(names, c.DNSNames...)
	names = append(names, c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}

// listenerTLS is the TLS of the listener. A client may do without a certificate, since
// users come in by password and nkey as well; one that it shows must be good.
func listenerTLS(f TLSFiles) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate %s and key %s: %w", f.Cert, f.Key, err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if f.CA == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("load authorities of clients: %w", err)
	}
	cfg.ClientAuth, cfg.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load authorities of clients %s: %w", f.CA, errors.New("no certificate in it; want PEM"))
	}
	return cfg, nil
}
