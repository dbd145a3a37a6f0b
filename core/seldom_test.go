// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"testing"
	"time"
)

func TestSeldom(t *testing.T) {
	var s Seldom
	start := time.Unix(1000, 0)
	steps := []struct {
		after          time.Duration // the start
		source, reason string
		due            bool
		untold         uint64
	}{
		{0, "a", "late", true, 0},
		{time.Second, "a", "late", false, 0},
		{2 * time.Second, "b", "late", true, 0},
		{3 * time.Second, "a", "invalid", true, 1}, // another reason is news
		{4 * time.Second, "a", "late", false, 0},
		{62 * time.Second, "a", "invalid", false, 0},
		{64 * time.Second, "a", "late", true, 2},
	}
	for i, st := range steps {
		untold, due := s.Due(st.source, st.reason, start.Add(st.after))
		if due != st.due || untold != st.untold {
			t.Errorf("step %d: due %t, %d untold; want %t, %d", i, due, untold, st.due, st.untold)
		}
	}
}

// TestSeldomIsBounded: invented names fill neither the memory nor the log.
func TestSeldomIsBounded(t *testing.T) {
	var s Seldom
	now, told := time.Unix(1000, 0), 0
	for i := range 10 * seldomSources {
		if _, due := s.Due(fmt.Sprint("invented", i), "late", now); due {
			told++
		}
	}
	if told > seldomSources+1 || len(s.sources) > seldomSources+1 {
		t.Errorf("told %d times, %d sources remembered; want at most %d", told, len(s.sources), seldomSources+1)
	}
	if _, due := s.Due("honest", "late", now.Add(time.Hour)); !due || len(s.sources) > 1 {
		t.Errorf("an hour later: due %t, %d sources remembered", due, len(s.sources))
	}
}
