// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// health fills in how the health probes make the health. What is switched off is
// left zero.
func (s *build) health() {
	r := s.raw.Health
	h := core.HealthRule{Critical: slices.Clone(r.Critical), Start: startOf(r.Start)}
	if len(h.Critical) == 0 {
		h.Critical = nil
	}
	probes, sure := s.healthProbes()
	if sure && len(probes) == 0 {
		s.withoutHealth(r)
		return
	}
	h.Need = s.need(r.Need, probes, sure)
	s.critical(h, probes)
	if r.FlapLimit > 0 {
		h.FlapLimit, h.FlapWindow, h.FlapHold, h.FlapMax = r.FlapLimit, r.FlapWindow, r.FlapHold, r.FlapMax
		if r.FlapHold > r.FlapMax && r.FlapMax > 0 {
			s.builder.wrong(s.set(s.at("health"), "flap_hold", "flap_max"), "", "flap_hold%s %s is longer than flap_max%s %s",
				s.byDefault(s.at("health.flap_hold")), short(r.FlapHold), s.byDefault(s.at("health.flap_max")), short(r.FlapMax))
		}
	}
	s.Health = h
}

func startOf(word string) core.HealthState {
	return map[string]core.HealthState{"up": core.Up, "down": core.Down}[word]
}

// healthProbes are the names of the service's health probes. It is not sure of
// them if one of the names, or of the probes, has a problem.
func (s *build) healthProbes() (names []string, sure bool) {
	sure = !s.spoiltBelow(s.at("probes"))
	for _, name := range s.Probes {
		p, ok := s.builder.raw.Probes[name]
		at := join("probes", name)
		sure = sure && ok && p.Type != "" && !s.spoilt[at] && !s.spoilt[join(at, "role")]
		if p.Role == string(core.HealthRole) {
			names = append(names, name)
		}
	}
	return names, sure
}

// withoutHealth notes rules for health probes that the service does not have.
func (s *build) withoutHealth(r rawHealth) {
	for _, u := range []use{{"need", r.Need != "" && r.Need != "all"}, {"critical", len(r.Critical) > 0}, {"start", r.Start != "" && r.Start != "unknown"}, {"flap_limit", r.FlapLimit > 0}} {
		if u.used && !s.spoiltBelow(s.at("health."+u.key)) {
			s.wrong("health."+u.key, "add a probe with role health to probes, as in probes: [alive]", "service %s has no health probe: nothing ever marks its backends up or down", s.Name)
			return
		}
	}
}

// need is the least number of probes that must be up; 0 for all of them.
func (s *build) need(word string, probes []string, sure bool) int {
	n, err := strconv.Atoi(word)
	switch {
	case word == "any":
		return 1
	case err != nil:
		return 0
	case sure && n > len(probes):
		s.wrong("health.need", "at most "+strconv.Itoa(len(probes))+": "+list(probes), "need asks for %d health probes, and the service has %d", n, len(probes))
	}
	return n
}

func (s *build) critical(h core.HealthRule, probes []string) {
	for i, name := range h.Critical {
		at := s.item(s.at("health.critical"), i)
		p, defined := s.builder.raw.Probes[name]
		switch {
		case slices.Index(h.Critical, name) < i:
			s.builder.wrong(at, "", "%q stands here twice", name)
		case slices.Contains(probes, name):
		case slices.Contains(s.Probes, name) && defined && p.Role == string(core.MetricRole):
			s.builder.wrong(at, "name one with role health", "probe %q has role metric, and never decides health", name)
		case !s.spoiltBelow(s.at("probes")):
			s.builder.wrong(at, oneOf(name, probes), "%q is no health probe of the service", name)
		}
	}
	if h.Need == 0 && len(h.Critical) > 0 {
		s.warn(s.at("health.critical"), "set need: any, or a number", "critical changes nothing in service %s: need is all, so every health probe must be up anyway", s.Name)
	}
}

// passive fills in the rule that watches the connections of clients.
func (s *build) passive() {
	r := s.raw.Passive
	if r.Unanswered == 0 && r.Resets == 0 {
		return
	}
	at := s.set(s.at("passive"), "unanswered", "resets")
	if s.Forwarding != "" && !s.Forwarding.Tracked() {
		s.builder.wrong(at, "leave it out, or choose another forwarding", needsTracking, "passive", s.Forwarding)
		return
	}
	if r.Eject > r.Max && r.Max > 0 {
		s.builder.wrong(s.set(s.at("passive"), "eject", "max"), "", "eject%s %s is longer than max%s %s",
			s.byDefault(s.at("passive.eject")), short(r.Eject), s.byDefault(s.at("passive.max")), short(r.Max))
	}
	if !s.partial && !slices.ContainsFunc(s.Frontends, func(f core.Frontend) bool { return f.Protocol == core.TCP }) {
		s.warn(at, "leave it out; a udp or dns probe asks the service itself", "passive looks at TCP connections, and service %s has none", s.Name)
	}
	if !s.partial && r.Resets > 0 && slices.ContainsFunc(s.Frontends, func(f core.Frontend) bool { return f.Protocol == core.TCP && !f.Ports.Single() }) {
		s.warn(s.at("passive.resets"), "leave resets out, or make the ports those that are served", "service %s has a range of ports: who asks for some that nobody serves is refused, and has backends ejected", s.Name)
	}
	s.Passive = core.PassiveRule(r)
}

// probing is how the node runs its probes.
func (b *builder) probing() core.Probing {
	r := b.raw.Probing
	p := core.Probing{Concurrency: r.Concurrency, SuspectRatio: r.SuspectRatio}
	if r.SuspectRatio > 0 {
		p.SuspectMin, p.SuspectFor = r.SuspectMin, r.SuspectFor
	}
	return p
}

// policyMetrics are what the shipped policies cannot do without.
var policyMetrics = map[string]struct{ metric, hint string }{
	"least-cpu":      {core.MetricCPU, "add a probe of type snmp_cpu, or a metric named cpu to one of another type"},
	"least-response": {core.MetricResponse, "add a probe of type response_time or http"},
}

// checkReadings warns of a policy that nothing tells what it goes by. Monitors may
// tell it over the bus, if the bus can be reached.
func (s *build) checkReadings() {
	bus := s.builder.raw.Bus
	if len(bus.Users) > 0 || len(bus.Servers) > 0 || s.spoiltBelow(s.at("probes")) {
		return
	}
	for _, key := range []string{"policy", "shadow"} {
		name := map[string]string{"policy": s.Policy, "shadow": s.Shadow}[key]
		want, ok := policyMetrics[name]
		if ok && !slices.ContainsFunc(s.Probes, func(p string) bool { return supplies(s.builder.raw.Probes[p], want.metric) }) {
			s.warn(s.set(s.path, key), want.hint, "%s %s of service %s goes by %s, and no probe of the service supplies it: the configured weights would hold", key, name, s.Name, strings.ReplaceAll(want.metric, "_", " "))
		}
	}
}

// supplies reports whether a probe may measure a metric, by its type or by name.
func supplies(p rawProbe, metric string) bool {
	if _, named := p.Metrics[metric]; named || metric == core.MetricCPU {
		return named || p.Type == core.ProbeSNMPCPU
	}
	switch p.Type {
	case core.ProbeHTTP, core.ProbeDNS, core.ProbeGRPC, core.ProbeUDP, core.ProbeResponseTime:
		return true
	case core.ProbeTCP: // a connection alone is accepted by the kernel
		return p.Send != "" || p.SendHex != "" || p.Expect != "" || len(p.Script) > 0 || p.TLS.Enabled
	}
	return false
}
