// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A presenceBody is a core.Presence on the wire.
type presenceBody struct {
	V     int    `json:"v"`
	Node  string `json:"node"`
	Group string `json:"group"`
	Inst  string `json:"inst"`
	Seq   uint64 `json:"seq"`
	TS    stamp  `json:"ts"`
	// Uptime is how long the bus of the node has run, by a clock that nobody sets: the
	// delay of a presence is counted by it, so that a clock set back silences no node.
	Uptime float64 `json:"uptime_seconds,omitempty"`

	Roles      []string `json:"roles"`
	Version    string   `json:"version,omitempty"`
	ConfigHash string   `json:"config_hash,omitempty"`
	Revision   uint64   `json:"revision,omitempty"`
	StartedAt  *stamp   `json:"started_at,omitempty"`
	Epoch      uint64   `json:"epoch"`
	Suspects   bool     `json:"suspects"`
	Leaving    bool     `json:"leaving"`
}

func presenceToBody(p *core.Presence, uptime time.Duration) presenceBody {
	b := presenceBody{
		V: WireVersion, Node: p.Node, Group: p.Group, Inst: p.Inst, Seq: p.Seq, TS: stamp(p.At), Uptime: uptime.Seconds(),
		Roles: p.Roles.Names(), Version: p.Version, ConfigHash: p.ConfigHash, Revision: p.Revision,
		Epoch: p.Epoch, Suspects: p.Suspects, Leaving: p.Leaving,
	}
	if b.Roles == nil {
		b.Roles = []string{} // a list without roles, not none
	}
	if !p.StartedAt.IsZero() {
		at := stamp(p.StartedAt)
		b.StartedAt = &at
	}
	return b
}

func (b *presenceBody) check() error {
	if err := checkVersion(b.V); err != nil {
		return err
	}
	if err := checkNames(field{"node", b.Node}, field{"group", b.Group}, field{"inst", b.Inst}); err != nil {
		return err
	}
	if b.Seq == 0 {
		return fmt.Errorf("seq: is missing or 0; it counts up from 1 within inst")
	}
	if err := checkTexts(field{"version", b.Version}, field{"config_hash", b.ConfigHash}); err != nil {
		return err
	}
	if err := b.TS.check(); err != nil {
		return fmt.Errorf("ts: %w", err)
	}
	if err := checkSeconds(b.Uptime, maxUptime); err != nil {
		return fmt.Errorf("uptime_seconds: %w", err)
	}
	if b.StartedAt != nil {
		if err := b.StartedAt.check(); err != nil {
			return fmt.Errorf("started_at: %w", err)
		}
	}
	_, err := roles(b.Roles)
	return err
}

func (b *presenceBody) presence() core.Presence {
	p := core.Presence{
		Node: b.Node, Group: b.Group, Inst: b.Inst, Seq: b.Seq, At: time.Time(b.TS), Version: b.Version, ConfigHash: b.ConfigHash,
		Revision: b.Revision, Epoch: b.Epoch, Suspects: b.Suspects, Leaving: b.Leaving,
	}
	p.Roles, _ = roles(b.Roles) // was checked
	if b.StartedAt != nil {
		p.StartedAt = time.Time(*b.StartedAt)
	}
	return p
}

// roles reads what core.Roles.Names writes.
func roles(names []string) (core.Roles, error) {
	var r core.Roles
	for _, name := range names {
		role := map[string]*bool{"probe": &r.Probe, "schedule": &r.Schedule, "apply": &r.Apply}[name]
		switch {
		case role == nil:
			return r, fmt.Errorf("roles: unknown role %q; want %s", cut(name, MaxNameBytes), core.AllRoles)
		case *role:
			return r, fmt.Errorf("roles: %q is there twice", name)
		}
		*role = true
	}
	return r, nil
}

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
}

