// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"net/netip"
	"reflect"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// A question is what a watch asks, and whom. Probes of several services that come to
// the same question are answered by one run.
type question struct {
	addr netip.AddrPort
	spec *core.ProbeSpec // of several that ask alike the one that a catalogue chose
	own  watchKey        // of a question that only one target asks; zero else
}

// A catalogue knows which specs ask alike: those that differ in nothing but Name,
// Role, Rise and Fall, which are about what follows from the answers. Secrets count,
// so JSON is no help: they hide themselves in it.
type catalogue struct {
	seed   maphash.Seed
	chosen map[*core.ProbeSpec]*core.ProbeSpec // of every spec seen the one for all that ask alike
	byHash map[uint64][]*core.ProbeSpec        // the chosen
}

func newCatalogue() *catalogue {
	return &catalogue{
		seed:   maphash.MakeSeed(),
		chosen: make(map[*core.ProbeSpec]*core.ProbeSpec),
		byHash: make(map[uint64][]*core.ProbeSpec),
	}
}

// question of a target.
func (c *catalogue) question(t Target) question {
	q := question{addr: asked(t), spec: c.choose(t.Spec)}
	if personal(t.Spec) {
		q.own = watchKey{t.ID, t.Spec.Name}
	}
	return q
}

// choose returns the first spec seen that asks as s does.
func (c *catalogue) choose(s *core.ProbeSpec) *core.ProbeSpec {
	if known := c.chosen[s]; known != nil {
		return known
	}
	bare := bareSpec(s)
	hash := c.hash(&bare)
	for _, known := range c.byHash[hash] {
		if other := bareSpec(known); reflect.DeepEqual(&bare, &other) {
			c.chosen[s] = known
			return known
		}
	}
	c.chosen[s] = s
	c.byHash[hash] = append(c.byHash[hash], s)
	return s
}

// bareSpec is what s asks.
func bareSpec(s *core.ProbeSpec) core.ProbeSpec {
	bare := *s
	bare.Name, bare.Role, bare.Rise, bare.Fall = "", "", 0, 0
	return bare
}

// asked is the address that a target's probe goes to. Two backends of one machine have
// one SNMP agent.
func asked(t Target) netip.AddrPort {
	switch t.Spec.Type {
	case core.ProbePing, core.ProbeSNMPCPU, core.ProbeSNMP:
		return netip.AddrPortFrom(t.Addr.Addr(), 0)
	case core.ProbeExec:
		return t.Addr // the command may be told the port
	}
	return t.addr()
}

// personal reports whether the answer is about the backend by name, and so nobody
// else's.
func personal(s *core.ProbeSpec) bool {
	for _, word := range s.Exec.Command {
		if strings.Contains(word, "{service}") || strings.Contains(word, "{backend}") {
			return true
		}
	}
	return false
}

// hash is the same for specs that reflect.DeepEqual calls equal. It keeps 10,000
// specs from being compared each with each.
func (c *catalogue) hash(s *core.ProbeSpec) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	hashValue(&h, reflect.ValueOf(s).Elem())
	return h.Sum64()
}

// hashValue takes in what a spec is made of. What it does not know it leaves to the
// comparison.
func hashValue(h *maphash.Hash, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		hashNumber(h, uint64(v.Len()))
		_, _ = h.WriteString(v.String()) // never fails
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		hashNumber(h, uint64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		hashNumber(h, v.Uint())
	case reflect.Float64:
		hashNumber(h, math.Float64bits(v.Float()+0)) // -0 is equal to 0
	case reflect.Bool:
		hashNumber(h, map[bool]uint64{true: 1}[v.Bool()])
	case reflect.Slice:
		hashNumber(h, uint64(v.Len()))
		for i := range v.Len() {
			hashValue(h, v.Index(i))
		}
	case reflect.Map:
		hashMap(h, v)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[netip.Addr]() {
			text := v.Interface().(netip.Addr).String()
			_, _ = h.WriteString(text) // never fails
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				hashValue(h, v.Field(i))
			}
		}
	}
}

// hashMap takes in a map, in whatever order its members come.
func hashMap(h *maphash.Hash, v reflect.Value) {
	var sum uint64
	for members := v.MapRange(); members.Next(); {
		var member maphash.Hash
		member.SetSeed(h.Seed())
		hashValue(&member, members.Key())
		hashValue(&member, members.Value())
		sum += member.Sum64()
	}
	hashNumber(h, uint64(v.Len()))
	hashNumber(h, sum)
}

func hashNumber(h *maphash.Hash, n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	_, _ = h.Write(b[:]) // never fails
}
