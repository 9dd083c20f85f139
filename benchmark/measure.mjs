// How a figure is taken: loops over time, latencies, the longest pause of the event loop, medians.

import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Reading the clock costs as much as the fastest operation, so it is read once in so many. */
const STRIDE = 32;
const SAMPLING_MS = 1;

/** Calls `operation(index)` on this thread for `ms`; the first index is `from`. */
export function spin(ms, from, operation) {
  const started = performance.now();
  let done = 0;
  for (;;) {
    for (let step = 0; step < STRIDE; step += 1) {
      operation(from + done);
      done += 1;
    }
    const elapsed = performance.now() - started;
    if (elapsed >= ms) return { done, perSecond: (done / elapsed) * 1000 };
  }
}

/** `count` callers, each awaiting its `operation(index)` before its next one, for `ms`. Ends when the last one is answered. */
export async function callers(count, ms, from, operation) {
  const started = performance.now();
  const stride = count === 1 ? 1 : STRIDE;
  let issued = 0;
  let over = false;
  const caller = async () => {
    while (!over) {
      const index = issued;
      issued += 1;
      await operation(from + index);
      if (index % stride === 0 && performance.now() - started >= ms) over = true;
    }
  };
  await Promise.all(Array.from({ length: count }, caller));
  return { done: issued, perSecond: (issued / (performance.now() - started)) * 1000 };
}

/** One caller for `ms`, every operation timed: microseconds, sorted. `operation` may answer a promise or a value. */
export async function latencies(ms, from, operation) {
  const started = performance.now();
  const times = [];
  let now = started;
  while (now - started < ms) {
    const asked = performance.now();
    const answer = operation(from + times.length);
    if (answer instanceof Promise) await answer;
    now = performance.now();
    times.push((now - asked) * 1000);
  }
  return Float64Array.from(times).sort();
}

/** One caller, every item timed: milliseconds, sorted. */
export async function oneByOne(items, operation) {
  const times = [];
  for (const item of items) {
    const asked = performance.now();
    await operation(item);
    times.push(performance.now() - asked);
  }
  return Float64Array.from(times).sort();
}

/** Items a second of `count` callers, each taking the next item when its last one is done. */
export async function inTurns(count, items, operation) {
  const started = performance.now();
  let next = 0;
  const caller = async () => {
    while (next < items.length) {
      const item = items[next];
      next += 1;
      await operation(item);
    }
  };
  await Promise.all(Array.from({ length: count }, caller));
  return (items.length / (performance.now() - started)) * 1000;
}

/** The value below which the share `q` of the sorted values lies. */
export function quantile(sorted, q) {
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Runs `work` and answers how long it took and the longest time the event loop did not come round meanwhile.
 * The sampler is a timer of 1 ms: its own period is taken off, its rounding (up to 1 ms) stays in.
 * It is not reset before the work: the first pause after a reset is not recorded.
 */
export async function watched(work) {
  const delay = monitorEventLoopDelay({ resolution: SAMPLING_MS });
  delay.enable();
  await turns();
  const started = performance.now();
  const result = await work();
  const ms = performance.now() - started;
  await turns();
  delay.disable();
  return { result, ms, pauseMs: Math.max(0, delay.max / 1e6 - SAMPLING_MS) };
}

/** Long enough for the sampler to fire, so that a pause at either edge is seen whole. */
function turns() {
  return new Promise((resolve) => setTimeout(resolve, 5 * SAMPLING_MS));
}
