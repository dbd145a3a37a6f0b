// SPDX-License-Identifier: Apache-2.0

package config

import "bytes"

// ShowShared is a document like Shared.YAML as people may see it: in the same form,
// with a word in the place of each secret. name is what its problems are said to be of.
func ShowShared(name string, document []byte) ([]byte, error) {
	l := newLoader(Options{})
	v, ok := parseYAML(&l.ps, name, 0, document, maxPushedFree)
	if ok {
		l.onlyShared(v)
		l.merge(v)
	}
	if err := l.ps.errors(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	(&emitter{w: &b, note: func(string) string { return "" }}).object(&table, redact(&table, l.tree).(map[string]any), "", 0)
	return b.Bytes(), nil
}
