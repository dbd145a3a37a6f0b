// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A set is the definition of a set or a map, without its elements. It is never
// changed once made; define makes it.
type set struct {
	name    string
	key     tuple
	data    tuple // of a map of data
	verdict bool  // a map of verdicts
	// keyOf and dataOf say what a key and a value are read from, where nft has
	// no name for the type alone: `typeof numgen random mod 65536 : …`.
	keyOf, dataOf *source
	userdata      string // by which nft knows the set
	setDef
}

// A setDef is what the kernel knows of a set's definition.
type setDef struct {
	flags             uint32 // NFT_SET_*
	keyType, keyLen   uint32
	dataType, dataLen uint32
	size              uint32 // in elements; 0 for no bound
	timeout           time.Duration
	counter           bool   // each element has one
	typeof            string // the part of the user data that says what a key and a value are read from
	meter             meter
}

// dataVerdict is NFT_DATA_VERDICT, the type of a map's value.
const dataVerdict = 0xffff_ff00

// define fills in what follows from the types.
func define(s set) *set {
	s.keyType, s.keyLen = s.key.id(), uint32(s.key.size())
	switch {
	case s.verdict:
		s.flags |= unix.NFT_SET_MAP
		s.dataType = dataVerdict
	case s.data != nil:
		s.flags |= unix.NFT_SET_MAP
		s.dataType, s.dataLen = s.data.id(), uint32(s.data.size())
	}
	if s.keyOf != nil {
		s.userdata = string(typeofUserdata(s.keyOf, s.dataOf))
		s.typeof = typeofOf(s.userdata)
	}
	if s.timeout > 0 {
		s.flags |= unix.NFT_SET_TIMEOUT
	}
	if s.flags&unix.NFT_SET_INTERVAL != 0 && len(s.key) > 1 {
		s.flags |= nftSetConcat
	}
	return &s
}

// made reports whether was is d as the kernel tells it. nft describes what keys are
// read from even where it was given only types.
func (d *setDef) made(was setDef) bool {
	if d.typeof == "" {
		was.typeof = ""
	}
	return was == *d
}

func (d *setDef) isMap() bool    { return d.flags&unix.NFT_SET_MAP != 0 }
func (d *setDef) interval() bool { return d.flags&unix.NFT_SET_INTERVAL != 0 }
func (d *setDef) concat() bool   { return d.flags&nftSetConcat != 0 }

// spans reports whether an interval is two elements, a start and an end.
func (d *setDef) spans() bool { return d.interval() && !d.concat() }

// dynamic reports whether packets add elements, which are not ours to compare.
func (d *setDef) dynamic() bool { return d.flags&unix.NFT_SET_EVAL != 0 }

