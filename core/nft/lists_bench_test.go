// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// someNetworks are n networks of /24 as a list of abusers has them: sorted, and
// few of them neighbours.
func someNetworks(n int) []netip.Prefix {
	random := rand.New(rand.NewPCG(1, 2))
	seen := make(map[uint32]bool, n)
	for len(seen) < n {
		seen[random.Uint32N(1<<24)] = true
	}
	list := make([]netip.Prefix, 0, n)
	for v := range seen {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 16), byte(v >> 8), byte(v)}), 24))
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return list
}

func denying(list []netip.Prefix) core.Plan {
	return plan(with(service("web", "192.0.2.10:80", core.TCP, backend("b", "198.51.100.1:80", core.Slots)),
		func(t *core.Traffic) { t.Deny = list }))
}

// cpuTime is what the process has used of the processors, in the kernel too.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLists loads lists, replaces a hundredth of them, and starts again over
// them.
func BenchmarkLists(b *testing.B) {
	var used time.Duration // of processors, in what is timed
	for _, n := range []int{10_000, 100_000} {
		all := someNetworks(n + n/100)
		// Both lack a hundredth, of which the other has all.
		without := func(rest int) (list []netip.Prefix) {
			for i, p := range all {
				if i%101 != rest {
					list = append(list, p)
				}
			}
			return list
		}
		one, other := denying(without(0)), denying(without(50))
		report := func(b *testing.B, run func(a *Applier) time.Duration) {
			var took []time.Duration
			used = 0
			for b.Loop() {
				newNetns(b)
				a := open(b, Config{})
				took = append(took, run(a))
				a.Close()
			}
			reportP50(b, took)
			b.ReportMetric(float64(used.Milliseconds())/float64(len(took)), "cpu-ms")
		}
		timed := func(f func()) time.Duration {
			began, cpu := time.Now(), cpuTime(b)
			f()
			used += cpuTime(b) - cpu
			return time.Since(began)
		}
		b.Run(fmt.Sprintf("load%d", n), func(b *testing.B) {
			report(b, func(a *Applier) time.Duration { return timed(func() { mustSync(b, a, one) }) })
		})
		b.Run(fmt.Sprintf("reload%d", n), func(b *testing.B) {
			report(b, func(a *Applier) time.Duration {
				mustSync(b, a, one)
				return timed(func() {
					if c := mustSync(b, a, other); c.Changed == 0 || c.Changed > n/20 {
						b.Fatalf("%d elements changed", c.Changed)
					}
				})
			})
		})
		b.Run(fmt.Sprintf("reweight%d", n), func(b *testing.B) {
			report(b, func(a *Applier) time.Duration {
				mustSync(b, a, one)
				s := one.Services[0]
				s.Backends = []core.BackendPlan{s.Backends[0]}
				s.Backends[0].Slots = 0
				return timed(func() {
					if _, err := a.Reweight(context.Background(), []core.ServicePlan{s}); err != nil {
						b.Fatal(err)
					}
				})
			})
		})
		b.Run(fmt.Sprintf("adopt%d", n), func(b *testing.B) {
			report(b, func(a *Applier) time.Duration {
				mustSync(b, a, one)
				a.Close()
				next := open(b, Config{})
				return timed(func() {
					if _, ok, err := next.Adopt(context.Background()); err != nil || !ok {
						b.Fatal(ok, err)
					}
					if c := mustSync(b, next, one); c.Changed != 0 {
						b.Fatalf("%d elements changed", c.Changed)
					}
					next.Close()
				})
			})
		})
	}
}
