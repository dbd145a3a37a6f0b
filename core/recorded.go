// SPDX-License-Identifier: Apache-2.0

package core

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// A Recorded is one call of a policy and its answer, as the host keeps the latest
// for replay.
type Recorded struct {
	At       time.Time
	Policy   string
	Version  string
	Shadow   bool
	Snapshot Snapshot
	Weights  []float64 // Hold where the policy had no opinion; nil if Err is set
	Took     time.Duration
	Err      string
}

// The JSON of a recording and of a snapshot. Keys carry their units; what is not
// known is null, and so is a weight that the policy held back. Ids are 16 hex
// digits, since a number in JSON has 53 bits. Times have the zone's offset.
type (
	recordedJSON struct {
		At       time.Time `json:"at"`
		Policy   string    `json:"policy"`
		Version  string    `json:"version"`
		Shadow   bool      `json:"shadow,omitempty"`
		Snapshot Snapshot  `json:"snapshot"`
		Weights  weights   `json:"weights"`
		Took     seconds   `json:"took_seconds"`
		Err      string    `json:"error,omitempty"`
	}
	snapshotJSON struct {
		Service  string             `json:"service"`
		ID       hexID              `json:"id"`
		Seq      uint64             `json:"seq"`
		Now      time.Time          `json:"now"`
		Since    seconds            `json:"since_seconds"`
		Params   map[string]float64 `json:"params,omitempty"`
		Metrics  []string           `json:"metrics,omitempty"`
		Backends []inputJSON        `json:"backends"`
	}
	inputJSON struct {
		ID       hexID        `json:"id"`
		Name     string       `json:"name"`
		Weight   uint32       `json:"configured_weight"`
		Health   HealthState  `json:"health"`
		Since    seconds      `json:"health_seconds"`
		Share    float64      `json:"share_ratio"`
		CPUSeq   uint32       `json:"cpu_seq"`
		CPU      readingJSON  `json:"cpu_ratio"`
		Cores    readingJSON  `json:"cores_count"`
		Response readingJSON  `json:"response_seconds"`
		Conns    readingJSON  `json:"connections_open"`
		New      readingJSON  `json:"connections_opened_per_second"`
		Done     readingJSON  `json:"connections_closed_per_second"`
		Custom   readingsJSON `json:"metrics,omitempty"`
	}
	readingsJSON []readingJSON
)

// MarshalJSON implements json.Marshaler.
func (r Recorded) MarshalJSON() ([]byte, error) {
	return json.Marshal(recordedJSON{r.At, r.Policy, r.Version, r.Shadow, r.Snapshot, r.Weights, seconds(r.Took), r.Err})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Recorded) UnmarshalJSON(b []byte) error {
	var w recordedJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*r = Recorded{w.At, w.Policy, w.Version, w.Shadow, w.Snapshot, w.Weights, time.Duration(w.Took), w.Err}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s Snapshot) MarshalJSON() ([]byte, error) {
	w := snapshotJSON{s.Service, hexID(s.ID), s.Seq, s.Now, seconds(s.Since), s.Params, s.Metrics, make([]inputJSON, len(s.Backends))}
	for i := range s.Backends {
		b := &s.Backends[i]
		w.Backends[i] = inputJSON{
			hexID(b.ID), b.Name, b.Weight, b.Health, seconds(b.Since), b.Share, b.CPUSeq, readingJSON(b.CPU), readingJSON(b.Cores),
			readingJSON(b.Response), readingJSON(b.Conns), readingJSON(b.New), readingJSON(b.Done), nil,
		}
		for _, r := range b.Custom {
			w.Backends[i].Custom = append(w.Backends[i].Custom, readingJSON(r))
		}
	}
	return json.Marshal(w)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Snapshot) UnmarshalJSON(b []byte) error {
	var w snapshotJSON
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*s = Snapshot{w.Service, uint64(w.ID), w.Seq, w.Now, time.Duration(w.Since), w.Params, w.Metrics, nil}
	for i := range w.Backends {
		b := &w.Backends[i]
		in := BackendInput{
			uint64(b.ID), b.Name, b.Weight, b.Health, time.Duration(b.Since), b.Share, b.CPUSeq, Reading(b.CPU), Reading(b.Cores),
			Reading(b.Response), Reading(b.Conns), Reading(b.New), Reading(b.Done), nil,
		}
		for _, r := range b.Custom {
			in.Custom = append(in.Custom, Reading(r))
		}
		s.Backends = append(s.Backends, in)
	}
	return nil
}

// hexID is an id as 16 hex digits.
type hexID uint64

func (id hexID) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(id)), nil }

func (id *hexID) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("id %q: want up to 16 hex digits", b)
	}
	*id = hexID(v)
	return nil
}

// weights are null where there are none, and where one is Hold.
type weights []float64

func (w weights) MarshalJSON() ([]byte, error) {
	if w == nil {
		return []byte("null"), nil
	}
	out := make([]*float64, len(w))
	for i := range w {
		if w[i] != Hold {
			out[i] = &w[i]
		}
	}
	return json.Marshal(out)
}

func (w *weights) UnmarshalJSON(b []byte) error {
	var in []*float64
	if err := json.Unmarshal(b, &in); err != nil || in == nil {
		*w = nil
		return err
	}
	*w = make(weights, len(in))
	for i, v := range in {
		if v == nil {
			(*w)[i] = Hold
		} else {
			(*w)[i] = *v
		}
	}
	return nil
}

// readingJSON is null where the reading is not known, or is no number: a policy
// does not see the difference.
type readingJSON Reading

func (r readingJSON) MarshalJSON() ([]byte, error) {
	if !r.Known || math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(readingBody{r.Value, seconds(r.Age), seconds(r.Window)})
}

func (r *readingJSON) UnmarshalJSON(b []byte) error {
	var body *readingBody
	if err := json.Unmarshal(b, &body); err != nil || body == nil {
		*r = readingJSON{}
		return err
	}
	*r = readingJSON{body.Value, time.Duration(body.Age), time.Duration(body.Window), true}
	return nil
}

type readingBody struct {
	Value  float64 `json:"value"`
	Age    seconds `json:"age_seconds"`
	Window seconds `json:"window_seconds,omitempty"`
}

// seconds is a duration as a decimal number of seconds, exact to the nanosecond:
// what is written is what is read.
type seconds time.Duration

func (s seconds) MarshalJSON() ([]byte, error) {
	sign, ns := "", uint64(s)
	if s < 0 {
		sign, ns = "-", -ns
	}
	return fmt.Appendf(nil, "%s%d.%09d", sign, ns/1e9, ns%1e9), nil
}

func (s *seconds) UnmarshalJSON(b []byte) error {
	d, err := time.ParseDuration(string(b) + "s") // exact, where a float64 is not
	if err == nil {
		*s = seconds(d)
		return nil
	}
	v, err := strconv.ParseFloat(string(b), 64) // with an exponent
	if err != nil || math.Abs(v) > math.MaxInt64/1e9 {
		return fmt.Errorf("%s seconds: want a number of seconds, below 292 years", b)
	}
	*s = seconds(math.Round(v * 1e9))
	return nil
}
