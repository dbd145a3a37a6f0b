// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// maxName is the longest name of a service or a backend. A comment holds two of
// them and a slash; at 128 bytes it stays clear of the 255 at which the length
// byte of nftables' own comment format wraps.
const maxName = 63

// checkPlan parts the services that can be applied from those that cannot, and
// says why, such as a missing one of the kernel's features. Of two services with one frontend the one in force wins, else the
// first. An exact frontend may stand inside another service's range: it is looked
// up first.
func checkPlan(plan core.Plan, inForce map[string]*held, features []core.Feature) ([]*core.ServicePlan, map[string]error) {
	var owners, answers owners
	for i := range plan.Services {
		s := &plan.Services[i]
		if h := inForce[s.Name]; h != nil && s.Traffic != nil && h.plan.Traffic != nil {
			owners.claim(s, h.plan)
		}
	}
	refused := map[string]error{}
	seen := make(map[string]bool, len(plan.Services))
	good := make([]*core.ServicePlan, 0, len(plan.Services))
	for i := range plan.Services {
		s := &plan.Services[i]
		err := checkService(s)
		switch {
		case seen[s.Name]:
			err = fmt.Errorf("service %q stands in the plan twice", s.Name)
		case err == nil:
			if err = lacking(features, s); err == nil {
				err = answers.takeAnswers(s)
			}
			if err == nil {
				err = owners.take(s)
			}
		}
		if err != nil {
			if !seen[s.Name] {
				refused[s.Name] = err
			}
			continue
		}
		seen[s.Name] = true
		good = append(good, s)
	}
	return good, refused
}

// checkService refuses what the table cannot hold or could not be read back.
func checkService(s *core.ServicePlan) error {
	if err := checkName(s.Name); err != nil {
		return fmt.Errorf("service %q: %w", s.Name, err)
	}
	if s.Traffic == nil || len(s.Frontends) == 0 {
		return fmt.Errorf("service %s: no frontend", s.Name)
	}
	for i, f := range s.Frontends {
		if err := checkFrontend(f); err != nil {
			return fmt.Errorf("service %s: VIP: %w", s.Name, err)
		}
		for _, o := range s.Frontends[:i] {
			if o.Overlaps(f) {
				return fmt.Errorf("service %s: %v and %v overlap", s.Name, o, f)
			}
		}
	}
	if s.OnEmpty != core.Reject && s.OnEmpty != core.Drop {
		return fmt.Errorf("service %s: on empty %q: want reject or drop", s.Name, s.OnEmpty)
	}
	if s.Distribution == core.Hash && s.Seed == 0 {
		return fmt.Errorf("service %s: hash seed 0: the kernel would take one of its own, and no other node the same", s.Name)
	}
	if err := checkTurn(s); err != nil {
		return err
	}
	if err := checkHelper(s); err != nil {
		return err
	}
	if linked(s) {
		if err := checkLink(s); err != nil {
			return fmt.Errorf("service %s: forwarding %s: %w", s.Name, s.Forwarding, err)
		}
	}
	return checkBackends(s)
}

func checkFrontend(f core.Frontend) error {
	if err := checkAddr(f.Addr()); err != nil {
		return err
	}
	switch {
	case f.VIP != f.VIP.Masked():
		return fmt.Errorf("network %v: write it as %v", f.VIP, f.VIP.Masked())
	case f.Ports.First > f.Ports.Last:
		return fmt.Errorf("ports %d to %d: the first is larger", f.Ports.First, f.Ports.Last)
	case f.Ports.Last == 0:
		return fmt.Errorf("address %v: the port is 0", f.Addr())
	case f.Protocol != core.TCP && f.Protocol != core.UDP && f.Protocol != core.SCTP:
		return fmt.Errorf("protocol %q: want tcp, udp or sctp", f.Protocol)
	}
	return nil
}

