// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"regexp"
	"slices"
	"testing"
)

var exampleKey = regexp.MustCompile(`\b([a-z_]+[0-9]?):`)

// TestForeignWords: no word of another program hides one of ours, and what each
// leads to is there.
func TestForeignWords(t *testing.T) {
	service := find(table.keys, "services").elem
	for _, k := range []*key{&table, service, find(service.keys, "backends").elem, &probeKey, find(service.keys, "health"), find(service.keys, "passive"), maintenanceKey.elem} {
		if len(k.foreign) == 0 {
			t.Fatalf("%q has no foreign words", k.name)
		}
		for _, word := range slices.Sorted(maps.Keys(k.foreign)) {
			m := k.foreign[word]
			if k.child(word) != nil || word != foreignForm(word) {
				t.Errorf("%s is a key, or is never found", word)
			}
			if m.beside != "" && k.child(m.beside) == nil {
				t.Errorf("%s stands beside %s, which is no key", word, m.beside)
			}
			for _, name := range exampleKey.FindAllStringSubmatch(m.example, -1) {
				if n := name[1]; !slices.Contains([]string{"web", "web1", "web2", "alive", "load", "updates", "exec", "status"}, n) && find(table.keys, n) == nil && len(homes(&table, n, "")) == 0 {
					t.Errorf("%s leads to %q, and there is no key %s", word, m.example, n)
				}
			}
		}
	}
}

// TestForeignValues: what they lead to is a value there.
func TestForeignValues(t *testing.T) {
	service := find(table.keys, "services").elem
	maintenance := maintenanceKey.elem
	for _, of := range []struct {
		key   *key
		words map[string]string
	}{
		{find(service.keys, "forwarding"), foreignForwarding}, {find(service.keys, "distribution"), foreignDistribution}, {probeKey.child("type"), foreignProbeType},
		{probeKey.child("cpu_source"), foreignCPUSource}, {find(maintenance.keys, "days").elem, foreignDays}, {probeKey.child("convention"), probeKey.child("convention").aliases},
	} {
		key, words, known := of.key.name, of.words, of.key.enum
		for word, here := range words {
			if slices.Contains(known, word) || !slices.Contains(known, here) && len(here) > 0 && !regexp.MustCompile(`^(policy|type): `).MatchString(here) {
				t.Errorf("%s: %s leads to %s, of %v", key, word, here, known)
			}
		}
	}
}

// TestNoServices: an empty file is a copy that was cut short; one that has words,
// but no services, may be meant.
func TestNoServices(t *testing.T) {
	const empty = "/etc/s.yaml: the file is empty (`steelyard config reference` prints one to begin with; write services: {} for a node without any)"
	const none = "/etc/s.yaml: there are no services: this node balances nothing (services: {web: {vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}})"
	tests := []struct {
		name          string
		disk          files
		wrong, warned string
	}{
		{"empty", files{"/etc/s.yaml": ""}, empty, ""},
		{"blank", files{"/etc/s.yaml": "\n \n---\n# services:\n"}, empty, ""},
		{"empty, and nothing of use beside it", files{"/etc/s.yaml": "", "/etc/conf.d/a.yaml": "node: a\n"}, empty, ""},
		{"empty, and the services beside it", files{"/etc/s.yaml": "", "/etc/conf.d/a.yaml": web}, "", ""},
		{"none on purpose", files{"/etc/s.yaml": "services: {}"}, "", none},
		{"none below", files{"/etc/s.yaml": "services:\n"}, "", none},
		{"no word of them", files{"/etc/s.yaml": "node: a\n"}, "", none},
		{"some", files{"/etc/s.yaml": web}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := Load(tt.disk.options())
			wrong, warned := "", ""
			if err != nil {
				wrong = err.Error()
			} else {
				warned = cfg.Warnings.Error()
			}
			if wrong != tt.wrong || warned != tt.warned {
				t.Errorf("error %q, warning %q; want %q, %q", wrong, warned, tt.wrong, tt.warned)
			}
		})
	}
	// What has no file is for whoever calls.
	if cfg, err := Load(Options{Hostname: "lb1"}); err != nil || len(cfg.Warnings) > 0 {
		t.Errorf("no file: %v, %v", cfg, err)
	}
}
