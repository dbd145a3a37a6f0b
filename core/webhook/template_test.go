// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

func TestCheckTemplate(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"none":             {"", ""},
		"Slack":            {`{"text":{{json .Text}}}`, ""},
		"fields":           {`{"a":{{json .Data.detail}},"b":{{json (upper .Severity)}},"c":{{json .Time}}}`, ""},
		"a list":           {`[{{range $i, $b := .Data.backends}}{{if $i}},{{end}}{{json $b.backend}}{{end}}]`, ""},
		"not closed":       {`{"text":{{json .Text`, "unclosed action"},
		"no such function": {`{{shell "id"}}`, `"shell" not defined`},
		"no such field":    {`{{json .Txt}}`, "Txt"},
		"quotes around":    {`{"text":"{{.Text}}"}`, "no JSON"},
		"no quotes":        {`{"text":{{.Text}}}`, "no JSON"},
		"for ever":         {`{{range 1000000000000}}{{end}}0`, "goes over a field"},
		"for ever inside":  {`{{if true}}{{with .}}{{range $i := 1000000000000}}{{end}}{{end}}{{end}}0`, "goes over a field"},
		"by a variable":    {`{{$n := 1000000000000}}{{range $n}}{{end}}0`, "goes over a field"},
		"by a function":    {`{{range len (printf "%1000000d" 1)}}{{end}}0`, "goes over a field"},
		"three deep":       {`{{range .Data}}{{range $.Data}}{{range $.Data}}{{end}}{{end}}{{end}}0`, "want at most 2"},
		"two deep":         {`{{range .Data.backends}}{{range .steps}}{{end}}{{end}}0`, ""},
		"by itself":        {`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, "define"},
		"without an end":   {`{{template "template" .}}`, "template cannot"},
		"long":             {strings.Repeat(" ", maxTemplate+1), "at most"},
		"long when made":   {`"` + strings.Repeat(`{{printf "%100000d" 1}}`, 10) + `"`, "longer than"},
	} {
		err := CheckTemplate(tt.text)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want it to speak of %q", name, err, tt.want)
		}
	}
}

func TestTemplateOfAnotherType(t *testing.T) {
	cfg := Config{Name: "ntfy", URL: "https://ntfy.example.org/lb", Patterns: []string{"event.>"}, Template: `{{.Text}}`,
		Headers: []core.Header{{Name: "content-type", Value: "text/plain"}}}
	h, err := newHook(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := h.request(message{healthSubject, []byte(healthBody), time.Now()})
	if want := "web/web1 went down: L4CON refused"; !ok || string(r.body) != want {
		t.Errorf("body %q, want %q", r.body, want)
	}
}

// A message that the template makes nothing good of is told plainly.
func TestTemplateThatFails(t *testing.T) {
	h, err := newHook(Config{Name: "x", URL: "http://127.0.0.1", Patterns: []string{">"},
		Template: `{"text":{{if eq .Service "odd"}}{{else}}{{json .Text}}{{end}}}`})
	if err != nil {
		t.Fatal(err)
	}
	r, ok := h.request(message{prefix + "event.error.x", []byte(`{"service":"odd","message":"m"}`), time.Now()})
	if !ok || !strings.Contains(string(r.body), `"specversion":"1.0"`) || !strings.Contains(r.kind, "cloudevents") {
		t.Errorf("%s: %s", r.kind, r.body)
	}
}

func TestSentences(t *testing.T) {
	want := []string{
		`web/web1 went down: L7STS it said "500"`,
		`web: it "failed"`,
		`web: applied after web1 went down`,
		`generation 412 is in force`,
		`web/web1 http: L7OK 200`,
		prefix + "metric.zabbix.web1.cpu",
	}
	for i, m := range samples {
		if got := view(m, cloudEvent{}).Text; got != want[i] {
			t.Errorf("%s: %q, want %q", m.subject, got, want[i])
		}
	}
}

// The templates of docs/http.md are good ones.
func TestDocsTemplates(t *testing.T) {
	doc, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?m)^\\| (.*) \\| `(.*\\{\\{.*)` \\|$").FindAllStringSubmatch(string(doc), -1)
	if len(found) != 4 {
		t.Fatalf("%d templates in docs/http.md, want 4", len(found))
	}
	for _, m := range found {
		if _, err := parseTemplate(m[2], !strings.Contains(m[1], "text/plain")); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{`{"text":{{json .Text}}}`, `{{range $i, $b := .Data.backends}}{{$b.backend}}{{end}}`, `{{with .Data}}{{.x}}{{else}}1{{end}}`, `{{define "x"}}{{end}}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if CheckTemplate(text) != nil || text == "" {
			return
		}
		h, err := newHook(Config{Name: "x", URL: "http://127.0.0.1", Patterns: []string{">"}, Template: text})
		if err != nil {
			t.Fatalf("%q is good, and the hook is not: %v", text, err)
		}
		for _, m := range samples {
			if r, ok := h.request(m); !ok || !json.Valid(r.body) {
				t.Errorf("%q made %q of %s", text, r.body, m.subject)
			}
		}
	})
}
