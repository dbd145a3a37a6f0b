// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/steelyard-lb/steelyard/core"
)

const asyncAPI = "../docs/asyncapi.yaml"

// An apiDoc is docs/asyncapi.yaml with the types of JSON.
type apiDoc map[string]any

func readAPI(t *testing.T) apiDoc {
	t.Helper()
	text, err := os.ReadFile(asyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	js, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
	if err != nil {
		t.Fatal(err)
	}
	return doc.(map[string]any)
}

// at follows a reference such as #/channels/probe; nil if it leads nowhere.
func (d apiDoc) at(ref string) any {
	var here any = map[string]any(d)
	for _, key := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := here.(map[string]any)
		here = m[key]
	}
	return here
}

// each calls fn for every mapping below v.
func each(v any, fn func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		fn(v)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			each(v[key], fn)
		}
	case []any:
		for _, one := range v {
			each(one, fn)
		}
	}
}

// TestAsyncAPIIsWhole: each reference leads somewhere, and each channel has its
// parameters, a message and an operation.
func TestAsyncAPIIsWhole(t *testing.T) {
	d := readAPI(t)
	if d["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi: %v", d["asyncapi"])
	}
	used := map[string]bool{}
	each(map[string]any(d), func(m map[string]any) {
		if ref, ok := m["$ref"].(string); ok {
			used[ref] = true
			if d.at(ref) == nil || !strings.HasPrefix(ref, "#/") {
				t.Errorf("reference to %s, which is not there", ref)
			}
		}
	})
	for kind, all := range d["components"].(map[string]any) {
		for name := range all.(map[string]any) {
			if ref := "#/components/" + kind + "/" + name; !used[ref] {
				t.Errorf("nothing refers to %s", ref)
			}
		}
	}
	parameter := regexp.MustCompile(`\{([a-z]+)\}`)
	for name, c := range d["channels"].(map[string]any) {
		channel := c.(map[string]any)
		var inAddress []string
		for _, m := range parameter.FindAllStringSubmatch(channel["address"].(string), -1) {
			inAddress = append(inAddress, m[1])
		}
		slices.Sort(inAddress)
		described := slices.Sorted(maps.Keys(channel["parameters"].(map[string]any)))
		if diff := cmp.Diff(inAddress, described); diff != "" {
			t.Errorf("channel %s: -address +parameters\n%s", name, diff)
		}
		if !used["#/channels/"+name] || len(channel["messages"].(map[string]any)) != 1 || channel["description"] == nil {
			t.Errorf("channel %s: want a description, one message and an operation", name)
		}
	}
}

// TestAsyncAPIHasEachSubject: the channels are the table of classes.
func TestAsyncAPIHasEachSubject(t *testing.T) {
	var want, got []string
	for _, f := range classes {
		want = append(want, Prefix+"."+string(f.class)+".{"+strings.Join(f.tokens, "}.{")+"}")
	}
	for _, c := range readAPI(t)["channels"].(map[string]any) {
		got = append(got, c.(map[string]any)["address"].(string))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-table of classes +%s\n%s", asyncAPI, diff)
	}
}

// schemaOf is the schema of what is said on a subject, by which a key that is not in the
// document is wrong.
func schemaOf(t *testing.T, subject string) (*jsonschema.Schema, map[string]any, apiDoc) {
	t.Helper()
	d := readAPI(t)
	each(d["components"].(map[string]any)["schemas"], func(m map[string]any) {
		if _, open := m["additionalProperties"]; m["properties"] != nil && !open {
			m["additionalProperties"] = false
		}
	})
	where, err := ParseSubject(subject)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range d["channels"].(map[string]any) {
		channel := c.(map[string]any)
		tokens := strings.Split(strings.TrimPrefix(channel["address"].(string), Prefix+"."), ".")
		if tokens[0] != string(where.Class) || len(tokens)-1 != len(where.Names) {
			continue
		}
		for _, m := range channel["messages"].(map[string]any) {
			message := d.at(m.(map[string]any)["$ref"].(string)).(map[string]any)
			ref := message["payload"].(map[string]any)["$ref"].(string)
			compiler := jsonschema.NewCompiler()
			compiler.DefaultDraft(jsonschema.Draft7)
			compiler.AssertFormat()
			if err := compiler.AddResource("asyncapi.json", map[string]any(d)); err != nil {
				t.Fatal(err)
			}
			schema, err := compiler.Compile("asyncapi.json" + ref)
			if err != nil {
				t.Fatal(err)
			}
			return schema, d.at(ref).(map[string]any), d
		}
	}
	t.Fatalf("no channel for %s", subject)
	panic("not reached")
}

