// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// QoS marks packets for tc and policy routing, in both directions of a connection.
// The packet mark has to be there when the route is looked up, and so is set right
// after the choice of a backend:
//
//	chain marks        prerouting, priority dstnat + 1
//	chain markslocal   output, -99: what this node sends itself
//	chain qos          postrouting, priority mangle
//
// The class for tc and the DSCP are for what leaves the node, and ip_forward sets
// the class anew from the DSCP; they are set last. What is set stands in chains
// that all services share, one for each setting.

// The chains that find the connection, which are their maps' names too.
const (
	chainMarks      = "marks"
	chainMarksLocal = "markslocal"
	chainQoS        = "qos"
)

// marksPriority is after the choice, at -100.
const marksPriority = -99

var (
	markMaps = makeConnMaps(chainMarks, false)
	qosMaps  = makeConnMaps(chainQoS, false)
)

// qosNeeds is what the services of a plan want of QoS.
type qosNeeds struct {
	marks, classes packetNeed
	// chains are those that set something, by name.
	chains map[string][]rule
}

func newQoSNeeds() qosNeeds {
	return qosNeeds{packetNeed{}, packetNeed{}, map[string][]rule{}}
}

func (n *qosNeeds) add(f core.Frontend, b *core.BackendPlan) {
	if name := markChain(b.QoS); name != "" {
		n.marks.add(f, b)
		n.chains[name] = []rule{newRule(setMark(b.QoS.Mark, b.QoS.Mask))}
	}
	if name := qosChain(b.QoS, f.Addr().Is6()); name != "" {
		n.classes.add(f, b)
		n.chains[name] = qosRules(b.QoS, f.Addr().Is6())
	}
}

// markChain sets the mark of q; empty if there is none.
func markChain(q core.QoS) string {
	if q.Mask == 0 {
		return ""
	}
	return fmt.Sprintf("mark0x%x/0x%x", q.Mark, q.Mask)
}

// qosChain sets the rest of q; empty if there is nothing.
func qosChain(q core.QoS, v6 bool) string {
	name := ""
	if q.DSCP != nil {
		name = fmt.Sprintf(".dscp%d.ip%s", *q.DSCP, suffix(v6))
	}
	if q.Priority != nil {
		name += fmt.Sprintf(".class%x.%x", *q.Priority>>16, *q.Priority&0xffff)
	}
	if name == "" {
		return ""
	}
	return chainQoS + name
}

func qosRules(q core.QoS, v6 bool) (rules []rule) {
	if q.Priority != nil {
		rules = append(rules, newRule(setPriority(*q.Priority)))
	}
	if q.DSCP != nil {
		rules = append(rules, newRule(setDSCP(v6, *q.DSCP)))
	}
	return rules
}

// share adds the chains, and the maps that lead to them.
func (n *qosNeeds) share(f *fragment, localClients bool) {
	for _, name := range slices.Sorted(maps.Keys(n.chains)) {
		f.chains = append(f.chains, chain{name: name, rules: n.chains[name]})
	}
	balanced := newRule(notDNAT(), accept())
	if len(n.marks) > 0 {
		rules := append([]rule{balanced}, n.marks.share(f, markMaps)...)
		f.chains = append(f.chains, chain{chainMarks, &hook{"filter", unix.NF_INET_PRE_ROUTING, marksPriority, "prerouting priority dstnat + 1"}, rules})
		if localClients || n.marks.local() {
			// Of type route: the packet has a route already, and gets another.
			f.chains = append(f.chains, chain{chainMarksLocal, &hook{"route", unix.NF_INET_LOCAL_OUT, marksPriority, "output priority -99"}, rules})
		}
	}
	if len(n.classes) > 0 {
		rules := append([]rule{balanced}, n.classes.share(f, qosMaps)...)
		f.chains = append(f.chains, chain{chainQoS, &hook{"filter", unix.NF_INET_POST_ROUTING, -150, "postrouting priority mangle"}, rules})
	}
}

