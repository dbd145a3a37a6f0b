// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A vectorBody is a core.Vector on the wire.
type vectorBody struct {
	V       int    `json:"v"`
	Service string `json:"service"`
	Group   string `json:"group"`
	Node    string `json:"node"`
	Epoch   uint64 `json:"epoch"`
	Seq     uint64 `json:"seq"`
	TS      stamp  `json:"ts"`
	// Decision is the id of the leader's decision, as in the body of that; DecisionSeq
	// the number in it.
	Decision      string              `json:"decision,omitempty"`
	DecisionSeq   uint64              `json:"decision_seq"`
	Policy        string              `json:"policy,omitempty"`
	PolicyVersion string              `json:"policy_version,omitempty"`
	Backends      []vectorBackendBody `json:"backends"`
}

type vectorBackendBody struct {
	Name    string           `json:"name"`
	Slots   uint32           `json:"slots"`
	Opinion *float64         `json:"opinion"` // null: the policy held it back
	Health  core.HealthState `json:"health"`
	Note    string           `json:"note,omitempty"` // core.VectorBackend says of what kind
}

// maxNotes is how many bytes the notes of a vector may have as JSON. Without them one of
// MaxBackends has half of what a NATS takes by default, and the slots must arrive.
const maxNotes = 384 << 10

// noteBytes is how long a note is as JSON, or a little less.
func noteBytes(note string) int {
	n := len(note)
	for i := range len(note) {
		switch note[i] {
		case '<', '>', '&': // \u003c
			n += 5
		case '"', '\\':
			n++
		}
	}
	return n
}

// vectorToBody leaves out the notes that do not fit any more.
func vectorToBody(v *core.Vector) vectorBody {
	b := vectorBody{
		V: WireVersion, Service: v.Service, Group: v.Group, Node: v.Node, Epoch: v.Epoch, Seq: v.Seq, TS: stamp(v.At),
		DecisionSeq: v.Decision, Policy: v.Policy, PolicyVersion: v.PolicyVersion,
		Backends: make([]vectorBackendBody, len(v.Backends)),
	}
	if v.Decision != 0 {
		b.Decision = DecisionID(v.Node, v.Decision)
	}
	notes := 0
	for i := range v.Backends {
		from := &v.Backends[i]
		b.Backends[i] = vectorBackendBody{Name: from.Name, Slots: from.Slots, Health: from.Health}
		if notes += noteBytes(from.Note); notes <= maxNotes {
			b.Backends[i].Note = from.Note
		}
		if from.Opinion != core.Hold {
			b.Backends[i].Opinion = &from.Opinion
		}
	}
	return b
}

func (b *vectorBody) check() error {
	if err := checkVersion(b.V); err != nil {
		return err
	}
	if err := checkNames(field{"service", b.Service}, field{"group", b.Group}, field{"node", b.Node}); err != nil {
		return err
	}
	if b.Epoch == 0 {
		return fmt.Errorf("epoch: is missing or 0")
	}
	if err := checkTexts(field{"policy", b.Policy}, field{"policy_version", b.PolicyVersion}); err != nil {
		return err
	}
	if err := b.TS.check(); err != nil {
		return fmt.Errorf("ts: %w", err)
	}
	want := ""
	if b.DecisionSeq != 0 {
		want = DecisionID(b.Node, b.DecisionSeq)
	}
	if b.Decision != "" && b.Decision != want {
		return fmt.Errorf("decision: %q, want %q by node and decision_seq", cut(b.Decision, MaxNameBytes), want)
	}
	return checkBackends(b.Backends)
}

func checkBackends(backends []vectorBackendBody) error {
	if len(backends) > MaxBackends {
		return fmt.Errorf("backends: %d of them, want at most %d", len(backends), MaxBackends)
	}
	var sum uint64
	seen := make(map[string]bool, len(backends))
	for i, one := range backends {
		if err := checkName(one.Name); err != nil {
			return fmt.Errorf("backends[%d]: name: %w", i, err)
		}
		if seen[one.Name] {
			return fmt.Errorf("backends: %q is there twice", one.Name)
		}
		seen[one.Name] = true
		if one.Slots > core.Slots {
			return fmt.Errorf("backends.%s: slots: %d, want at most %d", one.Name, one.Slots, core.Slots)
		}
		if o := one.Opinion; o != nil && !(*o >= 0) { // JSON has no infinity
			return fmt.Errorf("backends.%s: opinion: %v, want 0 or more, or null", one.Name, *o)
		}
		if err := core.CheckVectorNote(one.Note); err != nil {
			return fmt.Errorf("backends.%s: %w", one.Name, err)
		}
		sum += uint64(one.Slots)
	}
	if sum != 0 && sum != core.Slots {
		return fmt.Errorf("backends: slots add up to %d, want %d, or 0 where nobody serves", sum, core.Slots)
	}
	return nil
}

func (b *vectorBody) vector() core.Vector {
	v := core.Vector{
		Service: b.Service, Group: b.Group, Node: b.Node, Epoch: b.Epoch, Seq: b.Seq, At: time.Time(b.TS), Decision: b.DecisionSeq,
		Policy: b.Policy, PolicyVersion: b.PolicyVersion, Backends: make([]core.VectorBackend, len(b.Backends)),
	}
	for i, from := range b.Backends {
		v.Backends[i] = core.VectorBackend{Name: from.Name, Slots: from.Slots, Opinion: core.Hold, Health: from.Health, Note: from.Note}
		if from.Opinion != nil {
			v.Backends[i].Opinion = *from.Opinion
		}
	}
	return v
}
