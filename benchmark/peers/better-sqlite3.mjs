// better-sqlite3 as its documentation uses it: one connection on the event loop's thread, statements prepared once.

import { createRequire } from 'node:module';
import Sqlite from 'better-sqlite3';
import { pragmas } from './index.mjs';

export const title = 'better-sqlite3';

export function version() {
  return createRequire(import.meta.url)('better-sqlite3/package.json').version;
}

export function open(path, { synchronous }) {
  const db = new Sqlite(path);
  for (const pragma of pragmas(synchronous)) db.pragma(pragma);

  const insertSync = (sql) => {
    const statement = db.prepare(sql);
    return db.transaction((rows) => {
      for (const row of rows) statement.run(row[0], row[1], row[2]);
    }).immediate;
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
      return db.transaction((value) => statement.run(value)).immediate;
    },
    reader(sql) {
      const statement = db.prepare(sql);
      const get = (id) => statement.get(id);
      return db.transaction((loop) => loop(get));
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
