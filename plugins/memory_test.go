// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// memoryBar is for the workers of three users' policies in three languages.
const memoryBar = 64 << 20

// threeLanguages are a C, a Go and a Lua policy.
func threeLanguages(t testing.TB) []core.PolicySpec {
	t.Helper()
	file := filepath.Join(t.TempDir(), "idle.wasm")
	buildGo(t, "testdata/count", file)
	return []core.PolicySpec{
		{Name: "in-c", Path: "testdata/count.wasm"},
		{Name: "in-go", Path: file},
		{Name: "in-lua", Path: "testdata/count.lua"},
	}
}

// TestWorkerMemory measures the workers of three policies in three languages, and
// of the shipped ones, after 1,000 calls of 16 backends each.
func TestWorkerMemory(t *testing.T) {
	h := newHost(t)
	if err := h.Load(t.Context(), threeLanguages(t)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		for _, p := range []string{"in-c", "in-go", "in-lua", "least-cpu"} {
			if r := h.Schedule(t.Context(), []core.Call{{Policy: p, Snapshot: busy("web")}})[0]; r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	all, users := memory{}, memory{}
	for _, p := range []string{"in-c", "in-go", "in-lua", "least-cpu"} {
		m := memoryOf(t, plugins.WorkerOf(h, p))
		t.Logf("%-10s %s", p, m)
		all.add(m)
		if p != "least-cpu" {
			users.add(m)
		}
	}
	t.Logf("%-10s %s", "three", users)
	t.Logf("%-10s %s", "all", all)
	if !raceEnabled && users.pss > memoryBar {
		t.Errorf("three policies in three languages take %s: more than %d MiB", users, memoryBar>>20)
	}
}

// memory is what a process holds, in bytes: resident, its part of it where pages
// are shared by so many, and what nobody shares.
type memory struct{ rss, pss, private int64 }

func (m *memory) add(o memory) { m.rss += o.rss; m.pss += o.pss; m.private += o.private }

func (m memory) String() string {
	mib := func(b int64) float64 { return float64(b) / (1 << 20) }
	return fmt.Sprintf("resident %.1f MiB, proportional %.1f, private %.1f", mib(m.rss), mib(m.pss), mib(m.private))
}

func memoryOf(t testing.TB, pid int) memory {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	var m memory
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		kb, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "Rss:":
			m.rss = kb << 10
		case "Pss:":
			m.pss = kb << 10
		case "Private_Clean:", "Private_Dirty:":
			m.private += kb << 10
		}
	}
	return m
}

// fairInThree is one policy in C, Go and Lua.
func fairInThree(t testing.TB) []core.PolicySpec {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fair.wasm")
	buildGo(t, "testdata/fair", file)
	return []core.PolicySpec{
		{Name: "fair-c", Path: "testdata/fair.wasm"},
		{Name: "fair-go", Path: file},
		{Name: "fair-lua", Path: "testdata/fair.lua"},
	}
}
