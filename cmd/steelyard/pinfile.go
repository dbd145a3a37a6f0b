// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/engine"
)

// pinVersion is the version of the format of the file.
const pinVersion = 1

// pinsName is what the file is called in the folder of state.
const pinsName = "pins.json"

// A pinFile keeps the clients that operators pinned by command over a restart of
// the daemon.
type pinFile struct{ stateFile }

var _ engine.PinKeeper = (*pinFile)(nil)

func newPinFile(path string) *pinFile { return &pinFile{stateFile{path: path, what: "pins"}} }

// A pinBody is the content of the file.
type pinBody struct {
	Version int                        `json:"version"`
	Pins    map[string][]core.PinState `json:"pins"` // by service
}

// Save implements engine.PinKeeper.
func (f *pinFile) Save(version uint64, all map[string][]core.PinState) error {
	return f.save(version, pinBody{pinVersion, all})
}

// load reads the file. With an error it returns what could be read, which may be
// nothing.
func (f *pinFile) load() (all map[string][]core.PinState, err error) {
	err = f.read(func(data []byte) (err error) {
		all, err = decodePins(data)
		return err
	})
	return all, err
}

// peek is load for those who only want to see.
func (f *pinFile) peek() (all map[string][]core.PinState, err error) {
	err = f.look(func(data []byte) (err error) {
		all, err = decodePins(data)
		return err
	})
	return all, err
}

// decodePins reads the content of the file. Of a file with some bad entries it
// returns the others.
func decodePins(data []byte) (map[string][]core.PinState, error) {
	var body pinBody
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, err
	}
	if body.Version != pinVersion {
		return nil, fmt.Errorf("version %d: this steelyard reads %d", body.Version, pinVersion)
	}
	all := make(map[string][]core.PinState, len(body.Pins))
	var errs []error
	for service, pins := range body.Pins {
		seen := map[core.PinState]bool{}
		for _, p := range pins {
			key := core.PinState{Pin: core.Pin{Client: p.Client}}
			err := p.Check()
			if err == nil && seen[key] {
				err = errors.New("it is there twice")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%q, %v: %w", service, p.Client, err))
				continue
			}
			seen[key] = true
			all[service] = append(all[service], p)
		}
	}
	return all, errors.Join(errs...)
}
