// SPDX-License-Identifier: Apache-2.0

// Package abi is the host's side of the plugin ABI, version 1: it encodes a
// core.Snapshot into the bytes that a policy reads, checks and decodes the
// answer, and reads a module's manifest. It knows no WASM.
//
// # Rules
//
// Little endian. Every block starts at a multiple of 8 and every offset counts
// from the start of the snapshot. Guests read header_size and stride from the
// data: a later minor version appends fields and changes none. The golden
// snapshot in testdata guards the layout.
//
// # Header, 128 bytes
//
//	  0 char[4] magic "SYD1"     4 u16 major = 1        6 u16 minor = 0
//	  8 u32 header_size         12 u32 total_size
//	 16 u64 service_id          24 u64 seq
//	 32 i64 now_ns              40 f64 dt_s (0 at the first decision)
//	 48 u32 n                   52 u32 stride
//	 56 u32 rec_off             60 u32 out_off
//	 64 u32 svc_state_off       68 u32 svc_state_len (bytes)
//	 72 u32 be_state_off        76 u32 be_state_stride (bytes)
//	 80 u32 params_off          84 u32 n_params
//	 88 u32 entry               92 u32 n_custom = 0
//	 96 u32 custom_dir_off = 0 100 u32 zero
//	104 u64 seed               112 16 bytes zero
//
// # Backend record, 96 bytes, at rec_off + i*stride
//
//	 0 u64 id                    8 u32 configured weight
//	12 u32 share, 1/65536       16 u8 health (0 unknown, 1 up, 2 down)
//	17 u8 flags = 0             18 u16 valid: 1 cpu, 2 cores, 4 response, 8 conns, 16 new, 32 done
//	20 u32 open connections     24 f64 cpu, ratio
//	32 f64 response, seconds    40 f64 new connections per second
//	48 f64 done per second      56 f64 cores
//	64 f32 cpu age              68 f32 response age
//	72 f32 connections age      76 f32 seconds in this state of health
//	80 f32 cpu window           84 u32 cpu_seq
//	88 8 bytes zero
//
// A value that is not known has its bit in valid clear and is the canonical
// NaN (0x7FF8000000000000, 0x7FC00000), or 0 if it is an integer. The window of
// done is the window of cpu.
//
// A policy whose manifest says what it reads, such as "reads": ["cpu", "cores"],
// is given nothing else: the bits of all other readings are clear. The names are
// cpu, cores, response, connections, opened and closed. Without "reads" it is
// given all, and has every connection of the node followed for that.
//
// # The blocks behind, in this order
//
// Records; params, f64 in the order of the manifest, NaN = not given; service
// state; backend state, record i at be_state_off + i*be_state_stride; out, u32
// for each backend. State is f64 slots, zero at first, and is handed back only
// if the call returned 0 and the answer was valid.
//
// The host fills out with 0xFFFFFFFF, which means not written and spoils the
// answer. 0xFFFFFFFE is hold; anything else is a weight, up to 1,000,000,000,
// in any scale. All zero is an error while a backend with a configured weight is
// up.
//
// # Exports of a module
//
//	memory                       required
//	sy_abi_v1() -> i32           the minor version it was written for
//	sy_alloc(size i32) -> i32    a block for the snapshot, aligned to 8, good until the next sy_alloc
//	sy_schedule(ptr, len) -> i32 0 ok, below 0 an error
//	sy_manifest() -> i64         optional: ptr<<32 | len of a JSON text (Manifest)
//	_initialize()                optional: run once
//
// # Imports, all optional
//
// Module steelyard: log(level, ptr, len) with level 0 debug, 1 info, 2 warning,
// 3 error (an error names the cause of a negative return); random() -> i64, a
// sequence seeded by the snapshot; abort(ptr, len). Module
// wasi_snapshot_preview1: every function exists and is refused, but that
// fd_write to 1 and 2 is a log, the clock stands at now_ns, and random_get gives
// random's bytes. There is no other import.
package abi
