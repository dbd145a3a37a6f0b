// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// An elem is one element of a set as it should be, or as the kernel has it.
type elem struct {
	key []byte
	// last is the end of an interval, included; nil for one key.
	last    []byte
	data    []byte // of a map of data
	verdict string // of a verdict map, as nft writes it: "accept", "goto svc-web"
	comment string
	counter counter // what it has counted; the kernel goes on from there
}

// id tells elements of a set apart.
func (e *elem) id() string { return string(e.key) + "\x00" + string(e.last) }

// same reports whether there is nothing to write.
func (e *elem) same(o *elem) bool {
	return bytes.Equal(e.key, o.key) && bytes.Equal(e.last, o.last) && bytes.Equal(e.data, o.data) &&
		e.verdict == o.verdict && e.comment == o.comment
}

// A counter is what an nftables counter holds.
type counter struct{ packets, bytes uint64 }

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

func appendProto(b []byte, p uint8) []byte { return append(b, p, 0, 0, 0) }

func appendEndpoint(b []byte, a netip.AddrPort) []byte {
	return appendPort(appendAddr(b, a.Addr()), a.Port())
}

// elementList is a NEWSETELEM or DELSETELEM being written, which goes on in a
// next message when it grows past maxElements.
type elementList struct {
	b          *batch
	set        string
	msg, flags int
	at         int // of the list's attribute
}

func (b *batch) addElements(set string) elementList {
	l := elementList{b: b, set: set, msg: unix.NFT_MSG_NEWSETELEM, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	l.open()
	return l
}

func (b *batch) delElements(set string) elementList {
	l := elementList{b: b, set: set, msg: unix.NFT_MSG_DELSETELEM}
	l.open()
	return l
}

// flushElements removes all elements of a set: a DELSETELEM without a list.
func (b *batch) flushElements(set string) {
	b.nft(unix.NFT_MSG_DELSETELEM, 0)
	b.str(unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
	b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	b.end()
}

func (l *elementList) open() {
	l.b.nft(l.msg, l.flags)
	l.b.str(unix.NFTA_SET_ELEM_LIST_TABLE, l.b.table)
	l.b.str(unix.NFTA_SET_ELEM_LIST_SET, l.set)
	l.at = l.b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
}

func (l *elementList) close() {
	l.b.unnest(l.at)
	l.b.end()
}

func (l *elementList) adds() bool { return l.msg == unix.NFT_MSG_NEWSETELEM }

// element opens one element with its key; the caller closes it with unnest.
func (l *elementList) element(key []byte) int {
	if len(l.b.buf)-l.at > maxElements {
		l.close()
		l.open()
	}
	at := l.b.nest(unix.NFTA_LIST_ELEM)
	l.b.data(unix.NFTA_SET_ELEM_KEY, key)
	return at
}

// data writes a value in the attribute that the kernel wants around it.
func (b *batch) data(typ uint16, v []byte) {
	k := b.nest(typ)
	b.bytes(unix.NFTA_DATA_VALUE, v)
	b.unnest(k)
}

// elem adds or deletes one element of s.
func (l *elementList) elem(s *set, e *elem) {
	if s.spans() {
		l.span(e)
		return
	}
	b := l.b
	at := l.element(e.key)
	if s.concat() {
		last := e.last
		if last == nil {
			last = e.key
		}
		b.data(nftaSetElemKeyEnd, last)
	}
	if l.adds() {
		b.payload(e)
	}
	b.unnest(at)
	b.changed++
}

// span is an interval of a set whose key has one part: a start, and an end that
// is the first key no longer in it. An interval up to the last key has no end.
func (l *elementList) span(e *elem) {
	b := l.b
	at := l.element(e.key)
	if l.adds() {
		b.payload(e)
	}
	b.unnest(at)
	last := e.last
	if last == nil {
		last = e.key
	}
	if end, ok := after(last); ok {
		at = l.element(end)
		b.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		b.unnest(at)
	}
	b.changed++
}

// after is the key after v; false if v is the last.
func after(v []byte) ([]byte, bool) {
	out := bytes.Clone(v)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]++
		if out[i] != 0 {
			return out, true
		}
	}
	return nil, false
}

// payload is what an element has beside its key.
func (b *batch) payload(e *elem) {
	switch {
	case e.verdict != "":
		b.verdict(unix.NFTA_SET_ELEM_DATA, e.verdict)
	case e.data != nil:
		b.data(unix.NFTA_SET_ELEM_DATA, e.data)
	}
	if e.counter != (counter{}) {
		x := b.nest(unix.NFTA_SET_ELEM_EXPR)
		b.str(unix.NFTA_EXPR_NAME, "counter")
		b.counterData(unix.NFTA_EXPR_DATA, e.counter)
		b.unnest(x)
	}
	if e.comment != "" {
		b.commentAttr(unix.NFTA_SET_ELEM_USERDATA, e.comment)
	}
}

// The verdicts, as the kernel writes them: NF_ACCEPT, and NFT_GOTO which is -4.
const (
	verdictAccept = 1
	verdictGoto   = 0xffff_fffc
)

func (b *batch) verdict(typ uint16, v string) {
	data := b.nest(typ)
	at := b.nest(unix.NFTA_DATA_VERDICT)
	if chain, ok := strings.CutPrefix(v, "goto "); ok {
		b.u32(unix.NFTA_VERDICT_CODE, verdictGoto)
		b.str(unix.NFTA_VERDICT_CHAIN, chain)
	} else {
		b.u32(unix.NFTA_VERDICT_CODE, verdictAccept)
	}
	b.unnest(at)
	b.unnest(data)
}

// parseVerdict reads what verdict wrote; empty for any other.
func parseVerdict(v []byte) string {
	switch nlmsg.Uint32(nlmsg.Find(v, unix.NFTA_VERDICT_CODE)) {
	case verdictAccept:
		return "accept"
	case verdictGoto:
		return "goto " + nlmsg.Text(nlmsg.Find(v, unix.NFTA_VERDICT_CHAIN))
	}
	return ""
}

// commentAttr is bytes(typ, comment(text)) without the allocation.
func (b *batch) commentAttr(typ uint16, text string) {
	b.attrHeader(typ, len(text)+3)
	b.buf = append(b.buf, 0, byte(len(text)+1))
	b.buf = append(append(b.buf, text...), 0)
	b.pad()
}

func (b *batch) counterData(typ uint16, c counter) {
	at := b.nest(typ)
	b.u64(unix.NFTA_COUNTER_BYTES, c.bytes)
	b.u64(unix.NFTA_COUNTER_PACKETS, c.packets)
	b.unnest(at)
}

// elements makes a set go from one list of elements to another: what is gone is
// deleted by dels, what is new is added by adds.
func diffElems(from, to []elem) (gone, come []*elem) {
	if len(from) == len(to) {
		same := true
		for i := range from {
			same = same && from[i].same(&to[i])
		}
		if same {
			return nil, nil
		}
	}
	old := make(map[string]*elem, len(from))
	for i := range from {
		old[from[i].id()] = &from[i]
	}
	for i := range to {
		o := old[to[i].id()]
		if o != nil && o.same(&to[i]) {
			delete(old, to[i].id())
			continue
		}
		come = append(come, &to[i])
	}
	for i := range from {
		if old[from[i].id()] == &from[i] {
			gone = append(gone, &from[i])
		}
	}
	return gone, come
}

func (b *batch) writeElems(s *set, list []*elem, begin func(string) elementList) {
	if len(list) == 0 {
		return
	}
	l := begin(s.name)
	for _, e := range list {
		l.elem(s, e)
	}
	l.close()
}
