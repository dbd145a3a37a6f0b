// SPDX-License-Identifier: Apache-2.0

package lua_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/lua"
)

// A bed is a script, and a service for it whose state is kept from call to call.
type bed struct {
	t       testing.TB
	m       *lua.Module
	info    abi.PolicyInfo
	s       *core.Snapshot
	params  map[string]float64
	metrics []string
	service []byte
	state   map[uint64][]byte
}

func load(t testing.TB, script string) *bed {
	t.Helper()
	m, err := lua.Load(t.Context(), []byte(script))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(t.Context()) })
	manifest, err := abi.ParseManifest(m.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	return &bed{t: t, m: m, info: manifest.Policies[0], s: service(3), state: map[uint64][]byte{}}
}

// service has n backends that differ in everything; the last is not measured.
func service(n int) *core.Snapshot {
	s := &core.Snapshot{Service: "web", ID: 7, Seq: 1, Now: time.Unix(1_700_000_000, 0).UTC(), Since: time.Second,
		Metrics: []string{"queue_depth"}}
	known := func(v, age float64) core.Reading {
		return core.Reading{Value: v, Age: time.Duration(age * 1e9), Window: 5 * time.Second, Known: true}
	}
	for i := range n {
		x := float64(i)
		b := core.BackendInput{ID: 0xABCDEF0000000000 + uint64(i), Weight: uint32(100 + i), Health: core.Up, Since: time.Minute, Share: 0.25}
		if i < n-1 || n == 1 {
			b.CPUSeq = uint32(i + 1)
			b.CPU, b.Cores, b.Response = known(0.5+x/1e5, 0.5), known(8, 0), known(0.25+x, 2)
			b.Conns, b.New, b.Done = known(10+x, 0.5), known(3+x, 0), known(2+x, 0)
			b.Custom = []core.Reading{known(40+x, 4)}
		} else {
			b.Health = core.Down
		}
		s.Backends = append(s.Backends, b)
	}
	return s
}

func (b *bed) encode() ([]byte, abi.Frame) {
	b.t.Helper()
	params, err := b.info.Values(b.params)
	if err != nil {
		b.t.Fatal(err)
	}
	f := abi.Frame{Params: params, BackendSlots: b.info.BackendSlots, ServiceSlots: b.info.ServiceSlots, Hidden: b.info.Hidden(),
		Metrics: b.metrics, Service: b.service, Backend: func(id uint64) []byte { return b.state[id] }}
	buf, err := abi.Encode(nil, b.s, f)
	if err != nil {
		b.t.Fatal(err)
	}
	return buf, f
}

// call makes one call and keeps the state, as the host does.
func (b *bed) call() ([]float64, error) {
	b.t.Helper()
	buf, f := b.encode()
	out, err := b.m.Call(b.t.Context(), nil, buf)
	if err != nil {
		return nil, err
	}
	a, err := abi.Decode(out, b.s, f)
	if err != nil {
		return nil, err
	}
	b.service = append([]byte(nil), a.Service...)
	for i := range b.s.Backends {
		b.state[b.s.Backends[i].ID] = append([]byte(nil), a.Backend[i]...)
	}
	b.s.Seq++
	return a.Weights, nil
}

