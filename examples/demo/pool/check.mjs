// Whether every country has what it was given: each row against the source, each counter against the acknowledged updates.

import { inParallel } from '../parallel.mjs';

/** Sentences, one per thing that is not as it must be; none when all is well. */
export async function checkCountries(store, countries, { visited, wrong }) {
  const problems = [];
  const visits = new Map();
  for (const id of visited) visits.set(id, (visits.get(id) ?? 0) + 1);

  const found = new Set();
  for await (const country of store.countries()) found.add(country);
  const unknown = [...found].filter((country) => !countries.has(country));
  if (unknown.length > 0) problems.push(`databases that nobody made: ${unknown.join(', ')}`);

  await inParallel(countries, async ([country, cities]) => {
    if (!found.has(country)) {
      problems.push(`${country} has no database`);
      return;
    }
    const { cities: rows, counts } = await store.contents(country);
    if (rows.length !== cities.length || counts.boxes !== cities.length) {
      problems.push(`${country}: ${rows.length} cities, ${counts.boxes} places in the R-Tree, ${cities.length} loaded`);
      return;
    }
    const differ = rows.filter((row, at) => !isSame(row, cities[at]));
    if (differ.length > 0) problems.push(`${country}: ${differ.length} cities are not as they were loaded`);
    const uncounted = rows.filter((row) => row.visits !== (visits.get(row.id) ?? 0));
    if (uncounted.length > 0) {
      problems.push(`${country}: ${uncounted.length} counters are not the number of acknowledged updates`);
    }
  });

  const { failed } = store.stats();
  if (failed > 0) problems.push(`${failed} opens failed`);
  if (wrong > 0) problems.push(`${wrong} reads answered something else than was asked`);
  return problems;
}

function isSame(row, city) {
  return ['id', 'name', 'country', 'lat', 'lng'].every((column) => row[column] === city[column]);
}
