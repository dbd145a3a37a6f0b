// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

var codeBlock = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```")

// TestDocumentedCode: what docs/policies.md and the README show of policies is code
// that works.
func TestDocumentedCode(t *testing.T) {
	text, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, own, ok := strings.Cut(string(readme), "\n## Your own policy\n")
	if !ok {
		t.Fatal("README.md has no section \"Your own policy\"")
	}
	own, _, _ = strings.Cut(own, "\n## ")
	text = append(text, own...)
	seen := map[string]int{}
	for _, m := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		language, code := m[1], m[2]
		switch {
		case language == "lua":
			passes(t, code)
		case language == "go":
			builds(t, code)
		case strings.HasPrefix(code, "scenarios:"):
			language = "scenarios"
			if _, err := suite.ReadScenarios("scenarios.yaml", []byte(code)); err != nil {
				t.Errorf("%v\n%s", err, code)
			}
		case language == "yaml":
			inline(t, code)
		}
		seen[language]++
	}
	for _, language := range []string{"lua", "go", "yaml", "scenarios"} {
		if seen[language] == 0 {
			t.Errorf("docs/policies.md has no example of %s", language)
		}
	}
}

// passes puts a script through the conformance suite: what is copied from a page
// must pass the test that the page tells of.
func passes(t *testing.T, script string) {
	t.Helper()
	results, err := suite.Conform(t.Context(), suite.Subject{Code: []byte(script)}, suite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Status == suite.Fail {
			t.Errorf("%s: %s\n%s", r.Name, r.Cause, script)
		}
	}
}

// inline tests the policies that a piece of configuration holds.
func inline(t *testing.T, code string) {
	t.Helper()
	var cfg struct {
		Policies map[string]struct{ Lua string }
	}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(code, "…", "x: y")), &cfg); err != nil {
		t.Errorf("%v\n%s", err, code)
	}
	for _, p := range cfg.Policies {
		if p.Lua != "" {
			passes(t, p.Lua)
		}
	}
}

func builds(t *testing.T, code string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, code)
	}
}