// qos adds the connections whose packets are marked.
func (c *compiler) qos() {
	c.eachConn(func(f core.Frontend, b *core.BackendPlan) {
		if name := markChain(b.QoS); name != "" {
			c.addConn(markMaps, f, b, "goto "+name)
		}
		if name := qosChain(b.QoS, f.Addr().Is6()); name != "" {
			c.addConn(qosMaps, f, b, "goto "+name)
		}
	})
}

// setMark is `meta mark set meta mark & 0xffffff1f | 0x00000010`. The other bits
// stay. nft lists the bits that are set as kept, since it makes no difference.
func setMark(value, mask uint32) clause {
	set := &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register(0)}
	if mask == 0xffff_ffff {
		return clause{text: fmt.Sprintf("meta mark set 0x%08x", value), exprs: []expr.Any{
			&expr.Immediate{Register: register(0), Data: hostUint32(value)}, set,
		}}
	}
	text := "meta mark set meta mark"
	if keep := ^mask | value; keep != 0xffff_ffff {
		text += fmt.Sprintf(" & 0x%08x", keep)
	}
	if value != 0 {
		text += fmt.Sprintf(" | 0x%08x", value)
	}
	return clause{text: text, exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register(0)},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: hostUint32(^mask), Xor: hostUint32(value)},
		set,
	}}
}

// setPriority is `meta priority set 1:20`.
func setPriority(class uint32) clause {
	text := fmt.Sprintf("%x:%x", class>>16, class&0xffff)
	switch class {
	case 0:
		text = "none"
	case 0xffff_ffff:
		text = "root"
	}
	return clause{text: "meta priority set " + text, exprs: []expr.Any{
		&expr.Immediate{Register: register(0), Data: hostUint32(class)},
		&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: register(0)},
	}}
}

// ipChecksumOffset is where the checksum of an IPv4 header stands; IPv6 has none.
const ipChecksumOffset = 10

// setDSCP is `ip dscp set ef`: the six bits, without the two for ECN.
func setDSCP(v6 bool, dscp uint8) clause {
	c := clause{text: ipText(v6) + " dscp set " + dscpText(dscp), needs: family(v6)}
	mask, value := []byte{0xff, 0x03}, []byte{0, dscp << 2}
	write := &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: register(0), Base: expr.PayloadBaseNetworkHeader, Len: 2,
		CsumType: expr.CsumTypeInet, CsumOffset: ipChecksumOffset,
	}
	if v6 {
		mask, value = []byte{0xf0, 0x3f}, []byte{dscp >> 2, dscp << 6}
		write.CsumType, write.CsumOffset = expr.CsumTypeNone, 0
	}
	c.exprs = []expr.Any{
		&expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseNetworkHeader, Len: 2},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 2, Mask: mask, Xor: value},
		write,
	}
	return c
}

// dscpText is the number as nft lists it, which has names for some.
func dscpText(dscp uint8) string {
	class, drop := dscp>>3, dscp&7
	switch {
	case drop == 0:
		return fmt.Sprintf("cs%d", class)
	case class >= 1 && class <= 4 && drop%2 == 0:
		return fmt.Sprintf("af%d%d", class, drop/2)
	case dscp == 1:
		return "lephb"
	case dscp == 44:
		return "va"
	case dscp == 46:
		return "ef"
	}
	return fmt.Sprintf("0x%02x", dscp)
}

// checkQoS refuses what a packet cannot carry.
func checkQoS(b *core.BackendPlan) error {
	q := b.QoS
	switch {
	case q.Active() && !b.Forwarding.Tracked():
		return fmt.Errorf("qos finds packets by their connection, and forwarding %s has none: leave it out", b.Forwarding)
	case q.DSCP != nil && *q.DSCP > 63:
		return fmt.Errorf("qos: dscp %d: want 0 to 63", *q.DSCP)
	case q.Mark&^q.Mask != 0:
		return fmt.Errorf("qos: mark 0x%x has bits outside of mask 0x%x", q.Mark, q.Mask)
	}
	return nil
}
