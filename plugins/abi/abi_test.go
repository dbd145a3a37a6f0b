// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

var update = flag.Bool("update", false, "write the golden snapshot anew: only with a new version of the ABI")

// sample has another value in every field, and a second backend of which
// nothing is known.
func sample() (*core.Snapshot, abi.Frame) {
	known := func(v float64, age, window time.Duration) core.Reading {
		return core.Reading{Value: v, Age: age, Window: window, Known: true}
	}
	now := time.Unix(1_700_000_000, 5).In(time.FixedZone("", -12600)) // three and a half hours west
	s := &core.Snapshot{
		Service: "web", Now: now, Metrics: []string{"errors", "queue_depth", "temperature"}, ID: 0x1122334455667788, Seq: 42, Since: 1500 * time.Millisecond,
		Backends: []core.BackendInput{{
			ID: 0xA1A2A3A4A5A6A7A8, Name: "web1", Weight: 100, Health: core.Up, Since: 90 * time.Second, Share: 0.25, CPUSeq: 7,
			CPU: known(0.5, 2*time.Second, 5*time.Second), Cores: known(8, 0, 0), Response: known(0.0125, 3*time.Second, 0),
			Conns: known(1234, 250*time.Millisecond, 0), New: known(10.5, 0, 0), Done: known(9.25, 0, 0),
			Custom: []core.Reading{known(3, 0, 0), known(17, 1500*time.Millisecond, 0), {}},
		}, {ID: 2, Name: "web2", Weight: 1, Health: core.Down,
			Custom: []core.Reading{{}, {}, known(-40.5, 6*time.Second, 0)}}},
	}
	return s, abi.Frame{Entry: 3, Params: []float64{0.3, math.NaN()}, BackendSlots: 2, ServiceSlots: 1,
		Metrics: []string{"temperature", "queue_depth", "nobody_has_it"},
		Service: []byte("service8"), Backend: func(id uint64) []byte {
			if id == 2 {
				return nil
			}
			return []byte("backend1backend2")
		}}
}

