// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// limits are what a metric can be at all. What lies outside comes from a monitor
// that counts in another unit, and would spoil averages for hours.
var limits = map[string]struct {
	low, high float64
	unit      string
}{
	core.MetricCPU:      {0, 1.01, "ratio"}, // a little more by rounding, and taken as 1
	core.MetricCores:    {1, 1 << 16, "count"},
	core.MetricResponse: {0, 24 * 3600, "seconds"},
}

// takeMetrics files the metrics of a sample that policies read.
func (e *Engine) takeMetrics(b *backend, s core.Sample) {
	now := time.Now()
	var from *source
	for _, m := range s.Metrics {
		if from == nil {
			from = e.sourceOf(nil, s)
		}
		if reason, why := cannotBe(m); reason != "" {
			e.refuse(b.id, s, reason, why)
			continue
		}
		at := m.At
		if at.IsZero() {
			at = s.TakenAt.Add(s.Took)
		}
		if at.After(now) {
			at = now // a clock ahead of ours must not shut out all that comes later
		}
		r, by := reading{value: m.Value, at: at, window: m.Window}, origin{from, s.Seq}
		if !b.custom.take(m, sampled{r, by}, now) {
			e.refuse(b.id, s, "value", fmt.Sprintf("metric %s is %v; want a finite number", m.Name, m.Value))
			continue
		}
		b.takeMetric(m.Name, r, by, now)
		e.cpuWaits = e.cpuWaits || !b.nextCPU.at.IsZero()
	}
}

// CheckMetric says what is wrong with the unit or the value of a metric that steelyard
// knows, so that whoever hands it in is told at once.
func CheckMetric(m core.Metric) error {
	if _, why := cannotBe(m); why != "" {
		return errors.New(why)
	}
	return nil
}

// cannotBe says why a metric is not taken, in a word and a sentence; nothing if it is.
func cannotBe(m core.Metric) (reason, why string) {
	lim, read := limits[m.Name]
	switch {
	case !read:
		return "", ""
	case m.Unit != "" && m.Unit != lim.unit:
		return "unit", fmt.Sprintf("metric %s is in %q; want %s", m.Name, m.Unit, lim.unit)
	case !(m.Value >= lim.low && m.Value <= lim.high):
		return "value", fmt.Sprintf("metric %s is %v; a %s is from %v to %.0f", m.Name, m.Value, lim.unit, lim.low, lim.high)
	}
	return "", ""
}

// newer reports whether a reading may follow another. One that is ahead of now
// is of a clock that has been set back since, and must not shut out what comes.
func (r reading) newer(than reading, now time.Time) bool {
	return !r.at.Before(than.at) || than.at.After(now)
}

func (b *backend) takeMetric(name string, r reading, by origin, now time.Time) {
	switch name {
	case core.MetricCPU:
		latest := b.nextCPU
		if latest.at.IsZero() {
			latest = b.cpu
		}
		if r.newer(latest, now) && r.at != latest.at {
			// A policy sees the sample once the connections closed in its
			// window are counted to the end: see matchCPU.
			r.value = min(r.value, 1)
			b.nextCPU = r
			b.origins().nextCPU = by
		}
	case core.MetricCores:
		if r.newer(b.cores, now) {
			b.cores = r
			b.origins().cores = by
		}
	case core.MetricResponse:
		if !r.newer(b.response, now) {
			return // old news must not make what is known stale
		}
		if !b.response.at.IsZero() {
			r.value = responseAlpha*r.value + (1-responseAlpha)*b.response.value
		}
		b.response = r
		b.origins().response = by
	}
}

// tooOld refuses a sample of others that no policy would be shown, and says so.
func (e *Engine) tooOld(svc *service, b *backend, s core.Sample) bool {
	stale, age := svc.spec.Shaping.StaleAfter, time.Since(s.TakenAt.Add(s.Took))
	if stale == 0 || age <= stale || e.ownProbed(s) {
		return false
	}
	e.refuse(b.id, s, "old", fmt.Sprintf("it is %s old; readings count for %s (stale_after)", age.Round(time.Second), stale))
	return true
}

// ownProbed reports whether a sample is of a probe of this node. A monitor on this machine may
// have the node's name, and has no code.
func (e *Engine) ownProbed(s core.Sample) bool { return s.Node == e.cfg.Node && s.Code != "" }

// refuse counts a metric that cannot be used and tells of it now and then.
func (e *Engine) refuse(id core.BackendID, s core.Sample, reason, why string) {
	e.refused++
	e.tell(id, s, reason, "metric refused", why)
}

// takeUnknown counts a sample of others about what is not configured here. One
// with a type and a code is of another node's probe: on a shared bus that is no
// mistake, and is not told.
func (e *Engine) takeUnknown(s core.Sample) {
	if e.ownProbed(s) {
		return
	}
	e.unknown++
	if s.Type != "" && s.Code != "" {
		return
	}
	e.tell(s.Backend, s, "unknown", "sample dropped", unknownText(s.Backend))
}

func (e *Engine) tell(id core.BackendID, s core.Sample, reason, what, why string) {
	untold, due := e.told.Due(s.Node, reason, time.Now())
	if !due {
		return
	}
	e.log.Warn(what, "source", s.Node, "reason", reason, "service", id.Service, "backend", id.Backend, "probe", s.Probe, "why", why, "dropped_before", untold)
	e.event(core.Warn, "bus", id.Service, id.Backend, fmt.Sprintf("%s: probe %q of source %q: %s", what, s.Probe, s.Node, why))
}

// unknownText says what is not configured: a backend, or the target of a monitor.
func unknownText(id core.BackendID) string {
	if id.Service == "" {
		return fmt.Sprintf("no backend configured here has the name or the address %q, nor is it service/backend", id.Backend)
	}
	return fmt.Sprintf("no backend %s is configured here", id)
}
