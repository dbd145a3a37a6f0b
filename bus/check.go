// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core"
)

// Times outside these years come from a clock that was never set.
const (
	firstYear = 2020
	lastYear  = 2100
)

// Numbers from here on are milliseconds, microseconds, nanoseconds since 1970: halfway
// between the last year in one unit and the first in the next, and then some.
const (
	firstMilli = 1e11
	firstMicro = 1e14
	firstNano  = 1e17
)

// check holds a body against the limits of the wire.
func (b *sampleBody) check() error {
	if err := checkVersion(b.V); err != nil {
		return err
	}
	if err := checkNames(field{"src", b.Src}, field{"service", b.Service}, field{"backend", b.Backend}, field{"probe", b.Probe}); err != nil {
		return err
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
	if err := checkTTL(b.TTL); err != nil {
		return err
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

func checkVersion(v int) error {
	if v != WireVersion {
		return fmt.Errorf("v: %d, want %d", v, WireVersion)
	}
	return nil
}

// A field is a text of a body, with its key.
type field struct{ key, value string }

func checkNames(names ...field) error {
	for _, n := range names {
		if err := checkName(n.value); err != nil {
			return fmt.Errorf("%s: %w", n.key, err)
		}
	}
	return nil
}

// checkTexts is for texts that may be empty.
func checkTexts(texts ...field) error {
	for _, n := range texts {
		if len(n.value) > MaxNameBytes {
			return fmt.Errorf("%s: is longer than %d bytes", n.key, MaxNameBytes)
		}
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

func checkTTL(ms int64) error {
	if ms < 0 || ms > maxTTL.Milliseconds() {
		return fmt.Errorf("ttl_ms: %d, want 0 to %d", ms, maxTTL.Milliseconds())
	}
	return nil
}

// A stamp is a time on the wire: RFC 3339 with nanoseconds, UTC. A number since 1970 is
// read too, for publishers that have no formatter: of seconds, perhaps with a
// fraction, or of whole milli-, micro- or nanoseconds, as its size tells.
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
	if data[0] != '"' {
		return t.number(data)
	}
	var at time.Time
	if err := json.Unmarshal(data, &at); err != nil {
		return fmt.Errorf("want RFC 3339 or a number since 1970: %w", err)
	}
	*t = stamp(at.UTC())
	return nil
}

// number reads a time as a number. No two units can be meant by one: between them lies
// a factor of 1000, and between the first and the last year less than 3.
func (t *stamp) number(data []byte) error {
	var n float64
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("want RFC 3339 or a number since 1970: %w", err)
	}
	whole, err := strconv.ParseInt(string(data), 10, 64)
	switch {
	case n < firstMilli:
		sec, frac := math.Modf(n)
		*t = stamp(time.Unix(int64(sec), int64(math.Round(frac*1e6))*1e3).UTC()) // more is noise in a float64
	case err != nil:
		return fmt.Errorf("%s: want whole milliseconds, microseconds or nanoseconds, or seconds", cut(string(data), MaxNameBytes))
	case n < firstMicro:
		*t = stamp(time.UnixMilli(whole).UTC())
	case n < firstNano:
		*t = stamp(time.UnixMicro(whole).UTC())
	default:
		*t = stamp(time.Unix(0, whole).UTC())
	}
	return nil
}
