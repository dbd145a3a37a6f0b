// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// maxFrontends bounds what the lists of one service multiply to.
const maxFrontends = 4096

// frontends are every VIP with every port and every protocol.
func (s *build) frontends() {
	vips, ports := s.vips(), s.ports()
	if n := len(vips) * len(ports) * len(s.raw.Protocol); n > maxFrontends {
		s.wrong("vip", "use a network, or a range of ports", "the service has %d combinations of address, port and protocol, at most %d can be", n, maxFrontends)
		s.partial = true
		return
	}
	for _, p := range s.raw.Protocol {
		s.partial = s.partial || p == ""
	}
	s.partial = s.partial || len(s.raw.Protocol) == 0
	for _, vip := range vips {
		for _, port := range ports {
			for _, protocol := range s.raw.Protocol {
				s.Frontends = append(s.Frontends, core.Frontend{VIP: vip, Ports: port, Protocol: core.Protocol(protocol)})
			}
		}
	}
	if len(ports) == 1 && ports[0].Single() {
		s.port = ports[0].First
	}
	if len(s.raw.Protocol) == 0 && !s.spoilt[s.at("protocol")] {
		s.wrong("protocol", `leave it out for tcp`, "%s has no protocol", s.Name)
	}
}

func (s *build) vips() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(s.raw.VIP))
	for i, text := range s.raw.VIP {
		p, why, hint := prefix(text)
		if why == "" {
			why, hint = noHost(p.Addr(), text)
		}
		if why != "" {
			s.partial = true
			s.builder.wrong(s.item(s.at("vip"), i), hint, "%s", why)
			continue
		}
		s.v4, s.v6 = s.v4 || p.Addr().Is4(), s.v6 || p.Addr().Is6()
		out = append(out, p)
	}
	if len(s.raw.VIP) == 0 {
		s.partial = true
		if s.written(s.at("vip")) {
			s.wrong("vip", "name at least one address", "%s has no address", s.Name)
		}
	}
	return out
}

func (s *build) ports() []core.PortRange {
	out := make([]core.PortRange, 0, len(s.raw.Port))
	for i, text := range s.raw.Port {
		r, why, hint := portRange(text)
		if why != "" {
			s.builder.wrong(s.item(s.at("port"), i), hint, "%s", why)
			s.partial = true
			continue
		}
		out = append(out, r)
	}
	if len(s.raw.Port) == 0 {
		s.partial = true
		if s.written(s.at("port")) {
			s.wrong("port", "a port, a range such as 8000-8999, or any", "%s has no port", s.Name)
		}
	}
	return out
}

