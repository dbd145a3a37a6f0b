// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"unsafe"
)

// A Policy is an algorithm and what it needs from the host.
type Policy struct {
	Name   string // lower-case letters, digits and hyphens
	About  string // one sentence
	Params []Param

	// Reads are the readings that Schedule goes by; the others are unknown to it.
	// Nil means all. Say what you need: for CPU alone, or for nothing (an empty
	// list that is not nil), the host need not follow every connection.
	Reads []string

	// Metrics are the custom metrics that Schedule reads with Snapshot.Metric, such
	// as queue_depth: names of lower-case letters, digits and underscores, at most
	// 16. Probes and monitors publish them.
	Metrics []string

	// BackendSlots and ServiceSlots are how many numbers the policy keeps
	// about each backend and about the service.
	BackendSlots, ServiceSlots int

	// StateVersion says what the slots mean. Raise it when a new version of the
	// policy uses them differently: it then begins with zeros. Otherwise it takes
	// over what the version before kept.
	StateVersion int

	// Schedule gives each backend of the snapshot a weight or holds it. An
	// error leaves the weights in force and the state as it was.
	Schedule func(*Snapshot) error
}

// A Param is a number that the configuration of a service may set.
type Param struct {
	Name    string
	Default float64
	// Min and Max bound the value. If both are 0 there is no bound.
	Min, Max float64
	About    string
	Unit     string // such as seconds; empty if it has none
	Type     string // TypeNumber if empty
}

// The types of a Param. A boolean is 0 or 1 to Snapshot.Param, and true or false
// in the configuration.
const (
	TypeNumber  = "number"
	TypeInteger = "integer"
	TypeBoolean = "boolean"
)

// The readings that Policy.Reads may name, after the methods of Backend.
const (
	ReadCPU         = "cpu"
	ReadCores       = "cores"
	ReadResponse    = "response"
	ReadConnections = "connections"
	ReadOpened      = "opened"
	ReadClosed      = "closed"
)

// registered are the policies of this program, in the order of the entries.
var registered []*Policy

// scratch is reused by the calls of a module, which come one at a time.
var scratch Snapshot

// Register adds a policy to the module. Call it from an init function: the
// main function of a module is never run.
func Register(p Policy) { registered = append(registered, &p) }

// Run calls the policy on a snapshot in the layout of ABI v1 and writes answer
// and state into it, as the module would. The buffer must be aligned to 8
// bytes, as what make returns is. Not safe for concurrent use.
func (p *Policy) Run(snapshot []byte) error {
	if len(snapshot) < headerSize {
		return errors.New("snapshot too short")
	}
	return p.run(unsafe.Pointer(&snapshot[0]), uint32(len(snapshot)))
}

func (p *Policy) run(base unsafe.Pointer, size uint32) error {
	s := &scratch
	if err := s.open(p, base, size); err != nil {
		return err
	}
	if err := p.Schedule(s); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	s.close()
	return nil
}
