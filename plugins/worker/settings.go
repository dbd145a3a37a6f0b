// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"os"
	"runtime/debug"
	"strconv"
)

// memoryVariable tells a worker how much memory it may have, in bytes.
const memoryVariable = "STEELYARD_WORKER_MEMORY"

// settings makes the runtime keep away from the limit that the parent watches,
// and returns that limit.
func settings() int64 {
	limit, err := strconv.ParseInt(os.Getenv(memoryVariable), 10, 64)
	if err != nil || limit <= 0 {
		limit = DefaultMemory
	}
	// What is garbage should not be what ends a policy.
	debug.SetMemoryLimit(limit / 2)
	debug.SetGCPercent(50)
	// Go's own 1 GB would let a recursion in a Lua script outrun the parent.
	debug.SetMaxStack(int(limit / 4))
	return limit
}
