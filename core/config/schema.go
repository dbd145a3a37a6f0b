// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"strconv"
)

// SchemaID is the name by which the schema is known; nothing fetches it.
const SchemaID = "https://steelyard-lb.github.io/schema/v1.json"

// Schema is the JSON Schema (draft 2020-12) of a whole configuration, for
// editors: put `# yaml-language-server: $schema=FILE` into the first line. It
// says what one value must look like; what several values must be together is
// only in Load.
func Schema() []byte {
	s := schemaOf(&table)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = SchemaID
	s["title"] = "steelyard configuration"
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // a tree of strings, numbers and bools has no error
	}
	return append(data, '\n')
}

func schemaOf(k *key) map[string]any {
	s := map[string]any{}
	if k.doc != "" {
		s["description"] = k.doc
	}
	if k.def != "" {
		s["default"] = k.defaultValue()
	}
	switch k.kind {
	case kText, kSecret:
		s["type"] = "string"
		if k.numeric {
			s["type"], s["minimum"], s["maximum"] = []string{"string", "integer"}, k.min, k.max
		}
		if k.asIs {
			s["type"] = []string{"string", "number", "boolean", "null"}
		}
		if k.pattern != nil {
			s["pattern"] = k.pattern.String()
		}
	case kWord:
		s["enum"] = words(k.enum)
	case kInt, kNumber:
		s["type"], s["minimum"], s["maximum"] = "number", k.min, k.max
		if k.kind == kInt {
			s["type"] = "integer"
		}
	case kBool:
		s["type"] = "boolean"
	case kDuration:
		// A bare number other than 0 has no unit.
		s["type"], s["minimum"], s["maximum"] = []string{"string", "integer"}, 0, 0
		s["pattern"] = `^(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)([0-9.]+(ns|us|µs|μs|ms|s|m|h))*)$`
	case kList:
		if s["type"], s["items"] = nullable("array"), schemaOf(k.elem); k.one {
			one := map[string]any{"type": s["type"], "items": s["items"]}
			delete(s, "type")
			delete(s, "items")
			s["anyOf"] = []any{schemaOf(k.elem), one}
		}
	default:
		schemaOfMap(k, s)
	}
	return s
}

func schemaOfMap(k *key, s map[string]any) {
	s["type"] = nullable("object")
	switch k.kind {
	case kMap:
		pattern, _ := k.naming()
		s["propertyNames"] = map[string]any{"pattern": pattern.String()}
		s["additionalProperties"] = schemaOf(k.elem)
		if k.required {
			s["type"], s["minProperties"] = "object", 1
		}
	case kNumbers:
		s["propertyNames"] = map[string]any{"pattern": paramPattern.String()}
		s["additionalProperties"] = map[string]any{"type": []string{"number", "boolean"}}
	case kNamed:
		pattern, _ := k.naming()
		s["propertyNames"] = map[string]any{"pattern": pattern.String()}
		s["additionalProperties"] = schemaOf(k.elem)
	case kPins:
		s["additionalProperties"] = schemaOf(&pinKey)
	case kObject:
		schemaOfKeys(k.keys, s)
		if s["required"] != nil {
			s["type"] = "object"
		}
		if k.flip != "" {
			s["type"] = append(nullable("object"), "boolean")
		}
	case kVariant:
		var types []any
		for _, v := range k.variants {
			one := map[string]any{"description": v.doc}
			schemaOfKeys(v.keys, one)
			one["properties"].(map[string]any)["type"] = map[string]any{"const": v.name}
			types = append(types, map[string]any{
				"if":   map[string]any{"properties": map[string]any{"type": map[string]any{"const": v.name}}},
				"then": one,
			})
		}
		s["type"], s["required"], s["allOf"] = "object", []string{"type"}, types
		s["properties"] = map[string]any{"type": schemaOf(find(k.variants[0].keys, "type"))}
	}
}

func schemaOfKeys(keys []key, s map[string]any) {
	props := map[string]any{}
	var required []string
	for i := range keys {
		props[keys[i].name] = schemaOf(&keys[i])
		if keys[i].required {
			required = append(required, keys[i].name)
		}
	}
	s["properties"], s["additionalProperties"] = props, false
	if required != nil {
		s["required"] = required
	}
}

// nullable is a type that may also be left empty, as in "services:" alone.
func nullable(typ string) []string { return []string{typ, "null"} }

// words are the values of an enum. A word that looks like a number may be
// written as one: version: 3.
func words(enum []string) []any {
	var out []any
	for _, w := range enum {
		out = append(out, w)
		if n, err := strconv.Atoi(w); err == nil {
			out = append(out, n)
		}
	}
	return out
}
