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

	"github.com/steelyard-lb/steelyard/plugins/lua"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

var codeBlock = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```")

// TestDocumentedCode: what docs/policies.md shows as code is code.
func TestDocumentedCode(t *testing.T) {
	text, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, m := range codeBlock.FindAllStringSubmatch(string(text), -1) {
		language, code := m[1], m[2]
		switch {
		case language == "lua":
			loads(t, code)
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

func loads(t *testing.T, script string) {
	t.Helper()
	m, err := lua.Load(t.Context(), []byte(script))
	if err != nil {
		t.Errorf("%v\n%s", err, script)
		return
	}
	_ = m.Close(t.Context())
}

// inline loads the policies that a piece of configuration holds.
func inline(t *testing.T, code string) {
	t.Helper()
	var cfg struct {
		Policies map[string]struct{ Lua string }
	}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(code, "…", "x: y")), &cfg); err != nil {
		t.Errorf("%v\n%s", err, code)
	}
	for _, p := range cfg.Policies {
		loads(t, p.Lua)
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
