// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// The properties that a policy may break on purpose: see Options.Allow.
const (
	AllowOrder = "order" // the order of the backends matters to it
	AllowScale = "scale" // configured weights matter by more than their ratios
)

// Allowed are all of them.
var Allowed = []string{AllowOrder, AllowScale}

// Options of a run of checks. The zero value is good.
type Options struct {
	// Allow are the properties that the policy breaks on purpose; what breaks
	// them is then a note.
	Allow []string
	// Params are those of the service.
	Params map[string]float64
	// Ended is called after each check; nil is not.
	Ended func(Result)
}

// A trial is a run of checks of one subject.
type trial struct {
	*Session
	options Options
}

// A check looks at one property.
type check struct {
	name string
	run  func(context.Context, *trial) Result
}

// Conform puts a policy through all checks. The error tells why there are no
// further results: ctx is done, or no worker starts. A module that does not load
// is a result, the only one.
func Conform(ctx context.Context, s Subject, o Options) ([]Result, error) {
	var out []Result
	keep := func(name string, r Result) {
		r.Name = name
		out = append(out, r)
		if o.Ended != nil {
			o.Ended(r)
		}
	}
	session, err := s.Open(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		keep("contract", fail(err.Error(), "steelyard plugin inspect shows what the module has and lacks"))
		return out, nil
	}
	defer session.Close()
	t := &trial{Session: session, options: o}
	for _, c := range checks() {
		r := c.run(ctx, t)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		keep(c.name, r)
	}
	return out, nil
}

func checks() []check {
	list := []check{{"contract", contract}}
	for _, c := range inputCases() {
		list = append(list, check{c.name, c.run})
	}
	return append(list,
		check{"parameters at their ends", parameters},
		check{"order of backends", ordered},
		check{"scale of configured weights", scaled},
		check{"backends come and go", comeAndGo},
		check{"the same in two workers", twice},
		check{"keeps to its own service", interleaved},
		check{"memory of its own is not needed", restarted},
		check{"state of another origin", garbage},
		check{"a newer host's snapshot", newerHost},
		check{"time of a call", budget},
		check{"memory", memory},
	)
}

// contract: the module is loaded by now; a call that asks for little is answered.
func contract(ctx context.Context, t *trial) Result {
	s := t.snapshot("contract", 2)
	if _, err := t.Schedule(ctx, &s); err != nil {
		return failed(err)
	}
	kind := "no state"
	if t.Info.BackendSlots+t.Info.ServiceSlots > 0 {
		kind = fmt.Sprintf("state of %d numbers per backend and %d per service", t.Info.BackendSlots, t.Info.ServiceSlots)
	}
	return pass(fmt.Sprintf("loaded in %s, %s, %s", spent(t.Loading), parameterCount(t), kind))
}

func parameterCount(t *trial) string {
	if len(t.Info.Params) == 1 {
		return "1 parameter"
	}
	return fmt.Sprintf("%d parameters", len(t.Info.Params))
}

// snapshot is one for the trial's policy; the name keeps states apart.
func (t *trial) snapshot(name string, n int) core.Snapshot {
	s := Snapshot("plugintest-"+name, n, t.Info.Metrics...)
	s.Params = t.options.Params
	return s
}

// An inputCase is a service that a policy must answer for, five decisions long.
type inputCase struct {
	name   string
	n      int
	change func(i int, b *core.BackendInput)
}

func (c inputCase) run(ctx context.Context, t *trial) Result {
	s := t.snapshot(c.name, c.n)
	for i := range s.Backends {
		c.change(i, &s.Backends[i])
	}
	first := true
	for range 5 {
		if !first {
			tick(&s)
		}
		first = false
		if _, err := t.Schedule(ctx, &s); err != nil {
			return failed(err)
		}
	}
	return pass("")
}

func inputCases() []inputCase {
	same := func(int, *core.BackendInput) {}
	all := func(f func(*core.BackendInput)) func(int, *core.BackendInput) {
		return func(_ int, b *core.BackendInput) { f(b) }
	}
	readings := func(f func(*core.Reading)) func(int, *core.BackendInput) {
		return func(_ int, b *core.BackendInput) { each(b, f) }
	}
	return []inputCase{
		{"no backend", 0, same},
		{"one backend", 1, same},
		{"two backends", 2, same},
		{"10,000 backends", 10_000, same},
		{"all down", 3, all(func(b *core.BackendInput) { b.Health = core.Down })},
		{"all of unknown health", 3, all(func(b *core.BackendInput) { b.Health = core.Unknown })},
		{"one up", 4, func(i int, b *core.BackendInput) {
			if i != 2 {
				b.Health = core.Down
			}
		}},
		{"all of weight 0", 3, all(func(b *core.BackendInput) { b.Weight = 0 })},
		{"no reading", 3, readings(func(r *core.Reading) { *r = core.Reading{} })},
		{"every reading 0", 3, readings(func(r *core.Reading) { r.Value = 0 })},
		{"every reading huge", 3, readings(func(r *core.Reading) { r.Value = 1e300 })},
		{"every reading tiny", 3, readings(func(r *core.Reading) { r.Value = 1e-300 })},
		{"every reading old", 3, readings(func(r *core.Reading) { r.Age = 1000 * time.Hour })},
		{"saturated", 3, all(func(b *core.BackendInput) { b.CPU.Value = 1 })},
		{"one unmeasured", 3, func(i int, b *core.BackendInput) {
			if i == 1 {
				each(b, func(r *core.Reading) { *r = core.Reading{} })
			}
		}},
	}
}

// parameters asks with every parameter at its least and at its most.
func parameters(ctx context.Context, t *trial) Result {
	if len(t.Info.Params) == 0 {
		return pass("it has none")
	}
	for _, p := range t.Info.Params {
		for _, v := range []float64{p.Min, p.Max} {
			if math.Abs(v) == math.MaxFloat64 { // none is set
				continue
			}
			s := t.snapshot(fmt.Sprint("parameter ", p.Name, v), 3)
			s.Params = map[string]float64{p.Name: v}
			for range 3 {
				if _, err := t.Schedule(ctx, &s); err != nil {
					r := failed(err)
					r.Cause = fmt.Sprintf("%s: %g: %s", p.Name, v, r.Cause)
					var f *Fault
					if errors.As(err, &f) {
						r.Remedy = "narrow the parameter's min and max to what the policy can do with; " + r.Remedy
					}
					return r
				}
				tick(&s)
			}
		}
	}
	return pass(parameterCount(t))
}
