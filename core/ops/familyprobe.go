// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"maps"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// probingFamilies are of the types of probes.
func probingFamilies(p *page, v *core.NodeView) {
	types := v.Probing.Types
	p.family("steelyard_probe_runs_total", counter, "Runs of probes of this node.", func() {
		for i := range types {
			t := &types[i]
			p.count(t.Runs-min(t.Failed, t.Runs), "type", t.Type, "result", "ok")
			p.count(t.Failed, "type", t.Type, "result", "failed")
		}
	})
	each := func(name string, k kind, help string, value func(*core.ProbeTypeView) float64) {
		p.family(name, k, help, func() {
			for i := range types {
				p.add(value(&types[i]), "type", types[i].Type)
			}
		})
	}
	each("steelyard_probe_skipped_total", counter, "Runs left out: the one before was not over, or there was no place.", func(t *core.ProbeTypeView) float64 { return float64(t.Skipped) })
	each("steelyard_probe_targets", gauge, "Targets that are asked, each counted once however many services share it.", func(t *core.ProbeTypeView) float64 { return float64(t.Targets) })
	each("steelyard_probe_running", gauge, "Runs under way.", func(t *core.ProbeTypeView) float64 { return float64(t.Running) })
	each("steelyard_probe_waiting", gauge, "Runs that wait for a place.", func(t *core.ProbeTypeView) float64 { return float64(t.Waiting) })
	each("steelyard_probe_places", gauge, "Runs that may be under way at one time.", func(t *core.ProbeTypeView) float64 { return float64(t.Limit) })
	p.family("steelyard_node_suspects_itself", gauge, "1 while so many probes fail at once that this node holds itself for the cause.", func() { p.fact(v.Probing.Suspect != "") })
}

// probeFamilies are of each probe of each backend.
func probeFamilies(p *page, v *core.NodeView, m *meter) {
	p.family("steelyard_probe_duration_seconds", bucketed, "Time of the runs of a probe of this node, over all backends.", func() {
		for _, name := range slices.Sorted(maps.Keys(m.probes)) {
			p.histogram(m.probes[name], "probe", name)
		}
	})
	each := func(name, help string, series func(service, backend string, o *core.ProbeView)) {
		p.family(name, gauge, help, func() {
			for i := range v.Services {
				s := &v.Services[i]
				for j := range s.Backends {
					b := &s.Backends[j]
					for k := range b.Probes {
						if !b.Probes[k].At.IsZero() {
							series(s.Name, b.Name, &b.Probes[k])
						}
					}
				}
			}
		})
	}
	each("steelyard_probe_success", "1 if the latest run of the probe was good.", func(service, backend string, o *core.ProbeView) {
		p.fact(o.OK, "service", service, "backend", backend, "probe", o.Name)
	})
	each("steelyard_probe_last_run_timestamp_seconds", "Unix time of the latest result of the probe.", func(service, backend string, o *core.ProbeView) {
		p.add(unix(o.At), "service", service, "backend", backend, "probe", o.Name)
	})
	each("steelyard_probe_interval_seconds", "Time between two runs of the probe, as it is now.", func(service, backend string, o *core.ProbeView) {
		p.add(o.Interval, "service", service, "backend", backend, "probe", o.Name)
	})
}
