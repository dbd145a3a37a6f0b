// SPDX-License-Identifier: Apache-2.0

package plugins

// WorkerPIDs are the process ids of a host's workers.
func WorkerPIDs(h *Host) []int {
	var pids []int
	for _, l := range []*lane{h.shipped, h.user} {
		l.mu.Lock()
		if l.process != nil {
			pids = append(pids, l.process.PID())
		}
		l.mu.Unlock()
	}
	return pids
}
