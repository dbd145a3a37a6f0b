// SPDX-License-Identifier: Apache-2.0

package config

import (
	"reflect"
)

// Values of cluster.definitions_exec.
const (
	execDeny  = "deny"
	execAllow = "allow"
)

// runKeys are the keys of a probe that say what runs, as whom and where.
var runKeys = []string{"command", "type", "user", "env", "netns"}

// notePushedRuns remembers the probes of which a pushed layer says something else about
// what runs than the node does itself. It must be called before the layer is merged.
func (l *loader) notePushedRuns(layer map[string]any) {
	own := asMap(l.tree["probes"])
	for name, p := range asMap(layer["probes"]) {
		pushed, mine := asMap(p), asMap(own[name])
		for _, k := range runKeys {
			if v, ok := pushed[k]; ok && !saysNothingNew(v, mine[k]) {
				l.pushedRuns[name] = join(join("probes", name), k)
				break
			}
		}
	}
}

// saysNothingNew reports whether a pushed value leaves the node's own as it is.
func saysNothingNew(pushed, own any) bool {
	if own == nil && pushed == "" {
		return true // that is the default
	}
	m, ok := pushed.(map[string]any)
	if !ok {
		return reflect.DeepEqual(pushed, own)
	}
	for k, v := range m {
		if !reflect.DeepEqual(v, asMap(own)[k]) {
			return false
		}
	}
	return true
}

// checkPushedRun refuses a command that was pushed, unless the node takes them: whoever
// may push would run what he likes, as whom he likes, on every node.
func (b *builder) checkPushedRun(name string) {
	if at := b.pushedRuns[name]; at != "" && b.raw.Cluster.DefinitionsExec != execAllow {
		b.wrong(at, "set cluster.definitions_exec: allow in the file of this node, or write the probe there with the same command",
			"probe %s runs a command, and this node takes none from pushed definitions", name)
	}
}
