// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/userdata"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
	"golang.org/x/sys/unix"
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

	descUDP, descTCP, descSCTP, descTH   = 6, 8, 10, 11
	descIP, descIP6                      = 12, 13
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
			return nlmsg.Text(ud[2:n])
		}
		ud = ud[n:]
	}
	return ""
}

// A source is what a key or a value is read from, as nft writes it and as it
// describes it to itself.
type source struct {
	text  string
	bytes []byte
	host  bool // in host byte order
	// network is network byte order, where nft cannot do without being told.
	network bool
}

// numgenSource is `numgen random mod 65536`.
func numgenSource(kind, mod uint32) *source {
	name := "random"
	if kind == unix.NFT_NG_INCREMENTAL {
		name = "inc"
	}
	return &source{text: fmt.Sprintf("numgen %s mod %d", name, mod), host: true, bytes: typeof(exprNumgen, func(b []byte) []byte {
		b = udUint32(b, udNumgenType, kind)
		b = udUint32(b, udNumgenMod, mod)
		return udUint32(b, udNumgenOffset, 0)
	})}
}

// targetSource is what a weights map has: an address and a port, or one of them.
// The port is that of the protocol if there is one only: nft minds a port of any
// protocol beside a match of one.
func targetSource(v6 bool, data tuple, protocols []core.Protocol) *source {
	name, desc := "th", uint32(descTH)
	if len(protocols) == 1 {
		name, desc = string(protocols[0]), portDescs[protocols[0]]
	}
	addr, port := headerField(descIP, fieldDaddr4), headerField(desc, fieldDport)
	if v6 {
		addr = headerField(descIP6, fieldDaddr6)
	}
	switch {
	case len(data) == 2:
		return &source{text: ipText(v6) + " daddr . " + name + " dport", bytes: typeof(exprConcat, func(b []byte) []byte {
			b = userdata.Append(b, 0, addr) // the parts of a concatenation are numbered
			return userdata.Append(b, 1, port)
		})}
	case data[0] == tPort:
		return &source{text: name + " dport", bytes: port}
	}
	return &source{text: ipText(v6) + " daddr", bytes: addr}
}

var portDescs = map[core.Protocol]uint32{core.TCP: descTCP, core.UDP: descUDP, core.SCTP: descSCTP}

// typeofOf is the part of a set's user data that says what its keys and values are
// read from; empty for a set that was not made so. nft and we differ in the rest.
func typeofOf(ud string) (out string) {
	for len(ud) >= 2 {
		n := 2 + int(ud[1])
		if n > len(ud) {
			break
		}
		if t := userdata.Type(ud[0]); t == userdata.NFTNL_UDATA_SET_KEY_TYPEOF || t == userdata.NFTNL_UDATA_SET_DATA_TYPEOF {
			out += ud[:n]
		}
		ud = ud[n:]
	}
	return out
}

// typeofUserdata makes nft list a map as `typeof KEY : DATA`, which it can read
// again. Without it a key may be a nameless integer that nft refuses.
func typeofUserdata(key, data *source) []byte {
	order := func(s *source) uint32 {
		switch {
		case s.host:
			return byteorderHost
		case s.network:
			return byteorderNetwork
		}
		return byteorderInvalid
	}
	ud := udUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order(key))
	if data == nil {
		return userdata.Append(ud, userdata.NFTNL_UDATA_SET_KEY_TYPEOF, key.bytes)
	}
	ud = udUint32(ud, userdata.NFTNL_UDATA_SET_DATABYTEORDER, order(data))
	ud = userdata.Append(ud, userdata.NFTNL_UDATA_SET_KEY_TYPEOF, key.bytes)
	ud = userdata.Append(ud, userdata.NFTNL_UDATA_SET_DATA_TYPEOF, data.bytes)
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
