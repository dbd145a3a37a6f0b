// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
	"golang.org/x/sys/unix"
)

// What limits keep is in the table's own objects, and none of it in the rules of
// the service's chain: those may be written anew for another reason, and the
// state would be gone.
//
//	rate-web                       object: how many new connections are left
//	clientrate-web, -open, -resets sets: the same for each client
//	count-web                      chain: of the one rule that holds the open connections
//
// Each limit leads to a chain of its reason's name, which turns away.

// kindCount is the chain whose rule counts open connections.
const kindCount = "count"

// A meter is what each element of a set measures, from the packet on that adds it.
// Exactly one of both is set.
type meter struct {
	rate core.Rate // limit rate over
	open uint32    // ct count over
}

// String is the meter as nft lists it.
func (m meter) String() string {
	if m.open > 0 {
		return fmt.Sprintf("ct count over %d", m.open)
	}
	return "limit " + rateText(m.rate, true)
}

// marshal is the meter as an expression.
func (m meter) marshal() []byte {
	raw, err := expr.Marshal(unix.NFPROTO_INET, m.expr())
	if err != nil {
		panic(fmt.Sprintf("marshal %v: %v", m, err)) // of a constant shape
	}
	return raw
}

func (m meter) expr() expr.Any {
	if m.open > 0 {
		return &expr.Connlimit{Count: m.open, Flags: expr.NFT_CONNLIMIT_F_INV}
	}
	return &expr.Limit{Type: expr.LimitTypePkts, Unit: expr.LimitTimeSecond, Rate: uint64(m.rate.PerSecond), Burst: m.rate.Burst, Over: true}
}

// parseMeter reads the expression of a set's elements. One that is no meter of
// ours comes out as one that nobody wants.
func parseMeter(raw []byte) meter {
	data := nlmsg.Find(raw, unix.NFTA_EXPR_DATA)
	switch nlmsg.Text(nlmsg.Find(raw, unix.NFTA_EXPR_NAME)) {
	case "", "counter":
		return meter{}
	case "connlimit":
		if nlmsg.Uint32(nlmsg.Find(data, expr.NFTA_CONNLIMIT_FLAGS)) == expr.NFT_CONNLIMIT_F_INV {
			return meter{open: nlmsg.Uint32(nlmsg.Find(data, expr.NFTA_CONNLIMIT_COUNT))}
		}
	case "limit":
		rate := nlmsg.Uint64(nlmsg.Find(data, unix.NFTA_LIMIT_RATE))
		if nlmsg.Uint64(nlmsg.Find(data, unix.NFTA_LIMIT_UNIT)) == 1 && nlmsg.Uint32(nlmsg.Find(data, unix.NFTA_LIMIT_FLAGS)) == unix.NFT_LIMIT_F_INV &&
			nlmsg.Uint32(nlmsg.Find(data, unix.NFTA_LIMIT_TYPE)) == unix.NFT_LIMIT_PKTS && rate <= 0xffff_ffff {
			return meter{rate: core.Rate{PerSecond: uint32(rate), Burst: nlmsg.Uint32(nlmsg.Find(data, unix.NFTA_LIMIT_BURST))}}
		}
	}
	return meter{rate: core.Rate{PerSecond: 0xffff_ffff, Burst: 0xffff_ffff}, open: 0xffff_ffff}
}

// defaultBurst is what nft does not write: NFT_LIMIT_PKT_BURST_DEFAULT.
const defaultBurst = 5

func rateText(r core.Rate, over bool) string {
	text := "rate "
	if over {
		text += "over "
	}
	text += fmt.Sprintf("%d/second", r.PerSecond)
	if r.Burst != defaultBurst {
		text += fmt.Sprintf(" burst %d packets", r.Burst)
	}
	return text
}

