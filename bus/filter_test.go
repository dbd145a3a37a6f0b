// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"testing"
	"time"
)

// A step is one sample: its number, when it was sent by its own clock, when it
// arrived by ours, both since noon.
type step struct {
	seq           uint64
	sent, arrived time.Duration
	want          verdict
}

func TestFilter(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	tests := []struct {
		name  string
		steps []step
	}{
		{"numbers go up", []step{{1, 0, 0, fresh}, {2, s, s, fresh}, {9, 2 * s, 2 * s, fresh}}},
		{"the same twice", []step{{1, 0, 0, fresh}, {1, 0, ms, repeated}}},
		{"older after newer", []step{{2, s, s, fresh}, {1, 0, s, repeated}}},
		{"a prober that began again", []step{{50, 0, 0, fresh}, {1, s, s, fresh}, {1, s, s + ms, repeated}, {2, 2 * s, 2 * s, fresh}}},
		{"our clock went back, numbers go on", []step{{1, 5 * s, 5 * s, fresh}, {2, 4 * s, 6 * s, fresh}}},
		{"not numbered", []step{{0, 0, 0, fresh}, {0, 0, 0, fresh}}},
		{"late", []step{{1, 0, 0, fresh}, {2, s, s + 2*s + ms, late}, {3, 4 * s, 4 * s, fresh}}},
		{"late but within its time", []step{{1, 0, 0, fresh}, {2, s, 3 * s, fresh}}},
		{"a constant difference of clocks is no delay", []step{{1, 0, time.Hour, fresh}, {2, s, time.Hour + s, fresh}}},
		{"a queue that drains", []step{{1, 0, 0, fresh},
			{2, 1 * s, 40 * s, late}, {3, 2 * s, 40 * s, late}, {4, 20 * s, 40 * s, late}, {5, 39 * s, 40 * s, fresh}}},
		{"their clock was set back by a minute", []step{{1, 60 * s, 60 * s, fresh},
			{2, 1 * s, 61 * s, late}, {3, 2 * s, 62 * s, late}, {4, 3 * s, 63 * s, late}, {5, 4 * s, 64 * s, fresh}, {6, 5 * s, 65 * s, fresh}}},
		{"a late one among good ones is no shift", []step{{1, 0, 0, fresh},
			{2, s, 5 * s, late}, {3, 6 * s, 6 * s, fresh}, {4, 7 * s, 11 * s, late}, {5, 8 * s, 12 * s, late}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &filter{}
			for i, st := range tt.steps {
				e := envelope{source{"lb1", "i"}, st.seq, noon.Add(st.sent), 2 * s}
				if got := f.judge("x", e, noon.Add(st.arrived)); got != st.want {
					t.Fatalf("sample %d (seq %d): verdict %d, want %d", i, st.seq, got, st.want)
				}
			}
		})
	}
}

// The least delay is forgotten after a while, so that a path that became longer
// for good is not late for ever.
func TestFilterForgets(t *testing.T) {
	f := &filter{}
	at := func(seq uint64, arrived, delay time.Duration) verdict {
		e := envelope{source{"lb1", "i"}, seq, noon.Add(arrived - delay), time.Second}
		return f.judge("x", e, noon.Add(arrived))
	}
	if got := at(1, 0, 0); got != fresh {
		t.Fatalf("first: %d", got)
	}
	if got := at(2, time.Minute, 3*time.Second); got != late {
		t.Fatalf("after a minute: %d, want late", got)
	}
	if got := at(3, 10*time.Minute, 3*time.Second); got != fresh {
		t.Fatalf("after ten minutes of silence: %d, want fresh", got)
	}
}

func TestFilterIsBounded(t *testing.T) {
	f := &filter{}
	judge := func(i int, at time.Time) verdict {
		return f.judge("x", envelope{source{fmt.Sprint("s", i), ""}, 1, at, time.Second}, at)
	}
	for i := range maxSources {
		if got := judge(i, noon); got != fresh {
			t.Fatalf("source %d: %d", i, got)
		}
	}
	if got := judge(maxSources, noon); got != crowded {
		t.Errorf("one source too many: %d, want crowded", got)
	}
	if got := judge(maxSources, noon.Add(sourceIdle+time.Second)); got != fresh {
		t.Errorf("after the others were silent: %d, want fresh", got)
	}
	if len(f.sources) != 1 || f.sequences != 1 {
		t.Errorf("%d sources, %d sequences, want 1 and 1", len(f.sources), f.sequences)
	}
}
