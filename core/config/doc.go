// SPDX-License-Identifier: Apache-2.0

// Package config turns what an operator wrote into a validated Config.
//
// Layers, each over the one before: the defaults, the file, the files of
// conf.d beside it in lexical order, STEELYARD_… in the environment (`__`
// between the keys), and flags. Everything that has a name is a map, so a
// later layer changes one value and leaves its neighbours alone; a list is
// replaced whole.
//
// # One table
//
// keys.go, servicekeys.go, healthkeys.go and probekeys*.go list every key with its kind,
// default, bounds and one line of documentation. The checks, the defaults, the JSON Schema (Schema)
// and the reference file (Reference) are all made from that table. What one
// value alone cannot show, such as two services with one VIP, is checked in
// build*.go, checkprobes.go and checkservice.go after the layers are merged.
//
// A service with the defaults is what core.Simple makes, with the seed; what is
// switched off is zero in core.Traffic, so that a value beside the switch does
// not look like a change.
//
// # Promises
//
// Load reports every problem it can find, not the first one. A problem says
// file, line and column, or the variable or flag, shows the line, and proposes
// the nearest known word. A configuration with a problem yields no Config.
//
// An address with a port belongs to one service. It may lie in a network or a
// range of another: the kernel looks for exact frontends first. Networks and
// ranges of two services do not overlap.
//
// allow_file and deny_file are read at each Load, once each however many
// services name them, and so are the certificates and keys of probes. Config.Hash
// is over what they hold, too, but for the keys.
//
// 10,000 services of 16 backends are about a second, if their file is plain YAML
// (see plainReader); what needs the real parser takes several times as long.
//
// A secret is in the Config as a core.Secret and nowhere else: not in a
// problem, not in the line that a problem shows, not in View and not in Hash.
//
// # What this package does not do
//
// It does not watch files, open the kernel, or know the shipped policies and how
// series are written: the caller says so in Options.
package config
