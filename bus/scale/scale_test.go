// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
)

// TestPaper has three real servers count what a small group says, and holds that against
// the formula.
func TestPaper(t *testing.T) {
	z := Size{Nodes: 6, Services: 20, Backends: 4, Probers: 2, ProbeEvery: time.Second, Reported: 5, Moves: 0.5}
	run(t, z, 2*time.Second).check(t)
}

// TestRenewed: what never changes is said by the clock, and what changes all the time by
// its changes.
func TestRenewed(t *testing.T) {
	for _, c := range []struct{ moves, want float64 }{{0, 0.2}, {1e-9, 0.2}, {0.2, 0.316}, {100, 100}} {
		if got := renewed(c.moves, 5*time.Second); math.Abs(got-c.want) > 0.001 {
			t.Errorf("%v moves a second: said %.4f times, want %.4f", c.moves, got, c.want)
		}
	}
}

// sizes are those of docs/scaling.md.
var sizes = []string{"3x100x16", "10x1000x16", "30x1000x16", "100x1000x16", "100x1000x16x0.02", "100x1000x16x0.1", "140x1000x16",
	"10x300x16x0x300", "10x1000x16x0x1000", "100x1x1", "300x1x1"}

// TestScale measures the sizes of docs/scaling.md, or one of your own.
func TestScale(t *testing.T) {
	const period = 10 * time.Second
	which := sizes
	switch one := os.Getenv("STEELYARD_SCALE"); {
	case one == "":
		t.Skip("takes minutes; set STEELYARD_SCALE=1")
	case strings.Contains(one, "x"):
		which = []string{one}
	}
	for _, text := range which {
		t.Run(text, func(t *testing.T) {
			z, err := parseSize(text)
			if err != nil {
				t.Fatal(err)
			}
			m := run(t, z, period)
			m.check(t)
			m.print(t)
		})
	}
}

// A measurement is what came of a load.
type measurement struct {
	size    Size
	lengths map[bus.Class]length
	said    map[bus.Class]int
	took    time.Duration
	heard   hearing

	clients, routed  counts // of all servers, of the time
	cpu              []time.Duration
	memory           []float64
	own              time.Duration // CPU of the one who reads, its memory and its size before
	ownMemory, empty float64
}

// run loads three servers as a size does.
func run(t testing.TB, z Size, period time.Duration) *measurement {
	t.Helper()
	m := &measurement{size: z, lengths: z.lengths(t)}
	servers := startCluster(t)
	quiet := interest(t, servers)
	c := crowdAt(t, z, servers)
	reader := z.startListener(t, servers[0])
	for i := 1; i < z.Nodes; i++ {
		z.listenTo(t, servers[i%len(servers)], i)
	}
	until(t, "the servers know who hears", func() bool { return z.knowAll(t, servers, quiet) })
	m.empty = resident(t, reader.pid)
	before, routed := total(t, servers)
	cpu, own, began := cpuOf(t, servers), processorTime(t, reader.pid), time.Now()
	var err error
	if m.said, err = c.Speak(t.Context(), period); err != nil {
		t.Fatal(err)
	}
	m.took = time.Since(began)
	want := m.wanted()
	until(t, "all is delivered", func() bool {
		m.clients, m.routed = total(t, servers)
		m.clients, m.routed = m.clients.less(before), m.routed.less(routed)
		return m.clients.Out >= want
	})
	until(t, "the node has read it all", func() bool {
		m.heard = reader.heard(t)
		return m.heard.all() >= m.heardOf()
	})
	for i, s := range servers {
		m.cpu = append(m.cpu, processorTime(t, s.pid)-cpu[i])
		m.memory = append(m.memory, resident(t, s.pid))
	}
	m.own = processorTime(t, reader.pid) - own
	m.ownMemory = resident(t, reader.pid)
	return m
}

// crowdAt is the crowd, a part of it at each server.
func crowdAt(t testing.TB, z Size, servers []server) *Crowd {
	t.Helper()
	c := &Crowd{Size: z}
	for _, s := range servers {
		b := bustest.StartWith(t, bus.Options{Node: "crowd", Servers: []string{s.url}})
		until(t, "the crowd is connected", func() bool { return b.Stats().Connected })
		c.Buses = append(c.Buses, b)
	}
	return c
}

func cpuOf(t testing.TB, servers []server) (out []time.Duration) {
	for _, s := range servers {
		out = append(out, processorTime(t, s.pid))
	}
	return out
}

// total is what all servers count together.
func total(t testing.TB, servers []server) (clients, routed counts) {
	for _, s := range servers {
		c, r := s.clients(t)
		clients, routed = clients.less(counts{In: -c.In, Out: -c.Out, InBytes: -c.InBytes, OutBytes: -c.OutBytes, Slow: -c.Slow}),
			routed.less(counts{In: -r.In, Out: -r.Out, InBytes: -r.InBytes, OutBytes: -r.OutBytes})
	}
	return clients, routed
}

