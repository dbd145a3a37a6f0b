// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// maxElements is where a list of elements is cut and goes on in the next
// message. The length of a netlink attribute has 16 bits, and wraps silently.
const maxElements = 48 << 10

// Constants that golang.org/x/sys/unix does not have, by their kernel names.
const (
	nftaTableUserdata      = 6
	nftaTableOwner         = 7
	nftaSetExpr            = 17
	nftaSetExprs           = 18
	nftaSetDescConcat      = 2
	nftaSetFieldLen        = 1
	nftaSetElemKeyEnd      = 10
	nftSetConcat           = 0x80
	nftaSetElemExpressions = 11
	nftTableFOwner         = 0x2
	nftTableFPersist       = 0x4
)

// A batch is the bytes of one transaction. Every message is stamped with the
// service it works for, so that the kernel's complaint, which carries the
// message's sequence number, leads back to that service.
type batch struct {
	table   string // that all messages are for
	buf     []byte
	first   uint32   // sequence number of the batch's first message
	owners  []string // by sequence number, from first
	owner   string   // of the messages being added; empty for the table itself
	changed int      // elements added and removed
	setID   uint32   // of sets made in this transaction; the kernel insists on one
	// careful leaves sets that go for a transaction of their own, after this one;
	// they are in retired.
	careful bool
	retired []string

	start  int    // of the message being written
	flags  uint32 // of tables that are made
	linked bool   // messages are for the table of the family netdev
}

// reset starts a transaction on a table. It keeps the buffers.
func (b *batch) reset(table string, seq uint32) {
	b.table = table
	b.buf, b.owners = b.buf[:0], b.owners[:0]
	b.first, b.owner, b.changed, b.setID, b.linked = seq, "", 0, 0, false
	b.careful, b.retired = false, nil
	b.begin(unix.NFNL_MSG_BATCH_BEGIN, 0)
	b.batchHeader()
	b.end()
}

// finish closes the transaction. A batch without it is a trial, not a commit.
func (b *batch) finish() {
	b.owner = ""
	b.begin(unix.NFNL_MSG_BATCH_END, 0)
	b.batchHeader()
	b.end()
}

// batchHeader makes the nfgenmsg of the message just begun that of a batch
// boundary: no family, and the subsystem as resource id.
func (b *batch) batchHeader() {
	gen := b.buf[b.start+nlmsg.HeaderLen:]
	gen[0] = unix.AF_UNSPEC
	binary.BigEndian.PutUint16(gen[2:], unix.NFNL_SUBSYS_NFTABLES)
}

// next is the sequence number after the batch's last message.
func (b *batch) next() uint32 { return b.first + uint32(len(b.owners)) }

// ownerOf finds the service that a message works for; ok is false for a
// sequence number that is not of this batch.
func (b *batch) ownerOf(seq uint32) (owner string, ok bool) {
	i := seq - b.first // wraps to something large where seq is older
	if uint64(i) >= uint64(len(b.owners)) {
		return "", false
	}
	return b.owners[i], true
}

// nft begins a message to nf_tables.
func (b *batch) nft(msg, flags int) { b.begin(unix.NFNL_SUBSYS_NFTABLES<<8|msg, flags) }

func (b *batch) begin(typ, flags int) {
	b.start = len(b.buf)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0) // length, set by end
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(typ))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(flags|unix.NLM_F_REQUEST))
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.next())
	b.buf = binary.NativeEndian.AppendUint32(b.buf, 0) // port id: the kernel fills it in
	b.buf = append(b.buf, b.family(), unix.NFNETLINK_V0, 0, 0)
	b.owners = append(b.owners, b.owner)
}

// family is that of the table which messages are for.
func (b *batch) family() byte {
	if b.linked {
		return unix.NFPROTO_NETDEV
	}
	return unix.NFPROTO_INET
}

func (b *batch) end() {
	binary.NativeEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
}

func (b *batch) attrHeader(typ uint16, length int) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(nlmsg.AttrLen+length))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
}

func (b *batch) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

func (b *batch) bytes(typ uint16, v []byte) {
	b.attrHeader(typ, len(v))
	b.buf = append(b.buf, v...)
	b.pad()
}

// str writes a string with the zero byte that nf_tables wants.
func (b *batch) str(typ uint16, v string) {
	b.attrHeader(typ, len(v)+1)
	b.buf = append(append(b.buf, v...), 0)
	b.pad()
}

func (b *batch) u32(typ uint16, v uint32) {
	b.attrHeader(typ, 4)
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
}

func (b *batch) u64(typ uint16, v uint64) {
	b.attrHeader(typ, 8)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
}

// nest opens an attribute that holds attributes, for unnest to close.
func (b *batch) nest(typ uint16) int {
	at := len(b.buf)
	b.attrHeader(typ|unix.NLA_F_NESTED, 0)
	return at
}

func (b *batch) unnest(at int) {
	binary.NativeEndian.PutUint16(b.buf[at:], uint16(len(b.buf)-at))
}
