// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

var errShort = errors.New("cut short")

// attrs walks over netlink attributes. It never reads past its bytes, whatever
// they are; Err says if they ended in the middle of an attribute.
type attrs struct {
	rest []byte
	typ  int
	val  []byte
	err  error
}

func (a *attrs) next() bool {
	if len(a.rest) < nlaHeader {
		// Up to three bytes of padding may be left.
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.rest))
	if n < nlaHeader || n > len(a.rest) {
		a.err, a.rest = errShort, nil
		return false
	}
	a.typ = int(binary.NativeEndian.Uint16(a.rest[2:])) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	a.val = a.rest[nlaHeader:n]
	a.rest = a.rest[min(align4(n), len(a.rest)):]
	return true
}

func align4(n int) int { return (n + 3) &^ 3 }

// find is the value of the first attribute of that type; nil if there is none.
func find(b []byte, typ int) []byte {
	a := attrs{rest: b}
	for a.next() {
		if a.typ == typ {
			return a.val
		}
	}
	return nil
}

// text is the value without the zero byte at its end.
func text(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

// be32 and be64 read a number; 0 where the value has another length.
func be32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
