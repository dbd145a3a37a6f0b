// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLayerDir(t *testing.T) {
	d := LayerDir{filepath.Join(t.TempDir(), "definitions")}
	if rev, layer, err := d.Good(); rev != 0 || layer != "" || err != nil {
		t.Fatalf("of nothing: %d, %q, %v", rev, layer, err)
	}
	const lua = "function schedule(s) return s.weight end"
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(lua)))
	yaml := []byte("policies: {mine: {path: ./files/" + sum + ", sha256: " + sum + "}}\nservices: {web: {vip: 192.0.2.10, port: 80, policy: mine, backends: {web1: {address: 10.0.0.11}}}}\n")
	first, err := d.Write(7, yaml, map[string][]byte{sum: []byte(lua)})
	if err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(main, []byte(node), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, Options{Path: main, Layers: []string{first}, ShippedPolicies: shipped})
	if got := cfg.Policies[0].Path; got != filepath.Join(filepath.Dir(first), FilesDir, sum) {
		t.Errorf("the policy is at %s", got)
	}
	if rev, _, _ := d.Good(); rev != 0 {
		t.Errorf("revision %d is good before it was accepted", rev)
	}
	if err := d.Accept(first); err != nil {
		t.Fatal(err)
	}
	second, err := d.Write(8, []byte("services: {}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if rev, layer, err := d.Good(); rev != 7 || layer != first || err != nil {
		t.Errorf("good: %d, %q, %v; want 7, %q", rev, layer, err, first)
	}
	if err := d.Accept(second); err != nil {
		t.Fatal(err)
	}
	if rev, layer, _ := d.Good(); rev != 8 || layer != second {
		t.Errorf("good: %d, %q; want 8, %q", rev, layer, second)
	}
	if _, err := os.Stat(first); !os.IsNotExist(err) {
		t.Errorf("revision 7 is still there: %v", err)
	}
	// A store that was set up anew counts from 1 again.
	third, err := d.Write(8, []byte("services:\n"), nil)
	if err != nil || third == second {
		t.Errorf("another revision 8 is at %q, %v", third, err)
	}
	if again, err := d.Write(8, []byte("services:\n"), nil); err != nil || again != third {
		t.Errorf("the same once more is at %q, %v", again, err)
	}
}

// What a failing disk has made of a revision is written anew.
func TestLayerDirDamaged(t *testing.T) {
	d := LayerDir{filepath.Join(t.TempDir(), "definitions")}
	const lua, yaml = "function schedule(s) return s.weight end", "services: {}\n"
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(lua)))
	write := func() string {
		t.Helper()
		layer, err := d.Write(7, []byte(yaml), map[string][]byte{sum: []byte(lua)})
		if err != nil {
			t.Fatal(err)
		}
		return layer
	}
	layer := write()
	for path, want := range map[string]string{layer: yaml, filepath.Join(filepath.Dir(layer), FilesDir, sum): lua} {
		for _, damage := range []func() error{
			func() error { return os.WriteFile(path, nil, 0o600) },
			func() error { return os.Remove(path) },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); write() != layer || string(got) == want {
				t.Errorf("%s: not damaged: %q, %v", path, got, err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", path, got, err)
			}
		}
	}
}

// Nothing gets out of its directory, and half a revision is none.
func TestLayerDirRefuses(t *testing.T) {
	d := LayerDir{filepath.Join(t.TempDir(), "definitions")}
	for _, name := range []string{"../../evil", strings.Repeat("a", 64), ""} {
		if layer, err := d.Write(1, []byte("services: {}\n"), map[string][]byte{name: []byte("x")}); err == nil {
			t.Errorf("file %q was taken: %s", name, layer)
		}
	}
	left, err := os.ReadDir(d.Path)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.Symlink("../elsewhere", filepath.Join(d.Path, "good")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Good(); err == nil || !strings.Contains(err.Error(), "no revision") {
		t.Errorf("a link to elsewhere: %v", err)
	}
}
