// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// sameExprs compares the expressions of two rules as the kernel understands
// them: it tells a rule back with every attribute that it knows, while a writer
// leaves out those that are zero, and it leaves out how a set was named within
// the transaction. What an expression has counted is no part of the rule.
func sameExprs(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, y := nlmsg.Attrs{Rest: a}, nlmsg.Attrs{Rest: b}
	for {
		xok, yok := x.Next(), y.Next()
		if !xok || !yok {
			return xok == yok && x.Err == nil && y.Err == nil
		}
		if !sameExpr(x.Value, y.Value) {
			return false
		}
	}
}

func sameExpr(a, b []byte) bool {
	name := nlmsg.Text(nlmsg.Find(a, unix.NFTA_EXPR_NAME))
	if name != nlmsg.Text(nlmsg.Find(b, unix.NFTA_EXPR_NAME)) {
		return false
	}
	x, y := nlmsg.Find(a, unix.NFTA_EXPR_DATA), nlmsg.Find(b, unix.NFTA_EXPR_DATA)
	switch name {
	case "counter":
		return true
	case "lookup":
		return sameAttrsBut(x, y, unix.NFTA_LOOKUP_SET_ID)
	case "dynset":
		return sameAttrsBut(x, y, unix.NFTA_DYNSET_SET_ID)
	case "nat":
		// The end of a range is its start, and the flags say what was given.
		return sameAttrsBut(x, y, unix.NFTA_NAT_REG_ADDR_MAX, unix.NFTA_NAT_REG_PROTO_MAX, unix.NFTA_NAT_FLAGS)
	case "redir":
		return sameAttrsBut(x, y, unix.NFTA_REDIR_REG_PROTO_MAX, unix.NFTA_REDIR_FLAGS)
	}
	return sameAttrs(x, y)
}

// sameAttrs compares attributes whatever their order; one that is missing is the
// same as one of zeroes.
func sameAttrs(a, b []byte) bool { return sameAttrsBut(a, b) }

// sameAttrsBut leaves some types aside.
func sameAttrsBut(a, b []byte, but ...uint16) bool {
	return covers(a, b, but) && covers(b, a, but)
}

// covers reports whether all of a that is not zero is in b.
func covers(a, b []byte, but []uint16) bool {
	x := nlmsg.Attrs{Rest: a}
	for x.Next() {
		if slices.Contains(but, x.Type) {
			continue
		}
		if !sameValue(x.Value, nlmsg.Find(b, x.Type)) {
			return false
		}
	}
	return x.Err == nil
}

// sameValue compares two values; one that has attributes of its own is told
// by its bytes making sense as such.
func sameValue(a, b []byte) bool {
	if bytes.Equal(a, b) || isZero(a) && isZero(b) {
		return true
	}
	if len(a) > 0 && len(b) > 0 && bytes.Equal(trimNUL(a), trimNUL(b)) && a[0] >= ' ' {
		return true // a name, with and without the zero byte that may end it
	}
	if nested(a) && (nested(b) || len(b) == 0) {
		return sameAttrs(a, b)
	}
	return false
}

// trimNUL is b without one zero byte at its end.
func trimNUL(b []byte) []byte { return bytes.TrimSuffix(b, []byte{0}) }

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// nested reports whether b can be attributes from its first to its last byte.
func nested(b []byte) bool {
	if len(b) < nlmsg.AttrLen {
		return false
	}
	a := nlmsg.Attrs{Rest: b}
	for a.Next() {
	}
	return a.Err == nil && len(a.Rest) < nlmsg.AttrLen
}
