// The tenants: their keys, their migrations, what is in them, and the options of their pools, plain and encrypted.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../package.json', import.meta.url));
export const { Database, Pool } = require('sqlflow');

/** Rows of each tenant, from 1. */
export const ROWS = 100;
export const SELECT = 'SELECT v FROM t WHERE k = ?';

const migrations = [
  'CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT NOT NULL);',
  'CREATE TABLE u (k INTEGER PRIMARY KEY, name TEXT NOT NULL, at INTEGER); CREATE INDEX u_by_name ON u (name, at);',
  `INSERT INTO t WITH RECURSIVE n (k) AS (VALUES (1) UNION ALL SELECT k + 1 FROM n WHERE k < ${ROWS}) SELECT k, '' FROM n;`,
].map((sql, index) => ({ name: `0000${index + 1}_part.sql`, sql: `-- +goose Up\n${sql}` }));

/** A key of its own for every tenant, as a service derives them from one secret. */
const keyProvider = (tenant) => createHash('sha256').update(`the secret of the service, ${tenant}`).digest();

const kinds = { plain: {}, encrypted: { keyProvider } };
export const KINDS = Object.keys(kinds);

export function keyOf(index) {
  return `tenant-${index}`;
}

/** So many keys from an index, beginning anew after the last one. */
export function keysFrom(index, count, tenants) {
  return Array.from({ length: count }, (_, step) => keyOf((index + step) % tenants));
}

/** Options of a pool of that kind. */
export function poolOptions(kind, own) {
  return { migrations, synchronous: 'normal', ...kinds[kind], ...own };
}

/** Options of `Database.open` for one tenant of that kind. */
export function databaseOptions(kind, key) {
  const { keyProvider: provider } = kinds[kind];
  return { migrations, synchronous: 'normal', ...(provider && { key: provider(key) }) };
}

/** Has every row tell whose it is, so that a read can tell whether it was answered by its tenant. */
export function sign(pool, key) {
  return pool.run(key, 'UPDATE t SET v = ? || k', [`${key} `]);
}

/** What is in row `k` of a signed tenant. */
export function signature(key, k) {
  return `${key} ${k}`;
}

/** Ends the run when `row` is not row `k` of a signed tenant. */
export function check(row, key, k) {
  if (row?.v !== signature(key, k)) throw new Error(`WRONG: row ${k} of ${key} is ${JSON.stringify(row)}`);
}
