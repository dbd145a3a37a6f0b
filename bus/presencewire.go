// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
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
