// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

func nothing() {}

// generation is the number of the ruleset in force. Every transaction of
// anybody adds one.
func (s *socket) generation() (uint32, error) {
	var gen uint32
	b := s.request(unix.NFT_MSG_GETGEN, 0)
	err := s.answer(b, nothing, func(body []byte) error {
		gen = nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_GEN_ID))
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read generation: %w", err)
	}
	return gen, nil
}

// A tableState is what the kernel says of a table itself.
type tableState struct {
	exists  bool
	flags   uint32
	owner   uint32 // port of the socket that owns it; 0 if none does
	comment string
}

func (s *socket) table(name string) (tableState, error) {
	var t tableState
	b := s.request(unix.NFT_MSG_GETTABLE, 0)
	b.str(unix.NFTA_TABLE_NAME, name)
	err := s.answer(b, nothing, func(body []byte) error {
		t.exists = true
		a := nlmsg.Attrs{Rest: body}
		for a.Next() {
			switch a.Type {
			case unix.NFTA_TABLE_FLAGS:
				t.flags = nlmsg.Uint32(a.Value)
			case nftaTableOwner:
				t.owner = nlmsg.Uint32(a.Value)
			case nftaTableUserdata:
				t.comment = commentOf(a.Value)
			}
		}
		return a.Err
	})
	if errors.Is(err, unix.ENOENT) {
		return tableState{}, nil
	}
	if err != nil {
		return tableState{}, fmt.Errorf("read table %s: %w", name, err)
	}
	return t, nil
}

// elements dumps a set. restart is called before each try.
func (s *socket) elements(table, set string, restart func(), each func(element) error) error {
	b := s.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP)
	b.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	err := s.answer(b, restart, func(body []byte) error { return parseElements(body, each) })
	if err != nil {
		return fmt.Errorf("read set %s: %w", set, err)
	}
	return nil
}

// weights reads a weights map. It is valid until r is used again.
func (s *socket) weights(table string, of *set, r *weightsReader) (weightMap, error) {
	r.places = 0
	if !of.interval() {
		r.places = int(of.size)
	}
	if err := s.elements(table, of.name, r.reset, r.add); err != nil {
		return weightMap{set: of}, err
	}
	return r.weights(of)
}

// elementsOf reads a set whole.
func (s *socket) elementsOf(table string, of *set) ([]elem, error) {
	r := spanReader{spans: of.spans()}
	if err := s.elements(table, of.name, r.reset, r.add); err != nil {
		return nil, err
	}
	list, err := r.elems()
	if err != nil {
		return nil, fmt.Errorf("read set %s: %w", of.name, err)
	}
	return list, nil
}

// counters calls each for the named counters of the table.
func (s *socket) counters(table string, restart func(), each func(name string, c counter)) error {
	b := s.request(unix.NFT_MSG_GETOBJ, unix.NLM_F_DUMP)
	b.str(unix.NFTA_OBJ_TABLE, table)
	b.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	err := s.answer(b, restart, func(body []byte) error {
		// Older kernels ignore the filter.
		if nlmsg.Text(nlmsg.Find(body, unix.NFTA_OBJ_TABLE)) == table && nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_OBJ_TYPE)) == unix.NFT_OBJECT_COUNTER {
			each(nlmsg.Text(nlmsg.Find(body, unix.NFTA_OBJ_NAME)), parseCounter(nlmsg.Find(body, unix.NFTA_OBJ_DATA)))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	return nil
}

// dump calls each for the chains, sets, rules or objects of a table. One that is
// begun again because the ruleset changed tells some of them twice.
func (s *socket) dump(msg int, table string, tableAttr uint16, each func(body []byte) error) error {
	b := s.request(msg, unix.NLM_F_DUMP)
	if msg != unix.NFT_MSG_GETCHAIN { // whose dump knows no filter
		b.str(tableAttr, table)
	}
	err := s.answer(b, nothing, func(body []byte) error {
		if nlmsg.Text(nlmsg.Find(body, tableAttr)) == table {
			return each(body)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read table %s: %w", table, err)
	}
	return nil
}

// allCounters is counters for both tables; there need not be a second.
func (s *socket) allCounters(table string, each func(name string, c counter)) error {
	err := s.counters(table, nothing, each)
	s.req.linked = true
	defer func() { s.req.linked = false }()
	if second := s.counters(table, nothing, each); err == nil && !errors.Is(second, unix.ENOENT) {
		err = second
	}
	return err
}
