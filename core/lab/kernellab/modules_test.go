// SPDX-License-Identifier: Apache-2.0

package kernellab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrderOfModules(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"nf-tables.ko", "nft_ct.ko.xz", "nf_conntrack.ko", "libcrc.ko", "other.ko", "README"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := OpenModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{
		"nft_ct.ko.xz":    {"nf_tables", "nf_conntrack"},
		"nf_conntrack.ko": {"libcrc", "built_in"},
		"nf-tables.ko":    {"libcrc"},
	}
	tree.depends = func(file string) ([]string, error) { return needs[filepath.Base(file)], nil }

	tests := []struct {
		name   string
		wanted []string
		want   []string
	}{
		{"what is needed comes before", []string{"nft_ct"}, []string{"libcrc.ko", "nf-tables.ko", "nf_conntrack.ko", "nft_ct.ko.xz"}},
		{"each once", []string{"libcrc", "nf_*", "nf_tables"}, []string{"libcrc.ko", "nf_conntrack.ko", "nf-tables.ko"}},
		{"what is not there is left out", []string{"nothing", "other"}, []string{"other.ko"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files, err := tree.Order(tt.wanted)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files {
				got = append(got, filepath.Base(f))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("order (-want +got):\n%s", d)
			}
		})
	}
	if _, err := tree.Order([]string{"["}); err == nil {
		t.Error("a bad pattern is no error")
	}
	tree.depends = func(string) ([]string, error) { return nil, fmt.Errorf("torn") }
	if _, err := tree.Order([]string{"other"}); err == nil {
		t.Error("a module that cannot be read is no error")
	}
}

func TestParseModinfo(t *testing.T) {
	got := parseModinfo([]byte("license=GPL\x00depends=nf-nat,nf_conntrack\x00softdep=pre: crc32c aes\x00softdep=post: x\x00depends=\x00"))
	if d := cmp.Diff([]string{"nf_nat", "nf_conntrack", "crc32c", "aes"}, got); d != "" {
		t.Errorf("needs (-want +got):\n%s", d)
	}
}