// newLimit is the object `limit NAME { rate over 100/second burst 50 packets }`.
func newLimit(name string, r core.Rate, over bool) object {
	var b batch
	b.u64(unix.NFTA_LIMIT_RATE, uint64(r.PerSecond))
	b.u64(unix.NFTA_LIMIT_UNIT, uint64(expr.LimitTimeSecond))
	b.u32(unix.NFTA_LIMIT_BURST, r.Burst)
	b.u32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
	if over {
		b.u32(unix.NFTA_LIMIT_FLAGS, unix.NFT_LIMIT_F_INV)
	}
	return object{name: name, kind: unix.NFT_OBJECT_LIMIT, word: "limit", text: "\t\t" + rateText(r, over) + "\n", raw: b.buf}
}

// limited is `limit name "rate-web"`.
func limited(name string) clause {
	return clause{text: fmt.Sprintf("limit name %q", name), exprs: []expr.Any{
		&expr.Objref{Type: unix.NFT_OBJECT_LIMIT, Name: name},
	}}
}

// openOver is `ct count over N`.
func openOver(n uint32) clause {
	m := meter{open: n}
	return clause{text: m.String(), exprs: []expr.Any{m.expr()}}
}

// metered is `update @clientrate-web { ip saddr }`, which matches what is above
// the meter. It does not where the set is full and does not know the key.
func (o operand) metered(s *set) clause {
	word, op := "add", uint32(unix.NFT_DYNSET_OP_ADD)
	if s.timeout > 0 {
		word, op = "update", unix.NFT_DYNSET_OP_UPDATE // which begins the timeout again
	}
	return clause{text: fmt.Sprintf("%s @%s { %s }", word, s.name, o.text), needs: o.needs, exprs: append(o.load(0),
		&expr.Dynset{SrcRegKey: register(0), SetName: s.name, Operation: op})}
}

// limits adds what new connections have to pass. A client's own limit comes before
// the service's, so that what it has too much of is not taken from the others.
func (c *compiler) limits() {
	l := &c.s.Limits
	c.limitClients(turnClientRate, meter{rate: l.NewPerClient})
	if l.New.PerSecond > 0 {
		c.f.objects = append(c.f.objects, newLimit(nameOf(turnRate, c.s.Name), l.New, true))
		c.rule(limited(nameOf(turnRate, c.s.Name)), c.turn(turnRate))
	}
	c.limitClients(turnClientOpen, meter{open: l.OpenPerClient})
	if l.Open > 0 {
		name := nameOf(kindCount, c.s.Name)
		c.inChain(name, openOver(l.Open), c.turn(turnOpen))
		c.rule(jump(name))
	}
}

// limitClients is `update @clientrate-web { ip saddr } goto clientrate-web`.
func (c *compiler) limitClients(kind string, m meter) {
	if m.open == 0 && m.rate.PerSecond == 0 {
		return
	}
	for _, s := range c.meters(kind, m) {
		c.rule(ipSaddr(s.key[0] == tIPv6).metered(s), c.turn(kind))
	}
}

// meters adds the sets of clients, one per family.
func (c *compiler) meters(kind string, m meter) (list []*set) {
	for _, v6 := range c.clientFamilies() {
		s := define(set{
			name: nameOf(kind+six(v6), c.s.Name), key: tuple{tAddr(v6)},
			setDef: setDef{flags: unix.NFT_SET_EVAL, size: c.s.Limits.Clients, meter: m, timeout: forgetAfter(m)},
		})
		c.f.sets = append(c.f.sets, s)
		list = append(list, s)
	}
	return list
}

// forgetAfter is how long after its last packet a client is known: until its
// bucket is full again, and a minute at least. One whose open connections are
// counted is forgotten by the kernel with the last of them.
func forgetAfter(m meter) time.Duration {
	if m.open > 0 {
		return 0
	}
	return max(time.Minute, time.Duration(m.rate.Burst/m.rate.PerSecond+1)*time.Second)
}

// clientFamilies are the families that clients come from.
func (c *compiler) clientFamilies() (list []bool) {
	for _, v6 := range []bool{false, true} {
		for _, f := range c.s.Frontends {
			if f.Addr().Is6() == v6 {
				list = append(list, v6)
				break
			}
		}
	}
	return list
}

// six is what the names of things for IPv6 end with.
func six(v6 bool) string {
	if v6 {
		return "6"
	}
	return ""
}
