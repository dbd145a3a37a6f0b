// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// A spending is CPU time of everybody but the client.
type spending struct {
	process time.Duration // that balances, with its children
	rest    time.Duration
}

func (s spending) total() time.Duration { return s.process + s.rest }

// spent reads the clocks.
func (w *way) spent() (s spending, err error) {
	if w.process != nil {
		if s.process, err = groupCPU(w.process()); err != nil {
			return s, err
		}
	}
	for _, p := range w.servers {
		d, err := processCPU(p.PID)
		if err != nil {
			return s, err
		}
		s.rest += d
	}
	for _, pid := range softirqThreads() {
		d, err := processCPU(pid)
		if err != nil {
			return s, err
		}
		s.rest += d
	}
	if irqTimeIsSeparate() {
		s.rest += machineSoftirq()
	}
	return s, nil
}

// processCPU is the CPU clock of all threads of a process, in nanoseconds: see
// clock_getcpuclockid(3).
func processCPU(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil {
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// groupCPU is processCPU of a process and those of its group: it leads it.
func groupCPU(p *lab.Process) (sum time.Duration, err error) {
	for pid, fields := range processes() {
		if len(fields) > 2 && fields[2] == strconv.Itoa(p.PID) {
			d, err := processCPU(pid)
			if err != nil && pid == p.PID {
				return 0, err
			}
			sum += d
		}
	}
	return sum, nil
}

// processes are the fields of /proc/PID/stat after the name: state, parent,
// group and so on.
func processes() map[int][]string {
	all := map[int][]string{}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		i := bytes.LastIndexByte(raw, ')')
		if err != nil || i < 0 {
			continue // it has ended
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			all[pid] = strings.Fields(string(raw[i+1:]))
		}
	}
	return all
}

// softirqThreads are the threads that take over when a softirq lasts.
func softirqThreads() (pids []int) {
	paths, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is right
	for _, path := range paths {
		name, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(name, []byte("ksoftirqd/")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// irqTimeIsSeparate reports whether the kernel takes interrupts off the time of
// the process that they interrupt, as Debian's does.
func irqTimeIsSeparate() bool {
	var u unix.Utsname
	_ = unix.Uname(&u) // it cannot fail
	raw, err := os.ReadFile("/boot/config-" + unix.ByteSliceToString(u.Release[:]))
	return err == nil && bytes.Contains(raw, []byte("CONFIG_IRQ_TIME_ACCOUNTING=y"))
}

// machineSoftirq is the softirq time of all cores, whoever caused it.
func machineSoftirq() time.Duration {
	const userHz = 100
	raw, err := os.ReadFile("/proc/stat")
	fields := strings.Fields(string(raw))
	if err != nil || len(fields) < 8 {
		return 0
	}
	ticks, _ := strconv.ParseInt(fields[7], 10, 64)
	return time.Duration(ticks) * time.Second / userHz
}
