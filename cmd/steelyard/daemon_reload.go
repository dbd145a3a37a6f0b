// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core/config"
)

// Reload brings the configuration in anew, all or nothing: the files are read
// and checked, the policies loaded, the kernel asked; only then do probes follow.
func (d *daemon) Reload(ctx context.Context) error {
	err := d.reload(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reloadError = ""
	if err != nil {
		d.reloadError = err.Error()
		d.log.Error("reload refused; the configuration before stays in force", "err", err)
	}
	return err
}

// reloadOnSignal makes SIGHUP a reload; what went wrong is in the log and in status.
func (d *daemon) reloadOnSignal(ctx context.Context) error {
	hup := make(chan os.Signal, 1) // one waiting is enough: it reads the newest files
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			_ = d.Reload(ctx)
		}
	}
}

func (d *daemon) reload(ctx context.Context) error {
	cfg, err := d.load()
	if err != nil {
		return err
	}
	d.mu.Lock()
	old := d.cfg
	d.mu.Unlock()
	if err := fixed(old, cfg); err != nil {
		return err
	}
	if err := d.loadPolicies(ctx, cfg); err != nil {
		return errors.Join(err, d.host.Load(ctx, old.Policies))
	}
	if err := d.engine.Reload(ctx, setup(cfg)); err != nil {
		return errors.Join(err, d.host.Load(ctx, old.Policies))
	}
	d.watch(cfg)
	d.mu.Lock()
	d.cfg, d.loadedAt = cfg, time.Now()
	d.mu.Unlock()
	d.log.Info("configuration reloaded", "path", cfg.Path, "services", len(cfg.Services), "hash", cfg.Hash[:12])
	return nil
}

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
