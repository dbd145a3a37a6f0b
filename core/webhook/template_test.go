// SPDX-License-Identifier: Apache-2.0

package webhook

import (
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
		"for ever":         {`{{range 1000000000000}}{{end}}0`, "not over numbers"},
		"for ever inside":  {`{{if true}}{{with .}}{{range $i := 1000000000000}}{{end}}{{end}}{{end}}0`, "not over numbers"},
		"by a variable":    {`{{$n := 1000000000000}}{{range $n}}{{end}}0`, "cannot be a number"},
		"by itself":        {`{{define "x"}}{{template "x"}}{{end}}{{template "x"}}`, "define"},
		"without an end":   {`{{template "template" .}}`, "template cannot"},
		"long":             {strings.Repeat(" ", maxTemplate+1), "at most"},
		"long when made":   {`"{{range .Data}}` + strings.Repeat("x", 15000) + strings.Repeat(`{{range $.Data}}{{range $.Data}}{{range $.Data}}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{{end}}{{end}}{{end}}`, 3) + `{{end}}"`, "longer than"},
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

func TestSentences(t *testing.T) {
	want := []string{
		`web/web1 went down: L7STS it said "500"`,
		`web: it "failed"`,
		`web: applied after web1 went down`,
		`generation 412 is in force`,
		prefix + "metric.zabbix.web1.cpu",
	}
	for i, m := range samples {
		if got := view(m, cloudEvent{}).Text; got != want[i] {
			t.Errorf("%s: %q, want %q", m.subject, got, want[i])
		}
	}
}
