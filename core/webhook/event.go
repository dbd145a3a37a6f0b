// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// prefix begins every subject of the bus, and the types of its CloudEvents.
const prefix = "steelyard.v1."

// A cloudEvent is CloudEvents 1.0 in JSON.
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject"`
	Time        time.Time       `json:"time"`
	ContentType string          `json:"datacontenttype"`
	Data        json.RawMessage `json:"data"`
}

// An about is what bodies of the bus say of themselves, whatever their kind.
type about struct {
	Node string    `json:"node"`
	Src  string    `json:"src"`
	TS   time.Time `json:"ts"`
	At   time.Time `json:"at"`
}

// request makes what is sent of a message; false if it is another node's to send.
func (h *hook) request(m message) (request, bool) {
	class, _, _ := strings.Cut(strings.TrimPrefix(m.subject, prefix), ".")
	var a about
	_ = json.Unmarshal(m.data, &a) // a monitor may write what it likes; then nothing is known
	from := cmp.Or(a.Node, a.Src)
	if h.cfg.Node != "" && from != "" && from != h.cfg.Node && class != "metric" {
		return request{}, false
	}
	r := request{subject: m.subject, id: idOf(m), at: m.at, kind: "application/cloudevents+json; charset=utf-8"}
	e := newEvent(m, a, class, r.id)
	if h.body != nil {
		body, err := render(h.body, view(m, e))
		if err == nil && (!h.json || json.Valid(body)) {
			r.body, r.kind = body, "application/json"
			return r, true
		}
		// The template was good for every sample. A message that it fails on is better
		// told plainly than not at all.
	}
	r.body, _ = json.Marshal(e) // cannot fail: the data is JSON
	return r, true
}

// idOf names a message by what it says, so that it is the same in every attempt and
// wherever else the message is heard.
func idOf(m message) string {
	sum := sha256.Sum256([]byte(m.subject + "\n" + string(m.data)))
	return hex.EncodeToString(sum[:16])
}

func newEvent(m message, a about, class, id string) cloudEvent {
	e := cloudEvent{
		SpecVersion: "1.0", ID: id, Type: prefix + class, Subject: m.subject,
		Source: "/steelyard/nodes/" + url.PathEscape(cmp.Or(a.Node, a.Src)),
		Time:   m.at.UTC(), ContentType: "application/json", Data: m.data,
	}
	for _, at := range []time.Time{a.TS, a.At} {
		if !at.IsZero() {
			e.Time = at.UTC()
			break
		}
	}
	if !json.Valid(m.data) {
		e.Data, _ = json.Marshal(string(m.data)) // a string always can
	}
	return e
}
