// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/steelyard-lb/steelyard/core"
)

// maxBackends of the distributions that lay out a table of their own.
const maxBackends = 4096

// checkForwarding compares the way packets go with what else was asked for.
func (s *build) checkForwarding() {
	switch {
	case s.Forwarding == "":
		return // it has a problem
	case s.Forwarding == core.Local:
		s.checkLocal()
	case !s.Forwarding.Tracked():
		s.checkUntracked()
	}
	if s.Forwarding.Tracked() {
		s.onlyUntracked()
	}
	s.checkSources()
	s.checkHelper()
}

// A conflict is a key that was used and cannot be.
type conflict struct {
	used bool
	key  string
}

// refuse notes the conflicts that are there.
func (s *build) refuse(format string, all ...conflict) {
	for _, c := range all {
		if c.used {
			s.wrong(c.key, "leave it out, or choose another forwarding", format, c.key, s.Forwarding)
		}
	}
}

const needsTracking = "%s needs connection tracking, and forwarding %s has none"

func (s *build) checkUntracked() {
	s.refuse(needsTracking,
		conflict{s.Persistence.Timeout > 0, "persistence.timeout"},
		conflict{len(s.Pins) > 0, "pins"},
		conflict{s.Hairpin, "hairpin"},
		conflict{len(s.MasqueradeFor) > 0, "masquerade_for"},
		conflict{s.Limits.New.PerSecond > 0, "limits.new_per_second"},
		conflict{s.Limits.NewPerClient.PerSecond > 0, "limits.new_per_second_per_client"},
		conflict{s.Limits.ResetsPerClient.PerSecond > 0, "limits.resets_per_second_per_client"},
		conflict{s.Limits.Open > 0, "limits.connections"},
		conflict{s.Limits.OpenPerClient > 0, "limits.connections_per_client"},
		conflict{s.Limits.Strict, "limits.invalid"},
		conflict{s.Bytes, "count_bytes"},
		conflict{s.Offload, "offload"},
		conflict{s.QoS.Active(), "qos"},
		conflict{s.Helper != "", "helper"},
		conflict{s.OnDown == core.Reset, "on_down"})
	for _, be := range s.Backends {
		s.refuse(needsTracking, conflict{be.MaxConnections > 0, "backends." + be.Name + ".max_connections"},
			conflict{be.QoS.Active(), "backends." + be.Name + ".qos"})
	}
	if s.Distribution != core.Hash {
		s.wrong("distribution", "leave it out", "forwarding %s chooses a backend for each packet, so that only hash keeps a flow on one", s.Forwarding)
	}
	if len(s.Interfaces) == 0 && !s.spoilt[s.at("interfaces")] {
		s.spoil(s.builder.at(s.path), s.at("interfaces"), "interfaces: where clients' packets arrive, such as [eth0]", "%s has no %q, and forwarding is %s", s.Name, "interfaces", s.Forwarding)
	}
	for i, name := range s.Interfaces {
		if name == "." || name == ".." || slices.Index(s.Interfaces, name) < i {
			s.builder.wrong(s.item(s.at("interfaces"), i), "", "%q is no interface, or stands here twice", name)
		}
	}
	s.checkUntrackedPorts()
	if s.Forwarding == core.Stateless && !s.partial {
		s.checkAnswers()
	}
}

