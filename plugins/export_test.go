// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// WorkerPIDs are the process ids of a host's workers: of the versions in force,
// and of those that stand by.
func WorkerPIDs(h *Host) []int {
	seen, pids := map[int32]bool{0: true}, []int(nil)
	for _, p := range h.all() {
		p.mu.Lock()
		for _, v := range []*version{p.now, p.trial.before} {
			if v == nil || seen[v.lane.pid.Load()] {
				continue
			}
			seen[v.lane.pid.Load()] = true
			pids = append(pids, int(v.lane.pid.Load()))
		}
		p.mu.Unlock()
	}
	return pids
}

// Tend is what Run does now and then, as of a time.
func Tend(h *Host, now time.Time) { h.tend(now) }

// WorkerOf is the process id of the worker of a policy; 0 while there is none.
func WorkerOf(h *Host, name string) int { return int(h.version(name).lane.pid.Load()) }

// States is how many states are kept of a policy.
func States(h *Host, name string) int {
	p := h.find(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.states)
}

// WorkerPeak ends the worker of a policy and returns the most memory that one of
// them has had, in bytes.
func WorkerPeak(h *Host, name string) int64 {
	l := h.version(name).lane
	l.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peak
}

// Recorder is the add of a new recorder.
func Recorder() func(core.Recorded) { return new(recorder).add }
