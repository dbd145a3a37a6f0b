// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// maxConcurrency is how many runs of a type that uses sockets go on at one time,
	// where files allow it. A run that waits for an answer is a file and some 10 kB: it
	// is far cheaper than what it would cost the others to wait for its time-out.
	// 16,000 backends that hang, asked every 5 s with a time-out of 2 s, are 6,400.
	maxConcurrency = 16384
	// execConcurrency is the same for commands. Each is a process with its memory, and
	// eight files on our side while it starts: a quarter of all files is theirs.
	execConcurrency = 64
	leastCommands   = 4
	// leastConcurrency is for a process that may open hardly any file.
	leastConcurrency = 16
)

// socketRuns is how many runs may hold a socket at one time: half the files that the
// process may open. The other half is for the kernel, the bus, the API and the
// moments in which a run has two.
func socketRuns() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return leastConcurrency
	}
	return int(max(leastConcurrency, min(files.Cur, 1<<20)/2))
}

// concurrency is the limit of a type, and whether its runs hold sockets.
func concurrency(kind string, configured map[string]int, sockets int) (limit int, holds bool) {
	limit, holds = min(maxConcurrency, sockets), true
	if kind == core.ProbeExec {
		limit, holds = execConcurrency, false
	}
	if n := configured[kind]; n > 0 {
		limit = n
	}
	if holds {
		limit = min(limit, sockets)
	} else {
		limit = min(limit, max(leastCommands, sockets/16)) // sockets are half the files
	}
	return limit, holds
}
