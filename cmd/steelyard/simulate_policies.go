// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/sim"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
)

// A known policy is one that needs no file.
type knownPolicy struct {
	name, about string
	params      []abi.ParamInfo
	group       string                     // shipped, naive or empty
	make        func() (sim.Policy, error) // for one run: they keep state
}

// allPolicies are the known policies, the reference first.
func allPolicies() []knownPolicy {
	best := sim.Best()
	out := []knownPolicy{{name: best.Name, about: best.About, make: func() (sim.Policy, error) { return sim.Best(), nil }}}
	own := builtin.Policies()
	for i, info := range plugins.ShippedPolicies() {
		out = append(out, knownPolicy{name: info.Name, about: info.About, params: info.Params, group: "shipped",
			make: func() (sim.Policy, error) {
				n, err := newNativePolicy(own[i])
				return sim.Policy{Name: info.Name, Scheduler: n}, err
			}})
	}
	for i, p := range sim.Naive() {
		out = append(out, knownPolicy{name: p.Name, about: p.About, group: "naive", make: func() (sim.Policy, error) { return sim.Naive()[i], nil }})
	}
	return out
}

// A contender is one policy of a simulation.
type contender struct {
	name   string
	params map[string]float64
	make   func() (sim.Policy, error)
}

// A crew are the contenders, and the host of those that need one.
type crew struct {
	contenders []contender
	seeds      int
	record     bool
	host       *plugins.Host
	stop       func()
}

// newCrew finds the policies and starts a host if one of them needs it.
func newCrew(ctx context.Context, s *simulation) (*crew, error) {
	c := &crew{seeds: s.seeds, record: s.plot != "", stop: func() {}}
	params, err := parseParams(s.params)
	if err != nil {
		return nil, err
	}
	specs, err := c.choose(s)
	if err != nil {
		return nil, err
	}
	if len(specs) > 0 || s.worker {
		if err := c.start(ctx, specs); err != nil {
			return nil, err
		}
	}
	if err := c.giveParams(params); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *crew) close() { c.stop() }

// choose fills the contenders and returns the files that a host has to load.
func (c *crew) choose(s *simulation) ([]core.PolicySpec, error) {
	known := allPolicies()
	c.contenders = []contender{{name: known[0].name, make: known[0].make}}
	var specs []core.PolicySpec
	for _, word := range s.policies {
		found := false
		for _, k := range known {
			if k.name != word && k.group != word {
				continue
			}
			found = true
			made := k.make
			if s.worker && k.group == "shipped" {
				made = c.hosted(k.name)
			}
			c.add(contender{name: k.name, make: made})
		}
		if found {
			continue
		}
		spec, err := fileSpec(word, known)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
		c.add(contender{name: spec.Name, make: c.hosted(spec.Name)})
	}
	return specs, nil
}

func (c *crew) add(n contender) {
	if !slices.ContainsFunc(c.contenders, func(o contender) bool { return o.name == n.name }) {
		c.contenders = append(c.contenders, n)
	}
}

// hosted makes a policy that the host runs.
func (c *crew) hosted(name string) func() (sim.Policy, error) {
	return func() (sim.Policy, error) { return sim.Policy{Name: name, Scheduler: c.host}, nil }
}

// fileSpec is a policy in a file: FILE or NAME=FILE.
func fileSpec(word string, known []knownPolicy) (core.PolicySpec, error) {
	name, path, ok := strings.Cut(word, "=")
	if !ok {
		path = word
		name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	if !ok && !strings.ContainsAny(path, "./") {
		var names []string
		for _, k := range known {
			names = append(names, k.name)
		}
		return core.PolicySpec{}, &codedError{exitUsage, fmt.Errorf("no policy %q", word),
			"there are " + strings.Join(names, ", ") + ", and files: ./mine.wasm, ./mine.lua"}
	}
	return core.PolicySpec{Name: name, Path: path}, nil
}

// start loads files as the daemon does, each in a worker.
func (c *crew) start(ctx context.Context, specs []core.PolicySpec) error {
	ctx, cancel := context.WithCancel(ctx)
	c.host = plugins.NewHost(plugins.Config{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.host.Run(ctx) // it has no error to return
	}()
	c.stop = func() {
		cancel()
		<-ended
	}
	if err := c.host.Load(ctx, specs); err != nil {
		c.close()
		return err
	}
	return nil
}

// customMetrics are those that a policy in a file reads. Simulated backends have none.
func (c *crew) customMetrics(name string) []string {
	if c.host == nil {
		return nil
	}
	return c.host.CustomMetrics(name)
}

// parseParams reads --param.
func parseParams(list []string) (map[string]float64, error) {
	out := map[string]float64{}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		n, err := strconv.ParseFloat(v, 64)
		if !ok || err != nil {
			return nil, usage(fmt.Errorf("--param %s: want NAME=NUMBER, as in --param alpha=0.5", kv))
		}
		out[k] = n
	}
	return out, nil
}

// giveParams gives each parameter to the contenders that take it. One that nobody
// takes, or that is out of its bounds, is an error.
func (c *crew) giveParams(params map[string]float64) error {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		var refused error
		taken := false
		for i := range c.contenders {
			n := &c.contenders[i]
			one := map[string]float64{name: params[name]}
			if err := c.checkParams(n, one); err != nil {
				if !errors.Is(err, errNoParams) && n.name != "best" {
					refused = errors.Join(refused, err)
				}
				continue
			}
			taken = true
			if n.params == nil {
				n.params = map[string]float64{}
			}
			n.params[name] = params[name]
		}
		if !taken {
			if refused == nil {
				refused = fmt.Errorf("--param %s: no chosen policy takes parameters", name)
			}
			return usage(refused)
		}
	}
	return nil
}

// errNoParams is said of policies that take none at all.
var errNoParams = errors.New("it takes no parameters")

func (c *crew) checkParams(n *contender, params map[string]float64) error {
	p, err := n.make()
	if err != nil {
		return err
	}
	switch s := p.Scheduler.(type) {
	case *nativePolicy:
		_, err := s.frame(&core.Snapshot{Params: params})
		return err
	case *plugins.Host:
		return s.CheckParams(n.name, params)
	}
	return errNoParams
}
