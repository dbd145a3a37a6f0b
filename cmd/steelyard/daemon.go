// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/nft"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/probes"
)

// answerTimeout bounds a look into the engine, which may be ending.
const answerTimeout = 5 * time.Second

// A daemon is a running steelyard: the adapters and the engine, joined.
type daemon struct {
	parts
	load        func(l layer, inForce *config.Config) (*config.Config, error) // source.loadLayer
	log         *slog.Logger
	host        *plugins.Host
	runner      *probes.Runner
	engine      *engine.Engine // from the loading of the policies on
	engineParts engine.Config  // that it is made of
	node        string
	stop        context.CancelFunc // ends run
	hup         chan os.Signal     // capacity 1: one waiting is enough, it reads the newest files
	reloads     chan reloadRequest // unbuffered: reloadLoop takes one at a time
	lookAgain   chan struct{}      // capacity 1: one waiting is enough; the newest revision was refused and may be right now
	swapped     chan struct{}      // capacity 1: reloadLoop has yet to follow policies that have changed

	orphans     map[engine.Orphan]bool // that this node probes although they are not its part; reloadLoop's own after the start
	policyFiles *policyFiles           // nil unless they are watched; reloadLoop's own after the start

	overridesErr error // of reading them at the start

	targets metricTargets // of cfg

	mu          sync.Mutex
	cfg         *config.Config // guarded by mu; in force
	layer       layer          // guarded by mu; of pushed definitions, under cfg
	loadedAt    time.Time      // guarded by mu
	reloadError string         // guarded by mu; of the last reload of the files
	// revisionError is why the newest pushed revision is not in force; guarded by mu.
	revisionError string
	refused       map[string]string // guarded by mu; why the file of a policy that has changed is not in force
	flush         bool              // guarded by mu; remove the rules when run ends
}

// newDaemon opens what must be there before anything else. The netlink sockets
// come first, in the network namespace of the calling thread.
func newDaemon(ctx context.Context, cfg *config.Config, first layer, load func(layer, *config.Config) (*config.Config, error), table nft.Config) (*daemon, error) {
	log := table.Log
	d := &daemon{
		load: load, log: log, cfg: cfg, layer: first, loadedAt: time.Now(), node: cfg.Node, refused: map[string]string{},
		hup: make(chan os.Signal, 1), reloads: make(chan reloadRequest), swapped: make(chan struct{}, 1), lookAgain: make(chan struct{}, 1),
	}
	// First, since until then SIGHUP ends the process.
	signal.Notify(d.hup, syscall.SIGHUP)
	if err := d.open(ctx, table); err != nil {
		return nil, errors.Join(err, d.parts.close())
	}
	keeper := newOverrideFile(filepath.Join(cfg.StateDir, overridesName))
	overrides, err := keeper.load()
	if err != nil {
		// What serves is worth more than what was drained.
		d.overridesErr = fmt.Errorf("overrides of the run before are lost: %w", err)
		log.Warn(d.overridesErr.Error(), "kept", len(overrides))
	}
	pinKeeper := newPinFile(filepath.Join(cfg.StateDir, pinsName))
	pins, err := pinKeeper.load()
	if err != nil {
		err = fmt.Errorf("pins of the run before are lost: %w", err)
		d.overridesErr = errors.Join(d.overridesErr, err)
		log.Warn(err.Error(), "kept", len(pins))
	}
	d.host = plugins.NewHost(plugins.Config{Log: log, Event: d.policyEvent})
	d.engineParts = engine.Config{
		Node: cfg.Node, Scheduler: d.host, Applier: d.applier, Flows: d.engineFlows(), Cluster: d.others(),
		Neighbours: d.neighbours(), Overrides: overrides, Keeper: keeper, Pins: pins, PinKeeper: pinKeeper,
		Publisher: d.publisher(), Log: log,
	}
	d.runner = &probes.Runner{Node: cfg.Node, Out: d.publishSample, Log: log, Concurrency: cfg.Probing.Concurrency}
	return d, nil
}

// open makes the parts, the netlink sockets first.
func (d *daemon) open(ctx context.Context, table nft.Config) (err error) {
	if err = d.openKernel(d.cfg.Cluster.Roles, table); err != nil {
		return err
	}
	if d.bus, err = bus.Start(ctx, busOptions(d.cfg, d.log)); err != nil {
		return err
	}
	if err = d.joinGroup(d.cfg, d.tell, d.log); err != nil {
		return err
	}
	return d.tellOutside(d.cfg, d, d.tell, d.log)
}

// close leaves the rules in force, unless Stop was told to flush them, and says
// which.
func (d *daemon) close() (left string, err error) {
	d.mu.Lock()
	flush := d.flush
	d.mu.Unlock()
	left = "left in force"
	if flush {
		left, err = "removed", d.applier.Flush(context.Background())
	}
	signal.Stop(d.hup)
	return left, errors.Join(err, d.parts.close())
}

