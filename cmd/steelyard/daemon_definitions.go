// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/bus/definitions"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// A layer is pushed definitions on this node's disk; the zero value is none.
type layer struct {
	path     string // for config.Options.Layers
	revision uint64
}

// loadLayer is load with pushed definitions over the files. With a configuration that
// is in force, what is of this node is as it was then, and not as it is on disk.
func (s *source) loadLayer(l layer, inForce *config.Config) (*config.Config, error) {
	return s.loadWith(func(o *config.Options) {
		o.LocalOf = inForce
		if l.path != "" {
			o.Layers = []string{l.path}
		}
	})
}

// loadInForce is load for who asks what this node is to do.
func (s *source) loadInForce() (*config.Config, error) { return s.loadWhole(func(*config.Options) {}) }

// loadWhole is loadWith for who asks what this node is to do: of one that follows
// pushed definitions, with those on its disk, which are the ones in force.
func (s *source) loadWhole(more func(*config.Options)) (*config.Config, error) {
	cfg, _, err := s.loadGood(more)
	if cfg != nil && errors.Is(err, fs.ErrPermission) {
		return nil, &codedError{exitPermission, err, "the pushed definitions of this node are for root to read"}
	}
	return cfg, err
}

// loadGood is loadWhole that says which definitions they are; 0 if there are none yet.
// Where they are on disk and cannot be found there, it is the configuration without them,
// and an error.
func (s *source) loadGood(more func(*config.Options)) (*config.Config, uint64, error) {
	cfg, err := s.loadWith(more)
	if err != nil || cfg.Definitions != config.DefinitionsBus {
		return cfg, 0, err
	}
	revision, path, err := definitionsDir(cfg).Good()
	if err != nil || path == "" {
		return cfg, 0, err
	}
	cfg, err = s.loadWith(func(o *config.Options) {
		more(o)
		o.Layers = []string{path}
	})
	return cfg, revision, err
}

func definitionsDir(cfg *config.Config) config.LayerDir {
	return config.LayerDir{Path: filepath.Join(cfg.StateDir, "definitions")}
}

// loadFirst reads the configuration that the daemon begins with. A node that follows
// pushed definitions begins with the last good ones on its disk, wherever JetStream
// is; one that has none, or none that can be read any more, asks for them.
func (s *source) loadFirst(ctx context.Context, newLog func(config.Log) *slog.Logger) (*config.Config, layer, error) {
	cfg, err := s.load()
	if err != nil || cfg.Definitions != config.DefinitionsBus {
		return cfg, layer{}, err
	}
	log := newLog(cfg.Log)
	revision, path, lost := definitionsDir(cfg).Good()
	if path != "" {
		l := layer{path, revision}
		good, err := s.loadLayer(l, nil)
		if err == nil {
			return good, l, nil
		}
		lost = err
	}
	if lost != nil {
		log.Error("the last good definitions on disk cannot be loaded; asking for the newest", "err", lost)
	}
	l, err := firstDefinitions(ctx, cfg, log)
	if err == nil && l.path == "" {
		err = lost // a store that has none is no reason to take out what serves
	}
	if err != nil {
		return nil, layer{}, err
	}
	cfg, err = s.loadLayer(l, nil)
	return cfg, l, err
}

// The wait for the first definitions: how long one attempt takes, and how long it is
// until the next.
const (
	firstPatience = 10 * time.Second
	firstAgain    = 2 * time.Second
)

// firstDefinitions waits for definitions on a node that has none. To begin without
// them would take out what an earlier run, whose state is lost, has left serving in
// the kernel. Only where none were ever pushed there is nothing to wait for.
func firstDefinitions(ctx context.Context, cfg *config.Config, log *slog.Logger) (layer, error) {
	for said := ""; ; {
		l, err := fetchFirst(ctx, cfg)
		if err == nil || errors.Is(err, definitions.ErrNone) {
			return l, nil
		}
		if text := err.Error(); text != said {
			said = text
			log.Warn("waiting for the first definitions; the kernel goes on with the rules that it has", "err", err)
		}
		select {
		case <-ctx.Done():
			return l, ctx.Err()
		case <-time.After(firstAgain):
		}
	}
}

