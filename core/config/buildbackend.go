// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// sorryName is what the sorry server is called among the backends.
const sorryName = "sorry"

// sorryWeight is any weight: it is alone when it serves.
const sorryWeight = 100

func (s *build) backends() {
	taken := make(map[netip.AddrPort]string, len(s.raw.Backends))
	s.Backends = make([]core.Backend, 0, len(s.raw.Backends)+1)
	all := s.at("backends")
	for _, name := range inOrder(s.builder, all, s.raw.Backends) {
		rb := s.raw.Backends[name]
		be := core.Backend{Name: name, Weight: rb.Weight, Priority: rb.Priority, MaxConnections: rb.MaxConnections}
		path := join(all, name)
		s.place(&be, path, rb.Address, rb.Port, taken)
		s.forward(&be, path, rb)
		be.QoS = s.qos(path, rb.QoS)
		s.Backends = append(s.Backends, be)
	}
	s.sorry(taken)
	slices.SortFunc(s.Backends, func(x, y core.Backend) int { return strings.Compare(x.Name, y.Name) })
}

// sorry adds the sorry server to the backends, under its name.
func (s *build) sorry(taken map[netip.AddrPort]string) {
	r, path := s.raw.Sorry, s.at("sorry")
	if len(r.Address) == 0 && !s.written(join(path, "port")) {
		return
	}
	if _, dup := s.raw.Backends[sorryName]; dup {
		s.builder.wrong(join(s.at("backends"), sorryName), "give the backend another name", "%q is the name of the sorry server", sorryName)
		return
	}
	be := core.Backend{Name: sorryName, Weight: sorryWeight, Sorry: true}
	s.place(&be, path, r.Address, r.Port, taken)
	s.Backends = append(s.Backends, be)
}

// place fills in where a backend is.
func (s *build) place(be *core.Backend, path string, addresses []string, port uint16, taken map[netip.AddrPort]string) {
	if port == 0 {
		port = s.port
	}
	if s.raw.Forwarding == string(core.Local) {
		s.placeLocal(be, path, addresses, port)
	} else {
		s.placeRemote(be, path, addresses, port)
	}
	for i, a := range [...]netip.AddrPort{be.Addr, be.Alt} {
		if other, dup := taken[a]; dup && s.raw.Forwarding == string(core.Local) {
			s.builder.wrong(s.set(path, "port"), "", "backend %s has port %d already", other, port)
		} else if dup {
			s.builder.wrong(s.item(join(path, "address"), i), "", "backend %s has the address %s already", other, a)
		} else if a.Addr().IsValid() {
			taken[a] = be.Name
		}
	}
}

// placeLocal: the data plane knows a port, of both families, and probes ask it
// on the loopback address.
func (s *build) placeLocal(be *core.Backend, path string, addresses []string, port uint16) {
	if len(addresses) > 0 {
		s.builder.wrong(join(path, "address"), "leave it out", "with forwarding local a backend is a port of this node, and has no address")
	}
	if port == 0 && !s.partial && !s.spoilt[join(path, "port")] {
		s.spoil(s.builder.at(path), join(path, "port"), "a port of this node", "%s has no %q, and its service has several ports", be.Name, "port")
	}
	be.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func (s *build) placeRemote(be *core.Backend, path string, addresses []string, port uint16) {
	if len(addresses) == 0 && !s.spoilt[join(path, "address")] {
		s.spoil(s.builder.at(path), join(path, "address"), "address of the server", "%s has no %q", be.Name, "address")
	}
	if len(addresses) > 2 {
		s.builder.wrong(join(path, "address"), "make two backends of two servers", "a backend has one address per family")
		return
	}
	for i, text := range addresses {
		a, why, hint := host(text)
		if why == "" {
			why, hint = s.unfit(a, port)
		}
		if why == "" && be.Addr.IsValid() && be.Addr.Addr().Is4() == a.Is4() {
			why, hint = fmt.Sprintf("%s and %s are of one family", be.Addr.Addr(), a), "make two backends of two servers"
		}
		switch ap := netip.AddrPortFrom(a, port); {
		case why != "":
			s.builder.wrong(s.item(join(path, "address"), i), hint, "%s", why)
		case !be.Addr.IsValid():
			be.Addr = ap
		default:
			be.Alt = ap
		}
	}
	if be.Alt.IsValid() && be.Alt.Addr().Is6() == s.firstIs6() {
		be.Addr, be.Alt = be.Alt, be.Addr
	}
}

// unfit says why the address of a backend does not go with the frontends.
func (s *build) unfit(a netip.Addr, port uint16) (why, hint string) {
	if s.partial {
		return "", ""
	}
	if a.Is4() && !s.v4 || a.Is6() && !s.v6 {
		return fmt.Sprintf("%s and the VIP %s are not of one family", a, vipText(s.First())), "steelyard does not translate between IPv4 and IPv6"
	}
	for _, f := range s.Frontends {
		if f.VIP.Contains(a) && (port == 0 || f.Ports.First <= port && port <= f.Ports.Last) {
			return "the backend is the VIP itself: connections would go in a circle", "give the server's own address"
		}
	}
	return "", ""
}

func (s *build) firstIs6() bool { return len(s.Frontends) > 0 && s.First().Addr().Is6() }

func vipText(f core.Frontend) string {
	if f.VIP.IsSingleIP() {
		return f.Addr().String()
	}
	return f.VIP.String()
}

// forward fills in how packets reach one backend, where that is not as they
// reach the others.
func (s *build) forward(be *core.Backend, path string, rb *rawBackend) {
	own := core.Forwarding(rb.Forwarding)
	switch service := core.Forwarding(s.raw.Forwarding); {
	case own == "" || own == service:
		own = service
	case !service.Tracked() || service == core.Local:
		s.builder.wrong(join(path, "forwarding"), "leave it out", "with forwarding %s all backends of a service are reached in one way", service)
	default:
		be.Forwarding = own
	}
	if rb.Source == "" {
		return
	}
	at := join(path, "source")
	a, why, hint := host(rb.Source)
	switch {
	case why != "":
		s.builder.wrong(at, hint, "%s", why)
	case own != core.SNAT:
		s.builder.wrong(at, "set forwarding: snat, or leave it out", "source means nothing with forwarding %s", own)
	case be.Addr.IsValid() && !be.Alt.IsValid() && be.Addr.Addr().Is4() != a.Is4():
		s.builder.wrong(at, "", "%s and the address %s of the backend are not of one family", a, be.Addr.Addr())
	default:
		be.Source = a
	}
}
