// SPDX-License-Identifier: Apache-2.0

//go:build race

package plugins_test

import "time"

// raceEnabled says that memory and time are not those of a release.
const raceEnabled = true

// loadCPU is enough to compile the shipped policies, and what the hostile ones
// are given.
const loadCPU = 20 * time.Second
