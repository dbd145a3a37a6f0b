// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	koanf "github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
)

// EnvPrefix begins the name of every variable that sets a key.
const EnvPrefix = "STEELYARD_"

// A loader reads the layers and merges what is right in them. What is wrong is
// noted and left out, and its path remembered, so that nothing else is blamed
// for it.
type loader struct {
	opts       Options
	ps         problems
	warned     problems // what stops nothing
	tree       map[string]any
	local      *localFiles
	files      []string
	layers     int
	hollow     bool              // the main file has no word in it
	pushed     bool              // the layer that is read is one of Options.Layers
	pushedRuns map[string]string // of probes whose command was pushed: the key that says so, by name
	policySums map[string]string // SHA-256 of policies, by name
	places     map[string]place  // by path, of the last layer that set it
	spoilt     map[string]bool   // paths with a problem already; "" when a file is lost

	spoiltUnder map[string]bool // those, and all that they are in
}

// A place is where a key and its value are. Of a map, the value is where the
// key is: that is where a reader looks for what it lacks.
type place struct{ key, val pos }

func newLoader(o Options) *loader {
	if o.ReadFile == nil {
		main := o.Path
		o.ReadFile = func(path string) ([]byte, error) {
			if path == main {
				return readStream(path)
			}
			return readRegular(path)
		}
	}
	if o.ReadDir == nil {
		o.ReadDir = listDir
	}
	lines := map[string][]string{}
	return &loader{
		opts: o, ps: problems{lines: lines}, warned: problems{lines: lines}, tree: map[string]any{}, local: newLocalFiles(),
		pushedRuns: map[string]string{}, policySums: map[string]string{}, places: map[string]place{}, spoilt: map[string]bool{}, spoiltUnder: map[string]bool{},
	}
}

func listDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// read takes every layer in its order.
func (l *loader) read() {
	if l.opts.Path != "" {
		l.readFile(l.opts.Path)
		l.local.dropIns = l.dropIns()
		for _, f := range l.local.dropIns {
			l.readFile(f)
		}
	}
	for _, f := range l.opts.Layers {
		l.pushed = true
		l.readFile(f)
	}
	l.pushed = false
	l.readEnv()
	l.readFlags()
}

// dropIns are the files of conf.d beside the file, in lexical order. No conf.d
// is no mistake.
func (l *loader) dropIns() []string {
	if before := l.opts.localBefore(); before != nil {
		return before.dropIns
	}
	dir := filepath.Join(filepath.Dir(l.opts.Path), "conf.d")
	names, err := l.opts.ReadDir(dir)
	if err != nil {
		if !os.IsNotExist(err) {
			l.ps.add(nowhere(l.layers, dir), "", "", "read the directory: %v", cause(err))
		}
		return nil
	}
	slices.Sort(names)
	var files []string
	for _, n := range names {
		if strings.HasSuffix(n, ".yaml") && !strings.HasPrefix(n, ".") {
			files = append(files, filepath.Join(dir, n))
		}
	}
	return files
}

func (l *loader) readFile(file string) {
	layer := l.layers
	l.layers++
	read := l.readLocal
	if l.pushed {
		read = l.opts.ReadFile
	}
	data, err := read(file)
	if err != nil {
		hint := ""
		if file == l.opts.Path && errors.Is(err, fs.ErrNotExist) {
			hint = "`steelyard config reference` prints one to begin with"
		}
		l.spoil(nowhere(layer, file), "", hint, "read the file: %v", cause(err))
		return
	}
	l.files = append(l.files, file)
	l.hollow = l.hollow || file == l.opts.Path && hollow(data)
	mostFree := maxFile
	if l.pushed {
		mostFree = maxPushedFree
	}
	v, ok := parseYAML(&l.ps, file, layer, data, mostFree)
	if !ok && v.shape != isMap {
		// Whatever the file would have said is missing; the rest of the layers
		// would only be blamed for that.
		l.spoilt[""] = true
		return
	}
	if l.pushed {
		l.onlyShared(v)
	}
	l.merge(v)
}

// hollow reports whether there is nothing in a file but comments.
func hollow(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && string(line) != "---" {
			return false
		}
	}
	return true
}

