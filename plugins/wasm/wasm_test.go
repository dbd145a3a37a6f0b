// SPDX-License-Identifier: Apache-2.0

package wasm_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

func load(t *testing.T, guest string) *wasm.Module {
	t.Helper()
	code, err := os.ReadFile(filepath.Join("../testdata", guest+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Load(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(t.Context()) }) // it only frees memory
	return m
}

// golden reads the snapshot that guards the layout.
func golden(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open("../abi/testdata/snapshot-v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []byte
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text()[8:58])
		b, err := hex.DecodeString(strings.Join(fields, ""))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// TestCHeaderReadsGolden lets a C policy compare sdk/c/steelyard.h with the
// golden snapshot, field by field.
func TestCHeaderReadsGolden(t *testing.T) {
	m, in := load(t, "layout"), golden(t)
	got, err := m.Call(t.Context(), nil, in)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(in[abi.AnswerOffset(in):])
	copy(want[len(want)-8:], "\x80\x84\x1e\x00\xfe\xff\xff\xff") // 2,000,000 and hold
	if !bytes.Equal(got, want) {
		t.Errorf("answer\n%x, want\n%x", got, want)
	}
}

// TestTrapCostsTheInstance: after a trap the same module answers again, and the
// instance that trapped is gone.
func TestTrapCostsTheInstance(t *testing.T) {
	m, in := load(t, "trap"), golden(t)
	for range 3 {
		if _, err := m.Call(t.Context(), nil, in); err == nil || !strings.Contains(err.Error(), "unreachable") {
			t.Fatalf("got %v, want a trap", err)
		}
	}
}

// TestGuestsMatchSource builds the guests of the tests again and compares.
func TestGuestsMatchSource(t *testing.T) {
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	root := t.TempDir()
	for _, dir := range []string{"plugins/testdata", "sdk/c"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join("../..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	version, err := exec.Command("clang", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", filepath.Join(root, "plugins/testdata/build.sh")).CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if !strings.Contains(string(version), "version 14.") {
		return // another clang writes other bytes; that the sources build is all to be known
	}
	files, err := filepath.Glob("../testdata/*.wasm")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		want, err1 := os.ReadFile(file)
		got, err2 := os.ReadFile(filepath.Join(root, "plugins/testdata", filepath.Base(file)))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source builds with this clang: run build.sh", file)
		}
	}
}

// FuzzCall gives any bytes as a snapshot: a guest may refuse or trap, the host
// may not.
func FuzzCall(f *testing.F) {
	code, err := os.ReadFile("../testdata/count.wasm")
	if err != nil {
		f.Fatal(err)
	}
	m, err := wasm.Load(f.Context(), code)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("SYD1"))
	f.Add(append([]byte("SYD1\x01\x00\x00\x00\x80\x00\x00\x00\x80\x00\x00\x00"), make([]byte, 112)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 52 {
			clear(b[50:52]) // at most 65535 backends: a guest's loop is no fault of the host
		}
		got, err := m.Call(t.Context(), nil, b)
		if err == nil && len(got) > len(b) {
			t.Errorf("%d bytes of answer in a snapshot of %d", len(got), len(b))
		}
	})
}
