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
		V  int    `json:"v"`
		ID string `json:"id"` // see DecisionID
		core.Decision
	}
	// A CommitBody is the body of a commit subject.
	CommitBody struct {
		V    int       `json:"v"`
		ID   string    `json:"id"` // see CommitID
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

// DecisionID names a decision wherever it is spoken of: by the node that made it and
// its number there, which begins again when the node does.
func DecisionID(node string, seq uint64) string { return fmt.Sprintf("%s/%d", node, seq) }

// CommitID names a transaction by its node and the generation that it made there.
func CommitID(node string, generation uint32) string { return fmt.Sprintf("%s/%d", node, generation) }

// Decode reads the body of any subject of the bus: a core.Sample (of a list of a
// monitor a []core.Sample), HealthBody, DecisionBody, CommitBody, EventBody,
// core.Presence, core.Vector or core.FlowReport, each a value.
func Decode(subject string, data []byte) (any, error) {
	where, err := ParseSubject(subject)
	if err != nil {
		return nil, err
	}
	switch where.Class {
	case ProbeClass:
		s, _, err := decodeSample(subject, data)
		return s, err
	case MetricClass:
		return decodeReadings(subject, data)
	case HealthClass:
		return decodeBody[HealthBody](subject, data)
	case DecisionClass:
		return decodeBody[DecisionBody](subject, data)
	case CommitClass:
		return decodeBody[CommitBody](subject, data)
	case EventClass:
		return decodeBody[EventBody](subject, data)
	case NodeClass:
		var b presenceBody
		err := decodeCluster(subject, where, data, &b)
		return b.presence(), err
	case WeightsClass:
		var b vectorBody
		err := decodeCluster(subject, where, data, &b)
		return b.vector(), err
	default:
		var b flowsBody
		err := decodeCluster(subject, where, data, &b)
		return b.report(), err
	}
}

func decodeBody[T any](subject string, data []byte) (any, error) {
	var body T
	if err := parseBody(data, &body); err != nil {
		return nil, fmt.Errorf("decode %s: %w", subject, err)
	}
	return body, nil
}

// parseBody reads JSON of no more than MaxBodyBytes.
func parseBody(data []byte, to any) error {
	if len(data) > MaxBodyBytes {
		return fmt.Errorf("body of %d bytes is over %d", len(data), MaxBodyBytes)
	}
	return json.Unmarshal(data, to)
}