func (c counts) less(o counts) counts {
	return counts{In: c.In - o.In, Out: c.Out - o.Out, InBytes: c.InBytes - o.InBytes, OutBytes: c.OutBytes - o.OutBytes, Slow: c.Slow - o.Slow}
}

// hearers is to how many nodes a message of a stream is delivered. The crowd itself hears
// nothing, so that samples, too, are heard by as many as there are nodes.
func (z Size) hearers(s Stream) int {
	if s.Class == bus.ProbeClass {
		return z.Nodes
	}
	return s.Hearers
}

// wanted is how many messages the servers must have delivered.
func (m *measurement) wanted() (sum int64) {
	for _, s := range m.size.Paper() {
		sum += int64(m.said[s.Class] * m.size.hearers(s))
	}
	return sum
}

// check holds the servers' own counts against the formula, of what was said and heard.
func (m *measurement) check(t testing.TB) {
	t.Helper()
	var in, inBytes, outBytes float64
	for _, s := range m.size.Paper() {
		n := float64(m.said[s.Class])
		in += n
		inBytes += n * float64(m.lengths[s.Class].body)
		outBytes += n * float64(m.size.hearers(s)*m.lengths[s.Class].body)
	}
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"messages published", float64(m.clients.In), in},
		{"messages delivered", float64(m.clients.Out), float64(m.wanted())},
		{"bytes published", float64(m.clients.InBytes), inBytes},
		{"bytes delivered", float64(m.clients.OutBytes), outBytes},
	} {
		if math.Abs(c.got-c.want) > 0.05*c.want {
			t.Errorf("%s: the servers count %.0f, by the formula it is %.0f", c.what, c.got, c.want)
		}
	}
	// Where the crowd cannot keep up, its presences are late.
	if got, want := m.heard.all(), m.heardOf(); got != want {
		t.Errorf("a node heard %+v, %d together, want %d", m.heard, got, want)
	}
}

// heardOf is how many messages the first node must have heard.
func (m *measurement) heardOf() (sum uint64) {
	for _, s := range m.size.Paper() {
		switch n := m.said[s.Class]; {
		case s.Class == bus.FlowsClass:
			for _, service := range m.size.Hears(0) {
				if service < m.size.Reported { // the n-th report is of service n % Reported
					sum += uint64((n - service + m.size.Reported - 1) / m.size.Reported)
				}
			}
		case s.Hearers > 0:
			sum += uint64(n)
		}
	}
	return sum
}

// print says what was measured.
func (m *measurement) print(t testing.TB) {
	seconds := m.took.Seconds()
	var b strings.Builder
	var wireIn, wireOut float64
	for _, s := range m.size.Paper() {
		l := m.lengths[s.Class]
		fmt.Fprintf(&b, "\n  %-9s %8.0f/s of %5d bytes (%d with subject), heard by %d", s.Class, s.PerSecond, l.body, l.wire, s.Hearers)
		n := float64(m.said[s.Class] * l.wire)
		wireIn += n
		wireOut += n * float64(m.size.hearers(s))
	}
	fmt.Fprintf(&b, "\n  with subjects: in %.1f MB/s, out %.1f MB/s", wireIn/seconds/1e6, wireOut/seconds/1e6)
	fmt.Fprintf(&b, "\n  in %.1f s: in %.0f msg/s %.1f MB/s, out %.0f msg/s %.1f MB/s, between servers %.0f msg/s %.1f MB/s, slow %d", seconds,
		float64(m.clients.In)/seconds, float64(m.clients.InBytes)/seconds/1e6, float64(m.clients.Out)/seconds, float64(m.clients.OutBytes)/seconds/1e6,
		float64(m.routed.In)/seconds, float64(m.routed.InBytes)/seconds/1e6, m.clients.Slow)
	var cpu time.Duration
	for i := range m.cpu {
		fmt.Fprintf(&b, "\n  server %d: %.3f core, %.0f MB", i+1, m.cpu[i].Seconds()/seconds, m.memory[i])
		cpu += m.cpu[i]
	}
	fmt.Fprintf(&b, "\n  servers: %.3f core, %.2f µs per delivery", cpu.Seconds()/seconds, cpu.Seconds()*1e6/float64(max(1, m.clients.Out)))
	read := m.heard.all()
	fmt.Fprintf(&b, "\n  a node that hears: %.0f msg/s, %.3f core, %.1f µs each, %.0f MB (%.0f before), dropped %d", float64(read)/seconds,
		m.own.Seconds()/seconds, m.own.Seconds()*1e6/float64(max(1, read)), m.ownMemory, m.empty, m.heard.Dropped)
	t.Log(b.String())
}
