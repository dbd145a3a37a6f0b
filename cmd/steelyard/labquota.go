// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// quotaBurst is how much CPU time an idle backend may save up.
const quotaBurst = 5 * time.Millisecond

// cpuTime is CPU time that a process has used.
type cpuTime struct{ user, system time.Duration }

func (c cpuTime) total() time.Duration { return c.user + c.system }

// processCPU reads this process's own account, all threads.
func processCPU() cpuTime {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails on a bad pointer only
	return cpuTime{
		user:   time.Duration(u.Utime.Nano()),
		system: time.Duration(u.Stime.Nano()),
	}
}

// A quota holds work to a share of one core, as the CPU quota of a container
// does: work waits in one queue until the CPU time used so far, by the whole
// process, is no more than the share of the time gone by. It also keeps the
// books that an SNMP agent inside such a container would show: used CPU time
// divided by the share is busy, the rest is idle.
type quota struct {
	turn chan struct{} // capacity 1: whoever put the token in works; the others wait in order

	mu     sync.Mutex
	share  float64       // guarded by mu; of one core, above 0
	credit time.Duration // guarded by mu; CPU time that may be used now; negative means wait
	at     time.Time     // guarded by mu; of the last look
	used   cpuTime       // guarded by mu; at that look
	books  cpuBooks      // guarded by mu
}

// cpuBooks are times on the scale of the quota: all three together grow by one
// second per second, unless more than the quota is used.
type cpuBooks struct {
	user, system time.Duration
	elapsed      time.Duration
	idle         time.Duration // never shrinks
}

func newQuota(share float64, now time.Time, used cpuTime) *quota {
	return &quota{turn: make(chan struct{}, 1), share: share, at: now, used: used}
}

// look brings credit and books up to date and returns how long work must wait.
func (q *quota) look(now time.Time, used cpuTime) (cpuBooks, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	passed := now.Sub(q.at)
	user, system := used.user-q.used.user, used.system-q.used.system
	q.at, q.used = now, used

	q.credit += scale(passed, q.share) - user - system
	q.credit = min(q.credit, quotaBurst)

	b := &q.books
	b.user += scale(user, 1/q.share)
	b.system += scale(system, 1/q.share)
	b.elapsed += passed
	// Used credit may put busy ahead of the clock; a counter must not go back.
	b.idle = max(b.idle, b.elapsed-b.user-b.system)

	if q.credit >= 0 {
		return *b, 0
	}
	return *b, scale(-q.credit, 1/q.share)
}

func scale(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// setShare changes the share from now on.
func (q *quota) setShare(share float64, now time.Time, used cpuTime) {
	q.look(now, used)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.share = share
}

// run does work when it is its turn and the quota allows it. It gives up when
// ctx is done before that.
func (q *quota) run(ctx context.Context, work func()) error {
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-q.turn }()
	for {
		_, wait := q.look(time.Now(), processCPU())
		if wait == 0 {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	work()
	return nil
}

// burn uses CPU time, not wall time.
func burn(d time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	block := make([]byte, 1024)
	for end := threadCPU() + d; threadCPU() < end; {
		sum := sha256.Sum256(block)
		copy(block, sum[:])
	}
}

func threadCPU() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // always there
	return time.Duration(ts.Nano())
}
