// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/engine"
)

// A dataPlane is the kernel of a node as the daemon needs it; nft.Applier is one.
type dataPlane interface {
	engine.Applier
	Sessions(ctx context.Context, plan core.ServicePlan, f core.SessionFilter, limit int) (core.Sessions, error)
	Features() []core.Feature
	Owned() bool
	Flush(ctx context.Context) error
	Close() error
}

// A noKernel is the data plane of a node that carries no traffic: one without the role
// apply. What the engine decides there goes to the nodes that do.
type noKernel struct{}

// Adopt finds nothing, ever.
func (noKernel) Adopt(context.Context) (core.Plan, bool, error) { return core.Plan{}, false, nil }

// Sync is done when it begins.
func (noKernel) Sync(context.Context, core.Plan) (core.Commit, map[string]error, error) {
	return core.Commit{At: time.Now().UTC()}, nil, nil
}

// Reweight is done when it begins.
func (noKernel) Reweight(context.Context, []core.ServicePlan) (core.Commit, error) {
	return core.Commit{At: time.Now().UTC()}, nil
}

// Counters has counted nothing.
func (noKernel) Counters(context.Context) (map[core.CounterKey]core.Counters, error) {
	return map[core.CounterKey]core.Counters{}, nil
}

// Tend has nothing to tend.
func (noKernel) Tend(context.Context) (time.Duration, error) { return 0, nil }

var errNoKernel = errors.New("this node carries no traffic (roles has no apply); ask one that does")

// Forget refuses: an operator who asks here means another node.
func (noKernel) Forget(context.Context, string, core.SessionFilter) (int, error) {
	return 0, errNoKernel
}

// Sessions refuses, for the same reason.
func (noKernel) Sessions(context.Context, core.ServicePlan, core.SessionFilter, int) (core.Sessions, error) {
	return core.Sessions{}, errNoKernel
}

func (noKernel) Features() []core.Feature    { return nil }
func (noKernel) Owned() bool                 { return false }
func (noKernel) Flush(context.Context) error { return nil }
func (noKernel) Close() error                { return nil }

// A farAway is the neighbourhood of a node without traffic: it sends no frame to any
// backend, so none is out of its reach.
type farAway struct{}

func (farAway) Watch([]netip.Addr)       {}
func (farAway) Why(netip.Addr) string    { return "" }
func (farAway) Changed() <-chan struct{} { return nil }

// Hop is not the zero one, which is a way that is not known.
func (farAway) Hop(netip.Addr) (core.Hop, bool) { return core.Hop{Device: "elsewhere"}, true }
