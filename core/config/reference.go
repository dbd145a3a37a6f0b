// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
)

// Reference is a configuration with every key, its default and what it is for.
// It loads as it stands. What may be written only in place of something else
// stands behind a # of its own.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	r := referee{&b}
	r.keys(table.keys, 0, live)
	return b.Bytes()
}

const referenceHead = `# SPDX-License-Identifier: Apache-2.0
#
# Every key of steelyard, with its default. A key that is written here as its
# default may be left out. Lines that begin with "#" and a key are other ways to
# write the line above, or need something that this example does not have.
# "steelyard config reference" prints this file, "steelyard config schema" the
# JSON Schema for your editor.
#
# Over this file go conf.d/*.yaml beside it, then the environment
# (STEELYARD_SERVICES__WEB__BACKENDS__WEB1__WEIGHT=50), then --set on the command line.

`

// A referee writes the table out. Off is the depth at which a # began; -1 while
// nothing is commented out. Without its "# ", such a line stands right.
type referee struct{ w *bytes.Buffer }

const (
	commentColumn = 42
	live          = -1
)

// line writes one key with its comment.
func (r referee) line(depth, off int, text, doc string) {
	pad := strings.Repeat("  ", depth)
	if off != live {
		pad = strings.Repeat("  ", off) + "# " + strings.Repeat("  ", depth-off)
	}
	fmt.Fprintf(r.w, "%-*s # %s\n", commentColumn, pad+text, doc)
}

func (r referee) keys(keys []key, depth, off int) {
	for i := range keys {
		k := &keys[i]
		if depth == 0 && i > 0 && !k.scalar() {
			r.w.WriteString("\n")
		}
		r.key(k, depth, r.offFrom(k, depth, off))
	}
}

// offFrom decides what is commented out: other ways to write a secret, and what
// the table sets apart.
func (r referee) offFrom(k *key, depth, off int) int {
	if off == live && (k.either != "" || k.apart) {
		return depth
	}
	return off
}

func (r referee) key(k *key, depth, off int) {
	switch k.kind {
	case kObject:
		r.line(depth, off, k.name+":", k.doc)
		r.keys(k.keys, depth+1, off)
	case kNumbers, kPins, kNamed:
		r.line(depth, off, k.name+": "+cmp.Or(k.example, "{}"), k.doc)
	case kMap:
		r.line(depth, off, k.name+":", k.doc)
		if k.elem.kind == kVariant {
			r.variants(k.elem, depth+1)
			return
		}
		r.line(depth+1, off, k.elem.name+":", "a name of your choice")
		r.keys(k.elem.keys, depth+2, off)
	case kList:
		if k.elem.kind != kObject {
			r.scalar(k, depth, off)
			return
		}
		r.line(depth, off, k.name+":", k.doc)
		for i := range k.elem.keys {
			one := k.elem.keys[i]
			one.name = "- " + one.name
			r.scalar(&one, depth+1, off)
		}
	default:
		r.scalar(k, depth, off)
	}
}

func (r referee) variants(k *key, depth int) {
	for i, v := range k.variants {
		if i > 0 {
			r.w.WriteString("\n")
		}
		r.line(depth, live, strings.ReplaceAll(v.name, "_", "-")+":", v.doc)
		r.keys(v.keys, depth+1, live)
	}
}

func (r referee) scalar(k *key, depth, off int) {
	val, doc := k.def, k.doc
	switch {
	case k.kind == kSecret:
		val = `"change me"`
	case (k.kind == kInt || k.numeric) && k.example != "":
		val = k.example
	case k.kind == kList && k.example != "":
		val = k.example // as it would be written
	case k.example != "" && k.kind == kBool:
		val = k.example
	case k.example != "":
		val = word(k.example)
	}
	if k.dynamic != "" {
		doc += "; default: " + k.dynamic
	}
	if k.kind == kWord && k.name != "role" && k.name != "type" {
		doc += "; one of " + strings.Join(k.enum, ", ")
	}
	if k.one {
		doc += "; one, or a list"
	}
	r.line(depth, off, k.name+": "+val, doc)
}
