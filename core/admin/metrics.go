// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// MaxMetrics is how many metrics one request may hold.
	MaxMetrics = 1000
	maxMetrics = 1 << 20 // bytes of such a request
	maxWindow  = 24 * time.Hour
)

// A MetricsRequest hands in what a monitor knows of backends.
type MetricsRequest struct {
	Source  string       `json:"source"` // the name of the monitor
	Metrics []PushMetric `json:"metrics"`
}

// A PushMetric is one number about one target.
type PushMetric struct {
	Target string  `json:"target"` // SERVICE/BACKEND, a backend, or the address of one
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	Window float64 `json:"window_seconds,omitempty"`
	// At is when it was measured; absent: now.
	At time.Time `json:"at,omitzero"`
}

// A MetricsAnswer says what became of each.
type MetricsAnswer struct {
	Taken   int             `json:"taken"`
	Refused []RefusedMetric `json:"refused,omitempty"`
	// Warning says why what was taken is known to this node alone; empty: it is not.
	Warning string `json:"warning,omitempty"`
}

// A RefusedMetric is one of a request, counted from 0, and why it was not taken.
type RefusedMetric struct {
	Index int    `json:"index"`
	Error string `json:"error"`
}

// metrics takes what a monitor knows. What is wrong with one of them costs no other.
func (s *Server) metrics(ctx context.Context, r *http.Request) (any, *Error) {
	req, err := readUpTo[MetricsRequest](r.Body, maxMetrics)
	switch {
	case err != nil:
		return nil, badRequest("%v", err)
	case req.Source == "" || len(req.Source) > maxName:
		return nil, badRequest("source: want the name of the monitor, of at most %d bytes", maxName)
	case len(req.Metrics) > MaxMetrics:
		return nil, badRequest("metrics: %d of them, want at most %d; send several requests", len(req.Metrics), MaxMetrics)
	}
	var out MetricsAnswer
	now := time.Now().UTC()
	for i, m := range req.Metrics {
		sample, err := m.sample(now)
		if err == nil {
			err = s.Node.Push(req.Source, sample)
		}
		if err != nil {
			out.Refused = append(out.Refused, RefusedMetric{i, err.Error()})
			continue
		}
		out.Taken++
	}
	if out.Taken > 0 {
		out.Warning = s.Node.Pushed(ctx)
	}
	return out, nil
}

// sample is what the bus carries. It has rules of its own for names and units.
func (m PushMetric) sample(now time.Time) (core.Sample, error) {
	switch {
	case m.Target == "":
		return core.Sample{}, errors.New("target: is missing; want SERVICE/BACKEND, a backend, or the address of one")
	case m.Name == "":
		return core.Sample{}, errors.New("name: is missing; it is what policies call the metric, such as cpu")
	case !(m.Window >= 0 && m.Window <= maxWindow.Seconds()): // written so that NaN fails too
		return core.Sample{}, fmt.Errorf("window_seconds: %v, want 0 to %v", m.Window, maxWindow.Seconds())
	case math.IsNaN(m.Value) || math.IsInf(m.Value, 0):
		return core.Sample{}, fmt.Errorf("value: %v is not finite", m.Value)
	}
	if m.At.IsZero() {
		m.At = now
	}
	return core.Sample{
		Backend: core.BackendID{Backend: m.Target}, Probe: m.Name, Role: core.MetricRole, OK: true, TakenAt: m.At,
		Metrics: []core.Metric{{Name: m.Name, Value: m.Value, Unit: m.Unit, Window: time.Duration(m.Window * float64(time.Second))}},
	}, nil
}

// PushMetrics hands in what the monitor called source knows, at most MaxMetrics.
func (c *Client) PushMetrics(ctx context.Context, source string, list []PushMetric) (MetricsAnswer, error) {
	return send[MetricsAnswer](ctx, c, http.MethodPost, "/v1/metrics", MetricsRequest{source, list}, changeTimeout)
}
