// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const dealTimeout = 60 * time.Second

// A dealWorld plays the kernel: packets of flows look their backend up in a deal's
// tables, and are remembered as the rules remember them.
type dealWorld struct {
	d          *deal
	now        time.Duration
	remembered map[int]memory
	flows      map[int]*flow
	room       int // flows that can be remembered
	full       bool
}

type memory struct {
	owner string
	until time.Duration
}

type flow struct {
	hash    uint64 // below 1<<32
	backend string
	last    time.Duration
	tcp     bool
}

func (w *dealWorld) name(i uint16) string { return w.d.owners[i].name }

func (w *dealWorld) alive(name string) bool {
	for _, o := range w.d.owners[1:] {
		if o.name == name {
			return true
		}
	}
	return false
}

// packet is the rules of a service's chain; empty if the packet is refused.
func (w *dealWorld) packet(id int, f *flow, syn bool) string {
	p := int(f.hash * uint64(w.d.by.size) >> 32)
	if i := w.d.stable[p]; i != nobody {
		return w.name(i)
	}
	if m, ok := w.remembered[id]; ok && m.until > w.now && w.alive(m.owner) {
		return w.remember(id, m.owner)
	}
	if syn {
		if w.d.next[p] == nobody {
			return ""
		}
		if w.hasRoom(id) {
			return w.remember(id, w.name(w.d.next[p]))
		}
	}
	if i := w.d.old[int(f.hash*uint64(w.d.oldBy.size)>>32)]; i != nobody {
		return w.remember(id, w.name(i))
	}
	return w.remember(id, w.name(w.d.next[p]))
}

func (w *dealWorld) hasRoom(id int) bool {
	n := 0
	for _, m := range w.remembered {
		if m.until > w.now {
			n++
		}
	}
	if _, ok := w.remembered[id]; !ok && n >= w.room {
		w.full = true
		return false
	}
	return true
}

func (w *dealWorld) remember(id int, name string) string {
	if name != "" && w.hasRoom(id) {
		w.remembered[id] = memory{name, w.now + dealTimeout}
	}
	return name
}

// purge is what follows a commit in which owners died.
func (w *dealWorld) purge() {
	for _, f := range w.flows {
		if !w.alive(f.backend) {
			f.backend = "" // lost, even if the backend comes back
		}
	}
	for id, m := range w.remembered {
		if !w.alive(m.owner) || m.until <= w.now {
			delete(w.remembered, id)
		}
	}
}

func (w *dealWorld) settle() {
	if !w.d.moving() {
		return
	}
	foreign := make([]bool, w.d.by.size)
	for id, m := range w.remembered {
		p := int(w.flows[id].hash * uint64(w.d.by.size) >> 32)
		if m.until > w.now && m.owner != w.name(w.d.next[p]) {
			foreign[p] = true
		}
	}
	w.d = w.d.settle(foreign, w.full, dealTimeout, w.now)
	w.full = false
}

// check is the invariants of a deal.
func (w *dealWorld) check(t *rapid.T) {
	d := w.d
	if len(d.old) != int(d.oldBy.size) || len(d.stable) != int(d.by.size) || len(d.next) != int(d.by.size) {
		t.Fatalf("tables of %d, %d and %d positions", len(d.stable), len(d.next), len(d.old))
	}
	for p := range d.stable {
		if d.stable[p] != nobody && d.next[p] != nobody {
			t.Fatalf("position %d is stable and moves", p)
		}
		if d.stable[p] != nobody && !d.crossed() && d.old[p] != nobody {
			t.Fatalf("position %d is stable and has an old owner", p)
		}
		if d.stable[p] == nobody && (d.next[p] != nobody) && !d.moving() {
			t.Fatalf("position %d moves and nobody watches", p)
		}
	}
}