func checkBackends(s *core.ServicePlan) error {
	seen := map[backendKey]bool{}
	addrs := make(map[netip.AddrPort]string, len(s.Backends))
	var sum [2]uint64
	keeps := -1 // whether backends keep the client's port: the first that says
	for i := range s.Backends {
		b := &s.Backends[i]
		if err := checkBackend(s, b); err != nil {
			return fmt.Errorf("backend %s/%s: %w", s.Name, b.Name, err)
		}
		v6 := b.Addr.Addr().Is6()
		if key := (backendKey{b.Name, v6}); seen[key] {
			return fmt.Errorf("backend %s/%s stands in the service twice", s.Name, b.Name)
		} else {
			seen[key] = true
		}
		if other, ok := addrs[b.Addr]; ok {
			return fmt.Errorf("backend %s/%s: %v is backend %s already", s.Name, b.Name, b.Addr, other)
		}
		addrs[b.Addr] = b.Name
		if keep := index(b.Addr.Port() == 0); keeps >= 0 && keep != keeps {
			return fmt.Errorf("backend %s/%s: some backends keep the client's port and some do not", s.Name, b.Name)
		} else {
			keeps = keep
		}
		sum[index(v6)] += uint64(b.Slots)
	}
	for _, n := range sum {
		if n != 0 && n != core.Slots {
			return fmt.Errorf("service %s: the slots add up to %d: want 0 or %d", s.Name, n, core.Slots)
		}
	}
	return nil
}

type backendKey struct {
	name string
	v6   bool
}

func checkBackend(s *core.ServicePlan, b *core.BackendPlan) error {
	if err := checkName(b.Name); err != nil {
		return err
	}
	if err := checkQoS(b); err != nil {
		return err
	}
	if (b.Forwarding == core.Local) != (s.Forwarding == core.Local) {
		return fmt.Errorf("forwarding %s in a service with %s: local does not go with others", b.Forwarding, s.Forwarding)
	}
	if b.Forwarding == core.Local {
		if b.Addr.Addr() != loopback || b.Addr.Port() == 0 {
			return fmt.Errorf("%v: a backend of a local service is a port of this node, 127.0.0.1 and the port", b.Addr)
		}
		return nil
	}
	if (linked(s) || !b.Forwarding.Tracked()) && b.Forwarding != s.Forwarding {
		return fmt.Errorf("forwarding %s in a service with %s: dsr and stateless do not go with others", b.Forwarding, s.Forwarding)
	}
	if err := checkAddr(b.Addr.Addr()); err != nil {
		return err
	}
	v6 := b.Addr.Addr().Is6()
	if !slices.ContainsFunc(s.Frontends, func(f core.Frontend) bool { return f.Addr().Is6() == v6 }) {
		return fmt.Errorf("%v is not of the family of a VIP", b.Addr)
	}
	switch b.Forwarding {
	case core.DNAT, core.Masquerade, core.DSR, core.Stateless:
		return nil
	case core.SNAT:
		if !b.Source.IsValid() || b.Source.Is6() != v6 {
			return fmt.Errorf("forwarding snat: source %v: want an address of the backend's family", b.Source)
		}
		return nil
	}
	return fmt.Errorf("forwarding %q: want dnat, masquerade, snat, local, dsr or stateless", b.Forwarding)
}

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name of %d bytes: want 1 to %d", len(name), maxName)
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if alnum || i > 0 && (c == '-' || c == '_' || c == '.') {
			continue
		}
		return fmt.Errorf("the name has %q at byte %d: want letters, digits, and from the second byte on '-', '_' or '.'", c, i)
	}
	return nil
}

func checkAddr(a netip.Addr) error {
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return fmt.Errorf("address %q: want an IPv4 or IPv6 address", a)
	case a.Zone() != "":
		return fmt.Errorf("address %v: a zone means nothing to nftables", a)
	case a.Is4In6():
		return fmt.Errorf("address %v: write it as IPv4: %v", a, a.Unmap())
	}
	return nil
}
