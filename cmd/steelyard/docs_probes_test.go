// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// probePages are the documents on probes and what is made of them.
var probePages = []string{"probes.md", "sensors.md", "health.md"}

func probePage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// constants are the strings that a file of core gives to constants by an expression.
func constants(t *testing.T, file, expression string) []string {
	t.Helper()
	code, err := os.ReadFile("../../core/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(string(code), -1) {
		out = append(out, m[1])
	}
	if len(out) < 10 {
		t.Fatalf("core/%s: %d constants", file, len(out))
	}
	return out
}

// The list of codes in docs/probes.md is the one in the code, word for word, and
// every metric and every type has a place.
func TestProbeDocumentsNameEverything(t *testing.T) {
	probes := probePage(t, "probes.md")
	for _, c := range constants(t, "code.go", `= "([A-Z0-9]+)"`) {
		code := core.Code(c)
		if row := fmt.Sprintf("| %s | %s | %s |\n", code, code.Explain(), code.Remedy()); !code.Known() || !strings.Contains(probes, row) {
			t.Errorf("docs/probes.md has no line\n%s", row)
		}
	}
	for _, kind := range constants(t, "probe.go", `Probe\w+\s+= "(\w+)"`) {
		if !strings.Contains(probes, "| [`"+kind+"`](") {
			t.Errorf("the table of docs/probes.md has no probe of type %s", kind)
		}
	}
	all := ""
	for _, page := range probePages {
		all += probePage(t, page)
	}
	for _, metric := range constants(t, "sample.go", `Metric\w+\s+= "(\w+)"`) {
		if !strings.Contains(all, "`"+metric+"`") {
			t.Errorf("metric %s is in none of %v", metric, probePages)
		}
	}
}

// Every piece of configuration on these pages is one that check takes.
func TestProbeDocumentsConfigurations(t *testing.T) {
	cert, key := keyPair(t)
	for _, page := range probePages {
		blocks := mdYAML.FindAllStringSubmatch(probePage(t, page), -1)
		if len(blocks) < 5 {
			t.Fatalf("docs/%s has %d pieces of YAML", page, len(blocks))
		}
		for _, block := range blocks {
			_, err := config.Load(config.Options{
				Path: "page.yaml", Hostname: "lb1", ShippedPolicies: shippedParams(),
				ReadFile: func(name string) ([]byte, error) {
					switch {
					case name == "page.yaml":
						return []byte(block[1]), nil
					case filepath.Ext(name) == ".pem":
						return cert, nil
					case filepath.Ext(name) == ".key":
						return key, nil
					}
					return []byte("a long password\n"), nil
				},
				ReadDir: func(string) ([]string, error) { return nil, os.ErrNotExist },
			})
			if err != nil {
				t.Errorf("docs/%s: %v\n%s", page, err, block[1])
			}
		}
	}
}

// keyPair is a certificate that signed itself, and its key, in PEM.
func keyPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"www.example.org"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}
