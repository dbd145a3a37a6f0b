// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/engine"
)

// Reload brings the configuration in anew, all or nothing: the files are read
// and checked, the policies loaded, the kernel asked; only then do probes follow.
// Reloads follow one another; one that has begun comes to its end even if its
// caller is gone: the engine, the probes and the policies must not part.
func (d *daemon) Reload(ctx context.Context) (core.ReloadResult, error) {
	a := d.ask(ctx, reloadRequest{})
	return a.result, a.err
}

// A reloadRequest asks reloadLoop for a reload.
type reloadRequest struct {
	// layer is of pushed definitions, from now on, over the files of this node as they
	// are in force; nil: these files are read anew, under the definitions in force.
	layer *layer
	done  chan<- reloadAnswer
}

// A reloadAnswer is what became of a reload.
type reloadAnswer struct {
	result core.ReloadResult
	err    error
}

func (d *daemon) ask(ctx context.Context, r reloadRequest) reloadAnswer {
	done := make(chan reloadAnswer, 1)
	r.done = done
	select {
	case d.reloads <- r:
	case <-ctx.Done():
		return reloadAnswer{err: ctx.Err()}
	}
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
		return reloadAnswer{err: fmt.Errorf("%w: the reload goes on; see `steelyard status` for what becomes of it", ctx.Err())}
	}
}

// reloadLoop reloads on SIGHUP and on request, one at a time, and follows what
// changes about the policies and the group between two reloads.
func (d *daemon) reloadLoop(ctx context.Context) error {
	var looks <-chan time.Time // nil, which never yields, unless the files of policies are watched
	if d.policyFiles != nil {
		t := time.NewTicker(policyLook)
		defer t.Stop()
		looks = t.C
	}
	orphanage, stop := d.orphanTicker()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-orphanage:
			d.lookForOrphans(ctx)
		case <-looks:
			d.lookAtPolicies(ctx)
		case <-d.moved():
			d.followMembers()
		case <-d.swapped:
			d.followPolicies(ctx)
		case <-d.hup:
			d.reloadFiles(ctx)
		case r := <-d.reloads:
			r.done <- d.answer(ctx, r)
		}
	}
}

// answer does what is asked. What is in force is written by this goroutine only.
func (d *daemon) answer(ctx context.Context, r reloadRequest) reloadAnswer {
	if r.layer == nil {
		return d.reloadFiles(ctx)
	}
	// Files that a reload has refused, or that nobody has reloaded yet, are nothing that
	// pushed definitions wait for.
	res, err := d.reload(ctx, *r.layer, d.cfg)
	return reloadAnswer{res, err}
}

// reloadFiles reads the files of this node anew, and keeps what went wrong for the log
// and for status.
func (d *daemon) reloadFiles(ctx context.Context) reloadAnswer {
	res, err := d.reload(ctx, d.layer, nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reloadError = ""
	if err != nil {
		d.reloadError = err.Error()
		d.log.Error("reload refused", "err", err)
		d.tellError("reload", d.cfg.Node, fmt.Errorf("reload refused: %w", err))
	} else if d.revisionError != "" {
		select { // with these files it may be right
		case d.lookAgain <- struct{}{}:
		default:
		}
	}
	return reloadAnswer{res, err}
}

// reload brings in a layer over the files of this node, read anew or as those in force.
func (d *daemon) reload(ctx context.Context, l layer, inForce *config.Config) (res core.ReloadResult, err error) {
	cfg, err := d.load(l, inForce)
	var problems config.Errors
	if errors.As(err, &problems) {
		return res, invalidConfig{err}
	}
	if err != nil {
		return res, err
	}
	d.mu.Lock()
	old := d.cfg
	d.mu.Unlock()
	if err := fixed(old, cfg); err != nil {
		return res, err
	}
	before, err := d.engine.Setup(ctx)
	if err != nil {
		return res, err
	}
	files := newPolicyFiles(markOf, cfg.Policies) // before they are read
	undo, err := d.loadPolicies(ctx, cfg)
	if err != nil {
		return res, err
	}
	if res.Dropped, err = d.engine.Reload(ctx, d.setup(cfg)); err != nil {
		undo()
		return res, err
	}
	res.Changes = planChanges(carriedOf(before, old), cfg, true)
	res.Dropped = append([]core.Dropped{}, res.Dropped...) // in JSON an empty list, not null
	d.watch(cfg, l)
	d.mu.Lock()
	d.cfg, d.layer, d.loadedAt = cfg, l, time.Now()
	clear(d.refused)
	d.mu.Unlock()
	if d.policyFiles != nil {
		d.policyFiles = files
	}
	d.tellWarnings(cfg)
	d.log.Info("configuration reloaded", "path", cfg.Path, "services", len(cfg.Services), "hash", cfg.Hash[:12], "changed", reloadText(res.Changes))
	return res, nil
}

// carriedOf is what a setup and the configuration that it is of make the daemon
// carry, as far as a configuration can be compared with it.
func carriedOf(s engine.Setup, cfg *config.Config) core.InForce {
	return core.InForce{
		Plan:     core.Plan{LocalClients: s.LocalClients, OffloadDevices: s.OffloadDevices},
		Services: s.Services, Probes: s.Probes, Policies: cfg.Policies, Settings: settings(cfg),
		Probing: s.Probing, Maintenance: s.Maintenance,
	}
}

// An invalidConfig is an error of the configuration itself, which admin tells
// apart from what else can stop a reload.
type invalidConfig struct{ error }

// ConfigInvalid implements what admin asks an error.
func (invalidConfig) ConfigInvalid() bool { return true }
func (e invalidConfig) Unwrap() error     { return e.error }

// fixed refuses changes that only a restart can bring.
func fixed(old, cfg *config.Config) error {
	for _, f := range []struct {
		key  string
		same bool
	}{
		{"node", old.Node == cfg.Node},
		{"state_dir", old.StateDir == cfg.StateDir},
		{"control", old.Control == cfg.Control},
		{"bus", reflect.DeepEqual(old.Bus, cfg.Bus)},
		{"roles or cluster", old.Cluster == cfg.Cluster && old.Definitions == cfg.Definitions},
		{"http", reflect.DeepEqual(old.HTTP, cfg.HTTP)},
		{"webhooks", reflect.DeepEqual(old.Webhooks, cfg.Webhooks)},
	} {
		if !f.same {
			return fmt.Errorf("%s: %s changed, which takes a restart of the daemon; the rules stay in force meanwhile", cfg.Path, f.key)
		}
	}
	return nil
}
