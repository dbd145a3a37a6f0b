// SPDX-License-Identifier: Apache-2.0

package lua_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/plugins/lua"
)

// blocks are the texts of the README between fences of a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	b, err := os.ReadFile("../../sdk/lua/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, part := range strings.Split(string(b), "```"+language+"\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		out = append(out, text)
	}
	return out
}

// TestReadme runs the README's policy on its scenario.
func TestReadme(t *testing.T) {
	code := blocks(t, "lua")
	if len(code) != 2 {
		t.Fatalf("%d blocks of Lua, want a policy and a scenario", len(code))
	}
	load(t, code[0]).must()
	dir := t.TempDir()
	policy, scene := filepath.Join(dir, "policy.lua"), filepath.Join(dir, "scene.lua")
	for file, text := range map[string]string{policy: code[0], scene: code[1]} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), plainLua(t), sdk, policy, scene).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(strings.Join(blocks(t, ""), ""), string(out)) {
		t.Errorf("the README does not show %q", out)
	}
}

// TestReadmeNamesAll: a column that authors are not told of is none.
func TestReadmeNamesAll(t *testing.T) {
	readme, err := os.ReadFile("../../sdk/lua/README.md")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := os.ReadFile(sdk)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lua.Columns() {
		if !strings.Contains(string(readme), "`s."+name+"[i]`") {
			t.Errorf("the README has no s.%s", name)
		}
		if !strings.Contains(string(stub), "---@field "+name+" ") {
			t.Errorf("steelyard.lua has no field %s", name)
		}
	}
}
