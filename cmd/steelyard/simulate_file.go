// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"

	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/sim"
)

// maxScenarioFile is far above any scenario, and keeps a wrong file from taking
// the memory.
const maxScenarioFile = 1 << 20

// findScenarios are those of names, in their order; all that come with steelyard
// if there are none.
func findScenarios(names []string) ([]sim.Scenario, error) {
	library := sim.Library()
	if len(names) == 0 {
		return library, nil
	}
	var out []sim.Scenario
	for _, name := range names {
		if i := slices.IndexFunc(library, func(sc sim.Scenario) bool { return sc.Name == name }); i >= 0 {
			out = append(out, library[i])
			continue
		}
		if !strings.ContainsAny(name, "./") {
			return nil, &codedError{exitUsage, fmt.Errorf("no scenario %q", name), "steelyard simulate --list lists them; a file is named as ./FILE.yaml"}
		}
		sc, err := readScenario(name)
		if err != nil {
			return nil, err
		}
		out = append(out, sc)
	}
	return out, nil
}

// readScenario reads a file. What is wrong with it is a config.Errors.
func readScenario(path string) (sim.Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return sim.Scenario{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxScenarioFile+1))
	if err != nil {
		return sim.Scenario{}, err
	}
	if len(data) > maxScenarioFile {
		return sim.Scenario{}, fmt.Errorf("read scenario %s: it has more than %d bytes", path, maxScenarioFile)
	}
	return parseScenario(path, data)
}

func parseScenario(path string, data []byte) (sim.Scenario, error) {
	sc := sim.Default()
	sc.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	file := scenarioFile{path, data}
	if len(bytes.TrimSpace(data)) == 0 { // the parser would clear all defaults
		return sc, config.Errors{{File: path, Message: "the file is empty", Hint: "steelyard simulate --print step gives one to begin with"}}
	}
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&sc); err != nil {
		return sc, file.refused(err)
	}
	err := sc.Check()
	var ps sim.Problems
	if !errors.As(err, &ps) {
		return sc, err
	}
	var out config.Errors
	for _, p := range ps {
		out = append(out, file.problem(file.find(p.Path), strings.TrimPrefix(p.Path, "$."), p.Text))
	}
	slices.SortStableFunc(out, func(a, b config.Problem) int { return cmp.Compare(a.Line, b.Line) })
	return sc, out
}

// wrongType is what the parser says of a value of the wrong type.
var wrongType = regexp.MustCompile(`^cannot unmarshal .* of type (\S+)`)

// wanted is what people write for a Go type.
var wanted = map[string]string{
	"time.Duration": "a time with its unit, such as 500ms, 30s or 10m", "float64": "a number", "int": "a whole number",
	"uint32": "a whole number", "bool": "true or false", "string": "text", "sim.Kind": "text",
}

// A scenarioFile is the text that problems are in.
type scenarioFile struct {
	path string
	data []byte
}

// refused makes a problem of what the parser says.
func (f scenarioFile) refused(err error) error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("read scenario %s: %w", f.path, err)
	}
	text := e.GetMessage()
	if name, ok := strings.CutPrefix(text, "unknown field "); ok {
		text = "there is no key " + name
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		text = "a value of the wrong kind: want " + cmp.Or(wanted[m[1]], "keys or a list of them, see --print")
	}
	return config.Errors{f.problem(e.GetToken(), "", text)}
}

// find is the place of a key, or of the nearest around it that is there.
func (f scenarioFile) find(path string) *token.Token {
	for path != "$" && path != "" {
		if p, err := yaml.PathString(path); err == nil {
			if n, err := p.ReadNode(bytes.NewReader(f.data)); err == nil && n != nil {
				return n.GetToken()
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return nil
}

func (f scenarioFile) problem(at *token.Token, key, text string) config.Problem {
	p := config.Problem{File: f.path, Key: key, Message: text}
	if key != "" {
		p.Message = key + " " + text
	}
	if at == nil || at.Position == nil {
		return p
	}
	lines := strings.Split(string(f.data), "\n")
	p.Line, p.Column = at.Position.Line, at.Position.Column
	if p.Line < 1 || p.Line > len(lines) {
		return p
	}
	p.Source = strings.TrimRight(lines[p.Line-1], "\r")
	p.Caret = min(max(p.Column, 1), utf8.RuneCountInString(p.Source)+1)
	p.Width = max(1, utf8.RuneCountInString(strings.TrimSpace(at.Value)))
	return p
}

// printScenarios writes scenarios as YAML documents.
func printScenarios(w io.Writer, scenarios []sim.Scenario) error {
	for i, sc := range scenarios {
		text, err := yaml.MarshalWithOptions(sc, yaml.IndentSequence(true))
		if err != nil {
			return fmt.Errorf("print scenario %s: %w", sc.Name, err)
		}
		if i > 0 {
			fmt.Fprintln(w, "---")
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}
