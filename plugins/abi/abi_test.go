// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math"
	"os"
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
	s := &core.Snapshot{
		Service: "web", ID: 0x1122334455667788, Seq: 42, Now: time.Unix(1_700_000_000, 5), Since: 1500 * time.Millisecond,
		Backends: []core.BackendInput{{
			ID: 0xA1A2A3A4A5A6A7A8, Name: "web1", Weight: 100, Health: core.Up, Since: 90 * time.Second, Share: 0.25, CPUSeq: 7,
			CPU: known(0.5, 2*time.Second, 5*time.Second), Cores: known(8, 0, 0), Response: known(0.0125, 3*time.Second, 0),
			Conns: known(1234, 250*time.Millisecond, 0), New: known(10.5, 0, 0), Done: known(9.25, 0, 0),
		}, {ID: 2, Name: "web2", Weight: 1, Health: core.Down}},
	}
	return s, abi.Frame{Entry: 3, Params: []float64{0.3, math.NaN()}, BackendSlots: 2, ServiceSlots: 1,
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
		Name: "reads", BackendSlots: 2, ServiceSlots: 1,
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
		{"not json", `{`, "unexpected EOF"},
		{"other abi", `{"abi":2,"policies":[{"name":"a"}]}`, "abi is 2"},
		{"none", `{"abi":1}`, "0 policies"},
		{"bad name", `{"abi":1,"policies":[{"name":"A b"}]}`, "name: want"},
		{"twice", `{"abi":1,"policies":[{"name":"a"},{"name":"a"}]}`, "there twice"},
		{"greedy", `{"abi":1,"policies":[{"name":"a","backend_slots":65}]}`, "want 0 to 64"},
		{"negative", `{"abi":1,"policies":[{"name":"a","service_slots":-1}]}`, "want 0 to 64"},
		{"default", `{"abi":1,"policies":[{"name":"a","params":[{"name":"x","default":3,"min":0,"max":2}]}]}`, "default 3"},
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
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := abi.ParseManifest(b)
		if err != nil {
			return
		}
		for _, p := range m.Policies {
			if v, err := p.Values(nil); err != nil || len(v) != len(p.Params) {
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
