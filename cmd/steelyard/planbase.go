// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// A planBase is what a plan is compared with.
type planBase struct {
	against string
	inForce core.InForce
	table   *nft.Table // of the kernel; nil where a daemon answers
	lost    error      // why commands are not known in full
}

// planBase asks the daemon, or looks into the kernel and into what one left in its
// folder of state if there is none.
func (g *globals) planBase(ctx context.Context, stateDir string) (planBase, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	f, err := g.dial(g.Socket).InForce(ctx)
	if err == nil {
		return planBase{against: againstDaemon, inForce: f}, nil
	}
	var e *admin.Error
	if !errors.As(err, &e) || e.Code != admin.CodeUnreachable {
		return planBase{}, asked(err)
	}
	t, err := nft.Read(ctx, "")
	if err != nil {
		err = fmt.Errorf("no daemon answers on %s, and the kernel cannot be read: %w", g.Socket, err)
		if errors.Is(err, fs.ErrPermission) {
			err = &codedError{exitPermission, err, "start the daemon, or run this as root or with CAP_NET_ADMIN"}
		}
		return planBase{}, err
	}
	b := planBase{against: againstKernel, table: t, inForce: core.InForce{Plan: t.Plan, Features: t.Features, Interfaces: t.Interfaces}}
	if t.None() {
		b.against = againstNone
	}
	b.inForce.Overrides, b.inForce.Pins, b.lost = commandsLeft(stateDir, time.Now())
	return b, nil
}

// commandsLeft are the overrides and pins that a daemon keeps in its folder of
// state, but for those whose time is up. With an error it returns what could be
// read.
func commandsLeft(dir string, now time.Time) (map[string]core.Override, map[string][]core.PinState, error) {
	overrides, pins := map[string]core.Override{}, map[string][]core.PinState{}
	kept, err := newOverrideFile(filepath.Join(dir, overridesName)).peek()
	for id, o := range kept {
		if !o.Over(now) {
			overrides[id.String()] = o
		}
	}
	keptPins, pinErr := newPinFile(filepath.Join(dir, pinsName)).peek()
	for service, list := range keptPins {
		for _, p := range list {
			if !p.Over(now) {
				pins[service] = append(pins[service], p)
			}
		}
	}
	return overrides, pins, errors.Join(err, pinErr)
}

func (b planBase) compare(ctx context.Context, cfg *config.Config, text bool) (planResult, error) {
	r := planResult{Against: b.against, Node: b.inForce.Node, Kernel: []nft.ServiceDiff{}, Dropped: []core.Dropped{}}
	next := setup(cfg)
	want := engine.Preview(next, b.inForce)
	r.Dropped = append(r.Dropped, engine.Dropped(next, b.inForce)...)
	after, refused := nft.Check(b.inForce.Plan, want, b.inForce.Features, b.inForce.Interfaces)
	for name, err := range refused {
		if r.Refused == nil {
			r.Refused = map[string]string{}
		}
		r.Refused[name] = err.Error()
	}
	for _, f := range b.inForce.Features {
		if !f.Present {
			r.Missing = append(r.Missing, f)
		}
	}
	if b.against == againstDaemon {
		r.Changes, r.Kernel = planChanges(b.inForce, cfg, false), append(r.Kernel, nft.Diff(b.inForce.Plan, after)...)
	} else {
		r.Changes, r.Kernel = planNames(b.inForce.Plan, cfg), append(r.Kernel, b.table.Diff(want)...)
	}
	r.Notes = b.notes(cfg, r.Changes)
	r.Changed = len(r.Changes)+len(r.Kernel)+len(r.Dropped) > 0
	if !text || len(r.Kernel) == 0 {
		return r, nil
	}
	err := b.diffText(ctx, &r, cfg.Path, after)
	return r, err
}

// diffText adds the change of the table as a diff of what nft lists.
func (b planBase) diffText(ctx context.Context, r *planResult, path string, after core.Plan) error {
	before, now := "", nft.Render(after)
	switch b.against {
	case againstDaemon:
		before = nft.Render(b.inForce.Plan)
	case againstKernel:
		var err error
		if before, err = listTable(ctx); err != nil {
			return err
		}
		now = nft.Render(nft.Able(after, b.inForce.Features))
		before, now = inOrderOf(before, now), separate(now, block.FindAllString(now, -1))
	}
	r.NFT = unifiedDiff("in force", path, before, now)
	return nil
}

// notes are what an operator must know of the comparison itself, and what the
// daemon would warn of.
func (b planBase) notes(cfg *config.Config, changes []core.ConfigChange) (notes []string) {
	notes = append(notes, offloadWarnings(b.inForce.Features, cfg.Services)...)
	notes = append(notes, silentWarnings(b.inForce.Features, cfg.Services)...)
	if b.against == againstKernel {
		notes = append(notes, "no daemon answers: compared with the table in the kernel, which does not tell policies, probes and configured weights")
	}
	if b.lost != nil {
		notes = append(notes, fmt.Sprintf("what commands have left behind is not known in full: %v", b.lost))
	}
	if b.table != nil && b.table.Wrong != nil {
		notes = append(notes, fmt.Sprintf("the table in the kernel will be replaced: %v", b.table.Wrong))
	}
	weighs := slices.ContainsFunc(changes, weighs)
	if weighs && b.against == againstDaemon {
		notes = append(notes, "the weights of services whose backends, weights or policy differ are a guess; new backends are taken for up")
	}
	if b.against == againstDaemon && len(changes) == 0 && b.inForce.ConfigHash != cfg.Hash {
		notes = append(notes, "the files differ in what changes nothing, or was overridden when the daemon read them")
	}
	for _, c := range changes {
		if c.Kind == core.KindSetting {
			notes = append(notes, "settings of the node take a restart of the daemon; a reload with another node, state_dir, control or bus is refused")
			break
		}
	}
	return notes
}

// planNames are the changes as far as a table tells them: which services come and
// go.
func planNames(inForce core.Plan, cfg *config.Config) []core.ConfigChange {
	list := []core.ConfigChange{}
	old := map[string]bool{}
	for _, s := range inForce.Services {
		old[s.Name] = true
	}
	for i := range cfg.Services {
		if s := &cfg.Services[i]; !old[s.Name] {
			list = append(list, core.ConfigChange{Kind: core.KindService, Name: s.Name, Action: core.ActionAdded, Text: serviceText(s)})
		}
		delete(old, cfg.Services[i].Name)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		list = append(list, core.ConfigChange{Kind: core.KindService, Name: name, Action: core.ActionRemoved})
	}
	return list
}
