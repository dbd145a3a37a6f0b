// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"math/bits"
)

// A machine is a backend at work.
type machine struct {
	name   string
	cores  int
	weight uint32
	nature []condition // at each tick
	free   []float64   // when each core will be free, seconds; a heap, the first the earliest
	busy   []float64   // core seconds within each tick
}

// A condition is what a machine is like during a tick.
type condition struct {
	speed      float32 // of a core, for requests
	antagonist float32 // part of the CPU that other work takes
	dead       bool
	sink       bool
	stuck      bool // its agent repeats itself
	mute       bool // its agent has no reading
}

// capacity is what it can serve per second, in units of the mean service time.
func (m *machine) capacity(tick int) float64 {
	c := m.nature[tick]
	if c.dead || c.sink {
		return 0
	}
	return float64(m.cores) * float64(c.speed)
}

// serve takes a request that comes at t seconds and needs work seconds of a core
// of speed 1, and returns when it is done.
func (m *machine) serve(t, work float64) (done float64) {
	start := max(t, m.free[0])
	tick := tickOf(start, len(m.nature)-1)
	// A request keeps the speed that it began with.
	done = start + work/float64(m.nature[tick].speed)
	m.free[0] = done
	m.sift()
	m.occupy(start, done)
	return done
}

// sift restores the heap after the first core got a later time.
func (m *machine) sift() {
	h, i := m.free, 0
	v := h[0]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && h[c+1] < h[c] {
			c++
		}
		if v <= h[c] {
			break
		}
		h[i], i = h[c], c
	}
	h[i] = v
}

// occupy counts a busy core from one time to another.
func (m *machine) occupy(from, to float64) {
	k := tickOf(from, len(m.busy))
	for ; k < len(m.busy); k++ {
		end := float64(k+1) / ticksPerSecond
		if to <= end {
			m.busy[k] += to - from
			return
		}
		m.busy[k] += end - from
		from = end
	}
}

// cpu is the busy share of all cores over the ticks from first up to last.
func (m *machine) cpu(first, last int) float64 {
	first = max(first, 0)
	if last <= first {
		return 0
	}
	sum := 0.0
	for k := first; k < last; k++ {
		// A core that a request occupies is shared with the antagonist, which has
		// all of the others' part too.
		a := float64(m.nature[k].antagonist)
		sum += a + (1-a)*m.busy[k]*ticksPerSecond/float64(m.cores)
	}
	return min(sum/float64(last-first), 1)
}

// reset empties the queue of a machine that comes back at t.
func (m *machine) reset(t float64) {
	for i := range m.free {
		m.free[i] = t
	}
}

// A histogram counts times by their logarithm, in steps of less than 1 %.
type histogram struct {
	counts [6144]uint64 // up to centuries
	n      uint64
}

const (
	histLow   = 1e-6 // seconds
	histShift = 52 - 7
)

func (h *histogram) add(seconds float64) {
	k := int(math.Float64bits(seconds+histLow)>>histShift) - int(math.Float64bits(histLow)>>histShift)
	h.counts[max(0, min(k, len(h.counts)-1))]++
	h.n++
}

// quantile is the time that the part q of all is not above; 0 if there are none.
func (h *histogram) quantile(q float64) float64 {
	if h.n == 0 {
		return 0
	}
	var want, sum = uint64(math.Ceil(q * float64(h.n))), uint64(0)
	k := 0
	for ; k < len(h.counts)-1; k++ {
		if sum += h.counts[k]; sum >= want {
			break
		}
	}
	edge := func(k int) float64 {
		return math.Float64frombits(uint64(k+int(math.Float64bits(histLow)>>histShift)) << histShift)
	}
	return (edge(k)+edge(k+1))/2 - histLow
}

// A dispatcher picks a backend by slots, as the kernel's map does.
type dispatcher struct {
	upTo  []uint32 // the first slot behind each backend's
	guide [256]uint16
}

const guideShift = 8 // of 65,536 slots

func newDispatcher(slots []uint32) *dispatcher {
	d := &dispatcher{upTo: make([]uint32, len(slots))}
	sum := uint32(0)
	for i, s := range slots {
		sum += s
		d.upTo[i] = sum
	}
	i := 0
	for g := range d.guide {
		for i < len(slots)-1 && d.upTo[i] <= uint32(g)<<guideShift {
			i++
		}
		d.guide[g] = uint16(i)
	}
	return d
}

// pick returns the backend of a random number; -1 if there is none.
func (d *dispatcher) pick(random uint64) int {
	hi, _ := bits.Mul64(random, 65536)
	slot := uint32(hi)
	for i := int(d.guide[slot>>guideShift]); i < len(d.upTo); i++ {
		if slot < d.upTo[i] {
			return i
		}
	}
	return -1
}
