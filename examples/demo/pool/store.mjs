// The cities in a pool, a database for each country: what an application with a database per tenant would write.

import { Pool } from 'sqlflow';
import * as queries from '../queries.mjs';
import { add, visit } from '../transactions.mjs';

const MIGRATIONS = [{ name: '001_city.sql', sql: queries.SCHEMA }];

const EVERY_CITY = 'SELECT id, name, country, lat, lng, visits FROM city ORDER BY id';

export async function openCountries(folder, { maxOpen, keyProvider }) {
  const pool = await Pool.open(folder, { maxOpen, keyProvider, migrations: MIGRATIONS });

  return {
    /** Makes the database of a country, with its cities. */
    load: (country, cities) => pool.write(country, add(cities)),
    /** The store of one country. */
    of: (country) => ({
      byPrefix: (prefix) => pool.all(country, queries.BY_PREFIX, queries.prefixParams(prefix)),
      nearest: (lat, lng) => pool.read(country, (tx) => tx.all(queries.NEAREST, queries.boxParams(lat, lng))),
      visit: (id) => pool.write(country, visit(id)),
    }),
    /** All there is of a country, as of one moment. */
    contents: (country) =>
      pool.read(country, async (tx) => ({ cities: await tx.all(EVERY_CITY), counts: await tx.one(queries.COUNTS) })),
    countries: () => pool.keys(),
    stats: () => pool.stats(),
    close: () => pool.close(),
  };
}
