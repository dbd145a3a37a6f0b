// SPDX-License-Identifier: Apache-2.0

import { MINOR } from "./layout";
import { abort } from "./host";
import { Snapshot, begin, finish, room } from "./snapshot";

const policies: ((s: Snapshot) => void)[] = [];
let texts: string = "";

/**
 * Adds a policy to the module. Its manifest is JSON: {"name": "idle", …}. Call it
 * at the top level of the program.
 */
export function register(manifest: string, schedule: (s: Snapshot) => void): void {
  if (policies.length > 0) texts += ",";
  texts += manifest;
  policies.push(schedule);
}

// What the host calls. A program exports these four.

export function sy_abi_v1(): i32 {
  return MINOR;
}

let block: usize = 0;
let capacity: usize = 0;

// sy_alloc keeps one block. It grows by half at least, so that what a runtime that
// frees nothing loses is bounded by what is in use.
export function sy_alloc(size: u32): usize {
  const need = room(size);
  if (need > capacity) {
    if (block) heap.free(block);
    capacity = need + need / 2;
    block = heap.alloc(capacity);
  }
  return block;
}

let manifest: ArrayBuffer | null = null;

export function sy_manifest(): u64 {
  const text = String.UTF8.encode('{"abi":1,"policies":[' + texts + "]}");
  manifest = text; // held, so that it stays
  return ((<u64>changetype<usize>(text)) << 32) | (<u64>text.byteLength);
}

export function sy_schedule(at: usize, len: u32): i32 {
  const s = begin(at);
  if (s._entry >= <u32>policies.length) abort("the module has no policy of that number");
  policies[s._entry](s);
  return finish(s) ? 0 : -1;
}
