// SPDX-License-Identifier: Apache-2.0

package ops

import "github.com/steelyard-lb/steelyard/core"

func policyFamilies(p *page, v *core.NodeView) {
	each := func(name string, k kind, help string, value func(*core.PolicyView) float64) {
		p.family(name, k, help, func() {
			for i := range v.Policies {
				p.add(value(&v.Policies[i]), "policy", v.Policies[i].Name)
			}
		})
	}
	each("steelyard_policy_calls_total", counter, "Calls of the policy.", func(o *core.PolicyView) float64 { return float64(o.Calls) })
	each("steelyard_policy_faults_total", counter, "Calls that brought no answer that could be used: traps, time-outs, bad vectors.", func(o *core.PolicyView) float64 { return float64(o.Faults) })
	each("steelyard_policy_worker_restarts_total", counter, "Worker processes that the policy cost their life.", func(o *core.PolicyView) float64 { return float64(o.Restarts) })
	each("steelyard_policy_quarantine_remaining_seconds", gauge, "Time until a policy that failed is called again; 0 while it is called.", func(o *core.PolicyView) float64 { return o.QuarantineSecond })
	each("steelyard_policy_swaps_total", counter, "Versions that took the place of another.", func(o *core.PolicyView) float64 { return float64(o.Swaps) })
	each("steelyard_policy_file_refused", gauge, "1 while the policy's file has changed and is not in force, because something is wrong with it.", func(o *core.PolicyView) float64 {
		if o.FileRefused != "" || o.RolledBack != "" {
			return 1
		}
		return 0
	})
	each("steelyard_policy_worker_memory_bytes", gauge, "Resident memory of the worker that runs the policy; the shipped policies have one together.", func(o *core.PolicyView) float64 { return float64(o.MemoryBytes) })
	p.family("steelyard_policy_run_duration_seconds", summary, "Time of a call of the policy, quantiles of the latest calls.", func() {
		for i := range v.Policies {
			o := &v.Policies[i]
			p.add(o.P50Seconds, "policy", o.Name, "quantile", "0.5")
			p.add(o.P99Seconds, "policy", o.Name, "quantile", "0.99")
		}
	})
}

// decisionFamilies are about services, and come after what says more of them.
func decisionFamilies(p *page, v *core.NodeView, m *meter) {
	p.family("steelyard_policy_decisions_total", counter, "Published decisions: each that moved a slot or failed, and every 10 s one that did not.", func() {
		for i := range v.Services {
			name := v.Services[i].Name
			for _, d := range m.decided[name] {
				p.count(d.n, "service", name, "policy", d.policy, "outcome", d.outcome)
			}
		}
	})
}