func vectorToBody(v *core.Vector) vectorBody {
	b := vectorBody{
		V: WireVersion, Service: v.Service, Group: v.Group, Node: v.Node, Epoch: v.Epoch, Seq: v.Seq, TS: stamp(v.At),
		DecisionSeq: v.Decision, Policy: v.Policy, PolicyVersion: v.PolicyVersion,
		Backends: make([]vectorBackendBody, len(v.Backends)),
	}
	if v.Decision != 0 {
		b.Decision = DecisionID(v.Node, v.Decision)
	}
	for i := range v.Backends {
		from := &v.Backends[i]
		b.Backends[i] = vectorBackendBody{Name: from.Name, Slots: from.Slots, Health: from.Health}
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
		v.Backends[i] = core.VectorBackend{Name: from.Name, Slots: from.Slots, Opinion: core.Hold, Health: from.Health}
		if from.Opinion != nil {
			v.Backends[i].Opinion = *from.Opinion
		}
	}
	return v
}

// A flowsBody is a core.FlowReport on the wire.
type flowsBody struct {
	V        int        `json:"v"`
	Node     string     `json:"node"`
	Group    string     `json:"group"`
	Inst     string     `json:"inst"`
	Service  string     `json:"service"`
	TS       stamp      `json:"ts"`
	Live     bool       `json:"live"`
	Backends []flowBody `json:"backends"`
}

type flowBody struct {
	Name   string `json:"name"`
	Open   uint64 `json:"open_connections"`
	Opened uint64 `json:"opened_total"`
	Closed uint64 `json:"closed_total"`
}

func flowsToBody(r *core.FlowReport, group string) flowsBody {
	b := flowsBody{
		V: WireVersion, Node: r.Node, Group: group, Inst: r.Inst, Service: r.Service, TS: stamp(r.At), Live: r.Live,
		Backends: make([]flowBody, len(r.Backends)),
	}
	for i, f := range r.Backends {
		b.Backends[i] = flowBody(f)
	}
	return b
}

func (b *flowsBody) check() error {
	if err := checkVersion(b.V); err != nil {
		return err
	}
	err := checkNames(field{"node", b.Node}, field{"group", b.Group}, field{"inst", b.Inst}, field{"service", b.Service})
	if err != nil {
		return err
	}
	if err := b.TS.check(); err != nil {
		return fmt.Errorf("ts: %w", err)
	}
	if len(b.Backends) > MaxBackends {
		return fmt.Errorf("backends: %d of them, want at most %d", len(b.Backends), MaxBackends)
	}
	seen := make(map[string]bool, len(b.Backends))
	for i, f := range b.Backends {
		if err := checkName(f.Name); err != nil {
			return fmt.Errorf("backends[%d]: name: %w", i, err)
		}
		if seen[f.Name] {
			return fmt.Errorf("backends: %q is there twice", f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

func (b *flowsBody) report() core.FlowReport {
	r := core.FlowReport{Node: b.Node, Inst: b.Inst, Service: b.Service, At: time.Time(b.TS), Live: b.Live,
		Backends: make([]core.FlowOf, len(b.Backends))}
	for i, f := range b.Backends {
		r.Backends[i] = core.FlowOf(f)
	}
	return r
}

// A clusterBody is a body of one of the three classes by which nodes meet.
type clusterBody interface {
	check() error
	// said are the names of the body in the order of the subject's.
	said() []string
}

func (b *presenceBody) said() []string { return []string{b.Group, b.Node} }
func (b *vectorBody) said() []string   { return []string{b.Group, b.Service, b.Node} }
func (b *flowsBody) said() []string    { return []string{b.Group, b.Service, b.Node} }

// decodeCluster reads the body of a class by which nodes meet. Its errors name the
// subject, the field and the cause.
func decodeCluster(subj string, where Subject, data []byte, b clusterBody) error {
	err := parseBody(data, b)
	if err == nil {
		err = b.check()
	}
	if err == nil && !slices.Equal(b.said(), where.Names) {
		err = fmt.Errorf("body says %q, subject says %q: %w", b.said(), where.Names, errMismatch)
	}
	if err != nil {
		return fmt.Errorf("decode %s: %w", subj, err)
	}
	return nil
}
