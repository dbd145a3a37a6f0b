// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestExamples loads every example as a user would.
func TestExamples(t *testing.T) {
	for _, file := range exampleFiles(t) {
		t.Run(strings.TrimPrefix(file, examples+"/"), func(t *testing.T) {
			cfg, err := Load(Options{Path: file, Hostname: "lb1", Env: []string{"SNMP_AUTH=an example", "SNMP_PRIV=an example"},
				ShippedPolicies: map[string][]string{"rr": {}, "weighted": {}, "least-conn": nil, "least-response": nil, "least-cpu": nil, "maglev": nil, "failover": nil}})
			var problems Errors
			if errors.As(err, &problems) {
				var b strings.Builder
				problems.Render(&b, false)
				t.Fatal(b.String())
			}
			if len(cfg.Services) == 0 {
				t.Error("no services")
			}
			used := map[string]bool{}
			for _, s := range cfg.Services {
				for _, p := range s.Probes {
					used[p] = true
				}
			}
			for name := range cfg.Probes {
				if !used[name] && !strings.HasSuffix(file, "reference.yaml") {
					t.Errorf("no service uses probe %s", name)
				}
			}
		})
	}
}

// FuzzLoad: whatever the file holds, Load returns a Config or Errors, never
// both, and neither panics nor shows a secret.
func FuzzLoad(f *testing.F) {
	for _, file := range []string{"testdata/bad-type.yaml", "testdata/bad-snmp.yaml", "testdata/bad-syntax.yaml", "testdata/full-probes.yaml", "testdata/bad-probe-tcp.yaml", "testdata/bad-probe-http.yaml", "testdata/bad-maintenance.yaml", "testdata/bad-webhooks.yaml", "testdata/bad-http.yaml", "testdata/bad-bus-users.yaml", "testdata/bad-cluster.yaml", examples + "/reference.yaml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	for _, s := range []string{"", web, everything, "a: &a [*a]", "? {a: b}\n: c", "- - -", "services: {web: {params: {x: .nan}}}", "\"\\u0000\": 1", "node: |\n a\n", "%YAML 1.2\n---\n", "a: !!x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Load(elsewhere(files{"/etc/s.yaml": text}))
		var problems Errors
		switch {
		case err == nil && cfg == nil, err != nil && cfg != nil:
			t.Fatalf("Load = %v, %v", cfg, err)
		case err == nil:
			cfg.YAML(true)
		case !errors.As(err, &problems) || len(problems) == 0:
			t.Fatalf("error is %T: %v", err, err)
		default:
			problems.Render(&strings.Builder{}, true)
		}
	})
}
