// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What failover and maglev ask of the rest of a service: rules of shaping that
// would undo them are off by default, and what makes no sense is told.
func TestPolicyRules(t *testing.T) {
	const held = "policy maglev of service web holds changes of weights back because each one moves clients of a hash table; distribution "
	tests := []struct {
		name, service string
		floor, step   float64
		wrong, warned string // a part of what is said, at the end its hint
	}{
		{"no word", "", 0.05, 0.25, "", ""},
		{"failover", "policy: failover", 0, 0, "", ""},
		{"failover in steps", "policy: failover, shaping: {floor: 0, step: 0.5}", 0, 0.5, "", ""},
		{"failover with a floor", "policy: failover, shaping: {floor: 0.1}", 0, 0,
			"1:53: policy failover leaves nothing to the standbys, and a floor does (leave shaping.floor out, or set it to 0)", ""},
		{"failover as a shadow", "shadow: failover", 0.05, 0.25, "", ""},
		{"maglev", "policy: maglev, distribution: symhash", 0.05, 0, "", ""},
		{"maglev by hash", "policy: maglev, distribution: hash, shaping: {step: 0}", 0.05, 0, "", ""},
		{"maglev in steps", "policy: maglev, distribution: hash, shaping: {step: 0.5}", 0.05, 0.5, "",
			"1:70: shaping.step of service web makes several changes of one"},
		{"maglev by chance", "policy: maglev", 0.05, 0, "", "1:26: " + held + "random has none (use distribution hash, or policy weighted)"},
		{"maglev in turn", "policy: maglev, distribution: roundrobin", 0.05, 0, "", "1:48: " + held + "roundrobin has none"},
		{"a shadow of itself", "policy: rr, shadow: rr", 0, 0, "services.web.shadow: policy rr is in force already (name another policy, or leave it out)", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service := tt.service
			if service != "" {
				service += ", "
			}
			o := files{"/etc/s.yaml": "services: {web: {" + service + "vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}}"}.options()
			o.ShippedPolicies = map[string][]string{"weighted": {}, "rr": {}, "maglev": {}, "failover": {}}
			cfg, err := Load(o)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("error %v, want %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := cfg.Services[0].Shaping
			if diff := cmp.Diff([]float64{tt.floor, tt.step}, []float64{s.Floor, s.Step}); diff != "" {
				t.Errorf("floor and step (-want +got):\n%s", diff)
			}
			if got := cfg.Warnings.Error(); !strings.Contains(got, tt.warned) || (got == "") != (tt.warned == "") {
				t.Errorf("warning %q, want %q", got, tt.warned)
			}
			shown := cfg.View()["services"].(map[string]any)["web"].(map[string]any)["shaping"].(map[string]any)
			if shown["floor"] != tt.floor || shown["step"] != tt.step {
				t.Errorf("the view has floor %v and step %v", shown["floor"], shown["step"])
			}
			again := files{"/etc/s.yaml": string(cfg.YAML(false))}.options()
			again.ShippedPolicies = o.ShippedPolicies
			if back := mustLoad(t, again); back.Hash != cfg.Hash {
				t.Errorf("the view does not load as the same:\n%s", cfg.YAML(false))
			}
		})
	}
}
