// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// testTargets are n keys that look like those of a data centre: addresses in a row, few
// ports and probes.
func testTargets(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 9), byte(i >> 1)}), uint16(80+i%2*363))
		out[i] = TargetKey(addr, "http")
	}
	return out
}

func testNodes(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("lb%d", i+1)
	}
	return out
}

// owners are the first choices of keys.
func owners(r Rendezvous, keys []uint64) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = r.Rank(k, 1)[0]
	}
	return out
}

func TestRendezvousBalance(t *testing.T) {
	keys := testTargets(16000)
	for n := 3; n <= 20; n++ {
		count := map[string]int{}
		for _, o := range owners(NewRendezvous(testNodes(n)), keys) {
			count[o]++
		}
		fair := float64(len(keys)) / float64(n)
		// Four standard deviations of a fair draw are 14 % with 20 nodes, and 3 % with 3.
		for node, got := range count {
			if off := float64(got)/fair - 1; off > 0.14 || off < -0.14 {
				t.Errorf("%d nodes: %s has %d of %d targets, which is %+.0f %% off", n, node, got, len(keys), 100*off)
			}
		}
	}
}

func TestRendezvousMovesTheLeast(t *testing.T) {
	keys := testTargets(4000)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 20).Draw(t, "nodes")
		nodes := testNodes(n)
		lost := rapid.SampledFrom(nodes).Draw(t, "lost")
		all := owners(NewRendezvous(nodes), keys)
		rest := owners(NewRendezvous(slices.DeleteFunc(slices.Clone(nodes), func(s string) bool { return s == lost })), keys)
		moved := 0
		for i := range keys {
			if all[i] == rest[i] {
				continue
			}
			if moved++; all[i] != lost {
				t.Fatalf("without %s a target moves from %s to %s", lost, all[i], rest[i])
			}
		}
		if fair := len(keys) / n; moved < fair*7/10 || moved > fair*13/10 {
			t.Errorf("with %s, one of %d, came or went %d of %d targets", lost, n, moved, len(keys))
		}
	})
}

func TestRendezvousOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := testNodes(rapid.IntRange(1, 20).Draw(t, "nodes"))
		key := rapid.Uint64().Draw(t, "key")
		want := NewRendezvous(nodes).Rank(key, len(nodes)+1)
		shuffled := append(slices.Clone(nodes), nodes[0])
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		r := NewRendezvous(shuffled)
		if diff := cmp.Diff(want, r.Rank(key, len(nodes))); diff != "" {
			t.Errorf("the order depends on that of the list (-want +got):\n%s", diff)
		}
		for place, node := range want {
			if got := r.Place(node, key); got != place {
				t.Errorf("place of %s: %d, and in the rank it is %d", node, got, place)
			}
			for k := range len(want) + 2 {
				if got := r.Among(r.Index(node), key, k); got != (place < k) {
					t.Errorf("%s is among the first %d: %v, and its place is %d", node, k, got, place)
				}
			}
		}
	})
}

func TestRendezvousUnknown(t *testing.T) {
	if got := NewRendezvous([]string{"lb1"}).Place("lb2", 1); got != -1 {
		t.Errorf("place of a node that is not there: %d, want -1", got)
	}
	if r := NewRendezvous([]string{"lb1"}); r.Among(r.Index("lb2"), 1, 3) {
		t.Error("a node that is not there is among the first")
	}
	if got := (Rendezvous{}).Rank(1, 3); len(got) != 0 {
		t.Errorf("rank of nobody: %v", got)
	}
}

// TestTargetKeyForms: an address is the same one in both of its forms.
func TestTargetKeyForms(t *testing.T) {
	four, mapped := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[::ffff:192.0.2.1]:80")
	if TargetKey(four, "http") != TargetKey(mapped, "http") {
		t.Errorf("%v and %v have different keys", four, mapped)
	}
	if TargetKey(four, "http") == TargetKey(four, "tcp") {
		t.Error("two probes of an address have one key")
	}
}

// TestKeysStay: nodes of different versions must agree, so the functions may not change.
func TestKeysStay(t *testing.T) {
	got := []any{
		KeyOf("web"), TargetKey(netip.MustParseAddrPort("192.0.2.1:80"), "http"),
		NewRendezvous(testNodes(5)).Rank(KeyOf("web"), 5),
	}
	want := []any{uint64(14434300961556231667), uint64(12027220629890436217), []string{"lb2", "lb3", "lb5", "lb1", "lb4"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys have changed (-want +got):\n%s", diff)
	}
}

// BenchmarkRendezvous deals 32,000 targets out to 20 nodes, as at a change of members.
func BenchmarkRendezvous(b *testing.B) {
	nodes := testNodes(20)
	addrs := make([]netip.AddrPort, 32000)
	for i := range addrs {
		addrs[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := NewRendezvous(nodes)
		mine, own := 0, r.Index("lb7")
		for _, a := range addrs {
			if r.Among(own, TargetKey(a, "http"), 1) {
				mine++
			}
		}
		if mine == 0 {
			b.Fatal("nothing is dealt")
		}
	}
}
