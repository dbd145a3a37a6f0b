// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// recordDir holds one file per lab. The owner keeps its file locked, and the
// kernel drops the lock however the owner ends: no guess about a process id
// that may have been used again.
const recordDir = "/run/steelyard-lab"

type record struct {
	name string

	mu    sync.Mutex
	file  *os.File    // guarded by mu; nil once forgotten or given away
	state recordState // guarded by mu
}

// recordState is the content of the file, as JSON.
type recordState struct {
	OwnerPID  int         `json:"owner_pid"`
	Kept      bool        `json:"kept"` // given away by Release
	Processes []processID `json:"processes"`
}

// A processID names one process for good: a process id is used again, together
// with the start time it is not.
type processID struct {
	PID   int    `json:"pid"` // leader of its own group
	Start uint64 `json:"start_ticks"`
}

// claim takes the name, and removes what an owner before us left under it.
func claim(name string) (*record, error) {
	if err := os.MkdirAll(recordDir, 0o700); err != nil {
		return nil, err
	}
	r, err := lockRecord(name, os.O_CREATE)
	if err != nil {
		return nil, err
	}
	err = r.sweep()
	if err == nil {
		r.state = recordState{OwnerPID: os.Getpid()}
		err = r.saveLocked()
	}
	if err != nil {
		_ = r.file.Close()
		return nil, err
	}
	return r, nil
}

// removeStale removes every lab whose owner died before it could. One that
// somebody else is about to claim or to remove is left to them.
func removeStale() {
	files, _ := filepath.Glob(filepath.Join(recordDir, "*.json"))
	for _, f := range files {
		r, err := lockRecord(strings.TrimSuffix(filepath.Base(f), ".json"), 0)
		if err != nil {
			continue
		}
		if r.state.Kept || r.sweep() != nil {
			_ = r.file.Close()
			continue
		}
		_ = r.forget()
	}
}

// lockRecord opens, locks and reads a record. It fails if a living process has
// it. flags may be O_CREATE.
func lockRecord(name string, flags int) (*record, error) {
	path := filepath.Join(recordDir, name+".json")
	for tries := 0; ; tries++ {
		f, err := os.OpenFile(path, os.O_RDWR|flags, 0o600)
		if err != nil {
			return nil, err
		}
		busy := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
		r := &record{name: name, file: f}
		raw, err := io.ReadAll(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// A record cut short by a crash names no process; the namespaces still go.
		_ = json.Unmarshal(raw, &r.state)
		// Between open and lock the owner before us may have unlinked the file.
		mine, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if !busy && err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return r, nil
		}
		_ = f.Close()
		owned := r.state.OwnerPID > 0 && unix.Kill(r.state.OwnerPID, 0) == nil
		if busy && (flags == 0 || owned || tries == lockTries) {
			return nil, fmt.Errorf("it is in use by process %d; end that one first", r.state.OwnerPID)
		}
		if busy { // somebody removes what a dead owner left, or is about to sign
			time.Sleep(lockPause)
		}
	}
}

const (
	lockTries = 200
	lockPause = 10 * time.Millisecond
)

// sweep ends recorded processes that still live and removes the namespaces.
func (r *record) sweep() error {
	for _, p := range r.state.Processes {
		if start, err := startTicks(p.PID); err == nil && start == p.Start {
			_ = unix.Kill(-p.PID, unix.SIGKILL)
			awaitGone(p)
		}
	}
	names, err := os.ReadDir(netnsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mine := regexp.MustCompile("^" + namespaceName(r.name, `(client|lb|b[0-9]+)`) + "$")
	var errs []error
	for _, e := range names {
		if mine.MatchString(e.Name()) {
			errs = append(errs, removeNamespace(e.Name()))
		}
	}
	return errors.Join(errs...)
}

// awaitGone waits until a killed process no longer runs. It is not our child,
// so there is nothing to wait on but its entry.
func awaitGone(p processID) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(2 * time.Second)
	for time.Now().Before(deadline) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(time.Until(deadline).Milliseconds())+1); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// add records a process, so that a later start can end it.
func (r *record) add(pid int) error {
	start, err := startTicks(pid)
	if err != nil {
		return nil // it is gone already
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Processes = append(r.state.Processes, processID{pid, start})
	return r.saveLocked()
}

// orphan gives the lab away: the file stays, the lock goes.
func (r *record) orphan() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Kept = true
	if err := r.saveLocked(); err != nil {
		return err
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// forget removes the file.
func (r *record) forget() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	// Unlink before unlock: whoever waits for the name then sees a new file.
	err := errors.Join(os.Remove(r.file.Name()), r.file.Close())
	r.file = nil
	return err
}

func (r *record) saveLocked() error {
	if r.file == nil {
		return fs.ErrClosed
	}
	raw, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	if err := r.file.Truncate(0); err != nil {
		return err
	}
	_, err = r.file.WriteAt(raw, 0)
	return err
}

// startTicks is when the process started, in clock ticks since boot: field 22
// of /proc/PID/stat. Field 2 is the only one that may hold blanks, in brackets.
func startTicks(pid int) (uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	rest := string(raw[strings.LastIndexByte(string(raw), ')')+1:])
	fields := strings.Fields(rest) // fields[0] is field 3
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start of process %d: %d fields", pid, len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// Remove takes down a lab that was released, or that a dead owner left. It
// reports whether there was one; a lab with a living owner is an error.
func Remove(name string) (bool, error) {
	if !nameRE.MatchString(name) {
		return false, fmt.Errorf("remove lab %q: no such name", name)
	}
	if _, err := os.Stat(filepath.Join(recordDir, name+".json")); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	r, err := claim(name)
	if err != nil {
		return true, fmt.Errorf("remove lab %s: %w", name, err)
	}
	return true, r.forget()
}
