// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// exports are the functions of a module; a missing optional one is fine, a
// wrong type is not.
var exports = []struct {
	name, params, results string
	optional              bool
}{
	{abi.ExportABI, "", "i", false},
	{abi.ExportAlloc, "i", "i", false},
	{abi.ExportSchedule, "ii", "i", false},
	{abi.ExportManifest, "", "I", true},
	{"_initialize", "", "", true},
}

// checkContract compares a module with ABI v1 before any of it runs. All that
// is wrong is told at once.
func checkContract(m wazero.CompiledModule) error {
	var errs []error
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		want, ok := signature(module, name)
		got := types(f.ParamTypes()) + ":" + types(f.ResultTypes())
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("it imports %s.%s, which steelyard does not offer", module, name))
		case want != got:
			errs = append(errs, fmt.Errorf("it imports %s.%s as %s, which is %s", module, name, got, want))
		}
	}
	if len(m.ImportedMemories()) > 0 {
		errs = append(errs, errors.New("it imports a memory: it must have its own"))
	}
	if m.ExportedMemories()[abi.ExportMemory] == nil {
		errs = append(errs, errors.New("it exports no memory called "+abi.ExportMemory))
	}
	fs := m.ExportedFunctions()
	for _, e := range exports {
		f := fs[e.name]
		if f == nil {
			if !e.optional {
				errs = append(errs, errors.New("it exports no function "+e.name))
			}
			continue
		}
		want := e.params + ":" + e.results
		if got := types(f.ParamTypes()) + ":" + types(f.ResultTypes()); got != want {
			errs = append(errs, fmt.Errorf("it exports %s as %s, want %s", e.name, got, want))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	// i is i32 and I is i64 in these texts, as in the table of the WASI shim.
	return fmt.Errorf("not a module of ABI v1: %w; build it with one of the SDKs", joined(errs))
}

func joined(errs []error) error {
	texts := make([]string, len(errs))
	for i, e := range errs {
		texts[i] = e.Error()
	}
	return errors.New(strings.Join(slices.Compact(texts), "; "))
}

func signature(module, name string) (string, bool) {
	s, ok := offered[module][name]
	return s, ok
}

var letters = map[api.ValueType]byte{
	api.ValueTypeI32: 'i', api.ValueTypeI64: 'I', api.ValueTypeF32: 'f', api.ValueTypeF64: 'F',
}

// types writes a list of types as letters.
func types(ts []api.ValueType) string {
	b := make([]byte, len(ts))
	for i, t := range ts {
		if b[i] = letters[t]; b[i] == 0 {
			b[i] = '?'
		}
	}
	return string(b)
}

// valueTypes is types backwards.
func valueTypes(s string) []api.ValueType {
	ts := make([]api.ValueType, 0, len(s))
	for i := range len(s) {
		for t, l := range letters {
			if l == s[i] {
				ts = append(ts, t)
			}
		}
	}
	return ts
}
