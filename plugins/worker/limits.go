// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"time"

	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// Limits of an exchange with a worker.
type Limits struct {
	CPU    time.Duration // of the worker, per call
	Wall   time.Duration // per call
	Memory int64         // of the worker, bytes: see Resident
}

// What the daemon gives a policy: CPU time of the worker, and time on the wall, for
// a worker that sleeps or cannot run.
const (
	CallCPU  = 50 * time.Millisecond
	CallWall = 2 * time.Second
	// LoadCPU is for a WASM module: a Go module takes about half a second; one that
	// is made to hurt the compiler takes minutes.
	LoadCPU = 10 * time.Second
	// LuaLoadCPU is for a script, which takes milliseconds.
	LuaLoadCPU = time.Second
	LoadWall   = 60 * time.Second // for a machine that has other things to do
)

// ForLoad are the limits of loading code, where l are those of a WASM module.
func (l Limits) ForLoad(code []byte) Limits {
	if !wasm.IsModule(code) {
		l.CPU = min(l.CPU, LuaLoadCPU)
	}
	return l
}
