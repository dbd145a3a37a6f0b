// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// The bodies of the messages that are not samples. Monitors read them; field
// names carry their units.
type (
	// A HealthBody is the body of a health subject.
	HealthBody struct {
		V       int              `json:"v"`
		Src     string           `json:"src"`
		TS      time.Time        `json:"ts"`
		Service string           `json:"service"`
		Backend string           `json:"backend"`
		From    core.HealthState `json:"from"`
		To      core.HealthState `json:"to"`
		Probe   string           `json:"probe,omitempty"` // whose sample tipped it
		Code    core.Code        `json:"code,omitempty"`
		Detail  string           `json:"detail,omitempty"`
	}
	// A DecisionBody is the body of a decision subject: the record as it is.
	DecisionBody struct {
		V int `json:"v"`
		core.Decision
	}
	// A CommitBody is the body of a commit subject.
	CommitBody struct {
		V    int       `json:"v"`
		Node string    `json:"node"`
		TS   time.Time `json:"ts"`
		core.Commit
		Took float64 `json:"took_seconds"`
	}
	// An EventBody is the body of an event subject.
	EventBody struct {
		V        int           `json:"v"`
		TS       time.Time     `json:"ts"`
		Node     string        `json:"node"`
		Severity core.Severity `json:"severity"`
		Topic    string        `json:"topic"`
		Service  string        `json:"service,omitempty"`
		Backend  string        `json:"backend,omitempty"`
		Message  string        `json:"message"`
	}
)

// Decode reads the body of any subject of the bus: a core.Sample, HealthBody,
// DecisionBody, CommitBody or EventBody, each a value.
func Decode(subject string, data []byte) (any, error) {
	where, err := ParseSubject(subject)
	if err != nil {
		return nil, err
	}
	switch where.Class {
	case ProbeClass, MetricClass:
		s, _, err := decodeSample(subject, data)
		return s, err
	case HealthClass:
		return decodeBody[HealthBody](subject, data)
	case DecisionClass:
		return decodeBody[DecisionBody](subject, data)
	case CommitClass:
		return decodeBody[CommitBody](subject, data)
	default:
		return decodeBody[EventBody](subject, data)
	}
}

func decodeBody[T any](subject string, data []byte) (any, error) {
	var body T
	if len(data) > MaxBodyBytes {
		return nil, fmt.Errorf("decode %s: body of %d bytes is over %d", subject, len(data), MaxBodyBytes)
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, fmt.Errorf("decode %s: %w", subject, err)
	}
	return body, nil
}