func fetchFirst(ctx context.Context, cfg *config.Config) (layer, error) {
	ctx, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	st, err := (&storeFlags{}).openStore(cfg)
	if err != nil {
		return layer{}, err
	}
	defer st.Close()
	r, _, err := st.get(ctx, 0)
	if err != nil {
		return layer{}, err
	}
	path, err := fetchDefinitions(ctx, st.Store, definitionsDir(cfg), r.Number)
	return layer{path, r.Number}, err
}

// followDefinitions puts each newer revision into force until ctx is done. It takes no
// part in anything else: without JetStream the node goes on with what it has.
func (d *daemon) followDefinitions(ctx context.Context, cfg *config.Config) error {
	if cfg.Definitions != config.DefinitionsBus {
		return nil
	}
	f := follower{daemon: d, store: definitions.New(storeConfig(cfg, d.log)), dir: definitionsDir(cfg)}
	defer f.store.Close()
	for ctx.Err() == nil {
		f.watch(ctx)
	}
	return nil
}

// A follower brings in what is pushed. It is followDefinitions' own.
type follower struct {
	*daemon
	store *definitions.Store
	dir   config.LayerDir
	told  complaint // the latest
}

// A complaint is about a revision. An attempt that is made again is told once of each:
// its text may differ.
type complaint struct {
	digest string
	final  bool
}

// watch follows until ctx is done, or the newest revision is worth another look.
func (f *follower) watch(ctx context.Context) {
	round, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer end()
		select {
		case <-round.Done():
		case <-f.lookAgain:
		}
	})
	f.store.Watch(round, func(r definitions.Revision) bool {
		final, err := f.follow(ctx, r)
		if ctx.Err() == nil {
			f.tellFollowed(r, final, err)
		}
		return final
	})
	end()
	wg.Wait()
	f.told = complaint{}
}

// follow puts a revision into force and keeps it for the next start. It is final once
// that is done, or the revision is refused; what it takes to get there may fail, and is
// worth another attempt.
func (f *follower) follow(ctx context.Context, r definitions.Revision) (final bool, err error) {
	path, err := fetchDefinitions(ctx, f.store, f.dir, r.Number)
	if err != nil {
		return false, fmt.Errorf("cannot be fetched, the one before stays in force and it is tried again: %w", err)
	}
	l := layer{path, r.Number}
	f.mu.Lock()
	same := f.layer == l
	f.mu.Unlock()
	if !same {
		if a := f.ask(ctx, reloadRequest{layer: &l}); a.err != nil {
			return true, fmt.Errorf("refused, the one before stays in force: %w", a.err)
		}
		f.tell(core.Event{Severity: core.Info, Topic: "reload", Message: fmt.Sprintf("revision %d by %s is in force: %s", r.Number, r.By(), r.Message)})
	}
	if err := f.dir.Accept(path); err != nil {
		return false, fmt.Errorf("is in force, but not kept for the next start; it is tried again: %w", err)
	}
	return true, nil
}

// tellFollowed says what became of a revision, and keeps for status why it is refused.
func (f *follower) tellFollowed(r definitions.Revision, final bool, err error) {
	if final {
		f.setRevisionError(r, err)
	}
	if err == nil {
		return
	}
	f.log.Error("pushed definitions", "revision", r.Number, "who", r.By(), "err", err)
	if c := (complaint{r.SHA256, final}); c != f.told {
		f.told = c
		f.tell(core.Event{Severity: core.Error, Topic: "reload", Message: fmt.Sprintf("revision %d by %s %v", r.Number, r.By(), err)})
	}
}

func (d *daemon) setRevisionError(r definitions.Revision, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.revisionError = ""
	if err != nil {
		d.revisionError = fmt.Sprintf("revision %d by %s %v", r.Number, r.By(), err)
	}
}
