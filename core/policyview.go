// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A PolicyView is the state of one loaded policy.
type PolicyView struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"`  // name@first 12 hex of the sha256
	Language string    `json:"language"` // shipped, wasm or lua
	Path     string    `json:"path,omitempty"`
	SHA256   string    `json:"sha256,omitempty"`
	Bytes    int       `json:"size_bytes"`
	LoadedAt time.Time `json:"loaded_at"`
	About    string    `json:"about,omitempty"`

	Calls      uint64  `json:"calls"`
	P50Seconds float64 `json:"call_p50_seconds"`
	P99Seconds float64 `json:"call_p99_seconds"`
	// MemoryBytes is the resident memory of the worker that runs it, without the
	// pages of the program, which all processes share. For the shipped policies it
	// is one for all. 0 while none runs.
	MemoryBytes int64 `json:"worker_memory_bytes"`

	Faults           uint64    `json:"faults"`
	LastFault        string    `json:"last_fault,omitempty"`
	LastFaultAt      time.Time `json:"last_fault_at,omitzero"`
	QuarantineSecond float64   `json:"quarantined_for_seconds,omitempty"`
	Restarts         uint64    `json:"worker_restarts"` // workers that it cost their life

	Swaps uint64 `json:"swaps"` // versions that took the place of another, since the start
	// Previous is the version that stands by in case this one fails; empty if none
	// does.
	Previous string `json:"previous_version,omitempty"`
	// RolledBack tells why the version that was loaded last is not in force; empty
	// if it is.
	RolledBack string `json:"rolled_back,omitempty"`
	// FileRefused tells what is wrong with its file, which has changed and is not in
	// force; empty if nothing is.
	FileRefused string `json:"file_refused,omitempty"`
}
