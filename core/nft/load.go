// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// A snapshot is what a table of our layout holds.
type snapshot struct {
	shared   *fragment
	services map[string]*held
	// wrong says what the table holds that no plan makes. Such a table is
	// replaced by the next Sync.
	wrong error
}

// held is what is known of a service in the kernel: the plan that was written,
// or what was read.
type held struct {
	plan *core.ServicePlan
	seat seat
	read *fragment // nil when it is what compile makes of the plan
	// tables are the weights maps where they are costly to make again.
	tables  []weightMap
	unknown bool // the weights in the kernel may differ
	// deals and devices are of services in the second table: see compileLink.
	deals   [2]*deal
	devices devices
}

// newHeld is a plan that was just written as f.
func newHeld(s *core.ServicePlan, f *fragment, dev devices) *held {
	h := &held{plan: clonePlan(s), devices: dev}
	if linked(s) {
		h.deals = f.link.deals
		return h
	}
	h.seat = seatOf(f)
	if s.Distribution != core.Random {
		h.tables = f.maps
	}
	return h
}

// seatOf is the seat that f was made for.
func seatOf(f *fragment) seat {
	for i := range f.maps {
		return f.maps[i].seat
	}
	return seat{}
}

// weights is what a re-weight of the service begins with.
func (h *held) weights() *fragment {
	if linked(h.plan) {
		return &fragment{name: h.plan.Name, link: compileDeals(h.plan, h.deals)}
	}
	if h.tables == nil {
		return compileWeights(h.plan, h.seat)
	}
	c := compiler{h.plan, &fragment{name: h.plan.Name, maps: h.tables}, h.seat}
	for i := range h.tables {
		c.f.sets = append(c.f.sets, h.tables[i].set)
	}
	for _, v6 := range c.clientFamilies() {
		c.pins(v6)
	}
	return c.f
}

func (h *held) fragment() *fragment {
	if h == nil {
		return nil
	}
	if h.read != nil {
		return h.read
	}
	if linked(h.plan) {
		return compileLink(h.plan, h.deals, h.devices)
	}
	return compileAt(h.plan, h.seat)
}

// A loader puts a snapshot together.
type loader struct {
	*snapshot
	sets map[string]*set
}

// load reads the table. It must have our layout.
func (a *Applier) load(ctx context.Context) (*snapshot, error) {
	l := loader{&snapshot{shared: &fragment{}, services: map[string]*held{}}, map[string]*set{}}
	for _, step := range []func(context.Context, *loader) error{
		a.loadSets, a.loadChains, a.loadObjects, a.loadElements, a.loadWeights, a.loadFlowtables, a.loadLink,
	} {
		if err := step(ctx, &l); err != nil {
			return nil, err
		}
	}
	for name, h := range l.services {
		h.plan = planRead(name, h.read)
		if h.read.link != nil && l.shared.link != nil {
			h.plan.Interfaces = l.shared.link.interfaces()
		}
	}
	return l.snapshot, nil
}

func (l *loader) complain(format string, args ...any) {
	if l.wrong == nil {
		l.wrong = fmt.Errorf(format, args...)
	}
}

// part is where something of that name belongs.
func (l *loader) part(name string) *fragment {
	return l.service(serviceOf(name))
}

func (l *loader) service(name string) *fragment {
	if name == "" {
		return l.shared
	}
	h := l.services[name]
	if h == nil {
		h = &held{read: &fragment{name: name}}
		l.services[name] = h
	}
	return h.read
}

func (a *Applier) loadSets(_ context.Context, l *loader) error {
	return a.w.dump(unix.NFT_MSG_GETSET, a.table, unix.NFTA_SET_TABLE, func(body []byte) error {
		s, err := parseSet(body)
		if err != nil {
			l.complain("%w", err)
			return nil
		}
		if l.sets[s.name] == nil {
			l.sets[s.name] = s
			f := l.part(s.name)
			f.sets = append(f.sets, s)
		}
		return nil
	})
}

