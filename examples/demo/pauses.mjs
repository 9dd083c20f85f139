// How long the event loop of this process did not come round.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

const SAMPLING_MS = 1;

/** Runs `work` and answers `{ result, ms, p99Ms, longestMs }`; the sampler's own period of 1 ms is taken off both delays. */
export async function watchLoop(work) {
  const delay = monitorEventLoopDelay({ resolution: SAMPLING_MS });
  delay.enable();
  await sleep(5 * SAMPLING_MS);
  const started = performance.now();
  const result = await work();
  const ms = performance.now() - started;
  await sleep(5 * SAMPLING_MS);
  delay.disable();
  const beyond = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - SAMPLING_MS);
  return { result, ms, p99Ms: beyond(delay.percentile(99)), longestMs: beyond(delay.max) };
}
