// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// newLinkRule is newRule for the family netdev, which tells IPv4 from IPv6 by the
// frame's type.
func newLinkRule(list ...clause) rule {
	var r rule
	var texts []string
	var family byte
	for _, c := range list {
		if c.needs != 0 && family == 0 {
			family = c.needs
			r.add(&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register(0)},
				&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: etherType(family)})
		}
		r.add(c.exprs...)
		if c.text != "" {
			texts = append(texts, c.text)
		}
	}
	r.text = strings.Join(texts, " ")
	return r
}

func etherType(family byte) []byte {
	if family == unix.NFPROTO_IPV6 {
		return binary.BigEndian.AppendUint16(nil, unix.ETH_P_IPV6)
	}
	return binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP)
}

// An encoded is an expression that the library does not know.
type encoded struct {
	expr.Any // nil: it only makes an encoded one of the library's kind
	raw      []byte
}

// frameAddrs is `@ll,0,96`: whom a frame is for and whom it is from. Both are
// written at once, for that is cheaper than two writes.
func frameAddrs() operand {
	return header("@ll,0,96", 0, expr.PayloadBaseLLHeader, 0, frameAddrsLen)
}

// frameAddrsLen is the size of two link addresses.
const frameAddrsLen = 12

// setFrame is `@ll,0,96 set OPERAND`.
func setFrame(to operand) clause {
	return clause{text: "@ll,0,96 set " + to.text, needs: to.needs, exprs: append(to.load(0), &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: register(0), Base: expr.PayloadBaseLLHeader, Len: frameAddrsLen,
	})}
}

// setAddr is `ip daddr set OPERAND`, or `ip saddr set`; it mends the checksums.
func setAddr(v6, source bool, to operand) clause {
	field := ipDaddr(v6)
	if source {
		field = ipSaddr(v6)
	}
	w := *field.load(0)[0].(*expr.Payload)
	w.OperationType, w.SourceRegister, w.DestRegister = expr.PayloadWrite, register(0), 0
	w.CsumFlags = unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
	if !v6 {
		w.CsumType, w.CsumOffset = expr.CsumTypeInet, 10
	}
	return clause{text: field.text + " set " + to.text, needs: field.needs, exprs: append(to.load(0), &w)}
}

// constant is a value that does not depend on the packet.
func constant(text string, value []byte) operand {
	return operand{text: text, words: (len(value) + 3) / 4, load: func(word int) []expr.Any {
		return []expr.Any{&expr.Immediate{Register: register(word), Data: value}}
	}}
}

// setPort is `tcp dport set 8080`, or `tcp sport set`. A protocol that is empty is
// `th dport set`, which leaves the checksum as it is.
func setPort(p core.Protocol, source bool, port uint16) clause {
	w := &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: register(0), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	field := "dport"
	if source {
		w.Offset, field = 0, "sport"
	}
	name := "th"
	if offset := checksumOffset(p); offset > 0 {
		name, w.CsumType, w.CsumOffset = string(p), expr.CsumTypeInet, offset
	}
	return clause{text: fmt.Sprintf("%s %s set %d", name, field, port), exprs: []expr.Any{
		&expr.Immediate{Register: register(0), Data: binary.BigEndian.AppendUint16(nil, port)}, w,
	}}
}

// checksumOffset is where in its header a protocol has its checksum; 0 where it
// cannot be mended.
func checksumOffset(p core.Protocol) uint32 {
	switch p {
	case core.TCP:
		return 16
	case core.UDP:
		return 6
	}
	return 0
}

// hidden is a match that nft does not write, because what follows in the rule
// says it.
func hidden(c clause) clause {
	c.text = ""
	return c
}

// udpChecksum is `udp checksum 0`: the sender made none, and none must be mended.
func udpChecksum(op expr.CmpOp) clause {
	text := "udp checksum 0"
	if op == expr.CmpOpNeq {
		text = "udp checksum != 0"
	}
	return clause{text: text, exprs: []expr.Any{
		&expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseTransportHeader, Offset: 6, Len: 2},
		&expr.Cmp{Op: op, Register: register(0), Data: []byte{0, 0}},
	}}
}

// begins is `tcp flags syn / syn,ack`: the first packet of a connection.
func begins() clause {
	const syn, synAck = 0x02, 0x12
	return clause{text: "tcp flags syn / syn,ack", exprs: append(matchMeta(expr.MetaKeyL4PROTO, core.TCP.Number()),
		&expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 1, Mask: []byte{synAck}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{syn}})}
}

// keep is `update @MAP { KEY timeout 5m : VALUE }`. Where the map is full, the rule
// ends.
func keep(s *set, key, value operand, timeout time.Duration) clause {
	c := renew(s, operand{text: key.text + " timeout " + nftDuration(timeout), needs: key.needs, words: key.words, load: key.load}, value)
	c.exprs[len(c.exprs)-1].(*expr.Dynset).Timeout = timeout
	return c
}

// fwdTo is `fwd to "eth0"`: the frame leaves by that interface at once.
func fwdTo(device string, ifindex uint32) clause {
	var b batch
	b.str(unix.NFTA_EXPR_NAME, "fwd")
	at := b.nest(unix.NFTA_EXPR_DATA)
	b.u32(unix.NFTA_FWD_SREG_DEV, register(0))
	b.unnest(at)
	return clause{text: fmt.Sprintf("fwd to %q", device), exprs: []expr.Any{
		&expr.Immediate{Register: register(0), Data: hostUint32(ifindex)}, encoded{raw: b.buf},
	}}
}

func notrack() clause { return clause{text: "notrack", exprs: []expr.Any{&expr.Notrack{}}} }
func back() clause    { return verdict("return", expr.VerdictReturn, "") }
