// Batches that wait together: they share a commit, and each keeps what it would have alone.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConstraintError, type Database, type SyncWrite, TransactionAbortedError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { amongNeighbours, failure, together } from './fixtures/transactions/group.mjs';
import { INSERT, numbers, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { within } from './fixtures/transactions/within.mjs';

const FOREIGN_KEYS = `
  CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE);
  CREATE TABLE child(n REFERENCES t(n) DEFERRABLE INITIALLY DEFERRED)`;

const insert = (n: number) => (tx: SyncWrite) => tx.run(INSERT, [n]);

describe('batches that wait together', () => {
  it('share commits, in the order of their calls, whatever form they have', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const other = await OtherProcess.with(t, folder.file());
    const kinds: [name: string, call: (n: number) => Promise<unknown>][] = [
      ['statements', (n) => db.batch([[INSERT, [n]]])],
      ['closures', (n) => db.batch(insert(n))],
      ['rows', (n) => db.runMany(INSERT, [[n]])],
    ];
    for (const [name, call] of kinds) {
      await db.exec('DELETE FROM t');
      const before = db.stats().transactions;
      const order: number[] = [];
      const calls = Array.from({ length: 200 }, (_, n) => async () => {
        await call(n);
        order.push(n);
        return n % 50 === 0 ? other.all('SELECT count(*) AS n FROM t WHERE n = ?', [n]) : undefined;
      });
      const outcomes = await together(folder, db, calls);
      const { commits } = db.stats().transactions;
      const expected = calls.map((_, n) => n);
      assert.deepEqual(await numbers(db), expected, name);
      assert.deepEqual(order, expected, name);
      assert.deepEqual(outcomes[50], { value: [{ n: 1 }] }, `${name} resolve after the commit`);
      assert.ok(commits - before.commits < 51, `${name}: ${commits - before.commits} commits`);
    }
    const mixed = Array.from({ length: 30 }, (_, n) => () => kinds[n % 3]?.[1](1_000 + n) ?? Promise.reject());
    await db.exec('DELETE FROM t');
    await together(folder, db, mixed);
    assert.deepEqual(
      await numbers(db),
      mixed.map((_, n) => 1_000 + n),
    );
  });
});

