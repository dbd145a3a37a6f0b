// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A lead is the shares that a service goes by while another node decides them: a vector
// of its leader or, until the first one comes, what was in force here.
type lead struct {
	vector core.Vector
	heard  time.Time // zero: what was in force here
}

// given is what a lead says of one backend.
type given struct {
	core.VectorBackend
	known bool
}

// share is the part of all new connections that the leader gives it.
func (g given) share() float64 { return float64(g.Slots) / core.Slots }

// of is what the lead says of each backend, which go by their names.
func (l *lead) of(backends []*backend) []given {
	out, list := make([]given, len(backends)), l.vector.Backends
	var index map[string]int // of list; it takes none where both list the same
	for i, b := range backends {
		at, known := i, i < len(list) && list[i].Name == b.spec.Name
		if !known {
			if index == nil {
				index = l.index()
			}
			at, known = index[b.spec.Name]
		}
		out[i].Opinion = core.Hold
		if known {
			out[i] = given{list[at], true}
			out[i].Opinion = usable(out[i].Opinion)
		}
	}
	return out
}

func (l *lead) index() map[string]int {
	index := make(map[string]int, len(l.vector.Backends))
	for i, b := range l.vector.Backends {
		if _, twice := index[b.Name]; !twice {
			index[b.Name] = i
		}
	}
	return index
}

// usable is an opinion of another node as Shape takes it.
func usable(opinion float64) float64 {
	if opinion >= 0 && !math.IsInf(opinion, 1) {
		return opinion
	}
	return core.Hold
}

// inForceHere is the lead of a service that follows and knows no leader yet: its shares go
// on as they are. It is nil where there are none, as on a new node.
func (s *service) inForceHere() *lead {
	l := &lead{vector: core.Vector{Service: s.spec.Name, Policy: s.spec.Policy, PolicyVersion: s.version}}
	any := false
	for i, b := range s.backends {
		slots := uint32(math.Round(b.share * core.Slots))
		if len(s.slots) == len(s.backends) {
			slots = s.slots[i]
		}
		any = any || slots > 0
		l.vector.Backends = append(l.vector.Backends, core.VectorBackend{Name: b.spec.Name, Slots: slots, Opinion: b.opinion, Health: b.health})
	}
	if !any {
		return nil
	}
	return l
}

// follow makes the shares of a service that another node leads: the leader's slots as they
// are while all who have some can serve here, so that all nodes have the same. Who
// cannot has none, and the rest is shared out in the leader's proportions. It depends on
// nothing but the vector and in, which it may change: nodes that see the same backends
// as well have the same shares.
func (s *service) follow(d *core.Decision, in []core.ShapeBackend) ([]core.Shaped, []uint32) {
	f := following{s: s, in: in, lead: s.lead}
	if f.lead == nil {
		f.lead = &lead{}
	}
	f.given = f.lead.of(s.backends)
	f.blind()
	f.shaped = core.Shape(s.spec.Shaping, s.spec.MinUp, in, core.Free)
	f.share()
	f.explain()
	f.sign(d)
	return f.shaped, f.slots
}

// A following is one run of follow.
type following struct {
	s      *service
	lead   *lead
	in     []core.ShapeBackend
	given  []given
	shaped []core.Shaped // what this node would do with the leader's opinions, then what it does
	slots  []uint32
	alone  bool // the leader's slots serve nobody here, and the opinions do
}

// blind takes from the input what only this node knows and what depends on the time: the
// shares before, and slow start, which the leader's slots have in them. A backend that was
// not heard of here is as well as the leader says, so that a new node serves at once.
func (f *following) blind() {
	for i := range f.in {
		b, g := &f.in[i], f.given[i]
		b.Opinion, b.HeldFor, b.Held, b.Prev, b.UpFor = g.Opinion, 0, 0, 0, -1
		if b.Health == core.Unknown && g.known && g.Health == core.Up {
			b.Health = core.Up
		}
	}
}

// may reports whether a backend can have slots here: it is able to serve, or it serves for
// want of those who are.
func (f *following) may(i int) bool {
	b := f.in[i]
	able := b.Weight > 0 && !b.Drained && !b.Sorry && !b.Full && b.Health == core.Up
	return able || f.shaped[i].Share > 0
}

// share settles the slots.
func (f *following) share() {
	left := make([]float64, len(f.in))
	f.alone = true
	for i, g := range f.given {
		if f.may(i) {
			left[i] = float64(g.Slots)
			f.alone = f.alone && g.Slots == 0
		}
	}
	// In a panic all serve, the dead ones too. If the leader does not panic, its slots
	// leave some out.
	f.alone = f.alone || f.panics() && !f.coversAll()
	if f.alone {
		for i := range left {
			left[i] = f.shaped[i].Share
		}
	}
	f.slots = core.Quantize(left)
	for i := range f.shaped {
		f.shaped[i].Share = float64(f.slots[i]) / core.Slots
	}
}

func (f *following) panics() bool {
	for i := range f.shaped {
		if hasStep(f.shaped[i].Steps, "panic") {
			return true
		}
	}
	return false
}

func (f *following) coversAll() bool {
	for i := range f.shaped {
		if f.shaped[i].Share > 0 && f.given[i].Slots == 0 {
			return false
		}
	}
	return true
}

// sign names the leader in a decision that follows it.
func (f *following) sign(d *core.Decision) {
	v := f.lead.vector
	d.Policy, d.PolicyVersion = cmp.Or(v.Policy, f.s.spec.Policy), v.PolicyVersion
	d.PolicyError, d.PolicySeconds, d.SnapshotSeq = "", 0, 0
	if f.lead.heard.IsZero() {
		return
	}
	d.Leader = &core.LeaderView{
		Node: v.Node, Epoch: v.Epoch, Seq: v.Seq, Decision: v.Decision, At: v.At.UTC(), HeardAt: f.lead.heard.UTC(), Gated: f.gated(),
	}
}

// gated are the backends that the leader feeds and this node does not.
func (f *following) gated() (names []string) {
	for i, g := range f.given {
		if g.Slots > 0 && f.slots[i] == 0 {
			names = append(names, g.Name)
		}
	}
	return names
}

// leaderName is who leads a service that this node follows, as text for people.
func (s *service) leaderName() string {
	if s.lead == nil || s.lead.heard.IsZero() {
		return "another node"
	}
	return s.lead.vector.Node
}

// leadsElsewhere is the error of a command that only the leader of a service can follow.
func (s *service) leadsElsewhere(id core.BackendID) error {
	where := "there"
	if s.leaderName() == "another node" {
		where = "there: `steelyard show` on the nodes of the group says which"
	}
	return fmt.Errorf("weight %s: %w: %s is led by %s; set the weight %s. A drain works on each node", id, ErrNotLeading, s.spec.Name, s.leaderName(), where)
}
