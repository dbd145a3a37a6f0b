// SPDX-License-Identifier: Apache-2.0

// Package lua runs one policy written in Lua 5.1, in gopher-lua. A script is a
// guest like a WASM module: it reads the same snapshot of ABI v1 and writes the
// same answer, so the host does not know which of the two it calls.
//
// # What a script is
//
// A text that sets a table policy (its manifest, optional) and a function
// schedule(s), which returns a list of s.n weights: numbers from 0 upward, or
// hold. s has a column for every reading, s.cpu[i], which is filled again in
// place at each call, and only if the script ever asked for it. The columns are
// in columns.go, what is left out of Lua in library.go; sdk/lua tells an author.
//
// # What it promises
//
// A script reaches no file, clock, network or other policy. It is called with
// the same libraries, random numbers and state for the same snapshot. What
// stands at the top of the file is set once: a function that assigns to it is
// refused by Load, since a worker that restarts would forget the value. State is
// handed back only by a call that succeeded. Whatever the script or gopher-lua
// does wrong, a panic included, is an error that names the line.
//
// # What it does not do
//
// It bounds neither time nor memory: a loop without an end, a pattern that
// backtracks for ever or a string that doubles is ended by the process around
// it (package worker), which also means that pcall cannot catch that end. What
// is cheap to refuse is refused: string.rep and table.concat past 1 MiB, patterns
// on more than 32 KiB, recursion deeper than 512 calls. Not safe for concurrent
// use.
package lua
