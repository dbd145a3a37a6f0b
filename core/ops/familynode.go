// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"runtime"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

func (s *Server) nodeFamilies(p *page, v *core.NodeView, m *meter) {
	p.family("steelyard_build_info", gauge, "Always 1; the labels tell what runs.", func() {
		version := s.cfg.Version
		if version == "" {
			version = v.Version
		}
		p.add(1, "version", version, "goversion", runtime.Version())
	})
	p.one("steelyard_start_time_seconds", gauge, "Unix time of the start.", unix(v.StartedAt))
	p.family("steelyard_config_last_reload_successful", gauge, "1 if the last reload was taken, 0 if it, or the newest pushed revision, was refused.", func() { p.fact(v.ReloadError+v.RevisionError == "") })
	p.one("steelyard_config_last_reload_success_timestamp_seconds", gauge, "Unix time at which the configuration in force was taken.", unix(v.ConfigAt))
	p.one("steelyard_config_revision", gauge, "Revision of the pushed configuration in force; 0 where it is from files.", float64(v.Revision))
	p.one("steelyard_warnings", gauge, "What an operator should mend although all of this works, as status lists it.", float64(len(v.Warnings)))
	if v.Carries() {
		p.family("steelyard_probe_to_kernel_seconds", bucketed, "Time from a change of a backend's health to the kernel transaction that follows it.", func() { p.histogram(&m.toKernel) })
	}
	p.one("steelyard_samples_dropped_total", counter, "Samples that came faster than they could be taken.", float64(v.SamplesDropped))
	p.one("steelyard_samples_unknown_total", counter, "Samples of others about a backend that is not configured here.", float64(v.SamplesUnknown))
	p.one("steelyard_metrics_refused_total", counter, "Metrics of monitors with a value or unit that cannot be, or too old.", float64(v.MetricsRefused))
	p.family("steelyard_http_pushed_metrics_total", counter, "Metrics that came in over HTTP.", func() {
		p.count(m.pushed["taken"], "result", "taken")
		p.count(m.pushed["refused"], "result", "refused")
	})
}

func kernelFamilies(p *page, v *core.NodeView, m *meter) {
	if !v.Carries() {
		return
	}
	k := &v.Kernel
	p.family("steelyard_nft_up", gauge, "1 while the kernel carries the plan, 0 while a transaction of ours is refused.", func() { p.fact(k.LastError == "") })
	p.one("steelyard_nft_commits_total", counter, "Transactions that the kernel took.", float64(k.Commits))
	p.family("steelyard_nft_commit_duration_seconds", bucketed, "Time of a transaction that the kernel took, read-back included.", func() { p.histogram(&m.commits) })
	p.one("steelyard_nft_drift_total", counter, "Changes of our table by others, which were repaired.", float64(k.Drifts))
	p.one("steelyard_nft_generation", gauge, "Generation of the ruleset after the latest transaction.", float64(k.Generation))
	p.family("steelyard_nft_table_owned", gauge, "1 where no other process can change the table.", func() { p.fact(k.Owned) })
	if !k.CountersAt.IsZero() {
		p.one("steelyard_nft_counters_read_timestamp_seconds", gauge, "Unix time at which the kernel's counters were last read.", unix(k.CountersAt))
	}
}

func busFamilies(p *page, v *core.NodeView) {
	b := &v.Bus
	p.family("steelyard_bus_connected", gauge, "1 while the server of the bus can be reached.", func() { p.fact(b.Connected) })
	p.one("steelyard_bus_reconnects_total", counter, "Times that the server came back.", float64(b.Reconnects))
	p.one("steelyard_bus_published_total", counter, "Messages that were published.", float64(b.Published))
	p.one("steelyard_bus_received_total", counter, "Samples of the bus that were handed on.", float64(b.Received))
	p.family("steelyard_bus_dropped_total", counter, "Messages that were lost or refused.", func() {
		p.count(b.Unsent, "reason", "unsent")
		p.count(b.Invalid, "reason", "invalid")
		p.count(b.Mismatched, "reason", "mismatched")
		p.count(b.Repeated, "reason", "repeated")
		p.count(b.Late, "reason", "late")
		p.count(b.Crowded, "reason", "crowded")
		p.count(b.Flooded, "reason", "flood")
		p.count(b.Overflowed, "reason", "overflowed")
	})
}

func clusterFamilies(p *page, v *core.NodeView) {
	c := v.Cluster
	if c == nil {
		return
	}
	p.family("steelyard_cluster_members", gauge, "Nodes of the group, this one among them, by what this node knows of them.", func() {
		for _, st := range []core.MemberState{core.MemberLive, core.MemberSuspects, core.MemberSilent, core.MemberLeft, core.MemberDenied} {
			n := 0
			for _, m := range c.Members {
				if m.State == st {
					n++
				}
			}
			p.add(float64(n), "state", string(st))
		}
	})
	p.one("steelyard_cluster_services_led", gauge, "Services whose shares this node decides.", float64(c.Leads))
	p.one("steelyard_cluster_targets_probed", gauge, "Targets that this node probes.", float64(c.Probes))
	p.family("steelyard_cluster_vectors_total", counter, "Vectors of shares of other nodes, by what became of them.", func() {
		p.count(c.Taken, "result", "taken")
		p.count(c.Refused, "result", "refused")
	})
	p.one("steelyard_cluster_takeovers_total", counter, "Services that this node began to lead.", float64(c.Takeovers))
	p.one("steelyard_cluster_epoch", gauge, "The highest epoch that this node knows.", float64(c.Epoch))
	p.one("steelyard_cluster_longest_gap_seconds", gauge, "Longest time so far without a word from a leader of a service that this node follows.", c.GapSeconds)
}

func webhookFamilies(p *page, v *core.NodeView) {
	each := func(name string, k kind, help string, value func(*core.WebhookView) uint64) {
		p.family(name, k, help, func() {
			for i := range v.Webhooks {
				p.count(value(&v.Webhooks[i]), "webhook", v.Webhooks[i].Name)
			}
		})
	}
	each("steelyard_webhook_sent_total", counter, "Messages that the receiver took.", func(w *core.WebhookView) uint64 { return w.Sent })
	each("steelyard_webhook_failed_total", counter, "Messages that were given up.", func(w *core.WebhookView) uint64 { return w.Failed })
	each("steelyard_webhook_dropped_total", counter, "Messages that a full queue lost.", func(w *core.WebhookView) uint64 { return w.Dropped })
	each("steelyard_webhook_retries_total", counter, "Attempts after the first.", func(w *core.WebhookView) uint64 { return w.Retries })
	each("steelyard_webhook_queued", gauge, "Messages that wait.", func(w *core.WebhookView) uint64 { return uint64(w.Queued) })
}

// unix is a time as Prometheus has it; 0 for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}
