// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Every part of a key or a value fills whole 32-bit registers: an address 1 or
// 4 of them, a protocol or a port 1 with zeroes after it.

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(b, v[:]...)
	}
	v := a.As16()
	return append(b, v[:]...)
}

func appendPort(b []byte, p uint16) []byte {
	return append(binary.BigEndian.AppendUint16(b, p), 0, 0)
}

func appendEndpoint(b []byte, a netip.AddrPort) []byte {
	return appendPort(appendAddr(b, a.Addr()), a.Port())
}

// appendServiceKey is the key of services4 and services6, and the first half of
// a key of the connection sets.
func appendServiceKey(b []byte, s *core.ServicePlan) []byte {
	b = append(appendAddr(b, s.VIP), s.Protocol.Number(), 0, 0, 0)
	return appendPort(b, s.Port)
}

// elementList is a NEWSETELEM or DELSETELEM being written, which goes on in a
// next message when it grows past maxElements.
type elementList struct {
	b          *batch
	table, set string
	msg, flags int
	at         int // of the list's attribute
}

func (b *batch) addElements(table, set string) elementList {
	l := elementList{b: b, table: table, set: set, msg: unix.NFT_MSG_NEWSETELEM, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	l.open()
	return l
}

func (b *batch) delElements(table, set string) elementList {
	l := elementList{b: b, table: table, set: set, msg: unix.NFT_MSG_DELSETELEM}
	l.open()
	return l
}

// flushElements removes all elements of a set: a DELSETELEM without a list.
func (b *batch) flushElements(table, set string) {
	b.nft(unix.NFT_MSG_DELSETELEM, 0)
	b.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	b.end()
}

func (l *elementList) open() {
	l.b.nft(l.msg, l.flags)
	l.b.str(unix.NFTA_SET_ELEM_LIST_TABLE, l.table)
	l.b.str(unix.NFTA_SET_ELEM_LIST_SET, l.set)
	l.at = l.b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
}

func (l *elementList) close() {
	l.b.unnest(l.at)
	l.b.end()
}

// element opens one element with its key; the caller closes it with unnest.
func (l *elementList) element(key []byte) int {
	if len(l.b.buf)-l.at > maxElements {
		l.close()
		l.open()
	}
	at := l.b.nest(unix.NFTA_LIST_ELEM)
	k := l.b.nest(unix.NFTA_SET_ELEM_KEY)
	l.b.bytes(unix.NFTA_DATA_VALUE, key)
	l.b.unnest(k)
	return at
}

// service adds or deletes the element that leads to the service's chain.
func (l *elementList) service(s *core.ServicePlan) {
	b := l.b
	var key [24]byte
	at := l.element(appendServiceKey(key[:0], s))
	if l.msg == unix.NFT_MSG_NEWSETELEM {
		data := b.nest(unix.NFTA_SET_ELEM_DATA)
		verdict := b.nest(unix.NFTA_DATA_VERDICT)
		b.u32(unix.NFTA_VERDICT_CODE, verdictGoto)
		b.str(unix.NFTA_VERDICT_CHAIN, chainName(s.Name))
		b.unnest(verdict)
		b.unnest(data)
		b.bytes(unix.NFTA_SET_ELEM_USERDATA, comment(serviceComment(s)))
	}
	b.unnest(at)
	b.changed++
}

// verdictGoto is NFT_GOTO, -4 as the kernel writes it.
const verdictGoto = 0xffff_fffc

// backend adds or deletes the element that counts a backend's connections. The
// set's own counter expression makes each element's counter, from from on.
func (l *elementList) backend(s *core.ServicePlan, be *core.BackendPlan, from counter) {
	b := l.b
	var key [44]byte
	at := l.element(appendEndpoint(appendServiceKey(key[:0], s), be.Addr))
	if l.msg == unix.NFT_MSG_NEWSETELEM {
		if from != (counter{}) {
			e := b.nest(unix.NFTA_SET_ELEM_EXPR)
			b.str(unix.NFTA_EXPR_NAME, "counter")
			b.counterData(unix.NFTA_EXPR_DATA, from)
			b.unnest(e)
		}
		b.bytes(unix.NFTA_SET_ELEM_USERDATA, comment(s.Name+"/"+be.Name))
	}
	b.unnest(at)
	b.changed++
}

// interval adds or deletes the two elements that an interval is made of. Both
// have to go together: a start alone would leave its end behind.
func (l *elementList) interval(iv interval) {
	b := l.b
	var key [4]byte
	binary.BigEndian.PutUint32(key[:], iv.start)
	at := l.element(key[:])
	if l.msg == unix.NFT_MSG_NEWSETELEM {
		var val [20]byte
		data := b.nest(unix.NFTA_SET_ELEM_DATA)
		b.bytes(unix.NFTA_DATA_VALUE, appendEndpoint(val[:0], iv.addr))
		b.unnest(data)
		b.commentAttr(unix.NFTA_SET_ELEM_USERDATA, iv.name)
	}
	b.unnest(at)

	binary.BigEndian.PutUint32(key[:], iv.end)
	at = l.element(key[:])
	b.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	b.unnest(at)
	b.changed++
}

// commentAttr is bytes(typ, comment(text)) without the allocation.
func (b *batch) commentAttr(typ int, text string) {
	b.attrHeader(typ, len(text)+3)
	b.buf = append(b.buf, 0, byte(len(text)+1))
	b.buf = append(append(b.buf, text...), 0)
	b.pad()
}

// A counter is what an nftables counter holds.
type counter struct{ packets, bytes uint64 }

func (b *batch) counterData(typ int, c counter) {
	at := b.nest(typ)
	b.u64(unix.NFTA_COUNTER_BYTES, c.bytes)
	b.u64(unix.NFTA_COUNTER_PACKETS, c.packets)
	b.unnest(at)
}
