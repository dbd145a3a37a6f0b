// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// nativeMu is held for a call: policies written against sdk/go share a scratch.
var nativeMu sync.Mutex

// A nativePolicy runs the Go source of a shipped policy in this process, on the
// bytes that its module would get. A test of plugins/builtin holds the two to the
// same answers.
type nativePolicy struct {
	p      policy.Policy
	hidden uint16 // the readings that it does not ask for
	states map[nativeState][]byte
	buf    []byte
}

// A nativeState is whose state it is; backend 0 is the service itself.
type nativeState struct {
	service string
	backend uint64
}

func newNativePolicy(p policy.Policy) (*nativePolicy, error) {
	n := &nativePolicy{p: p, states: map[nativeState][]byte{}}
	m, err := abi.ParseManifest(policy.Manifest([]*policy.Policy{&p}))
	if err != nil {
		return nil, fmt.Errorf("read manifest of policy %s: %w", p.Name, err)
	}
	n.hidden = m.Policies[0].Hidden()
	return n, nil
}

// Schedule implements sim.Scheduler.
func (n *nativePolicy) Schedule(_ context.Context, calls []core.Call) []core.Result {
	out := make([]core.Result, len(calls))
	for i := range calls {
		out[i].Weights, out[i].Err = n.call(&calls[i].Snapshot)
	}
	return out
}

func (n *nativePolicy) call(s *core.Snapshot) ([]float64, error) {
	f, err := n.frame(s)
	if err != nil {
		return nil, err
	}
	if n.buf, err = abi.Encode(n.buf, s, f); err != nil {
		return nil, err
	}
	nativeMu.Lock()
	err = n.p.Run(n.buf)
	nativeMu.Unlock()
	if err != nil {
		return nil, err
	}
	a, err := abi.Decode(n.buf[abi.AnswerOffset(n.buf):], s, f)
	if err != nil {
		return nil, err
	}
	n.keep(nativeState{s.Service, 0}, a.Service)
	for i, b := range s.Backends {
		n.keep(nativeState{s.Service, b.ID}, a.Backend[i])
	}
	return a.Weights, nil
}

func (n *nativePolicy) keep(whose nativeState, state []byte) {
	n.states[whose] = append(n.states[whose][:0], state...)
}

func (n *nativePolicy) frame(s *core.Snapshot) (abi.Frame, error) {
	f := abi.Frame{Hidden: n.hidden, BackendSlots: n.p.BackendSlots, ServiceSlots: n.p.ServiceSlots,
		Service: n.states[nativeState{s.Service, 0}],
		Backend: func(id uint64) []byte { return n.states[nativeState{s.Service, id}] }}
	for range n.p.Params {
		f.Params = append(f.Params, math.NaN())
	}
	for name, v := range s.Params {
		i := slices.IndexFunc(n.p.Params, func(q policy.Param) bool { return q.Name == name })
		switch {
		case i < 0:
			return f, fmt.Errorf("policy %s has no parameter %q", n.p.Name, name)
		case !(n.p.Params[i].Min <= v && v <= n.p.Params[i].Max): // which no NaN is
			return f, fmt.Errorf("parameter %s of policy %s is %g; want %g to %g", name, n.p.Name, v, n.p.Params[i].Min, n.p.Params[i].Max)
		}
		f.Params[i] = v
	}
	return f, nil
}
