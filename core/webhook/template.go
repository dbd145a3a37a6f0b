// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	maxTemplate = 16 << 10
	maxRendered = 256 << 10
)

// An Event is what a template sees of a message.
type Event struct {
	ID, Type, Class, Subject string
	Time                     time.Time
	Node, Service, Backend   string // empty where the message names none
	Severity                 string // of an event; of the others what fits: info, warn or error
	Text                     string // the message in one line
	Data                     map[string]any
}

// funcs are what templates have beside those of text/template: json writes a value as
// JSON, quotes included, which keeps a body whole whatever a text holds.
var funcs = template.FuncMap{
	"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	},
	"upper": strings.ToUpper,
}

// CheckTemplate says what is wrong with the template of a body that is to be JSON.
func CheckTemplate(text string) error {
	_, err := parseTemplate(text, true)
	return err
}

// parseTemplate reads a template and tries it on samples of each kind of message; nil
// for an empty one.
func parseTemplate(text string, asJSON bool) (*template.Template, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("%d bytes, want at most %d", len(text), maxTemplate)
	}
	t, err := template.New("template").Funcs(funcs).Option("missingkey=zero").Parse(text)
	if err != nil {
		return nil, err
	}
	if err := tame(t); err != nil {
		return nil, err
	}
	for _, m := range samples {
		body, err := render(t, view(m, newEvent(m, about{Node: "lb1"}, m.class(), "0")))
		if err != nil {
			return nil, err
		}
		if asJSON && !json.Valid(body) {
			return nil, fmt.Errorf("it makes %.200q of %s, which is no JSON; write values as {{json .Text}}, without quotes around, or set the header Content-Type", body, m.subject)
		}
	}
	return t, nil
}

// maxRanges is how deep ranges may stand in each other: the steps of the backends of a
// decision.
const maxRanges = 2

// tame refuses what could run without end: templates that call each other, ranges over
// anything but lists of the message, and those in each other without a limit.
func tame(t *template.Template) error {
	if len(t.Templates()) > 1 {
		return errors.New("define and block cannot be used here")
	}
	if t.Tree == nil {
		return nil
	}
	return tameNode(t.Root, 0)
}

func tameNode(n parse.Node, ranges int) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, one := range n.Nodes {
			if err := tameNode(one, ranges); err != nil {
				return err
			}
		}
	case *parse.TemplateNode:
		return errors.New("template cannot be used here")
	case *parse.RangeNode:
		return tameRange(n, ranges+1)
	case *parse.IfNode:
		return errors.Join(tameNode(n.List, ranges), tameNode(n.ElseList, ranges))
	case *parse.WithNode:
		return errors.Join(tameNode(n.List, ranges), tameNode(n.ElseList, ranges))
	}
	return nil
}

func tameRange(n *parse.RangeNode, ranges int) error {
	switch {
	case ranges > maxRanges:
		return fmt.Errorf("there are %d ranges in each other, want at most %d", ranges, maxRanges)
	case !isField(n.Pipe):
		return errors.New("range goes over a field, such as .Data.backends")
	}
	return errors.Join(tameNode(n.List, ranges), tameNode(n.ElseList, ranges))
}

// isField reports whether a pipe is a field and nothing else. What a variable or a
// function gives could be a number to count to.
func isField(p *parse.PipeNode) bool {
	if len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return false
	}
	switch a := p.Cmds[0].Args[0].(type) {
	case *parse.FieldNode:
		return true
	case *parse.VariableNode:
		return len(a.Ident) > 1 // $b.steps
	}
	return false
}

// errLong ends a rendering.
var errLong = fmt.Errorf("the body is longer than %d bytes", maxRendered)

type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxRendered {
		return 0, errLong
	}
	return b.Buffer.Write(p)
}

func render(t *template.Template, e Event) ([]byte, error) {
	var b bounded
	if err := t.Execute(&b, e); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// isJSON reports whether the receiver is told that the body is JSON.
func isJSON(headers []core.Header) bool {
	for _, h := range headers {
		if strings.EqualFold(h.Name, "Content-Type") {
			return strings.Contains(strings.ToLower(h.Value.Reveal()), "json")
		}
	}
	return true
}
