// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"slices"
)

// A kind says what a value may be.
type kind uint8

const (
	kText     kind = iota
	kWord          // text out of enum
	kInt           // whole number, min to max
	kNumber        // finite number, min to max
	kBool          // true or false
	kDuration      // "2s", "1m30s", or 0
	kSecret        // text that is never shown
	kList          // of elem, which may be an object
	kMap           // of elem, by name
	kNumbers       // numbers by parameter name
	kPins          // text by address or prefix
	kNamed         // of elem, one word each, by a name that may have dots in it
	kObject        // keys
	kVariant       // an object whose keys depend on its key "type"
)

var kindNames = [...]string{
	kText: "text", kWord: "a word", kInt: "a whole number", kNumber: "a number", kBool: "true or false",
	kDuration: "a duration such as 2s", kSecret: "text", kList: "a list", kMap: "a map of names",
	kNumbers: "a map of numbers", kPins: "a map of prefixes", kNamed: "a map", kObject: "a map of keys", kVariant: "a map of keys",
}

func (k kind) String() string { return kindNames[k] }

// A key is one row of the table: what may stand at a place of the
// configuration, and what stands there if nobody says.
type key struct {
	name string
	kind kind
	doc  string // one line

	def      string // the default as it would be written; empty: none
	dynamic  string // where the default comes from, if it is not a constant
	example  string // for the reference, where there is no constant default
	required bool

	enum     []string
	min, max float64
	pattern  *regexp.Regexp // of text; of a map: of its names
	hint     string         // what to write instead, when pattern does not match
	numeric  bool           // of text: a whole number from min to max will do, too
	truth    bool           // of a number: true is 1 and false is 0
	asIs     bool           // of text: a number, true, false and null will do, too
	one      bool           // of a list: a single item needs no brackets

	keys     []key     // of kObject; of kVariant: rows of keys that are not the same in every type, as they are in all together
	elem     *key      // of kList, kMap and kNamed
	variants []variant // of kVariant

	file   bool   // a path, relative to the file that names it
	either string // the key that this one is another way to write
	flip   string // of kObject: the key that a plain true or false in its place is
	alone  string // of a map: an example of the key that a single value in its place was meant for, with %s for the value

	foreign map[string]meant  // what other programs call keys of this map
	aliases map[string]string // what they call values
	apart   bool              // behind a # in the reference: it means nothing, or something else, in that example
}

// A variant is the keys of one type of probe.
type variant struct {
	name string
	doc  string
	keys []key // "type" is among them
}

// child finds the row for name below k; nil if there is none. A map has one row
// for every name.
func (k *key) child(name string) *key {
	switch k.kind {
	case kMap, kNamed:
		return k.elem
	case kNumbers:
		return &paramKey
	case kPins:
		return &pinKey
	case kObject:
		return find(k.keys, name)
	case kVariant:
		if c := find(k.keys, name); c != nil {
			return c
		}
		for i := range k.variants {
			if c := find(k.variants[i].keys, name); c != nil {
				return c
			}
		}
	}
	return nil
}

// children are the names that may stand below k, in the order of the table. Of
// a variant they are those of every type.
func (k *key) children() []string {
	var names []string
	add := func(keys []key) {
		for i := range keys {
			if !slices.Contains(names, keys[i].name) {
				names = append(names, keys[i].name)
			}
		}
	}
	if k.kind == kObject {
		add(k.keys)
	}
	for i := range k.variants {
		add(k.variants[i].keys)
	}
	return names
}

// variant finds the keys of one type; nil if there is no such type.
func (k *key) variant(name string) *variant {
	for i := range k.variants {
		if k.variants[i].name == name {
			return &k.variants[i]
		}
	}
	return nil
}

func find(keys []key, name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

// scalar reports whether one word of the environment can be k's value.
func (k *key) scalar() bool {
	switch k.kind {
	case kMap, kNumbers, kPins, kNamed, kObject, kVariant:
		return false
	}
	return true
}

var (
	paramKey = key{kind: kNumber, min: -1e12, max: 1e12, truth: true}
	pinKey   = key{kind: kText}

	namePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	paramPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)
)

const nameHint = "a name is 1 to 32 of a-z, 0-9 and -, and neither begins nor ends with -"
