// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Drift and Owned make the test's kernel one in which others may write.
func (k *kernel) Drift(context.Context) (core.Drift, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.looks++
	d := k.drift
	k.drift = nil
	if d == nil {
		return core.Drift{}, false, nil
	}
	return *d, true, nil
}

func (k *kernel) Owned() bool { return k.owned }

// A foreign change is undone within 100 ms and told, with who made it; where the
// table has an owner nobody looks.
func TestDriftIsRepaired(t *testing.T) {
	for name, owned := range map[string]bool{"unowned": false, "owned": true} {
		t.Run(name, func(t *testing.T) {
			k := &kernel{owned: owned}
			engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
				time.Sleep(time.Second)
				k.mu.Lock()
				before, looks := k.syncs, k.looks
				k.drift = &core.Drift{At: time.Now(), PID: 7, Process: "nft", What: []string{"the table is gone"}}
				k.mu.Unlock()
				time.Sleep(100 * time.Millisecond)
				k.mu.Lock()
				syncs := k.syncs - before
				k.mu.Unlock()
				if owned {
					if looks != 0 || syncs != 0 {
						t.Errorf("%d looks and %d syncs: want none", looks, syncs)
					}
					return
				}
				if syncs != 1 {
					t.Errorf("%d syncs within 100 ms: want 1", syncs)
				}
				for _, text := range []string{"changed by nft (thread 7): the table is gone", "repaired"} {
					if !l.has(text) {
						t.Errorf("no event with %q", text)
					}
				}
				v, err := e.View(t.Context())
				if err != nil || v.Kernel.Drifts != 1 {
					t.Errorf("view says %d drifts, %v: want 1", v.Kernel.Drifts, err)
				}
			})
		})
	}
}
