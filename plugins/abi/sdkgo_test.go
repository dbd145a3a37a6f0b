// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// reader reads all that the golden snapshot has, and keeps state.
func reader() policy.Policy {
	names := []string{"temperature", "queue_depth", "nobody_has_it"}
	return policy.Policy{Name: "reader", BackendSlots: 2, ServiceSlots: 1, Metrics: names,
		Params: []policy.Param{{Name: "x", Default: 1}, {Name: "y", Default: 1}},
		Schedule: func(s *policy.Snapshot) error {
			sum := s.Param("x") + s.Param("y") + float64(s.UTCOffset())
			s.ServiceState()[0]++
			for _, name := range names {
				m := s.Metric(name)
				for i := range s.Len() {
					if v, ok := m.At(i); ok {
						sum += v + m.Age(i)
					}
				}
			}
			for i := range s.Len() {
				s.BackendState(i)[1] += sum
				s.SetWeight(i, s.Backend(i).Weight()+1)
			}
			return nil
		}}
}

func TestGoSDKAllocatesNothing(t *testing.T) {
	s, f := sample()
	buf, err := abi.Encode(nil, s, f)
	if err != nil {
		t.Fatal(err)
	}
	p := reader()
	if got := testing.AllocsPerRun(100, func() { err = p.Run(buf) }); got != 0 || err != nil {
		t.Errorf("%g allocations per call and error %v, want neither", got, err)
	}
}

// FuzzGoSDK gives damaged snapshots to the Go SDK: it refuses them, and reads
// nothing outside. Run it with -race, whose checks of pointers see that.
func FuzzGoSDK(f *testing.F) {
	s, frame := sample()
	golden, err := abi.Encode(nil, s, frame)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(golden))
	for off := 8; off < abi.HeaderSize; off += 4 {
		for _, word := range []byte{0x7F, 0xFF} {
			damaged := bytes.Clone(golden)
			damaged[off], damaged[off+3] = word, word
			f.Add(damaged)
		}
	}
	p := reader()
	f.Fuzz(func(t *testing.T, b []byte) {
		aligned := make([]uint64, len(b)/8+1)
		mem := unsafeBytes(aligned)[:len(b)]
		copy(mem, b)
		if err := p.Run(mem); err == nil && len(b) < abi.HeaderSize {
			t.Error("it took less than a header")
		}
	})
}

// TestManifestOfDocs: the example in docs/abi.md is a manifest.
func TestManifestOfDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```json\n")
	example, _, ok := strings.Cut(rest, "```\n")
	m, err := abi.ParseManifest([]byte(example))
	if !ok || err != nil || len(m.Policies) != 1 || len(m.Policies[0].Params) != 2 || m.Policies[0].Metrics[0] != "queue_depth" {
		t.Errorf("%+v, %v", m, err)
	}
}

func unsafeBytes(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
}
