// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core"
)

func (b *builder) policies() []core.PolicySpec {
	var specs []core.PolicySpec
	for _, name := range slices.Sorted(maps.Keys(b.raw.Policies)) {
		path := join("policies", name)
		if _, shipped := b.opts.ShippedPolicies[name]; shipped {
			b.wrong(path, "give it another name", "%s is the name of a shipped policy", name)
		}
		specs = append(specs, b.policy(path, name, b.raw.Policies[name]))
	}
	return specs
}

// policy checks that the module or script is there and is the one that was meant.
func (b *builder) policy(path, name string, r rawPolicy) core.PolicySpec {
	s := core.PolicySpec{Name: name, Path: b.resolve(join(path, "path"), r.Path), Lua: r.Lua, SHA256: r.SHA256}
	if code := b.policyCode(path, s); code != nil {
		sum := sha256.Sum256(code)
		got := hex.EncodeToString(sum[:])
		b.policySums[name] = got
		if r.SHA256 != "" && got != r.SHA256 {
			b.wrong(join(path, "sha256"), "if the new content is meant, write that", "the policy has the hash %s", got)
		}
	}
	return s
}

// policyCode is the content of a policy, or nil after a problem was noted.
func (b *builder) policyCode(path string, s core.PolicySpec) []byte {
	const asm = "\x00asm" // with which every WASM module begins
	byPath, byLua := join(path, "path"), join(path, "lua")
	switch {
	case b.spoilt[byPath] || b.spoilt[byLua]:
		return nil
	case b.written(byPath) && b.written(byLua):
		b.misplaced(byLua, "leave one of them out", "path and lua are two ways to give one policy")
		return nil
	case s.Lua != "":
		return []byte(s.Lua)
	case b.written(byLua):
		b.wrong(byLua, "it needs a function schedule(s)", "the script is empty")
		return nil
	case !b.written(byPath):
		b.wrong(path, "path: ./FILE of a WASM module or a Lua script, or lua: | and the script below it", "policy %s has no %q", s.Name, "path")
		return nil
	case s.Path == "":
		b.wrong(byPath, "", "the path is empty")
		return nil
	}
	if !b.travelled(byPath, s.Path) {
		return nil
	}
	data, err := b.opts.ReadFile(s.Path)
	if err != nil {
		b.wrong(byPath, fileHint(err), "read the policy %s: %v", s.Path, cause(err))
		return nil
	}
	if !bytes.HasPrefix(data, []byte(asm)) && (len(data) == 0 || bytes.IndexByte(data, 0) >= 0 || !utf8.Valid(data)) {
		b.wrong(byPath, "", "%s is neither a WASM module nor a Lua script", s.Path)
		return nil
	}
	return data
}

// checkPolicy looks the policy and the shadow of a service up, and asks whether
// one of them has each parameter.
func (b *builder) checkPolicy(path string, r *rawService) {
	known := append(names(b, "policies", b.raw.Policies), slices.Sorted(maps.Keys(b.opts.ShippedPolicies))...)
	if !b.knownPolicy(join(path, "policy"), r.Policy, known) || r.Shadow != "" && !b.knownPolicy(join(path, "shadow"), r.Shadow, known) {
		return
	}
	if r.Shadow == r.Policy && r.Shadow != "" {
		b.wrong(join(path, "shadow"), "name another policy, or leave it out", "policy %s is in force already", r.Shadow)
		return
	}
	params, who := b.opts.ShippedPolicies[r.Policy], "policy "+r.Policy+" has"
	if params == nil {
		return
	}
	if r.Shadow != "" {
		of := b.opts.ShippedPolicies[r.Shadow]
		if of == nil {
			return
		}
		params, who = slices.Concat(params, of), "policies "+r.Policy+" and "+r.Shadow+" have"
	}
	for name := range r.Params {
		if !slices.Contains(params, name) {
			hint := oneOf(name, params)
			if len(params) == 0 {
				hint = "it has no parameters"
			}
			b.misplaced(join(path, "params."+name), hint, "%s no parameter %q", who, name)
		}
	}
}

// knownPolicy reports whether there is a policy of that name; if not, it is noted.
func (b *builder) knownPolicy(at, name string, known []string) bool {
	if b.spoilt[at] {
		return false
	}
	if !slices.Contains(known, name) {
		b.wrong(at, cmp.Or(foreignValue(foreignPolicy, name), oneOf(name, known)), "unknown policy %q", name)
		return false
	}
	return true
}