func (b *batch) newSet(s *set) {
	b.nft(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.setID++
	b.str(unix.NFTA_SET_TABLE, b.table)
	b.str(unix.NFTA_SET_NAME, s.name)
	b.u32(unix.NFTA_SET_FLAGS, s.flags)
	b.u32(unix.NFTA_SET_KEY_TYPE, s.keyType)
	b.u32(unix.NFTA_SET_KEY_LEN, s.keyLen)
	b.u32(unix.NFTA_SET_ID, b.setID)
	if s.isMap() {
		b.u32(unix.NFTA_SET_DATA_TYPE, s.dataType)
		b.u32(unix.NFTA_SET_DATA_LEN, s.dataLen)
	}
	b.setDesc(s)
	if s.timeout > 0 {
		b.u64(unix.NFTA_SET_TIMEOUT, uint64(s.timeout.Milliseconds()))
	}
	if s.userdata != "" {
		b.bytes(unix.NFTA_SET_USERDATA, []byte(s.userdata))
	}
	if s.counter {
		e := b.nest(nftaSetExpr)
		b.str(unix.NFTA_EXPR_NAME, "counter")
		b.unnest(b.nest(unix.NFTA_EXPR_DATA))
		b.unnest(e)
	}
	if s.meter != (meter{}) {
		b.bytes(nftaSetExpr|unix.NLA_F_NESTED, s.meter.marshal())
	}
	b.end()
}

// setDesc gives the kernel the bound, and the lengths of the parts of a key that
// has ranges in each.
func (b *batch) setDesc(s *set) {
	if s.size == 0 && !s.concat() {
		return
	}
	at := b.nest(unix.NFTA_SET_DESC)
	if s.size > 0 {
		b.u32(unix.NFTA_SET_DESC_SIZE, s.size)
	}
	if s.concat() {
		list := b.nest(nftaSetDescConcat)
		for _, d := range s.key {
			e := b.nest(unix.NFTA_LIST_ELEM)
			b.u32(nftaSetFieldLen, uint32(d.size))
			b.unnest(e)
		}
		b.unnest(list)
	}
	b.unnest(at)
}

func (b *batch) delSet(name string) {
	b.nft(unix.NFT_MSG_DELSET, 0)
	b.str(unix.NFTA_SET_TABLE, b.table)
	b.str(unix.NFTA_SET_NAME, name)
	b.end()
}

// header is the definition as nft lists it, down to the elements.
func (s *set) header() string {
	var w strings.Builder
	kind, types, word := "set", s.key.String(), "type"
	if s.keyOf != nil {
		types, word = s.keyOf.text, "typeof"
	}
	switch {
	case s.verdict:
		kind, types = "map", types+" : verdict"
	case s.data != nil && s.keyOf != nil:
		kind, types = "map", types+" : "+s.dataOf.text
	case s.data != nil:
		kind, types = "map", types+" : "+s.data.String()
	}
	fmt.Fprintf(&w, "\t%s %s {\n\t\t%s %s\n", kind, s.name, word, types)
	if s.size > 0 {
		fmt.Fprintf(&w, "\t\tsize %d\n", s.size)
	}
	if list := s.flagNames(); len(list) > 0 {
		fmt.Fprintf(&w, "\t\tflags %s\n", strings.Join(list, ","))
	}
	if s.counter {
		w.WriteString("\t\tcounter\n")
	}
	if s.meter != (meter{}) {
		fmt.Fprintf(&w, "\t\t%s\n", s.meter)
	}
	if s.timeout > 0 {
		fmt.Fprintf(&w, "\t\ttimeout %s\n", nftDuration(s.timeout))
	}
	return w.String()
}

func (s *set) flagNames() (list []string) {
	if s.interval() {
		list = append(list, "interval")
	}
	if s.dynamic() {
		list = append(list, "dynamic")
	}
	if s.flags&unix.NFT_SET_TIMEOUT != 0 {
		list = append(list, "timeout")
	}
	return list
}

// nftDuration is a time as nft prints it: 1d2h3m4s5ms without the zero parts.
func nftDuration(d time.Duration) string {
	var w strings.Builder
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&w, "%d%s", n, u.name)
			d -= n * u.unit
		}
	}
	return w.String()
}

// list is the set with its elements, as nft lists it.
func (s *set) list(elems []elem) string {
	var w strings.Builder
	w.WriteString(s.header())
	sorted := s.sorted(elems)
	texts := make([]string, len(sorted))
	for i := range sorted {
		texts[i] = s.elementText(&sorted[i])
	}
	renderElements(&w, texts, s.perLine())
	return w.String()
}

// sorted is the order in which nft lists elements: as the kernel tells them where
// a key has ranges in its parts, which is how they came.
func (s *set) sorted(elems []elem) []elem {
	if s.concat() {
		return elems
	}
	sorted := slices.Clone(elems)
	slices.SortStableFunc(sorted, func(a, b elem) int {
		if s.spans() {
			return bytes.Compare(a.key, b.key)
		}
		return bytes.Compare(s.key.order(a.key), s.key.order(b.key))
	})
	return sorted
}

// perLine is how many elements nft puts into a line, which goes by the key.
func (s *set) perLine() int {
	switch {
	case len(s.key) > 1:
		return 1
	case s.key[0] == tIPv4:
		return 2
	case s.key[0] == tInteger || s.key[0] == tPort || s.key[0] == tFrame:
		return 5
	}
	return 1
}

func (s *set) elementText(e *elem) string {
	text := s.key.text(e.key, e.last)
	if s.counter {
		text += " counter packets 0 bytes 0"
	}
	if e.comment != "" {
		text += fmt.Sprintf(" comment %q", e.comment)
	}
	switch {
	case s.verdict:
		text += " : " + e.verdict
	case s.data != nil:
		text += " : " + s.data.text(e.data, nil)
	}
	return text
}
