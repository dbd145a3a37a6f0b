// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

const pluginLong = `Write, check, measure and compare scheduling policies. No command but record and
replay --live needs a daemon, and none needs root; a policy always runs in a worker
as the daemon's, with the same limits.

FILE is a WASM module or a Lua script; the name of a shipped policy does as well.

  steelyard plugin new idle --lang go        a folder that builds and tests
  steelyard plugin test idle.wasm            contract, properties, your scenarios
  steelyard plugin bench idle.wasm           what a call costs
  steelyard plugin record web --for 10m > web.jsonl
  steelyard plugin replay idle.wasm --recorded web.jsonl    what it would have done`

func newPluginCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "plugin", Aliases: []string{"plugins"},
		Short: "Write, check, measure and compare scheduling policies",
		Long:  pluginLong,
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPluginNewCommand(g), newPluginInspectCommand(g), newPluginValidateCommand(g), newPluginTestCommand(g),
		newPluginBenchCommand(g), newPluginRecordCommand(g), newPluginReplayCommand(g))
	return cmd
}

// A candidate is a policy that a command was given.
type candidate struct {
	suite.Subject
	Path    string // of the file; empty for a shipped policy
	Version string // name@first 12 hex of the sha256, as decisions have it
	SHA256  string
}

// label is what to call it where a file was named.
func (c candidate) label() string {
	if c.Path == "" {
		return c.Name
	}
	return c.Path
}

// candidate finds the policy that an argument names: a file, or a shipped one.
// policy picks one out of a module that holds several; empty means the only one,
// or the one that is called as the file is.
func findCandidate(arg, policy string) (candidate, error) {
	shipped := slices.ContainsFunc(shippedNames(), func(n string) bool { return n == arg })
	code, err := readPolicy(arg)
	switch {
	case err != nil && shipped:
		return newCandidate("", arg, builtin.Wasm), nil
	case errors.Is(err, fs.ErrNotExist):
		return candidate{}, &codedError{exitFailure, fmt.Errorf("no file and no shipped policy %q", arg), missingHint(arg)}
	case err != nil:
		return candidate{}, err
	}
	if policy == "" {
		policy = strings.TrimSuffix(filepath.Base(arg), filepath.Ext(arg))
	}
	return newCandidate(arg, policy, code), nil
}

func newCandidate(path, name string, code []byte) candidate {
	sum := sha256.Sum256(code)
	c := candidate{suite.Subject{Name: name, Code: code}, path, "", hex.EncodeToString(sum[:])}
	c.Version = name + "@" + c.SHA256[:12]
	return c
}

func missingHint(arg string) string {
	if strings.ContainsAny(arg, "/.") {
		return "build it first, or correct the path"
	}
	return "shipped: " + strings.Join(shippedNames(), ", ")
}

func shippedNames() []string {
	var names []string
	for _, p := range plugins.ShippedPolicies() {
		names = append(names, p.Name)
	}
	return names
}

// readPolicy reads a file, but no more of it than a module may have.
func readPolicy(path string) ([]byte, error) {
	// Without O_NONBLOCK a FIFO would wait until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, &codedError{exitFailure, fmt.Errorf("read %s: it is no regular file", path), "name the .wasm or .lua itself"}
	}
	code, err := io.ReadAll(io.LimitReader(f, wasm.MaxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(code) > wasm.MaxModule {
		return nil, &codedError{exitFailure, fmt.Errorf("%s is larger than %d bytes", path, wasm.MaxModule), "strip it of debug data, as with -ldflags='-s -w' or --strip-all"}
	}
	return code, nil
}

// completeCandidates offers the shipped policies, and files.
func completeCandidates(limit int) cobra.CompletionFunc {
	return func(_ *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(done) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, p := range plugins.ShippedPolicies() {
			out = append(out, p.Name+"\t"+p.About)
		}
		return out, cobra.ShellCompDirectiveDefault
	}
}

// A params flag collects --param name=value.
type params struct{ given []string }

func (p *params) addFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&p.given, "param", nil, "a parameter of the service, as in --param alpha=0.3")
}

// takenBy is the values, if the policy takes them all: a replay with a name that is
// wrong would look like one that makes no difference.
func (p *params) takenBy(info *abi.PolicyInfo) (map[string]float64, error) {
	values, err := p.values()
	if err != nil {
		return nil, err
	}
	_, err = info.Values(values)
	return values, usage(err)
}

func (p *params) values() (map[string]float64, error) {
	out := map[string]float64{}
	for _, text := range p.given {
		name, value, ok := strings.Cut(text, "=")
		v, err := strconv.ParseFloat(value, 64)
		if value == "true" || value == "false" {
			v, err = map[string]float64{"true": 1, "false": 0}[value], nil
		}
		if !ok || err != nil {
			return nil, usage(fmt.Errorf("--param %s: want name=number", text))
		}
		out[name] = v
	}
	return out, nil
}
