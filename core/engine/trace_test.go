// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A tracing is a Trace that is under way.
type tracing struct {
	trace core.Trace
	err   error
	done  chan struct{}
}

func (e *Engine) follows(t *testing.T, backend, probe string, limit time.Duration) *tracing {
	t.Helper()
	out := &tracing{done: make(chan struct{})}
	go func() {
		defer close(out.done)
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		out.trace, out.err = e.Trace(ctx, core.BackendID{Service: "web", Backend: backend}, probe)
	}()
	synctest.Wait()
	return out
}

// steps waits for a trace and compares the text of each step: what must be in it.
func (o *tracing) steps(t *testing.T, want ...string) {
	t.Helper()
	<-o.done
	var got []string
	for i, s := range o.trace.Steps {
		got = append(got, fmt.Sprintf("%d %s %+.1f ms %s", s.Step, s.Name, 1000*s.SinceSeconds, s.Text))
		if i < len(want) && (s.Step != i+1 || !strings.Contains(s.Text, want[i])) {
			t.Errorf("step %d is %q, want %q in it", i+1, got[i], want[i])
		}
		if i > 0 && s.At.Before(o.trace.Steps[i-1].At) {
			t.Errorf("step %d was done before the one before", s.Step)
		}
	}
	if o.err != nil || len(got) != len(want) {
		t.Errorf("error %v, %d steps, want %d", o.err, len(got), len(want))
	}
	t.Logf("\n%s\n= %s", strings.Join(got, "\n"), o.trace.Conclusion)
}

// A death goes through all seven steps at once, and a policy that hangs is not asked.
func TestTraceOfADeath(t *testing.T) {
	k := &kernel{took: 2 * time.Millisecond}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.hears("test", "b1", true)
		e.hears("test", "b2", true)
		time.Sleep(3 * time.Second)
		e.hears("test", "b1", false)
		o := e.follows(t, "b1", "", time.Minute)
		e.hears("test", "b2", true) // not the one
		e.hears("test", "b1", false)
		o.steps(t, "tcp L4CON in 0.000 ms on test, sample test/alive/", "taken by the engine", "bad; probe alive went up → down, b1 is down",
			"policy weighted is not asked: a change of health", "health 50.0% → 0.0%", "b1: 32768 slots → 0 of 65536, 1 share of others moved",
			"generation 7, 0 elements changed")
		if s := o.trace.Steps[6].SinceSeconds; s != 0.002 {
			t.Errorf("the commit was done %v s after the probe, want 0.002", s)
		}
		if !strings.Contains(o.trace.Conclusion, "web/b1 has 0.0% of the new connections; from the end of the probe to the kernel it took 2.000 ms") {
			t.Errorf("conclusion %q", o.trace.Conclusion)
		}
		if r := o.trace.Sample; r.Node != "test" || r.Probe != "alive" || r.Seq != seqs {
			t.Errorf("sample %+v", r)
		}
		_ = e.do(t.Context(), func() {
			if len(e.tracers) > 0 {
				t.Error("a tracer is left")
			}
		})
	})
}

// A sample that changes no health is followed to the policy's next answer.
func TestTraceOfAGoodSample(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 3, 1)), func(t *testing.T, e *Engine, l *log) {
		e.hears("test", "b1", true)
		e.hears("test", "b2", true)
		time.Sleep(5 * time.Second)
		o := e.follows(t, "b1", "alive", time.Minute)
		e.hears("test", "b1", true)
		o.steps(t, "tcp L4OK", "engine", "good; probe alive stays up, b1 is up", "has it; policy weighted answered in 0.000 ms: 75.0% for b1",
			"policy", "b1: 49152 slots → 49152 of 65536", "no slot moved: nothing to commit")
		if !strings.Contains(o.trace.Conclusion, "web/b1 has 75.0% of the new connections, as before") {
			t.Errorf("conclusion %q", o.trace.Conclusion)
		}
		o = e.follows(t, "b1", "alive", time.Minute)
		e.hears("test", "b1", false)
		o.steps(t, "tcp L4CON", "engine", "bad, 1 of 2 in a row against up; b1 stays up", "has it", "policy", "slots", "nothing to commit")
	})
}

// What a monitor sends is followed to the decision that has it among its inputs, and a
// CPU sample until the connections of its window are counted.
func TestTraceOfAMetric(t *testing.T) {
	k := &kernel{}
	setup := setupOf(web("web", "weighted", 1, 1))
	setup.Metrics = map[string][]string{"weighted": {"depth"}}
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.hears("test", "b1", true)
		e.hears("test", "b2", true)
		time.Sleep(5 * time.Second)
		for _, m := range []core.Metric{{Name: "depth", Value: 7, Unit: "jobs"}, {Name: core.MetricCPU, Value: 0.5, Unit: "ratio", Window: time.Second}} {
			o := e.follows(t, "b1", m.Name, time.Minute)
			e.Offer(core.Sample{
				Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: m.Name, Role: core.MetricRole, OK: true, Node: "zabbix", Seq: 41,
				TakenAt: time.Now(), Metrics: []core.Metric{m},
			})
			o.steps(t, fmt.Sprintf("%s %v %s from zabbix, sample zabbix/%s/41", m.Name, m.Value, m.Unit, m.Name), "over the bus from zabbix", "of a monitor: no matter of health",
				"has it", "policy", "slots", "nothing to commit")
			d := e.latest(t, "web")
			found := false
			for _, in := range d.Backends[0].Inputs {
				found = found || in.Metric == m.Name && in.Probe == m.Name && in.Node == "zabbix" && in.Seq == 41
			}
			if !found {
				t.Errorf("%s: the inputs do not name the sample: %+v", m.Name, d.Backends[0].Inputs)
			}
		}
	})
}

