// How the package is loaded: once or twice, by import or require, in a thread that ends before the others.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import * as imported from 'sqlflow';
import type { BankData, BankReport } from './fixtures/border/bank-worker.mjs';
import { Folder } from './fixtures/border/folder.mjs';
import { copyPackage } from './fixtures/border/package-copy.mjs';
import { assertEndedWith, run } from './fixtures/border/program.mjs';
import type { Told } from './fixtures/border/two-copies.mjs';

const { Database } = imported;
const require = createRequire(import.meta.url);

/** A test that waits for something that never comes fails alone. */
const LIMIT = { timeout: 20_000 };

test('import and require give the same classes', LIMIT, async () => {
  const required: typeof imported = require('sqlflow');
  const names = Object.keys(required).filter((name) => name !== '__esModule');
  assert.deepEqual(
    Object.keys(imported).filter((name) => name !== 'default' && name !== 'module.exports'),
    names.sort(),
  );
  for (const name of names) assert.equal(Reflect.get(imported, name), Reflect.get(required, name), name);

  await using db = await required.Database.open(':memory:');
  assert.ok(db instanceof Database);
  await assert.rejects(db.get('SELECT missing FROM nowhere'), imported.SqlError);
  assert.deepEqual(await db.get(imported.sql`SELECT ${1} AS one`), { one: 1 });
});

test('import and require in one process give no warning', LIMIT, async () => {
  const ending = await run('import-and-require', []);
  assertEndedWith(ending, 0);
  assert.equal(ending.stderr, '');
  assert.equal(ending.stdout, 'the same\n');
});

test('one addon loaded twice in a thread: completions of their own, one engine, no warning', LIMIT, async () => {
  using folder = new Folder();
  const first = copyPackage(folder.file('first'), 'same file');
  const second = copyPackage(folder.file('second'), 'same file');
  const file = folder.file('shared.db');
  const ending = await run('two-copies', [first, second, file, file]);
  assertEndedWith(ending, 0);
  assert.deepEqual<Told>(JSON.parse(ending.stdout), {
    warnings: [],
    wrong: 0,
    answers: 2_440,
    apart: true,
    related: true,
    conflict: 'OPTIONS_CONFLICT',
    rows: [640, 640],
  });
});

test('two addons in a thread: completions of their own, an engine each, and a warning', LIMIT, async () => {
  using folder = new Folder();
  const first = copyPackage(folder.file('first'), 'other file');
  const second = copyPackage(folder.file('second'), 'other file');
  const ending = await run('two-copies', [first, second, folder.file('first.db'), folder.file('second.db')]);
  assertEndedWith(ending, 0);
  const { warnings, ...told }: Told = JSON.parse(ending.stdout);
  assert.deepEqual(told, {
    wrong: 0,
    answers: 2_440,
    apart: true,
    related: true,
    conflict: '',
    rows: [320, 320],
  });
  assert.deepEqual(
    warnings.map(({ code }) => code),
    ['SQLFLOW_TWO_COPIES'],
  );
  for (const copy of [first, second]) assert.ok(warnings[0]?.message.includes(copy), warnings[0]?.message);
});

test('the addon is loaded only in workers that are terminated while their statements run', LIMIT, async () => {
  using folder = new Folder();
  const file = folder.file('terminated.db');
  const ending = await run('terminated-workers', [file, '25']);
  assertEndedWith(ending, 0);
  const { acknowledged }: { acknowledged: number } = JSON.parse(ending.stdout);

  await using db = await Database.open(file, { busyTimeoutMs: 0 });
  assert.deepEqual(await db.all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
  const { committed, halves } = await db.one('SELECT count(*) AS committed, sum(half) AS halves FROM t');
  assert.ok(Number(committed) >= acknowledged, `${acknowledged} were acknowledged, ${committed} are there`);
  assert.equal(halves, 0, 'half a transaction is there');
});

test('ten workers on one file share one engine, and every total is right', LIMIT, async () => {
  using folder = new Folder();
  await using db = await Database.open(folder.file('bank.db'), { readers: 3 });
  await db.exec(`
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20) INSERT INTO account SELECT i, 1000 FROM n;
    CREATE TABLE transfer (worker INTEGER NOT NULL, i INTEGER NOT NULL, PRIMARY KEY (worker, i));
  `);

  const rounds = 40;
  const reports = await Promise.all(
    Array.from({ length: 10 }, async (_, worker) => {
      const workerData: BankData = { path: db.path, worker, rounds };
      const thread = new Worker(new URL('./fixtures/border/bank-worker.mjs', import.meta.url), { workerData });
      const exited = once(thread, 'exit');
      const [report]: BankReport[] = await once(thread, 'message');
      assert.deepEqual(await exited, [0]);
      return report;
    }),
  );

  for (const report of reports) {
    assert.deepEqual(report, {
      transfers: rounds,
      undone: rounds,
      wrongTotals: 0,
      wrongOrder: 0,
      conflict: 'OPTIONS_CONFLICT',
    });
  }
  assert.deepEqual(await db.one('SELECT count(*) AS accounts, sum(balance) AS total FROM account'), {
    accounts: 20,
    total: 20_000,
  });
  assert.deepEqual(await db.one('SELECT count(*) AS transfers FROM transfer'), { transfers: 10 * rounds * 2 });
  const { path } = db;
  await db.close();
  assert.equal(existsSync(`${path}-wal`), false, 'somebody still has the file');
});
