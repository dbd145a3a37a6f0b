// SPDX-License-Identifier: Apache-2.0

package abi

// Levels of a Line.
const (
	LevelDebug = iota
	LevelInfo
	LevelWarn
	// LevelError is also the cause of an error that the policy answers with.
	LevelError
)

// A Line is one line that a policy logged.
type Line struct {
	Level uint32 // LevelDebug to LevelError
	Text  string
}
