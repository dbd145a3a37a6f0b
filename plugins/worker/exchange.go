// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tick is how often a worker at work is looked at. An ordinary exchange is over
// before the first.
const tick = 5 * time.Millisecond

// exchange sends a request of so many calls and returns the body of the answer.
// Every error is a *Death.
func (p *Process) exchange(request []byte, calls int, want byte, limits Limits) ([]byte, error) {
	if err := p.conn.SetWriteDeadline(time.Now().Add(limits.Wall)); err != nil {
		return nil, p.death(err)
	}
	if _, err := p.conn.Write(request); err != nil {
		return nil, p.death(err)
	}
	kind, body, err := p.receive(calls, limits)
	if err != nil {
		return nil, p.death(err)
	}
	if kind != want {
		return nil, p.death(fmt.Errorf("%w: type %d, want %d", errFrame, kind, want))
	}
	return body, nil
}

// receive reads one frame, and looks after the worker while it waits, or while it
// is sent one byte after the other.
func (p *Process) receive(calls int, limits Limits) (kind byte, body []byte, err error) {
	w := watch{p: p, limits: limits, calls: calls, at: -2}
	have, want := 0, 4
	if cap(p.in) < 4096 {
		p.in = make([]byte, 64<<10)
	}
	p.in = p.in[:cap(p.in)]
	if err := p.conn.SetReadDeadline(time.Now().Add(tick)); err != nil {
		return 0, nil, err
	}
	for have < want {
		n, err := p.conn.Read(p.in[have:])
		had := have
		have += n
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			now := time.Now()
			if err := w.check(now); err != nil {
				return 0, nil, err
			}
			if err := p.conn.SetReadDeadline(now.Add(tick)); err != nil {
				return 0, nil, err
			}
		case err != nil:
			return 0, nil, err
		}
		if had < 4 && have >= 4 {
			size, err := frameLength(p.in)
			if err != nil {
				return 0, nil, err
			}
			want += size
			if want > len(p.in) {
				p.in = append(make([]byte, 0, want), p.in[:have]...)[:want]
			}
		}
	}
	if have > want {
		return 0, nil, fmt.Errorf("%w: %d bytes nobody asked for", errFrame, have-want)
	}
	return p.in[4], p.in[5:want], nil
}

// errLimit is what a worker was killed for.
type errLimit string

func (e errLimit) Error() string { return string(e) }

// watch compares a call with its limits. Time counts from the first look at a
// call, so that a call has up to one tick more.
type watch struct {
	p      *Process
	limits Limits
	calls  int // of the exchange
	at     int // the call that runs; -1 before the first, calls after the last
	cpu    time.Duration
	since  time.Time
}

func (w *watch) check(now time.Time) error {
	cpu, err := cpuTime(w.p.PID())
	if err != nil {
		return nil // the process is gone; the read tells
	}
	at := min(w.p.progress.get(), w.calls)
	if at < 0 && w.at >= 0 {
		at = w.calls
	}
	// What is not the way forward is a worker's that lies, and buys it no time.
	if at > w.at {
		w.at, w.cpu, w.since = at, cpu, now
	}
	switch {
	case cpu-w.cpu > w.limits.CPU:
		return errLimit(fmt.Sprintf("used more than %v of CPU time without an answer: an endless loop?", w.limits.CPU))
	case now.Sub(w.since) > w.limits.Wall:
		return errLimit(fmt.Sprintf("no answer within %v", w.limits.Wall))
	}
	return w.limits.memory(w.p.PID())
}

// memory compares what a process has with the limit.
func (l Limits) memory(pid int) error {
	if rss := Resident(pid); rss > l.Memory {
		return errLimit(fmt.Sprintf("used %d MiB of memory, more than %d", rss>>20, l.Memory>>20))
	}
	return nil
}

// death ends the process and says why it ended.
func (p *Process) death(err error) *Death {
	call := p.progress.get()
	gone := !p.Alive()
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.exited
	if gone || call < 0 {
		call = p.progress.get() // it cannot change any more
	}
	var limit errLimit
	if errors.As(err, &limit) {
		return &Death{call, "the worker was killed: " + limit.Error(), p.Peak()}
	}
	cause := fmt.Sprintf("the worker died: %v", p.cmd.ProcessState)
	if line := p.stderr.firstLine(); line != "" {
		cause += ": " + line
	} else {
		cause += fmt.Sprintf(" (%v)", err)
	}
	return &Death{call, cause, p.Peak()}
}

// cpuTime is the CPU time of all threads of a process. The clock id is the
// kernel's encoding of "the scheduler's clock of that process"
// (clock_getcpuclockid(3)); it has nanoseconds where /proc/PID/stat has ticks.
func cpuTime(pid int) (time.Duration, error) {
	const cpuClockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuClockSched), &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// Resident is the resident memory of a process in bytes, without that of files:
// the pages of the program, which the daemon and all workers share. 0 if it is
// gone.
func Resident(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	// In pages: size, resident, shared and so on. See proc_pid_statm(5).
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(b), &size, &resident, &shared); err != nil {
		return 0
	}
	return (resident - shared) * int64(os.Getpagesize())
}
