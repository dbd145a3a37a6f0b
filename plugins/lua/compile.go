// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// parse reads a script and checks what can be checked before it runs.
func (m *Module) parse(code []byte) (chunk []ast.Stmt, err error) {
	defer recovered(&err)
	chunk, err = parse.Parse(bytes.NewReader(code), File)
	if err != nil {
		return nil, syntaxError(err)
	}
	m.places = policyPlaces(chunk)
	c := check(chunk)
	for _, w := range c.warnings {
		if len(m.lines) < maxLines {
			m.lines = append(m.lines, abi.Line{Level: abi.LevelWarn, Text: clip(w)})
		}
	}
	return chunk, c.err()
}

func compile(chunk []ast.Stmt) (proto *lua.FunctionProto, err error) {
	defer recovered(&err)
	proto, err = lua.Compile(chunk, File)
	var e *lua.CompileError
	if errors.As(err, &e) {
		return nil, fmt.Errorf("%s:%d: %s", File, e.Line, e.Message)
	}
	return proto, err
}

// syntaxError writes the parser's error as Lua does, policy.lua:3: ….
func syntaxError(err error) error {
	var e *parse.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", File, err)
	}
	message := strings.TrimSpace(e.Message)
	if e.Pos.Line <= 0 { // parse.EOS
		return fmt.Errorf("%s: %s at the end of the file: is an 'end' missing?", File, message)
	}
	if e.Token == "" {
		return fmt.Errorf("%s:%d: %s", File, e.Pos.Line, message)
	}
	return fmt.Errorf("%s:%d: %s near %s", File, e.Pos.Line, message, quote(e.Token))
}

// errPanic is behind an error that gopher-lua did not mean to make.
var errPanic = errors.New("the Lua interpreter broke down")

// recovered makes a panic of gopher-lua an error. Deferred.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: %w: %v", File, errPanic, r)
	}
}
