// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// An alertMessage is what Alertmanager posts to a webhook, version 4, as far as it
// matters here.
type alertMessage struct {
	Version string  `json:"version"`
	Alerts  []alert `json:"alerts"`
}

type alert struct {
	Status      string            `json:"status"` // firing or resolved
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// What an alert may say of the metric that it becomes, as a label or an annotation.
const (
	alertMetric = "steelyard_metric"
	alertValue  = "steelyard_value"
)

// decodeAlerts makes a metric of each alert: alert_NAME, 1 while it fires and 0 once
// it is resolved, of the backend that its labels name. They count as of now: that
// Alertmanager still says so is the news, not since when.
func decodeAlerts(body []byte, now time.Time) (found, error) {
	var m alertMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return found{}, fmt.Errorf("body is not a webhook of Alertmanager in JSON: %w", err)
	}
	switch {
	case m.Version != "4":
		return found{}, fmt.Errorf("version: %.20q, want 4, which Alertmanager sends from 0.9 on", m.Version)
	case len(m.Alerts) > maxEntries:
		return found{}, fmt.Errorf("%d alerts, want at most %d; set max_alerts of the webhook", len(m.Alerts), maxEntries)
	}
	var f found
	for i, a := range m.Alerts {
		at := fmt.Sprintf("alerts[%d]", i)
		s, err := a.sample(now)
		if err != nil {
			f.fail(at, err)
			continue
		}
		f.take(at, s)
	}
	// Two alerts can become the same metric, such as a warning that is resolved and
	// what replaced it: the one that fires is the last word.
	firing := func(p placed) int {
		if p.Metrics[0].Value != 0 {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(f.samples, func(a, b placed) int { return cmp.Compare(firing(a), firing(b)) })
	return f, nil
}

func (a *alert) sample(now time.Time) (core.Sample, error) {
	if a.Status != "firing" && a.Status != "resolved" {
		return core.Sample{}, fmt.Errorf("status: %.20q, want firing or resolved", a.Status)
	}
	id, err := a.target()
	if err != nil {
		return core.Sample{}, err
	}
	name := a.says(alertMetric)
	if name == "" {
		if a.Labels["alertname"] == "" {
			return core.Sample{}, errors.New("labels: no alertname, and no " + alertMetric + " in its place")
		}
		name = "alert_" + word(a.Labels["alertname"])
	}
	value := 0.0
	if a.Status == "firing" {
		if value, err = a.value(); err != nil {
			return core.Sample{}, err
		}
	}
	return core.Sample{
		Backend: id, Probe: name, Role: core.MetricRole, OK: true, TakenAt: now.UTC(),
		Detail: cmp.Or(a.Annotations["summary"], a.Annotations["description"]), Metrics: []core.Metric{{Name: name, Value: value}},
	}, nil
}

func (a *alert) says(key string) string { return cmp.Or(a.Annotations[key], a.Labels[key]) }

func (a *alert) value() (float64, error) {
	text := a.says(alertValue)
	if text == "" {
		return 1, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %.100q is no number", alertValue, text)
	}
	return v, nil
}

// target is what the labels name: service and backend, target, backend, or the host of
// instance, without the port, which is that of an exporter.
func (a *alert) target() (core.BackendID, error) {
	l := a.Labels
	if l["service"] != "" && l["backend"] != "" {
		return core.BackendID{Service: l["service"], Backend: l["backend"]}, nil
	}
	instance := l["instance"]
	if host, _, err := net.SplitHostPort(instance); err == nil {
		instance = host
	}
	target := cmp.Or(l["target"], l["backend"], instance)
	if target == "" {
		return core.BackendID{}, errors.New("labels: want target, backend or instance, which name the backend")
	}
	return core.BackendID{Backend: target}, nil
}

// word keeps of a name what a metric is made of.
func word(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}