// TestMessagesAreAsDocumented: what a bus sends, with every field set and with none, has
// no key that is not in the document; and with every field set, all that are.
func TestMessagesAreAsDocumented(t *testing.T) {
	b, err := Start(t.Context(), Options{Node: "lb1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	got := make(chan *nats.Msg, 16)
	if _, err := b.control.ChanSubscribe(Prefix+".>", got); err != nil {
		t.Fatal(err)
	}
	if err := b.control.Flush(); err != nil {
		t.Fatal(err)
	}
	publish := func(err error) (subject string, body any) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-got:
			body, err := jsonschema.UnmarshalJSON(bytes.NewReader(m.Data))
			if err != nil {
				t.Fatal(err)
			}
			return m.Subject, body
		case <-time.After(30 * time.Second):
			t.Fatal("no message came")
		}
		panic("not reached")
	}
	valid := func(subject string, body any) {
		t.Helper()
		schema, _, _ := schemaOf(t, subject)
		if err := schema.Validate(body); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
	}
	whole := func(subject string, body any) {
		t.Helper()
		valid(subject, body)
		_, schema, d := schemaOf(t, subject)
		d.missing(schema, body, subject, func(path string) { t.Errorf("%s is documented, and never sent", path) })
	}

	whole(publish(b.PublishSample(filled[core.Sample]())))
	whole(publish(b.PublishHealth(filled[core.HealthChange]())))
	whole(publish(b.PublishDecision(filled[core.Decision]())))
	whole(publish(b.PublishCommit(filled[core.Commit]())))
	whole(publish(b.PublishEvent(filled[core.Event]())))
	whole(publish(b.PublishPresence(filled[core.Presence]())))
	v := filled[core.Vector]()
	v.Backends[0].Slots = core.Slots
	whole(publish(b.PublishVector(v)))
	whole(publish(b.PublishFlows(filled[core.FlowReport](), "blue")))

	least := core.BackendID{Service: "web", Backend: "web1"}
	valid(publish(b.PublishSample(core.Sample{Backend: least, Probe: "http", Node: "lb1", Role: core.HealthRole, TakenAt: noon})))
	valid(publish(b.PublishMetric("zabbix", core.Sample{Backend: least, Probe: "load", Metrics: []core.Metric{{Name: "load"}}})))
	valid(publish(b.PublishMetric("zabbix", core.Sample{Backend: core.BackendID{Backend: "web1"}, Probe: "load", Metrics: []core.Metric{{Name: "load"}}})))
	valid(publish(b.PublishHealth(core.HealthChange{Backend: least})))
	valid(publish(b.PublishDecision(core.Decision{Service: "web", Outcome: core.Unchanged})))
	for _, d := range recordedDecisions(t) {
		valid(publish(b.PublishDecision(d)))
	}
	valid(publish(b.PublishCommit(core.Commit{})))
	valid(publish(b.PublishEvent(core.Event{Severity: core.Info, Topic: "x"})))
	valid(publish(b.PublishPresence(core.Presence{Group: "blue"})))
	valid(publish(b.PublishVector(core.Vector{Service: "web", Group: "blue", Epoch: 1})))
	valid(publish(b.PublishFlows(core.FlowReport{Service: "web"}, "blue")))
}

// recordedDecisions are such as an engine made in its own tests: of each outcome, state
// of a backend and step of shaping one at least.
func recordedDecisions(t *testing.T) (out []core.Decision) {
	t.Helper()
	text, err := os.ReadFile("testdata/decisions.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var d core.Decision
		if err := json.Unmarshal(line, &d); err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	if len(out) < 10 {
		t.Fatalf("%d recorded decisions, want more", len(out))
	}
	return out
}

// TestDocumentTakesWhatMonitorsMaySend, and nothing that is no reading at all.
func TestDocumentTakesWhatMonitorsMaySend(t *testing.T) {
	validate := func(subject, body string) error {
		schema, _, _ := schemaOf(t, Prefix+"."+subject)
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	for _, form := range monitorForms() {
		if err := validate(form.subject, form.body); err != nil {
			t.Errorf("%s: %v", form.name, err)
		}
	}
	for _, body := range []string{`"0.42"`, `null`, `{}`, `{"v":2,"value":1}`, `{"value":1,"metrics":{"a":1}}`, `{"metrics":{"a":{}}}`, `[[1]]`,
		`{"specversion":"0.3","data":1}`, `{"specversion":"1.0"}`, `{"value":1,"role":"health"}`, `{"value":1,"ttl_ms":-1}`} {
		if validate("metric.zabbix.web1.load", body) == nil {
			t.Errorf("the document takes %s", body)
		}
	}
}

// missing tells of each key of a schema that a body lacks.
func (d apiDoc) missing(schema map[string]any, body any, path string, tell func(string)) {
	if ref, ok := schema["$ref"].(string); ok {
		schema = d.at(ref).(map[string]any)
	}
	switch body := body.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for _, one := range body {
			d.missing(items, one, path+"[]", tell)
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for key, s := range properties {
			if v, ok := body[key]; ok {
				d.missing(s.(map[string]any), v, path+"."+key, tell)
			} else {
				tell(path + "." + key)
			}
		}
	}
}

// filled is a value with every field set.
func filled[T any]() T {
	var v T
	fillValue(reflect.ValueOf(&v).Elem())
	return v
}

// fillValue sets all of a value to something that the wire takes.
func fillValue(v reflect.Value) {
	known := []any{noon, core.Up, core.Applied, core.StateUp, core.OverrideDrain, core.L7OK, core.HealthRole, core.AdminDrain, core.Warn, time.Second}
	for _, k := range known {
		if v.Type() == reflect.TypeOf(k) {
			v.Set(reflect.ValueOf(k))
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillValue(v.Index(0))
	case reflect.String:
		v.SetString("lb1")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		panic("no value for " + v.Type().String())
	}
}
