// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

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
