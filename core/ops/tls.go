// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// tlsConfig reads the certificates; nil where there is no TLS.
func (s *Server) tlsConfig() (*tls.Config, error) {
	if s.cfg.Cert == "" {
		return nil, nil
	}
	p := &pair{cert: s.cfg.Cert, key: s.cfg.Key}
	if _, err := p.get(nil); err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get, NextProtos: []string{"http/1.1"}}
	if s.cfg.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(s.cfg.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read http.tls.ca: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("http.tls.ca: %s holds no certificate in PEM", s.cfg.ClientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

func withTLS(l net.Listener, c *tls.Config) net.Listener {
	if c == nil {
		return l
	}
	return tls.NewListener(l, c)
}

// A pair is a certificate and its key on disk, which others renew.
type pair struct {
	cert, key string

	mu     sync.Mutex
	loaded *tls.Certificate // guarded by mu
	of     [2]time.Time     // guarded by mu; when the files of loaded were written
}

// get is the certificate of now. Files that cannot be read, as in the middle of a
// renewal, leave the one before in force.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := [2]time.Time{written(p.cert), written(p.key)}
	if p.loaded != nil && of == p.of {
		return p.loaded, nil
	}
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	switch {
	case err == nil:
		p.loaded, p.of = &c, of
	case p.loaded == nil:
		return nil, fmt.Errorf("read http.tls.cert and key: %w", err)
	}
	return p.loaded, nil
}

func written(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
