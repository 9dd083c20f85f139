// The cities in sqlflow: what an application would write.

import { Database } from 'sqlflow';
import * as queries from './queries.mjs';
import { add, visit } from './transactions.mjs';

export async function openSqlflow(path) {
  const db = await Database.open(path);
  await db.write((tx) => tx.exec(queries.SCHEMA));

  return {
    /** Adds the cities in one transaction. */
    load: (cities) => db.write(add(cities)),
    byPrefix: (prefix) => db.all(queries.BY_PREFIX, queries.prefixParams(prefix)),
    nearest: (lat, lng) => db.all(queries.NEAREST, queries.boxParams(lat, lng)),
    visit: (id) => db.write(visit(id)),
    counts: () => db.one(queries.COUNTS),
    find: (city) => db.all(queries.FIND, city),
    close: () => db.close(),
  };
}
