// SPDX-License-Identifier: Apache-2.0

package lua_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/lua"
)

// twoPass is a weighted least-load policy with state: one pass for the means and
// one for the weights.
const twoPass = `
policy = {
  name = "two-pass", reads = {"cpu", "response", "connections"}, metrics = {"queue_depth"}, backend_state = {"smooth"},
  params = {{name = "alpha", default = 0.3, min = 0, max = 1}, {name = "rt", default = 0.5}, {name = "queue", default = 0.1}, {name = "floor", default = 0.05}},
}
function schedule(s)
  local n, weight, up, conns, rt = s.n, s.weight, s.up, s.connections, s.response
  local cpu, age, queue, smooth = s.cpu, s.cpu_age, s.metric.queue_depth, s.state.smooth
  local alpha, krt, kq, floor = s.param.alpha, s.param.rt, s.param.queue, s.param.floor
  local sum_c, sum_r, count = 0, 0, 0
  for i = 1, n do
    if up[i] and conns[i] and rt[i] then
      sum_c, sum_r, count = sum_c + conns[i], sum_r + rt[i], count + 1
    end
  end
  local mean_c, mean_r = 1, 1
  if count > 0 then mean_c, mean_r = sum_c / count, sum_r / count end
  local out = {}
  for i = 1, n do
    if not up[i] then
      out[i] = 0
    elseif not cpu[i] or age[i] > 30 then
      out[i] = hold
    else
      local load = cpu[i] + 0.2 * (conns[i] or mean_c) / mean_c + krt * (rt[i] or mean_r) / mean_r + kq * (queue[i] or 0) / 100
      local x = smooth[i]
      if x == 0 then x = load else x = x + alpha * (load - x) end
      smooth[i] = x
      local w = weight[i] / (x + floor)
      if w < 0.001 then w = 0.001 end
      out[i] = w
    end
  end
  return out
end`

// BenchmarkCall measures a call as the worker makes it. Between calls one
// backend in ten has news ("some"), or all of them ("all").
func BenchmarkCall(b *testing.B) {
	for _, n := range []int{16, 64, 1000, 10000} {
		for _, news := range []struct {
			name  string
			every int
		}{{"some", 10}, {"all", 1}} {
			b.Run(fmt.Sprintf("n=%d/news=%s", n, news.name), func(b *testing.B) { benchmarkCall(b, n, news.every) })
		}
	}
}

func benchmarkCall(b *testing.B, n, every int) {
	d := load(b, twoPass)
	d.metrics = []string{"queue_depth"}
	d.s = service(n)
	// The state of a few calls, so that it is not all zero.
	for range 3 {
		d.must()
	}
	var snapshots [][]byte
	for k := range 8 {
		for i := k % every; i < n; i += every {
			in := &d.s.Backends[i]
			x := float64(k) / 100
			in.CPU.Value, in.CPU.Age, in.Response.Value, in.Conns.Value = 0.3+x, time.Duration(k)*time.Second, 0.1+x, float64(k+10)
			if in.Custom != nil {
				in.Custom = []core.Reading{{Value: float64(k), Known: true}}
			}
		}
		d.s.Seq++
		buf, _ := d.encode()
		snapshots = append(snapshots, buf)
	}
	took := make([]time.Duration, 0, 1<<16)
	var out []byte
	var err error
	b.ReportAllocs()
	for k := 0; b.Loop(); k++ {
		start := time.Now()
		if out, err = d.m.Call(b.Context(), out[:0], snapshots[k%len(snapshots)]); err != nil {
			b.Fatal(err)
		}
		if len(took) < cap(took) {
			took = append(took, time.Since(start))
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
}

// BenchmarkLoad measures a compile and the first run.
func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		m, err := lua.Load(b.Context(), []byte(twoPass))
		if err != nil {
			b.Fatal(err)
		}
		_ = m.Close(b.Context())
	}
}
