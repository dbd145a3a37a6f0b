// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// loaded is an Applier that carries n services of 16 backends, in a namespace
// of its own.
func loaded(b *testing.B, n int) (*Applier, core.Plan) {
	newNetns(b)
	a := open(b, Config{})
	plan := manyServices(n, 16)
	mustSync(b, a, plan)
	return a, plan
}

// shift gives the i-th visit to a service other weights than the one before:
// every boundary but the first and the last moves.
func shift(s *core.ServicePlan, i int) {
	n := len(s.Backends)
	for j := range n {
		s.Backends[j].Slots = core.Slots / uint32(n)
	}
	s.Backends[0].Slots -= uint32(i%100 + 1)
	s.Backends[n-1].Slots += uint32(i%100 + 1)
}

func reportP50(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// benchmarkReweight re-weights k of 1,000 services at once, read-back included.
func benchmarkReweight(b *testing.B, k int) {
	a, plan := loaded(b, 1000)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		at := i * k % len(plan.Services)
		list := plan.Services[at : at+k]
		for j := range list {
			shift(&list[j], i*k/len(plan.Services))
		}
		began := time.Now()
		if _, err := a.Reweight(context.Background(), list); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	reportP50(b, took)
}

func BenchmarkReweight1of1000x16(b *testing.B) { benchmarkReweight(b, 1) }
func BenchmarkReweightAll1000x16(b *testing.B) { benchmarkReweight(b, 1000) }

// benchmarkStart times the first Sync of n services: into an empty kernel, or
// after the adoption of the table that an earlier life left.
func benchmarkStart(b *testing.B, n int, adopt bool) {
	var took []time.Duration
	plan := manyServices(n, 16)
	for b.Loop() {
		b.StopTimer()
		newNetns(b)
		a := open(b, Config{})
		if adopt {
			mustSync(b, a, plan)
			if err := a.Close(); err != nil {
				b.Fatal(err)
			}
			a = open(b, Config{})
		}
		b.StartTimer()
		began := time.Now()
		if _, ok, err := a.Adopt(context.Background()); err != nil || ok != adopt {
			b.Fatal(ok, err)
		}
		mustSync(b, a, plan)
		took = append(took, time.Since(began))
	}
	reportP50(b, took)
}

func BenchmarkStartCold1000x16(b *testing.B)  { benchmarkStart(b, 1000, false) }
func BenchmarkStartAdopt1000x16(b *testing.B) { benchmarkStart(b, 1000, true) }

func BenchmarkStartCold10000x16(b *testing.B)  { benchmarkStart(b, 10000, false) }
func BenchmarkStartAdopt10000x16(b *testing.B) { benchmarkStart(b, 10000, true) }

func BenchmarkCounters1000x16(b *testing.B) {
	a, _ := loaded(b, 1000)
	for b.Loop() {
		if _, err := a.Counters(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
