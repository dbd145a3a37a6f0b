// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"slices"
	"strings"
)

// Pushed definitions name files and variables of the node: the community of a switch, the
// list of who is denied. What is in them leaves the node, in a request to whichever address
// the same definitions name, or in the words of a problem. So whoever may push would read
// what the node may read, were there no bounds.

// wasPushed reports whether a pushed layer says what is at a path of the configuration.
func (b *builder) wasPushed(at string) bool {
	return slices.Contains(b.opts.Layers, b.places[at].key.file())
}

// mayName reports whether the value at a path may name a file with a secret. A pushed one must
// be in the directory of the node's file or below, and be neither a file of the
// configuration nor one of the node's own keys, such as that of its password; if not, that
// is noted.
func (b *builder) mayName(at, path string) bool {
	if !b.wasPushed(at) {
		return true
	}
	dir := filepath.Dir(b.opts.Path)
	switch inside, err := filepath.Rel(dir, path); {
	case b.opts.Path == "": // push looks at it before there is a node
		return true
	case err != nil || inside == ".." || strings.HasPrefix(inside, "../"):
		b.wrong(at, "put the file there", "%s is not below %s, and pushed definitions name no other files", path, dir)
	case slices.Contains(b.files, path) || b.ofNode(path, func(k *key) bool { return k.file }):
		b.wrong(at, "give it a file of its own", "%s is for this node alone, and no pushed key may name it", path)
	default:
		return true
	}
	return false
}

// mayAsk is mayName of a variable of the environment.
func (b *builder) mayAsk(at, name string) bool {
	if !b.wasPushed(at) {
		return true
	}
	rest, ours := strings.CutPrefix(name, EnvPrefix)
	_, sets := envPath(rest)
	if ours && (sets || strings.Contains(rest, "__")) || b.ofNode(name, func(k *key) bool { return strings.HasSuffix(k.name, "_env") }) {
		b.wrong(at, "give it a variable of its own", "the variable %s is for this node alone, and no pushed key may name it", name)
		return false
	}
	return true
}

// ofNode reports whether a key that cannot be pushed names this file or variable.
func (b *builder) ofNode(name string, kind func(*key) bool) bool {
	var within func(*key, map[string]any, string) bool
	within = func(k *key, m map[string]any, at string) bool {
		for word, v := range m {
			p, row := join(at, word), k.child(word)
			if row == nil || isShared(p) {
				continue
			}
			switch v := v.(type) {
			case map[string]any:
				if within(row, v, p) {
					return true
				}
			case string:
				if kind(row) && (v == name || row.file && b.resolve(p, v) == name) {
					return true
				}
			}
		}
		return false
	}
	return within(&table, b.tree, "")
}

// travelled reports whether the file of a policy came with the layer that names it, as all
// do that `steelyard push` stores; if not, that is noted.
func (b *builder) travelled(at, path string) bool {
	if !b.wasPushed(at) || filepath.Dir(path) == filepath.Join(filepath.Dir(b.places[at].key.file()), FilesDir) {
		return true
	}
	b.wrong(at, "push it with `steelyard push`", "%s did not come with the definitions, and those that are pushed name no other policies", path)
	return false
}
