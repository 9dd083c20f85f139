// sqlflow as its README uses it. Loaded by the name the package gives itself, through its own exports map.

import { createRequire } from 'node:module';

const require = createRequire(new URL('../../package.json', import.meta.url));
const { Database } = require('sqlflow');

export const title = 'sqlflow';

/** Statements of the asynchronous bulk insert handed over at a time. */
const ROWS_PER_TURN = 1_000;

export function version() {
  return require('./package.json').version;
}

export async function open(path, { synchronous }) {
  const db = await Database.open(path, { synchronous });

  return {
    sync: false,
    exec: (sql) => db.exec(sql),
    getter: (sql) => (id) => db.get(sql, [id]),
    runner:
      (sql) =>
      (...values) =>
        db.run(sql, values),
    writer: (sql) => (value) => db.write((tx) => tx.run(sql, [value])),
    reader: (sql) => (loop) => db.read((tx) => loop((id) => tx.sync.get(sql, [id]))),
    all: (sql) => () => db.all(sql),
    insertSync: (sql) => (rows) =>
      db.write((tx) => {
        for (const row of rows) tx.sync.run(sql, row);
      }),
    insertAll: (sql, rows) =>
      db.write(async (tx) => {
        for (let from = 0; from < rows.length; from += ROWS_PER_TURN) {
          await Promise.all(rows.slice(from, from + ROWS_PER_TURN).map((row) => tx.run(sql, row)));
        }
      }),
    close: () => db.close(),
  };
}
