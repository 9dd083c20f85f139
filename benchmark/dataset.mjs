// The rows every peer holds: made by formula, so that each process makes the same ones.

export const ROWS = 100_000;
export const COUNTERS = 1_000;

const CITIES = ['Lyon', 'Kraków', 'Nairobi', 'São Paulo', 'Reykjavík', 'Osaka', 'Denver', 'Perth'];

/** Columns two to four of row `id`; the first is the id itself. */
export function person(id) {
  return [`person number ${id}`, CITIES[id % CITIES.length], id * 0.5];
}

/** All rows of the `person` table, without ids. */
export function people(count = ROWS) {
  return Array.from({ length: count }, (_, index) => person(index + 1));
}

const COLUMNS = 'id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL, score REAL NOT NULL';

/** Creates the tables named: `person` and `counter` are filled, `entry` is what the insert cases fill. */
export async function seed(handle, tables) {
  for (const table of tables) {
    if (table === 'person') {
      await handle.exec(`CREATE TABLE person (${COLUMNS})`);
      await handle.insertAll('INSERT INTO person (name, city, score) VALUES (?, ?, ?)', people());
    } else if (table === 'counter') {
      await handle.exec(`
        CREATE TABLE counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);
        WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < ${COUNTERS})
        INSERT INTO counter SELECT id, 0 FROM ids;
      `);
    } else if (table === 'entry') {
      await handle.exec(`CREATE TABLE entry (${COLUMNS})`);
    } else {
      throw new Error(`no table ${JSON.stringify(table)} in the dataset`);
    }
  }
}

/** The id asked for in step `index`: all of 1..count, in an order that does not follow the pages of the file. */
export function scattered(index, count = ROWS) {
  return ((index * 7919) % count) + 1;
}
