// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/engine"
)

const (
	// overrideVersion is the version of the format of the file.
	overrideVersion = 1
	// maxOverrides bounds the file that is read: about 100,000 overrides.
	maxOverrides = 64 << 20
)

// An overrideFile keeps what operators changed by command over a restart of the
// daemon.
type overrideFile struct {
	path string

	mu    sync.Mutex
	saved uint64 // guarded by mu; the version of the latest Save
}

var _ engine.Keeper = (*overrideFile)(nil)

// An overrideBody is the content of the file.
type overrideBody struct {
	Version   int                      `json:"version"`
	Overrides map[string]core.Override `json:"overrides"` // by "web/web1"
}

// Save implements engine.Keeper. The file is always whole: the one before, or
// the new one.
func (f *overrideFile) Save(version uint64, all map[core.BackendID]core.Override) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if version < f.saved {
		return nil // it is late: what is saved is newer
	}
	body := overrideBody{overrideVersion, make(map[string]core.Override, len(all))}
	for id, o := range all {
		body.Overrides[id.String()] = o
	}
	data, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		return fmt.Errorf("save overrides: %w", err)
	}
	if err := writeWhole(f.path, append(data, '\n')); err != nil {
		return fmt.Errorf("save overrides: %w", err)
	}
	f.saved = version
	return nil
}

// writeWhole replaces a file at once and returns when that is on disk.
func writeWhole(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	t, err := os.CreateTemp(dir, filepath.Base(path)+".new-")
	if err != nil {
		return err
	}
	_, err = t.Write(data)
	if err = errors.Join(err, t.Sync(), t.Close()); err == nil {
		err = os.Rename(t.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(t.Name()))
	}
	d, err := os.Open(dir) // the new name is safe when the folder is
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// load reads the file. With an error it returns what could be read, which may be
// nothing; a file that is of no use is put aside, so that it is not lost.
func (f *overrideFile) load() (map[core.BackendID]core.Override, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxOverrides+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read overrides: %w", err)
	}
	all, err := decodeOverrides(data)
	if err == nil {
		return all, nil
	}
	bad := f.path + ".bad"
	if moved := os.Rename(f.path, bad); moved != nil {
		return all, fmt.Errorf("read overrides %s: %w", f.path, errors.Join(err, moved))
	}
	return all, fmt.Errorf("read overrides %s, kept as %s: %w", f.path, bad, err)
}

// decodeOverrides reads the content of the file. Of a file with some bad entries
// it returns the others.
func decodeOverrides(data []byte) (map[core.BackendID]core.Override, error) {
	if len(data) > maxOverrides {
		return nil, fmt.Errorf("more than %d bytes", maxOverrides)
	}
	var body overrideBody
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, err
	}
	if body.Version != overrideVersion {
		return nil, fmt.Errorf("version %d: this steelyard reads %d", body.Version, overrideVersion)
	}
	all := make(map[core.BackendID]core.Override, len(body.Overrides))
	var errs []error
	for name, o := range body.Overrides {
		id, err := core.ParseBackendID(name)
		if err == nil {
			err = o.Check()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", name, err))
			continue
		}
		all[id] = o
	}
	return all, errors.Join(errs...)
}
