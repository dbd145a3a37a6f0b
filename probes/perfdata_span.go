// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"math"
	"strings"
)

// A span is a range of values that a plugin warns of: by default those outside,
// with @ those inside, both ends included.
type span struct {
	low, high float64 // may be infinite
	inside    bool
}

// parseSpan reads [@][start:][end]; ~ is minus infinity, no start is 0, no end is
// infinity.
func parseSpan(s string) (span, error) {
	r := span{low: 0, high: math.Inf(1)}
	s, r.inside = strings.CutPrefix(s, "@")
	start, end, both := strings.Cut(s, ":")
	if !both {
		start, end = "", s
	}
	var err error
	switch start {
	case "":
	case "~":
		r.low = math.Inf(-1)
	default:
		if r.low, err = perfNumber(start); err != nil {
			return span{}, err
		}
	}
	if end != "" {
		if r.high, err = perfNumber(end); err != nil {
			return span{}, err
		}
	}
	if !(r.low <= r.high) {
		return span{}, fmt.Errorf("range %q: the start is above the end", s)
	}
	return r, nil
}

// alerts reports whether a value is one that the range warns of.
func (s span) alerts(v float64) bool { return (v >= s.low && v <= s.high) == s.inside }

// times is the range in another unit.
func (s span) times(f float64) span { return span{s.low * f, s.high * f, s.inside} }

func (s span) String() string {
	if s.inside {
		return fmt.Sprintf("from %.6g to %.6g", s.low, s.high)
	}
	switch {
	case math.IsInf(s.low, -1):
		return fmt.Sprintf("above %.6g", s.high)
	case math.IsInf(s.high, 1):
		return fmt.Sprintf("below %.6g", s.low)
	}
	return fmt.Sprintf("outside %.6g to %.6g", s.low, s.high)
}
