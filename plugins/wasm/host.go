// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

const hostModule = "steelyard"

// hostFunctions are the functions of the module steelyard, params:results.
var hostFunctions = map[string]string{
	"log":    "iii:",
	"random": ":I",
	"abort":  "ii:",
}

// AssemblyScript's runtime imports env.abort(message, file, line, column) unless
// it is told not to.
const envModule = "env"

var envFunctions = map[string]string{"abort": "iiii:"}

// offered are all modules that a guest can import from.
var offered = map[string]map[string]string{hostModule: hostFunctions, wasiModule: wasiFunctions, envModule: envFunctions}

// What a guest may say in one call.
const (
	maxLines = 16
	maxLine  = 512 // bytes
)

// host is the other end of a module's imports. It lives for one module and is
// reset at each call.
type host struct {
	lines  []abi.Line
	cause  string // the last error or abort that the guest told
	stderr strings.Builder
	random uint64
	now    int64
}

func (h *host) begin(seed uint64, now int64) {
	// Go's runtime refuses to start at time 0.
	h.lines, h.cause, h.random, h.now = h.lines[:0], "", seed, max(now, 1)
	if h.stderr.Len() > 0 {
		h.stderr.Reset()
	}
}

// install makes the modules that guests import.
func (h *host) install(ctx context.Context, rt wazero.Runtime) error {
	own := map[string]api.GoModuleFunc{"log": h.log, "random": h.next, "abort": h.abort}
	for module, fs := range offered {
		b := rt.NewHostModuleBuilder(module)
		for name, sig := range fs {
			f := own[name]
			switch module {
			case wasiModule:
				f = h.wasi(name)
			case envModule:
				f = h.envAbort
			}
			params, results, _ := strings.Cut(sig, ":")
			b = b.NewFunctionBuilder().WithGoModuleFunction(f, valueTypes(params), valueTypes(results)).Export(name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("offer module %s: %w", module, err)
		}
	}
	return nil
}

// text reads a string of the guest; a bad address is the empty string.
func text(m api.Module, ptr, size uint64) string {
	if m.Memory() == nil {
		return ""
	}
	b, ok := m.Memory().Read(uint32(ptr), min(uint32(size), maxLine))
	if !ok {
		return ""
	}
	return strings.ToValidUTF8(string(b), "?")
}

func (h *host) log(_ context.Context, m api.Module, stack []uint64) {
	h.line(uint32(stack[0]), text(m, stack[1], stack[2]))
}

func (h *host) line(level uint32, s string) {
	if level >= abi.LevelError {
		h.cause = s
	}
	if len(h.lines) < maxLines {
		h.lines = append(h.lines, abi.Line{Level: min(level, abi.LevelError), Text: s})
	}
}

// said are the lines of the log, and behind them what a runtime wrote to stdout
// and stderr.
func (h *host) said() []abi.Line {
	for line := range strings.Lines(h.stderr.String()) {
		if line = strings.TrimSpace(line); line != "" && len(h.lines) < maxLines {
			h.lines = append(h.lines, abi.Line{Level: abi.LevelInfo, Text: strings.ToValidUTF8(line[:min(len(line), maxLine)], "?")})
		}
	}
	h.stderr.Reset()
	return h.lines
}

// next is splitmix64.
func (h *host) next(_ context.Context, _ api.Module, stack []uint64) {
	stack[0] = h.rand()
}

func (h *host) rand() uint64 {
	h.random += 0x9E3779B97F4A7C15
	z := h.random
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

func (h *host) abort(_ context.Context, m api.Module, stack []uint64) {
	h.line(abi.LevelError, text(m, stack[0], stack[1]))
	panic(fmt.Errorf("the policy aborted")) // wazero turns it into the error of the call
}

// envAbort is abort as AssemblyScript calls it.
func (h *host) envAbort(_ context.Context, m api.Module, stack []uint64) {
	said := wideText(m, uint32(stack[0]))
	if file := wideText(m, uint32(stack[1])); file != "" {
		said = fmt.Sprintf("%s at %s:%d:%d", said, file, uint32(stack[2]), uint32(stack[3]))
	}
	h.line(abi.LevelError, strings.TrimSpace(said))
	panic(fmt.Errorf("the policy aborted"))
}

// wideText reads a string of AssemblyScript: UTF-16, its length in bytes in the
// four bytes before it. A bad address is the empty string.
func wideText(m api.Module, ptr uint32) string {
	if m.Memory() == nil || ptr < 4 {
		return ""
	}
	size, ok := m.Memory().ReadUint32Le(ptr - 4)
	if !ok {
		return ""
	}
	b, ok := m.Memory().Read(ptr, min(size, maxLine)&^1)
	if !ok {
		return ""
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
	}
	return string(utf16.Decode(units))
}

// explain makes one line of a trap: wazero's first line, and what the guest
// itself said.
func (h *host) explain(err error) error {
	first, _, _ := strings.Cut(err.Error(), "\n")
	first = strings.TrimSuffix(strings.TrimPrefix(first, "wasm error: "), " (recovered by wazero)")
	said := h.cause
	if said == "" {
		said, _, _ = strings.Cut(strings.TrimSpace(h.stderr.String()), "\n")
	}
	if said == "" {
		return fmt.Errorf("%s", first)
	}
	return fmt.Errorf("%s: %s", first, said)
}

// refusal is the error behind a negative status.
func (h *host) refusal(status int32) error {
	if h.cause != "" {
		return fmt.Errorf("%w: %s", errStatus, h.cause)
	}
	return fmt.Errorf("%w: status %d", errStatus, status)
}
