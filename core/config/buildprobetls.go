// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// tls is how a probe speaks TLS. Without it, nothing about it may be asked for.
func (b *builder) tls(path string, r rawProbeTLS, starts bool) core.TLSSpec {
	at := join(path, "tls")
	on := join(at, "enabled")
	if !r.Enabled && !starts && (b.written(on) || !b.written(at) || b.spoilt[at]) {
		b.withoutTLS(at, r)
		return core.TLSSpec{}
	}
	s := core.TLSSpec{Enabled: true, Insecure: r.Insecure, ServerName: r.ServerName}
	if !domainPattern.MatchString(s.ServerName) || s.ServerName == "." {
		if _, why, _ := address(s.ServerName); why != "" {
			b.wrong(join(at, "server_name"), "such as www.example.org", "%q is no host name", s.ServerName)
		}
	}
	if s.Insecure && r.CAFile != "" {
		b.wrong(join(at, "insecure"), "leave one of them out", "ca_file means nothing with insecure: no certificate is verified")
	}
	s.CA = b.authorities(join(at, "ca_file"), r.CAFile)
	s.Cert, s.Key = b.keyPair(at, r)
	return s
}

// withoutTLS notes what stands beside a TLS that is off.
func (b *builder) withoutTLS(at string, r rawProbeTLS) {
	if b.spoilt[at] || b.spoilt[join(at, "enabled")] {
		return
	}
	for _, k := range []struct {
		name string
		used bool
	}{{"insecure", r.Insecure}, {"server_name", r.ServerName != ""}, {"ca_file", r.CAFile != ""}, {"cert_file", r.CertFile != ""}, {"key_file", r.KeyFile != ""}} {
		if k.used {
			b.wrong(join(at, k.name), "leave it out, or leave enabled out", "%s means nothing with tls switched off", k.name)
		}
	}
}

// pemFile reads a file of the key at path; ok is false if there is none, or none
// that can be read, which is noted then.
func (b *builder) pemFile(path, file string) (name string, data []byte, ok bool) {
	if file == "" {
		return "", nil, false
	}
	name = b.resolve(path, file)
	data, err := b.opts.ReadFile(name)
	if err != nil {
		b.wrong(path, fileHint(err), "read %s: %v", name, cause(err))
		return name, nil, false
	}
	return name, data, true
}

// authorities are the certificates to trust.
func (b *builder) authorities(path, file string) string {
	name, data, ok := b.pemFile(path, file)
	if !ok {
		return ""
	}
	certs, why := certificates(data)
	if why != "" {
		b.wrong(path, pemHint(data, "a certificate of the authority, which begins with -----BEGIN CERTIFICATE-----"), "%s %s", name, why)
		return ""
	}
	b.expiry(path, name, certs)
	return string(data)
}

// keyPair is the certificate that we show and its key.
func (b *builder) keyPair(path string, r rawProbeTLS) (cert string, secret core.Secret) {
	certAt, keyAt := join(path, "cert_file"), join(path, "key_file")
	if (r.CertFile == "") != (r.KeyFile == "") {
		if !b.spoiltBelow(certAt) && !b.spoiltBelow(keyAt) {
			b.wrong(b.set(path, "cert_file", "key_file"), "name both, or none", "a certificate to show needs both cert_file and key_file")
		}
		return "", ""
	}
	certName, certPEM, ok := b.pemFile(certAt, r.CertFile)
	keyName, keyPEM, okKey := b.pemFile(keyAt, r.KeyFile)
	if !ok || !okKey {
		return "", ""
	}
	certs, why := certificates(certPEM)
	if why != "" {
		b.wrong(certAt, pemHint(certPEM, "a certificate, which begins with -----BEGIN CERTIFICATE-----"), "%s %s", certName, why)
		return "", ""
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		what, hint := keyProblem(keyPEM, certName, err)
		b.wrong(keyAt, hint, "%s %s", keyName, what)
		return "", ""
	}
	b.expiry(certAt, certName, certs[:1])
	return string(certPEM), core.Secret(keyPEM)
}

// certificates parses those of a file. Why says what is wrong with it.
func certificates(data []byte) (certs []*x509.Certificate, why string) {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, "holds a certificate that is broken: " + strings.TrimPrefix(err.Error(), "x509: ")
		}
		certs = append(certs, c)
	}
	if certs == nil {
		return nil, "holds no certificate in PEM form"
	}
	return certs, ""
}

// pemHint is how to make PEM of what is in a file, if it is DER.
func pemHint(data []byte, want string) string {
	if _, err := x509.ParseCertificates(data); err == nil && len(data) > 0 {
		return "it is in DER form: openssl x509 -inform der -in FILE makes PEM of it"
	}
	return want
}

// keyProblem says what is wrong with the key of a certificate, of which err came.
func keyProblem(keyPEM []byte, certFile string, err error) (what, hint string) {
	block, _ := pem.Decode(keyPEM)
	switch {
	case block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return "holds no private key in PEM form", "a key begins with a line such as -----BEGIN PRIVATE KEY-----"
	case strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
		return "is encrypted, and nobody could type its passphrase", "openssl pkey -in FILE writes it without one; keep such a file mode 0600"
	case strings.Contains(err.Error(), "does not match"):
		return "is not the key of the certificate in " + certFile, "name the two files of one pair; the first certificate of cert_file is the one that counts"
	}
	return "holds a key that cannot be used", "a PKCS #8 or PKCS #1 key of RSA, ECDSA or Ed25519"
}

// soonExpired is the time before its end in which a certificate is warned of.
const soonExpired = 7 * 24 * time.Hour

func (b *builder) expiry(path, name string, certs []*x509.Certificate) {
	for _, c := range certs {
		end := c.NotAfter.UTC().Format("2006-01-02 15:04 MST")
		switch now := b.now(); {
		case now.After(c.NotAfter):
			b.warn(path, "renew it", "the certificate %q in %s expired on %s", certName(c), name, end)
		case now.Add(soonExpired).After(c.NotAfter):
			b.warn(path, "renew it", "the certificate %q in %s expires on %s", certName(c), name, end)
		case now.Before(c.NotBefore):
			b.warn(path, "is the clock of this node right?", "the certificate %q in %s is not valid before %s", certName(c), name, c.NotBefore.UTC().Format("2006-01-02 15:04 MST"))
		}
	}
}

func certName(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}