// checkAnswers: by an answer alone stateless must know what the client asked for.
func (s *build) checkAnswers() {
	seen := map[bool]netip.Prefix{} // by whether it is IPv6
	for _, f := range s.Frontends {
		first, ok := seen[f.Addr().Is6()]
		switch {
		case ok && first == f.VIP:
		case ok:
			s.builder.wrong(s.builder.vipOf(s.path, f.VIP), "a service for each address", "forwarding stateless cannot tell answers of %s from those of %s", f.VIP.Addr(), first.Addr())
		case !f.VIP.IsSingleIP():
			s.builder.wrong(s.builder.vipOf(s.path, f.VIP), "a service for each address", "forwarding stateless cannot tell of which address of network %s an answer is", f.VIP)
		}
		seen[f.Addr().Is6()] = f.VIP
	}
	var one *core.Backend
	for i := range s.Backends {
		be := &s.Backends[i]
		path := join(s.at("backends"), be.Name)
		switch port := be.Addr.Port(); {
		case !be.Addr.IsValid() || be.Sorry:
		case one != nil && s.port != 0 && port != one.Addr.Port(): // without a port of the service each has its problem already
			s.builder.wrong(join(path, "port"), "", "forwarding stateless writes one port for all backends, and that of %s is %d", one.Name, one.Addr.Port())
		case one != nil:
		case port != 0 && slices.ContainsFunc(s.Frontends, func(f core.Frontend) bool { return f.Protocol == core.SCTP }):
			s.builder.wrong(join(path, "port"), "write port: 0 for each backend, which keeps the client's", "forwarding stateless cannot write ports of sctp, whose checksum covers them")
			fallthrough
		default:
			one = be
		}
	}
}

// checkUntrackedPorts: dsr does not touch the packet, and stateless must know
// from an answer alone which port the client asked for.
func (s *build) checkUntrackedPorts() {
	for _, be := range s.Backends {
		port := be.Addr.Port()
		if !be.Addr.IsValid() || s.partial || port == s.port || s.Forwarding == core.Stateless && s.port != 0 {
			continue
		}
		path := join(s.at("backends"), be.Name)
		if be.Sorry {
			path = s.at("sorry")
		}
		if s.Forwarding == core.DSR {
			s.builder.wrong(join(path, "port"), "leave it out", "forwarding dsr leaves the packet as it is, and cannot change its port to %d", port)
			continue
		}
		s.builder.wrong(join(path, "port"), "leave it out", "forwarding stateless cannot lead several ports to port %d: an answer would not show which one the client asked for", port)
	}
}

// checkLocal: the packets of local end here.
func (s *build) checkLocal() {
	s.refuse("%s means nothing with forwarding %s, whose connections end on this node",
		conflict{s.Hairpin, "hairpin"},
		conflict{len(s.MasqueradeFor) > 0, "masquerade_for"},
		conflict{s.Offload, "offload"})
	for _, f := range s.Frontends {
		if f.Ports.First <= 1 && f.Ports.Last == 65535 {
			s.wrong("port", "name the ports", "forwarding local with every port would take this node's own traffic to the VIP, its shells too")
			return
		}
	}
}

// onlyUntracked notes keys that mean something to dsr and stateless only.
func (s *build) onlyUntracked() {
	for _, key := range []string{"interfaces", "flow_timeout"} {
		if s.written(s.at(key)) && (key == "flow_timeout" || len(s.raw.Interfaces) > 0) {
			s.misplaced(s.at(key), "leave it out", "%s means nothing with forwarding %s: it is for dsr and stateless", key, s.Forwarding)
		}
	}
}

// checkSources: each backend behind snat needs an address of its family.
func (s *build) checkSources() {
	used := false
	for _, be := range s.Backends {
		if be.Forwarding != core.SNAT && (be.Forwarding != "" || s.Forwarding != core.SNAT) {
			continue
		}
		used = true
		for _, a := range [...]netip.Addr{be.Addr.Addr(), be.Alt.Addr()} {
			source, word := s.Source4, "IPv4"
			if a.Is6() {
				source, word = s.Source6, "IPv6"
			}
			if !a.IsValid() || source.IsValid() || be.Source.IsValid() && be.Source.Is4() == a.Is4() || s.spoiltBelow(s.at("source")) {
				continue
			}
			at := s.set(s.path, "source", "forwarding")
			if be.Forwarding != "" {
				at = join(join(s.at("backends"), be.Name), "forwarding")
			}
			s.builder.wrong(at, "source: an address of this node", "forwarding snat has no %s source for backend %s", word, be.Name)
		}
	}
	if !used && len(s.raw.Source) > 0 {
		s.wrong("source", "set forwarding: snat, or leave it out", "source means nothing with forwarding %s", s.Forwarding)
	}
}

