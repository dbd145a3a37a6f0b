// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// planRead is what the table says of a service's plan: the frontends, and the
// backends with their slots.
func planRead(name string, f *fragment) *core.ServicePlan {
	p := planReader{f: f, backends: map[backendKey]*core.BackendPlan{}}
	s := &core.ServicePlan{Name: name, Traffic: &core.Traffic{Frontends: p.frontends()}}
	for _, e := range f.elems {
		if kind, ok := connKinds[e.set.name]; ok {
			p.counted(kind, e.list)
		}
	}
	for i := range f.maps {
		if isSpare(f.maps[i].set.name) {
			continue
		}
		for _, iv := range f.maps[i].intervals {
			p.backend(iv.name, iv.addr).Slots += iv.end - iv.start
		}
		p.ring(&f.maps[i])
	}
	if f.link != nil {
		p.dealtTo(f.link)
		s.Forwarding = forwardingOf(f.link)
	}
	p.answering()
	p.pinned()
	for _, b := range p.backends {
		b.Alive = b.Alive || b.Slots > 0
		s.Backends = append(s.Backends, *b)
	}
	slices.SortFunc(s.Backends, func(x, y core.BackendPlan) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), x.Addr.Compare(y.Addr))
	})
	return s
}

// A planReader puts a service's plan together from elements.
type planReader struct {
	f        *fragment
	backends map[backendKey]*core.BackendPlan
}

func (p *planReader) frontends() (list []core.Frontend) {
	for _, s := range []*set{services4, services6, ranges4, ranges6} {
		elems := p.f.elemsOf(s.name)
		if p.f.link != nil {
			elems = slices.Concat(elems, p.f.link.elemsOf(s.name))
		}
		for _, e := range elems {
			if f, ok := parseFrontend(s, e.key, e.last); ok {
				list = append(list, f)
			}
		}
	}
	return list
}

// parseFrontend reads what frontFirst and frontLast wrote.
func parseFrontend(s *set, key, last []byte) (core.Frontend, bool) {
	if last == nil {
		last = key
	}
	n := int(s.key[0].size)
	if len(key) != n+8 || len(last) != n+8 {
		return core.Frontend{}, false
	}
	vip, ok := prefixOf(key[:n], last[:n])
	var protocol core.Protocol
	for _, p := range []core.Protocol{core.TCP, core.UDP, core.SCTP} {
		if p.Number() == key[n] {
			protocol = p
		}
	}
	ports := core.PortRange{First: binary.BigEndian.Uint16(key[n+4:]), Last: binary.BigEndian.Uint16(last[n+4:])}
	return core.Frontend{VIP: vip, Ports: ports, Protocol: protocol}, ok && protocol != ""
}

// counted takes the elements that count a service's connections.
func (p *planReader) counted(kind connKind, list []elem) {
	front := frontKey(kind.v6).size()
	for _, e := range list {
		_, name, ok := strings.Cut(e.comment, "/")
		if !ok || len(e.key) != connKey(kind.local, kind.v6).size() {
			continue
		}
		tail := e.key[front:]
		if kind.local {
			tail = tail[:2]
		}
		addr, err := parseTarget(tail)
		if err != nil {
			continue
		}
		p.backend(name, addr)
	}
}

// answering takes the backends that a stateless service hears of: those that are
// down, too.
func (p *planReader) answering() {
	keeps := false // whether backends keep the client's port
	known := map[backendKey]bool{}
	for key, b := range p.backends {
		known[key] = true
		keeps = keeps || b.Addr.Port() == 0
	}
	for _, sets := range answerSets {
		for _, s := range sets {
			for _, e := range p.f.elemsOf(s.name) {
				_, name, ok := strings.Cut(e.comment, "/")
				span, good := parseFrontend(s, e.key, e.last)
				if !ok || !good || known[backendKey{name, span.Addr().Is6()}] {
					continue
				}
				addr := netip.AddrPortFrom(span.Addr(), span.Ports.First)
				if keeps || !span.Ports.Single() {
					addr = netip.AddrPortFrom(span.Addr(), 0)
				}
				p.backend(name, addr)
			}
		}
	}
}

// pinned finds the backends that take no new connections and live: clients are
// pinned to them.
func (p *planReader) pinned() {
	for i, v6 := range []bool{false, true} {
		for _, e := range p.f.elemsOf(nameOf([]string{kindPins, kindPins6}[i], p.f.name)) {
			if b := p.backends[backendKey{e.comment, v6}]; b != nil {
				b.Alive = true
			}
		}
	}
}

// ring counts the places that backends have in a table, and makes slots of them.
func (p *planReader) ring(m *weightMap) {
	names := map[netip.AddrPort]string{}
	for key, b := range p.backends {
		names[b.Addr] = key.name
	}
	for _, k := range m.ring {
		if name, ok := names[m.targets[k]]; ok {
			p.backend(name, m.targets[k]).Slots++
		}
	}
	left := uint32(core.Slots) // what rounding leaves is the last backend's, so that they add up
	var last *core.BackendPlan
	for _, addr := range m.targets {
		name, ok := names[addr]
		if !ok {
			continue
		}
		if b := p.backend(name, addr); b.Slots > 0 {
			b.Slots = uint32(uint64(b.Slots) * core.Slots / uint64(len(m.ring)))
			left -= b.Slots
			last = b
		}
	}
	if last != nil {
		last.Slots += left
	}
}

func (p *planReader) backend(name string, addr netip.AddrPort) *core.BackendPlan {
	key := backendKey{name, addr.Addr().Is6()}
	b := p.backends[key]
	if b == nil {
		b = &core.BackendPlan{Name: name, Addr: addr}
		p.backends[key] = b
	}
	return b
}
