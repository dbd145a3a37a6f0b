// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// An operand is a value that a rule works with: a field of the packet, a fact of
// the connection, a number, or several of them side by side. It knows both how
// nft writes it and how the kernel loads it.
type operand struct {
	text string
	// needs is the layer 3 family that the packet must have, 0 for any. nft does
	// not write the match, and so a rule that has it begins with it.
	needs byte
	words int // 32-bit registers that it fills
	load  func(word int) []expr.Any
}

// register is the number of the register that begins at a 32-bit word, in the
// form in which the kernel tells it back: nft_parse_register and
// nft_dump_register of nf_tables_api.c.
func register(word int) uint32 {
	if word%4 == 0 {
		return uint32(1 + word/4)
	}
	return uint32(8 + word)
}

// concat is operands side by side: `ip daddr . tcp dport`.
func concat(list ...operand) operand {
	out := operand{}
	texts := make([]string, len(list))
	for i, o := range list {
		texts[i] = o.text
		out.words += o.words
		if o.needs != 0 {
			out.needs = o.needs
		}
	}
	out.text = strings.Join(texts, " . ")
	out.load = func(word int) (all []expr.Any) {
		for _, o := range list {
			all = append(all, o.load(word)...)
			word += o.words
		}
		return all
	}
	return out
}

// header is a field of a packet header.
func header(text string, needs byte, base expr.PayloadBase, offset, size uint32) operand {
	return operand{text: text, needs: needs, words: int(size+3) / 4, load: func(word int) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: register(word), Base: base, Offset: offset, Len: size}}
	}}
}

func ipSaddr(v6 bool) operand {
	if v6 {
		return header("ip6 saddr", unix.NFPROTO_IPV6, expr.PayloadBaseNetworkHeader, 8, 16)
	}
	return header("ip saddr", unix.NFPROTO_IPV4, expr.PayloadBaseNetworkHeader, 12, 4)
}

func ipDaddr(v6 bool) operand {
	if v6 {
		return header("ip6 daddr", unix.NFPROTO_IPV6, expr.PayloadBaseNetworkHeader, 24, 16)
	}
	return header("ip daddr", unix.NFPROTO_IPV4, expr.PayloadBaseNetworkHeader, 16, 4)
}

func thSport() operand { return header("th sport", 0, expr.PayloadBaseTransportHeader, 0, 2) }
func thDport() operand { return header("th dport", 0, expr.PayloadBaseTransportHeader, 2, 2) }

func metaL4proto() operand {
	return operand{text: "meta l4proto", words: 1, load: func(word int) []expr.Any {
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register(word)}}
	}}
}

// ct is a fact of the connection, in a direction.
func ct(text string, key expr.CtKey, dir uint32, words int) operand {
	return operand{text: text, words: words, load: func(word int) []expr.Any {
		return []expr.Any{&expr.Ct{Key: key, Register: register(word), Direction: dir}}
	}}
}

// ctAddr is an address of a connection: `ct original ip daddr`. It can be asked
// of any packet; one of the other family ends the rule.
func ctAddr(v6 bool, dir uint32, source bool) operand {
	key, field, words := expr.CtKeyDSTIP, "daddr", 1
	if source {
		key, field = expr.CtKeySRCIP, "saddr"
	}
	if v6 {
		key, words = key+expr.CtKeySRCIP6-expr.CtKeySRCIP, 4
	}
	return ct(fmt.Sprintf("ct %s %s %s", ctDirection(dir), ipText(v6), field), key, dir, words)
}

func ctDirection(dir uint32) string {
	if dir == expr.CtDirReply {
		return "reply"
	}
	return "original"
}

// ctPort is a port of a connection: `ct original proto-dst`.
func ctPort(dir uint32, source bool) operand {
	if source {
		return ct("ct "+ctDirection(dir)+" proto-src", expr.CtKeyPROTOSRC, dir, 1)
	}
	return ct("ct "+ctDirection(dir)+" proto-dst", expr.CtKeyPROTODST, dir, 1)
}

// numgen is a number below mod: `numgen random mod 65536`. ordered says that it
// is looked up among intervals, whose keys are in network byte order.
func numgen(kind uint32, mod uint32, ordered bool) operand {
	name := "random"
	if kind == unix.NFT_NG_INCREMENTAL {
		name = "inc"
	}
	return operand{text: fmt.Sprintf("numgen %s mod %d", name, mod), words: 1, load: func(word int) []expr.Any {
		r := register(word)
		list := []expr.Any{&expr.Numgen{Register: r, Modulus: mod, Type: kind}}
		if ordered {
			list = append(list, hton(r))
		}
		return list
	}}
}

func hton(r uint32) expr.Any {
	return &expr.Byteorder{SourceRegister: r, DestRegister: r, Op: expr.ByteorderHton, Len: 4, Size: 4}
}

// masked is an address cut to its first bits: `ip saddr & 255.255.255.0`.
func (o operand) masked(bits int) operand {
	size := 4 * o.words
	if bits >= 8*size {
		return o
	}
	ones := make([]byte, size)
	for i := range ones {
		ones[i] = 0xff
	}
	a, _ := netip.AddrFromSlice(ones)
	mask := netip.PrefixFrom(a, bits).Masked().Addr()
	return operand{text: o.text + " & " + mask.String(), needs: o.needs, words: o.words, load: func(word int) []expr.Any {
		r := register(word)
		return append(o.load(word), &expr.Bitwise{
			SourceRegister: r, DestRegister: r, Len: uint32(size), Mask: mask.AsSlice(), Xor: make([]byte, size),
		})
	}}
}

// mapped is what a map has for o: `ip saddr map @sticky-web`. Where it has
// nothing, the rule ends.
func (o operand) mapped(s *set) operand {
	words := (s.data.size() + 3) / 4
	return operand{text: o.text + " map @" + s.name, needs: o.needs, words: words, load: func(word int) []expr.Any {
		r := register(word)
		return append(o.load(word), &expr.Lookup{SourceRegister: r, DestRegister: r, IsDestRegSet: true, SetName: s.name})
	}}
}
