// Group commit: what waits for the writer together shares a COMMIT, and each keeps what it would have alone.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConstraintError, NoRowsError, QueueFullError, type RunResult, TransactionAbortedError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { failure, together } from './fixtures/transactions/group.mjs';
import { INSERT, numbers, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';

describe('runs that wait together', () => {
  it('share a commit: a hundred of them write a few frames', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const size = () => statSync(folder.file('test.db-wal')).size;
    const frame = 4_096 + 24;

    const before = size();
    for (let n = 0; n < 100; n++) await db.run(INSERT, [n]);
    const alone = (size() - before) / frame;
    assert.ok(alone >= 100, `each of those that come alone has its own commit: ${alone} frames`);

    const between = size();
    await together(
      folder,
      db,
      Array.from({ length: 100 }, (_, n) => () => db.run(INSERT, [100 + n])),
    );
    const shared = (size() - between) / frame;
    assert.ok(shared <= alone / 4, `${shared} frames together, ${alone} alone`);
    assert.equal((await numbers(db)).length, 200);
  });

  it('keep their order, more than fit into one group too', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const order: number[] = [];
    const calls = Array.from({ length: 5_000 }, (_, n) => async () => {
      await db.run(INSERT, [n]);
      order.push(n);
    });
    await together(folder, db, calls);
    const expected = calls.map((_, n) => n);
    assert.deepEqual(await numbers(db), expected);
    assert.deepEqual(order, expected);
  });

  it('come each with its own changes and row id', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const outcomes = await together(folder, db, [
      () => db.run(INSERT, [1]),
      () => db.run('INSERT INTO t VALUES (50, 50), (51, 51)'),
      () => db.run('UPDATE t SET n = n + 1000'),
      () => db.run('DELETE FROM t WHERE id > 50'),
      () => db.run('DELETE FROM t WHERE id > 50'),
      () => db.run(INSERT, [2]),
      () => db.run('SELECT 1'),
      () => db.run('INSERT INTO t VALUES (9007199254740993, 3)'),
    ]);
    const result = (changes: number, lastInsertRowid: number | bigint): { value: RunResult } => ({
      value: { changes, lastInsertRowid },
    });
    assert.deepEqual(outcomes, [
      result(1, 1),
      result(2, 51),
      result(3, 0),
      result(1, 0),
      result(0, 0),
      result(1, 51),
      result(0, 0),
      result(1, 9007199254740993n),
    ]);
  });

  it('see what those before them have written', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`
      CREATE TABLE parent(id INTEGER PRIMARY KEY);
      CREATE TABLE child(parent INTEGER REFERENCES parent(id));
      CREATE TABLE counter(n); INSERT INTO counter VALUES (0)`);
    await together(folder, db, [
      () => db.run('INSERT INTO parent VALUES (1)'),
      () => db.run('INSERT INTO child VALUES (1)'),
      ...Array.from({ length: 50 }, () => () => db.run('UPDATE counter SET n = n + 1')),
      () => db.run('INSERT INTO child SELECT n FROM counter WHERE n = 50 AND 0'),
      () => db.run('INSERT INTO parent SELECT n FROM counter'),
    ]);
    assert.deepEqual(await db.all('SELECT id FROM parent ORDER BY id'), [{ id: 1 }, { id: 50 }]);
    assert.deepEqual(await db.all('SELECT parent FROM child'), [{ parent: 1 }]);
  });

  it('may give rows, by every call that does, and keep their places', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const returning = `${INSERT} RETURNING id, n`;
    for (const round of [0, 10]) {
      const outcomes = await together(folder, db, [
        () => db.run(INSERT, [round + 1]),
        () => db.get(returning, [round + 2]),
        () => db.run(INSERT, [round + 3]),
        () => db.all('INSERT INTO t(n) VALUES (?), (?) RETURNING n', [round + 4, round + 5]),
        () => db.one(returning, [round + 6]),
        () => db.query('UPDATE t SET n = n WHERE n = ? RETURNING n', [round + 1]),
        () => db.get('DELETE FROM t WHERE n = 99 RETURNING n'),
        () => db.one('DELETE FROM t WHERE n = 99 RETURNING n'),
        () => db.all('INSERT OR IGNORE INTO t(n) VALUES (?) RETURNING n', [round + 1]),
        () => db.get(returning, [round + 7], { rowMode: 'array' }),
      ]);
      const id = (round * 7) / 10;
      const [none] = outcomes.splice(7, 1);
      failure(none, NoRowsError);
      assert.deepEqual(outcomes, [
        { value: { changes: 1, lastInsertRowid: id + 1 } },
        { value: { id: id + 2, n: round + 2 } },
        { value: { changes: 1, lastInsertRowid: id + 3 } },
        { value: [{ n: round + 4 }, { n: round + 5 }] },
        { value: { id: id + 6, n: round + 6 } },
        { value: { columns: ['n'], rows: [{ n: round + 1 }], changes: 1, lastInsertRowid: 0 } },
        { value: undefined },
        { value: [] },
        { value: [id + 7, round + 7] },
      ]);
    }
  });

  it('may give many rows', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const many =
      'INSERT INTO t(n) WITH RECURSIVE c(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM c LIMIT 5000) SELECT n FROM c RETURNING n';
    const outcomes = await together(folder, db, [
      () => db.run(INSERT, [-1]),
      () => db.all(many, [0]),
      () => db.run(INSERT, [-2]),
      () => db.query(many, [10_000]),
    ]);
    const rows = (from: number) => Array.from({ length: 5_000 }, (_, n) => ({ n: from + n }));
    assert.deepEqual(outcomes[1], { value: rows(0) });
    assert.deepEqual(outcomes[3], {
      value: { columns: ['n'], rows: rows(10_000), changes: 5_000, lastInsertRowid: 10_002 },
    });
  });

  it('work through changes of the schema between them', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const outcomes = await together(folder, db, [
      () => db.run(INSERT, [1]),
      () => db.run('CREATE TABLE u(n)'),
      () => db.run('INSERT INTO u VALUES (1)'),
      () => db.run('ALTER TABLE u ADD COLUMN m DEFAULT 7'),
      () => db.get('INSERT INTO u(n) VALUES (2) RETURNING *'),
      () => db.run('CREATE TABLE u(n)'),
      () => db.run('PRAGMA user_version = 5'),
      () => db.run(INSERT, [2]),
      () => db.run('DROP TABLE u'),
      () => db.run('INSERT INTO u VALUES (3)'),
      () => db.run(INSERT, [3]),
    ]);
    const failed = outcomes.flatMap((outcome, n) => ('error' in outcome ? [n] : []));
    assert.deepEqual(failed, [5, 9], 'the second CREATE TABLE, and the INSERT after DROP TABLE');
    assert.deepEqual(outcomes[4], { value: { n: 2, m: 7 } });
    assert.deepEqual(await numbers(db), [1, 2, 3]);
    assert.deepEqual(await db.one('PRAGMA user_version'), { user_version: 5 });
  });

  it('are refused by themselves beyond maxQueued', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE, { maxQueued: 5 });
    const outcomes = await together(
      folder,
      db,
      Array.from({ length: 8 }, (_, n) => () => db.run(INSERT, [n])),
    );
    for (const outcome of outcomes.slice(5)) failure(outcome, QueueFullError);
    assert.deepEqual(await numbers(db), [0, 1, 2, 3, 4]);
  });

  it('of several handles are still each its own', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const other = await folder.open('test.db', { bigint: true });
    const outcomes = await together(folder, db, [
      () => db.get(`${INSERT} RETURNING id`, [1]),
      () => other.get(`${INSERT} RETURNING id`, [2]),
      () => other.run(INSERT, [1]),
      () => db.run(INSERT, [3]),
    ]);
    failure(outcomes[2], ConstraintError);
    assert.deepEqual([outcomes[0], outcomes[1]], [{ value: { id: 1 } }, { value: { id: 2n } }]);
    assert.deepEqual(await numbers(db), [1, 2, 3]);
  });
});

