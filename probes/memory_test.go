// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// TestTargetIsSmall: a target that waits for its next run is a timer and a few
// hundred bytes, however many of them waited at the gate at the start. It was 2.5 kB.
func TestTargetIsSmall(t *testing.T) {
	const targets, most = 10_000, 900
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		b.Out = func(core.Sample) {}
		one := &stub{takes: func(int) time.Duration { return 10 * time.Millisecond }}
		b.prepare = func(Target) prober { return one }
		spec := target("", time.Hour).Spec
		spec.Timeout = time.Second
		b.start()
		synctest.Wait()
		before := heapBytes()
		fleet := fleetOf(targets, time.Hour)
		for i := range fleet {
			fleet[i].Spec = spec
		}
		b.SetTargets(fleet)
		fleet = nil
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := one.runs.Load(); n < targets {
			t.Errorf("%d of %d targets were probed in 5 s", n, targets)
		}
		if each := (heapBytes() - before) / targets; each > most {
			t.Errorf("a target takes %d bytes, want %d at most", each, most)
		} else {
			t.Logf("a target takes %d bytes", each)
		}
		b.stop()
	})
}

// heapBytes is what lives on the heap, and the stacks.
func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
