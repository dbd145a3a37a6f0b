// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core"
)

// WireVersion is the v of every body. Fields may be added to a version; readers
// ignore what they do not know.
const WireVersion = 1

// The limits of a sample, or of a list of them. A body beyond them is refused.
const (
	MaxSampleBytes = 64 << 10
	MaxBatch       = 4096 // readings in one list
	MaxMetrics     = 64   // in one sample
	MaxNameBytes   = 253  // a DNS name fits
	MaxDetailBytes = 256  // longer details are cut, not refused
)

// MaxBackends is how many backends a message about a service may list.
const MaxBackends = 4096

const (
	maxWindow = 24 * time.Hour
	maxTook   = time.Hour
	maxTTL    = time.Hour
	maxUptime = 100 * 365 * 24 * time.Hour
)

// errMismatch marks a body that contradicts its subject. The subject is what
// permissions are about, so such a body claims to be somebody else's.
var errMismatch = errors.New("body contradicts subject")

// A sampleBody is a core.Sample on the wire, as steelyard writes it. What monitors may
// write instead is a readingBody.
type sampleBody struct {
	V    int    `json:"v"`
	Src  string `json:"src"`
	Inst string `json:"inst,omitempty"` // random per start of the publisher: seq may begin again
	Seq  uint64 `json:"seq,omitempty"`  // 0: not numbered
	TS   stamp  `json:"ts"`             // when the probe began
	TTL  int64  `json:"ttl_ms,omitempty"`

	Service string    `json:"service"`
	Backend string    `json:"backend"`
	Probe   string    `json:"probe"`
	Type    string    `json:"type,omitempty"`
	Role    core.Role `json:"role"`

	OK      *bool                 `json:"ok"` // absent: false
	Code    core.Code             `json:"code,omitempty"`
	Detail  string                `json:"detail,omitempty"`
	Metrics map[string]metricBody `json:"metrics,omitempty"`
	Took    float64               `json:"took_seconds,omitempty"`
	Admin   core.AdminState       `json:"admin,omitempty"` // of an agent
}

type metricBody struct {
	Value  *float64 `json:"value"`
	Unit   string   `json:"unit,omitempty"`
	Window float64  `json:"window_seconds,omitempty"`
	At     *stamp   `json:"at,omitempty"`
}

// An envelope is what the bus knows of a sample beside the sample itself.
type envelope struct {
	source
	seq  uint64
	sent time.Time // by the publisher's clock: when the probe ended
	// undated says that sent is by our clock, since the publisher said nothing.
	undated bool
	ttl     time.Duration // how late it may be; 0 means the reader's default
}

// decodeSample reads the body of a probe subject. Its errors name the subject, the
// field and the cause.
func decodeSample(subj string, data []byte) (core.Sample, envelope, error) {
	if s, env, ok := quickSample(subj, data); ok {
		return s, env, nil
	}
	s, env, err := parseSample(subj, data)
	if err != nil {
		return core.Sample{}, envelope{}, fmt.Errorf("decode sample on %s: %w", subj, err)
	}
	return s, env, nil
}

func parseSample(subj string, data []byte) (core.Sample, envelope, error) {
	if len(data) > MaxSampleBytes {
		return core.Sample{}, envelope{}, fmt.Errorf("body of %d bytes is over %d", len(data), MaxSampleBytes)
	}
	where, err := ParseSubject(subj)
	if err != nil {
		return core.Sample{}, envelope{}, err
	}
	if where.Class != ProbeClass {
		return core.Sample{}, envelope{}, fmt.Errorf("class %q carries no samples of probes", where.Class)
	}
	var b sampleBody
	if err := json.Unmarshal(data, &b); err != nil {
		return core.Sample{}, envelope{}, fmt.Errorf("body is not a sample in JSON: %w", err)
	}
	said := []string{b.Service, b.Backend, b.Probe, b.Src}
	if !slices.Equal(said, where.Names) {
		return core.Sample{}, envelope{}, fmt.Errorf("body says %q, subject says %q: %w", said, where.Names, errMismatch)
	}
	if err := b.check(); err != nil {
		return core.Sample{}, envelope{}, err
	}
	return b.sample(), b.envelope(), nil
}

func (b *sampleBody) envelope() envelope {
	return envelope{
		source: source{b.Src, b.Inst}, seq: b.Seq, ttl: time.Duration(b.TTL) * time.Millisecond,
		// The delay of a sample counts from the end of its probe: a probe that
		// ran into its time-out is news, not a late message.
		sent: time.Time(b.TS).Add(seconds(b.Took)),
	}
}

func (b *sampleBody) sample() core.Sample {
	s := core.Sample{
		Backend: core.BackendID{Service: b.Service, Backend: b.Backend}, Probe: b.Probe, Type: b.Type, Role: b.Role,
		Node: b.Src, Seq: b.Seq, TakenAt: time.Time(b.TS), Took: seconds(b.Took),
		OK: b.OK != nil && *b.OK, Code: b.Code, Detail: cut(b.Detail, MaxDetailBytes), Admin: b.Admin,
	}
	for name, m := range b.Metrics {
		s.Metrics = append(s.Metrics, m.metric(name))
	}
	slices.SortFunc(s.Metrics, func(a, b core.Metric) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// seconds turns a wire number that was checked into a duration, to the
// nanosecond.
func seconds(s float64) time.Duration { return time.Duration(math.Round(s * 1e9)) }

// cut shortens s to at most limit bytes, never inside a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