describe('nothing resolves before the COMMIT', () => {
  it('whoever has seen a result finds the row from another process', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const other = await OtherProcess.with(t, folder.file());
    const calls = Array.from({ length: 60 }, (_, n) => async () => {
      if (n % 2 === 0) await db.run(INSERT, [n]);
      else await db.get(`${INSERT} RETURNING n`, [n]);
      return other.all('SELECT n FROM t WHERE n = ?', [n]);
    });
    const outcomes = await together(folder, db, calls);
    assert.deepEqual(
      outcomes,
      calls.map((_, n) => ({ value: [{ n }] })),
    );
  });

  it('a COMMIT that fails rejects every member of its group', { skip: process.platform === 'win32' }, (t) => {
    // The process may write files of 512 KiB at most, which the log meets at the COMMIT: the pages are in memory before.
    const folder = new Folder(t);
    const child = fileURLToPath(new URL('./fixtures/transactions/full-disk.child.mjs', import.meta.url));
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const { stdout, stderr } = spawnSync(
      'bash',
      ['-c', 'ulimit -f 512 && exec "$0" "$@"', process.execPath, child, folder.file()],
      { encoding: 'utf8', env, timeout: 20_000 },
    );
    assert.ok(stdout, stderr);
    const { small, large, rows }: { small: string[]; large: string[]; rows: number } = JSON.parse(stdout);
    assert.deepEqual(small, Array(10).fill('resolved'));
    assert.equal(large.length, 10);
    assert.ok(
      large.every((outcome) => outcome === 'CommitOutcomeUnknownError' || outcome === 'SqlError'),
      large.join(),
    );
    assert.equal(rows, 10);
  });
});

describe('beside a group', () => {
  it('a write shares no transaction: its rollback takes nobody with it', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const outcomes = await together(folder, db, [
      () => db.run(INSERT, [1]),
      () =>
        db.write(async (tx) => {
          await tx.run(INSERT, [2]);
          throw new OwnError('rolls back');
        }),
      () => db.run(INSERT, [3]),
      () =>
        db.write(async (tx) => {
          await tx.run(INSERT, [4]);
          await assert.rejects(tx.run('INSERT OR ROLLBACK INTO t(n) VALUES (4)'), ConstraintError);
        }),
      () => db.exec('INSERT INTO t(n) VALUES (5); INSERT INTO t(n) VALUES (5)'),
      () => db.run(INSERT, [6]),
    ]);
    failure(outcomes[1], OwnError);
    failure(outcomes[3], TransactionAbortedError);
    failure(outcomes[4], ConstraintError);
    assert.deepEqual(await numbers(db), [1, 3, 6]);
  });

  it('a write sees all that was called before it, and nothing that was called after', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const seen = () => db.write((tx) => tx.all('SELECT n FROM t ORDER BY n', [], { rowMode: 'array' }));
    const run = (n: number) => () => db.run(INSERT, [n]);
    const outcomes = await together(folder, db, [run(1), run(2), seen, run(3), seen, run(4)]);
    assert.deepEqual(outcomes[2], { value: [[1], [2]] });
    assert.deepEqual(outcomes[4], { value: [[1], [2], [3]] });
  });
});