func (a *Applier) loadChains(_ context.Context, l *loader) error {
	chains := map[string]*chain{}
	var order []string
	err := a.w.dump(unix.NFT_MSG_GETCHAIN, a.table, unix.NFTA_CHAIN_TABLE, func(body []byte) error {
		c := &chain{name: text(find(body, unix.NFTA_CHAIN_NAME))}
		if h := find(body, unix.NFTA_CHAIN_HOOK); h != nil {
			c.hook = &hook{
				kind: text(find(body, unix.NFTA_CHAIN_TYPE)), num: be32(find(h, unix.NFTA_HOOK_HOOKNUM)),
				priority: int32(be32(find(h, unix.NFTA_HOOK_PRIORITY))),
			}
		}
		if c.hook != nil && find(find(body, unix.NFTA_CHAIN_HOOK), unix.NFTA_HOOK_DEV) != nil {
			c.hook.kind += "@" + text(find(find(body, unix.NFTA_CHAIN_HOOK), unix.NFTA_HOOK_DEV))
		}
		if chains[c.name] == nil {
			chains[c.name] = c
			order = append(order, c.name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	seen := map[uint64]bool{} // rules, by handle: a dump may be begun again
	err = a.w.dump(unix.NFT_MSG_GETRULE, a.table, unix.NFTA_RULE_TABLE, func(body []byte) error {
		c, handle := chains[text(find(body, unix.NFTA_RULE_CHAIN))], be64(find(body, unix.NFTA_RULE_HANDLE))
		if c != nil && !seen[handle] {
			seen[handle] = true
			c.rules = append(c.rules, rule{raw: slices.Clone(find(body, unix.NFTA_RULE_EXPRESSIONS))})
		}
		return nil
	})
	for _, name := range order {
		f := l.part(name)
		if chains[name].hook != nil {
			f = l.shared // its name may have an interface's, and that a dash
		}
		f.chains = append(f.chains, *chains[name])
	}
	return err
}

func (a *Applier) loadObjects(_ context.Context, l *loader) error {
	return a.w.dump(unix.NFT_MSG_GETOBJ, a.table, unix.NFTA_OBJ_TABLE, func(body []byte) error {
		o := object{name: text(find(body, unix.NFTA_OBJ_NAME)), kind: be32(find(body, unix.NFTA_OBJ_TYPE))}
		data := find(body, unix.NFTA_OBJ_DATA)
		if o.kind == unix.NFT_OBJECT_COUNTER {
			o.from = parseCounter(data)
		} else {
			o.raw = slices.Clone(data)
		}
		f := l.part(o.name)
		if f.object(o.name, o.kind) == nil {
			f.objects = append(f.objects, o)
		}
		return nil
	})
}

// loadElements reads the elements that are ours to write, but for the weights.
func (a *Applier) loadElements(ctx context.Context, l *loader) error {
	for name, s := range l.sets {
		if s.dynamic() || isWeights(name) || isDealMap(name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		list, err := a.w.elementsOf(a.table, s)
		if err != nil {
			return err
		}
		for _, e := range list {
			l.element(s, e)
		}
	}
	return nil
}

func (a *Applier) loadFlowtables(_ context.Context, l *loader) error {
	list, err := a.flowtables()
	for _, t := range list {
		if t.name != nameFlows {
			l.complain("flowtable %q is none of ours", t.name)
			continue
		}
		l.shared.flow = t
	}
	return err
}

// element files an element: with the service whose set it is in, whose chain it
// leads to, or whose name is in its comment.
func (l *loader) element(s *set, e elem) {
	name := serviceOf(s.name)
	if name == "" {
		name, _, _ = strings.Cut(e.comment, "/")
	}
	if name == "" {
		l.complain("set %s: an element without a service", s.name)
		return
	}
	l.service(name).add(s, e)
}

// loadWeights reads the weights maps.
func (a *Applier) loadWeights(ctx context.Context, l *loader) error {
	var list []mapOf
	for name, h := range l.services {
		h.seat = seatRead(h.read)
		maps := []*set{l.sets[h.seat.group], l.sets[spareOf(h.seat.group)]}
		if !h.seat.shared() {
			maps = h.read.sets
		}
		for _, s := range maps {
			if s != nil && isWeights(s.name) {
				list = append(list, mapOf{name, s, h.seat})
			}
		}
	}
	return a.readWeights(ctx, list, func(i int, m weightMap, err error) {
		h := l.services[list[i].service]
		if err != nil {
			h.unknown = true // the next change writes it whole
			m = weightMap{set: list[i].set, service: m.service}
			if list[i].seat.shared() {
				l.complain("map %s: %w", m.set.name, err)
			}
		}
		m.intervals, m.targets = slices.Clone(m.intervals), slices.Clone(m.targets)
		h.read.maps = append(h.read.maps, m)
	})
}

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

// seed lets what to has go on counting where from has come to.
func seed(to, from *fragment) {
	if from == nil {
		return
	}
	for i := range to.objects {
		if o := from.object(to.objects[i].name, to.objects[i].kind); o != nil {
			to.objects[i].from = o.from
		}
	}
	for i := range to.elems {
		if !to.elems[i].set.counter {
			continue
		}
		counts := map[string]counter{}
		for _, e := range from.elemsOf(to.elems[i].set.name) {
			counts[e.id()] = e.counter
		}
		for k := range to.elems[i].list {
			e := &to.elems[i].list[k]
			e.counter = counts[e.id()]
		}
	}
}