// portRange parses what the table's pattern has let through, or the hole of
// what it has not.
func portRange(text string) (r core.PortRange, why, hint string) {
	if text == "any" {
		return core.PortRange{First: 0, Last: 65535}, "", ""
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	switch {
	case err1 != nil || err2 != nil || first == 0 || last == 0:
		return r, text + " is outside 1 to 65535", ""
	case first > last:
		return r, text + " ends before it begins", "write " + to + "-" + from
	}
	return core.PortRange{First: uint16(first), Last: uint16(last)}, "", ""
}

// A claim is a frontend that is not exact, and whose it is.
type claim struct {
	core.Frontend
	service    string // path
	forwarding core.Forwarding
	order      int
}

type netKey struct {
	protocol core.Protocol
	vip      netip.Prefix
}

// A frontIndex finds frontends that are not free any more. What is exact is
// looked up; of the rest, two networks that overlap are nested, so that only
// those around each one need be compared with it. An exact frontend may lie in
// a range of another service: the kernel looks for exact ones first.
type frontIndex struct {
	exact  map[core.Frontend]claim
	ranges []claim
	nets   map[netKey][]int // of ranges
	bits   [2][129]bool     // the prefix lengths in nets, by family
}

func (ix *frontIndex) add(b *builder, path string, s *core.Service) {
	if ix.exact == nil {
		ix.exact, ix.nets = map[core.Frontend]claim{}, map[netKey][]int{}
	}
	var wide []core.Frontend
	for _, f := range s.Frontends {
		if !f.Exact() {
			wide = append(wide, f)
			continue
		}
		if other, dup := ix.exact[f]; dup {
			ix.blame(b, path, other.service, f, f)
			continue
		}
		ix.exact[f] = claim{f, path, s.Forwarding, 0}
	}
	for _, f := range wide {
		for _, own := range s.Frontends {
			if own.Exact() && own.Overlaps(f) {
				ix.blame(b, path, path, own, f)
			}
		}
		n := len(ix.ranges)
		ix.ranges = append(ix.ranges, claim{f, path, s.Forwarding, n})
		k := netKey{f.Protocol, f.VIP}
		ix.nets[k] = append(ix.nets[k], n)
		ix.bits[family(f.VIP)][f.VIP.Bits()] = true
	}
}

func family(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

func (ix *frontIndex) compareRanges(b *builder) {
	untracked := false
	for i := range ix.ranges {
		c := &ix.ranges[i]
		untracked = untracked || !c.forwarding.Tracked()
		ix.around(c.Frontend, func(o *claim) {
			if o.order == c.order || o.VIP == c.VIP && o.order > c.order || !c.Overlaps(o.Frontend) {
				return // a pair on one network meets twice
			}
			later, first := c, o
			if first.order > later.order {
				later, first = first, later
			}
			ix.blame(b, later.service, first.service, later.Frontend, first.Frontend)
		})
	}
	if untracked {
		ix.compareUntracked(b)
	}
}

// compareUntracked notes exact frontends that would never see a packet.
func (ix *frontIndex) compareUntracked(b *builder) {
	for f, c := range ix.exact {
		ix.around(f, func(r *claim) {
			if c.forwarding != "" && r.Shadows(f, r.forwarding, c.forwarding) {
				b.wrong(b.vipOf(c.service, f.VIP), "two services need two addresses or two ports",
					"%s lies within %s of service %s, %s, which has forwarding %s: without connection tracking a range is looked up first",
					f, r.Frontend, r.name(), b.at(r.service).ref(), r.forwarding)
			}
		})
	}
}

// around calls fn for each range whose network is that of f or around it.
func (ix *frontIndex) around(f core.Frontend, fn func(*claim)) {
	for bits := f.VIP.Bits(); bits >= 0; bits-- {
		if !ix.bits[family(f.VIP)][bits] {
			continue
		}
		net, err := f.VIP.Addr().Prefix(bits)
		if err != nil {
			panic(err) // bits comes from the address
		}
		for _, n := range ix.nets[netKey{f.Protocol, net}] {
			fn(&ix.ranges[n])
		}
	}
}

// name is that of the service.
func (c *claim) name() string { return c.service[strings.LastIndex(c.service, ".")+1:] }

// blame notes at service path that its frontend f is taken by o of another
// service, or by itself.
func (ix *frontIndex) blame(b *builder, path, other string, f, o core.Frontend) {
	at := b.vipOf(path, f.VIP)
	name := other[strings.LastIndex(other, ".")+1:]
	const hint = "two services need two addresses or two ports"
	switch {
	case path == other && f == o:
		b.wrong(at, "", "%s stands here twice", f)
	case path == other:
		b.wrong(at, "", "%s and %s of the same service overlap", o, f)
	case f == o:
		b.wrong(at, hint, "service %s has this VIP, port and protocol already: %s, %s", name, f, b.at(other).ref())
	default:
		b.wrong(at, hint, "%s overlaps %s of service %s, %s", f, o, name, b.at(other).ref())
	}
}

// vipOf is where a service wrote the VIP down, or the nearest place to blame.
func (b *builder) vipOf(path string, vip netip.Prefix) string {
	s := b.raw.Services[path[len("services."):]]
	i := max(slices.IndexFunc(s.VIP, func(text string) bool {
		p, why, _ := prefix(text)
		return why == "" && p == vip
	}), 0)
	return b.item(join(path, "vip"), i)
}
