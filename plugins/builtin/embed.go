// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package builtin

import _ "embed" // for builtin.wasm

// Wasm is the module of the shipped policies, built from the package wasm
// below with Go's own compiler; TestWasmMatchesSource proves it. It is left out
// of the WASM build itself, which would have to contain its own bytes.
//
//go:embed builtin.wasm
var Wasm []byte
