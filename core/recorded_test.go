// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

func recorded() core.Recorded {
	known := func(v float64, age, window time.Duration) core.Reading {
		return core.Reading{Value: v, Age: age, Window: window, Known: true}
	}
	zone := time.FixedZone("", -12600) // three and a half hours west
	return core.Recorded{
		At: time.Unix(1_700_000_000, 123456789).In(zone), Policy: "mine", Version: "mine@0123456789ab", Shadow: true,
		Took: 1500 * time.Nanosecond, Weights: []float64{0.1, core.Hold, 0},
		Snapshot: core.Snapshot{
			Service: "web", ID: math.MaxUint64, Seq: 7, Now: time.Unix(1_700_000_000, 5).In(zone), Since: 1500 * time.Millisecond,
			Params: map[string]float64{"alpha": 0.3}, Metrics: []string{"queue_depth"},
			Backends: []core.BackendInput{
				{ID: 1 << 60, Name: "web1", Weight: 100, Health: core.Up, Since: math.MaxInt64, Share: 1.0 / 3, CPUSeq: 9,
					CPU: known(0.1, time.Second+1, 5*time.Second), Cores: known(8, 0, 0), Response: known(1e-300, 3*time.Second, 0),
					Conns: known(1234, 250*time.Millisecond, 0), New: known(10.5, 0, 0), Done: known(9.25, 0, 0),
					Custom: []core.Reading{known(17, 1, 0)}},
				{ID: 2, Name: "web2", Health: core.Down, Custom: []core.Reading{{}}},
				{},
			},
		},
	}
}

// TestRecordedRoundTrip: what is read is what was written, to the nanosecond and
// with the offset of the zone.
func TestRecordedRoundTrip(t *testing.T) {
	failed := recorded()
	failed.Weights, failed.Err = nil, "no idea"
	empty := recorded()
	empty.Weights, empty.Snapshot.Backends = []float64{}, nil
	for _, want := range []core.Recorded{recorded(), failed, empty, {}} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got core.Recorded
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s\n%s", diff, text)
		}
		_, wantEast := want.Snapshot.Now.Zone()
		if _, east := got.Snapshot.Now.Zone(); east != wantEast {
			t.Errorf("the zone is %d s east, want %d", east, wantEast)
		}
	}
}

// TestRecordedText fixes what scripts read.
func TestRecordedText(t *testing.T) {
	text, err := json.Marshal(recorded())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"at":"2023-11-14T18:43:20.123456789-03:30"`, `"weights":[0.1,null,0]`, `"took_seconds":0.000001500`,
		`"id":"ffffffffffffffff"`, `"cpu_ratio":{"value":0.1,"age_seconds":1.000000001,"window_seconds":5.000000000}`,
		`"health":"down"`, `"cores_count":null`, `"metrics":[null]`, `"health_seconds":9223372036.854775807`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	for _, bad := range []string{
		`{"snapshot":{"id":"x"}}`, `{"took_seconds":1e30}`, `{"took_seconds":"1"}`, `{"weights":["1"]}`,
		`{"snapshot":{"backends":[{"health":"well"}]}}`, `{"snapshot":{"backends":[{"cpu_ratio":1}]}}`,
	} {
		if err := json.Unmarshal([]byte(bad), new(core.Recorded)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// FuzzRecorded: whatever is read can be written, and reads the same again.
func FuzzRecorded(f *testing.F) {
	text, err := json.Marshal(recorded())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"took_seconds":1e-3,"weights":[],"snapshot":{"backends":[{"metrics":[]}],"params":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second core.Recorded
		if json.Unmarshal(b, &first) != nil {
			return
		}
		once, err := json.Marshal(first)
		if err != nil {
			return // a time beyond the year 9999
		}
		if err := json.Unmarshal(once, &second); err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		twice, err := json.Marshal(second)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v\n%s\n%s", err, once, twice)
		}
	})
}
