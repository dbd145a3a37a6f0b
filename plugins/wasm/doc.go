// SPDX-License-Identifier: Apache-2.0

// Package wasm runs one policy module in wazero: it checks the module's imports
// and exports against ABI v1, compiles it, and calls it with a snapshot.
//
// It promises that a module reaches nothing but its own memory and the host
// functions of ABI v1, that its memory stays below a limit, and that a trap
// costs the instance and no more: the next call gets a new one.
//
// It does not bound time, nor the memory of the compiler: a module may loop for
// ever inside Load or Call. That is the business of the process around it
// (package worker), which can be killed. Not safe for concurrent use.
package wasm
