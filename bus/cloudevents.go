// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The names are those of the NATS binding of CloudEvents 1.0. Its libraries do not
// agree on their case.
const (
	ceVersion      = "1.0"
	ceSpec         = "ce-specversion"
	ceTime         = "ce-time"
	ceID           = "ce-id"
	ceSource       = "ce-source"
	ceType         = "ce-type"
	contentType    = "Content-Type"
	ceMedia        = "application/cloudevents"
	ceTypePrefix   = Prefix + "."
	ceSourcePrefix = "/steelyard/nodes/"
)

// A structuredEvent is as much of a CloudEvent in JSON as matters here.
type structuredEvent struct {
	SpecVersion *string         `json:"specversion"`
	Time        *stamp          `json:"time"`
	Data        json.RawMessage `json:"data"`
	DataBase64  []byte          `json:"data_base64"`
}

// unwrap takes a CloudEvent off the message that it is sent as, if it is one: by its
// headers, by its content type, or by what the body says, in this order.
func (m message) unwrap(h nats.Header) (message, error) {
	if v, ok := header(h, ceSpec); ok {
		return m.binary(h, v)
	}
	inner, err := m.structured(m.data)
	if media, ok := header(h, contentType); ok && strings.HasPrefix(strings.ToLower(media), ceMedia) && err == nil && !inner.wrapped {
		err = fmt.Errorf("specversion: is missing, and the content type is %q", cut(media, MaxNameBytes))
	}
	return inner, err
}

// binary is an event whose attributes are headers: the body is its data.
func (m message) binary(h nats.Header, version string) (message, error) {
	if err := checkSpec(ceSpec, version); err != nil {
		return m, err
	}
	text, ok := header(h, ceTime)
	if !ok {
		return m, nil
	}
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return m, fmt.Errorf("%s: %q, want RFC 3339", ceTime, cut(text, MaxNameBytes))
	}
	return m.datedBy(ceTime, stamp(at.UTC()))
}

// structured is an event that is the body as a whole; what is none stays as it is.
func (m message) structured(data []byte) (message, error) {
	m.data = data
	if !looksStructured(data) {
		return m, nil
	}
	var e structuredEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return m, fmt.Errorf("body is not a CloudEvent in JSON: %w", err)
	}
	if e.SpecVersion == nil {
		return m, nil
	}
	if err := checkSpec("specversion", *e.SpecVersion); err != nil {
		return m, err
	}
	m.wrapped = true
	switch m.data = e.Data; {
	case e.DataBase64 != nil:
		m.data = e.DataBase64
	case e.Data == nil:
		return m, fmt.Errorf(`data: is missing; want a number, {"value":0.42} or a list of such`)
	}
	if e.Time == nil {
		return m, nil
	}
	return m.datedBy("time", *e.Time)
}

// looksStructured spares all other bodies being read twice.
func looksStructured(data []byte) bool {
	return len(data) > 0 && data[0] == '{' && bytes.Contains(data, []byte(`"specversion"`))
}

// datedBy is m with the time of the event, which dates what it carries.
func (m message) datedBy(key string, at stamp) (message, error) {
	if err := at.check(); err != nil {
		return m, fmt.Errorf("%s: %w", key, err)
	}
	m.at, m.dated = at, true
	return m, nil
}

func checkSpec(key, version string) error {
	if version != ceVersion {
		return fmt.Errorf("%s: %q, want %s", key, cut(version, MaxNameBytes), ceVersion)
	}
	return nil
}

// header finds a header whatever the case of its name.
func header(h nats.Header, name string) (string, bool) {
	for key, values := range h {
		if len(values) > 0 && strings.EqualFold(key, name) {
			return values[0], true
		}
	}
	return "", false
}

// eventHeader are the attributes of a message that says all of itself in its body.
func eventHeader(id, node string, c Class, at time.Time) nats.Header {
	h := nats.Header{}
	// Not Set: it would write Ce-Id.
	h[ceSpec] = []string{ceVersion}
	h[ceID] = []string{ceValue(id)}
	h[ceSource] = []string{ceSourcePrefix + url.PathEscape(node)}
	h[ceType] = []string{ceTypePrefix + string(c)}
	h[ceTime] = []string{at.UTC().Format(time.RFC3339Nano)}
	return h
}

// ceValue escapes what the binding wants escaped in a header: all that is no printable
// ASCII, and the space, the quote and the percent sign.
func ceValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
