// SPDX-License-Identifier: Apache-2.0

package nlmsg

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const (
	HeaderLen    = 16 // struct nlmsghdr
	AttrLen      = 4  // struct nlattr
	NfgenmsgLen  = 4  // struct nfgenmsg, which begins the body of netfilter's messages
	nlmsgErrCode = 4  // the code before the message that a complaint is about
)

// Messages walks over the messages of a datagram. It stops at the first that does
// not fit, since nothing behind a broken header can be trusted; Rest then still
// holds it.
type Messages struct {
	Rest []byte // not walked over yet

	Type, Flags uint16
	Seq         uint32
	Body        []byte
}

// Next goes to the next message, if there is one.
func (m *Messages) Next() bool {
	if len(m.Rest) < HeaderLen {
		return false
	}
	n := binary.NativeEndian.Uint32(m.Rest)
	if n < HeaderLen || uint64(n) > uint64(len(m.Rest)) {
		return false
	}
	m.Type = binary.NativeEndian.Uint16(m.Rest[4:])
	m.Flags = binary.NativeEndian.Uint16(m.Rest[6:])
	m.Seq = binary.NativeEndian.Uint32(m.Rest[8:])
	m.Body = m.Rest[HeaderLen:n]
	m.Rest = m.Rest[min(Align(int(n)), len(m.Rest)):]
	return true
}

// Errno is what a message of type error or done complains of; 0 for success.
func Errno(body []byte) unix.Errno {
	if len(body) < nlmsgErrCode {
		return 0
	}
	code := int32(binary.NativeEndian.Uint32(body))
	if code >= 0 {
		return 0
	}
	return unix.Errno(-code)
}

// ErrorText is the kernel's own sentence beside an error, of a socket that asked
// for extended acknowledgements; mostly empty.
func ErrorText(body []byte, flags uint16) string {
	if flags&unix.NLM_F_ACK_TLVS == 0 || len(body) < nlmsgErrCode+HeaderLen {
		return ""
	}
	rest := body[nlmsgErrCode+HeaderLen:]
	if flags&unix.NLM_F_CAPPED == 0 {
		// The message that failed comes back whole, before the attributes.
		n := Align(int(binary.NativeEndian.Uint32(body[nlmsgErrCode:])&0xff_ffff) - HeaderLen)
		if n < 0 || n > len(rest) {
			return ""
		}
		rest = rest[n:]
	}
	return Text(Find(rest, unix.NLMSGERR_ATTR_MSG))
}

// Begin appends the header of a request to b. What is appended after it is its
// body, until End, which is to get start.
func Begin(b []byte, typ, flags uint16, seq uint32) (buf []byte, start int) {
	start = len(b)
	b = binary.NativeEndian.AppendUint32(b, 0) // the length: see End
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	return binary.NativeEndian.AppendUint32(b, 0), start // the kernel fills in who asks
}

// End ends the message that began at start.
func End(b []byte, start int) []byte {
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}
