// SPDX-License-Identifier: Apache-2.0

package nlmsg

import (
	"encoding/binary"
	"errors"
)

// errShort is an attribute that says it is longer than what is left, or shorter
// than its own header.
var errShort = errors.New("cut short")

const typeMask = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

// Attr is the first attribute and what comes after it. rest is empty after the
// last one, and ok false where there is none or it is broken.
func Attr(b []byte) (typ uint16, value, rest []byte, ok bool) {
	if len(b) < AttrLen {
		return 0, nil, nil, false // up to three bytes of padding may be left
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < AttrLen || n > len(b) {
		return 0, nil, nil, false
	}
	if end := Align(n); end < len(b) {
		rest = b[end:]
	}
	return binary.NativeEndian.Uint16(b[2:]) & typeMask, b[AttrLen:n], rest, true
}

// Attrs walks over attributes, and tells a broken one from the end.
type Attrs struct {
	Rest  []byte // not walked over yet
	Type  uint16
	Value []byte
	Err   error // of what ended the walk; nil if that was the end
}

// Next goes to the next attribute, if there is one.
func (a *Attrs) Next() bool {
	if len(a.Rest) < AttrLen {
		return false
	}
	var ok bool
	if a.Type, a.Value, a.Rest, ok = Attr(a.Rest); !ok {
		a.Err = errShort
	}
	return ok
}

// Find is the value of the first attribute of that type; nil if there is none.
func Find(b []byte, typ uint16) []byte {
	for len(b) > 0 {
		t, v, rest, ok := Attr(b)
		if ok && t == typ {
			return v
		}
		b = rest
	}
	return nil
}

// Text is a value without the zero byte at its end.
func Text(b []byte) string {
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

// Uint32 reads a number in network byte order; 0 where the value has another
// length.
func Uint32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// Uint64 reads a number in network byte order; 0 where the value has another
// length.
func Uint64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// AppendAttr appends an attribute and its padding.
func AppendAttr(b []byte, typ uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(AttrLen+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	return append(b, make([]byte, Align(len(data))-len(data))...)
}

// Align is n rounded up to where the next message or attribute begins.
func Align(n int) int { return (n + 3) &^ 3 }
