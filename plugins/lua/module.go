// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// MaxScript is the most bytes of Lua that are taken.
const MaxScript = 256 << 10

// File is what errors call a script: package lua knows no path.
const File = "policy.lua"

// A Module is a compiled policy script and the machine that runs it.
type Module struct {
	proto    *lua.FunctionProto
	places   places
	policy   *policy
	manifest []byte
	machine  *machine // nil after a panic, until the next call
	lines    []abi.Line
}

// Load compiles a script, runs it once, which defines schedule, and checks its
// manifest.
func Load(_ context.Context, code []byte) (*Module, error) {
	code = bytes.TrimPrefix(code, []byte("\uFEFF"))
	switch {
	case len(code) > MaxScript:
		return nil, fmt.Errorf("the script has %d bytes, at most %d are taken", len(code), MaxScript)
	case bytes.IndexByte(code, 0) >= 0 || !utf8.Valid(code):
		return nil, errors.New("not a Lua script: it is no UTF-8 text")
	}
	m := &Module{}
	chunk, err := m.parse(code)
	if err != nil {
		return nil, err
	}
	if m.proto, err = compile(chunk); err != nil {
		return nil, err
	}
	if err := m.start(); err != nil {
		m.stop()
		return nil, err
	}
	if m.manifest, err = m.policy.manifest(); err != nil {
		m.stop()
		return nil, err
	}
	return m, nil
}

// start makes a machine and runs the script in it.
func (m *Module) start() error {
	k := newMachine()
	err := k.define(m.proto, m.places)
	m.lines = append(m.lines, k.lines...)
	if err != nil {
		k.l.Close()
		return err
	}
	m.machine, m.policy = k, k.policy
	return nil
}

func (m *Module) stop() {
	if m.machine != nil {
		m.machine.l.Close()
		m.machine = nil
	}
}

// Manifest is the script's table policy as JSON.
func (m *Module) Manifest() []byte { return m.manifest }

// Call runs schedule on a snapshot that abi.Encode made and appends what it
// answered, the snapshot from its AnswerOffset on, to dst. An error leaves dst
// as it was.
func (m *Module) Call(_ context.Context, dst, snapshot []byte) ([]byte, error) {
	m.lines = m.lines[:0]
	var v view
	if err := v.open(snapshot, m.policy); err != nil {
		return dst, err
	}
	if m.machine == nil {
		if err := m.start(); err != nil {
			return dst, err
		}
	}
	out, err := m.machine.call(dst, &v)
	m.lines = append(m.lines, m.machine.lines...)
	if errors.Is(err, errPanic) {
		m.stop() // who knows what it left behind
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

// Logs are the lines that the last Load or Call logged; good until the next.
func (m *Module) Logs() []abi.Line { return m.lines }

// Close frees the machine.
func (m *Module) Close(context.Context) error {
	m.stop()
	return nil
}
