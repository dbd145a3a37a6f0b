// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core"
)

// Times outside these years come from a clock that was never set.
const (
	firstYear = 2020
	lastYear  = 2100
)

// check holds a body against the limits of the wire.
func (b *sampleBody) check() error {
	if b.V != WireVersion {
		return fmt.Errorf("v: %d, want %d", b.V, WireVersion)
	}
	names := []struct{ field, value string }{
		{"src", b.Src}, {"service", b.Service}, {"backend", b.Backend}, {"probe", b.Probe},
	}
	for _, n := range names {
		if err := checkName(n.value); err != nil {
			return fmt.Errorf("%s: %w", n.field, err)
		}
	}
	if len(b.Inst) > MaxNameBytes || len(b.Type) > MaxNameBytes || len(b.Code) > MaxNameBytes {
		return fmt.Errorf("inst, type or code is longer than %d bytes", MaxNameBytes)
	}
	if b.Role != core.HealthRole && b.Role != core.MetricRole {
		return fmt.Errorf("role: %q, want %s or %s", b.Role, core.HealthRole, core.MetricRole)
	}
	if err := b.TS.check(); err != nil {
		return fmt.Errorf("ts: %w", err)
	}
	if err := checkSeconds(b.Took, maxTook); err != nil {
		return fmt.Errorf("took_seconds: %w", err)
	}
	if b.TTL < 0 || b.TTL > maxTTL.Milliseconds() {
		return fmt.Errorf("ttl_ms: %d, want 0 to %d", b.TTL, maxTTL.Milliseconds())
	}
	if err := checkCount(len(b.Metrics)); err != nil {
		return err
	}
	for name, m := range b.Metrics {
		if err := m.check(name); err != nil {
			return fmt.Errorf("metrics.%s: %w", cut(name, MaxNameBytes), err)
		}
	}
	return nil
}

func (m metricBody) check(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if m.Value == nil {
		return fmt.Errorf("value is missing")
	}
	if math.IsNaN(*m.Value) || math.IsInf(*m.Value, 0) {
		return fmt.Errorf("value: %v is not finite", *m.Value)
	}
	if len(m.Unit) > MaxNameBytes {
		return fmt.Errorf("unit is longer than %d bytes", MaxNameBytes)
	}
	if err := checkSeconds(m.Window, maxWindow); err != nil {
		return fmt.Errorf("window_seconds: %w", err)
	}
	if m.At != nil {
		if err := m.At.check(); err != nil {
			return fmt.Errorf("at: %w", err)
		}
	}
	return nil
}

func checkCount(metrics int) error {
	if metrics > MaxMetrics {
		return fmt.Errorf("metrics: %d of them, want at most %d", metrics, MaxMetrics)
	}
	return nil
}

func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is missing")
	case len(s) > MaxNameBytes:
		return fmt.Errorf("is longer than %d bytes", MaxNameBytes)
	case !utf8.ValidString(s):
		return fmt.Errorf("%q is not UTF-8", s)
	}
	return nil
}

func checkSeconds(s float64, limit time.Duration) error {
	if !(s >= 0 && s <= limit.Seconds()) { // written so that NaN fails too
		return fmt.Errorf("%v, want 0 to %v", s, limit.Seconds())
	}
	return nil
}

// A stamp is a time on the wire: RFC 3339 with nanoseconds, UTC. An integer of
// microseconds since 1970 is read too, for publishers that have no formatter.
type stamp time.Time

func (t stamp) check() error {
	if y := time.Time(t).Year(); y < firstYear || y > lastYear {
		return fmt.Errorf("%s is outside the years %d to %d", time.Time(t).Format(time.RFC3339), firstYear, lastYear)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (t stamp) MarshalJSON() ([]byte, error) {
	return t.append(nil), nil
}

func (t stamp) append(b []byte) []byte {
	b = append(b, '"')
	b = time.Time(t).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *stamp) UnmarshalJSON(data []byte) error {
	var us int64
	if json.Unmarshal(data, &us) == nil {
		*t = stamp(time.UnixMicro(us).UTC())
		return nil
	}
	var at time.Time
	if err := json.Unmarshal(data, &at); err != nil {
		return fmt.Errorf("want RFC 3339 or whole microseconds: %w", err)
	}
	*t = stamp(at.UTC())
	return nil
}
