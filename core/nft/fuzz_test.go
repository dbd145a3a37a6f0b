// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// FuzzDecode feeds bytes to all that reads what comes from the kernel. It must
// not panic, whatever they are.
func FuzzDecode(f *testing.F) {
	var b batch
	p := manyServices(3, 3)
	p.Services[0].Offload, p.OffloadDevices = true, []string{"eth0"}
	b.reset(DefaultTable, 1)
	b.newTable(0)
	list := []*change{{to: compileShared(needsOf(&p))}}
	for i := range p.Services {
		c := &change{name: p.Services[i].Name, to: compile(&p.Services[i])}
		c.to.elems[0].list[0].counter = counter{1, 60}
		list = append(list, c)
	}
	b.writeChanges(list)
	b.finish()
	f.Add(slices.Clone(b.buf))
	for m := (nlmsg.Messages{Rest: b.buf}); m.Next(); {
		f.Add(slices.Clone(m.Body))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		for m := (nlmsg.Messages{Rest: data}); m.Next(); {
			decodeAll(m.Body)
			nlmsg.Errno(m.Body)
			nlmsg.ErrorText(m.Body, m.Flags)
			nlmsg.ErrorText(m.Body, 0xffff)
		}
		decodeAll(data)
	})
}

func decodeAll(body []byte) {
	body = body[min(nlmsg.NfgenmsgLen, len(body)):]
	var r weightsReader
	table := weightsReader{places: 4}
	table.reset()
	flat, spans := spanReader{}, spanReader{spans: true}
	l := loader{&snapshot{shared: &fragment{}, services: map[string]*held{}}, map[string]*set{}}
	_ = parseElements(body, func(e element) error {
		for _, s := range []*set{services4, services6, ranges4, connSets[connKind{false, false, false}], connSets[connKind{true, true, true}]} {
			l.element(s, e.elem)
		}
		_, _, _, _ = r.add(e), table.add(e), flat.add(e), spans.add(e)
		return nil
	})
	_, _ = r.intervals()
	_, _ = table.weights(nil)
	_, _ = flat.elems()
	_, _ = spans.elems()
	for name, h := range l.services {
		planRead(name, h.read)
	}
	_, _ = parseSet(body)
	_ = sameExprs(body, body[len(body)/2:])
	_ = commentOf(body)
	_ = parseCounter(body)
	_ = parseFlowtable(body)
}

// TestDecodeReadsWhatIsEncoded needs no kernel: the messages that make a
// service are read back as those of a dump.
func TestDecodeReadsWhatIsEncoded(t *testing.T) {
	var b batch
	p := manyServices(3, 1000) // more elements than fit one message
	b.reset(DefaultTable, 1)
	list := []*change{{to: compileShared(needsOf(&p))}}
	for i := range p.Services {
		list = append(list, &change{name: p.Services[i].Name, to: compile(&p.Services[i])})
	}
	b.writeChanges(list)
	b.finish()
	sets := map[string][]element{}
	for m := (nlmsg.Messages{Rest: b.buf}); m.Next(); {
		if len(m.Body) > 0xffff {
			t.Fatalf("a message of %d bytes", len(m.Body))
		}
		if m.Type&0xff != 12 { // NFT_MSG_NEWSETELEM
			continue
		}
		set := nlmsg.Text(nlmsg.Find(m.Body[nlmsg.NfgenmsgLen:], 2)) // NFTA_SET_ELEM_LIST_SET
		if err := parseElements(m.Body[nlmsg.NfgenmsgLen:], func(e element) error {
			e.key, e.data = slices.Clone(e.key), slices.Clone(e.data)
			sets[set] = append(sets[set], e)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range list {
		for _, want := range c.to.elems {
			got := map[string]elem{}
			for _, e := range sets[want.set.name] {
				got[e.id()] = e.elem
			}
			for i := range want.list {
				if g := got[want.list[i].id()]; !want.list[i].same(&g) {
					t.Errorf("set %s: wrote %+v, read %+v", want.set.name, want.list[i], g)
				}
			}
		}
		for _, m := range c.to.maps {
			var r weightsReader
			for _, e := range sets[m.set.name] {
				if err := r.add(e); err != nil {
					t.Fatal(err)
				}
			}
			got, err := r.weights(m.set)
			if err != nil || !got.same(&m) {
				t.Errorf("map %s: read %v, %v", m.set.name, got, err)
			}
		}
	}
}
