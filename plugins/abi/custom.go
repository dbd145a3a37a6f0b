// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// customSize is the size of what the custom metrics take in a snapshot of n
// backends: directory, columns and names.
func customSize(names []string, n int) int {
	if len(names) == 0 {
		return 0
	}
	text := 0
	for _, name := range names {
		text += len(name)
	}
	return len(names)*(MetricSize+columnSize(n)) + pad8(text)
}

// columnSize is the size of a metric's values and ages.
func columnSize(n int) int { return n*8 + pad8(n*4) }

func pad8(n int) int { return (n + 7) / 8 * 8 }

// encodeCustom writes the directory of the metrics at dir, their columns behind
// it, and their names behind those. What the snapshot does not have is unknown.
func encodeCustom(dst []byte, dir int, s *core.Snapshot, names []string) {
	n := len(s.Backends)
	values := dir + len(names)*MetricSize
	text := values + len(names)*columnSize(n)
	for k, name := range names {
		ages := values + n*8
		e := dst[dir+k*MetricSize:][:MetricSize]
		le.PutUint32(e[MetricHash:], NameHash(name))
		le.PutUint32(e[MetricNameOff:], uint32(text))
		le.PutUint32(e[MetricNameLen:], uint32(len(name)))
		le.PutUint32(e[MetricValuesOff:], uint32(values))
		le.PutUint32(e[MetricAgesOff:], uint32(ages))
		text += copy(dst[text:], name)

		column := slices.Index(s.Metrics, name)
		for i := range s.Backends {
			var r core.Reading
			if column >= 0 && column < len(s.Backends[i].Custom) {
				r = s.Backends[i].Custom[column]
			}
			known := r.Known && finite(r.Value)
			putFloat(dst[values+i*8:], r.Value, known)
			putSeconds(dst[ages+i*4:], r.Age, known)
		}
		values += columnSize(n)
	}
}

// NameHash is the hash of a custom metric's name in the directory: 32-bit FNV-1a.
func NameHash(name string) uint32 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return h
}
