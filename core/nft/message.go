// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// messages walks over the netlink messages of a datagram. It never reads past
// its bytes, and stops at the first message that does not fit.
type messages struct {
	rest  []byte
	typ   uint16
	flags uint16
	seq   uint32
	body  []byte
}

func (m *messages) next() bool {
	if len(m.rest) < nlmsgHeader {
		return false
	}
	n := binary.NativeEndian.Uint32(m.rest)
	if n < nlmsgHeader || uint64(n) > uint64(len(m.rest)) {
		return false
	}
	m.typ = binary.NativeEndian.Uint16(m.rest[4:])
	m.flags = binary.NativeEndian.Uint16(m.rest[6:])
	m.seq = binary.NativeEndian.Uint32(m.rest[8:])
	m.body = m.rest[nlmsgHeader:n]
	m.rest = m.rest[min(align4(int(n)), len(m.rest)):]
	return true
}

// parseError is the errno of a message of type error or done; 0 for success.
func parseError(body []byte) unix.Errno {
	if len(body) < 4 {
		return 0
	}
	code := int32(binary.NativeEndian.Uint32(body))
	if code >= 0 {
		return 0
	}
	return unix.Errno(-code)
}

// errorText is the kernel's own sentence beside an error; mostly empty, since
// nf_tables has few.
func errorText(body []byte, flags uint16) string {
	if flags&unix.NLM_F_ACK_TLVS == 0 || len(body) < 4+nlmsgHeader {
		return ""
	}
	rest := body[4+nlmsgHeader:]
	if flags&unix.NLM_F_CAPPED == 0 {
		// The message that failed comes back whole, before the attributes.
		n := align4(int(binary.NativeEndian.Uint32(body[4:])&0xff_ffff) - nlmsgHeader)
		if n < 0 || n > len(rest) {
			return ""
		}
		rest = rest[n:]
	}
	return text(find(rest, unix.NLMSGERR_ATTR_MSG))
}
