// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// tlsFailure says in words why a handshake failed, or why the other side ended a TLS
// connection: under TLS 1.3 it refuses a client's certificate only after the
// handshake.
func tlsFailure(err error, cfg *tls.Config, late bool) (core.Code, error) {
	var (
		record  tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		noRoots x509.SystemRootsError
	)
	switch {
	case timedOut(err) || late:
		return core.L6Timeout, errors.New("the handshake did not finish in time")
	case errors.As(err, &record):
		return core.L6Response, notTLS(record)
	case refusedTLS(err):
		return core.L6Response, alertOf(err, cfg)
	case errors.As(err, &unknown):
		return core.L6Response, unknownCA(unknown.Cert, cfg.RootCAs != nil)
	case errors.As(err, &name):
		return core.L6Response, wrongName(name)
	case errors.As(err, &invalid):
		return core.L6Response, invalidCertificate(invalid, time.Now())
	case errors.As(err, &noRoots):
		return core.Internal, errors.New("this machine knows no CA: install ca-certificates, or name one in tls.ca_file")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return core.L6Response, errors.New("it hung up during the handshake: does the port speak TLS?")
	}
	return core.L6Response, errors.New(strings.TrimPrefix(cause(err).Error(), "tls: "))
}

// notTLS quotes the first bytes of a server that speaks plain.
func notTLS(err tls.RecordHeaderError) error {
	if err.Conn == nil { // Go sets it where the first record makes no sense
		return errors.New(strings.TrimPrefix(err.Msg, "tls: "))
	}
	return fmt.Errorf("the port does not speak TLS: its answer begins with %q", err.RecordHeader[:])
}

// refusedTLS reports that the other side ended a TLS connection with an alert.
func refusedTLS(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// alertOf is about such an alert, by the numbers of RFC 8446 §6.
func alertOf(err error, cfg *tls.Config) error {
	inner := cause(err)
	text := strings.TrimPrefix(inner.Error(), "tls: ")
	var number uint64
	if v := reflect.ValueOf(inner); v.Kind() == reflect.Uint8 { // crypto/tls does not export the type
		number = v.Uint()
	}
	ours := len(cfg.Certificates) > 0
	switch number {
	case 42, 43, 44, 45, 46, 48, 49, 51, 116: // about certificates; access_denied, decrypt_error
		if ours {
			return fmt.Errorf("it refused our client certificate (%s): compare tls.cert_file with the CA that it trusts", text)
		}
		return fmt.Errorf("it wants a client certificate (%s): name one in tls.cert_file and tls.key_file", text)
	case 40: // handshake_failure
		if ours {
			text += ": no cipher in common, or no CA that it trusts signed our client certificate (tls.cert_file)"
		} else {
			text += ": no cipher in common, or it wants a client certificate (tls.cert_file)"
		}
	case 70: // protocol_version
		text += ": it speaks neither TLS 1.2 nor 1.3"
	case 112: // unrecognized_name
		text += fmt.Sprintf(": it has no certificate for %q: set host or tls.server_name", cfg.ServerName)
	case 120: // no_application_protocol
		text += ": it speaks none of " + strings.Join(cfg.NextProtos, ", ")
	}
	return errors.New("it refused the handshake: " + text)
}

func unknownCA(c *x509.Certificate, ownCA bool) error {
	trusted := "no CA that this machine trusts"
	if ownCA {
		trusted = "no CA of tls.ca_file"
	}
	if c == nil {
		return errors.New(trusted + " signed the certificate: name its CA in tls.ca_file, or set tls.insecure")
	}
	if c.Subject.String() == c.Issuer.String() {
		return fmt.Errorf("the certificate for %s signed itself: put it into tls.ca_file, or set tls.insecure", namesOf(c))
	}
	return fmt.Errorf("%s signed the certificate for %s: name %s in tls.ca_file, or set tls.insecure", trusted, namesOf(c), issuerOf(c))
}

func wrongName(err x509.HostnameError) error {
	c := err.Certificate
	if len(c.DNSNames)+len(c.IPAddresses) == 0 {
		return fmt.Errorf("the certificate has no subjectAltName, only a common name %q, which nobody may check any more: have it signed anew, or set tls.insecure", clip(c.Subject.CommonName))
	}
	return fmt.Errorf("the certificate is for %s, not for %q: set host or tls.server_name", namesOf(c), clip(err.Host))
}

func invalidCertificate(err x509.CertificateInvalidError, now time.Time) error {
	c := err.Cert
	if err.Reason != x509.Expired || c == nil {
		return errors.New(strings.TrimPrefix(err.Error(), "x509: "))
	}
	if now.Before(c.NotBefore) {
		return fmt.Errorf("the certificate for %s is not valid before %s: look at the clocks", namesOf(c), day(c.NotBefore))
	}
	return fmt.Errorf("the certificate for %s expired on %s, %d days ago", namesOf(c), day(c.NotAfter), int(now.Sub(c.NotAfter).Hours()/24))
}

// maxNames is how many names of a certificate are printed: some have hundreds.
const maxNames = 4

// namesOf are the names that a certificate is valid for, for people.
func namesOf(c *x509.Certificate) string {
	names := make([]string, 0, maxNames+1)
	more := len(c.DNSNames) + len(c.IPAddresses)
	for _, n := range c.DNSNames[:min(len(c.DNSNames), maxNames)] {
		names = append(names, clip(n))
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), maxNames-len(names))] {
		names = append(names, net.IP(ip).String())
	}
	if more -= len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	if len(names) == 0 {
		return fmt.Sprintf("%q", clip(cmp.Or(c.Subject.CommonName, c.Subject.String())))
	}
	return strings.Join(names, ", ")
}

func issuerOf(c *x509.Certificate) string {
	return fmt.Sprintf("%q", clip(cmp.Or(c.Issuer.CommonName, c.Issuer.String())))
}

// clip keeps a text of the other side from pushing the rest out of the sentence.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
