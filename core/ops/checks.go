// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Check is one line of /readyz?verbose.
type Check struct {
	Name   string
	OK     bool
	Detail string // why not, or what is worth knowing
	// Told marks a check that does not make the node unready unless a request asks for
	// it: what is wrong with it is wrong with all nodes at once, and if all of them let
	// go of the VIP nobody serves.
	Told bool
}

// probesSoon is how long after the start readiness waits for the first results: a
// probe that can never run must not keep a node out for ever.
const probesSoon = time.Minute

// Checks tells from a view whether a node should get traffic: its configuration is in
// force, its kernel carries the plan, and each backend was heard of once. Told beside
// that are the bus, the group, the policies, the last reload, and whether the node suspects itself.
func Checks(v core.NodeView) []Check {
	return []Check{
		checkConfig(v), checkKernel(v), checkProbes(v),
		checkReload(v), checkBus(v), checkCluster(v), checkPolicies(v), checkSuspect(v),
	}
}

func checkConfig(v core.NodeView) Check {
	var bad []string
	for _, s := range v.Services {
		if s.Error != "" {
			bad = append(bad, s.Name)
		}
	}
	detail := plural(len(v.Services), "service")
	if len(bad) > 0 {
		// One bad service never harms another: the rest is worth its traffic.
		detail = "not in force as configured: " + list(bad)
	}
	return Check{Name: "config", OK: len(bad) == 0 || len(bad) < len(v.Services), Detail: detail}
}

func checkKernel(v core.NodeView) Check {
	c := Check{Name: "kernel", OK: v.Kernel.LastError == "", Detail: v.Kernel.LastError}
	switch {
	case !v.Carries():
		c.Detail = "this node carries no traffic (roles has no apply)"
	case c.OK:
		c.Detail = fmt.Sprintf("generation %d carries the plan", v.Kernel.Generation)
	}
	return c
}

// checkProbes is about the start: later a backend that is new must not cost a node its VIP.
func checkProbes(v core.NodeView) Check {
	var waiting []string
	for _, s := range v.Services {
		for _, b := range s.Backends {
			if unheard(b) {
				waiting = append(waiting, s.Name+"/"+b.Name)
			}
		}
	}
	c := Check{Name: "probes", OK: len(waiting) == 0, Detail: "every backend was heard of"}
	if len(waiting) > 0 {
		c.OK = v.At.Sub(v.StartedAt) > probesSoon
		c.Detail = "no result yet of " + list(waiting)
	}
	return c
}

// unheard reports whether no health probe of a backend has come to its end yet.
func unheard(b core.BackendView) bool {
	if b.Health != core.Unknown {
		return false
	}
	asked := false
	for _, p := range b.Probes {
		if p.Role != core.HealthRole {
			continue
		}
		if !p.At.IsZero() {
			return false
		}
		asked = true
	}
	return asked
}

func checkReload(v core.NodeView) Check {
	c := Check{Name: "reload", OK: v.ReloadError+v.RevisionError == "", Told: true, Detail: "the configuration is of " + v.ConfigAt.UTC().Format(time.RFC3339)}
	switch {
	case v.ReloadError != "":
		c.Detail = "the last reload was refused: " + v.ReloadError
	case v.RevisionError != "":
		c.Detail = v.RevisionError
	}
	return c
}

func checkBus(v core.NodeView) Check {
	c := Check{Name: "bus", OK: v.Bus.Connected, Told: true, Detail: "connected"}
	if !c.OK {
		c.Detail = "the server is away; this node goes on with what it knows"
	}
	return c
}

// checkCluster is about the group: a node must not let go of the VIP because another is away.
func checkCluster(v core.NodeView) Check {
	c := Check{Name: "cluster", OK: true, Told: true, Detail: "this node is in no group"}
	if v.Cluster == nil {
		return c
	}
	var others, twins []string
	for _, m := range v.Cluster.Members {
		if m.Twin {
			twins = append(twins, m.Node)
		}
		if m.State == core.MemberLive {
			continue
		}
		others = append(others, m.Node+" "+string(m.State))
		c.OK = c.OK && m.State == core.MemberLeft // that is meant
	}
	all := len(v.Cluster.Members)
	c.Detail = fmt.Sprintf("group %s: %d of %s live", v.Cluster.Group, all-len(others), plural(all, "node"))
	if len(others) > 0 {
		c.Detail += ", " + list(others)
	}
	if len(twins) > 0 {
		c.OK = false
		c.Detail += "; two nodes have the name " + list(twins)
	}
	return c
}

func checkPolicies(v core.NodeView) Check {
	var bad []string
	for _, s := range v.Services {
		if s.PolicyError != "" {
			bad = append(bad, s.Name)
		}
	}
	c := Check{Name: "policies", OK: len(bad) == 0, Told: true, Detail: "every policy answers"}
	if !c.OK {
		c.Detail = "the last good weights hold for " + list(bad)
	}
	return c
}

func checkSuspect(v core.NodeView) Check {
	c := Check{Name: "self", OK: v.Probing.Suspect == "", Told: true, Detail: "this node does not suspect itself"}
	if !c.OK {
		c.Detail = v.Probing.Suspect
	}
	return c
}

// checkService tells whether a service has somebody to send clients to.
func checkService(v core.NodeView, name string) Check {
	c := Check{Name: "service " + name}
	for _, s := range v.Services {
		if s.Name != name {
			continue
		}
		serving := 0
		for _, b := range s.Backends {
			if b.Slots > 0 {
				serving++
			}
		}
		c.OK = serving > 0 && s.Error == ""
		c.Detail = fmt.Sprintf("%d of %d backends get connections", serving, len(s.Backends))
		if s.Error != "" {
			c.Detail = s.Error
		}
		return c
	}
	c.Detail = "no service is called that"
	return c
}

// list names a few.
func list(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
