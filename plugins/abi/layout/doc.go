// SPDX-License-Identifier: Apache-2.0

// Package layout is the one description of the bytes of ABI v1: which field of
// the snapshot is where. What every language has of it is written from here by
// the program in gen (make layout): the offsets in plugins/abi, the structs of
// the SDKs in Go, C, AssemblyScript and Rust, and the tables of docs/abi.md. A
// test fails when one of them is not what would be written, and another reads
// the golden snapshot in every language.
//
// A field that was in a release never moves and never means something else. A
// new one takes bytes that were reserved, or goes behind the last one of a
// struct whose size guests read from the data, and has Since set to the minor
// version that brings it.
package layout
