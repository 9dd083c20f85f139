// The transactions that write, the same ones in a file of its own and in a pool.

import * as queries from './queries.mjs';

/** Statements handed to the engine at a time while loading. */
const SLICE = 500;

/** Adds cities. */
export const add = (cities) => async (tx) => {
  const insert = tx.prepare(queries.INSERT);
  for (let from = 0; from < cities.length; from += SLICE) {
    await Promise.all(cities.slice(from, from + SLICE).map((city) => insert.run(city)));
  }
};

/** Reads a counter and writes it back one higher: right only if nobody comes between. */
export const visit = (id) => async (tx) => {
  const { visits } = await tx.one(queries.VISITS, { id });
  await tx.run(queries.SET_VISITS, { id, visits: visits + 1 });
};
