// SPDX-License-Identifier: Apache-2.0

// Write a scheduling policy for steelyard in AssemblyScript: see README.md.

export { Health, Level } from "./layout";
export { Backend, Metric, Slots, Snapshot } from "./snapshot";
export { register, sy_abi_v1, sy_alloc, sy_manifest, sy_schedule } from "./module";
export { abort, log, random } from "./host";
