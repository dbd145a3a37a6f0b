// SPDX-License-Identifier: Apache-2.0

package layout_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/plugins/abi/layout"
)

// TestGenerated compares every generated file with what the generator writes.
func TestGenerated(t *testing.T) {
	const root = "../../.."
	files, err := layout.Generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
			t.Errorf("%s is not what the layout says; run: make layout\n(-want +got)\n%s", path, diff)
		}
	}
}

// minor0 is what ABI 1.0 had, written down once and for ever: offset, type, name.
const minor0 = `
header 128
0 char[4] magic · 4 u16 major · 6 u16 minor · 8 u32 header_size · 12 u32 total_size · 16 u64 service_id · 24 u64 seq
32 i64 unix_nano · 40 f64 seconds · 48 u32 n · 52 u32 stride · 56 u32 records_off · 60 u32 out_off
64 u32 service_state_off · 68 u32 service_state_len · 72 u32 backend_state_off · 76 u32 backend_state_stride
80 u32 params_off · 84 u32 n_params · 88 u32 entry · 104 u64 seed
backend 96
0 u64 id · 8 u32 weight · 12 u32 share · 16 u8 health · 17 u8 flags · 18 u16 valid · 20 u32 connections · 24 f64 cpu
32 f64 response · 40 f64 opened · 48 f64 closed · 56 f64 cores · 64 f32 cpu_age · 68 f32 response_age
72 f32 connections_age · 76 f32 health_seconds · 80 f32 cpu_window · 84 u32 cpu_seq
`

// minor1 is what ABI 1.1 added.
const minor1 = `
header 128
92 u32 n_custom · 96 u32 custom_dir_off · 100 i32 utc_offset
metric 24
0 u32 hash · 4 u32 name_off · 8 u32 name_len · 12 u32 values_off · 16 u32 ages_off
`

// TestNothingMoved: fields of a minor version that is out stay what they are.
func TestNothingMoved(t *testing.T) {
	for since, text := range []string{minor0, minor1} {
		var got, want []string
		for _, s := range layout.Structs {
			for _, f := range s.Fields {
				if f.Since == since && !f.Type.Reserved() {
					got = append(got, fmt.Sprintf("%s %d %s %s", s.Name, f.Off, f.Type, f.Name))
				}
			}
		}
		block := ""
		for l := range strings.Lines(strings.TrimSpace(text)) {
			if words := strings.Fields(l); len(words) == 2 {
				block = words[0]
				continue
			}
			for field := range strings.SplitSeq(strings.TrimSpace(l), " · ") {
				want = append(want, block+" "+field)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("minor %d (-was +is):\n%s", since, diff)
		}
	}
	if layout.Header.Size < 128 || layout.Backend.Size < 96 || layout.Metric.Size != 24 {
		t.Error("a struct shrank, or the entries of the directory, whose size guests do not read, grew")
	}
}
