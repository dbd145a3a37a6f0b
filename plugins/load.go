// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// Load makes the shipped policies and those of specs the ones in force. It is
// all or nothing: on error, which tells every bad module, the policies loaded
// before stay. A module whose file did not change is not compiled again.
func (h *Host) Load(ctx context.Context, specs []core.PolicySpec) error {
	_, err := h.Replace(ctx, specs)
	return err
}

// Replace is Load, and returns how to bring back the policies that were in force
// before: from memory, since their files may have changed.
func (h *Host) Replace(ctx context.Context, specs []core.PolicySpec) (undo func(), err error) {
	h.loading.Lock()
	defer h.loading.Unlock()
	if err := h.loadShipped(ctx); err != nil {
		return nil, err
	}
	old := h.userPrograms()
	next, errs := map[string]*program{}, []error(nil)
	for _, spec := range specs {
		p, err := h.loadSpec(ctx, spec, old, next)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next[spec.Name] = p
	}
	if len(errs) > 0 {
		h.unloadUnused(next, old)
		return nil, errors.Join(errs...)
	}
	h.exchange(old, next)
	return func() {
		h.loading.Lock()
		defer h.loading.Unlock()
		h.exchange(next, old)
	}, nil
}

// exchange puts next into force in place of old. A module that the worker does
// not have is compiled there when it is called.
func (h *Host) exchange(old, next map[string]*program) {
	h.publish(next)
	h.unloadUnused(old, next)
	if len(next) == 0 {
		h.user.stop()
	}
}

func (h *Host) publish(user map[string]*program) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, p := range h.programs {
		if p.lane == h.user {
			delete(h.programs, name)
		}
	}
	for name, p := range user {
		h.programs[name] = p
	}
	h.prune()
}

func (h *Host) userPrograms() map[string]*program {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]*program{}
	for name, p := range h.programs {
		if p.lane == h.user {
			out[name] = p
		}
	}
	return out
}

// unloadUnused frees the modules of gone that kept does not use.
func (h *Host) unloadUnused(gone, kept map[string]*program) {
	used := map[*module]bool{}
	for _, p := range kept {
		used[p.module] = true
	}
	for _, p := range gone {
		if !used[p.module] {
			used[p.module] = true
			h.user.unload(p.module)
		}
	}
}

// loadShipped loads the shipped policies, once.
func (h *Host) loadShipped(ctx context.Context) error {
	h.mu.Lock()
	m := newModule(builtin.Wasm)
	m.id = h.nextID
	have := false
	for _, p := range h.programs {
		have = have || p.lane == h.shipped
	}
	if !have {
		h.nextID++
	}
	h.mu.Unlock()
	if have {
		return nil
	}
	manifest, err := h.loadModule(ctx, h.shipped, m)
	if err != nil {
		return fmt.Errorf("load shipped policies: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, info := range manifest.Policies {
		h.programs[info.Name] = newProgram(info.Name, h.shipped, m, info, i)
	}
	return nil
}

// loadSpec loads one user's policy, or takes over what is loaded of it.
func (h *Host) loadSpec(ctx context.Context, spec core.PolicySpec, old, next map[string]*program) (*program, error) {
	if h.Shipped(spec.Name) {
		return nil, fmt.Errorf("load policy %s: steelyard ships a policy of that name; give yours another", spec.Name)
	}
	if next[spec.Name] != nil {
		return nil, fmt.Errorf("load policy %s: the name is there twice", spec.Name)
	}
	code, err := readModule(spec.Path)
	if err != nil {
		return nil, fmt.Errorf("load policy %s: %w", spec.Name, err)
	}
	m := newModule(code)
	if spec.SHA256 != "" && spec.SHA256 != m.sum {
		return nil, fmt.Errorf("load policy %s: %s has sha256 %s, the configuration wants %s; "+
			"if the new file is meant, write its sum into the configuration", spec.Name, spec.Path, m.sum, spec.SHA256)
	}
	if p := old[spec.Name]; p != nil && p.module.sum == m.sum {
		return p, nil
	}
	same := findModule(m.sum, old, next)
	if same != nil {
		m = same
	} else if err := h.loadUser(ctx, m); err != nil {
		return nil, fmt.Errorf("load policy %s: %s: %w; rebuild it with the SDK (sdk/go, sdk/c)", spec.Name, spec.Path, err)
	}
	entry, err := pickEntry(m.manifest, spec.Name)
	if err != nil {
		if same == nil {
			h.user.unload(m)
		}
		return nil, fmt.Errorf("load policy %s: %s: %w", spec.Name, spec.Path, err)
	}
	return newProgram(spec.Name, h.user, m, m.manifest.Policies[entry], entry), nil
}

// findModule is a loaded module with this sum: several policies may share one.
func findModule(sum string, sets ...map[string]*program) *module {
	for _, set := range sets {
		for _, p := range set {
			if p.module.sum == sum {
				return p.module
			}
		}
	}
	return nil
}

func (h *Host) loadUser(ctx context.Context, m *module) error {
	h.mu.Lock()
	m.id = h.nextID
	h.nextID++
	h.mu.Unlock()
	manifest, err := h.loadModule(ctx, h.user, m)
	m.manifest = manifest
	return err
}

func (h *Host) loadModule(ctx context.Context, l *lane, m *module) (abi.Manifest, error) {
	loaded, err := l.load(ctx, m)
	if err != nil {
		return abi.Manifest{}, err
	}
	if loaded.Manifest == nil {
		return abi.Manifest{Policies: []abi.PolicyInfo{{}}}, nil
	}
	manifest, err := abi.ParseManifest(loaded.Manifest)
	if err != nil {
		l.unload(m)
	}
	return manifest, err
}

// pickEntry finds the policy of a module that a name in the configuration
// means: the one called so, or the only one.
func pickEntry(m abi.Manifest, name string) (int, error) {
	i := slices.IndexFunc(m.Policies, func(p abi.PolicyInfo) bool { return p.Name == name })
	if i >= 0 {
		return i, nil
	}
	if len(m.Policies) == 1 {
		return 0, nil
	}
	var names []string
	for _, p := range m.Policies {
		names = append(names, p.Name)
	}
	return 0, fmt.Errorf("the module holds several policies; call it by one of their names: %s", strings.Join(names, ", "))
}

// readModule reads a file, but no more of it than a module may have.
func readModule(path string) ([]byte, error) {
	// Without O_NONBLOCK a FIFO would hold up the reload until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; build it first, or correct its path", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no regular file; name the .wasm itself", path)
	}
	code, err := io.ReadAll(io.LimitReader(f, wasm.MaxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(code) > wasm.MaxModule {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, wasm.MaxModule)
	}
	return code, nil
}
