// SPDX-License-Identifier: Apache-2.0

// Package abi is the host's side of the plugin ABI, version 1: it encodes a
// core.Snapshot into the bytes that a policy reads, checks and decodes the
// answer, and reads a module's manifest. It knows no WASM.
//
// docs/abi.md is the reference of the ABI: exports, imports, bytes, manifest,
// limits and versions. Package layout is the one description of the bytes, from
// which the offsets here are written.
//
// # Promises
//
// Fields of a released minor version never move. The golden snapshot in testdata
// holds the bytes, and guests in every language that has an SDK read it.
//
// Encode allocates nothing once its buffer is large enough. What Decode lets pass
// is a weight for every backend, finite and not negative, or Hold. What
// ParseManifest lets pass keeps the limits, and its errors name the place.
package abi

//go:generate go run ./layout/gen ../..
