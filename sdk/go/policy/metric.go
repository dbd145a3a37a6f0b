// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"math"
	"unsafe"
)

// A Metric is one custom metric of all backends. It is a view: it is good until
// Schedule returns. One that the host does not know is unknown of every backend.
type Metric struct {
	values, ages unsafe.Pointer // nil if the host does not know it
	n            int
}

// Metric finds a custom metric by its name; do it once per call, outside the
// loop. A name that Policy.Metrics does not have makes the call fail.
func (s *Snapshot) Metric(name string) Metric {
	for k := range s.p.Metrics {
		if s.p.Metrics[k] != name {
			continue
		}
		if k >= int(s.h.nCustom) || s.h.n == 0 {
			return Metric{n: int(s.h.n)}
		}
		e := metricAt(s.h, s.base, k)
		return Metric{unsafe.Add(s.base, e.valuesOff), unsafe.Add(s.base, e.agesOff), int(s.h.n)}
	}
	s.fail(errors.New("metric " + name + " is not declared by policy " + s.p.Name))
	return Metric{n: int(s.h.n)}
}

// At is the metric of the i-th backend; NaN and false if it is unknown or stale.
func (m Metric) At(i int) (value float64, ok bool) {
	v := math.NaN()
	if m.values != nil {
		v = unsafe.Slice((*float64)(m.values), m.n)[i]
	}
	return v, !math.IsNaN(v)
}

// Age is the age of At(i) in seconds; NaN if that is unknown.
func (m Metric) Age(i int) float64 {
	if m.ages == nil {
		return math.NaN()
	}
	return float64(unsafe.Slice((*float32)(m.ages), m.n)[i])
}

var errMetric = errors.New("snapshot has a custom metric outside it")

func metricAt(h *header, base unsafe.Pointer, k int) *metricEntry {
	return (*metricEntry)(unsafe.Add(base, h.customDirOff+uint32(k)*metricSize))
}

// checkMetrics checks what the columns rest on, as Snapshot.open does.
func checkMetrics(h *header, base unsafe.Pointer, size uint32) error {
	if h.nCustom == 0 {
		return nil
	}
	if h.customDirOff%8 != 0 || uint64(h.customDirOff)+uint64(h.nCustom)*metricSize > uint64(size) {
		return errMetric
	}
	for k := range int(h.nCustom) {
		e := metricAt(h, base, k)
		if e.valuesOff%8 != 0 || e.agesOff%4 != 0 || uint64(e.valuesOff)+uint64(h.n)*8 > uint64(size) ||
			uint64(e.agesOff)+uint64(h.n)*4 > uint64(size) {
			return errMetric
		}
	}
	return nil
}
