// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A ScenarioFile is what an author expects of a policy: see docs/policies.md.
type ScenarioFile struct {
	Path      string
	Allow     []string // for Options.Allow
	Scenarios []Scenario

	lines []string
}

// A Scenario is one service and what a policy must say about it, step by step.
type Scenario struct {
	Name  string
	Line  int
	Steps []Step // the first, then those under "then"
}

// A Step is one decision, or several with the same readings. What a step does not
// say is as in the step before.
type Step struct {
	Line      int
	Seconds   float64 // since the decision before; negative means the default
	Repeat    int     // decisions, at least 1
	Now       time.Time
	Params    map[string]float64
	Backends  []BackendChange
	Expect    []Expect
	Tolerance float64
	Refused   *string // the policy must refuse, with this in what it says

	keyColumn int // of the step's keys, for Update
	lastLine  int // of the step without what is under "then"
}

// A BackendChange is what a step says about one backend.
type BackendChange struct {
	Name    string
	Gone    bool
	Changes []func(*backendState)
}

// A backendState is a backend between two steps.
type backendState struct {
	core.BackendInput
	custom    map[string]core.Reading
	fixedSeq  bool
	shareSaid bool
}

// An Expect is one thing that must hold for an answer.
type Expect struct {
	Line    int
	Backend string
	Op      string  // =, <, <=, >, >=, .. or hold
	Value   float64 // for ..: the lower end
	High    float64 // for ..
	Other   string  // a backend to compare with, in place of Value
	Text    string  // as it stands in the file

	column int // of the text, for Update; 0 where it cannot be replaced
}

// defaults of a backend in a scenario.
const (
	scenarioWeight = 1
	scenarioSince  = time.Minute
	scenarioWindow = 5 * time.Second
	// scenarioTolerance is how far a share may be from what is expected.
	scenarioTolerance = 0.001
	maxRepeat         = 10_000
)

func newBackendState(service, name string) *backendState {
	return &backendState{BackendInput: core.BackendInput{
		ID: core.BackendID{Service: service, Backend: name}.Hash(), Name: name,
		Weight: scenarioWeight, Health: core.Up, Since: scenarioSince,
	}, custom: map[string]core.Reading{}}
}
