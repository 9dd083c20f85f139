// The ways to write two rows to a tenant of a pool, and to read them all.

import type { CallOptions, Database, Pool } from 'sqlflow';
import type { Random } from '../fixtures/random.mjs';
import { must } from './stress.mjs';

export const MIGRATIONS = [
  { name: '001_row.sql', sql: 'CREATE TABLE row(id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL)' },
  { name: '002_view.sql', sql: 'CREATE VIEW rows AS SELECT count(*) AS n FROM row' },
];

/** What closures throw. */
export const THROWN = new Error('thrown by a closure');

const INSERT = 'INSERT INTO row(id, tenant) VALUES (?, ?), (?, ?)';
const REMOVE = 'DELETE FROM row WHERE id IN (?, ?)';
const ALL = 'SELECT id, tenant FROM row';
const COUNT = 'SELECT n FROM rows';

type Row = [id: number, tenant: number];

/** One of the tenants. */
export interface Place {
  readonly pool: Pool;
  readonly key: string;
  readonly tenant: number;
}

/** Writes the rows `id` and `id + 1`, and removes `removed` and the one after it. With `throws` it does so, and nothing is written. */
export async function write(
  { pool, key, tenant }: Place,
  { id, removed, throws }: { id: number; removed: number | undefined; throws: boolean },
  options: CallOptions,
  random: Random,
): Promise<void> {
  const insert: [string, number[]] = [INSERT, [id, tenant, id + 1, tenant]];
  const remove: [string, number[]] = [REMOVE, removed === undefined ? [-1, -1] : [removed, removed + 1]];
  const ways: (() => Promise<unknown>)[] = [
    () =>
      pool.write(
        key,
        async (tx) => {
          await tx.run(...insert);
          await tx.run(...remove);
          if (throws) throw THROWN;
        },
        options,
      ),
    () =>
      pool.batch(
        key,
        (tx) => {
          tx.run(...remove);
          tx.run(...insert);
          if (throws) throw THROWN;
        },
        options,
      ),
    () =>
      pool.use(key, async (db) => {
        if (throws) await db.write((tx) => tx.sync.run(...insert) && Promise.reject(THROWN));
        await Promise.all([count(db, tenant), db.batch([insert, remove])]);
        await count(db, tenant);
      }),
  ];
  if (!throws) ways.push(() => pool.batch(key, [remove, insert], options));
  if (!throws && removed === undefined) ways.push(() => pool.run(key, ...insert, options));
  await random.pick(ways)();
}

async function count(db: Database, tenant: number): Promise<void> {
  const row = await db.get(COUNT);
  must(typeof row?.['n'] === 'number', `tenant ${tenant}: a count gave ${JSON.stringify(row)}`);
}

/** The ids that are there, or with `some` the first ones of them. With `throws` a closure may throw. */
export async function read(
  { pool, key, tenant }: Place,
  { throws }: { throws: boolean },
  options: CallOptions,
  random: Random,
): Promise<{ ids: number[]; extent: 'all' | 'some' }> {
  const asArrays = { ...options, rowMode: 'array' } as const;
  const most = random.below(2) === 0 ? 1 + random.below(10) : Number.POSITIVE_INFINITY;
  let extent: 'all' | 'some' = 'all';
  const ways: (() => Promise<Row[]>)[] = [
    () => pool.all<Row>(key, ALL, [], asArrays),
    async () => (await pool.query<Row>(key, ALL, [], asArrays)).rows,
    () =>
      pool.read(
        key,
        async (tx) => {
          const { n } = await tx.one<{ n: number }>(COUNT);
          const rows = await tx.all<Row>(ALL, [], { rowMode: 'array' });
          must(rows.length === n, `tenant ${tenant}: a transaction read ${n} rows, then ${rows.length}`);
          if (throws) throw THROWN;
          return rows;
        },
        options,
      ),
    () => pool.use(key, (db) => db.all<Row>(ALL, [], { rowMode: 'array' })),
    async () => {
      const rows: Row[] = [];
      for await (const row of pool.iterate<Row>(key, ALL, [], { ...asArrays, batchRows: 8 })) {
        rows.push(row);
        if (rows.length < most) continue;
        extent = 'some';
        break;
      }
      return rows;
    },
  ];
  const rows = await random.pick(ways)();
  for (const [id, of] of rows) must(of === tenant, `tenant ${tenant}: row ${id} is of tenant ${of}`);
  return { ids: rows.map(([id]) => id), extent };
}
