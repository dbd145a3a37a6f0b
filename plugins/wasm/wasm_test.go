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

// TestAssemblyScriptAbort: what a program of AssemblyScript says with env.abort is
// the cause of its error.
func TestAssemblyScriptAbort(t *testing.T) {
	m, in := load(t, "asabort"), golden(t)
	_, err := m.Call(t.Context(), nil, in)
	if err == nil || !strings.Contains(err.Error(), "the policy aborted: too hot at p.ts:2:7") {
		t.Errorf("got %v", err)
	}
}

// FuzzDescribe gives any bytes as a module.
func FuzzDescribe(f *testing.F) {
	for _, name := range []string{"count", "escape", "hostile/silent", "hostile/tablegrowth"} {
		code, err := os.ReadFile(filepath.Join("../testdata", name+".wasm"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := wasm.Describe(b)
		if len(d.Imports)+len(d.Exports)+len(d.Sections) > len(b) || d.CodeBytes > len(b) {
			t.Errorf("more in %d bytes than they can hold: %+v", len(b), d)
		}
	})
}

// TestGuestsMatchSource builds the guests of the tests again and compares.
func TestGuestsMatchSource(t *testing.T) {
	for _, tool := range []string{"clang", "wasm-ld", "go"} {
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
	files, err1 := filepath.Glob("../testdata/*.wasm")
	more, err2 := filepath.Glob("../testdata/hostile/*.wasm")
	if err1 != nil || err2 != nil || len(files) == 0 || len(more) == 0 {
		t.Fatal(files, more, err1, err2)
	}
	for _, file := range append(files, more...) {
		want, err1 := os.ReadFile(file)
		got, err2 := os.ReadFile(filepath.Join(root, "plugins", strings.TrimPrefix(file, "../")))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source builds with this clang: run build.sh", file)
		}
	}
}

// TestNoPage: a module whose memory may never have a page is loaded and finds no
// room for a snapshot.
func TestNoPage(t *testing.T) {
	m, err := wasm.Load(t.Context(), []byte("\x00asm\x01\x00\x00\x00"+
		"\x01\x10\x03\x60\x00\x01\x7f\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7f"+ // types
		"\x03\x04\x03\x00\x01\x02"+ // functions
		"\x05\x04\x01\x01\x00\x00"+ // a memory of 0 to 0 pages
		"\x07\x2f\x04\x06memory\x02\x00\x09sy_abi_v1\x00\x00\x08sy_alloc\x00\x01\x0bsy_schedule\x00\x02"+
		"\x0a\x10\x03\x04\x00\x41\x00\x0b\x04\x00\x41\x08\x0b\x04\x00\x41\x00\x0b")) // they answer 0, 8 and 0
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close(t.Context()) }() // as in load
	if _, err := m.Call(t.Context(), nil, golden(t)); err == nil || !strings.Contains(err.Error(), "outside the memory") {
		t.Errorf("got %v", err)
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
