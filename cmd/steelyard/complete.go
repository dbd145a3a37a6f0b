// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

// completeTimeout is how long a press of the TAB key may wait for the daemon.
const completeTimeout = 200 * time.Millisecond

// completeServices offers the names of services.
func (g *globals) completeServices(cmd *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(done) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, s := range g.completeView(cmd).Services {
		out = append(out, serviceCompletion(s))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completePin offers services, and for the third word the backends of the one named.
func (g *globals) completePin(cmd *cobra.Command, done []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(done) != 2 {
		return g.completeServices(cmd, done, word)
	}
	var out []string
	for _, s := range g.completeView(cmd).Services {
		for _, b := range s.Backends {
			if s.Name == done[0] {
				out = append(out, fmt.Sprintf("%s\t%s, %s open", b.Name, stateOf(b), count(b.Connections)))
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeUnpin offers services, and for the second word the clients of the one
// named that a command has pinned.
func (g *globals) completeUnpin(cmd *cobra.Command, done []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(done) != 1 {
		return g.completeServices(cmd, done, word)
	}
	var out []string
	v := g.completeView(cmd)
	for _, s := range v.Services {
		for _, p := range s.Pins {
			if s.Name == done[0] {
				out = append(out, fmt.Sprintf("%s\tto %s, %s", core.ClientText(p.Client), p.Backend, clean(pinWhy(p, v.At))))
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeBackends offers the names of services and of their backends.
func (g *globals) completeBackends(cmd *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(done) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, s := range g.completeView(cmd).Services {
		out = append(out, serviceCompletion(s))
		for _, b := range s.Backends {
			id := core.BackendID{Service: s.Name, Backend: b.Name}
			out = append(out, fmt.Sprintf("%s\t%s, share %s, cpu %s", id, stateOf(b), ratio(b.Share), percent(b.CPU)))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeBackendIDs offers the names of backends, those that offered says yes to.
func (g *globals) completeBackendIDs(offered func(*core.Override) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(done) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		v := g.completeView(cmd)
		for _, s := range v.Services {
			for _, b := range s.Backends {
				if !offered(b.Override) {
					continue
				}
				text := fmt.Sprintf("%s, %s open", b.Health, count(b.Connections))
				if b.Override != nil {
					text = clean(overrideText(*b.Override, v.At))
				}
				out = append(out, fmt.Sprintf("%s\t%s", core.BackendID{Service: s.Name, Backend: b.Name}, text))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeOutput offers the formats of a command, its default first.
func completeOutput(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	first := "table"
	switch cmd.Name() {
	case "view":
		first = "yaml"
	case "monitor":
		first = "text"
	}
	return []string{first, "json"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func serviceCompletion(s core.ServiceView) string {
	return fmt.Sprintf("%s\t%s, %s", s.Name, frontends(s), healthCounts(s.Backends, false))
}

// completeView is the daemon's state, or nothing: a completion never complains.
func (g *globals) completeView(cmd *cobra.Command) core.NodeView {
	ctx := cmd.Context()
	if ctx == nil { // cobra completes without one
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	v, err := g.dial(g.Socket).Node(ctx)
	if err != nil {
		return core.NodeView{}
	}
	return v
}
