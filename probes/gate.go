// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"sync"
	"sync/atomic"
)

// The places are how many runs may be under way at one time: so many of each type,
// and so many of all types together that hold a socket.
type places struct {
	mu      sync.Mutex
	sockets room             // guarded by mu; of the types that hold sockets
	gates   map[string]*gate // guarded by mu; by probe type
	waiting int              // guarded by mu; over all gates
	turn    uint             // guarded by mu; counts those who were let in from a queue
}

// slowTurn is how often the slow go first: where the quick never leave a place free,
// the slow must still be asked now and then, or nobody learns that they are quick again.
const slowTurn = 8

// A room is a number of places. The slow get three quarters of them at most, so that
// targets that hang, however many they are, never hold all of them.
type room struct{ limit, taken, slow int }

func (r *room) fits(slow bool) bool {
	return r.taken < r.limit && (!slow || r.slow < max(1, r.limit*3/4))
}

func (r *room) take(slow bool, n int) {
	r.taken += n
	if slow {
		r.slow += n
	}
}

// A gate is where the runs of one type come in. One that must wait is no goroutine
// meanwhile: at a start that may be thousands.
type gate struct {
	places  *places
	room    room  // guarded by places.mu
	sockets bool  // whether a run takes one of places.sockets, too
	quick   queue // guarded by places.mu
	slow    queue // guarded by places.mu
	targets int   // guarded by places.mu; watches
	shared  int   // guarded by places.mu; their subscribers beyond the first

	runs    atomic.Uint64 // that are over
	failed  atomic.Uint64 // of those
	skipped atomic.Uint64 // see core.ProbeTypeView
	crashed atomic.Bool   // a panic was logged with its stack
}

// A queue holds runs that wait, first come, first served: as many as there are
// watches at most.
type queue []func()

func (q *queue) pop() func() {
	old := *q
	first := old[0]
	old[0] = nil
	if *q = old[1:]; len(*q) == 0 {
		*q = nil // it may have been long
	}
	return first
}

// open sets how many runs may hold a socket at one time.
func (p *places) open(sockets int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets.limit = sockets
}

// at returns the gate of a type, made for so many runs at one time.
func (p *places) at(kind string, limit int, sockets bool) *gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gates[kind]
	if g == nil {
		g = &gate{places: p, room: room{limit: limit}, sockets: sockets}
		if p.gates == nil {
			p.gates = make(map[string]*gate)
		}
		p.gates[kind] = g
	}
	return g
}

// enter calls run, now or in a goroutine of its own once there is a place. slow is
// whether the target's latest run was. run leaves the gate itself, once, with the
// same slow.
func (g *gate) enter(slow bool, run func()) {
	p := g.places
	p.mu.Lock()
	if !g.fits(slow) {
		q := g.lane(slow)
		*q = append(*q, run)
		p.waiting++
		p.mu.Unlock()
		return
	}
	g.take(slow, 1)
	p.mu.Unlock()
	run()
}

// leave gives the place to the next.
func (g *gate) leave(slow bool) {
	p := g.places
	p.mu.Lock()
	defer p.mu.Unlock()
	g.take(slow, -1)
	for p.waiting > 0 {
		slowFirst := p.turn%slowTurn == slowTurn-1
		next := p.admit(slowFirst)
		if next == nil {
			next = p.admit(!slowFirst)
		}
		if next == nil {
			return
		}
		p.turn++
		go next() // Run waits for its watch
	}
}

// admit takes a place for one that waits and returns its run; nil if there is none.
// Among the types chance decides: the order of a map.
func (p *places) admit(slow bool) func() {
	for _, g := range p.gates {
		if q := g.lane(slow); len(*q) > 0 && g.fits(slow) {
			g.take(slow, 1)
			p.waiting--
			return q.pop()
		}
	}
	return nil
}

// lane is the queue of the slow or of the quick.
func (g *gate) lane(slow bool) *queue {
	if slow {
		return &g.slow
	}
	return &g.quick
}

func (g *gate) fits(slow bool) bool {
	return g.room.fits(slow) && (!g.sockets || g.places.sockets.fits(slow))
}

func (g *gate) take(slow bool, n int) {
	g.room.take(slow, n)
	if g.sockets {
		g.places.sockets.take(slow, n)
	}
}
