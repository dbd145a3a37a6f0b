// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// A policy is the script's table of that name: an entry of the manifest of ABI
// v1, and the names that the script has for its state slots.
type policy struct {
	abi.PolicyInfo
	backendState, serviceState []string
}

// defaultName is what a script that names no policy is called. The
// configuration calls it as it likes.
const defaultName = "policy"

// The patterns of names. A slot is a field of s.state, so it is a Lua name.
var (
	namePattern   = regexp.MustCompile("^[a-z0-9][a-z0-9_-]{0,62}$")
	metricPattern = regexp.MustCompile("^[a-z0-9][a-z0-9_]{0,62}$")
	slotPattern   = regexp.MustCompile("^[a-zA-Z_][a-zA-Z0-9_]{0,62}$")
)

var readings = []string{abi.ReadsCPU, abi.ReadsCores, abi.ReadsResponse, abi.ReadsConnections, abi.ReadsOpened, abi.ReadsClosed}

// readPolicy reads the table policy; nil is a script without one.
func readPolicy(v lua.LValue, at places) (*policy, error) {
	p := &policy{PolicyInfo: abi.PolicyInfo{Name: defaultName}}
	if v == lua.LNil {
		return p, nil
	}
	r := reader{places: at, path: "policy"}
	t := r.open(v, "name", "about", "params", "reads", "metrics", "backend_state", "service_state", "state_version")
	p.Name = r.name(t, "name", namePattern, "lower-case letters, digits, hyphens and underscores, at most 63", defaultName)
	p.About = r.text(t, "about")
	for i, e := range r.list(t, "params") {
		q := reader{places: at, path: fmt.Sprintf("policy.params[%d]", i+1)}
		p.Params = append(p.Params, q.param(e))
		r.take(&q)
	}
	p.Reads = r.names(t, "reads", func(s string) string { return unknown(s, readings) })
	p.Metrics = r.names(t, "metrics", match(metricPattern, "lower-case letters, digits and underscores, at most 63"))
	p.backendState = r.names(t, "backend_state", match(slotPattern, "a name such as smooth"))
	p.serviceState = r.names(t, "service_state", match(slotPattern, "a name such as errors"))
	p.StateVersion = int(r.whole(t, "state_version", 0, math.MaxInt32))
	r.most("params", len(p.Params), 64)
	r.most("metrics", len(p.Metrics), abi.MaxMetrics)
	r.most("backend_state", len(p.backendState), abi.MaxStateSlots)
	r.most("service_state", len(p.serviceState), abi.MaxStateSlots)
	p.BackendSlots, p.ServiceSlots = len(p.backendState), len(p.serviceState)
	return p, r.err
}

// manifest is the policy as ABI v1 has it, checked like that of a WASM module.
func (p *policy) manifest() ([]byte, error) {
	b, err := json.Marshal(abi.Manifest{ABI: abi.Major, Policies: []abi.PolicyInfo{p.PolicyInfo}})
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	if _, err := abi.ParseManifest(b); err != nil {
		return nil, err
	}
	return b, nil
}

// param reads one entry of policy.params.
func (r *reader) param(v lua.LValue) abi.ParamInfo {
	t := r.open(v, "name", "about", "unit", "type", "default", "min", "max")
	q := abi.ParamInfo{
		Name:  r.name(t, "name", namePattern, "lower-case letters, digits, hyphens and underscores, at most 63", ""),
		About: r.text(t, "about"), Unit: r.text(t, "unit"), Type: r.text(t, "type"),
	}
	switch q.Type {
	case "":
		q.Type = abi.TypeNumber
	case abi.TypeNumber, abi.TypeInteger, abi.TypeBoolean:
	default:
		r.fail("type", "is %s: want number, integer or boolean", quote(q.Type))
	}
	if q.Type == abi.TypeBoolean {
		q.Max = 1
		q.Default = r.boolean(t, "default")
		return q
	}
	if t.RawGetString("default") == lua.LNil {
		r.fail("default", "is missing: it holds where the configuration says nothing")
	}
	q.Default, q.Min, q.Max = r.number(t, "default", 0), r.number(t, "min", -math.MaxFloat64), r.number(t, "max", math.MaxFloat64)
	if q.Type == abi.TypeInteger && q.Default != math.Trunc(q.Default) {
		r.fail("default", "is %g: want a whole number, as the type is integer", q.Default)
	}
	if !(q.Min <= q.Default && q.Default <= q.Max) {
		r.fail("default", "is %g: want %s", q.Default, q.Range())
	}
	return q
}

func match(pattern *regexp.Regexp, want string) func(string) string {
	return func(s string) string {
		if pattern.MatchString(s) {
			return ""
		}
		return "want " + want
	}
}

// unknown says what is wrong with a word that is not one of known.
func unknown(word string, known []string) string {
	if slices.Contains(known, word) {
		return ""
	}
	if near := core.Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return "there are none"
	}
	return "there are " + strings.Join(known, ", ")
}
