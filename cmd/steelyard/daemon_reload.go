// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core/config"
)

// Reload brings the configuration in anew, all or nothing: the files are read
// and checked, the policies loaded, the kernel asked; only then do probes follow.
// Reloads follow one another; one that has begun comes to its end even if its
// caller is gone: the engine, the probes and the policies must not part.
func (d *daemon) Reload(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case d.reloads <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: the reload goes on; see `steelyard status` for what becomes of it", ctx.Err())
	}
}

// reloadLoop reloads on SIGHUP and on request, one at a time.
func (d *daemon) reloadLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.hup:
			_ = d.tryReload(ctx)
		case done := <-d.reloads:
			done <- d.tryReload(ctx)
		}
	}
}

// tryReload reloads and keeps what went wrong for the log and for status.
func (d *daemon) tryReload(ctx context.Context) error {
	err := d.reload(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reloadError = ""
	if err != nil {
		d.reloadError = err.Error()
		d.log.Error("reload refused", "err", err)
		d.tellError("reload", d.cfg.Node, fmt.Errorf("reload refused: %w", err))
	}
	return err
}

func (d *daemon) reload(ctx context.Context) error {
	cfg, err := d.load()
	var problems config.Errors
	if errors.As(err, &problems) {
		return invalidConfig{err}
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	old := d.cfg
	d.mu.Unlock()
	if err := fixed(old, cfg); err != nil {
		return err
	}
	undo, err := d.loadPolicies(ctx, cfg)
	if err != nil {
		return err
	}
	if err := d.engine.Reload(ctx, setup(cfg)); err != nil {
		undo()
		return err
	}
	d.watch(cfg)
	d.mu.Lock()
	d.cfg, d.loadedAt = cfg, time.Now()
	d.mu.Unlock()
	d.tellWarnings(cfg)
	d.log.Info("configuration reloaded", "path", cfg.Path, "services", len(cfg.Services), "hash", cfg.Hash[:12])
	return nil
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
		{"bus", busKey(old) == busKey(cfg)},
	} {
		if !f.same {
			return fmt.Errorf("%s: %s changed, which takes a restart of the daemon; the rules stay in force meanwhile", cfg.Path, f.key)
		}
	}
	return nil
}

// busKey compares bus settings; a changed password counts.
func busKey(c *config.Config) string {
	l := c.Bus.Login
	key := fmt.Sprint(c.Bus.Listen, c.Bus.Servers, c.Bus.TLS, l.User, l.Password.Reveal(), l.Credentials, l.CA)
	for _, u := range c.Bus.Users {
		key += fmt.Sprint(u.Name, u.Password.Reveal(), u.Publish, u.Subscribe)
	}
	return key
}
