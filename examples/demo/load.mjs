// The first half: every city into the file, in transactions of 10,000.

import { watchLoop } from './pauses.mjs';

const PER_TRANSACTION = 10_000;

export async function load(store, cities, onProgress) {
  const { ms, p99Ms, longestMs } = await watchLoop(async () => {
    for (let from = 0; from < cities.length; from += PER_TRANSACTION) {
      await store.load(cities.slice(from, from + PER_TRANSACTION));
      onProgress(Math.min(from + PER_TRANSACTION, cities.length));
    }
  });
  return { rowsPerSecond: (cities.length / ms) * 1000, p99Ms, longestMs };
}