describe('db.stats()', () => {
  const calls: Record<string, (db: Database) => Promise<unknown>> = {
    run: (db) => db.run(INSERT, [1]),
    'batch of statements': (db) => db.batch([[INSERT, [1]]]),
    'batch of a closure': (db) => db.batch(insert(1)),
    runMany: (db) => db.runMany(INSERT, [[1]]),
  };
  for (const [name, call] of Object.entries(calls)) {
    it(`counts the calls that shared a commit: ${name}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database(TABLE);
      const before = db.stats().transactions;
      await together(
        folder,
        db,
        Array(20).fill(() => call(db)),
      );
      const { groups, groupMembers } = db.stats().transactions;
      assert.ok(groups > before.groups && groups - before.groups < 10, `${groups - before.groups} groups`);
      assert.ok(groupMembers - before.groupMembers > 10, `${groupMembers - before.groupMembers} members`);
    });
  }

  it('counts no call that had its commit for itself', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const before = db.stats().transactions;
    for (const call of Object.values(calls)) await call(db);
    const { commits, groups, groupMembers } = db.stats().transactions;
    assert.equal(commits - before.commits, 4);
    assert.deepEqual([groups, groupMembers], [before.groups, before.groupMembers]);
  });
});

describe('a closure of db.batch', () => {
  it('that loses the transaction takes those before it along; those behind it run later', async (t) => {
    // first        second       culprit       third        fourth
    // runs
    //              runs
    //                           ROLLBACK
    // Aborted      Aborted      its error
    //                                         runs         runs, in the next transaction
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    let sharing = 0;
    for (let round = 0; round < 5; round++) {
      await db.exec('DELETE FROM t');
      const runs: number[] = [];
      const call = (n: number) => () =>
        db.batch((tx) => {
          runs.push(n);
          tx.run(INSERT, [n]);
          if (n === 3) tx.run('INSERT OR ROLLBACK INTO t(n) VALUES (3)');
        });
      const outcomes = await together(folder, db, [1, 2, 3, 4, 5].map(call));
      assert.deepEqual(runs, [1, 2, 3, 4, 5], 'each has run, once, in order');
      const error = failure(outcomes[2], ConstraintError);
      assert.equal(error.sql, 'INSERT OR ROLLBACK INTO t(n) VALUES (3)');
      const kept = outcomes.flatMap((outcome, at) => ('value' in outcome ? [at + 1] : []));
      assert.deepEqual(await numbers(db), kept);
      assert.deepEqual(kept.slice(-2), [4, 5]);
      const gone = outcomes.slice(0, 2).filter((outcome) => 'error' in outcome);
      for (const outcome of gone) {
        assert.match(failure(outcome, TransactionAbortedError).message, /rolled the transaction back/);
      }
      // A group ends after 2 ms, so on a busy machine they may have been committed before.
      sharing += gone.length;
    }
    assert.ok(sharing > 0, 'they share a transaction');
  });

  it('that loses the transaction and keeps still about it is told as well', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const lose = db.batch((tx) => {
      tx.run(INSERT, [1]);
      assert.throws(() => tx.run('INSERT OR ROLLBACK INTO t(n) VALUES (1)'), ConstraintError);
      assert.throws(() => tx.get('SELECT 1'), TransactionAbortedError);
    });
    await assert.rejects(within(lose, 'the batch'), TransactionAbortedError);
    assert.deepEqual(await numbers(db), []);
    await db.batch(insert(2));
  });
});

describe('deferred foreign keys', () => {
  const forms: Record<string, (db: Database, statements: string[]) => Promise<unknown>> = {
    statements: (db, statements) => db.batch(statements),
    closure: (db, statements) =>
      db.batch((tx) => {
        for (const each of statements) tx.run(each);
      }),
  };
  for (const [name, batch] of Object.entries(forms)) {
    it(`hold at the end of each batch: ${name}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database(FOREIGN_KEYS);
      const [whole, broken, mends] = await together(folder, db, [
        () => batch(db, ['INSERT INTO child VALUES (1)', 'INSERT INTO t(n) VALUES (1)']),
        () => batch(db, ['INSERT INTO t(n) VALUES (2)', 'INSERT INTO child VALUES (3)']),
        () => batch(db, ['INSERT INTO t(n) VALUES (3)']),
      ]);
      assert.ok(whole && 'value' in whole && mends && 'value' in mends);
      assert.equal(failure(broken, ConstraintError).sqliteCode, 787, 'SQLITE_CONSTRAINT_FOREIGNKEY');
      assert.deepEqual(await numbers(db), [1, 3]);
      assert.deepEqual(await db.all('SELECT n FROM child'), [{ n: 1 }]);
    });

    it(`of one do not harm its neighbours: ${name}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database(FOREIGN_KEYS);
      const outcome = await amongNeighbours(folder, db, () => batch(db, ['INSERT INTO child VALUES (3)']));
      assert.equal(failure(outcome, ConstraintError).sqliteCode, 787);
      assert.deepEqual(await db.all('SELECT n FROM child'), []);
      const [first, broken, last] = await together(folder, db, [
        () => batch(db, ['INSERT INTO t(n) VALUES (1)']),
        () => batch(db, ['INSERT INTO child VALUES (3)']),
        () => batch(db, ['INSERT INTO t(n) VALUES (2)']),
      ]);
      failure(broken, ConstraintError);
      assert.ok(first && 'value' in first && last && 'value' in last, 'the neighbours are committed');
      assert.deepEqual(await numbers(db), [1, 2]);
    });
  }
});
