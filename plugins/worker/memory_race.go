// SPDX-License-Identifier: Apache-2.0

//go:build race

package worker

// The race detector's own memory comes on top: see memory.go.
const (
	DefaultMemory = 512 << 20
	dataSpare     = 4 << 30
)
