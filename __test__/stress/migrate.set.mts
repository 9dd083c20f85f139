// The migrations of the stress: each adds a table, rows and a line of the log; some rebuild what came before.

import type { MigrationFile } from 'sqlflow';

export const STEPS = 20;

export const SET: readonly MigrationFile[] = Array.from({ length: STEPS }, (_, index) => {
  const version = index + 1;
  const sql = [`CREATE TABLE t${version} (id INTEGER PRIMARY KEY, v TEXT NOT NULL);`];
  // No key: one that is run twice has two lines.
  if (version === 1) sql.push('CREATE TABLE log (version INTEGER NOT NULL);');
  sql.push(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t${version} SELECT i, 'row ' || i FROM n;`,
    `CREATE INDEX t${version}_v ON t${version} (v);`,
    `INSERT INTO log VALUES (${version});`,
  );
  if (version % 5 === 0) {
    const old = `t${version - 1}`;
    sql.push(
      `CREATE TABLE rebuilt (id INTEGER PRIMARY KEY, v TEXT NOT NULL CHECK (v <> ''), more);`,
      `INSERT INTO rebuilt (id, v) SELECT id, v FROM ${old}; DROP TABLE ${old}; ALTER TABLE rebuilt RENAME TO ${old};`,
    );
  }
  return { name: `${String(version).padStart(3, '0')}_step-${version}.sql`, sql: sql.join('\n') };
});
