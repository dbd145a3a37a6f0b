// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// A rule is one rule, as nft lists it and as the kernel takes it. Only shapes
// that nft itself could have written are used: it refuses to list others.
type rule struct {
	text string
	raw  []byte // the attributes of its expressions
}

// A clause is a part of a rule: a match or a statement.
type clause struct {
	text  string // empty for what nft leaves out
	needs byte   // the layer 3 family, as of an operand
	exprs []expr.Any
}

// newRule puts clauses together. The family that they need is matched once, before
// the first that needs it, as nft does.
func newRule(list ...clause) rule {
	var r rule
	var texts []string
	var family byte
	for _, c := range list {
		if c.needs != 0 && family == 0 {
			family = c.needs
			r.add(matchMeta(expr.MetaKeyNFPROTO, family)...)
		}
		r.add(c.exprs...)
		if c.text != "" {
			texts = append(texts, c.text)
		}
	}
	r.text = strings.Join(texts, " ")
	return r
}

func (r *rule) add(exprs ...expr.Any) {
	b := batch{buf: r.raw}
	for _, e := range exprs {
		if x, ok := e.(encoded); ok {
			b.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, x.raw)
			continue
		}
		raw, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			// Only a wrong constant of this package gets here.
			panic(fmt.Sprintf("marshal %T: %v", e, err))
		}
		b.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, raw)
	}
	r.raw = b.buf
}

// rule appends a rule to a chain.
func (b *batch) rule(chain string, r rule) {
	b.nft(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	b.str(unix.NFTA_RULE_TABLE, b.table)
	b.str(unix.NFTA_RULE_CHAIN, chain)
	b.bytes(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, r.raw)
	b.end()
}

// matchMeta is `meta KEY VALUE`.
func matchMeta(key expr.MetaKey, value byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{value}},
	}
}

func family(v6 bool) byte {
	if v6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

func ipText(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip"
}

// l4proto is `meta l4proto tcp`.
func l4proto(p core.Protocol) clause {
	return clause{text: "meta l4proto " + string(p), exprs: matchMeta(expr.MetaKeyL4PROTO, p.Number())}
}

// in is `OPERAND @SET`; where the elements have counters, it counts.
func (o operand) in(s *set) clause { return o.lookup(s, false) }

// notIn is `OPERAND != @SET`.
func (o operand) notIn(s *set) clause { return o.lookup(s, true) }

func (o operand) lookup(s *set, invert bool) clause {
	op := " @"
	if invert {
		op = " != @"
	}
	return clause{text: o.text + op + s.name, needs: o.needs, exprs: append(o.load(0),
		&expr.Lookup{SourceRegister: register(0), SetName: s.name, Invert: invert})}
}

// vmap is `OPERAND vmap @MAP`.
func (o operand) vmap(s *set) clause {
	return clause{text: o.text + " vmap @" + s.name, needs: o.needs, exprs: append(o.load(0),
		&expr.Lookup{SourceRegister: register(0), DestRegister: 0, IsDestRegSet: true, SetName: s.name})}
}

// dnatTo is `dnat ip to OPERAND`; port says that the operand ends with one.
func dnatTo(v6, port bool, to operand) clause {
	n := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(family(v6)), RegAddrMin: register(0)}
	if port {
		n.RegProtoMin = register(addrWords(v6))
	}
	return clause{text: "dnat " + ipText(v6) + " to " + to.text, needs: to.needs, exprs: append(to.load(0), n)}
}

// snatTo is `snat ip to OPERAND`.
func snatTo(v6 bool, to operand) clause {
	return clause{text: "snat " + ipText(v6) + " to " + to.text, needs: to.needs, exprs: append(to.load(0),
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(family(v6)), RegAddrMin: register(0)})}
}

// redirectTo is `redirect to :OPERAND`, a port of this node. As it does not say of
// which family it is, nft lists the match of the operand's.
func redirectTo(to operand) clause {
	text := "redirect to :" + to.text
	switch to.needs {
	case unix.NFPROTO_IPV4:
		text = "meta nfproto ipv4 " + text
	case unix.NFPROTO_IPV6:
		text = "meta nfproto ipv6 " + text
	}
	return clause{text: text, needs: to.needs, exprs: append(to.load(0),
		&expr.Redir{RegisterProtoMin: register(0), Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED})}
}

func addrWords(v6 bool) int {
	if v6 {
		return 4
	}
	return 1
}

// renew is `update @MAP { KEY : VALUE }`: it adds an element or renews its time.
// The value of one that is there stays.
func renew(s *set, key, value operand) clause {
	// The value begins at a 128-bit register, as nft has it.
	at := (key.words + 3) / 4 * 4
	exprs := append(key.load(0), value.load(at)...)
	return clause{
		text: fmt.Sprintf("update @%s { %s : %s }", s.name, key.text, value.text), needs: cmp.Or(key.needs, value.needs),
		exprs: append(exprs, &expr.Dynset{
			SrcRegKey: register(0), SrcRegData: register(at), SetName: s.name, Operation: uint32(unix.NFT_DYNSET_OP_UPDATE),
		}),
	}
}

// counted is `counter name "refused-web"`.
func counted(name string) clause {
	return clause{text: fmt.Sprintf("counter name %q", name), exprs: []expr.Any{
		&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name},
	}}
}

func verdict(text string, kind expr.VerdictKind, chain string) clause {
	return clause{text: text, exprs: []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}

func accept() clause             { return verdict("accept", expr.VerdictAccept, "") }
func drop() clause               { return verdict("drop", expr.VerdictDrop, "") }
func jump(chain string) clause   { return verdict("jump "+chain, expr.VerdictJump, chain) }
func goTo(chain string) clause   { return verdict("goto "+chain, expr.VerdictGoto, chain) }
func masquerade() clause         { return clause{text: "masquerade", exprs: []expr.Any{&expr.Masq{}}} }
func hostUint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// resetTCP is `reject with tcp reset`, and needs `meta l4proto tcp` before it.
func resetTCP() clause {
	return clause{text: "reject with tcp reset", exprs: []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}}
}

// reject is `reject`: port unreachable.
func reject() clause {
	return clause{text: "reject", exprs: []expr.Any{
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH},
	}}
}

// ctStatusDNAT is IPS_DST_NAT of the kernel's nf_conntrack_common.h.
const ctStatusDNAT = 1 << 5

// notDNAT is `ct status ! dnat`.
func notDNAT() clause {
	zero := make([]byte, 4)
	return clause{text: "ct status ! dnat", exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: register(0)},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: hostUint32(ctStatusDNAT), Xor: zero},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: zero},
	}}
}