// run joins the parts and waits for the first to fail, or for ctx. To be told to
// end while it still starts is no failure.
func (d *daemon) run(ctx context.Context, ready func()) error {
	ctx, d.stop = context.WithCancel(ctx)
	defer d.stop()
	err := d.join(ctx, ready)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (d *daemon) join(ctx context.Context, ready func()) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.host.Run(ctx) })
	if _, err := d.loadPolicies(ctx, d.cfg); err != nil {
		d.stop()
		return errors.Join(err, g.Wait())
	}
	d.engine = engine.New(d.engineParts, d.setup(d.cfg))
	if d.member != nil {
		d.member.Follow(d.engine.OfferVector)
	}
	cancel, err := d.bus.SubscribeSamples(d.engine.Offer)
	if err != nil {
		d.stop()
		return errors.Join(err, g.Wait())
	}
	defer cancel()
	// Before the engine takes the table over: there may be another daemon.
	control := &admin.Server{Path: d.cfg.Control.Socket, Group: d.cfg.Control.Group, Node: d, Version: version, Log: d.log}
	if err := control.Listen(); err != nil {
		d.stop()
		return errors.Join(err, g.Wait())
	}
	cfg := d.cfg // of the start; from here on reloadLoop may change the field
	d.watch(cfg, d.layer)
	g.Go(func() error { return d.engine.Run(ctx) })
	g.Go(func() error {
		select {
		case <-d.engine.Ready():
		case <-ctx.Done():
			return nil
		}
		ready()
		d.tellListenErr(cfg.Node)
		d.tellError("override", cfg.Node, d.overridesErr)
		d.tellWarnings(cfg)
		return d.runner.Run(ctx)
	})
	d.parts.run(ctx, g)
	g.Go(func() error { return d.followDefinitions(ctx, cfg) })
	g.Go(func() error { return d.reloadLoop(ctx) })
	g.Go(func() error { return control.Run(ctx) })
	return g.Wait()
}

// tellListenErr says on the bus itself, and so in monitor, that nobody can
// reach it from outside although the configuration asks for it.
func (d *daemon) tellListenErr(node string) {
	if err := d.bus.ListenErr(); err != nil {
		d.log.Error("the bus is not reachable over TCP", "err", err)
		d.tellError("bus", node, err)
	}
}

// tellError publishes an error, if there is one.
func (d *daemon) tellError(topic, node string, err error) {
	if err != nil {
		d.tell(core.Event{Node: node, Severity: core.Error, Topic: topic, Message: err.Error()})
	}
}

// tell publishes an event of this node, of now if it has no time of its own.
func (d *daemon) tell(e core.Event) {
	if e.At.IsZero() {
		e.At = time.Now().UTC()
	}
	e.Node = cmp.Or(e.Node, d.node)
	d.publisher().Event(e)
}

func (d *daemon) publisher() publisher { return publisher{d.bus, d.http, d.log} }

// publishSample is step 2 for our own probes.
func (d *daemon) publishSample(s core.Sample) {
	d.http.ObserveSample(s)
	if err := d.bus.PublishSample(s); err != nil {
		d.log.Debug("publish sample", "backend", s.Backend, "probe", s.Probe, "err", err)
	}
}

// Stop ends the daemon; with flush the rules go too, else they stay in force.
func (d *daemon) Stop(_ context.Context, flush bool) error {
	d.mu.Lock()
	d.flush = flush
	d.mu.Unlock()
	d.stop()
	return nil
}

// View is the whole state for show and status.
func (d *daemon) View(ctx context.Context) (core.NodeView, error) {
	v, err := d.engine.View(ctx)
	if err != nil {
		return v, err
	}
	d.mu.Lock()
	cfg := d.cfg
	v.Revision = d.layer.revision
	v.ConfigAt, v.ReloadError, v.RevisionError = d.loadedAt.UTC(), d.reloadError, d.revisionError
	d.mu.Unlock()
	v.Version, v.ConfigPath, v.ConfigHash = version, cfg.Path, cfg.Hash
	v.Kernel.Table, v.Kernel.Owned, v.Kernel.Features = "inet "+nft.DefaultTable, d.applier.Owned(), d.applier.Features()
	v.Policies = d.policyViews()
	v.Warnings = d.warnings(cfg)
	v.Bus = busView(d.bus.Stats())
	if len(v.Bus.Denied) > 0 {
		v.Bus.Permissions = permissionsCommand(cfg, v.Bus.Denied)
	}
	if d.member != nil {
		group := d.member.View()
		markDenied(&group, cfg.Node, v.Bus.Denied)
		v.Roles, v.Cluster = cfg.Cluster.Roles.Names(), &group
	}
	if d.hooks != nil {
		v.Webhooks = d.hooks.View()
	}
	v.Probing.Types = d.runner.Stats()
	return v, nil
}

func busView(s bus.Stats) core.BusView {
	return core.BusView{
		Connected: s.Connected, Reconnects: s.Reconnects, Published: s.Published, Unsent: s.Unsent, Received: s.Received,
		Invalid: s.Invalid, Mismatched: s.Mismatched, Repeated: s.Repeated, Late: s.Late, Crowded: s.Crowded, Flooded: s.Flooded, Overflowed: s.Overflowed,
		Denied: s.Denied,
	}
}

// Decisions are the latest of a service, newest first.
func (d *daemon) Decisions(service string, last int) ([]core.Decision, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	return d.engine.Decisions(ctx, service, last)
}

// Subscribe follows the bus for monitor.
func (d *daemon) Subscribe(pattern string, fn func(subject string, data []byte)) (func(), error) {
	return d.bus.Subscribe(pattern, fn)
}

func setup(cfg *config.Config) engine.Setup {
	return engine.Setup{Services: cfg.Services, Probes: cfg.Probes, Probing: cfg.Probing, Maintenance: cfg.Maintenance, LocalClients: cfg.Kernel.LocalClients, OffloadDevices: offloadDevices(cfg), Cluster: cfg.Cluster}
}
