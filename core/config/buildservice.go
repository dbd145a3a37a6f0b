// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// A front is what must be different between two services.
type front struct {
	vip      netip.AddrPort
	protocol core.Protocol
}

func (b *builder) services() []core.Service {
	var out []core.Service
	taken := map[front]string{}
	for _, name := range inOrder(b, "services", b.raw.Services) {
		path := join("services", name)
		s := b.service(path, name, b.raw.Services[name])
		f := front{netip.AddrPortFrom(s.VIP, s.Port), s.Protocol}
		if other, dup := taken[f]; dup {
			b.wrong(b.set(path, "vip"), "two services need two addresses or two ports",
				"service %s has this VIP, port and protocol already: %s/%s, %s", other, f.vip, f.protocol, b.at(join("services", other)).ref())
		} else if s.VIP.IsValid() && s.Port != 0 && s.Protocol != "" {
			taken[f] = name
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y core.Service) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// ref is the place in a sentence.
func (p pos) ref() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

func (b *builder) service(path, name string, r rawService) core.Service {
	s := core.Service{
		Name: name, VIP: b.address(join(path, "vip"), r.VIP), Port: r.Port,
		Protocol: core.Protocol(r.Protocol), Forwarding: core.Forwarding(r.Forwarding), OnEmpty: core.OnEmpty(r.OnEmpty),
		Policy: r.Policy, Params: r.Params, Every: r.Every, Probes: r.Probes, Shaping: core.Shaping(r.Shaping),
	}
	b.checkPolicy(path, r)
	b.checkProbes(path, r)
	b.checkShaping(path, r)
	s.Backends = b.backends(path, s, r)
	return s
}

// address parses an address of a service or a backend; the zero Addr, and
// noted, if it is none.
func (b *builder) address(path, text string) netip.Addr {
	if b.spoilt[path] || text == "" && b.places[path] == (place{}) {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	hint := "an IP address, such as 192.0.2.10 or 2001:db8::10"
	switch {
	case err != nil:
		if ap, err := netip.ParseAddrPort(text); err == nil {
			hint = fmt.Sprintf("write the port as a key of its own: port: %d", ap.Port())
		}
		b.wrong(path, hint, "%q is no address", text)
	case a.Is4In6():
		b.wrong(path, "write "+a.Unmap().String(), "%s is an IPv4 address in the clothes of IPv6", text)
	case a.Zone() != "":
		b.wrong(path, "use an address that is not link-local", "%s has a zone", text)
	case a.Is6() && a.IsLinkLocalUnicast():
		b.wrong(path, "use an address that is not link-local", "%s is known on one link only, and nothing says on which", text)
	case a.IsMulticast() || a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240) || a.IsUnspecified():
		b.wrong(path, hint, "%s is not the address of one host", text)
	default:
		return a
	}
	return netip.Addr{}
}

func (b *builder) checkPolicy(path string, r rawService) {
	at := join(path, "policy")
	if b.spoilt[at] {
		return
	}
	known := append(names(b, "policies", b.raw.Policies), slices.Sorted(maps.Keys(b.opts.ShippedPolicies))...)
	if !slices.Contains(known, r.Policy) {
		b.wrong(at, oneOf(r.Policy, known), "unknown policy %q", r.Policy)
		return
	}
	params := b.opts.ShippedPolicies[r.Policy]
	if params == nil {
		return
	}
	for name := range r.Params {
		if !slices.Contains(params, name) {
			hint := oneOf(name, params)
			if len(params) == 0 {
				hint = "it has no parameters"
			}
			b.misplaced(join(path, "params."+name), hint, "policy %s has no parameter %q", r.Policy, name)
		}
	}
}

func (b *builder) checkProbes(path string, r rawService) {
	known := names(b, "probes", b.raw.Probes)
	for i, p := range r.Probes {
		at := join(path, "probes."+strconv.Itoa(i))
		switch {
		case !slices.Contains(known, p):
			b.wrong(at, oneOf(p, known), "unknown probe %q", p)
		case slices.Index(r.Probes, p) < i:
			b.wrong(at, "", "probe %q stands here twice", p)
		}
	}
}

func (b *builder) checkShaping(path string, r rawService) {
	at := join(path, "shaping")
	n := float64(len(r.Backends))
	if c := r.Shaping.Ceiling; n > 0 && c > 0 && c*n < 1-1e-9 && !b.spoilt[join(at, "ceiling")] {
		b.wrong(b.set(at, "ceiling"), fmt.Sprintf("at least %.3g for %d backends, or 0 for none", 1/n, len(r.Backends)),
			"with a ceiling of %g, %d backends cannot take all connections", c, len(r.Backends))
	}
	if r.Shaping.StaleAfter == 0 {
		return
	}
	for _, name := range r.Probes {
		p, ok := b.raw.Probes[name]
		if ok && p.Role == string(core.MetricRole) && r.Shaping.StaleAfter <= p.Interval {
			b.wrong(b.set(at, "stale_after"), "make it a few intervals long",
				"stale_after%s %s is not longer than the interval %s of probe %s: its readings would be stale before the next comes",
				b.byDefault(join(at, "stale_after")), short(r.Shaping.StaleAfter), short(p.Interval), name)
			return
		}
	}
}

func (b *builder) backends(path string, s core.Service, r rawService) []core.Backend {
	var out []core.Backend
	taken := map[netip.AddrPort]string{}
	for _, name := range inOrder(b, join(path, "backends"), r.Backends) {
		rb := r.Backends[name]
		at := join(join(path, "backends"), name)
		addr := netip.AddrPortFrom(b.address(join(at, "address"), rb.Address), cmp.Or(rb.Port, s.Port))
		b.checkBackend(at, s, addr)
		if other, dup := taken[addr]; dup {
			b.wrong(join(at, "address"), "", "backend %s has the address %s already", other, addr)
		} else if addr.Addr().IsValid() {
			taken[addr] = name
		}
		out = append(out, core.Backend{Name: name, Addr: addr, Weight: rb.Weight})
	}
	slices.SortFunc(out, func(x, y core.Backend) int { return strings.Compare(x.Name, y.Name) })
	return out
}

func (b *builder) checkBackend(path string, s core.Service, addr netip.AddrPort) {
	a := addr.Addr()
	if !a.IsValid() || !s.VIP.IsValid() {
		return
	}
	if a.Is4() != s.VIP.Is4() {
		b.wrong(join(path, "address"), "steelyard does not translate between IPv4 and IPv6",
			"%s and the VIP %s are not of one family", a, s.VIP)
		return
	}
	if addr == netip.AddrPortFrom(s.VIP, s.Port) {
		b.wrong(join(path, "address"), "give the server's own address", "the backend is the VIP itself: connections would go in a circle")
	}
}
