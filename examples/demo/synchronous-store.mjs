// The same on a synchronous driver, as a considerate service uses one: every request waits for its own turn of the event loop,
// and the load lets go of the loop after every slice.

import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import * as queries from './queries.mjs';

const SLICE = 500;

/** What sqlflow tells its own connections; `fullfsync` matters on macOS only. */
const PRAGMAS = [
  'journal_mode = WAL',
  'synchronous = FULL',
  'fullfsync = ON',
  'foreign_keys = ON',
  'cache_size = -8192',
  'temp_store = MEMORY',
  'trusted_schema = OFF',
];

/** better-sqlite3 13 ends the process on older versions of Node. */
const BETTER_SQLITE3_NEEDS_NODE = 22;

/** The driver to compare with: `{ title, connect(path) }`, or `{ reason }` when this machine has none. */
export async function findDriver() {
  return (
    (await nodeSqlite()) ?? betterSqlite3() ?? { reason: 'run with Node 22.13 or newer to see node:sqlite beside it' }
  );
}

async function nodeSqlite() {
  const { emitWarning } = process;
  // The driver announces that it is experimental when it is loaded, in the middle of the progress bar.
  process.emitWarning = () => {};
  try {
    const { DatabaseSync } = await import('node:sqlite');
    return { title: 'node:sqlite', connect: (path) => new DatabaseSync(path) };
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

function betterSqlite3() {
  if (Number(process.versions.node.split('.')[0]) < BETTER_SQLITE3_NEEDS_NODE) return undefined;
  try {
    const Sqlite = createRequire(new URL('../../benchmark/package.json', import.meta.url))('better-sqlite3');
    return { title: 'better-sqlite3', connect: (path) => new Sqlite(path) };
  } catch {
    return undefined;
  }
}

export function openSynchronous({ connect }, path) {
  const db = connect(path);
  for (const pragma of PRAGMAS) db.exec(`PRAGMA ${pragma}`);
  db.exec(queries.SCHEMA);
  const [begin, commit, insert, byPrefix, nearest, visitsOf, setVisits, counts, find] = [
    'BEGIN IMMEDIATE',
    'COMMIT',
    queries.INSERT,
    queries.BY_PREFIX,
    queries.NEAREST,
    queries.VISITS,
    queries.SET_VISITS,
    queries.COUNTS,
    queries.FIND,
  ].map((text) => db.prepare(text));

  return {
    async load(cities) {
      begin.run();
      for (let from = 0; from < cities.length; from += SLICE) {
        for (const city of cities.slice(from, from + SLICE)) insert.run(city);
        await turn();
      }
      commit.run();
    },
    async byPrefix(prefix) {
      await turn();
      return byPrefix.all(queries.prefixParams(prefix));
    },
    async nearest(lat, lng) {
      await turn();
      return nearest.all(queries.boxParams(lat, lng));
    },
    async visit(id) {
      await turn();
      begin.run();
      const { visits } = visitsOf.get({ id });
      setVisits.run({ id, visits: visits + 1 });
      commit.run();
    },
    counts: async () => counts.get(),
    find: async ({ name, country, lat, lng }) => find.all({ name, country, lat, lng }),
    close: async () => db.close(),
  };
}
