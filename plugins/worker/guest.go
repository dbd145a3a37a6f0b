// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/lua"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// A guest is a loaded module or script.
type guest interface {
	// Manifest is what it says about its policies, not yet checked; nil if it
	// says nothing.
	Manifest() []byte
	// Call runs the policy on a snapshot that abi.Encode made and appends the
	// snapshot as the policy left it, from its AnswerOffset on, to dst.
	Call(ctx context.Context, dst, snapshot []byte) ([]byte, error)
	// Logs are the lines of the last load or call; good until the next.
	Logs() []abi.Line
}

// loadGuest tells a module from a script by its first bytes.
func loadGuest(ctx context.Context, code []byte) (guest, error) {
	if !wasm.IsModule(code) {
		return orNothing(lua.Load(ctx, code))
	}
	return orNothing(wasm.Load(ctx, code))
}

// orNothing keeps a nil pointer from becoming a guest.
func orNothing[G guest](g G, err error) (guest, error) {
	if err != nil {
		return nil, err
	}
	return g, nil
}
