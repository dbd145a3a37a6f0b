// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Replayed is what became of recorded decisions in the hands of a candidate.
// It is open loop: the backends answered to the weights of the policy that was in
// force, not to the candidate's.
type Replayed struct {
	Decisions int               `json:"decisions"`
	Faults    int               `json:"candidate_faults"`
	LastFault string            `json:"candidate_last_fault,omitempty"`
	MovedMean float64           `json:"moved_mean_ratio"`
	MovedMax  float64           `json:"moved_max_ratio"`
	Services  []ServiceReplayed `json:"services"`
	// Notes tell what the candidate could not see.
	Notes []string `json:"notes,omitempty"`
}

// A ServiceReplayed is one service's part.
type ServiceReplayed struct {
	Service        string            `json:"service"`
	Versions       []string          `json:"recorded_versions"`
	From           time.Time         `json:"from"`
	To             time.Time         `json:"to"`
	Decisions      int               `json:"decisions"`        // compared
	RecordedFaults int               `json:"recorded_faults"`  // of the recorded policy: left out
	Faults         int               `json:"candidate_faults"` // left out as well
	LastFault      string            `json:"candidate_last_fault,omitempty"`
	MovedMean      float64           `json:"moved_mean_ratio"` // of new connections that would go elsewhere
	MovedMax       float64           `json:"moved_max_ratio"`
	MovedMaxAt     time.Time         `json:"moved_max_at,omitzero"`
	Backends       []BackendReplayed `json:"backends"`
}

// A BackendReplayed is one backend's part.
type BackendReplayed struct {
	Backend  string  `json:"backend"`
	Recorded float64 `json:"recorded_share_mean_ratio"`
	Share    float64 `json:"candidate_share_mean_ratio"`
	DiffMean float64 `json:"difference_mean_ratio"` // of the absolute differences
	DiffMax  float64 `json:"difference_max_ratio"`
	Held     int     `json:"candidate_held"` // decisions
	seen     int
}

// A Replayer feeds recorded decisions to a candidate, in the order in which they
// were made, so that its state warms up as it would have.
type Replayer struct {
	session  *Session
	services map[string]*ServiceReplayed
	known    map[string]bool // readings that were known at least once
	metrics  map[string]bool
	total    int
}

// NewReplayer starts with no state.
func NewReplayer(t *Session) *Replayer {
	t.Forget()
	return &Replayer{session: t, services: map[string]*ServiceReplayed{}, known: map[string]bool{}, metrics: map[string]bool{}}
}

// Add replays one decision. The answers of shadow policies are left out. The
// candidate gets the recorded parameters that it knows, and params over them. An
// error is that of ctx, or that no worker starts.
func (r *Replayer) Add(ctx context.Context, rec core.Recorded, params map[string]float64) error {
	if rec.Shadow {
		return nil
	}
	s := r.service(rec)
	r.see(&rec.Snapshot)
	snap := rec.Snapshot
	snap.Params = r.params(rec.Snapshot.Params, params)
	a, err := r.session.Schedule(ctx, &snap)
	r.total++
	var fault *Fault
	if err != nil && !errors.As(err, &fault) {
		if ctx.Err() != nil {
			return err
		}
		fault = &Fault{Invalid, err.Error()}
	}
	switch {
	case fault != nil:
		s.Faults++
		s.LastFault = fault.Cause
	case rec.Err != "" || len(rec.Weights) != len(rec.Snapshot.Backends):
		s.RecordedFaults++
	default:
		s.compare(&rec, a.Weights)
	}
	return nil
}

// params are those that the candidate knows, of the recorded ones, with its own
// over them.
func (r *Replayer) params(recorded, own map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for _, p := range r.session.Info.Params {
		if v, ok := own[p.Name]; ok {
			out[p.Name] = v
		} else if v, ok := recorded[p.Name]; ok && p.Min <= v && v <= p.Max {
			out[p.Name] = v
		}
	}
	return out
}

func (r *Replayer) service(rec core.Recorded) *ServiceReplayed {
	s := r.services[rec.Snapshot.Service]
	if s == nil {
		s = &ServiceReplayed{Service: rec.Snapshot.Service, From: rec.At}
		r.services[rec.Snapshot.Service] = s
	}
	s.To = rec.At
	if !slices.Contains(s.Versions, rec.Version) {
		s.Versions = append(s.Versions, rec.Version)
	}
	return s
}

