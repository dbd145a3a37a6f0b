// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// FuzzDecode feeds bytes to all that reads what comes from the kernel. It must
// not panic, whatever they are.
func FuzzDecode(f *testing.F) {
	var b batch
	p := manyServices(3, 3)
	b.reset(1)
	b.skeleton(DefaultTable, 0, false)
	w := &writer{b: &b, table: DefaultTable, seed: &snapshot{counts: map[core.BackendID]counter{{Service: "s0000", Backend: "b000"}: {1, 60}}}}
	for i := range p.Services {
		w.create(&p.Services[i])
	}
	b.finish()
	f.Add(slices.Clone(b.buf))
	for m := (messages{rest: b.buf}); m.next(); {
		f.Add(slices.Clone(m.body))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		for m := (messages{rest: data}); m.next(); {
			decodeAll(m.body)
			parseError(m.body)
			errorText(m.body, m.flags)
			errorText(m.body, 0xffff)
		}
		decodeAll(data)
	})
}

func decodeAll(body []byte) {
	body = body[min(nfgenmsg, len(body)):]
	l := &snapshot{services: map[string]*core.ServicePlan{}, unknown: map[string]bool{}, counts: map[core.BackendID]counter{}}
	r4, r6 := intervalReader{}, intervalReader{v6: true}
	_ = parseElements(body, func(e element) error {
		for set := range sharedSets {
			if set.isServices() {
				_ = l.service(set, e)
			} else {
				_ = l.backend(set, e)
			}
		}
		_, _ = r4.add(e), r6.add(e)
		return nil
	})
	for _, r := range []*intervalReader{&r4, &r6} {
		ivs, err := r.intervals()
		if err != nil {
			continue
		}
		for _, s := range l.services {
			l.weights(s, ivs)
		}
	}
	_ = commentOf(body)
	_ = parseCounter(body)
}

// TestDecodeReadsWhatIsEncoded needs no kernel: the messages that make a
// service are read back as those of a dump.
func TestDecodeReadsWhatIsEncoded(t *testing.T) {
	var b batch
	p := manyServices(3, 1000) // more elements than fit one message
	b.reset(1)
	w := &writer{b: &b, table: DefaultTable}
	for i := range p.Services {
		w.create(&p.Services[i])
	}
	b.finish()
	l := &snapshot{services: map[string]*core.ServicePlan{}, unknown: map[string]bool{}, counts: map[core.BackendID]counter{}}
	sets := map[string][]element{}
	for m := (messages{rest: b.buf}); m.next(); {
		if len(m.body) > 0xffff {
			t.Fatalf("a message of %d bytes", len(m.body))
		}
		if m.typ&0xff != 12 { // NFT_MSG_NEWSETELEM
			continue
		}
		set := text(find(m.body[nfgenmsg:], 2)) // NFTA_SET_ELEM_LIST_SET
		if err := parseElements(m.body[nfgenmsg:], func(e element) error {
			sets[set] = append(sets[set], e)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for set := range sharedSets {
		for _, e := range sets[set.String()] {
			read := l.backend
			if set.isServices() {
				read = l.service
			}
			if err := read(set, e); err != nil {
				t.Errorf("set %v: %v", set, err)
			}
		}
	}
	for i := range p.Services {
		want := &p.Services[i]
		got := l.services[want.Name]
		if got == nil || len(got.Backends) != len(want.Backends) {
			t.Fatalf("service %s: read %+v", want.Name, got)
		}
		r := intervalReader{v6: want.VIP.Is6()}
		for _, e := range sets[weightsName(want.Name)] {
			if err := r.add(e); err != nil {
				t.Fatal(err)
			}
		}
		ivs, err := r.intervals()
		if err != nil || !slices.Equal(ivs, intervals(nil, want)) {
			t.Errorf("service %s: read %v, %v", want.Name, ivs, err)
		}
	}
}
