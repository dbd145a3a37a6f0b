// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// maxName is the longest name of a service or a backend. A comment holds two of
// them and a slash; at 128 bytes it stays clear of the 255 at which the length
// byte of nftables' own comment format wraps.
const maxName = 63

// serviceKey is what a packet is looked up by.
type serviceKey struct {
	vip      netip.Addr
	port     uint16
	protocol core.Protocol
}

func keyOf(s *core.ServicePlan) serviceKey { return serviceKey{s.VIP, s.Port, s.Protocol} }

func (k serviceKey) String() string {
	return netip.AddrPortFrom(k.vip, k.port).String() + "/" + string(k.protocol)
}

// checkPlan parts the services that can be applied from those that cannot, and
// says why. Of two services with one VIP, protocol and port the one in force
// wins, else the first.
func checkPlan(plan core.Plan, inForce map[string]*core.ServicePlan) ([]*core.ServicePlan, map[string]error) {
	owner := make(map[serviceKey]string, len(plan.Services))
	for i := range plan.Services {
		s := &plan.Services[i]
		if old := inForce[s.Name]; old != nil && keyOf(old) == keyOf(s) {
			owner[keyOf(s)] = s.Name
		}
	}
	refused := map[string]error{}
	seen := make(map[string]bool, len(plan.Services))
	good := make([]*core.ServicePlan, 0, len(plan.Services))
	for i := range plan.Services {
		s := &plan.Services[i]
		err := checkService(s)
		switch holder, taken := owner[keyOf(s)]; {
		case seen[s.Name]:
			err = fmt.Errorf("service %q stands in the plan twice", s.Name)
		case err == nil && taken && holder != s.Name:
			err = fmt.Errorf("service %s: %v is taken by service %s", s.Name, keyOf(s), holder)
		}
		if err != nil {
			if !seen[s.Name] {
				refused[s.Name] = err
			}
			continue
		}
		seen[s.Name], owner[keyOf(s)] = true, s.Name
		good = append(good, s)
	}
	return good, refused
}

// checkService refuses what the table cannot hold or could not be read back.
func checkService(s *core.ServicePlan) error {
	if err := checkName(s.Name); err != nil {
		return fmt.Errorf("service %q: %w", s.Name, err)
	}
	if err := checkAddr(s.VIP, s.Port); err != nil {
		return fmt.Errorf("service %s: VIP: %w", s.Name, err)
	}
	if s.Protocol != core.TCP && s.Protocol != core.UDP {
		return fmt.Errorf("service %s: protocol %q: want tcp or udp", s.Name, s.Protocol)
	}
	if s.Forwarding != core.DNAT && s.Forwarding != core.Masquerade {
		return fmt.Errorf("service %s: forwarding %q: want dnat or masquerade", s.Name, s.Forwarding)
	}
	if s.OnEmpty != core.Reject && s.OnEmpty != core.Drop {
		return fmt.Errorf("service %s: on empty %q: want reject or drop", s.Name, s.OnEmpty)
	}
	return checkBackends(s)
}

func checkBackends(s *core.ServicePlan) error {
	names := make(map[string]bool, len(s.Backends))
	addrs := make(map[netip.AddrPort]string, len(s.Backends))
	var sum uint64
	for i := range s.Backends {
		b := &s.Backends[i]
		if err := checkName(b.Name); err != nil {
			return fmt.Errorf("backend %s/%q: %w", s.Name, b.Name, err)
		}
		if err := checkAddr(b.Addr.Addr(), b.Addr.Port()); err != nil {
			return fmt.Errorf("backend %s/%s: %w", s.Name, b.Name, err)
		}
		if b.Addr.Addr().Is4() != s.VIP.Is4() {
			return fmt.Errorf("backend %s/%s: %v is not of the family of the VIP %v", s.Name, b.Name, b.Addr, s.VIP)
		}
		if names[b.Name] {
			return fmt.Errorf("backend %s/%s stands in the service twice", s.Name, b.Name)
		}
		if other, ok := addrs[b.Addr]; ok {
			return fmt.Errorf("backend %s/%s: %v is backend %s already", s.Name, b.Name, b.Addr, other)
		}
		names[b.Name], addrs[b.Addr] = true, b.Name
		sum += uint64(b.Slots)
	}
	if sum != 0 && sum != core.Slots {
		return fmt.Errorf("service %s: the slots add up to %d: want 0 or %d", s.Name, sum, core.Slots)
	}
	return nil
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

func checkAddr(a netip.Addr, port uint16) error {
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return fmt.Errorf("address %q: want an IPv4 or IPv6 address", a)
	case a.Zone() != "":
		return fmt.Errorf("address %v: a zone means nothing to nftables", a)
	case a.Is4In6():
		return fmt.Errorf("address %v: write it as IPv4: %v", a, a.Unmap())
	case port == 0:
		return fmt.Errorf("address %v: the port is 0", a)
	}
	return nil
}
