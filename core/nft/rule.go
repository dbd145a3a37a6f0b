// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Registers. Register 1 is the first of the 128-bit ones and starts at the same
// place as the 32-bit register 8. nft puts the parts of a concatenation one
// after the other from there, and so must we: it refuses to list what it would
// not have written itself.
const (
	reg    = 1
	word0  = 8
	words4 = 1 // 32-bit registers of an IPv4 address
	words6 = 4
)

// ctStatusDNAT is IPS_DST_NAT of the kernel's nf_conntrack_common.h.
const ctStatusDNAT = 1 << 5

// rule appends a rule to a chain.
func (b *batch) rule(table, chain string, exprs ...expr.Any) {
	b.nft(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	b.str(unix.NFTA_RULE_TABLE, table)
	b.str(unix.NFTA_RULE_CHAIN, chain)
	list := b.nest(unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range exprs {
		raw, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			// Only a wrong constant of this file gets here.
			panic(fmt.Sprintf("marshal %T: %v", e, err))
		}
		at := b.nest(unix.NFTA_LIST_ELEM)
		b.buf = append(b.buf, raw...)
		b.pad()
		b.unnest(at)
	}
	b.unnest(list)
	b.end()
}

// matchMeta is `meta KEY VALUE`.
func matchMeta(key expr.MetaKey, value byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{value}},
	}
}

func family(v6 bool) (nfproto byte, words uint32) {
	if v6 {
		return unix.NFPROTO_IPV6, words6
	}
	return unix.NFPROTO_IPV4, words4
}

// dispatch is `ip daddr . meta l4proto . th dport vmap @services4`, or its twin.
func dispatch(set sharedSet) []expr.Any {
	nfproto, words := family(set.v6())
	daddr, size := uint32(16), uint32(4) // in the IPv4 header
	if set.v6() {
		daddr, size = 24, 16
	}
	return append(matchMeta(expr.MetaKeyNFPROTO, nfproto),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: daddr, Len: size},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: word0 + words},
		&expr.Payload{DestRegister: word0 + words + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg, DestRegister: 0, IsDestRegSet: true, SetName: set.String()},
	)
}

// choose is `meta l4proto tcp dnat ip to numgen random mod 65536 map @w-web`.
// Where the map has no element for the number, the rule ends there.
func choose(s *core.ServicePlan) []expr.Any {
	nfproto, words := family(s.VIP.Is6())
	weights := weightsName(s.Name)
	return append(matchMeta(expr.MetaKeyL4PROTO, s.Protocol.Number()),
		&expr.Numgen{Register: reg, Modulus: core.Slots, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Lookup{SourceRegister: reg, DestRegister: reg, IsDestRegSet: true, SetName: weights},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nfproto), RegAddrMin: reg, RegProtoMin: word0 + words},
	)
}

// refuse counts and answers what choose let fall through:
// `meta l4proto tcp counter name "refused-web" reject with tcp reset`.
func refuse(s *core.ServicePlan) []expr.Any {
	count := &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: refusedName(s.Name)}
	switch {
	case s.OnEmpty == core.Drop:
		return []expr.Any{count, &expr.Verdict{Kind: expr.VerdictDrop}}
	case s.Protocol == core.TCP:
		return append(matchMeta(expr.MetaKeyL4PROTO, s.Protocol.Number()),
			count, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	default:
		return []expr.Any{count, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
	}
}

// skipUnchosen is `ct status ! dnat accept`: what nobody redirected is not ours.
func skipUnchosen() []expr.Any {
	zero := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: hostUint32(ctStatusDNAT), Xor: zero},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: zero},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// account looks the connection up by what the client asked for and by who will
// answer; the lookup counts. `accept` ends the chain, so that a service without
// masquerade costs one lookup.
//
// The backend is taken from the reply's tuple and not from the packet, because
// nft cannot read its own listing of the latter again.
func account(set sharedSet, p core.Protocol) []expr.Any {
	_, words := family(set.v6())
	dst, src := expr.CtKeyDSTIP, expr.CtKeySRCIP
	if set.v6() {
		dst, src = expr.CtKeyDSTIP6, expr.CtKeySRCIP6
	}
	proto := word0 + words // the register after the VIP
	e := append(matchMeta(expr.MetaKeyL4PROTO, p.Number()),
		&expr.Ct{Key: dst, Register: reg, Direction: expr.CtDirOriginal},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: proto},
		&expr.Ct{Key: expr.CtKeyPROTODST, Register: proto + 1, Direction: expr.CtDirOriginal},
		&expr.Ct{Key: src, Register: proto + 2, Direction: expr.CtDirReply},
		&expr.Ct{Key: expr.CtKeyPROTOSRC, Register: proto + 2 + words, Direction: expr.CtDirReply},
		&expr.Lookup{SourceRegister: reg, SetName: set.String()},
	)
	if set.forwarding() == core.Masquerade {
		return append(e, &expr.Masq{})
	}
	return append(e, &expr.Verdict{Kind: expr.VerdictAccept})
}
