// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// defaultFlowTimeout is in the documentation of flow_timeout too.
const defaultFlowTimeout = 10 * time.Minute

// traffic fills in what concerns all backends. What is switched off is left
// zero, whatever stands beside the switch, so that it changes nothing in the
// kernel.
func (s *build) traffic() {
	r := s.raw
	s.Forwarding, s.OnEmpty, s.Seed = core.Forwarding(r.Forwarding), core.OnEmpty(r.OnEmpty), s.builder.raw.Kernel.HashSeed
	distribution, hash := core.Random, core.BySource
	if !s.Forwarding.Tracked() {
		distribution, hash = core.Hash, core.BySourcePort
		s.Interfaces, s.FlowTimeout = r.Interfaces, cmp.Or(r.FlowTimeout, defaultFlowTimeout)
	}
	s.Distribution = cmp.Or(core.Distribution(r.Distribution), distribution)
	s.HashKey = cmp.Or(core.HashKey(r.Hash), hash)
	s.Hairpin, s.Helper, s.Offload, s.Bytes = r.Hairpin, r.Helper, r.Offload, r.CountBytes
	s.sources()
	s.MasqueradeFor = s.prefixes(s.at("masquerade_for"), r.MasqueradeFor)
	s.Allow = s.clients("allow", r.Allow, r.AllowFile)
	s.Deny = s.clients("deny", r.Deny, r.DenyFile)
	s.AllowFile, s.DenyFile = s.resolve(s.at("allow_file"), r.AllowFile), s.resolve(s.at("deny_file"), r.DenyFile)
	s.persistence()
	s.limits()
	if r.Log.PerSecond > 0 {
		s.Log = core.LogRule{Prefix: r.Log.Prefix, PerSecond: r.Log.PerSecond}
	}
	s.QoS = s.qos(s.path, r.QoS)
}

func (s *build) persistence() {
	if r := s.raw.Persistence; r.Timeout > 0 {
		s.Persistence = core.Persistence(r)
	}
}

func (s *build) sources() {
	for i, text := range s.raw.Source {
		at := s.item(s.at("source"), i)
		a, why, hint := host(text)
		switch {
		case why != "":
			s.builder.wrong(at, hint, "%s", why)
		case a.Is4() && !s.Source4.IsValid():
			s.Source4 = a
		case a.Is6() && !s.Source6.IsValid():
			s.Source6 = a
		default:
			s.builder.wrong(at, "", "source has two addresses of one family")
		}
	}
}

func (s *build) limits() {
	r := s.raw.Limits
	l := core.Limits{
		New:             s.rate("new_per_second", r.New, "new_burst", r.Burst),
		NewPerClient:    s.rate("new_per_second_per_client", r.NewPerClient, "new_burst_per_client", r.BurstPerClient),
		ResetsPerClient: core.Rate{PerSecond: r.ResetsPerClient, Burst: r.ResetsPerClient},
		Open:            r.Open, OpenPerClient: r.OpenPerClient, Strict: r.Invalid == "drop",
	}
	if l == (core.Limits{}) {
		return
	}
	l.Clients, l.Answer = r.Clients, core.OnEmpty(r.Answer)
	s.Limits = l
}

// rate is a rate with its burst, which is a second's worth unless it was set.
func (s *build) rate(key string, perSecond uint32, burstKey string, burst uint32) core.Rate {
	if perSecond == 0 {
		if burst > 0 {
			s.wrong("limits."+burstKey, "set "+key+", or leave it out", "%s means nothing without %s", burstKey, key)
		}
		return core.Rate{}
	}
	return core.Rate{PerSecond: perSecond, Burst: cmp.Or(burst, perSecond)}
}

// codePoints are the names of DSCP that are no rule (RFC 2474, 3246, 5865, 8622).
var codePoints = map[string]uint8{"be": 0, "le": 1, "ef": 46, "va": 44}

func (s *build) qos(path string, r rawQoS) core.QoS {
	q := core.QoS{Mark: r.Mark, Mask: r.Mask}
	if r.DSCP != "" {
		v := dscp(r.DSCP)
		q.DSCP = &v
	}
	if major, minor, ok := strings.Cut(r.Priority, ":"); ok {
		hi, _ := strconv.ParseUint(major, 16, 16)
		lo, _ := strconv.ParseUint(minor, 16, 16)
		v := uint32(hi<<16 | lo)
		q.Priority = &v
	}
	at := join(path, "qos")
	switch {
	case r.Mark != 0 && r.Mask == 0:
		s.builder.wrong(join(at, "mark"), "mask: the bits of the mark that nobody else uses", "a mark without a mask sets no bit")
	case r.Mark&^r.Mask != 0:
		s.builder.wrong(join(at, "mark"), "", "mark %#x has bits outside mask %#x", r.Mark, r.Mask)
	}
	return q
}

// dscp is a number or a name that the table has let through.
func dscp(text string) uint8 {
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		return uint8(n)
	}
	if n, ok := codePoints[text]; ok {
		return n
	}
	class := text[2] - '0'
	if text[:2] == "cs" {
		return 8 * class
	}
	return 8*class + 2*(text[3]-'0') // af, RFC 2597
}

func (s *build) pins() {
	seen := map[netip.Prefix]string{}
	path := s.at("pins")
	for _, text := range inOrder(s.builder, path, s.raw.Pins) {
		p, why, hint := prefix(text)
		if why != "" {
			s.misplaced(join(path, text), hint, "%s", why)
			continue
		}
		if other, dup := seen[p]; dup {
			s.misplaced(join(path, text), "", "%s is pinned already, as %s", text, other)
			continue
		}
		seen[p] = text
		if s.pinned(join(path, text), p, s.raw.Pins[text]) {
			s.Pins = append(s.Pins, core.Pin{Client: p, Backend: s.raw.Pins[text]})
		}
	}
	slices.SortFunc(s.Pins, func(x, y core.Pin) int {
		return cmp.Or(y.Client.Bits()-x.Client.Bits(), x.Client.Addr().Compare(y.Client.Addr()))
	})
}

// pinned checks a pin against the backend that it names.
func (s *build) pinned(at string, p netip.Prefix, name string) bool {
	i := slices.IndexFunc(s.Backends, func(be core.Backend) bool { return be.Name == name && !be.Sorry })
	if i < 0 {
		s.builder.wrong(at, oneOf(name, names(s.builder, s.at("backends"), s.raw.Backends)), "unknown backend %q", name)
		return false
	}
	be := &s.Backends[i]
	if be.Addr.IsValid() && be.Addr.Addr().Is4() != p.Addr().Is4() && !be.Alt.IsValid() {
		s.misplaced(at, "", "the address %s of backend %s is not of the family of %s", be.Addr.Addr(), name, p)
		return false
	}
	return true
}
