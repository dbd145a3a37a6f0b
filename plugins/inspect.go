// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// An Inspection describes a module or a script, also one that is refused. What
// Description tells is nothing for a script.
type Inspection struct {
	Language string `json:"language"` // wasm or lua
	SHA256   string `json:"sha256"`   // lower-case hex
	Bytes    int    `json:"size_bytes"`
	wasm.Description
	// Manifest is what it says about its policies; nil if it says nothing, or
	// nothing that can be read.
	Manifest *abi.Manifest `json:"manifest"`
	// Problems say why it is refused; none if a daemon would take it.
	Problems []string `json:"problems"`
}

// Inspect describes a module or a script. Its code is looked at and loaded in a
// worker of its own, which ends with the call. An error means that no worker
// could be started; whatever is wrong with the code stands in Problems.
func (h *Host) Inspect(ctx context.Context, code []byte) (Inspection, error) {
	m := newModule(code)
	in := Inspection{Language: m.language(), SHA256: m.sum, Bytes: len(code), Problems: []string{}}
	if in.Language == "wasm" && len(code) <= wasm.MaxModule {
		p, err := worker.Start(ctx, h.command, h.calls.Memory)
		if err != nil {
			return in, err
		}
		in.Description, err = p.Inspect(code, h.loads)
		p.Close()
		if err != nil {
			in.Problems = append(in.Problems, err.Error())
		}
	}
	l := h.newLane("an inspection", m)
	defer l.stop()
	err := l.load(ctx)
	switch module, _ := blames(err); {
	case err == nil && len(m.manifest.Policies) > 0 && m.manifest.Policies[0].Name != "":
		in.Manifest = &m.manifest
	case err == nil:
	case module, errors.Is(err, errManifest):
		in.Problems = append(in.Problems, err.Error())
	default:
		return in, err
	}
	return in, nil
}
