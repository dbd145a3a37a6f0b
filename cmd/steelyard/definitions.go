// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/bus/definitions"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// A storeFlags is where the definitions of a group are stored: in the JetStream of
// bus.servers, or of other servers.
type storeFlags struct {
	natsFlags
	group    string
	patience time.Duration // for all servers to answer; 0: as long as that takes
}

func (f *storeFlags) addFlags(cmd *cobra.Command) {
	f.natsFlags.addFlags(cmd)
	cmd.Flags().StringVar(&f.group, "group", "", "group of nodes; default: cluster.group of the configuration")
}

// whole reports whether the flags say all, so that no configuration is needed.
func (f *storeFlags) whole() bool { return f.group != "" && len(f.servers) > 0 }

// A store is an open store of definitions.
type store struct {
	*definitions.Store
	group string
	login string // the user of the NATS; empty: not known
}

// openStore is the store in the NATS that the flags name, or else in that of the
// configuration, which may be nil if the flags say all.
func (f *storeFlags) openStore(cfg *config.Config) (*store, error) {
	o, err := f.options(cfg)
	if err != nil {
		return nil, err
	}
	group := f.group
	if cfg != nil {
		group = cmp.Or(group, cfg.Cluster.Group)
	}
	switch {
	case len(o.Servers) == 0:
		return nil, &codedError{exitUsage, errors.New("there is no NATS to ask"), "set bus.servers, or name it with --server"}
	case group == "":
		return nil, &codedError{exitUsage, errors.New("there is no group whose definitions they are"), "set cluster.group, or name it with --group"}
	}
	o.Group, o.JoinTimeout = group, f.patience/time.Duration(len(o.Servers))
	return &store{definitions.New(o), group, f.loginName(cfg)}, nil
}

// loginName is the user that logs in, as far as flags and configuration tell; a key or a
// certificate alone does not.
func (f *storeFlags) loginName(cfg *config.Config) string {
	if f.natsFlags.used() || len(f.servers) > 0 || cfg == nil {
		return f.user
	}
	return cfg.Bus.Login.User
}

// storeConfig is the store of a node's own group.
func storeConfig(cfg *config.Config, log *slog.Logger) definitions.Config {
	o := busOptions(cfg, log)
	return definitions.Config{Group: cfg.Cluster.Group, Node: o.Node, Servers: o.Servers, Login: o.Login, Log: log}
}

// options have no log: what goes wrong is the answer of the call.
func (f *storeFlags) options(cfg *config.Config) (definitions.Config, error) {
	login, err := f.login()
	if err != nil {
		return definitions.Config{}, err
	}
	o := definitions.Config{Node: cmp.Or(f.user, hostName()), Servers: f.servers, Login: login}
	if len(f.servers) > 0 || cfg == nil {
		return o, nil
	}
	node := o.Node
	o = storeConfig(cfg, nil)
	if f.natsFlags.used() {
		login.CA = cmp.Or(login.CA, o.Login.CA)
		o.Login, o.Node = login, node
		return o, nil
	}
	// The inbox is that of the user who logs in.
	o.Node = cmp.Or(cfg.Bus.Login.User, cfg.Node)
	return o, nil
}

// stored gives an error of the store its exit code.
func stored(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, definitions.ErrConflict):
		return &codedError{code: exitFailure, err: err, hint: "look at `steelyard revisions`, then push with --expect, or with --force to replace whatever is there"}
	case strings.Contains(err.Error(), `"_INBOX_`):
		return &codedError{exitPermission, err, "an inbox has the name of the user: give that with --user, beside --nkey, --creds or --cert, too"}
	case strings.Contains(strings.ToLower(err.Error()), "permissions violation"):
		return &codedError{code: exitPermission, err: err}
	case errors.Is(err, definitions.ErrNone):
		return &codedError{code: exitFailure, err: err, hint: "`steelyard revisions` lists what there is; `steelyard push -c FILE` pushes some"}
	}
	return err
}

// A document is one state of the definitions: what stands in it, and its files by
// SHA-256.
type document struct {
	yaml, shown []byte // shown is without secrets
	files       map[string][]byte
}

// same reports whether a revision holds that already.
func (d *document) same(r definitions.Revision, yaml []byte) bool {
	if string(yaml) != string(d.yaml) || len(r.Files) != len(d.files) {
		return false
	}
	for name := range d.files {
		if _, ok := r.Files[name]; !ok {
			return false
		}
	}
	return true
}

// read fetches a revision with its files; 0 is the newest.
func (s *store) read(ctx context.Context, number uint64) (definitions.Revision, *document, error) {
	r, yaml, err := s.get(ctx, number)
	if err != nil {
		return r, nil, err
	}
	d := &document{yaml: yaml, files: map[string][]byte{}}
	for name, sum := range r.Files {
		if d.files[name], err = s.File(ctx, sum); err != nil {
			return r, nil, stored(err)
		}
	}
	d.shown, err = config.ShowShared(fmt.Sprintf("revision %d", r.Number), yaml)
	return r, d, err
}

func (s *store) get(ctx context.Context, number uint64) (r definitions.Revision, yaml []byte, err error) {
	if number == 0 {
		r, yaml, err = s.Latest(ctx)
	} else {
		r, yaml, err = s.Get(ctx, number)
	}
	return r, yaml, stored(err)
}

// documentOf is what a configuration has to push.
func documentOf(s *config.Shared) (*document, error) {
	d := &document{yaml: s.YAML, shown: s.Shown, files: map[string][]byte{}}
	for hash, path := range s.Files {
		code, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a policy: %w", err)
		}
		d.files[hash] = code
	}
	return d, definitions.CheckSizes(d.yaml, d.files)
}

// commands are the probes that run one, which a node takes only if it says so.
func commands(cfg *config.Config) []string {
	var names []string
	for name, p := range cfg.Probes {
		if p.Type == core.ProbeExec {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fetchDefinitions brings a revision into a directory of definitions and returns the
// path of its file, for config.Options.Layers. When what it says is in force,
// dir.Accept keeps it.
func fetchDefinitions(ctx context.Context, from *definitions.Store, dir config.LayerDir, number uint64) (layer string, err error) {
	s := store{Store: from}
	r, d, err := s.read(ctx, number)
	if err != nil {
		return "", err
	}
	return dir.Write(r.Number, d.yaml, d.files)
}

// checkDocument holds a document against all the rules, as a node would that has it
// as its layer. Policies are loaded with policies, which takes most of the time.
func checkDocument(d *document, policies func([]core.PolicySpec, []core.Service) []config.PolicyProblem) (*config.Config, error) {
	dir, err := os.MkdirTemp("", "steelyard-definitions-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	layer, err := config.LayerDir{Path: dir}.Write(1, d.yaml, d.files)
	if err != nil {
		return nil, err
	}
	o, err := configOptions("", nil)
	if err != nil {
		return nil, err
	}
	o.Layers, o.Env, o.CheckPolicies = []string{layer}, nil, policies
	o.Flags["cluster.definitions_exec"] = "allow" // each node says for itself
	return config.Load(o)
}

// pusher is who pushes, as whom and from where.
func (g *globals) pusher(login, message string) definitions.Revision {
	return definitions.Revision{Who: author(g.getenv), Login: login, Host: hostName(), Message: message}
}
