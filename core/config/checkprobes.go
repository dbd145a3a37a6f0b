// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strconv"

	"github.com/steelyard-lb/steelyard/core"
)

// checkProbePorts: a backend that keeps the client's port has none to probe.
func (s *build) checkProbePorts() {
	i := slices.IndexFunc(s.Backends, func(be core.Backend) bool { return !be.Sorry && be.Addr.IsValid() && be.Addr.Port() == 0 })
	if i < 0 || s.partial {
		return
	}
	for n, name := range s.Probes {
		p, ok := s.builder.raw.Probes[name]
		if !ok || p.Port != 0 || !asksBackend(p) || s.spoilt[join(join("probes", name), "port")] {
			continue
		}
		s.builder.wrong(s.at("probes."+strconv.Itoa(n)), "set port in the probe, or in the backend",
			"probe %s asks the port of the backend, and %s has none: it keeps the port that the client asked for", name, s.Backends[i].Name)
	}
}

// asksBackend reports whether a probe without a port needs that of the backend.
func asksBackend(p rawProbe) bool {
	switch p.Type {
	case core.ProbePing, core.ProbeSNMPCPU, core.ProbeSNMP, core.ProbeAgent, "":
		return false
	case core.ProbeExec:
		return asksPort(p.Command)
	}
	return true
}

// checkProbeSources: a probe that sends from an address of one family reaches no
// backend of the other.
func (s *build) checkProbeSources() {
	for n, name := range s.Probes {
		from := s.builder.raw.Probes[name].Source
		a, why, _ := host(from)
		if from == "" || why != "" {
			continue
		}
		i := slices.IndexFunc(s.Backends, func(be core.Backend) bool { return !be.Sorry && be.Addr.IsValid() && be.Addr.Addr().Is4() != a.Is4() })
		if i >= 0 {
			s.builder.wrong(s.item(s.at("probes"), n), "make a probe for each family", "probe %s sends from %s, and %s of backend %s is not of its family", name, a, s.Backends[i].Addr.Addr(), s.Backends[i].Name)
		}
	}
}
