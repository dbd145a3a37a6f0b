// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Types of a parameter. Each is a number in the snapshot: a boolean is 0 or 1.
const (
	TypeNumber  = "number"
	TypeInteger = "integer"
	TypeBoolean = "boolean"
)

// A ParamInfo describes one parameter.
type ParamInfo struct {
	Name    string
	About   string
	Unit    string // empty if it has none
	Type    string // TypeNumber, TypeInteger or TypeBoolean
	Default float64
	// Min and Max bound the value; -math.MaxFloat64 and math.MaxFloat64 where the
	// manifest says nothing, 0 and 1 of a boolean.
	Min, Max float64
}

// MarshalJSON writes the parameter as a manifest has it: a bound that is none is
// left out.
func (p ParamInfo) MarshalJSON() ([]byte, error) {
	out := struct {
		Name    string   `json:"name"`
		About   string   `json:"about,omitempty"`
		Unit    string   `json:"unit,omitempty"`
		Type    string   `json:"type"`
		Default float64  `json:"default"`
		Min     *float64 `json:"min,omitempty"`
		Max     *float64 `json:"max,omitempty"`
	}{p.Name, p.About, p.Unit, p.Type, p.Default, nil, nil}
	if p.Type != TypeBoolean && p.Min > -math.MaxFloat64 {
		out.Min = &p.Min
	}
	if p.Type != TypeBoolean && p.Max < math.MaxFloat64 {
		out.Max = &p.Max
	}
	return json.Marshal(out)
}

// Range says in words which values are taken.
func (p *ParamInfo) Range() string {
	if p.Type == TypeBoolean {
		return "true or false"
	}
	whole, any := "", "any number"
	if p.Type == TypeInteger {
		whole, any = "a whole number from ", "any whole number"
	}
	switch low, high := p.Min > -math.MaxFloat64, p.Max < math.MaxFloat64; {
	case low && high:
		return fmt.Sprintf("%s%g to %g", whole, p.Min, p.Max)
	case low:
		return fmt.Sprintf("%s from %g upward", any, p.Min)
	case high:
		return fmt.Sprintf("%s up to %g", any, p.Max)
	}
	return any
}

// takes reports whether v is a value of this parameter.
func (p *ParamInfo) takes(v float64) bool {
	return p.Min <= v && v <= p.Max && (p.Type == TypeNumber || p.Type == "" || v == math.Trunc(v))
}

func (p *ParamInfo) check() error {
	switch {
	case p.Type != TypeNumber && p.Type != TypeInteger && p.Type != TypeBoolean:
		return fmt.Errorf("type %q: want %s, %s or %s", p.Type, TypeNumber, TypeInteger, TypeBoolean)
	case p.Type == TypeBoolean && (p.Min != 0 || p.Max != 1):
		return fmt.Errorf("a boolean has no min and no max")
	case p.Min > p.Max:
		return fmt.Errorf("min %g is over max %g", p.Min, p.Max)
	case !p.takes(p.Default):
		return fmt.Errorf("default %g: want %s", p.Default, p.Range())
	}
	return nil
}

// Values puts the parameters of a service in the manifest's order; one that is
// not given has its default. An unknown name or a value out of range is an
// error.
func (p *PolicyInfo) Values(given map[string]float64) ([]float64, error) {
	out := make([]float64, len(p.Params))
	found := 0
	for i := range p.Params {
		q := &p.Params[i]
		v, ok := given[q.Name]
		if !ok {
			out[i] = q.Default
			continue
		}
		found++
		if !q.takes(v) {
			return nil, fmt.Errorf("parameter %s of policy %s is %g: want %s", q.Name, p.Name, v, q.Range())
		}
		out[i] = v
	}
	if found < len(given) {
		return nil, p.unknown(given)
	}
	return out, nil
}

// Fitting are those of the given parameters that Values takes.
func (p *PolicyInfo) Fitting(given map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for i := range p.Params {
		if v, ok := given[p.Params[i].Name]; ok && p.Params[i].takes(v) {
			out[p.Params[i].Name] = v
		}
	}
	return out
}

func (p *PolicyInfo) unknown(given map[string]float64) error {
	var names, extra []string
	for i := range p.Params {
		names = append(names, p.Params[i].Name)
	}
	for name := range given {
		if !slices.Contains(names, name) {
			extra = append(extra, name)
		}
	}
	slices.Sort(extra)
	has := "it has none"
	if len(names) > 0 {
		has = "it has " + strings.Join(names, ", ")
	}
	return fmt.Errorf("policy %s has no parameter %s: %s", p.Name, strings.Join(extra, ", "), has)
}
