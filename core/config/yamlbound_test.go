// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

// TestYAMLThatIsReadSlowly: the parser of all of YAML copies a map once for each of its keys,
// so that a pushed document of 16 MiB could keep a node busy for hours. It is not given such.
func TestYAMLThatIsReadSlowly(t *testing.T) {
	const n = maxBeside + 1
	each := func(head, lines string) string { return head + strings.Repeat(lines, n) }
	for name, text := range map[string]string{
		"a map":                    each("", "x: 1 \n"),
		"with an anchor each":      each("", "&a x: 1\n"),
		"with a comment each":      each("services:\n", "  x: 1 \n#\n"),
		"with brackets each":       each("services:\n", "  x: [\n]\n"),
		"with a quoted break each": each("services:\n", "  x: \"\ny\"\n"),
		"in a list":                each("services:\n  - a: 1 \n", "    a: 1\n"),
		"explicit keys":            each("", "? x\n"),
		"in brackets":              each("services: {", "x: 1,\n"),
		"a list in brackets":       each("services: [", "x: 1\n"),
		"documents":                each("", "---\n"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(elsewhere(files{"/etc/s.yaml": text}))
			if err == nil || !strings.Contains(err.Error(), "lines side by side") {
				t.Errorf("%.200v, want it refused for its keys", err)
			}
		})
	}
	o := elsewhere(files{"/etc/s.yaml": following, "/l.yaml": web + strings.Repeat("# it was pushed \n", maxPushedFree/16)})
	o.Layers = []string{"/l.yaml"}
	if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "/l.yaml: the file has more than 4 MB of YAML that is read slowly") {
		t.Errorf("%.200v, want it refused for its size", err)
	}
}

// Many keys are fine where no map has that many, and in what is plain anyway.
func TestYAMLWithManyKeys(t *testing.T) {
	long := strings.Repeat("      # a backend \n", 2*maxBeside)
	services := manyServices(1300)
	for name, text := range map[string]string{
		"comments":      web + long,
		"many services": strings.Replace(services, "services:", "services: # of all \n", 1) + long,
	} {
		if _, err := Load(elsewhere(files{"/etc/s.yaml": text})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
