// The second part: an encrypted database for each country, of which a pool keeps the busiest open.

import { randomBytes } from 'node:crypto';
import { byCountry, readCities, sample, shuffled } from '../cities.mjs';
import { collect } from '../collect.mjs';
import { serve } from '../serve.mjs';
import { checkCountries } from './check.mjs';
import { inspectFiles } from './files.mjs';
import { derivedFrom } from './keys.mjs';
import { loadCountries } from './load.mjs';
import { openCountries } from './store.mjs';
import { withTurnover } from './turnover.mjs';

const TITLE = 'sqlflow pool';
/** About a quarter of the countries, which have nine of ten cities. */
const MAX_OPEN = 64;
const WRITERS = 4;
/** Of all cities, so that a country is asked for as often as it has cities. */
const PLACES = 20_011;

/** Load, service and checks; the cities are let go of before serving. */
export async function runPool(folder, seconds, progress) {
  // A service has it in its key store.
  const master = randomBytes(32);
  const keyOf = derivedFrom(master);
  const store = await openCountries(folder, { maxOpen: MAX_OPEN, keyProvider: keyOf });
  const result = await useStore(store, seconds, progress).finally(() => store.close());
  progress.step(`${TITLE}: trying its files without their keys`);
  const { files, bytes, problems } = await inspectFiles(folder, keyOf('nowhere'));
  return { ...result, files, bytes, problems: [...result.problems, ...problems] };
}

async function useStore(store, seconds, progress) {
  let cities = readCities();
  const total = cities.length;
  const places = shuffled(sample(cities, PLACES));
  let countries = byCountry(cities);
  const databases = countries.size;
  cities = undefined;
  progress.step(`${TITLE}: loading ${total.toLocaleString('en')} cities into ${databases} encrypted databases`);
  collect();
  const load = await withTurnover(store, () =>
    loadCountries(store, countries, (done) => progress.bar(`${TITLE}: loading`, done, total)),
  );
  countries = undefined;
  collect();
  progress.step(`${TITLE}: serving for ${seconds} s`);
  const served = await withTurnover(store, () =>
    serve(({ country }) => store.of(country), places, { seconds, writers: WRITERS }),
  );
  progress.step(`${TITLE}: checking`);
  const problems = await checkCountries(store, byCountry(readCities()), served);
  return {
    title: TITLE,
    cities: total,
    databases,
    maxOpen: MAX_OPEN,
    writers: WRITERS,
    seconds,
    load,
    serve: served,
    problems,
  };
}
