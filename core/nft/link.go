// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Services without connection tracking stand in the second table, of the family
// netdev, which sees packets as they come off the link:
//
//	ingress.eth0    one lookup in services4 or services6, as in the first table
//	svc-web         looks the client's position up in pos-web, and that is all
//	begin-web       the same for new connections of a position that moves
//	next-web        who gets the new flows of a position that moves
//	old-web         who had it before, and gets all flows that are not remembered
//	flows-web       the remembered flows
//	live-web        who may get flows at all
//	egress.eth0     answers4, answers6: who answers; back-web gives the answer the
//	                service's address again (stateless only)
//
// What moves, and when, is a deal's business.
const (
	kindPos     = "pos"
	kindOld     = "old"
	kindNext    = "next"
	kindFlows   = "flows"
	kindLive    = "live"
	kindBegin   = "begin"
	kindKeep    = "keep"
	kindSend    = "send"
	kindBare    = "bare"
	kindBack    = "back"
	kindBareBck = "backbare"
)

// flowsSize is how many flows of a service and a family are remembered at most.
// While that many are, moves wait: what is not remembered stays with the old owner.
const flowsSize = 65536

// everyBit is the largest modulus: a hash by it is the hash itself, less one.
const everyBit = 1<<32 - 1

// linked reports whether the service stands in the second table.
func linked(s *core.ServicePlan) bool { return s.Traffic != nil && !s.Forwarding.Tracked() }

// A linker compiles a service for the second table.
type linker struct {
	compiler
	deals   [2]*deal
	devices devices
}

// compileLink is compile for a service without connection tracking.
func compileLink(s *core.ServicePlan, deals [2]*deal, dev devices) *fragment {
	f := &fragment{name: s.Name, link: compileDeals(s, deals)}
	c := linker{compiler{s: s, f: f.link}, deals, dev}
	c.filter()
	for _, v6 := range c.families() {
		c.f.sets = append(c.f.sets, c.flows(v6))
		c.steady(v6)
	}
	for _, v6 := range c.families() {
		c.moving(v6)
	}
	c.refuse()
	if s.Forwarding == core.Stateless {
		c.answers(f)
	}
	c.frontends()
	return f
}

// compileDeals is only what a re-weight touches.
func compileDeals(s *core.ServicePlan, deals [2]*deal) *fragment {
	c := linker{compiler: compiler{s: s, f: &fragment{name: s.Name, netdev: true, deals: deals}}, deals: deals}
	for _, v6 := range c.families() {
		d := deals[index(v6)]
		c.f.sets = append(c.f.sets, c.positions(kindPos, v6, d.by), c.positions(kindNext, v6, d.by), c.positions(kindOld, v6, d.oldBy))
		live := c.live(v6)
		c.f.sets = append(c.f.sets, live)
		for i, o := range slices.Concat(d.owners[1:], d.former) {
			if first := slices.IndexFunc(d.owners, func(x owner) bool { return x.value == o.value }); first < 0 || first == i+1 {
				c.f.add(live, elem{key: []byte(o.value), comment: o.name + " " + o.addr})
			}
		}
	}
	return c.f
}

// value is what the maps hold of a backend, and what of a packet it goes into.
func (c *linker) value(v6 bool) (tuple, *source, operand) {
	if c.s.Forwarding == core.DSR {
		return tuple{tFrame}, frameSource(), frameAddrs()
	}
	return tuple{tAddr(v6)}, addrSource(v6), ipDaddr(v6)
}

func (c *linker) name(kind string, v6 bool) string { return nameOf(kind+six(v6), c.s.Name) }

// positions is a map from positions to backends.
func (c *linker) positions(kind string, v6 bool, by dealing) *set {
	data, of, _ := c.value(v6)
	return define(set{
		name: c.name(kind, v6), key: tuple{tInteger}, data: data, setDef: setDef{size: by.size},
		keyOf: numgenSource(unix.NFT_NG_INCREMENTAL, by.size), dataOf: of,
	})
}

func (c *linker) live(v6 bool) *set {
	key, of, _ := c.value(v6)
	return define(set{name: c.name(kindLive, v6), key: key, keyOf: of})
}

func (c *linker) flows(v6 bool) *set {
	data, of, _ := c.value(v6)
	key, keyOf := tuple{tInteger, tInteger, tPort, tPort}, flowSource(false)
	if c.s.Forwarding == core.DSR {
		key, keyOf = tuple{tInteger, tInteger, tInteger, tPort}, flowSource(true)
	}
	return define(set{
		name: c.name(kindFlows, v6), key: key, data: data, keyOf: keyOf, dataOf: of,
		setDef: setDef{flags: unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT, size: flowsSize},
	})
}

// position is `jhash ip saddr . th sport mod 4093 seed 0x1`.
func position(v6 bool, by dealing) operand {
	if by.key == core.BySourcePort {
		return jhash(concat(ipSaddr(v6), thSport()), by.size, by.seed)
	}
	return jhash(ipSaddr(v6), by.size, by.seed)
}

// flowKey tells flows apart in 16 bytes, which is all that nft 1.0.6 can handle:
// the hash that positions are made of, from which the position can be had whatever
// their number; a hash of the client's side and the ports; the client's port once
// more, or where there may be several a hash of the service's address; and the
// service's port.
func (c *linker) flowKey(v6 bool) operand {
	by := c.deals[index(v6)].by
	client := concat(ipSaddr(v6), metaL4proto(), thSport(), thDport())
	third := thSport()
	if c.s.Forwarding == core.DSR {
		third = jhash(ipDaddr(v6), everyBit, by.seed)
	}
	return concat(position(v6, dealing{everyBit, by.seed, by.key}), jhash(client, everyBit, by.seed^everyBit), third, thDport())
}

