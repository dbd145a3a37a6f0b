// SPDX-License-Identifier: Apache-2.0

import { HOLD, Level, MAX_WEIGHT, NOT_WRITTEN, RawBackend, RawMetric, RawSnapshot, Reading } from "./layout";
import { abort, log, refuse } from "./host";

// base is the snapshot of the call that runs: there is one at a time.
let base: usize = 0;
let failed: bool = false;

/** One backend. A reading that nobody knows is NaN: ask isNaN(b.cpu). */
@unmanaged
export class Backend extends RawBackend {
  /** The share applied by the decision before, 0 to 1. */
  get share(): f64 {
    return <f64>this._share / 65536;
  }

  /** Open connections; NaN if unknown. */
  get connections(): f64 {
    return this._valid & Reading.CONNECTIONS ? <f64>this._connections : NaN;
  }
}

/** Numbers that the host keeps: state[0] += 1. They are 0 at first. */
@unmanaged
export class Slots {
  @operator("[]")
  private get(k: i32): f64 {
    return load<f64>(changetype<usize>(this) + ((<usize>k) << 3));
  }

  @operator("[]=")
  private set(k: i32, value: f64): void {
    store<f64>(changetype<usize>(this) + ((<usize>k) << 3), value);
  }
}

/** One custom metric of all backends. */
@unmanaged
export class Metric extends RawMetric {
  /** The metric of backend i; NaN if it is unknown or stale. */
  at(i: i32): f64 {
    check(i);
    return load<f64>(base + this._valuesOff + ((<usize>i) << 3));
  }

  /** Its age in seconds; NaN if it is unknown. */
  age(i: i32): f64 {
    check(i);
    return load<f32>(base + this._agesOff + ((<usize>i) << 2));
  }

  called(name: string): bool {
    if (this._nameLen != <u32>name.length) return false;
    for (let i = 0; i < name.length; i++) {
      if (<i32>load<u8>(base + this._nameOff + i) != name.charCodeAt(i)) return false;
    }
    return true;
  }
}

/** One service at one decision; it takes the answer. */
@unmanaged
export class Snapshot extends RawSnapshot {
  /** The number of backends. */
  get length(): i32 {
    return <i32>this._n;
  }

  /** Backend i, below length. */
  backend(i: i32): Backend {
    check(i);
    return changetype<Backend>(base + this._recordsOff + <usize>i * this._stride);
  }

  /** Parameter k of the manifest: as configured, or its default. */
  param(k: i32): f64 {
    if (<u32>k >= this._nParams) refuse("parameter ", k, ": the manifest has fewer");
    return load<f64>(base + this._paramsOff + ((<usize>k) << 3));
  }

  /** A custom metric by its name; the manifest must have it. Ask once per call, outside the loop. */
  metric(name: string): Metric {
    for (let k: u32 = 0; k < this._nCustom; k++) {
      const m = changetype<Metric>(base + this._customDirOff + k * offsetof<RawMetric>());
      if (m.called(name)) return m;
    }
    abort("the manifest has no metric " + name);
    return changetype<Metric>(0);
  }

  /** The policy's own numbers about backend i, as many as backend_slots. */
  backendState(i: i32): Slots {
    check(i);
    if (this._backendStateStride == 0) abort("the manifest gives the policy no backend_slots");
    return changetype<Slots>(base + this._backendStateOff + <usize>i * this._backendStateStride);
  }

  /** The policy's own numbers about the service, as many as service_slots. */
  get serviceState(): Slots {
    if (this._serviceStateLen == 0) abort("the manifest gives the policy no service_slots");
    return changetype<Slots>(base + this._serviceStateOff);
  }

  /** Gives backend i a weight, in any scale: only ratios matter. */
  setWeight(i: i32, weight: f64): void {
    check(i);
    if (!(weight >= 0 && weight <= f64.MAX_VALUE)) refuse("backend ", i, ": the weight is not a number from 0 upward");
    store<f64>(weightAt(i), weight);
  }

  /** Says that the policy has no opinion of backend i: the host keeps its share. */
  hold(i: i32): void {
    check(i);
    store<f64>(weightAt(i), -1);
  }

  /** Makes the call fail, which leaves the weights in force: return s.fail("no idea"). */
  fail(why: string): void {
    log(Level.ERROR, why);
    failed = true;
  }
}

function check(i: i32): void {
  if (<u32>i >= changetype<RawSnapshot>(base)._n) refuse("backend ", i, ": the service has fewer");
}

// The weights are behind the snapshot until all are known: NaN is none yet, below
// 0 holds.
function weightAt(i: i32): usize {
  return base + changetype<RawSnapshot>(base)._totalSize + ((<usize>i) << 3);
}

/** What a snapshot of so many bytes needs with the weights behind it. */
export function room(size: u32): usize {
  return <usize>size + size / 12 + 8;
}

/** Makes a snapshot the current one, without an answer. */
export function begin(at: usize): Snapshot {
  base = at;
  failed = false;
  const s = changetype<Snapshot>(at);
  for (let i = 0; i < s.length; i++) store<f64>(weightAt(i), NaN);
  return s;
}

/** Writes the answer, scaled so that the largest weight is MAX_WEIGHT; a weight above 0 stays above 0. */
export function finish(s: Snapshot): bool {
  if (failed) return false;
  let top: f64 = 0;
  for (let i = 0; i < s.length; i++) {
    const w = load<f64>(weightAt(i));
    if (w > top) top = w;
  }
  for (let i = 0; i < s.length; i++) {
    const w = load<f64>(weightAt(i));
    let word: u32 = NOT_WRITTEN;
    if (w < 0) word = HOLD;
    else if (w == 0) word = 0;
    else if (w > 0) word = max<u32>(<u32>((w / top) * <f64>MAX_WEIGHT), 1);
    store<u32>(base + s._outOff + ((<usize>i) << 2), word);
  }
  return true;
}
