// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Shared is what the nodes of a group may have in common, as `steelyard push`
// stores it: services, probes, policies, maintenance and the seed of hashes. What is
// of one machine, such as its name, its socket and its logins, is not in it.
type Shared struct {
	// YAML loads as one of Options.Layers, if the files of policies are in the
	// directory FilesDir beside it, each named by its SHA-256. It holds what was
	// written, secrets included, and no defaults.
	YAML []byte
	// Shown is YAML with a word in the place of each secret.
	Shown []byte
	// Files are the files of policies: paths by SHA-256 in lower-case hex.
	Files map[string]string
	// Secrets are the keys whose secrets are written out in YAML.
	Secrets []string
	// Local are the keys that name files, which each node reads from its own disk.
	Local []string
}

// FilesDir is the directory of the files of policies, beside a layer.
const FilesDir = "files"

// sharedKeys are the paths of what may be pushed.
var sharedKeys = []string{"kernel.hash_seed", "policies", "probes", "probing.suspect_ratio", "probing.suspect_min", "probing.suspect_for", "maintenance", "services"}

func isShared(p string) bool {
	return slices.ContainsFunc(sharedKeys, func(k string) bool { return p == k || strings.HasPrefix(p, k+".") })
}

// mayShare reports whether p may be pushed, or has something in it that may.
func mayShare(p string) bool {
	return isShared(p) || slices.ContainsFunc(sharedKeys, func(k string) bool { return strings.HasPrefix(k, p+".") })
}

// onlyShared notes what a pushed layer says and may not: nobody who can push gets at
// the logins or the listeners of a node.
func (l *loader) onlyShared(v value) {
	for _, p := range v.pairs {
		switch known := find(table.keys, p.key); {
		case known == nil: // check says so
		case !mayShare(p.key):
			l.notShared(p.at, p.key)
		case !isShared(p.key):
			for _, sub := range p.val.pairs {
				if at := join(p.key, sub.key); known.child(sub.key) != nil && !isShared(at) {
					l.notShared(sub.at, at)
				}
			}
		}
	}
}

func (l *loader) notShared(at pos, key string) {
	l.spoil(at, key, "write it into the file of the node", "%s is of each node, and cannot be pushed", key)
}

// shared takes what may be pushed out of a configuration that is right. It must be
// called before the defaults are filled in.
func (l *loader) shared() *Shared {
	s := &Shared{Files: map[string]string{}}
	c := sharer{b: &builder{loader: l}, out: s}
	tree := c.object(&table, l.tree, "")
	var plain, shown bytes.Buffer
	quiet := func(string) string { return "" }
	(&emitter{w: &plain, note: quiet}).object(&table, tree, "", 0)
	(&emitter{w: &shown, note: quiet}).object(&table, redact(&table, tree).(map[string]any), "", 0)
	s.YAML, s.Shown = plain.Bytes(), shown.Bytes()
	slices.Sort(s.Secrets)
	slices.Sort(s.Local)
	return s
}

// A sharer copies a tree, without what is of one node.
type sharer struct {
	b   *builder
	out *Shared
}

func (c *sharer) object(k *key, m map[string]any, at string) map[string]any {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		p, row := join(at, name), k.child(name)
		if !mayShare(p) {
			continue
		}
		v := c.value(row, m[name], p)
		if sub, ok := v.(map[string]any); ok && len(sub) == 0 && at == "" {
			continue
		}
		out[name] = v
	}
	if strings.HasPrefix(at, "policies.") {
		c.policy(out, join(at, "path"))
	}
	return out
}

func (c *sharer) value(k *key, v any, at string) any {
	switch v := v.(type) {
	case map[string]any:
		return c.object(k, v, at)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = c.value(k.elem, v[i], join(at, strconv.Itoa(i)))
		}
		return out
	case string:
		switch {
		case k.kind == kSecret:
			c.out.Secrets = append(c.out.Secrets, at)
		case k.file && v != "" && !strings.HasPrefix(at, "policies."):
			c.out.Local = append(c.out.Local, at)
			return c.b.resolve(at, v)
		}
	}
	return v
}

// policy names the file of a policy by its content, and has it held against that
// where it is loaded.
func (c *sharer) policy(m map[string]any, at string) {
	file, ok := m["path"].(string)
	if !ok {
		return
	}
	file = c.b.resolve(at, file)
	code, err := c.b.opts.ReadFile(file)
	if err != nil {
		m["path"] = file
		return // it was there a moment ago; Load of the layer says that it is not
	}
	sum := sha256.Sum256(code)
	hash := hex.EncodeToString(sum[:])
	c.out.Files[hash] = file
	m["path"], m["sha256"] = "./"+path.Join(FilesDir, hash), hash
}