// to writes the backend into the packet.
func (c *linker) to(v6 bool, backend operand) clause {
	if c.s.Forwarding == core.DSR {
		return setFrame(backend)
	}
	return setAddr(v6, false, backend)
}

// port is that of the backends; 0 if they get the one that the client asked for.
func (c *linker) port() uint16 {
	for i := range c.s.Backends {
		return c.s.Backends[i].Addr.Port()
	}
	return 0
}

// translates reports whether ports are rewritten.
func (c *linker) translates() bool { return c.s.Forwarding == core.Stateless && c.port() != 0 }

// sent are the clauses that send a packet off which bears its backend, of a
// service that does not rewrite ports.
func (c *linker) sent(v6 bool) []clause {
	switch {
	case c.s.Forwarding == core.DSR:
		name := deviceOf(c.s, v6, c.devices)
		return []clause{fwdTo(name, c.devices[name])}
	case c.translates():
		return []clause{goTo(nameOf(kindSend, c.s.Name))}
	}
	return []clause{notrack(), accept()}
}

// steady is the one rule that packets meet while nothing moves:
//
//	@ll,0,96 set jhash ip saddr . th sport mod 4093 seed 0x1 map @pos-web fwd to "eth1"
//	meta l4proto tcp ip daddr set jhash ip saddr . th sport mod 4093 seed 0x1 map @pos-web tcp dport set 8080 notrack accept
func (c *linker) steady(v6 bool) {
	pos := c.to(v6, position(v6, c.deals[index(v6)].by).mapped(c.f.set(c.name(kindPos, v6))))
	if !c.translates() {
		c.rule(append([]clause{pos}, c.sent(v6)...)...)
		return
	}
	for _, p := range c.protocols() {
		rule := []clause{hidden(l4proto(p))}
		if p == core.UDP {
			rule = append(rule, udpChecksum(expr.CmpOpNeq))
		} else if c.s.HashKey == core.BySource {
			rule[0] = l4proto(p) // which the port of the hash would say, too
		}
		// What comes after these clauses names the protocol's ports, in nft's text.
		c.rule(append(rule, pos.of(p), setPort(p, false, c.port()), notrack(), accept())...)
		if p == core.UDP {
			c.rule(pos, c.sent(v6)[0])
		}
	}
}

// moving are the rules for flows whose position moves.
func (c *linker) moving(v6 bool) {
	d := c.deals[index(v6)]
	key, timeout := c.flowKey(v6), c.s.FlowTimeout
	flows, next := c.f.set(c.name(kindFlows, v6)), c.f.set(c.name(kindNext, v6))
	_, _, value := c.value(v6)
	remember := keep(flows, key, value, timeout)
	sent := c.sent(v6)
	then := func(list ...clause) []clause { return append(list, sent...) }

	c.rule(then(c.to(v6, key.mapped(flows)), value.in(c.f.set(c.name(kindLive, v6))), remember)...)
	if slices.Contains(c.protocols(), core.TCP) {
		begin := nameOf(kindBegin, c.s.Name)
		if c.f.chain(begin) == nil {
			c.rule(begins(), jump(begin))
		}
		number := position(v6, d.by).mapped(next)
		c.inChain(begin, then(c.to(v6, number), remember)...)
		// It could not be remembered, so it goes where its later packets will.
		c.inChain(begin, c.to(v6, number), back())
	}
	keeper := c.name(kindKeep, v6)
	c.rule(c.to(v6, position(v6, d.oldBy).mapped(c.f.set(c.name(kindOld, v6)))), goTo(keeper))
	c.rule(c.to(v6, position(v6, d.by).mapped(next)), goTo(keeper))
	c.inChain(keeper, then(remember)...)
	c.inChain(keeper, sent...)
}

// refuse answers what nobody takes, and new connections of positions whose owners
// take no more.
func (c *linker) refuse() {
	c.compiler.refuse()
	if begin := nameOf(kindBegin, c.s.Name); c.f.chain(begin) != nil {
		c.answer(begin, refusedName(c.s.Name), c.s.OnEmpty)
	}
	if !c.translates() {
		return
	}
	send, bare := nameOf(kindSend, c.s.Name), nameOf(kindBare, c.s.Name)
	for _, p := range c.protocols() {
		if p == core.UDP {
			c.inChain(bare, setPort("", false, c.port()), notrack(), accept())
			c.inChain(send, hidden(l4proto(p)), udpChecksum(expr.CmpOpEq), goTo(bare))
		}
		c.inChain(send, hidden(l4proto(p)), setPort(p, false, c.port()), notrack(), accept())
	}
}

// of is the clause with the ports of a protocol, as nft writes it where the rule
// has matched that before.
func (c clause) of(p core.Protocol) clause {
	c.text = protocolPorts(c.text, p)
	return c
}

// valueOf is what the maps hold of a backend; false if no packet can get to it.
func valueOf(s *core.ServicePlan, b *core.BackendPlan, dev devices) (string, bool) {
	if s.Forwarding == core.DSR {
		h := &b.Hop
		if h.MAC == [6]byte{} || h.Own == [6]byte{} || h.Device != deviceOf(s, b.Addr.Addr().Is6(), dev) {
			return "", false
		}
		return string(h.MAC[:]) + string(h.Own[:]), true
	}
	return string(b.Addr.Addr().AsSlice()), true
}

// deviceOf is the interface by which frames of a family leave: that of the first
// backend of which one is known.
func deviceOf(s *core.ServicePlan, v6 bool, dev devices) string {
	for i := range s.Backends {
		if b := &s.Backends[i]; b.Addr.Addr().Is6() == v6 && dev.has(b.Hop.Device) {
			return b.Hop.Device
		}
	}
	return s.Interfaces[0] // nothing is sent to nobody
}
