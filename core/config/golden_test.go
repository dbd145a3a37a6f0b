// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// shipped are policies as a caller would name them.
var shipped = map[string][]string{"weighted": {}, "rr": {}, "least-cpu": {"alpha"}, "free": nil}

// golden compares got with a file of testdata, or writes it under -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// TestBadFiles loads every file that has something wrong with it and compares
// all that is said about it, in plain text and, for one, in colour.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad-*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("glob: %v, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			cfg, err := Load(Options{Path: file, ShippedPolicies: shipped, Hostname: "lb1", Env: []string{"TEST_COMMUNITY=hunter2"}})
			var problems Errors
			if !errors.As(err, &problems) || cfg != nil {
				t.Fatalf("Load = %v, %v; want no Config and Errors", cfg, err)
			}
			var text bytes.Buffer
			problems.Render(&text, false)
			golden(t, name+".txt", text.Bytes())
			for _, out := range []string{text.String(), err.Error()} {
				if strings.Contains(out, "hunter2") || strings.Contains(out, "12345678") {
					t.Errorf("the secret is in the output:\n%s", out)
				}
			}
		})
	}
}

func TestRenderInColour(t *testing.T) {
	_, err := Load(Options{Path: "testdata/bad-duplicate-key.yaml", ShippedPolicies: shipped, Hostname: "lb1"})
	var problems Errors
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	var text bytes.Buffer
	problems.Render(&text, true)
	golden(t, "colour.txt", text.Bytes())
}
