// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

// checkPolicies loads the users' policies in workers of its own, as the daemon
// would, asks them whether they take the parameters that services give them, and
// for the weights of one ordinary service: a word that a script gets wrong is
// often found only where it runs.
func checkPolicies(ctx context.Context) func([]core.PolicySpec, []core.Service) []config.PolicyProblem {
	return func(policies []core.PolicySpec, services []core.Service) []config.PolicyProblem {
		if len(policies) == 0 && !slices.ContainsFunc(services, func(s core.Service) bool { return len(s.Params) > 0 }) {
			return nil
		}
		ctx, cancel := context.WithCancel(ctx)
		host := plugins.NewHost(plugins.Config{})
		defer func() {
			cancel()
			_ = host.Run(ctx) // ends the workers
		}()
		if err := host.Load(ctx, policies); err != nil {
			return loadProblems(ctx, host, policies, err)
		}
		var out []config.PolicyProblem
		for _, s := range services {
			for _, p := range paramErrors(host, s) {
				out = append(out, config.PolicyProblem{Service: s.Name, Param: p.param, Message: p.err.Error()})
			}
		}
		return append(out, askOnce(ctx, host, policies)...)
	}
}

// askOnce says which of the loaded policies fail on a service of two backends of
// which everything is known.
func askOnce(ctx context.Context, host *plugins.Host, policies []core.PolicySpec) []config.PolicyProblem {
	var out []config.PolicyProblem
	for _, spec := range policies {
		s := suite.Snapshot("a service of two backends", 2, host.CustomMetrics(spec.Name)...) // errors say the name
		if err := host.Schedule(ctx, []core.Call{{Policy: spec.Name, Snapshot: s}})[0].Err; err != nil && ctx.Err() == nil {
			out = append(out, policyProblem(spec, err))
		}
	}
	return out
}

// policyProblem is what is wrong with a policy. A script that stands in the
// configuration has its lines there, and no others are told.
func policyProblem(spec core.PolicySpec, err error) config.PolicyProblem {
	p := config.PolicyProblem{Policy: spec.Name, Line: scriptLine(err), Message: err.Error()}
	if spec.Lua != "" {
		p.Message = lineOfScript.ReplaceAllString(p.Message, "")
	}
	return p
}

// loadProblems says which of the policies do not load. All of them together did
// not, for this reason.
func loadProblems(ctx context.Context, host *plugins.Host, policies []core.PolicySpec, all error) []config.PolicyProblem {
	var out []config.PolicyProblem
	for _, spec := range policies {
		if err := host.Load(ctx, []core.PolicySpec{spec}); err != nil {
			out = append(out, policyProblem(spec, err))
		}
	}
	if len(out) == 0 {
		out = append(out, config.PolicyProblem{Message: all.Error()}) // no policy alone is to blame
	}
	return out
}

var lineOfScript = regexp.MustCompile(`policy\.lua:([0-9]+): ?`)

// scriptLine is the line that an error of a script names; 0 if it names none.
func scriptLine(err error) int {
	m := lineOfScript.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	return n
}

// A paramError is a parameter that a service gives and its policies do not take.
type paramError struct {
	param string
	err   error
}

// paramErrors are those of one service. Beside a shadow each of the two policies
// gets the parameters that it has, so one of them must have each.
func paramErrors(host *plugins.Host, s core.Service) []paramError {
	var out []paramError
	for _, name := range slices.Sorted(maps.Keys(s.Params)) {
		var takers []string
		for _, policy := range []string{s.Policy, s.Shadow} {
			if policy != "" && slices.Contains(host.ParamNames(policy), name) {
				takers = append(takers, policy)
			}
		}
		if len(takers) == 0 {
			takers = []string{s.Policy} // whose answer names those that it has
		}
		var errs []error
		for _, policy := range takers {
			if err := host.CheckParams(policy, map[string]float64{name: s.Params[name]}); err != nil {
				if !strings.Contains(err.Error(), policy) {
					err = fmt.Errorf("policy %s: %w", policy, err)
				}
				errs = append(errs, err)
			}
		}
		if err := errors.Join(errs...); err != nil {
			out = append(out, paramError{name, err})
		}
	}
	return out
}
