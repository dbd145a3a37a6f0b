// SPDX-License-Identifier: Apache-2.0

// Package scale says what a group of many nodes puts on its NATS servers: Paper by a
// formula, and the tests of this package by doing it. They load three real servers with
// the messages of as many nodes as wanted, all of them heard as often as they would be,
// and hold the counts of the servers against the formula.
//
//	STEELYARD_SCALE=1 go test -count 1 -run TestScale -v -timeout 20m ./bus/scale
//
// measures the sizes of docs/scaling.md; STEELYARD_SCALE=100x1000x16 one of your own:
// nodes, services, backends of each.
package scale
