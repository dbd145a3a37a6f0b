// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// cost measures the CPU time that a request takes on this machine: what the
// configured work does not include is HTTP and the kernel.
func (w *demoWorld) cost(ctx context.Context) (time.Duration, error) {
	const warmUp, requests = 10, 40
	var before time.Duration
	for n := range warmUp + requests {
		if n == warmUp {
			before = taskTime(w.backends[0].PID)
		}
		resp, err := w.ask(ctx, 0, "/")
		if err != nil {
			return 0, fmt.Errorf("measure the cost of a request: %w", err)
		}
		_ = resp.Body.Close()
	}
	return max((taskTime(w.backends[0].PID)-before)/requests, demoWork), nil
}

// taskTime is the CPU time of a process: the first number of each thread's
// schedstat, in ns.
func taskTime(pid int) time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum time.Duration
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(raw), &ns); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}