// merge checks a layer and puts what is right over the layers before.
func (l *loader) merge(v value) {
	if len(l.places) == 0 {
		l.places = make(map[string]place, v.words())
	}
	clean, ok := l.check(&table, v, "")
	if !ok {
		return
	}
	if l.pushed {
		l.notePushedRuns(clean.(map[string]any))
	}
	// Its merge without its Koanf, which keeps a second, flat copy of every key:
	// at 10,000 services that is seconds.
	koanf.Merge(clean.(map[string]any), l.tree)
}

// readEnv takes the variables that begin with EnvPrefix. Those without `__` are
// taken only if they name a key, since the prefix is also that of variables
// that are none of ours, such as the secret behind a *_env key.
func (l *loader) readEnv() {
	layer := l.layers
	l.layers++
	names := map[string]string{} // path -> variable
	provider := env.Provider(step, env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return slices.Sorted(slices.Values(l.opts.Env)) },
		TransformFunc: func(name, val string) (string, any) {
			path, known := envPath(strings.TrimPrefix(name, EnvPrefix))
			if !known && !strings.Contains(name, "__") {
				return "", nil
			}
			if l.addressable(nowhere(layer, "environment "+name), path) {
				names[path] = name
				return strings.Join(steps(path), step), val
			}
			return "", nil
		},
	})
	tree, err := provider.Read()
	if err != nil {
		l.ps.add(nowhere(layer, "environment"), "", "", "read the environment: %v", err)
		return
	}
	l.merge(loose(tree, "", func(path string) pos {
		return nowhere(layer, "environment "+names[path])
	}))
}

// envPath turns SERVICES__MY_WEB__ON_EMPTY into services.my-web.on_empty. A `_`
// in a name can only mean `-`, which shells do not take in a variable.
func envPath(name string) (path string, known bool) {
	at := &table
	parts := strings.Split(strings.ToLower(name), "__")
	for i, p := range parts {
		if at != nil && at.kind == kMap && at.pattern == nil {
			parts[i] = strings.ReplaceAll(p, "_", "-")
		}
		if at != nil {
			at = at.child(parts[i])
		}
	}
	return strings.Join(parts, "."), at != nil
}

func (l *loader) readFlags() {
	layer := l.layers
	l.layers++
	flat := map[string]any{}
	for _, path := range slices.Sorted(maps.Keys(l.opts.Flags)) {
		if l.addressable(nowhere(layer, "flag "+path), path) {
			flat[strings.Join(steps(path), step)] = l.opts.Flags[path]
		}
	}
	tree, err := confmap.Provider(flat, step).Read()
	if err != nil {
		l.ps.add(nowhere(layer, "flags"), "", "", "read the flags: %v", err)
		return
	}
	l.merge(loose(tree, "", func(path string) pos { return nowhere(layer, "flag "+path) }))
}

// addressable reports whether one word can be the value of the path; if not, it
// notes why. Only then is the word handed on, so no two of them can collide.
func (l *loader) addressable(at pos, path string) bool {
	k := &table
	parts := steps(path)
	for i, p := range parts {
		next := k.child(p)
		if next == nil || p == "" {
			above := strings.Join(parts[:i], ".")
			l.unknown(at, above, p, k)
			return false
		}
		k = next
	}
	if !k.scalar() && k.flip == "" {
		l.ps.add(at, path, "name one value inside it", "%q is %s, not one value", path, k.kind)
		return false
	}
	return true
}

// step is between the keys of a path where a dot will not do: a pin and a path of
// JSON have dots of their own.
const step = "\x00"

// steps are the keys of a path.
func steps(path string) []string {
	var out []string
	for k, more := &table, true; more; {
		if k != nil && (k.kind == kPins || k.kind == kNamed) {
			return append(out, path)
		}
		var name string
		name, path, more = strings.Cut(path, ".")
		out = append(out, name)
		if k != nil {
			k = k.child(name)
		}
	}
	return out
}

// loose turns a tree of words into a value, in the order of the keys.
func loose(tree map[string]any, path string, at func(path string) pos) value {
	v := value{shape: isMap}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		p := join(path, name)
		sub := value{at: at(p), shape: isLoose}
		if m, ok := tree[name].(map[string]any); ok {
			sub = loose(m, p, at)
		} else {
			sub.text = fmt.Sprint(tree[name])
		}
		v.pairs = append(v.pairs, pair{key: name, at: sub.at, val: sub})
		v.at = cmp.Or(v.at, sub.at)
	}
	return v
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
