// SPDX-License-Identifier: Apache-2.0

package core

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// servers reads a service from words such as "up", "down2", "full1,drained": a
// word per backend, in which a digit is its priority.
func servers(picture string) []ShapeBackend {
	var out []ShapeBackend
	for word := range strings.FieldsSeq(picture) {
		b := up(100, 1, 0)
		has := func(s string) bool { return strings.Contains(word, s) }
		if has("down") {
			b.Health = Down
		}
		if has("unknown") {
			b.Health = Unknown
		}
		b.Drained, b.Sorry, b.Full = has("drained"), has("sorry"), has("full")
		if b.Full {
			b.Open, b.MaxConnections = 500, 500
		}
		if i := strings.IndexAny(word, "0123456789"); i >= 0 {
			b.Priority = word[i] - '0'
		}
		out = append(out, b)
	}
	return out
}

// Each case is a service, and the shares of its backends in percent.
func TestWhoServes(t *testing.T) {
	tests := []struct {
		name, in string
		minUp    int
		panic    float64
		want     []float64
	}{
		{"the reserve waits", "up0 up0 up1", 1, 0, []float64{50, 50, 0}},
		{"one of the first group is enough", "down0 up0 up1", 1, 0, []float64{0, 100, 0}},
		{"unless two must be up", "down0 up0 up1", 2, 0, []float64{0, 50, 50}},
		{"the second group gives way when they are", "up0 up0 up1", 2, 0, []float64{50, 50, 0}},
		{"a third group waits for the first two", "down0 up3 up3 up7", 2, 0, []float64{0, 50, 50, 0}},
		{"a group has its turn by number, not by place", "up9 up4", 1, 0, []float64{0, 100}},
		{"too few in all the groups: all serve", "up0 up1", 5, 0, []float64{50, 50}},
		{"an unknown one does not hold the reserve back", "unknown0 up1", 1, 0, []float64{0, 100}},
		{"a full one leaves the weights", "full up up", 1, 0, []float64{0, 50, 50}},
		{"a full group calls the reserve", "full0 full0 up1", 1, 0, []float64{0, 0, 100}},
		{"when all are full they serve on", "full0 full1 down0", 1, 0, []float64{50, 50, 0}},
		{"also before a sorry server", "full sorry", 1, 0, []float64{100, 0}},
		{"a drained one has none", "drained up", 1, 0, []float64{0, 100}},
		{"a drained group calls the reserve", "drained0 up1", 1, 0, []float64{0, 100}},
		{"all drained is empty", "drained drained", 1, 0, []float64{0, 0}},
		{"a sorry server is alone", "down down sorry", 1, 0, []float64{0, 0, 100}},
		{"even unprobed", "down unknown,sorry", 1, 0, []float64{0, 100}},
		{"and waits otherwise", "up down sorry", 1, 0, []float64{100, 0, 0}},
		{"it serves when all are drained", "drained sorry", 1, 0, []float64{0, 100}},
		{"a dead or drained sorry server does not", "down down,sorry drained,sorry", 1, 0, []float64{0, 0, 0}},
		{"panic counts the serving group", "up0 down0 down0 down1", 1, .5, []float64{100. / 3, 100. / 3, 100. / 3, 0}},
		{"no panic while there is a reserve", "up0 down0 down0 up1", 1, .5, []float64{100, 0, 0, 0}},
		{"panic leaves the drained and the sorry alone", "up down down drained sorry", 1, .5, []float64{100. / 3, 100. / 3, 100. / 3, 0, 0}},
		{"the drained do not count as down", "up drained drained", 1, .5, []float64{100, 0, 0}},
		{"panic takes the full too: dead ones are no better", "full down down", 1, .5, []float64{100. / 3, 100. / 3, 100. / 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, got := range Shape(Shaping{Panic: tt.panic}, tt.minUp, servers(tt.in), Steady) {
				if math.Abs(100*got.Share-tt.want[i]) > 1e-6 {
					t.Errorf("backend %d: got %.2f %%, want %.2f %%; steps %+v", i, 100*got.Share, tt.want[i], got.Steps)
				}
			}
		})
	}
}

