// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/abi/layout"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/tools"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

const root = "../.."

// TestEveryFieldInEveryLanguage lets a guest in each language, built by its real
// compiler, compare every field of the golden snapshot with what the host wrote,
// and answer through its SDK.
func TestEveryFieldInEveryLanguage(t *testing.T) {
	in, err := layout.ReadGolden("testdata/snapshot-v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []struct {
		name  string
		build func(*testing.T, []byte) string
	}{{"c", buildC}, {"rust", buildRust}, {"assemblyscript", buildAssemblyScript}, {"go", buildGo}} {
		t.Run(l.name, func(t *testing.T) {
			code, err := os.ReadFile(l.build(t, in))
			if err != nil {
				t.Fatal(err)
			}
			m, err := wasm.Load(t.Context(), code)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close(t.Context())
			checkGoldenManifest(t, m.Manifest())
			got, err := m.Call(t.Context(), nil, in)
			if err != nil {
				t.Fatal(err)
			}
			checkGoldenAnswer(t, got)
			// A field that lies elsewhere must be noticed: of another snapshot the
			// guest refuses every byte that is a field.
			checkNotices(t, m, in)
			checkEntries(t, m, in, l.name == "c")
			if _, err := m.Call(t.Context(), nil, in); err != nil {
				t.Errorf("after the refusals: %v", err)
			}
		})
	}
}

// walkedBy are the fields that the host or an SDK goes by: another value is refused
// for another reason, or leads outside.
var walkedBy = strings.Fields("magic major total_size n stride records_off out_off service_state_off service_state_len " +
	"backend_state_off backend_state_stride params_off n_params entry n_custom custom_dir_off")

// checkNotices changes each other field of the header and of the first record, and
// expects the guest to refuse the snapshot.
func checkNotices(t *testing.T, m *wasm.Module, in []byte) {
	t.Helper()
	v := layout.View{B: in}
	for _, s := range []struct {
		layout.Struct
		at int
	}{{layout.Header, 0}, {layout.Backend, v.Header("records_off")}} {
		for _, f := range s.Fields {
			if f.Type.Reserved() || slices.Contains(walkedBy, f.Name) {
				continue
			}
			changed := bytes.Clone(in)
			changed[s.at+f.Off+f.Type.Size()-1] ^= 0x20
			if _, err := m.Call(t.Context(), nil, changed); err == nil {
				t.Errorf("%s.%s was changed, and the guest did not see it", s.Name, f.Name)
			}
		}
	}
}

// checkEntries asks the first policy of the module, which refuses every call, and
// one that there is not. The C header leaves the entry to the author.
func checkEntries(t *testing.T, m *wasm.Module, in []byte, one bool) {
	t.Helper()
	for entry, cause := range map[byte]string{0: "the wrong entry", 9: ""} {
		other := bytes.Clone(in)
		other[abi.OffEntry] = entry
		_, err := m.Call(t.Context(), nil, other)
		if err == nil || !one && !strings.Contains(err.Error(), cause) {
			t.Errorf("entry %d: got %v, want %q", entry, err, cause)
		}
	}
}

