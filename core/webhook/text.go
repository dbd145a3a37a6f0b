// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// samples are what templates are tried on when they are loaded.
var samples = []message{
	{subject: prefix + "health.web.web1", data: []byte(`{"v":1,"src":"lb1","ts":"2026-01-02T15:04:05Z","service":"web","backend":"web1","from":"up","to":"down","probe":"http","code":"L7STS","detail":"it said \"500\""}`)},
	{subject: prefix + "event.error.policy", data: []byte(`{"v":1,"ts":"2026-01-02T15:04:05Z","node":"lb1","severity":"error","topic":"policy","service":"web","message":"it \"failed\""}`)},
	{subject: prefix + "decision.web", data: []byte(`{"v":1,"seq":7,"service":"web","node":"lb1","at":"2026-01-02T15:04:05Z","trigger":"web1 went down","policy":"weighted","outcome":"applied","backends":[{"backend":"web1","share_ratio":0.5}]}`)},
	{subject: prefix + "commit.lb1", data: []byte(`{"v":1,"node":"lb1","ts":"2026-01-02T15:04:05Z","generation":412,"changed_elements":2,"took_seconds":0.0002}`)},
	{subject: prefix + "probe.web.web1.http.lb1", data: []byte(`{"v":1,"src":"lb1","ts":"2026-01-02T15:04:05Z","service":"web","backend":"web1","probe":"http","ok":true,"code":"L7OK","detail":"200"}`)},
	{subject: prefix + "metric.zabbix.web1.cpu", data: []byte(`0.42`)},
}

func (m message) class() string {
	class, _, _ := strings.Cut(strings.TrimPrefix(m.subject, prefix), ".")
	return class
}

// view is what a template sees.
func view(m message, e cloudEvent) Event {
	var data map[string]any
	_ = json.Unmarshal(m.data, &data) // a bare number has no fields
	out := Event{ID: e.ID, Type: e.Type, Class: m.class(), Subject: m.subject, Time: e.Time, Data: data}
	out.Node = cmp.Or(text(data, "node"), text(data, "src"))
	out.Service, out.Backend = text(data, "service"), text(data, "backend")
	out.Severity = severity(out.Class, data)
	out.Text = sentence(out)
	return out
}

func text(data map[string]any, key string) string {
	s, _ := data[key].(string)
	return s
}

// severity is that of an event; for the other classes what an operator would say.
func severity(class string, data map[string]any) string {
	switch {
	case class == "event":
		return text(data, "severity")
	case class == "health" && text(data, "to") == "down":
		return "error"
	case class == "decision" && text(data, "outcome") == "failed":
		return "error"
	}
	return "info"
}

// sentence tells a message in one line.
func sentence(e Event) string {
	d := e.Data
	object := e.Service
	if e.Backend != "" {
		object += "/" + e.Backend
	}
	switch e.Class {
	case "health":
		s := fmt.Sprintf("%s went %s", object, text(d, "to"))
		if why := strings.TrimSpace(text(d, "code") + " " + text(d, "detail")); why != "" {
			s += ": " + why
		}
		return s
	case "event":
		if object != "" {
			return object + ": " + text(d, "message")
		}
		return text(d, "message")
	case "probe":
		return strings.TrimSpace(fmt.Sprintf("%s %s: %s %s", object, text(d, "probe"), text(d, "code"), text(d, "detail")))
	case "decision":
		return fmt.Sprintf("%s: %s after %s", object, text(d, "outcome"), text(d, "trigger"))
	case "commit":
		return fmt.Sprintf("generation %v is in force", d["generation"])
	}
	return e.Subject
}
