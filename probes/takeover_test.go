// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// takeAll are the samples since the last call.
func (b *bench) takeAll() []core.Sample {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.samples
	b.samples = nil
	return out
}

// Targets that come after the start, as when another node is gone that asked them, are
// asked within two seconds, however seldom they are: until then nobody knows what became
// of them. Many do not come at once, and those that were here keep their rhythm.
func TestTargetsTakenOverAreAskedSoon(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		const few, many = 100, 16_000
		all := fleetOf(many, time.Minute)
		b := newBench(nil)
		b.SetTargets(all[:few])
		b.start()
		defer b.stop()
		time.Sleep(5 * time.Minute)
		b.takeAll()
		b.SetTargets(all)
		synctest.Wait()
		began := time.Now()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		seen := map[core.BackendID]bool{}
		var parts [20]int // of a tenth of a second each
		for _, s := range b.takeAll() {
			seen[s.Backend] = true
			parts[min(19, int(s.TakenAt.Sub(began)/(100*time.Millisecond)))]++
		}
		missing := 0
		for _, target := range all[few:] {
			if !seen[target.ID] {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d of %d that came are not asked within 2 s", missing, many-few)
		}
		for i, n := range parts {
			if n > 2*many/len(parts) {
				t.Errorf("%d are asked within the %d. tenth of a second, want about %d", n, i+1, many/len(parts))
			}
		}
		if len(seen) > many-few/2 {
			t.Errorf("%d of all %d were asked: those that were here lost their rhythm", len(seen), many)
		}
	})
}