func checkGoldenManifest(t *testing.T, text []byte) {
	t.Helper()
	m, err := abi.ParseManifest(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(m.Policies) != 4 {
		t.Fatalf("%d policies, want 4:\n%s", len(m.Policies), text)
	}
	p := m.Policies[3]
	got := []any{p.Name, p.About, p.BackendSlots, p.ServiceSlots, p.StateVersion, p.Reads, p.Metrics, len(p.Params), p.Params[1].Type, p.Params[1].Default}
	want := []any{"golden", `isn't "quoted" well: µ`, 2, 1, 1, []string{"cpu", "cores"},
		[]string{"temperature", "queue_depth", "nobody_has_it"}, 2, abi.TypeBoolean, 1.0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func checkGoldenAnswer(t *testing.T, part []byte) {
	t.Helper()
	s, f := sample()
	got, err := abi.Decode(part, s, f)
	if err != nil {
		t.Fatal(err)
	}
	one := []byte{0, 0, 0, 0, 0, 0, 0xF0, 0x3F}
	want := abi.Answer{Service: one, Weights: []float64{abi.MaxWeight, core.Hold},
		Backend: [][]byte{[]byte("backend1backend2"), append(make([]byte, 8), one...)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// A spelling is how a language reads a field: of the header, of record i, of
// directory entry k.
type spelling struct {
	header, backend, metric string // fmt: index, field
	field                   func(layout.Field) string
	value                   map[layout.Type]string // fmt around the expression; integers are "int"
	call                    string                 // fmt: name, value, wanted bits
}

// fill writes the checks of every field into a guest's source.
func (sp spelling) fill(t *testing.T, file string, in []byte) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata/guests", file))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	add := func(s layout.Struct, at int, of, name string) {
		v := layout.View{B: in}
		for _, f := range s.Fields {
			if f.Type.Reserved() {
				continue
			}
			around := sp.value[f.Type]
			if around == "" {
				around = sp.value["int"]
			}
			value := fmt.Sprintf(around, of+sp.field(f))
			lines = append(lines, fmt.Sprintf(sp.call, name+f.Name, value, v.Bits(at+f.Off, f.Type)))
		}
	}
	v := layout.View{B: in}
	add(layout.Header, 0, sp.header, "header.")
	for i := range v.Header("n") {
		add(layout.Backend, v.Header("records_off")+i*v.Header("stride"), fmt.Sprintf(sp.backend, i), fmt.Sprintf("backend[%d].", i))
	}
	for k := range v.Header("n_custom") {
		add(layout.Metric, v.Header("custom_dir_off")+k*layout.Metric.Size, fmt.Sprintf(sp.metric, k), fmt.Sprintf("metric[%d].", k))
	}
	return strings.Replace(string(source), "@FIELDS@", strings.Join(lines, "\n    "), 1)
}

func buildC(t *testing.T, in []byte) string {
	tools.Need(t, "clang", "wasm-ld")
	sp := spelling{header: "s->", backend: "sy_at(s, %d)->", metric: "sy_metric_at(s, %d)->",
		field: func(f layout.Field) string { return f.Name },
		value: map[layout.Type]string{"int": "%s", layout.I32: "(uint32_t)%s", layout.F64: "bits64(%s)", layout.F32: "bits32(%s)",
			layout.Char4: "*(const uint32_t *)%s"},
		call: `same("%s", %s, %#xull);`}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "golden.c"), sp.fill(t, "golden.c.txt", in))
	run(t, dir, "clang", "--target=wasm32", "-O2", "-nostdlib", "-ffreestanding", "-Wall", "-Wextra", "-Werror", "-I", abs(t, "sdk/c"),
		"-Wl,--no-entry,--strip-all", "-o", "golden.wasm", "golden.c")
	return filepath.Join(dir, "golden.wasm")
}

func buildRust(t *testing.T, in []byte) string {
	rustc := tools.Rustc(t)
	sp := spelling{header: "h.", backend: "backend(s, %d).", metric: "metric(h, %d).",
		field: func(f layout.Field) string { return f.Name },
		value: map[layout.Type]string{"int": "%s as u64", layout.I32: "%s as u32 as u64", layout.F64: "%s.to_bits()",
			layout.F32: "%s.to_bits() as u64", layout.Char4: "u32::from_le_bytes(%s) as u64"},
		call: `same("%s", %s, %#x);`}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "golden.rs"), sp.fill(t, "golden.rs.txt", in))
	args := []string{"--edition", "2021", "--target", "wasm32-unknown-unknown", "-O", "-C", "panic=abort"}
	run(t, dir, rustc, append(args, "--crate-type", "rlib", "--crate-name", "steelyard", "-o", "libsteelyard.rlib", abs(t, "sdk/rust/src/lib.rs"))...)
	run(t, dir, rustc, append(args, "--crate-type", "cdylib", "-C", "lto", "-C", "strip=symbols",
		"--extern", "steelyard=libsteelyard.rlib", "-o", "golden.wasm", "golden.rs")...)
	return filepath.Join(dir, "golden.wasm")
}

func buildAssemblyScript(t *testing.T, in []byte) string {
	asc := tools.ASC(t)
	sp := spelling{header: "h.", backend: "backend(s, %d).", metric: "metric(s, %d).",
		field: func(f layout.Field) string {
			name := camel(f.Name)
			if f.Raw {
				name = "_" + name
			}
			return name
		},
		value: map[layout.Type]string{"int": "<u64>%s", layout.I32: "(<u64>%s & 0xffffffff)", layout.F64: "reinterpret<u64>(%s)",
			layout.F32: "<u64>reinterpret<u32>(%s)"},
		call: `same("%s", %s, %#x);`}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "sdk/assembly"), os.DirFS(abs(t, "sdk/assemblyscript/assembly"))); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "golden.ts"), sp.fill(t, "golden.ts.txt", in))
	run(t, dir, asc, "golden.ts", "-O", "--runtime", "stub", "-o", "golden.wasm")
	return filepath.Join(dir, "golden.wasm")
}

// buildGo also runs the program on this machine.
func buildGo(t *testing.T, in []byte) string {
	sp := spelling{header: "h.", backend: "s.Backend(%d).", metric: "metricAt(s.h, s.base, %d).",
		field: func(f layout.Field) string { return strings.Replace(camel(f.Name), "serviceId", "serviceID", 1) },
		value: map[layout.Type]string{"int": "uint64(%s)", layout.I32: "uint64(uint32(%s))", layout.F64: "f64(%s)",
			layout.F32: "uint64(f32(%s))", layout.Char4: "uint64(le(%s))"},
		call: `same("%s", %s, %#x)`}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.org/golden\n\ngo 1.24\n")
	copyPolicy(t, filepath.Join(dir, "policy"))
	write(t, filepath.Join(dir, "policy/fields.go"), sp.fill(t, "fields.go.txt", in))
	main, err := os.ReadFile("testdata/guests/golden.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "main.go"), string(main))
	snapshot := filepath.Join(dir, "snapshot")
	write(t, snapshot, string(in))
	got := run(t, dir, "go", "run", ".", snapshot)
	checkGoldenAnswer(t, got[abi.AnswerOffset(in):])
	run(t, dir, "env", "GOOS=wasip1", "GOARCH=wasm", "go", "build", "-buildmode=c-shared", "-o", "golden.wasm", ".")
	return filepath.Join(dir, "golden.wasm")
}
