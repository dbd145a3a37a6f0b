// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

func (b *builder) services() []core.Service {
	out := make([]core.Service, 0, len(b.raw.Services))
	var ix frontIndex
	for _, name := range inOrder(b, "services", b.raw.Services) {
		if b.ps.full() {
			break
		}
		path := join("services", name)
		s := b.service(path, name, b.raw.Services[name])
		ix.add(b, path, &s)
		out = append(out, s)
	}
	ix.compareRanges(b)
	slices.SortFunc(out, func(x, y core.Service) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// ref is the place in a sentence.
func (p pos) ref() string {
	if p.line == 0 {
		return p.file()
	}
	return fmt.Sprintf("%s:%d", p.file(), p.line)
}

// A build is one service in the making.
type build struct {
	*builder
	path string // of the service: services.web
	raw  *rawService
	core.Service
	v4, v6  bool   // families of the frontends
	port    uint16 // of all frontends; 0 if they have several
	partial bool   // some frontend has a problem: what follows from all of them is unknown
}

func (b *builder) service(path, name string, r *rawService) core.Service {
	b.policyDefaults(path, r)
	s := &build{builder: b, path: path, raw: r, Service: core.Service{
		Name: name, OnDown: core.OnDown(r.OnDown), MinUp: r.MinUp,
		Policy: r.Policy, Shadow: r.Shadow, Params: r.Params, Every: r.Every, Probes: r.Probes, Shaping: core.Shaping(r.Shaping),
	}}
	s.frontends()
	s.traffic()
	b.checkPolicy(path, r)
	b.checkProbes(path, r)
	b.checkShaping(path, r)
	s.checkPolicyFits()
	s.health()
	s.passive()
	s.checkReadings()
	s.backends()
	s.pins()
	s.checkForwarding()
	s.checkBackends()
	return s.Service
}

// wrong notes a problem of the value of key, unless it has one already.
func (s *build) wrong(key, hint, format string, args ...any) {
	s.builder.wrong(s.at(key), hint, format, args...)
}

// at is the path of a key of the service.
func (s *build) at(key string) string { return join(s.path, key) }

// written reports whether somebody wrote the key down.
func (b *builder) written(path string) bool {
	_, ok := b.places[path]
	return ok
}

// item is the path of an item of a list; of the list if it has no brackets.
func (b *builder) item(path string, i int) string {
	if at := path + "." + strconv.Itoa(i); b.written(at) {
		return at
	}
	return path
}

func (b *builder) checkProbes(path string, r *rawService) {
	known := names(b, "probes", b.raw.Probes)
	for i, p := range r.Probes {
		at := join(path, "probes."+strconv.Itoa(i))
		switch {
		case !slices.Contains(known, p):
			b.wrong(at, cmp.Or(oneOf(p, known), "a probe is defined below probes, as in probes: {alive: {type: tcp}}"), "unknown probe %q", p)
		case slices.Index(r.Probes, p) < i:
			b.wrong(at, "", "probe %q stands here twice", p)
		}
	}
}

func (b *builder) checkShaping(path string, r *rawService) {
	at := join(path, "shaping")
	n := float64(len(r.Backends))
	if c := r.Shaping.Ceiling; n > 0 && c > 0 && c*n < 1-1e-9 && !b.spoilt[join(at, "ceiling")] {
		b.wrong(b.set(at, "ceiling"), fmt.Sprintf("at least %.3g for %d backends, or 0 for none", 1/n, len(r.Backends)),
			"with a ceiling of %g, %d backends cannot take all connections", c, len(r.Backends))
	}
	if r.Shaping.StaleAfter == 0 {
		return
	}
	for _, name := range r.Probes {
		p, ok := b.raw.Probes[name]
		if ok && p.Role == string(core.MetricRole) && r.Shaping.StaleAfter <= p.Interval {
			b.wrong(b.set(at, "stale_after"), "make it a few intervals long",
				"stale_after%s %s is not longer than the interval %s of probe %s: its readings would be stale before the next comes",
				b.byDefault(join(at, "stale_after")), short(r.Shaping.StaleAfter), short(p.Interval), name)
			return
		}
	}
}
