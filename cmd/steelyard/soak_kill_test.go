// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A killer kills the daemon at moments of its choice.
type killer struct {
	*rig
	rand    *rand.Rand
	starts  time.Duration // how long a start takes
	over    func()        // ends what went on at the moment, when the daemon is dead
	kills   int
	commits uint64 // by the daemons that died in a storm
}

// TestSoakKills kills the daemon at random moments of its life: as it
// starts, when it has just taken the table over, in a reload, in a storm of
// re-weights. Clients must not notice.
func TestSoakKills(t *testing.T) {
	r := newRig(t, soakBackends)
	began := time.Now()
	r.soaking()
	seed := uint64(began.UnixNano())
	k := &killer{rig: r, rand: rand.New(rand.NewPCG(seed, 0)), starts: time.Since(began)}
	t.Logf("seed %d; the first start took %s", seed, k.starts.Round(time.Millisecond))
	l := r.load()
	moments := []func(){k.inReload, k.atStart, k.inStorm, k.atStart, k.served}
	for range choose(len(moments), 100) {
		k.over = func() {}
		moments[k.kills%len(moments)]()
		k.kills++
		r.kill()
		k.over()
		k.pause(100 * time.Millisecond)
		r.launch()
		if t.Failed() {
			break
		}
	}
	r.answers()
	r.until("the table was adopted, and serves", func() error {
		v, err := r.client.Node(t.Context())
		if err == nil && !v.Kernel.Adopted {
			t.Error("the table was not adopted")
		}
		return err
	})
	l.mustBeWhole("kill -9")
	t.Logf("%d kills; %d commits in the storms", k.kills, k.commits)
	r.steady()
}

// pause waits for a random time.
func (k *killer) pause(most time.Duration) { wait(time.Duration(k.rand.Int64N(int64(most)))) }

// atStart waits for some moment of the start.
func (k *killer) atStart() { k.pause(k.starts) }

// served waits until the daemon serves, and some more.
func (k *killer) served() {
	k.answers()
	k.pause(300 * time.Millisecond)
}

// inReload asks for other weights.
func (k *killer) inReload() {
	k.answers()
	k.write(k.soak(k.kills + 1))
	if err := k.proc.Signal(syscall.SIGHUP); err != nil {
		k.t.Fatal(err)
	}
	k.pause(60 * time.Millisecond)
}

// inStorm changes weights as fast as it can, until after the daemon's death.
func (k *killer) inStorm() {
	k.answers()
	ctx, cancel := context.WithCancel(k.t.Context())
	var wg sync.WaitGroup
	for _, b := range []string{"b1", "b2", "b3"} {
		wg.Go(func() {
			id := core.BackendID{Service: "web", Backend: b}
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := k.client.Override(ctx, id, core.OverrideRequest{Kind: core.OverrideWeight, Weight: uint32(10 + i*7%90), Author: "soak"}); err != nil {
					wait(time.Millisecond) // it still starts, or is dead
				}
			}
		})
	}
	k.over = func() {
		cancel()
		wg.Wait()
	}
	k.pause(500 * time.Millisecond)
	if v, err := k.client.Node(k.t.Context()); err == nil {
		k.commits += v.Kernel.Commits
	}
}

// steady ends the overrides and waits until the weights are those of the file.
func (r *rig) steady() {
	r.t.Helper()
	for _, b := range []string{"b1", "b2", "b3"} {
		if _, err := r.client.Override(r.t.Context(), core.BackendID{Service: "web", Backend: b}, core.OverrideRequest{Kind: core.OverrideReady, Author: "soak"}); err != nil {
			r.t.Errorf("end the overrides of %s: %v", b, err)
		}
	}
	r.write(r.soak(0))
	if _, err := r.client.Reload(r.t.Context()); err != nil {
		r.t.Errorf("reload: %v", err)
	}
	r.untilShares("web", 33.3, 33.3, 33.3)
}