// TestGolden guards the layout: a difference is a new version of the ABI, or a
// mistake.
func TestGolden(t *testing.T) {
	got, err := abi.Encode(nil, must(sample()), frame())
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/snapshot-v1.hex"
	if *update {
		if err := os.WriteFile(file, []byte(hex.Dump(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(hex.Dump(got), "\n")); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func must(s *core.Snapshot, _ abi.Frame) *core.Snapshot { return s }

func frame() abi.Frame { _, f := sample(); return f }

// TestSDKReadsWhatTheHostWrites compares the two copies of the layout, field by
// field, through the SDK's own accessors.
func TestSDKReadsWhatTheHostWrites(t *testing.T) {
	s, f := sample()
	buf, err := abi.Encode(nil, s, f)
	if err != nil {
		t.Fatal(err)
	}
	type known struct {
		V  float64
		OK bool
	}
	k := func(v float64, ok bool) known { return known{v, ok} }
	p := policy.Policy{
		Name: "reads", BackendSlots: 2, ServiceSlots: 1, Metrics: []string{"temperature", "queue_depth", "nobody_has_it"},
		Params: []policy.Param{{Name: "a", Default: 1}, {Name: "b", Default: 2}},
		Schedule: func(s *policy.Snapshot) error {
			b, none := s.Backend(0), s.Backend(1)
			got := []any{s.Len(), s.Seconds(), s.UnixNano(), s.Seq(), s.Param("a"), s.Param("b"),
				b.ID(), b.Weight(), b.Share(), b.Health(), b.HealthSeconds(), k(b.CPU()), b.CPUAge(), b.CPUWindow(), b.CPUSeq(),
				k(b.Cores()), k(b.Response()), b.ResponseAge(), k(b.Connections()), b.ConnectionsAge(), k(b.Opened()), k(b.Closed()),
				none.ID(), none.Health()}
			want := []any{2, 1.5, int64(1_700_000_000_000_000_005), uint64(42), 0.3, 2.0,
				uint64(0xA1A2A3A4A5A6A7A8), 100.0, 0.25, policy.Up, 90.0, known{0.5, true}, 2.0, 5.0, uint32(7),
				known{8, true}, known{0.0125, true}, 3.0, known{1234, true}, 0.25, known{10.5, true}, known{9.25, true},
				uint64(2), policy.Down}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
			for what, read := range map[string]func() (float64, bool){"cpu": none.CPU, "cores": none.Cores,
				"response": none.Response, "opened": none.Opened, "closed": none.Closed} {
				if v, ok := read(); ok || !math.IsNaN(v) {
					t.Errorf("%s of a backend that nobody measured is %g, %t; want NaN, false", what, v, ok)
				}
			}
			heat, queue, nothing := s.Metric("temperature"), s.Metric("queue_depth"), s.Metric("nobody_has_it")
			got = []any{s.UTCOffset(), k(heat.At(1)), heat.Age(1), k(queue.At(0)), queue.Age(0)}
			if diff := cmp.Diff([]any{-12600, known{-40.5, true}, 6.0, known{17, true}, 1.5}, got); diff != "" {
				t.Errorf("custom metrics (-want +got):\n%s", diff)
			}
			for i, read := range []func(int) (float64, bool){heat.At, nothing.At, nothing.At} {
				if v, ok := read(i / 2); ok || !math.IsNaN(v) {
					t.Errorf("unknown metric %d is %g, %t; want NaN, false", i, v, ok)
				}
			}
			s.SetWeight(0, 2)
			s.Hold(1)
			s.BackendState(1)[1] = 1
			s.ServiceState()[0] = 1
			return nil
		},
	}
	if err := p.Run(buf); err != nil {
		t.Fatal(err)
	}
	a, err := abi.Decode(buf[abi.AnswerOffset(buf):], s, f)
	if err != nil {
		t.Fatal(err)
	}
	one := []byte{0, 0, 0, 0, 0, 0, 0xF0, 0x3F}
	if diff := cmp.Diff(abi.Answer{Service: one, Weights: []float64{1e9, core.Hold},
		Backend: [][]byte{[]byte("backend1backend2"), append(make([]byte, 8), one...)}}, a); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestParseManifest(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"good", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","default":1,"min":0,"max":2}],"backend_slots":3}]}`, ""},
		{"reads", `{"abi":1,"policies":[{"name":"a","reads":["cpu","closed"]},{"name":"b","reads":[]}]}`, ""},
		{"reads what is not there", `{"abi":1,"policies":[{"name":"a","reads":["conns"]}]}`, `reads "conns": there are cpu`},
		{"not json", `{"abi":1,}`, `at byte 10 of 10, behind "{\"abi\":1,}"`},
		{"other abi", `{"abi":2,"policies":[{"name":"a"}]}`, "abi is 2"},
		{"none", `{"abi":1}`, "0 policies"},
		{"bad name", `{"abi":1,"policies":[{"name":"A b"}]}`, "name: want"},
		{"twice", `{"abi":1,"policies":[{"name":"a"},{"name":"a"}]}`, "there twice"},
		{"greedy", `{"abi":1,"policies":[{"name":"a","backend_slots":65}]}`, "want 0 to 64"},
		{"negative", `{"abi":1,"policies":[{"name":"a","service_slots":-1}]}`, "want 0 to 64"},
		{"default", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","default":3,"min":0,"max":2}]}]}`, "default 3: want 0 to 2"},
		{"no bounds", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","default":3}]}]}`, ""},
		{"one bound", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","default":3,"min":4}]}]}`, "default 3: want any number from 4 upward"},
		{"boolean", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","type":"boolean","default":true},{"name":"y","type":"boolean"}]}]}`, ""},
		{"boolean of 2", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","type":"boolean","default":2}]}]}`, "default 2: want true or false"},
		{"boolean with max", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","type":"boolean","max":2}]}]}`, "has no min"},
		{"half an integer", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","type":"integer","default":1.5}]}]}`, "default 1.5: want any whole number"},
		{"type", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","type":"float"}]}]}`, `parameter x: type "float": want number`},
		{"mistyped key", `{"abi":1,"policies":[{"name":"a"},{"name":"b","backend_slot":3}]}`, "policies[1].backend_slot: there is no such key"},
		{"wrong kind", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","min":"0"}]}]}`, `policies[0].params[0].min: want a number, got the text "0"`},
		{"not a list", `{"abi":1,"policies":{"name":"a"}}`, "policies: want a list"},
		{"not an object", `[]`, "the whole: want an object"},
		{"half a slot", `{"abi":1,"policies":[{"name":"a","service_slots":0.5}]}`, "policies[0].service_slots: want a whole number, got 0.5"},
		{"more behind", `{"abi":1,"policies":[{"name":"a"}]} {`, "at byte"},
		{"metrics", `{"abi":1,"policies":[{"name":"a","metrics":["queue_depth","2nd"],"state_version":7}]}`, ""},
		{"metric's name", `{"abi":1,"policies":[{"name":"a","metrics":["queue-depth"]}]}`, `metric "queue-depth": want`},
		{"metric twice", `{"abi":1,"policies":[{"name":"a","metrics":["x","x"]}]}`, `metric "x" is there twice`},
		{"metrics without end", `{"abi":1,"policies":[{"name":"a","metrics":[` + strings.Repeat(`"x",`, 16) + `"x"]}]}`, "17 custom metrics: at most 16"},
		{"state of the past", `{"abi":1,"policies":[{"name":"a","state_version":-1}]}`, "state version -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := abi.ParseManifest([]byte(tt.text))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"abi":1,"policies":[{"name":"a","params":[{"name":"x","default":1,"min":0,"max":2}],"backend_slots":3}]}`))
	f.Add([]byte(`{"abi":1,"policies":[{"name":"a","params":[{"name":"x","type":"boolean","default":true}],"metrics":["m"],"state_version":1,"reads":[]}]}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := abi.ParseManifest(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := abi.ParseManifest(text); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%s:\n%+v\n%+v, %v", text, m, again, err)
		}
		for _, p := range m.Policies {
			v, err := p.Values(nil)
			if err != nil || len(v) != len(p.Params) {
				t.Errorf("%+v: %v, %v", p, v, err)
			}
		}
	})
}

// FuzzDecode gives any bytes as the answer of a policy: what passes is finite,
// not negative or Hold, and not all zero.
func FuzzDecode(f *testing.F) {
	s, fr := sample()
	buf, err := abi.Encode(nil, s, fr)
	if err != nil {
		f.Fatal(err)
	}
	part := bytes.Clone(buf[abi.AnswerOffset(buf):])
	f.Add(part)
	f.Add(append(part[:len(part)-8:len(part)-8], 1, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := abi.Decode(b, s, fr)
		if err != nil {
			return
		}
		sum := 0.0
		for _, w := range a.Weights {
			if w != core.Hold && (w < 0 || w > abi.MaxWeight) {
				t.Errorf("weight %g", w)
			}
			sum += math.Abs(w)
		}
		if sum == 0 {
			t.Error("all zero while a backend is up")
		}
	})
}

func TestValues(t *testing.T) {
	m, err := abi.ParseManifest([]byte(`{"abi":1,"policies":[{"name":"a","params":[
		{"name":"ratio","default":0.25,"min":0,"max":1},{"name":"count","type":"integer","default":3,"min":1},{"name":"on","type":"boolean","default":true}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p := m.Policies[0]
	tests := []struct {
		name  string
		given map[string]float64
		want  []float64
		err   string
	}{
		{"nothing", nil, []float64{0.25, 3, 1}, ""},
		{"all", map[string]float64{"ratio": 1, "count": 7, "on": 0}, []float64{1, 7, 0}, ""},
		{"too much", map[string]float64{"ratio": 1.5}, nil, "parameter ratio of policy a is 1.5: want 0 to 1"},
		{"a part", map[string]float64{"count": 1.5}, nil, "is 1.5: want any whole number from 1 upward"},
		{"maybe", map[string]float64{"on": 0.5}, nil, "is 0.5: want true or false"},
		{"no number", map[string]float64{"ratio": math.NaN()}, nil, "is NaN: want"},
		{"another", map[string]float64{"rate": 1}, nil, "has no parameter rate: it has ratio, count, on"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := p.Values(tt.given)
			if !slices.Equal(got, tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, %v; want %v, %q", got, err, tt.want, tt.err)
			}
		})
	}
}