// helperProtocols are those that the kernel's helpers understand.
var helperProtocols = map[string][]core.Protocol{"ftp": {core.TCP}, "sip": {core.TCP, core.UDP}, "tftp": {core.UDP}}

func (s *build) checkHelper() {
	if s.Helper == "" || s.partial {
		return
	}
	for _, f := range s.Frontends {
		if !slices.Contains(helperProtocols[s.Helper], f.Protocol) {
			s.wrong("helper", "make a service of its own for it", "helper %s does not understand %s", s.Helper, f.Protocol)
			return
		}
	}
}

// checkBackends compares the backends with each other and with what the service
// asks of them.
func (s *build) checkBackends() {
	if n := len(s.Backends); n > maxBackends && s.Distribution != core.Random {
		s.wrong("distribution", "choose random", "distribution %s takes at most %d backends, and there are %d", s.Distribution, maxBackends, n)
	}
	if !s.partial {
		s.checkFamilies()
		s.checkPorts()
	}
	s.checkMinUp()
	s.checkProbePorts()
	s.checkProbeSources()
}

// checkPorts: the weights map leads to addresses, or to addresses with ports.
func (s *build) checkPorts() {
	keeps := func(be core.Backend) bool { return be.Addr.IsValid() && be.Addr.Port() == 0 }
	i := slices.IndexFunc(s.Backends, keeps)
	if i < 0 || !s.Forwarding.Tracked() {
		return
	}
	for _, be := range s.Backends {
		if keeps(be) || !be.Addr.IsValid() {
			continue
		}
		path := join(s.at("backends"), be.Name)
		if be.Sorry {
			path = s.at("sorry")
		}
		s.builder.wrong(join(path, "port"), "give all backends a port, or none", "%s has a port, and %s keeps the one that the client asked for", be.Name, s.Backends[i].Name)
		return
	}
}

// checkMinUp: a group that cannot reach min_up would never hold the next one in
// reserve.
func (s *build) checkMinUp() {
	count := map[uint8]int{}
	var last uint8
	for _, be := range s.Backends {
		if !be.Sorry {
			count[be.Priority]++
			last = max(last, be.Priority)
		}
	}
	if n := len(names(s.builder, s.at("backends"), s.raw.Backends)); last == 0 && n > 0 && s.MinUp > n {
		s.wrong("min_up", "at most "+strconv.Itoa(n), "min_up asks for %d backends, and the service has %d", s.MinUp, n)
		return
	}
	for p := uint8(0); p < last; p++ {
		if n := count[p]; n > 0 && n < s.MinUp {
			s.wrong("min_up", "", "priority %d has %d of the %d backends that min_up asks for: the next priority would always serve", p, n, s.MinUp)
			return
		}
	}
}

// checkFamilies notes a VIP that no backend could answer for.
func (s *build) checkFamilies() {
	var v4, v6 bool
	for _, be := range s.Backends {
		if be.Sorry {
			continue
		}
		for _, a := range [...]netip.AddrPort{be.Addr, be.Alt} {
			v4, v6 = v4 || a.Addr().Is4(), v6 || a.Addr().Is6()
		}
	}
	for _, f := range s.Frontends {
		if s.Forwarding == core.Local || f.Addr().Is4() && v4 || f.Addr().Is6() && v6 || !v4 && !v6 {
			continue // without any family the addresses have problems of their own
		}
		s.builder.wrong(s.vipOf(s.path, f.VIP), "give the backends a second address, or leave the VIP out",
			"no backend has an address of the family of the VIP %s", vipText(f))
		return
	}
}
