// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A node without traffic decides for those that carry it: the shares of dsr too, although
// it will never know a link address.
func TestNoKernelDecidesDSR(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		backend := core.Backend{Name: "b1", Addr: netip.MustParseAddrPort("192.0.2.1:80"), Weight: 1}
		web := core.Service{
			Name: "web", Policy: "weighted", Every: time.Second, Backends: []core.Backend{backend},
			Traffic: core.Traffic{
				Frontends:  []core.Frontend{{VIP: netip.MustParsePrefix("192.0.2.100/32"), Protocol: core.TCP, Ports: core.PortRange{First: 80, Last: 80}}},
				Forwarding: core.DSR,
			},
		}
		e := engine.New(engine.Config{
			Node: "s1", Scheduler: evenly{}, Applier: noKernel{}, Neighbours: farAway{}, Publisher: unheard{}, Log: slog.New(slog.DiscardHandler),
		}, engine.Setup{Services: []core.Service{web}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		time.Sleep(5 * time.Second)
		v, err := e.View(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if b := v.Services[0].Backends[0]; b.Slots != core.Slots {
			t.Errorf("%s has %d slots, want all: %s", b.Name, b.Slots, b.Why)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A node without traffic tells nobody of transactions: it has none, and its user may not
// publish on commit.<node>.
func TestNoKernelPublishesNoCommits(t *testing.T) {
	b, err := bus.Start(t.Context(), bus.Options{Node: "s1"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	heard := make(chan []byte, 2)
	if _, err := b.Subscribe("commit.s1", func(_ string, data []byte) { heard <- data }); err != nil {
		t.Fatal(err)
	}
	p := publisher{bus: b, log: slog.New(slog.DiscardHandler)}
	synced, _, err := noKernel{}.Sync(t.Context(), core.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	p.Commit(synced)
	p.Commit(core.Commit{At: time.Now(), Generation: 7})
	var c struct {
		Generation uint32 `json:"generation"`
	}
	if err := json.Unmarshal(<-heard, &c); err != nil || c.Generation != 7 {
		t.Errorf("heard of generation %d first (%v), want the 7 of a kernel", c.Generation, err)
	}
}

// evenly gives all the same.
type evenly struct{}

func (evenly) Schedule(_ context.Context, calls []core.Call) []core.Result {
	out := make([]core.Result, len(calls))
	for i, c := range calls {
		for range c.Snapshot.Backends {
			out[i].Weights = append(out[i].Weights, 1)
		}
	}
	return out
}

// unheard tells nobody.
type unheard struct{}

func (unheard) Health(core.HealthChange) {}
func (unheard) Decision(core.Decision)   {}
func (unheard) Commit(core.Commit)       {}
func (unheard) Event(core.Event)         {}
