// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"net/netip"
)

const examples = "../../examples"

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance reads YAML as the validator wants it: with the types of JSON.
func instance(t *testing.T, data []byte) any {
	t.Helper()
	js, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSchemaAgreesWithLoad: what Load takes the schema takes, and what one
// value alone gets wrong both refuse. The semantic mistakes are only Load's.
func TestSchemaAgreesWithLoad(t *testing.T) {
	s := compileSchema(t)
	for _, file := range exampleFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(instance(t, data)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, data := range []string{web, secrets, "services:\nprobes:\n"} {
		if err := s.Validate(instance(t, []byte(data))); err != nil {
			t.Errorf("%s\n%v", data, err)
		}
	}
	for _, name := range []string{"unknown-key", "type", "enum", "range", "name", "missing", "probe-keys", "snmp", "policy-file", "frontends", "limits", "qos",
		"cluster", "http", "bus-users", "webhooks", "probe-common", "probe-tcp", "probe-http", "probe-net", "probe-exec", "probe-metrics", "probe-foreign", "health", "maintenance"} {
		data, err := os.ReadFile("testdata/bad-" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(instance(t, data)) == nil {
			t.Errorf("the schema takes bad-%s.yaml", name)
		}
	}
}

// TestDurationPattern holds the schema's pattern against what Load takes.
func TestDurationPattern(t *testing.T) {
	pattern := regexp.MustCompile(schemaOf(&key{kind: kDuration})["pattern"].(string))
	k := key{kind: kDuration, max: 1e6}
	for _, word := range []string{"0", "2s", "1m30s", "1.5s", ".5s", "100ms", "1h", "", "s", "5", "1 s", "1d", "-1s", "1s!", "two"} {
		_, why, _ := scalar(&k, value{shape: isText, text: word})
		if got, want := pattern.MatchString(word), why == ""; got != want {
			t.Errorf("%q: the schema says %t, Load says %t (%s)", word, got, want, why)
		}
	}
}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(examples + "/*/steelyard.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("glob: %v, %v", files, err)
	}
	return append(files, examples+"/reference.yaml")
}

// TestReferenceFile keeps examples/reference.yaml what Reference prints.
func TestReferenceFile(t *testing.T) {
	path := examples + "/reference.yaml"
	if *update {
		if err := os.WriteFile(path, Reference(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(Reference()), string(got)); d != "" {
		t.Errorf("%s is not what the table says; run go test -update (-want +got):\n%s", path, d)
	}
}

// TestReferenceHasEveryKey looks for a line, commented out or not, for every row
// of the table.
func TestReferenceHasEveryKey(t *testing.T) {
	var have []string
	line := regexp.MustCompile(`^(?:# |  )*(?:- )?([a-z0-9_-]+):`)
	for l := range strings.Lines(string(Reference())) {
		if m := line.FindStringSubmatch(l); m != nil {
			have = append(have, m[1])
		}
	}
	var walk func(k *key)
	walk = func(k *key) {
		for _, name := range k.children() {
			if !slices.Contains(have, name) {
				t.Errorf("no line for %q", name)
			}
			c := k.child(name)
			if c.doc == "" {
				t.Errorf("key %q has no documentation", name)
			}
			walk(c)
		}
		if k.elem != nil {
			walk(k.elem)
		}
	}
	walk(&table)
}

// TestReferenceIsTheDefaults loads the reference and a file with only what is
// required, and expects the same.
func TestReferenceIsTheDefaults(t *testing.T) {
	ref := mustLoad(t, files{"/etc/s.yaml": string(Reference())}.options())
	short := mustLoad(t, files{"/etc/s.yaml": `
probes:
  tcp: {type: tcp}
  http: {type: http}
  ping: {type: ping}
  dns: {type: dns}
  grpc: {type: grpc}
  udp: {type: udp}
  exec: {type: exec, command: [/bin/true]}
  agent: {type: agent, port: 9777}
  response-time: {type: response_time}
  snmp-cpu: {type: snmp_cpu, community: change me}
  snmp: {type: snmp, community: change me, metrics: {load: {oid: 1.3.6.1.4.1.2021.10.1.3.1}}}
  prometheus: {type: prometheus, metrics: {load: {series: node_load1}}}
services: {web: {vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}}
`}.options())
	if d := cmp.Diff(short, ref, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Errorf("the defaults and the reference differ (-defaults +reference):\n%s", d)
	}
}

// TestReferenceWithoutCommentSigns takes the "# " off the other ways to write
// things, a block at a time, and expects YAML with known keys.
func TestReferenceUncommented(t *testing.T) {
	text := regexp.MustCompile(`(?m)^( *)# ( *(?:- )?[a-z0-9_-]+:)`).ReplaceAllString(string(Reference()), "$1$2")
	_, err := Load(files{"/etc/s.yaml": text}.options())
	if err == nil {
		t.Fatal("secrets given twice were taken")
	}
	for _, p := range err.(Errors) {
		if strings.HasPrefix(p.Message, "unknown key") || strings.HasPrefix(p.Message, "not YAML") {
			t.Error(p)
		}
	}
}

// TestRawTypesMatchTable holds the raw types against the table, both ways.
func TestRawTypesMatchTable(t *testing.T) {
	var walk func(path string, k *key, typ reflect.Type)
	walk = func(path string, k *key, typ reflect.Type) {
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if k.kind == kMap {
			walk(path+".*", k.elem, typ.Elem())
			return
		}
		if k.kind != kObject && k.kind != kVariant {
			return
		}
		fields := map[string]reflect.Type{}
		for _, f := range reflect.VisibleFields(typ) {
			if !f.Anonymous {
				fields[f.Tag.Get("key")] = f.Type
			}
		}
		for _, name := range k.children() {
			ft, ok := fields[name]
			if !ok {
				t.Errorf("%s.%s is in the table only", path, name)
				continue
			}
			delete(fields, name)
			walk(path+"."+name, k.child(name), ft)
		}
		for name := range fields {
			t.Errorf("%s.%s is in the raw types only", path, name)
		}
	}
	walk("", &table, reflect.TypeFor[raw]())
}

// TestVariantsAgree: a key that several types of probe have means one thing.
func TestVariantsAgree(t *testing.T) {
	kinds := map[string]kind{}
	for _, v := range probeKey.variants {
		for _, k := range v.keys {
			if other, ok := kinds[k.name]; ok && other != k.kind {
				t.Errorf("%s of %s is %s, elsewhere %s", k.name, v.name, k.kind, other)
			}
			kinds[k.name] = k.kind
		}
	}
}

// TestViewLoadsAgain: the effective configuration is a configuration, and an
// equal one.
func TestViewLoadsAgain(t *testing.T) {
	first := mustLoad(t, files{"/etc/s.yaml": web}.options())
	again := mustLoad(t, files{"/etc/s.yaml": string(first.YAML(true))}.options())
	if first.Hash != again.Hash {
		t.Errorf("the hash changed:\n%s\n%s", first.YAML(false), again.YAML(false))
	}
}
