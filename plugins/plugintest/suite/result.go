// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"errors"
	"strings"
)

// A Status is how a check ended.
type Status string

// The ways in which a check ends. A Note is something to know that is wrong only
// if it was not meant.
const (
	Pass Status = "pass"
	Fail Status = "fail"
	Note Status = "note"
)

// A Result is what one check found.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail,omitempty"` // a figure
	Cause  string `json:"cause,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

func pass(detail string) Result { return Result{Status: Pass, Detail: detail} }

func fail(cause, remedy string) Result { return Result{Status: Fail, Cause: cause, Remedy: remedy} }

func note(cause, remedy string) Result { return Result{Status: Note, Cause: cause, Remedy: remedy} }

// failed is the result for an error of Schedule.
func failed(err error) Result { return fail(err.Error(), remedy(err)) }

// remedies are what to do about faults, by a part of their text.
var remedies = []struct{ part, remedy string }{
	{"no weight for backend", "give every backend a weight or hold it, also one that is down or unmeasured"},
	{"every weight is 0", "give a weight to a backend that is up, or hold it"},
	{"not a number", "a reading may be unknown, and a sum 0: look before you divide"},
	{"is NaN", "a reading may be unknown, and a sum 0: look before you divide"},
	{"Inf", "a reading may be 0 or huge: bound it before you divide or multiply"},
	{"number from 0", "bound the weight before you set it"},
	{"CPU time", "a call has 50 ms: go through the backends a fixed number of times, and sort nothing that is large"},
	{"MiB of memory", "keep nothing between calls, and nothing that grows with their number"},
	{"stack overflow", "it calls itself without end: use a loop"},
	{"out of bounds", "it went beyond the snapshot: indices run from 0 to n-1, and n may be 0"},
	{"divide by zero", "look before you divide: n and every reading may be 0"},
	{"unreachable", "it ran into an assertion or a panic: look at what the check gives it"},
}

func remedy(err error) string {
	for _, r := range remedies {
		if strings.Contains(err.Error(), r.part) {
			return r.remedy
		}
	}
	var f *Fault
	if errors.As(err, &f) && f.Kind == Refused {
		return "a policy must answer whatever the snapshot says: hold the backends that it knows nothing of"
	}
	return "steelyard plugin validate tells whether the module loads at all"
}

// Failed counts the results that are failures.
func Failed(results []Result) int {
	n := 0
	for _, r := range results {
		if r.Status == Fail {
			n++
		}
	}
	return n
}
