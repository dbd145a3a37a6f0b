// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"

	"github.com/steelyard-lb/steelyard/core"
)

// responseTime measures how long a backend takes to answer: an http request
// where the spec has a path, a tcp connect otherwise. Emits response_time and
// nothing else, so that it can stand beside a health probe of the same kind.
type responseTime struct {
	prober
	metric string // of the inner probe, that is the response time
}

func newResponseTime(t Target) prober {
	if t.Spec.HTTP.Path != "" {
		return responseTime{newHTTP(t), core.MetricResponse}
	}
	return responseTime{tcpProbe{t.addr(), way(t.Spec.Way)}, core.MetricConnect}
}

func (p responseTime) probe(ctx context.Context) result {
	r := p.prober.probe(ctx)
	for _, m := range r.metrics {
		if m.Name == p.metric {
			m.Name = core.MetricResponse
			r.metrics = []core.Metric{m}
			return r
		}
	}
	return r
}