func (b *bed) must() []float64 {
	b.t.Helper()
	w, err := b.call()
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

// said are the lines of the last call.
func (b *bed) said() string {
	var out []string
	for _, l := range b.m.Logs() {
		out = append(out, fmt.Sprintf("%d %s", l.Level, l.Text))
	}
	return strings.Join(out, "\n")
}

const columns = `
policy = {name = "reads", metrics = {"queue_depth"}, params = {{name = "a", default = 1, min = 0, max = 9}, {name = "on", type = "boolean", default = true}},
  backend_state = {"x", "y"}, service_state = {"z"}}
function schedule(s)
  for i = 1, s.n do
    print(s.id[i], s.weight[i], s.share[i], s.up[i], s.down[i], s.health_seconds[i])
    print(s.cpu[i], s.cpu_age[i], s.cpu_window[i], s.cpu_seq[i], s.cores[i], s.response[i], s.response_age[i])
    print(s.connections[i], s.connections_age[i], s.opened[i], s.closed[i], s.metric.queue_depth[i], s.metric_age.queue_depth[i])
  end
  print(s.n, s.seconds, s.now, s.utc_offset, s.seq, s.param.a, s.param.on, s.state.x[1], s.state.y[2], s.service.z)
  return {1, hold, 0}
end`

// TestColumns compares the guest's copy of the layout with the host's.
func TestColumns(t *testing.T) {
	b := load(t, columns)
	b.metrics, b.params = []string{"queue_depth"}, map[string]float64{"a": 4, "on": 0}
	b.s.Now = b.s.Now.In(time.FixedZone("", -5400))
	want := strings.ReplaceAll(`1 abcdef0000000000 100 0.25 true false 60
1 0.5 0.5 5 1 8 0.25 2
1 10 0.5 3 2 40 4
1 abcdef0000000001 101 0.25 true false 60
1 0.50001 0.5 5 2 8 1.25 2
1 11 0.5 4 3 41 4
1 abcdef0000000002 102 0.25 false true 60
1 nil nil nil 0 nil nil nil
1 nil nil nil nil nil nil
1 3 1 1700000000 -5400 1 4 false 0 0 0`, " ", "\t")
	for range 2 {
		weights := b.must()
		if diff := cmp.Diff(want, strings.ReplaceAll(b.said(), " ", "\t")); diff != "" {
			t.Fatalf("read (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]float64{1e9, core.Hold, 0}, weights); diff != "" {
			t.Errorf("weights (-want +got):\n%s", diff)
		}
		b.s.Seq--
	}
}

// Columns follow the number of backends, and what the script does to them does
// not last.
func TestColumnsGrowAndShrink(t *testing.T) {
	b := load(t, `function schedule(s)
		local out = {}
		for i = 1, s.n do out[i] = s.weight[i] end
		print(#s.weight, #s.up, #s.id, s.weight[s.n + 1], s.cpu[1])
		s.weight[1], s.cpu[1], s.up[1] = "broken", nil, 7
		table.insert(s.weight, 99)
		s.up[s.n + 50], s.id[s.n + 2], s.id[s.n + 1] = true, "x", "y"
		s.cpu, s.weight = {}, 5
		return out
	end`)
	for _, n := range []int{3, 1, 0, 40, 2} {
		b.s.Backends = service(n).Backends
		if got := len(b.must()); got != n {
			t.Errorf("%d weights for %d backends", got, n)
		}
		cpu := "0.5"
		if n == 0 {
			cpu = "nil"
		}
		if want := fmt.Sprintf("1 %d\t%d\t%d\tnil\t%s", n, n, n, cpu); b.said() != want {
			t.Errorf("%d backends: said %q, want %q", n, b.said(), want)
		}
	}
}

func TestState(t *testing.T) {
	b := load(t, `policy = {backend_state = {"seen", "other"}, service_state = {"calls", "fail"}}
	function schedule(s)
		s.service.calls = s.service.calls + 1
		local out = {}
		for i = 1, s.n do
			s.state.seen[i] = s.state.seen[i] + i
			out[i] = s.state.seen[i]
		end
		if s.service.calls == 3 then error("not now") end
		return out
	end`)
	for call, want := range [][]float64{{1, 2, 3}, {2, 4, 6}, nil, nil} {
		got, err := b.call()
		if want == nil {
			if err == nil || !strings.Contains(err.Error(), "not now") {
				t.Fatalf("call %d: got %v", call+1, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range got { // weights are scaled
			got[i] = math.Round(got[i] * want[len(want)-1] / 1e9)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("call %d (-want +got):\n%s", call+1, diff)
		}
	}
	// State follows the backend and not the index.
	b.service = nil
	b.s.Backends[0], b.s.Backends[1] = b.s.Backends[1], b.s.Backends[0]
	if got := b.must(); math.Round(got[0]*9/1e9) != 5 || math.Round(got[1]*9/1e9) != 4 {
		t.Errorf("after a swap the weights are %v", got)
	}
}

// Two services take turns in one machine and see nothing of one another.
func TestServicesShareNothing(t *testing.T) {
	const script = `policy = {backend_state = {"x"}, service_state = {"y"}}
	function schedule(s)
		local out = {}
		for i = 1, s.n do s.state.x[i] = s.state.x[i] + 1; out[i] = s.state.x[i] + s.service.y + (s.cpu[i] or 0) end
		s.service.y = s.service.y + s.n
		return out
	end`
	shared, alone := load(t, script), load(t, script)
	other := &bed{t: t, m: shared.m, info: shared.info, s: service(9), state: map[uint64][]byte{}}
	for range 5 {
		want := alone.must()
		if diff := cmp.Diff(want, shared.must()); diff != "" {
			t.Fatalf("weights (-alone +shared):\n%s", diff)
		}
		other.must()
	}
}

// Weights are scaled to the largest; one above zero stays above zero.
func TestScale(t *testing.T) {
	b := load(t, "\uFEFFfunction schedule(s) if s.seq == 1 then return {5e-324, 1e300, 1e299} end return {5e-324, 0, hold} end")
	for _, want := range [][]float64{{1, 1e9, 1e8}, {1e9, 0, core.Hold}} {
		if diff := cmp.Diff(want, b.must()); diff != "" {
			t.Errorf("weights (-want +got):\n%s", diff)
		}
	}
}

// A parameter that the host gives as unknown, or not at all, has its default.
func TestParamDefaults(t *testing.T) {
	b := load(t, "policy = {params = {{name = 'a', default = 3}, {name = 'b', default = 4, type = 'integer'}}} function schedule(s) print(s.param.a, s.param.b) return s.weight end")
	for _, params := range [][]float64{{3, 4}, {math.NaN(), math.NaN()}, {math.NaN()}, nil} {
		buf, err := abi.Encode(nil, b.s, abi.Frame{Params: params})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.m.Call(t.Context(), nil, buf); err != nil {
			t.Fatal(err)
		}
		if b.said() != "1 3\t4" {
			t.Errorf("params %v: said %q", params, b.said())
		}
	}
}
