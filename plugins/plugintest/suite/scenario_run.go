// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Run asks the policy of t for every scenario and compares. It drops what the
// policy kept. An error is that of ctx, or that no worker starts.
func (f *ScenarioFile) Run(ctx context.Context, t *Session, ended func(Result)) ([]Result, error) {
	var out []Result
	for i := range f.Scenarios {
		r, _, err := f.play(ctx, t, &f.Scenarios[i])
		if err != nil {
			return out, err
		}
		out = append(out, r)
		if ended != nil {
			ended(r)
		}
	}
	return out, nil
}

// play runs one scenario, to its end whatever the answers are, and returns the
// shares after each step, nil where the policy refused.
func (f *ScenarioFile) play(ctx context.Context, t *Session, sc *Scenario) (Result, []map[string]float64, error) {
	t.Forget()
	w := newStage(sc.Name, t.Info.Metrics)
	result := Result{Name: sc.Name, Status: Pass}
	var said []map[string]float64
	for i := range sc.Steps {
		st := &sc.Steps[i]
		shares, err := w.step(ctx, t, st, i)
		var fault *Fault
		if err != nil && !errors.As(err, &fault) {
			if ctx.Err() != nil {
				return result, nil, err
			}
			fault = &Fault{Invalid, err.Error()} // such as a parameter that is not there
		}
		said = append(said, shares)
		if bad := st.broken(shares, fault); bad != "" && result.Status == Pass {
			result.Status = Fail
			result.Cause = fmt.Sprintf("%s:%d: %s", f.Path, st.where(shares), bad)
			result.Remedy = "correct the policy, or what is expected of it: --update writes the answers into the file"
		}
	}
	return result, said, nil
}

// broken tells how what was said is not what the step wants; empty if it is.
func (st *Step) broken(shares map[string]float64, fault *Fault) string {
	switch {
	case st.Refused != nil && fault == nil:
		return "the policy answered, want it to refuse"
	case st.Refused != nil:
		if !strings.Contains(fault.Cause, *st.Refused) || fault.Kind == Died {
			return fmt.Sprintf("refused with %q, want %q in it", fault.Cause, *st.Refused)
		}
		return ""
	case fault != nil:
		return fault.Cause
	}
	var bad []string
	for _, x := range st.Expect {
		if b := x.broken(shares, st.Tolerance); b != "" {
			bad = append(bad, b)
		}
	}
	return strings.Join(bad, "; ")
}

// where is the line of the first thing that is not as wanted.
func (st *Step) where(shares map[string]float64) int {
	for _, x := range st.Expect {
		if shares != nil && x.broken(shares, st.Tolerance) != "" {
			return x.Line
		}
	}
	return st.Line
}

// A stage is a service between the steps of a scenario.
type stage struct {
	snapshot core.Snapshot
	metrics  []string
	order    []string // names of backends, in the order in which they came
	backends map[string]*backendState
	seq      uint32
}

func newStage(name string, metrics []string) *stage {
	metrics = slices.Sorted(slices.Values(metrics))
	return &stage{metrics: metrics, backends: map[string]*backendState{},
		snapshot: core.Snapshot{Service: name, ID: core.BackendID{Service: name}.Hash(), Now: time.Unix(1_700_000_000, 0).UTC(), Metrics: metrics}}
}

func (w *stage) step(ctx context.Context, t *Session, st *Step, index int) (map[string]float64, error) {
	w.change(st)
	w.snapshot.Params = maps.Clone(w.snapshot.Params)
	for name, v := range st.Params {
		if w.snapshot.Params == nil {
			w.snapshot.Params = map[string]float64{}
		}
		w.snapshot.Params[name] = v
	}
	var shares map[string]float64
	for k := range st.Repeat {
		w.advance(st, index == 0 && k == 0)
		got, err := t.Ask(ctx, &w.snapshot)
		if err != nil {
			return nil, err
		}
		shares = w.said(got)
	}
	return shares, nil
}

// change brings backends to what the step says.
func (w *stage) change(st *Step) {
	for _, c := range st.Backends {
		if c.Gone {
			delete(w.backends, c.Name)
			w.order = slices.DeleteFunc(w.order, func(n string) bool { return n == c.Name })
			continue
		}
		b := w.backends[c.Name]
		if b == nil {
			b = newBackendState(w.snapshot.Service, c.Name)
			w.backends[c.Name] = b
			w.order = append(w.order, c.Name)
		}
		for _, f := range c.Changes {
			f(b)
		}
	}
}

// advance makes the next snapshot: time passes, and every reading is fresh.
func (w *stage) advance(st *Step, first bool) {
	s := &w.snapshot
	passed := 1.0
	if first {
		passed = 0
	}
	if st.Seconds >= 0 {
		passed = st.Seconds
	}
	s.Seq++
	s.Since = duration(passed)
	s.Now = s.Now.Add(s.Since)
	if !st.Now.IsZero() && !first && st.Repeat > 1 {
		s.Now = s.Now.In(st.Now.Location())
	} else if !st.Now.IsZero() {
		s.Now = st.Now
	}
	w.seq++
	s.Backends = make([]core.BackendInput, len(w.order))
	for i, name := range w.order {
		b := w.backends[name]
		if !first {
			b.Since += s.Since
		}
		if !b.fixedSeq {
			b.CPUSeq = w.seq
		}
		if first && !b.shareSaid {
			b.Share = 1 / float64(len(w.order))
		}
		b.Custom = make([]core.Reading, len(w.metrics))
		for k, m := range w.metrics {
			b.Custom[k] = b.custom[m]
		}
		s.Backends[i] = b.BackendInput
	}
}

// said keeps the answer as the shares in force, as if nothing shaped them.
func (w *stage) said(shares []float64) map[string]float64 {
	out := map[string]float64{}
	for i, name := range w.order {
		out[name] = shares[i]
		if !math.IsNaN(shares[i]) {
			w.backends[name].Share = shares[i]
		}
	}
	return out
}
