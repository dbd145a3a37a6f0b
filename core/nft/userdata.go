// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"github.com/google/nftables/userdata"
	"github.com/steelyard-lb/steelyard/core"
)

// User data is what nft keeps beside an object for its own listing; the kernel
// only stores it. It is a row of type, length, value with one byte for each of
// the first two. The numbers inside typeof are nft's own, in host byte order.
const (
	udTypeofExpr userdata.Type = 0 // which expression
	udTypeofData userdata.Type = 1 // its description

	// enum expr_types of nft's expression.h.
	exprPayload = 7
	exprConcat  = 13
	exprNumgen  = 23

	// Description of numgen, in nft's numgen.c.
	udNumgenType   userdata.Type = 0
	udNumgenMod    userdata.Type = 1
	udNumgenOffset userdata.Type = 2

	// Description of a header field, in nft's payload.c.
	udPayloadDesc userdata.Type = 0 // which header: enum proto_desc_id
	udPayloadType userdata.Type = 1 // which field of it

	descTCP, descUDP, descIP, descIP6    = 8, 6, 12, 13
	fieldDport, fieldDaddr4, fieldDaddr6 = 2, 12, 9

	byteorderInvalid, byteorderHost = 0, 1
)

// comment is the user data of a table or an element that carries only a
// comment. Both use type 0 for it.
func comment(text string) []byte {
	return userdata.AppendString(make([]byte, 0, len(text)+3), userdata.TypeComment, text)
}

// commentOf reads the comment back; empty if there is none.
func commentOf(ud []byte) string {
	for len(ud) >= 2 {
		n := 2 + int(ud[1])
		if n > len(ud) {
			return ""
		}
		if userdata.Type(ud[0]) == userdata.TypeComment {
			return text(ud[2:n])
		}
		ud = ud[n:]
	}
	return ""
}

// weightsUserdata makes nft list a weights map as
// `typeof numgen random mod 65536 : ip daddr . tcp dport`, which it can read
// again. Without it the key is a nameless integer that nft refuses.
func weightsUserdata(v6 bool, p core.Protocol) []byte {
	key := typeof(exprNumgen, func(b []byte) []byte {
		b = udUint32(b, udNumgenType, 1) // NFT_NG_RANDOM
		b = udUint32(b, udNumgenMod, core.Slots)
		return udUint32(b, udNumgenOffset, 0)
	})
	addr := headerField(descIP, fieldDaddr4)
	if v6 {
		addr = headerField(descIP6, fieldDaddr6)
	}
	port := headerField(descTCP, fieldDport)
	if p == core.UDP {
		port = headerField(descUDP, fieldDport)
	}
	data := typeof(exprConcat, func(b []byte) []byte {
		b = userdata.Append(b, 0, addr) // the parts of a concatenation are numbered
		return userdata.Append(b, 1, port)
	})

	ud := udUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, byteorderHost)
	ud = udUint32(ud, userdata.NFTNL_UDATA_SET_DATABYTEORDER, byteorderInvalid)
	ud = userdata.Append(ud, userdata.NFTNL_UDATA_SET_KEY_TYPEOF, key)
	ud = userdata.Append(ud, userdata.NFTNL_UDATA_SET_DATA_TYPEOF, data)
	return udUint32(ud, userdata.NFTNL_UDATA_SET_MERGE_ELEMENTS, 0)
}

// typeof names an expression and describes it.
func typeof(expr uint32, describe func([]byte) []byte) []byte {
	b := udUint32(nil, udTypeofExpr, expr)
	return userdata.Append(b, udTypeofData, describe(nil))
}

// headerField is the typeof of a field of a packet header.
func headerField(desc, field uint32) []byte {
	return typeof(exprPayload, func(b []byte) []byte {
		b = udUint32(b, udPayloadDesc, desc)
		return udUint32(b, udPayloadType, field)
	})
}

func udUint32(b []byte, typ userdata.Type, v uint32) []byte {
	var host [4]byte
	binary.NativeEndian.PutUint32(host[:], v)
	return userdata.Append(b, typ, host[:])
}