// TestDealKeepsFlows lets weights, deaths, sizes, packets and time come in any
// order. Whatever comes, a flow that was not silent for the timeout stays on its
// backend for as long as that lives, as does one for which there was no room.
func TestDealKeepsFlows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		alive := map[string]bool{"a": true, "b": true, "c": true, "d": true}
		size := uint32(7)
		deal := func() (dealing, []owner, []uint16) {
			owners := []owner{{}}
			for _, n := range names {
				if alive[n] {
					owners = append(owners, owner{name: n, value: n})
				}
			}
			target := make([]uint16, size)
			for p := range target {
				target[p] = uint16(rapid.IntRange(0, len(owners)-1).Draw(t, "target"))
				if len(owners) > 1 && target[p] == nobody && rapid.IntRange(0, 9).Draw(t, "empty") > 0 {
					target[p] = 1
				}
			}
			return dealing{size: size}, owners, target
		}
		by, owners, target := deal()
		w := &dealWorld{d: newDeal(by, owners, target), remembered: map[int]memory{}, flows: map[int]*flow{},
			room: rapid.SampledFrom([]int{1000, 3}).Draw(t, "room")}
		send := func(id int) {
			f := w.flows[id]
			kept := w.now-f.last < dealTimeout && w.alive(f.backend)
			f.last = w.now
			got := w.packet(id, f, false)
			if kept && got != f.backend {
				t.Fatalf("flow %d of %s was given to %q", id, f.backend, got)
			}
			f.backend = got
		}
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				f := &flow{hash: rapid.Uint64Range(0, 1<<32-1).Draw(t, "hash"), last: w.now, tcp: rapid.Bool().Draw(t, "tcp")}
				id := len(w.flows)
				w.flows[id] = f
				f.backend = w.packet(id, f, f.tcp)
			},
			"send": func(t *rapid.T) {
				if len(w.flows) > 0 {
					send(rapid.IntRange(0, len(w.flows)-1).Draw(t, "flow"))
				}
			},
			"chatter": func(*rapid.T) {
				for id := range len(w.flows) {
					if f := w.flows[id]; w.now-f.last < dealTimeout {
						send(id)
					}
				}
			},
			"wait": func(t *rapid.T) {
				w.now += time.Duration(rapid.IntRange(1, 59).Draw(t, "seconds")) * time.Second
			},
			"reweight": func(*rapid.T) {
				by, owners, target := deal()
				w.d = w.d.move(by, owners, target, w.now)
				w.purge()
			},
			"die": func(t *rapid.T) {
				n := rapid.SampledFrom(names).Draw(t, "who")
				alive[n] = !alive[n]
				by, owners, target := deal()
				w.d = w.d.move(by, owners, target, w.now)
				w.purge()
			},
			"resize": func(t *rapid.T) {
				if w.room < 1000 {
					return // there is no promise for a size that changes while the memory is full
				}
				size = rapid.SampledFrom([]uint32{7, 13, 5}).Draw(t, "size")
				by, owners, target := deal()
				w.d = w.d.move(by, owners, target, w.now)
				w.purge()
			},
			"settle":    func(*rapid.T) { w.settle() },
			"":          w.check,
			"takenOver": func(t *rapid.T) { w.d = reread(w.d, w.now) },
		})
	})
}

// reread is the deal as a next life of the process finds it in the maps.
func reread(d *deal, now time.Duration) *deal {
	n := *d
	n.since, n.quiet, n.former = nil, nil, nil
	n.resume(now)
	return &n
}

// A re-weight that is over leaves nothing behind.
func TestDealComesToRest(t *testing.T) {
	owners := []owner{{}, {name: "a", value: "a"}, {name: "b", value: "b"}}
	d := newDeal(dealing{size: 3}, owners, []uint16{1, 1, 2})
	d = d.move(dealing{size: 3}, owners, []uint16{1, 2, 2}, 0)
	var states string
	for now := time.Duration(0); now <= 2*dealTimeout; now += dealTimeout / 2 {
		d = d.settle(make([]bool, 3), false, dealTimeout, now)
		states += fmt.Sprint(d.stable, d.next, d.old, d.moving(), "\n")
	}
	want := `[1 0 2] [0 2 0] [0 1 0] true
[1 0 2] [0 2 0] [0 1 0] true
[1 0 2] [0 2 0] [0 0 0] true
[1 2 2] [0 0 0] [0 0 0] false
[1 2 2] [0 0 0] [0 0 0] false
`
	if states != want {
		t.Errorf("got\n%swant\n%s", states, want)
	}
}
