// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A telegrafMetric is one of Telegraf's output with data_format = "json". Its fields
// become metrics of the backend that its tags name.
type telegrafMetric struct {
	Name      string            `json:"name"`
	Tags      map[string]string `json:"tags"`
	Fields    map[string]any    `json:"fields"`
	Timestamp json.Number       `json:"timestamp"`
}

// telegrafBatch is the form of the http output: {"metrics":[…]}.
func (fr frame) telegrafBatch(f *found, at string, data []byte) error {
	list, err := elements(data)
	if err != nil {
		return err
	}
	for i, one := range list {
		place := fmt.Sprintf("%smetrics[%d]", at, i)
		if err := fr.telegraf(f, place, one); err != nil {
			f.fail(place, err)
		}
	}
	return nil
}

// telegraf makes one sample of all numeric fields. A field cpu of usage_idle is the
// metric cpu_usage_idle; one that is called value has the name of its measurement.
func (fr frame) telegraf(f *found, at string, data []byte) error {
	var m telegrafMetric
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("not a metric of Telegraf in JSON: %w", err)
	}
	id, err := m.target()
	if err != nil {
		return err
	}
	taken, err := m.taken(fr.at)
	if err != nil {
		return err
	}
	s := core.Sample{Backend: id, Probe: m.Name, Role: core.MetricRole, OK: true, TakenAt: taken}
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		v, ok := number(m.Fields[name])
		if !ok {
			continue // a text, such as the version of something
		}
		full := m.Name + "_" + name
		if name == "value" {
			full = m.Name
		}
		s.Metrics = append(s.Metrics, core.Metric{Name: full, Value: v})
	}
	if len(s.Metrics) == 0 {
		return errors.New("fields: none of them is a number")
	}
	f.take(at, s)
	return nil
}

// target is what the tags name: target, or service and backend, or backend, or host,
// which Telegraf sets by itself.
func (m *telegrafMetric) target() (core.BackendID, error) {
	t := m.Tags
	if t["target"] == "" && t["service"] != "" && t["backend"] != "" {
		return core.BackendID{Service: t["service"], Backend: t["backend"]}, nil
	}
	target := cmp.Or(t["target"], t["backend"], t["host"])
	switch {
	case m.Name == "":
		return core.BackendID{}, errors.New("name: is missing")
	case target == "":
		return core.BackendID{}, errors.New("tags: want target, backend or host, which name the backend")
	}
	return core.BackendID{Backend: target}, nil
}

// taken reads a timestamp, whose unit is a setting of Telegraf.
func (m *telegrafMetric) taken(now time.Time) (time.Time, error) {
	if m.Timestamp == "" {
		return now, nil
	}
	v, err := m.Timestamp.Int64()
	if err != nil {
		return now, fmt.Errorf("timestamp: %.40q, want a whole number", m.Timestamp.String())
	}
	return since1970(v), nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, !math.IsInf(v, 0)
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}
