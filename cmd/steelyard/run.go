// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
	"github.com/nats-io/nkeys"
	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/nft"
	"github.com/steelyard-lb/steelyard/core/webhook"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/probes"
)

// garbagePercent is how much garbage the daemon lets grow, as a share of what lives,
// unless GOGC is set: each 10 more take 6 MB for 16,000 backends with two probes; less
// collects more often, which the p99 of death to commit pays for (docs/benchmarks.md).
const garbagePercent = 40

const runLong = `Run the balancer in the foreground.

The rules that an earlier run left in the kernel are adopted: nothing that is
right is touched. SIGHUP reloads the configuration, all or nothing. SIGTERM ends
the daemon and leaves the rules in force; "steelyard stop --flush" removes them.

With --watch the files of policies are looked at twice a second. One that has changed
is loaded, tried on the latest snapshots and then put into force, without a reload;
if it is refused, the version before stays, and "steelyard show plugins" says why.`

// A runOptions is what run is told besides its configuration.
type runOptions struct {
	Watch   bool // load policies anew when their files change
	Unowned bool // leave the table open to changes by others
}

func newRunCommand(g *globals) *cobra.Command {
	var from source
	var o runOptions
	cmd := &cobra.Command{
		Use:     "run -c FILE",
		Short:   "Run the balancer",
		Long:    runLong,
		Example: "  sudo steelyard run -c examples/01-web/steelyard.yaml",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.run(cmd.Context(), &from, o)
		},
	}
	from.addFlags(cmd)
	cmd.Flags().BoolVar(&o.Watch, "watch", false, "load policies anew when their files change")
	// For tests: what becomes of the table on kernels before 6.9.
	cmd.Flags().BoolVar(&o.Unowned, "unowned", false, "leave the table open to changes by others")
	_ = cmd.Flags().MarkHidden("unowned") // it is there: the line above made it
	return cmd
}

func (g *globals) run(ctx context.Context, from *source, o runOptions) error {
	var err error
	// A reload may come when the working directory means something else.
	if from.path, err = filepath.Abs(from.path); err != nil {
		return err
	}
	cfg, first, err := from.loadFirst(ctx, func(l config.Log) *slog.Logger { return newLogger(l, g.stderr) })
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to end while it waits for its first definitions
	}
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	log := newLogger(cfg.Log, g.stderr)
	d, err := newDaemon(ctx, cfg, first, from.loadLayer, nft.Config{Unowned: o.Unowned, Log: log})
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return &codedError{exitPermission, err, "run it as root, or with CAP_NET_ADMIN and CAP_NET_RAW"}
	}
	if err != nil {
		return err
	}
	if o.Watch {
		d.policyFiles = newPolicyFiles(markOf, cfg.Policies)
	}
	err = d.run(ctx, func() {
		log.Info("serving", "node", cfg.Node, "services", len(cfg.Services), "config", cfg.Path, "control", cfg.Control.Socket)
		_, _ = sd.SdNotify(false, sd.SdNotifyReady) // an error says that there is no systemd
	})
	left, cerr := d.close()
	if err = errors.Join(err, cerr); err == nil {
		log.Info("stopped", "rules", left)
	}
	return err
}

// configOptions are the layers of the configuration: the file and conf.d, the
// environment, --set.
func configOptions(path string, set []string) (config.Options, error) {
	o := config.Options{Path: path, Env: os.Environ(), Flags: map[string]string{}, ShippedPolicies: shippedParams(),
		BusReserved: []string{bus.ReservedUser},
		BusSubject: func(pattern string) error {
			_, err := bus.Pattern(pattern)
			return err
		},
		BusKey: func(key string) error {
			if !nkeys.IsValidPublicUserKey(key) {
				return errors.New("this is no public key of a user: its check sum is wrong")
			}
			return nil
		},
		Template: webhook.CheckTemplate,
		Series:   probes.CheckSeries,
	}
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return o, fmt.Errorf("--set %s: want KEY=VALUE, as in --set log.level=debug", s)
		}
		o.Flags[key] = value
	}
	return o, nil
}

// shippedParams names the shipped policies and their parameters.
func shippedParams() map[string][]string {
	out := map[string][]string{}
	for _, p := range plugins.ShippedPolicies() {
		names := make([]string, len(p.Params))
		for i := range p.Params {
			names[i] = p.Params[i].Name
		}
		out[p.Name] = names
	}
	return out
}

// newLogger writes for people on a terminal, and JSON elsewhere.
func newLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked by config
	f, isFile := w.(*os.File)
	terminal := isFile && isatty.IsTerminal(f.Fd())
	if c.Format == "text" || c.Format == "auto" && terminal {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: !terminal || os.Getenv("NO_COLOR") != ""}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}
