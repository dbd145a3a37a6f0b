// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReplaceBlock(t *testing.T) {
	tests := []struct{ name, page, want string }{
		{"no block yet", "# Page\n", "# Page\n\n" + beginMark + "\nnew\n" + endMark + "\n"},
		{"one between others", "a\n" + beginMark + "\nold\n" + endMark + "\nb\n", "a\n" + beginMark + "\nnew\n" + endMark + "\nb\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			once, err := replaceBlock([]byte(tt.page), "new\n")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(once)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if twice, err := replaceBlock(once, "new\n"); err != nil || string(twice) != string(once) {
				t.Errorf("a second time: %v\n%s", err, twice)
			}
		})
	}
	if _, err := replaceBlock([]byte(beginMark+"\nrest of the page"), "new\n"); err == nil {
		t.Error("a block without an end was replaced")
	}
}

func TestOutageOf(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	refused := errors.New("refused")
	knocks := []knock{
		{at(0), at(1), nil},
		{at(9), at(11), refused}, // under way at the kill
		{at(20), at(21), nil},
		{at(30), at(31), refused},
		{at(45), at(46), refused}, // after the daemon answered
	}
	got, err := outageOf(knocks, at(10), at(40))
	want := outage{took: 30 * time.Millisecond, probes: 2, failed: 3, down: 37 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	if _, err := outageOf(knocks, at(12), at(40)); err == nil {
		t.Error("a failure before the kill went unnoticed")
	}
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		list []float64
		q    float64
		want float64
	}{
		{[]float64{3}, 0.99, 3},
		{[]float64{5, 1, 3}, 0.5, 3},
		{[]float64{4, 3, 2, 1}, 1, 4},
	} {
		if got := quantile(tt.list, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tt.list, tt.q, got, tt.want)
		}
	}
}

// TestProcessCPU burns time and sees it on the clock of the process.
func TestProcessCPU(t *testing.T) {
	before, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := ownCPU(); ownCPU()-began < 5*time.Millisecond; {
	}
	after, err := processCPU(os.Getpid())
	if spent := after - before; err != nil || spent < 5*time.Millisecond || spent > 5*time.Second {
		t.Errorf("spent %v (%v), want a little more than 5ms", spent, err)
	}
	if _, err := processCPU(1<<22 - 1); err == nil {
		t.Error("a process that cannot be there has a clock")
	}
}