func TestWhyItServesOrNot(t *testing.T) {
	drained := servers("drained up")
	drained[0].DrainedNote = "ana, kernel update"
	drainedDown := servers("drained,down up")
	tests := []struct {
		in    []ShapeBackend
		minUp int
		i     int
		want  string
	}{
		{servers("up0 up0 up1"), 1, 2, "in reserve: 2 of 2 backends of priority 0 are up"},
		{servers("up0 down0 up1"), 1, 2, "in reserve: 1 of 2 backends of priority 0 is up, 1 is needed"},
		{servers("up0 full0 up1"), 1, 2, "in reserve: 1 of 2 backends of priority 0 is up and not full, 1 is needed"},
		{servers("up0 up1 up2"), 2, 2, "in reserve: 2 of 2 backends of priorities 0 to 1 are up"},
		{servers("down0 up0 up1"), 2, 2, "rr; stands in: 1 of 2 backends of priority 0 is up, 2 are needed"},
		{servers("up3 up3"), 1, 0, "rr"},
		{servers("full up"), 1, 0, "full: 500 of 500 connections"},
		{servers("full full"), 1, 0, "rr; full like all others, and serves on: 500 of 500 connections"},
		{servers("drained up"), 1, 0, "drained"},
		{drained, 1, 0, "drained: ana, kernel update"},
		{drainedDown, 1, 0, "drained; and down"},
		{servers("down sorry"), 1, 1, "sorry server: no backend is left"},
		{servers("up sorry"), 1, 1, "sorry server: in wait"},
	}
	for _, tt := range tests {
		s := Shape(Shaping{}, tt.minUp, tt.in, Steady)[tt.i]
		got := Why("rr", nil, BackendDecision{Health: tt.in[tt.i].Health, Configured: 100, Steps: s.Steps, Share: s.Share})
		if got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		if s.Reserve() != strings.HasPrefix(tt.want, "in reserve") {
			t.Errorf("%s: Reserve reports %t", tt.want, s.Reserve())
		}
	}
}

// A reserve that was called goes at once when enough of the first group are back,
// whatever the step limit.
func TestTheReserveLeavesAtOnce(t *testing.T) {
	in := servers("up0 up0 up1")
	in[2].Prev = 1
	got := Shape(Shaping{Step: 0.25, DeadBand: 0.01}, 1, in, Steady)
	if got[0].Share != 0.5 || got[1].Share != 0.5 || got[2].Share != 0 {
		t.Errorf("got %v", got)
	}
}

func drawServers(t *rapid.T) []ShapeBackend {
	in := drawBackends(t)
	for i := range in {
		in[i].Priority = uint8(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 255}).Draw(t, "priority"))
		in[i].Drained = rapid.IntRange(0, 4).Draw(t, "drained") == 0
		in[i].Full = rapid.IntRange(0, 3).Draw(t, "full") == 0
		in[i].Sorry = rapid.IntRange(0, 5).Draw(t, "sorry") == 0
	}
	return in
}

// mayServe says, without the code under test, who may have a share. The reasons are
// those of Shape's comment.
func mayServe(in []ShapeBackend, minUp int) (may []bool, any bool) {
	may = make([]bool, len(in))
	wanted := func(b ShapeBackend) bool { return b.Weight > 0 && !b.Drained && !b.Sorry && b.Health == Up }
	mark := func(ok func(b ShapeBackend) bool) bool {
		for i, b := range in {
			may[i] = ok(b)
			any = any || may[i]
		}
		return any
	}
	able := func(b ShapeBackend) bool {
		below := 0
		for _, o := range in {
			if o.Priority < b.Priority && wanted(o) && !o.Full {
				below++
			}
		}
		return wanted(b) && !b.Full && below < max(1, minUp)
	}
	_ = mark(able) || mark(wanted) || mark(func(b ShapeBackend) bool {
		return b.Sorry && b.Weight > 0 && !b.Drained && b.Health != Down
	})
	return may, any
}

