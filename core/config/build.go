// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A builder makes the Config and checks what takes more than one value to see.
type builder struct {
	*loader
	raw   raw
	lists map[string][]netip.Prefix // of allow_file and deny_file, by path
}

// build makes the Config out of the filled tree. It is of use only if no
// problem was noted.
func (l *loader) build(tree map[string]any) *Config {
	r, err := decode(tree)
	if err != nil {
		l.ps.add(nowhere(0, l.opts.Path), "", "this is a bug of steelyard", "decode the configuration: %v", err)
		return nil
	}
	b := &builder{l, r, map[string][]netip.Prefix{}}
	return &Config{
		Path: l.opts.Path, Files: l.files, StateDir: r.StateDir,
		Node: b.node(), Control: b.control(), Log: Log(r.Log), Kernel: Kernel(r.Kernel), Bus: b.bus(),
		Cluster: b.cluster(), Definitions: r.Cluster.Definitions, HTTP: b.listener(), Webhooks: b.webhooks(),
		Policies: b.policies(), Probes: b.probes(), Probing: b.probing(), Services: b.services(), Maintenance: b.maintenance(),
	}
}

// now is when the configuration is loaded.
func (b *builder) now() time.Time {
	if !b.opts.Now.IsZero() {
		return b.opts.Now
	}
	return time.Now()
}

// wrong notes a problem of the value at path, unless it has one already.
func (b *builder) wrong(path, hint, format string, args ...any) {
	if !b.spoilt[path] {
		b.spoil(b.at(path), path, hint, format, args...)
	}
}

// misplaced is wrong with the caret under the key instead of its value.
func (b *builder) misplaced(path, hint, format string, args ...any) {
	if !b.spoilt[path] {
		b.spoil(b.places[path].key, path, hint, format, args...)
	}
}

// set is the first of the keys below path that was written down, or the last if
// none was: the one to blame.
func (b *builder) set(path string, names ...string) string {
	for _, n := range names {
		if _, ok := b.places[join(path, n)]; ok {
			return join(path, n)
		}
	}
	return join(path, names[len(names)-1])
}

// inOrder are the names of a map in the order in which they were written, so
// that of two that clash the second is blamed.
func inOrder[V any](b *builder, path string, m map[string]V) []string {
	type named struct {
		name string
		at   pos
	}
	all := make([]named, 0, len(m))
	for name := range m {
		all = append(all, named{name, b.places[join(path, name)].key})
	}
	slices.SortFunc(all, func(x, y named) int {
		return cmp.Or(x.at.layer()-y.at.layer(), int(x.at.line-y.at.line), int(x.at.col)-int(y.at.col), strings.Compare(x.name, y.name))
	})
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].name
	}
	return out
}

// names are the words that may be referred to: those that are there, and those
// that would be, had their name been right.
func names[V any](b *builder, path string, m map[string]V) []string {
	out := slices.Collect(maps.Keys(m))
	for p := range b.spoilt {
		if rest, ok := strings.CutPrefix(p, path+"."); ok && !strings.Contains(rest, ".") && !slices.Contains(out, rest) {
			out = append(out, rest)
		}
	}
	slices.Sort(out)
	return out
}

// resolve makes a path absolute to the directory of the file that names it.
func (b *builder) resolve(key, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	base := b.opts.Path
	if at := b.places[key].key; at.line > 0 {
		base = at.file()
	}
	return filepath.Join(filepath.Dir(base), path)
}

func (b *builder) node() string {
	if b.raw.Node != "" || b.spoilt["node"] {
		return b.raw.Node
	}
	name, err := b.opts.hostname()
	if err != nil {
		b.wrong("node", "set node", "read the host name: %v", err)
	} else if !find(table.keys, "node").pattern.MatchString(name) {
		b.wrong("node", "set node", "the host name %q cannot be the name of a node", name)
	}
	return name
}

// maxSocket is the longest path that sockaddr_un takes, its NUL left out.
const maxSocket = 107

func (b *builder) control() Control {
	if n := len(b.raw.Control.Socket); n > maxSocket {
		b.wrong("control.socket", "", "the path has %d bytes, a UNIX socket takes %d", n, maxSocket)
	}
	return Control(b.raw.Control)
}
