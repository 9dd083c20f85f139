// Whether the work was done: what the file says after it, against what was acknowledged.

import { KNOWN } from './cities.mjs';

/** Sentences, one per thing that is not as it must be; none when all is well. */
export async function check(store, { cities, acknowledged, wrong }) {
  const problems = [];
  const counts = await store.counts();
  if (counts.cities !== cities) problems.push(`${counts.cities} cities in the table, ${cities} loaded`);
  if (counts.boxes !== cities) problems.push(`${counts.boxes} places in the R-Tree, ${cities} loaded`);
  if (counts.visits !== acknowledged) {
    problems.push(`the counters sum to ${counts.visits}, ${acknowledged} updates were acknowledged`);
  }
  for (const city of KNOWN) {
    const found = await store.find(city);
    if (found.length === 0) problems.push(`${city.name} (${city.country}) is not where it lies`);
  }
  if (wrong > 0) problems.push(`${wrong} reads answered something else than was asked`);
  return problems;
}
