// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processFamilies are of this process, under the names that every exporter has for
// them. Its workers are with the policies.
func processFamilies(p *page) {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) == nil {
		used := time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
		p.one("process_cpu_seconds_total", counter, "Processor time of this process.", used.Seconds())
	}
	if bytes, ok := resident(); ok {
		p.one("process_resident_memory_bytes", gauge, "Resident memory of this process.", bytes)
	}
	if n, ok := openFiles(); ok {
		p.one("process_open_fds", gauge, "Open file descriptors.", n)
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		p.one("process_max_fds", gauge, "Most file descriptors that may be open.", float64(limit.Cur))
	}
	p.one("go_goroutines", gauge, "Goroutines that exist.", float64(runtime.NumGoroutine()))
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	if heap[0].Value.Kind() == metrics.KindUint64 {
		p.one("go_memstats_heap_alloc_bytes", gauge, "Bytes of objects on the heap.", float64(heap[0].Value.Uint64()))
	}
}

// resident is the second field of statm, in pages.
func resident() (float64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	return float64(pages) * float64(os.Getpagesize()), err == nil
}

func openFiles() (float64, bool) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	return float64(len(names) - 1), err == nil // less the one that reads
}