// Without a panic nobody serves who may not, and the shares add up to 1, or to 0 if
// nobody may.
func TestWhoServesIsAsPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, r, minUp := drawServers(t), drawRules(t), rapid.IntRange(0, 4).Draw(t, "minup")
		r.Panic = 0
		may, any := mayServe(in, minUp)
		var sum float64
		for i, s := range Shape(r, minUp, in, Pace(rapid.IntRange(0, 2).Draw(t, "pace"))) {
			sum += s.Share
			if s.Share > 0 && !may[i] {
				t.Fatalf("backend %d has %v: %+v", i, s.Share, in[i])
			}
		}
		if want := map[bool]float64{true: 1}[any]; math.Abs(sum-want) > 1e-6 {
			t.Fatalf("shares sum to %v, want %v", sum, want)
		}
	})
}

// And nobody is left out who may: the floor gives even those a share that the
// policy gives none.
func TestNobodyWhoMayServeIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, minUp := drawServers(t), rapid.IntRange(0, 4).Draw(t, "minup")
		may, _ := mayServe(in, minUp)
		for i, s := range Shape(Shaping{Floor: 0.05}, minUp, in, Steady) {
			if may[i] && s.Share == 0 {
				t.Fatalf("backend %d has nothing: %+v", i, in[i])
			}
		}
	})
}

// In a panic, too, nobody gets a share who is drained, or a sorry server while
// there are others.
func TestPanicRevivesNoDrainedOrSorry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, r := drawServers(t), drawRules(t)
		r.Panic = 1
		others := false
		out := Shape(r, 1, in, Steady)
		for i, s := range out {
			others = others || s.Share > 0 && !in[i].Sorry
		}
		for i, s := range out {
			if s.Share > 0 && (in[i].Drained || in[i].Weight == 0 || in[i].Sorry && others) {
				t.Fatalf("backend %d has %v: %+v", i, s.Share, in[i])
			}
		}
	})
}

// The order of the backends does not matter.
func TestShapeIsTheSameInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, r, minUp := drawServers(t), drawRules(t), rapid.IntRange(1, 3).Draw(t, "minup")
		perm := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)).Perm(len(in))
		mixed := make([]ShapeBackend, len(in))
		for i, j := range perm {
			mixed[j] = in[i]
		}
		a, b := Shape(r, minUp, in, Steady), Shape(r, minUp, mixed, Steady)
		for i, j := range perm {
			if math.Abs(a[i].Share-b[j].Share) > 1e-6 {
				t.Fatalf("backend %d: %v, and %v in another order", i, a[i].Share, b[j].Share)
			}
		}
	})
}

// Each case is a line of open connections and one of the answers, F for full.
func TestFull(t *testing.T) {
	tests := []struct {
		name  string
		limit uint32
		open  []uint64
		want  string
	}{
		{"from the limit to below 90 %", 100, []uint64{99, 100, 99, 90, 89, 99, 150}, ".FFF..F"},
		{"of a small one, to one below", 5, []uint64{4, 5, 4, 5, 9}, ".F.FF"},
		{"of one", 1, []uint64{0, 1, 2, 0}, ".FF."},
		{"no limit", 0, []uint64{0, 1, 1 << 40}, "..."},
	}
	for _, tt := range tests {
		var got []byte
		full := false
		for _, n := range tt.open {
			full = Full(full, n, tt.limit)
			got = append(got, map[bool]byte{true: 'F', false: '.'}[full])
		}
		if string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	if Full(true, 100, 0) {
		t.Error("a limit that was taken away still holds")
	}
}

// With nothing of all this in use, shaping goes as it went before.
func TestPlainServicesHaveNoNewSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, s := range Shape(drawRules(t), 1, drawBackends(t), Steady) {
			for _, name := range []string{"drain", "priority", "full", "sorry"} {
				if noteOf(s.Steps, name) != "" {
					t.Fatalf("step %s", name)
				}
			}
		}
	})
}
