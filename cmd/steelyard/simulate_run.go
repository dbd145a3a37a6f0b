// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/steelyard-lb/steelyard/core/sim"
)

// A simulateAnswer is what `simulate -o json` prints.
type simulateAnswer struct {
	Scenarios []scenarioResult `json:"scenarios"`
}

// A scenarioResult is what became of all policies in one scenario.
type scenarioResult struct {
	Name    string         `json:"scenario"`
	About   string         `json:"about"`
	Seeds   int            `json:"seeds"`
	Results []policyResult `json:"results"` // the best possible first
}

// A policyResult is the outcome over all seeds.
type policyResult struct {
	Policy string `json:"policy"`
	sim.Outcome
}

// A job is one run.
type job struct{ scenario, contender, seed int }

// run plays every contender in every scenario with every seed, on all processors.
// The order in which runs end changes nothing.
func (c *crew) run(ctx context.Context, scenarios []sim.Scenario) ([]scenarioResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	outcomes := make([]sim.Outcome, len(scenarios)*len(c.contenders)*c.seeds)
	jobs := make(chan job)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for j := range jobs {
				o, err := c.one(ctx, scenarios[j.scenario], j)
				if err != nil {
					cancel(err) // only the first counts
				}
				outcomes[c.index(j)] = o
			}
		})
	}
	for s := range scenarios {
		for k := range c.contenders {
			for seed := range c.seeds {
				jobs <- job{s, k, seed}
			}
		}
	}
	close(jobs)
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return c.gather(scenarios, outcomes), nil
}

func (c *crew) index(j job) int {
	return (j.scenario*len(c.contenders)+j.contender)*c.seeds + j.seed
}

// one makes one run. The first seed is the one that is plotted.
func (c *crew) one(ctx context.Context, sc sim.Scenario, j job) (sim.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return sim.Outcome{}, err
	}
	n := c.contenders[j.contender]
	p, err := n.make()
	if err != nil {
		return sim.Outcome{}, err
	}
	p.Params = n.params
	// The index keeps the states of two runs apart in a host that serves both.
	state := fmt.Sprintf("%s.%d.%d", n.name, j.scenario, j.seed)
	return sim.Run(ctx, sc, p, sim.Options{Seed: uint64(j.seed + 1), State: state, Record: c.record && j.seed == 0})
}

// gather folds the seeds.
func (c *crew) gather(scenarios []sim.Scenario, outcomes []sim.Outcome) []scenarioResult {
	out := make([]scenarioResult, len(scenarios))
	for s, sc := range scenarios {
		r := scenarioResult{Name: sc.Name, About: sc.About, Seeds: c.seeds}
		for k, n := range c.contenders {
			first := c.index(job{s, k, 0})
			r.Results = append(r.Results, policyResult{n.name, sim.Mean(outcomes[first : first+c.seeds])})
		}
		out[s] = r
	}
	return out
}
