// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Sizes are the numbers of backends that Measure asks for.
var Sizes = []int{16, 64, 1000, 10_000}

// A Cost is what a policy costs with one number of backends. Times are in
// seconds; batched is a call's part of a batch of Batch.
type Cost struct {
	Backends   int     `json:"backends"`
	Calls      int     `json:"calls"`
	WorkerP50  float64 `json:"in_worker_p50_seconds"`
	WorkerP99  float64 `json:"in_worker_p99_seconds"`
	TripP50    float64 `json:"round_trip_p50_seconds"`
	TripP99    float64 `json:"round_trip_p99_seconds"`
	Batch      int     `json:"batch_calls"`
	BatchedP50 float64 `json:"batched_p50_seconds"`
}

// Costs are what a policy costs in all.
type Costs struct {
	LoadSeconds  float64 `json:"load_seconds"`
	MemoryStart  int64   `json:"worker_memory_loaded_bytes"`
	MemoryAtWork int64   `json:"worker_memory_at_work_bytes"`
	Rows         []Cost  `json:"sizes"`
}

// Measure measures subjects side by side: they take turns, so that what else the
// machine does hits all of them alike. each is the time given to one size of one
// subject. A policy that does not answer is an error.
func Measure(ctx context.Context, subjects []Subject, each time.Duration, progress func(string)) ([]Costs, error) {
	out := make([]Costs, len(subjects))
	sessions := make([]*Session, len(subjects))
	for i, s := range subjects {
		t, err := s.Open(ctx)
		if err != nil {
			return nil, err
		}
		defer t.Close()
		sessions[i] = t
		out[i].LoadSeconds, out[i].MemoryStart = t.Loading.Seconds(), t.Memory()
	}
	for _, n := range Sizes {
		progress(fmt.Sprintf("%d backends", n))
		took := make([]samples, len(sessions))
		for end := time.Now().Add(each * time.Duration(len(subjects))); took[0].calls < 20 || time.Now().Before(end); {
			for i, t := range sessions {
				if err := took[i].round(ctx, t, n); err != nil {
					return nil, fmt.Errorf("%d backends: %w", n, err)
				}
			}
		}
		for i := range sessions {
			out[i].Rows = append(out[i].Rows, took[i].cost(n))
			out[i].MemoryAtWork = max(out[i].MemoryAtWork, sessions[i].Memory())
		}
	}
	return out, nil
}

// samples are the times of one subject at one size.
type samples struct {
	calls                 int
	worker, trip, batched []time.Duration
	batch                 []*core.Snapshot
}

// round asks 10 times alone and once in a batch.
func (s *samples) round(ctx context.Context, t *Session, n int) error {
	if s.batch == nil {
		for i := range min(max(40_000/n, 1), 64) {
			snap := Snapshot(fmt.Sprintf("bench-%d-%d", n, i), n, t.Info.Metrics...)
			s.batch = append(s.batch, &snap)
		}
	}
	for range 10 {
		snap := s.batch[s.calls%len(s.batch)]
		tick(snap)
		begin := time.Now()
		a, err := t.Schedule(ctx, snap)
		if err != nil {
			return err
		}
		s.trip = append(s.trip, time.Since(begin))
		s.worker = append(s.worker, a.Took)
		s.calls++
	}
	for _, snap := range s.batch {
		tick(snap)
	}
	begin := time.Now()
	_, errs, err := t.Batch(ctx, s.batch)
	if err != nil {
		return err
	}
	s.batched = append(s.batched, time.Since(begin)/time.Duration(len(s.batch)))
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *samples) cost(n int) Cost {
	q := func(list []time.Duration, at float64) float64 {
		slices.Sort(list)
		return list[int(at*float64(len(list)-1))].Seconds()
	}
	return Cost{Backends: n, Calls: s.calls, Batch: len(s.batch),
		WorkerP50: q(s.worker, 0.5), WorkerP99: q(s.worker, 0.99),
		TripP50: q(s.trip, 0.5), TripP99: q(s.trip, 0.99), BatchedP50: q(s.batched, 0.5)}
}
