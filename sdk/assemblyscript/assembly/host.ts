// SPDX-License-Identifier: Apache-2.0

@external("steelyard", "log")
declare function hostLog(level: u32, text: usize, len: u32): void;

@external("steelyard", "abort")
declare function hostAbort(text: usize, len: u32): void;

@external("steelyard", "random")
declare function hostRandom(): u64;

// The host keeps 512 bytes of a line. A unit of UTF-16 takes up to 3 of UTF-8.
const MAX_UNITS: i32 = 170;

// What is said is put here, so that a policy that logs allocates nothing.
const line: usize = memory.data(512, 8);

function encode(text: string): u32 {
  return <u32>String.UTF8.encodeUnsafe(changetype<usize>(text), min(text.length, MAX_UNITS), line);
}

/** Writes a line into the daemon's log; 16 lines of a call are kept. */
export function log(level: u32, text: string): void {
  hostLog(level, line, encode(text));
}

/** Ends the call with an error. */
export function abort(why: string): void {
  hostAbort(line, encode(why));
  unreachable();
}

/** Ends the call with an error that names the i-th thing of a kind. */
export function refuse(kind: string, i: i32, why: string): void {
  let at = line + String.UTF8.encodeUnsafe(changetype<usize>(kind), kind.length, line);
  at = decimal(at, i);
  at += String.UTF8.encodeUnsafe(changetype<usize>(why), min(why.length, 100), at);
  hostAbort(line, <u32>(at - line));
  unreachable();
}

function decimal(at: usize, i: i32): usize {
  if (i < 0) {
    store<u8>(at++, 0x2D);
    i = -i;
  }
  if (i >= 10) at = decimal(at, i / 10);
  store<u8>(at, <u8>(0x30 + (<u32>i) % 10));
  return at + 1;
}

/** The next of a sequence that the snapshot seeds. */
export function random(): u64 {
  return hostRandom();
}
