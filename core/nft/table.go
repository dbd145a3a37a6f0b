// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Data types of nft's datatype.h, by which the kernel only tells keys apart and
// nft lists them. The types of a concatenation stand in six bits each.
const (
	typeInteger     = 4
	typeIPAddr      = 7
	typeIP6Addr     = 8
	typeInetProto   = 12
	typeInetService = 13
	typeBits        = 6
	dataVerdict     = 0xffff_ff00 // NFT_DATA_VERDICT
	nfAccept        = 1           // NF_ACCEPT
	priorityDstnat  = -100        // NF_IP_PRI_NAT_DST
	prioritySrcnat  = 100         // NF_IP_PRI_NAT_SRC
	hookPrerouting  = 0           // NF_INET_PRE_ROUTING
	hookOutput      = 3           // NF_INET_LOCAL_OUT
	hookPostrouting = 4           // NF_INET_POST_ROUTING
)

func concatType(types ...uint32) (t uint32) {
	for _, x := range types {
		t = t<<typeBits | x
	}
	return t
}

func addrType(v6 bool) (typ, size uint32) {
	if v6 {
		return typeIP6Addr, 16
	}
	return typeIPAddr, 4
}

func hostUint32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// newTable creates the table, or takes an orphan with the same flags over.
func (b *batch) newTable(table string, flags uint32) {
	b.nft(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	b.str(unix.NFTA_TABLE_NAME, table)
	b.u32(unix.NFTA_TABLE_FLAGS, flags)
	b.bytes(nftaTableUserdata, comment(layout))
	b.end()
}

func (b *batch) delTable(table string) {
	b.nft(unix.NFT_MSG_DELTABLE, 0)
	b.str(unix.NFTA_TABLE_NAME, table)
	b.end()
}

// skeleton is the table without services. With replace it takes the place of
// the table that stands there under that name; no packet sees the moment in
// between.
func (b *batch) skeleton(table string, flags uint32, replace bool) {
	if replace {
		b.delTable(table)
	}
	b.newTable(table, flags)
	for s := range sharedSets {
		b.sharedSet(table, s)
	}
	b.hookedChain(table, chainPrerouting, hookPrerouting, priorityDstnat)
	b.hookedChain(table, chainOutput, hookOutput, priorityDstnat)
	b.hookedChain(table, chainAccount, hookPostrouting, prioritySrcnat-1)
	for _, chain := range []string{chainPrerouting, chainOutput} {
		b.rule(table, chain, dispatch(services4)...)
		b.rule(table, chain, dispatch(services6)...)
	}
	b.rule(table, chainAccount, skipUnchosen()...)
	for _, r := range accountRules {
		b.rule(table, chainAccount, account(r.set, r.protocol)...)
	}
}

// accountRules stand in the order of what is likely: each rule that does not
// match costs a new connection a few instructions.
var accountRules = []struct {
	set      sharedSet
	protocol core.Protocol
}{
	{conns4, core.TCP}, {masq4, core.TCP}, {conns6, core.TCP}, {masq6, core.TCP},
	{conns4, core.UDP}, {masq4, core.UDP}, {conns6, core.UDP}, {masq6, core.UDP},
}

func (b *batch) sharedSet(table string, s sharedSet) {
	addr, size := addrType(s.v6())
	keyType, keyLen := concatType(addr, typeInetProto, typeInetService), size+8
	if s.isServices() {
		b.newSet(table, s.String(), unix.NFT_SET_MAP, keyType, keyLen)
		b.u32(unix.NFTA_SET_DATA_TYPE, dataVerdict)
		b.u32(unix.NFTA_SET_DATA_LEN, 0)
		b.setSize(servicesSize)
		b.end()
		return
	}
	b.newSet(table, s.String(), 0, concatType(keyType, addr, typeInetService), keyLen+size+4)
	b.setSize(connsSize)
	e := b.nest(nftaSetExpr)
	b.str(unix.NFTA_EXPR_NAME, "counter")
	b.unnest(b.nest(unix.NFTA_EXPR_DATA))
	b.unnest(e)
	b.end()
}

// weightsMap is the empty map of a service's slots.
func (b *batch) weightsMap(table string, s *core.ServicePlan) {
	v6 := s.VIP.Is6()
	addr, size := addrType(v6)
	b.newSet(table, weightsName(s.Name), unix.NFT_SET_MAP|unix.NFT_SET_INTERVAL, typeInteger, 4)
	b.u32(unix.NFTA_SET_DATA_TYPE, concatType(addr, typeInetService))
	b.u32(unix.NFTA_SET_DATA_LEN, size+4)
	b.bytes(unix.NFTA_SET_USERDATA, weightsUserdata(v6, s.Protocol))
	b.end()
}

// newSet begins the message that makes a set; the caller adds what is special
// and ends it.
func (b *batch) newSet(table, name string, flags, keyType, keyLen uint32) {
	b.nft(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.setID++
	b.str(unix.NFTA_SET_TABLE, table)
	b.str(unix.NFTA_SET_NAME, name)
	b.u32(unix.NFTA_SET_FLAGS, flags)
	b.u32(unix.NFTA_SET_KEY_TYPE, keyType)
	b.u32(unix.NFTA_SET_KEY_LEN, keyLen)
	b.u32(unix.NFTA_SET_ID, b.setID)
}

func (b *batch) setSize(n uint32) {
	at := b.nest(unix.NFTA_SET_DESC)
	b.u32(unix.NFTA_SET_DESC_SIZE, n)
	b.unnest(at)
}

func (b *batch) delSet(table, name string) {
	b.nft(unix.NFT_MSG_DELSET, 0)
	b.str(unix.NFTA_SET_TABLE, table)
	b.str(unix.NFTA_SET_NAME, name)
	b.end()
}

func (b *batch) newChain(table, name string) {
	b.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.str(unix.NFTA_CHAIN_TABLE, table)
	b.str(unix.NFTA_CHAIN_NAME, name)
	b.end()
}

// hookedChain is `type nat hook … priority …; policy accept;`.
func (b *batch) hookedChain(table, name string, hook uint32, priority int32) {
	b.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.str(unix.NFTA_CHAIN_TABLE, table)
	b.str(unix.NFTA_CHAIN_NAME, name)
	at := b.nest(unix.NFTA_CHAIN_HOOK)
	b.u32(unix.NFTA_HOOK_HOOKNUM, hook)
	b.u32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
	b.unnest(at)
	b.u32(unix.NFTA_CHAIN_POLICY, nfAccept)
	b.str(unix.NFTA_CHAIN_TYPE, "nat")
	b.end()
}

func (b *batch) delChain(table, name string) {
	b.nft(unix.NFT_MSG_DELCHAIN, 0)
	b.str(unix.NFTA_CHAIN_TABLE, table)
	b.str(unix.NFTA_CHAIN_NAME, name)
	b.end()
}

// delRules removes all rules of a chain.
func (b *batch) delRules(table, chain string) {
	b.nft(unix.NFT_MSG_DELRULE, 0)
	b.str(unix.NFTA_RULE_TABLE, table)
	b.str(unix.NFTA_RULE_CHAIN, chain)
	b.end()
}

func (b *batch) newCounter(table, name string, from counter) {
	b.nft(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.str(unix.NFTA_OBJ_TABLE, table)
	b.str(unix.NFTA_OBJ_NAME, name)
	b.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	b.counterData(unix.NFTA_OBJ_DATA, from)
	b.end()
}

func (b *batch) delCounter(table, name string) {
	b.nft(unix.NFT_MSG_DELOBJ, 0)
	b.str(unix.NFTA_OBJ_TABLE, table)
	b.str(unix.NFTA_OBJ_NAME, name)
	b.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	b.end()
}
