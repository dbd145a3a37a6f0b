// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/engine"
)

// overrideVersion is the version of the format of the file.
const overrideVersion = 1

// overridesName is what the file is called in the folder of state.
const overridesName = "overrides.json"

// An overrideFile keeps what operators changed by command over a restart of the
// daemon.
type overrideFile struct{ stateFile }

var _ engine.Keeper = (*overrideFile)(nil)

func newOverrideFile(path string) *overrideFile {
	return &overrideFile{stateFile{path: path, what: "overrides"}}
}

// An overrideBody is the content of the file.
type overrideBody struct {
	Version   int                      `json:"version"`
	Overrides map[string]core.Override `json:"overrides"` // by "web/web1"
}

// Save implements engine.Keeper. The file is always whole: the one before, or
// the new one.
func (f *overrideFile) Save(version uint64, all map[core.BackendID]core.Override) error {
	body := overrideBody{overrideVersion, make(map[string]core.Override, len(all))}
	for id, o := range all {
		body.Overrides[id.String()] = o
	}
	return f.save(version, body)
}

// load reads the file. With an error it returns what could be read, which may be
// nothing; a file that is of no use is put aside, so that it is not lost.
func (f *overrideFile) load() (all map[core.BackendID]core.Override, err error) {
	err = f.read(func(data []byte) (err error) {
		all, err = decodeOverrides(data)
		return err
	})
	return all, err
}

// peek is load for those who only want to see.
func (f *overrideFile) peek() (all map[core.BackendID]core.Override, err error) {
	err = f.look(func(data []byte) (err error) {
		all, err = decodeOverrides(data)
		return err
	})
	return all, err
}

// decodeOverrides reads the content of the file. Of a file with some bad entries
// it returns the others.
func decodeOverrides(data []byte) (map[core.BackendID]core.Override, error) {
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
