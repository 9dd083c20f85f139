// node:sqlite, the driver inside Node: one connection on the event loop's thread, statements prepared once.

import { DatabaseSync } from 'node:sqlite';
import { pragmas } from './index.mjs';

export const title = 'node:sqlite';

export function version() {
  return process.versions.node;
}

export function open(path, { synchronous }) {
  const db = new DatabaseSync(path);
  for (const pragma of pragmas(synchronous)) db.exec(`PRAGMA ${pragma}`);

  const begin = db.prepare('BEGIN');
  const beginImmediate = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  const rollback = db.prepare('ROLLBACK');
  const transaction = (start, work) => {
    start.run();
    try {
      const result = work();
      commit.run();
      return result;
    } catch (error) {
      rollback.run();
      throw error;
    }
  };
  const insertSync = (sql) => {
    const statement = db.prepare(sql);
    return (rows) =>
      transaction(beginImmediate, () => {
        for (const row of rows) statement.run(row[0], row[1], row[2]);
      });
  };

  return {
    sync: true,
    exec: (sql) => db.exec(sql),
    getter(sql) {
      const statement = db.prepare(sql);
      return (id) => statement.get(id);
    },
    runner(sql) {
      const statement = db.prepare(sql);
      return (a, b, c) => statement.run(a, b, c);
    },
    writer(sql) {
      const statement = db.prepare(sql);
      return (value) => transaction(beginImmediate, () => statement.run(value));
    },
    reader(sql) {
      const statement = db.prepare(sql);
      const get = (id) => statement.get(id);
      return (loop) => transaction(begin, () => loop(get));
    },
    all(sql) {
      const statement = db.prepare(sql);
      return () => statement.all();
    },
    insertSync,
    insertAll: (sql, rows) => insertSync(sql)(rows),
    close: () => db.close(),
  };
}