// see remembers which readings there were.
func (r *Replayer) see(s *core.Snapshot) {
	for i := range s.Backends {
		b := &s.Backends[i]
		for name, v := range map[string]core.Reading{"cpu": b.CPU, "cores": b.Cores, "response": b.Response, "connections": b.Conns, "opened": b.New, "closed": b.Done} {
			if v.Known {
				r.known[name] = true
			}
		}
		for k, v := range b.Custom {
			if v.Known && k < len(s.Metrics) {
				r.metrics[s.Metrics[k]] = true
			}
		}
	}
}

func (s *ServiceReplayed) compare(rec *core.Recorded, weights []float64) {
	was, is := effective(&rec.Snapshot, rec.Weights), effective(&rec.Snapshot, weights)
	moved := 0.0
	for i, b := range rec.Snapshot.Backends {
		k := slices.IndexFunc(s.Backends, func(have BackendReplayed) bool { return have.Backend == b.Name })
		if k < 0 {
			k = len(s.Backends)
			s.Backends = append(s.Backends, BackendReplayed{Backend: b.Name})
		}
		diff := math.Abs(is[i] - was[i])
		moved += diff / 2
		have := &s.Backends[k]
		have.seen++
		have.Recorded += was[i]
		have.Share += is[i]
		have.DiffMean += diff
		have.DiffMax = max(have.DiffMax, diff)
		if weights[i] == core.Hold {
			have.Held++
		}
	}
	s.Decisions++
	s.MovedMean += moved
	if moved > s.MovedMax || s.Decisions == 1 {
		s.MovedMax, s.MovedMaxAt = moved, rec.At
	}
}

// effective are the shares that an answer comes to before shaping: what is held
// keeps the share it has, the others share the rest, and what is down gets none.
func effective(s *core.Snapshot, weights []float64) []float64 {
	out := make([]float64, len(weights))
	held, sum := 0.0, 0.0
	for i, w := range weights {
		switch b := &s.Backends[i]; {
		case b.Health == core.Down:
		case w == core.Hold:
			out[i] = b.Share
			held += b.Share
		default:
			sum += w
		}
	}
	rest := max(0, 1-held)
	for i, w := range weights {
		if s.Backends[i].Health != core.Down && w != core.Hold && sum > 0 {
			out[i] = w / sum * rest
		}
	}
	total := 0.0
	for _, v := range out {
		total += v
	}
	for i := range out {
		if total > 0 {
			out[i] /= total
		}
	}
	return out
}

// Result is what was found so far.
func (r *Replayer) Result() Replayed {
	var out Replayed
	for _, s := range r.services {
		done := *s
		done.Backends = slices.Clone(s.Backends)
		for i := range done.Backends {
			b := &done.Backends[i]
			n := float64(b.seen)
			b.Recorded, b.Share, b.DiffMean = b.Recorded/n, b.Share/n, b.DiffMean/n
		}
		out.Decisions += s.Decisions
		out.Faults += s.Faults
		if s.LastFault != "" {
			out.LastFault = s.LastFault
		}
		out.MovedMean += s.MovedMean
		out.MovedMax = max(out.MovedMax, s.MovedMax)
		if s.Decisions > 0 {
			done.MovedMean /= float64(s.Decisions)
		}
		out.Services = append(out.Services, done)
	}
	if out.Decisions > 0 {
		out.MovedMean /= float64(out.Decisions)
	}
	slices.SortFunc(out.Services, func(a, b ServiceReplayed) int {
		if a.Service < b.Service {
			return -1
		}
		return 1
	})
	out.Notes = r.notes()
	return out
}

// notes tell which readings of the candidate's were never there.
func (r *Replayer) notes() []string {
	var out []string
	if r.total == 0 {
		return nil
	}
	for _, name := range r.session.Info.Reads {
		if !r.known[name] {
			out = append(out, fmt.Sprintf("the candidate reads %s, which no recorded decision has", name))
		}
	}
	for _, name := range r.session.Info.Metrics {
		if !r.metrics[name] {
			out = append(out, fmt.Sprintf("the candidate reads the metric %s, which no recorded decision has: a policy in force or in shadow must read it to have it recorded", name))
		}
	}
	return out
}
