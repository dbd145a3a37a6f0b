// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
)

// Built with the race detector, a worker compiles the shipped policies for 4 s of
// CPU time, and the tests here start some fifty. So the daemons have the race
// detector and their workers, which are one goroutine, have not; the tests of
// plugins and plugins/worker run workers that have it.

// plainWorker builds steelyard without the race detector beside the test binary,
// where asPlainWorker finds it. A failure costs nothing but time.
var plainWorker = sync.OnceValue(func() error {
	exe, err := os.Executable()
	if !raceDetector || err != nil {
		return err
	}
	return exec.Command("go", "build", "-o", exe+".worker", ".").Run()
})

// needPlainWorker is for the tests that start workers.
func needPlainWorker(t testing.TB) {
	t.Helper()
	if err := plainWorker(); err != nil {
		t.Logf("starts will take long: build a worker without the race detector: %v", err)
	}
}

// asPlainWorker becomes the worker that plainWorker built; it returns if there is
// none.
func asPlainWorker() {
	exe, err := os.Readlink("/proc/self/exe")
	if err == nil && raceDetector {
		_ = syscall.Exec(exe+".worker", os.Args, os.Environ()) // most often it is not there
	}
}

// removePlainWorker leaves nothing behind.
func removePlainWorker() {
	if exe, err := os.Executable(); err == nil && raceDetector {
		_ = os.Remove(exe + ".worker") // most often it is not there
	}
}
