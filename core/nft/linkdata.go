// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/hex"
	"strings"

	"github.com/google/nftables/userdata"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// tFrame is two link addresses as one number.
var tFrame = &dtype{"integer", 4, frameAddrsLen, func(b []byte) string { return "0x" + strings.TrimLeft(hex.EncodeToString(b), "0") }}

// Description of a field that nft has no name for, in nft's payload.c.
const (
	udPayloadBase   userdata.Type = 2
	udPayloadOffset userdata.Type = 3
	udPayloadLen    userdata.Type = 4

	payloadBaseLink = 1
	fieldSport      = 1

	byteorderNetwork = 2
)

// frameSource is `@ll,0,96`.
func frameSource() *source {
	return &source{text: "@ll,0,96", network: true, bytes: typeof(exprPayload, func(b []byte) []byte {
		b = udUint32(b, udPayloadDesc, 0)
		b = udUint32(b, udPayloadType, 0)
		b = udUint32(b, udPayloadBase, payloadBaseLink)
		b = udUint32(b, udPayloadOffset, 0)
		return udUint32(b, udPayloadLen, 8*frameAddrsLen)
	})}
}

// addrSource is `ip daddr`.
func addrSource(v6 bool) *source {
	s := targetSource(v6, tuple{tAddr(v6)}, nil)
	s.network = true
	return s
}

// flowSource is the key of a remembered flow: two or three numbers, for nft
// crashes on a set that says it is keyed by hashes, and ports.
func flowSource(three bool) *source {
	number := numgenSource(unix.NFT_NG_INCREMENTAL, everyBit)
	third := &source{text: "th sport", bytes: headerField(descTH, fieldSport)}
	if three {
		third = number
	}
	text := number.text + " . " + number.text + " . " + third.text + " . th dport"
	return &source{text: text, bytes: typeof(exprConcat, func(b []byte) []byte {
		for i, part := range [][]byte{number.bytes, number.bytes, third.bytes, headerField(descTH, fieldDport)} {
			b = userdata.Append(b, userdata.Type(i), part)
		}
		return b
	})}
}

// protocolPorts is a rule's text with the ports of a protocol.
func protocolPorts(text string, p core.Protocol) string {
	return strings.ReplaceAll(text, "th sport", string(p)+" sport")
}
