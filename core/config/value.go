// SPDX-License-Identifier: Apache-2.0

package config

// A shape is what a value looks like before anyone knows what it should be.
type shape uint8

const (
	isNull  shape = iota
	isText        // quoted, or plain and nothing else
	isInt         // plain and a whole number
	isFloat       // plain and a number
	isBool        // plain true or false
	isLoose       // a word of the environment or a flag: whatever the key wants
	isList
	isMap
)

var shapeNames = [...]string{
	isNull: "nothing", isText: "text", isInt: "a whole number", isFloat: "a number",
	isBool: "true or false", isLoose: "text", isList: "a list", isMap: "a map",
}

func (s shape) String() string { return shapeNames[s] }

// A value is one node of a layer, with its place.
type value struct {
	at    pos
	shape shape
	text  string // of a scalar, without quotes
	items []value
	pairs []pair
}

// A pair is a key and its value.
type pair struct {
	key string
	at  pos
	val value
}

// words is how many keys there are in v.
func (v *value) words() int {
	n := len(v.pairs)
	for i := range v.pairs {
		n += v.pairs[i].val.words()
	}
	return n
}