// What cannot be followed is said, and what ends early is told as far as it came.
func TestTraceEnds(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"hanging": hanging}, setupOf(web("web", "hanging", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		for backend, want := range map[string]string{"b9": "is not configured", "b1": "no sample came in time"} {
			o := e.follows(t, backend, "", time.Second)
			if <-o.done; o.err == nil || !strings.Contains(o.err.Error(), want) {
				t.Errorf("%s: %v, want %q", backend, o.err, want)
			}
		}
		e.hears("test", "b1", true)
		time.Sleep(3 * time.Second)
		o := e.follows(t, "b1", "", time.Second)
		e.hears("test", "b1", true)
		o.steps(t, "tcp L4OK", "engine", "good")
		if !strings.Contains(o.trace.Conclusion, "the time was over while it waited for the policy") {
			t.Errorf("conclusion %q", o.trace.Conclusion)
		}
		_ = e.do(t.Context(), func() {
			if len(e.tracers) > 0 {
				t.Error("a tracer is left")
			}
		})
	})
}

// What the kernel refuses is the end of a trace, too.
func TestTraceOfARefusal(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.hears("test", "b1", true)
		time.Sleep(3 * time.Second)
		k.mu.Lock()
		k.fail = fmt.Errorf("no buffer space")
		k.mu.Unlock()
		o := e.follows(t, "b2", "", time.Minute)
		e.hears("test", "b2", true)
		o.steps(t, "L4OK", "engine", "unknown → up", "not asked", "%", "b2: 0 slots → ", "refused, and what was in force before holds: no buffer space")
	})
}

// Of a service that another node leads, the trace follows what its leader sends.
func TestTraceOfAFollower(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.hears("test", "b1", true)
		e.hears("test", "b2", true)
		e.offer(vector(9, 1, 32768, 32768))
		time.Sleep(time.Second)
		o := e.follows(t, "b1", "", time.Minute)
		e.hears("test", "b1", true)
		e.offer(vector(9, 2, 16384, 49152))
		o.steps(t, "L4OK", "engine", "good", "web is decided by ", "", "b1: 32768 slots → 16384", "generation 7")
	})
}

// A steady backend of a service that another node leads: the trace ends by itself and says
// whose vector is in force.
func TestTraceOfASteadyFollower(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		o := e.follows(t, "b1", "", time.Hour)
		e.hears("test", "b1", true)
		o.steps(t, "L4OK", "engine", "good; probe alive stays up", "web is decided by another node, of which nothing was heard yet")
		e.offer(vector(9, 7, 16384, 49152))
		heard := time.Now()
		time.Sleep(time.Minute)
		for _, limit := range []time.Duration{time.Hour, 10 * time.Millisecond} {
			began := time.Now()
			o = e.follows(t, "b1", "", limit)
			e.hears("test", "b1", true)
			o.steps(t, "L4OK", "engine", "good; probe alive stays up",
				"web is decided by lb2: vector 7 of epoch 9, its decision 4007, is in force since "+heard.UTC().Format("2006-01-02 15:04")+":")
			if want := "nothing to commit, so it ends at step 4: the sample changed nothing here, and web/b1 has 25.0% of the new connections as before; what lb2 makes of it, `steelyard trace web/b1` there tells"; o.trace.Conclusion != want {
				t.Errorf("conclusion %q, want %q", o.trace.Conclusion, want)
			}
			if took := time.Since(began); took > time.Minute {
				t.Errorf("it took %v", took)
			}
		}
		_ = e.do(t.Context(), func() {
			if len(e.tracers) > 0 {
				t.Error("a tracer is left")
			}
		})
	})
}

// A death on a follower goes by the leader's shares, and its trace says so.
func TestTraceOfADeathOnAFollower(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 7, 16384, 49152))
		e.hears("test", "b1", false)
		o := e.follows(t, "b1", "", time.Minute)
		e.hears("test", "b1", false)
		o.steps(t, "L4CON", "engine", "went up → down", "web is decided by lb2: its decision 4007 came as vector 7 of epoch 9", "", "b1: 16384 slots → 0", "generation ")
	})
}

// A trace goes on where this node begins to lead the service, or ends to.
func TestTraceOverAChangeOfLeaders(t *testing.T) {
	k, g := &kernel{}, newGroup(true)
	setup := setupOf(web("web", "hanging", 1, 1))
	engineTestWith(t, k, policies{"hanging": hanging}, setup, Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(5 * time.Second)
		o := e.follows(t, "b1", "", time.Hour)
		e.hears("test", "b1", true)
		g.lead(false)
		began := time.Now()
		o.steps(t, "L4OK", "engine", "good", "web is decided by another node, of which nothing was heard yet")
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		e.offer(vector(9, 1, 32768, 32768))
		o = e.follows(t, "b1", "", time.Hour)
		e.hears("test", "b1", true)
		g.lead(true)
		o.steps(t, "L4OK", "engine", "good", "web is decided by this node since a moment ago", "", "b1: 32768 slots → 32768", "no slot moved")
	})
}
