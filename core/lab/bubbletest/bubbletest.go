// SPDX-License-Identifier: Apache-2.0

// Package bubbletest runs tests in a bubble of fake time.
package bubbletest

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Run is synctest.Test on one processor. On several, the race detector of Go up to 1.26
// ends the process now and then: timers of a bubble that fire on two threads at once
// share one context (golang/go#78156). Races are found on one processor as well, since
// the detector follows who waited for whom and not the clock.
func Run(t *testing.T, f func(*testing.T)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, f)
}
