// SPDX-License-Identifier: Apache-2.0

package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

const withPolicies = `
policies:
  file: {path: ./my.lua}
  inline:
    lua: |
      function schedule(s)
        return s.weight
      end
services:
  web: {vip: 192.0.2.10, port: 80, policy: inline, shadow: file, params: {fast: true, slow: false, k: 2}, backends: {web1: {address: 10.0.0.11}}}
`

const script = "function schedule(s)\n  return s.weight\nend\n"

// A policy is a file or a script in the configuration itself; true and false are
// numbers to it.
func TestPolicies(t *testing.T) {
	c := mustLoad(t, files{"/etc/s.yaml": withPolicies, "/etc/my.lua": script}.options())
	want := []core.PolicySpec{{Name: "file", Path: "/etc/my.lua"}, {Name: "inline", Lua: script}}
	if diff := cmp.Diff(want, c.Policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	s := c.Services[0]
	if diff := cmp.Diff(map[string]float64{"fast": 1, "slow": 0, "k": 2}, s.Params); diff != "" || s.Policy != "inline" || s.Shadow != "file" {
		t.Errorf("policy %s, shadow %s, params (-want +got):\n%s", s.Policy, s.Shadow, diff)
	}
	again := mustLoad(t, files{"/etc/s.yaml": string(c.YAML(false)), "/etc/my.lua": script}.options())
	if diff := cmp.Diff(c.Policies, again.Policies); diff != "" || c.Hash != again.Hash {
		t.Errorf("the view does not load as the same:\n%s\n%s", diff, c.YAML(false))
	}
}

// What loading a policy finds is told at its place, a line of a script in the
// configuration at that line.
func TestPolicyProblems(t *testing.T) {
	o := files{"/etc/s.yaml": withPolicies, "/etc/my.lua": script}.options()
	o.CheckPolicies = func(policies []core.PolicySpec, services []core.Service) []PolicyProblem {
		if len(policies) != 2 || len(services) != 1 {
			t.Errorf("%v, %v", policies, services)
		}
		return []PolicyProblem{
			{Policy: "file", Line: 2, Message: "line 2: it is wrong"},
			{Policy: "inline", Line: 2, Message: "it is wrong"},
			{Service: "web", Param: "k", Message: "it is wrong", Hint: "leave it"},
		}
	}
	_, err := Load(o)
	problems, _ := err.(Errors)
	var got []string
	for _, p := range problems {
		got = append(got, p.place()+" "+p.Key)
	}
	if diff := cmp.Diff([]string{"/etc/s.yaml:3:16 policies.file.path", "/etc/s.yaml:7:9 policies.inline.lua", "/etc/s.yaml:10:100 services.web.params.k"}, got); diff != "" {
		t.Errorf("places (-want +got):\n%s\n%v", diff, err)
	}
}
