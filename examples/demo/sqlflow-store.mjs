// The cities in sqlflow: what an application would write.

import { Database } from 'sqlflow';
import * as queries from './queries.mjs';

/** Statements handed to the engine at a time while loading. */
const SLICE = 500;

export async function openSqlflow(path) {
  const db = await Database.open(path);
  await db.write((tx) => tx.exec(queries.SCHEMA));

  return {
    /** Adds the cities in one transaction. */
    load: (cities) =>
      db.write(async (tx) => {
        const insert = tx.prepare(queries.INSERT);
        for (let from = 0; from < cities.length; from += SLICE) {
          await Promise.all(cities.slice(from, from + SLICE).map((city) => insert.run(city)));
        }
      }),
    byPrefix: (prefix) => db.all(queries.BY_PREFIX, queries.prefixParams(prefix)),
    nearest: (lat, lng) => db.all(queries.NEAREST, queries.boxParams(lat, lng)),
    /** Reads a counter and writes it back one higher: right only if nobody comes between. */
    visit: (id) =>
      db.write(async (tx) => {
        const { visits } = await tx.one(queries.VISITS, { id });
        await tx.run(queries.SET_VISITS, { id, visits: visits + 1 });
      }),
    counts: () => db.one(queries.COUNTS),
    find: (city) => db.all(queries.FIND, city),
    close: () => db.close(),
  };
}
