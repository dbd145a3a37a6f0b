// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
)

// An authority signs certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: "authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	f := a.sign(t, tmpl)
	a.file = f.Cert
	return a
}

// sign makes a certificate; the first one is the authority's own.
func (a *authority) sign(t *testing.T, tmpl *x509.Certificate) bus.TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		a.key = key
		if a.cert, err = x509.ParseCertificate(raw); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := bus.TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for path, b := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: raw}, files.Key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func (a *authority) server(t *testing.T) bus.TLSFiles {
	t.Helper()
	return a.sign(t, &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
}

func (a *authority) client(t *testing.T, change func(*x509.Certificate)) bus.TLSFiles {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(3), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	change(tmpl)
	return a.sign(t, tmpl)
}

func commonName(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, n := range names {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n})
		}
	}
}

// TestCertificates: who has a name in a good certificate is that user; no name that only
// looks like it will do.
func TestCertificates(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	files := ca.server(t)
	files.CA = ca.file
	b := bustest.StartWith(t, bus.Options{Node: bustest.Node, Listen: "127.0.0.1:0", TLS: files, Users: []bus.User{
		{Name: "zabbix", Certificate: "zabbix"}, {Name: "admin", Certificate: "admin.example.org"},
		{Name: "mailed", Certificate: "ops@example.org"}, {Name: "spiffe", Certificate: "spiffe://example.org/monitor"},
		{Name: "plain", Password: "secret"},
	}})
	uri, err := url.Parse("spiffe://example.org/monitor")
	if err != nil {
		t.Fatal(err)
	}
	also := func(fs ...func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for _, f := range fs {
				f(c)
			}
		}
	}
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	password := nats.UserInfo("plain", "secret")
	tests := []struct {
		name string
		cert *bus.TLSFiles
		opts []nats.Option
		is   string // the user, by the source that it may publish under; empty: refused
	}{
		{"common name", ptr(ca.client(t, commonName("zabbix"))), nil, "zabbix"},
		{"DNS name", ptr(ca.client(t, dns("admin.example.org"))), nil, "admin"},
		{"mail address", ptr(ca.client(t, func(c *x509.Certificate) { c.EmailAddresses = []string{"ops@example.org"} })), nil, "mailed"},
		{"URI", ptr(ca.client(t, func(c *x509.Certificate) { c.URIs = []*url.URL{uri} })), nil, "spiffe"},
		{"no certificate", nil, nil, ""},
		{"no certificate, by name", nil, []nats.Option{nats.UserInfo("zabbix", "")}, ""},
		{"no certificate, its name as a password", nil, []nats.Option{nats.UserInfo("zabbix", "zabbix")}, ""},
		{"password without a certificate", nil, []nats.Option{password}, "plain"},
		{"password beside a certificate", ptr(ca.client(t, commonName("zabbix"))), []nats.Option{password}, "plain"},
		{"wrong password beside a certificate", ptr(ca.client(t, commonName("zabbix"))), []nats.Option{nats.UserInfo("zabbix", "x")}, ""},
		{"expired", ptr(ca.client(t, also(commonName("zabbix"), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))), nil, ""},
		{"not yet", ptr(ca.client(t, also(commonName("zabbix"), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }))), nil, ""},
		{"of another authority", ptr(foreign.client(t, commonName("zabbix"))), nil, ""},
		{"signed by itself", ptr((&authority{}).client(t, commonName("zabbix"))), nil, ""},
		{"a server's certificate", ptr(ca.client(t, also(commonName("zabbix"), func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}))), nil, ""},
		{"unknown name", ptr(ca.client(t, commonName("nagios"))), nil, ""},
		{"comma in the name", ptr(ca.client(t, commonName("nagios,CN=zabbix"))), nil, ""},
		{"comma after the name", ptr(ca.client(t, commonName("zabbix,OU=x"))), nil, ""},
		{"CN= in the name", ptr(ca.client(t, commonName("CN=zabbix"))), nil, ""},
		{"two common names, the good one last", ptr(ca.client(t, commonName("nagios", "zabbix"))), nil, ""},
		{"two common names, the good one first", ptr(ca.client(t, commonName("zabbix", "nagios"))), nil, ""},
		{"NUL in the name", ptr(ca.client(t, commonName("zabbix\x00.example.org"))), nil, ""},
		{"another case", ptr(ca.client(t, commonName("Zabbix"))), nil, ""},
		{"the name as another attribute", ptr(ca.client(t, func(c *x509.Certificate) { c.Subject = pkix.Name{OrganizationalUnit: []string{"zabbix"}} })), nil, ""},
		{"wildcard", ptr(ca.client(t, dns("*.example.org"))), nil, ""},
		{"two users", ptr(ca.client(t, also(commonName("zabbix"), dns("admin.example.org")))), nil, ""},
		{"two users, and one is asked for", ptr(ca.client(t, also(commonName("zabbix"), dns("admin.example.org")))), []nats.Option{nats.UserInfo("admin", "")}, "admin"},
		{"another user is asked for", ptr(ca.client(t, commonName("zabbix"))), []nats.Option{nats.UserInfo("admin", "")}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refusals := make(chan error, 16)
			opts := append(tt.opts, nats.RootCAs(ca.file), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
			if tt.cert != nil {
				opts = append(opts, nats.ClientCert(tt.cert.Cert, tt.cert.Key))
			}
			nc, err := nats.Connect("tls://"+b.ListenAddr().String(), opts...)
			if (err == nil) != (tt.is != "") {
				t.Errorf("error %v, want in as %q", err, tt.is)
			}
			if err != nil {
				return
			}
			defer nc.Close()
			if err := nc.Publish("steelyard.v1.metric."+tt.is+".web1.load", []byte("1")); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-refusals:
				t.Errorf("it is not %s: %v", tt.is, err)
			default:
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// jwtWithoutLimits is a token that a client may make for itself.
func jwtWithoutLimits(t *testing.T) string {
	t.Helper()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.NewUserClaims(newKey(t).public).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
