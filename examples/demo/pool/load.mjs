// The first half: the cities of every country into its database, in one transaction each.

import { inParallel } from '../parallel.mjs';
import { watchLoop } from '../pauses.mjs';

export async function loadCountries(store, countries, onProgress) {
  let done = 0;
  const { ms, p99Ms, longestMs } = await watchLoop(() =>
    inParallel(countries, async ([country, cities]) => {
      await store.load(country, cities);
      done += cities.length;
      onProgress(done);
    }),
  );
  return { rowsPerSecond: (done / ms) * 1000, p99Ms, longestMs };
}
