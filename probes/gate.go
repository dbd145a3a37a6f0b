// SPDX-License-Identifier: Apache-2.0

package probes

import "sync"

// A gate lets so many runs in at one time. One that must wait is no goroutine
// meanwhile: at a start nearly all of 16,000 do.
type gate struct {
	mu      sync.Mutex
	free    int      // guarded by mu; places
	waiting []func() // guarded by mu; first come, first served; as many as there are watches at most
}

// enter calls run, now or in a goroutine of its own once there is a place. run
// leaves the gate itself, once.
func (g *gate) enter(run func()) {
	g.mu.Lock()
	if g.free == 0 {
		g.waiting = append(g.waiting, run)
		g.mu.Unlock()
		return
	}
	g.free--
	g.mu.Unlock()
	run()
}

// leave gives the place to the next.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.free++
		return
	}
	next := g.waiting[0]
	g.waiting[0] = nil
	if g.waiting = g.waiting[1:]; len(g.waiting) == 0 {
		g.waiting = nil // it may have been long
	}
	go next() // Run waits for its watch
}
