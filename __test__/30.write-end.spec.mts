// The end of a write: after its closure, by SQLite itself, by a constraint or by its deadline.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  ConstraintError,
  TransactionAbortedError,
  TransactionClosedError,
  TransactionTimeoutError,
  UnfinishedQueryError,
  type WriteTransaction,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { type Calls, writingCalls } from './fixtures/transactions/late-calls.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError, reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { within } from './fixtures/transactions/within.mjs';

const ENDLESS = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c';
/** The numbers 1 to `?`. */
const SEQUENCE = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT n FROM c';

describe('after the end of a write', () => {
  for (const outcome of ['returned', 'thrown'] as const) {
    it(`everything throws TransactionClosedError: the closure has ${outcome}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      let calls: Calls = {};
      const write = db.write(async (tx) => {
        calls = await writingCalls(tx);
        if (outcome === 'thrown') throw new OwnError('ends it');
      });
      if (outcome === 'thrown') await assert.rejects(write, OwnError);
      else await write;
      const silent: string[] = [];
      for (const [name, call] of Object.entries(calls)) {
        const reason = await reasonOf((async () => call())()).catch(() => undefined);
        if (!(reason instanceof TransactionClosedError)) silent.push(name);
      }
      assert.deepEqual(silent, []);
      assert.deepEqual(await numbers(db), []);
    });
  }

  it('also while the next write is open on the same connection', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const first = await db.write((tx) => ({ tx }));
    await db.write(async (second) => {
      await assert.rejects(first.tx.run(INSERT, [1]), TransactionClosedError);
      assert.throws(() => first.tx.sync.run(INSERT, [1]), TransactionClosedError);
      await second.run(INSERT, [2]);
    });
    assert.deepEqual(await numbers(db), [2]);
  });
});

describe('a statement in flight when the closure of a write settles', () => {
  const started: Record<string, (tx: WriteTransaction) => unknown> = {
    run: (tx) => tx.run(INSERT, [1]),
    'get that never ends': (tx) => tx.get(ENDLESS),
    'run, which was begun, and others behind it': (tx) => [tx.run(INSERT, [1]), tx.get(ENDLESS), tx.run(INSERT, [2])],
    exec: (tx) => tx.exec('INSERT INTO t(n) VALUES (1); INSERT INTO t(n) VALUES (2)'),
    'prepare, run': (tx) => tx.prepare(INSERT).run(1),
    'one that fails': (tx) => tx.run('nonsense'),
    iterate: (tx) => [tx.run(INSERT, [1]), tx.iterate(ENDLESS).next()],
  };
  for (const [name, start] of Object.entries(started)) {
    it(`is undone with the rest, rejects and counts as handled: ${name}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      const unhandled = await unhandledIn(async () => {
        const write = db.write(async (tx) => {
          await tx.run(INSERT, [0]);
          start(tx);
        });
        await within(assert.rejects(write, UnfinishedQueryError), 'a write with a statement in flight');
        const throwing = db.write(async (tx) => {
          await tx.run(INSERT, [0]);
          start(tx);
          throw new OwnError('wins');
        });
        await within(assert.rejects(throwing, OwnError), 'a throwing write with a statement in flight');
      });
      assert.deepEqual(unhandled, []);
      await within(db.run(INSERT, [9]), 'the writer is not given back');
      assert.deepEqual(await numbers(db), [9]);
    });
  }
});

describe('a transaction that SQLite has rolled back', () => {
  const losing: Record<string, string> = {
    'OR ROLLBACK': 'INSERT OR ROLLBACK INTO t(n) VALUES (1)',
    'RAISE(ROLLBACK)': "INSERT INTO t(n) VALUES ('raise')",
    'ON CONFLICT ROLLBACK of the schema': 'INSERT INTO strict VALUES (1)',
  };
  const SCHEMA = `
    CREATE TABLE t(id INTEGER PRIMARY KEY, n UNIQUE);
    CREATE TABLE strict(n UNIQUE ON CONFLICT ROLLBACK);
    INSERT INTO strict VALUES (1);
    CREATE TRIGGER raises BEFORE INSERT ON t WHEN NEW.n = 'raise' BEGIN SELECT RAISE(ROLLBACK, 'raised'); END`;
  for (const [name, sql] of Object.entries(losing)) {
    it(`is told to the next statement, and nothing is committed: ${name}`, async (t) => {
      const db = await new Folder(t).database(SCHEMA);
      const lose = async (tx: WriteTransaction) => {
        await tx.run(INSERT, [1]);
        await assert.rejects(tx.run(sql), ConstraintError);
      };
      const goesOn = db.write(async (tx) => {
        await lose(tx);
        await assert.rejects(tx.run(INSERT, [2]), TransactionAbortedError);
        await assert.rejects(tx.get('SELECT 1'), TransactionAbortedError);
        await assert.rejects(tx.exec('DELETE FROM t'), TransactionAbortedError);
        await assert.rejects(tx.iterate('SELECT 1').next(), TransactionAbortedError);
        assert.throws(() => tx.sync.run(INSERT, [3]), TransactionAbortedError);
        assert.throws(() => tx.sync.get('SELECT 1'), TransactionAbortedError);
      });
      await assert.rejects(goesOn, (error) => {
        assert.ok(error instanceof TransactionAbortedError);
        assert.equal(error.code, 'TRANSACTION_ABORTED');
        return true;
      });
      await assert.rejects(db.write(lose), TransactionAbortedError, 'though no statement comes after it');
      const sync = db.write((tx) => {
        tx.sync.run(INSERT, [1]);
        assert.throws(() => tx.sync.run(sql), ConstraintError);
      });
      await assert.rejects(sync, TransactionAbortedError);
      const behind = db.write(async (tx) => {
        const [lost, next] = await Promise.allSettled([lose(tx), tx.run(INSERT, [5]), tx.run(INSERT, [6])]);
        assert.equal(lost.status, 'fulfilled');
        assert.equal(next.status, 'fulfilled', 'it was called before');
        throw new OwnError('wins');
      });
      await assert.rejects(behind, OwnError);
      assert.deepEqual(await numbers(db), []);
      await db.run(INSERT, [7]);
      assert.deepEqual(await numbers(db), [7]);
    });
  }

  it('gives no more rows to an iterator that was begun before', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    const write = db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      const rows = tx.iterate(SEQUENCE, [100], { batchRows: 1 });
      await rows.next();
      await assert.rejects(tx.run('INSERT OR ROLLBACK INTO t(n) VALUES (1)'), ConstraintError);
      await assert.rejects(rows.next());
    });
    await assert.rejects(write, TransactionAbortedError);
    assert.deepEqual(await numbers(db), []);
  });

  it('loses a script that goes through it', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    const script = `
      INSERT INTO t(n) VALUES (1);
      INSERT OR ROLLBACK INTO t(n) VALUES (1);
      INSERT INTO t(n) VALUES (2)`;
    await assert.rejects(db.exec(script), ConstraintError);
    assert.deepEqual(await numbers(db), []);
    await db.run(INSERT, [7]);
    assert.deepEqual(await numbers(db), [7]);
  });
});

describe('a constraint that fails at the COMMIT', () => {
  const SCHEMA = `
    CREATE TABLE parent(id INTEGER PRIMARY KEY);
    CREATE TABLE child(parent INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE eager(parent INTEGER REFERENCES parent(id))`;

  it('rolls the write back', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    const write = db.write(async (tx) => {
      await tx.run('INSERT INTO parent VALUES (1)');
      await tx.run('INSERT INTO child VALUES (99)');
    });
    await assert.rejects(write, ConstraintError);
    assert.deepEqual(await db.all('SELECT * FROM parent'), []);
    await assert.rejects(db.exec('INSERT INTO parent VALUES (1); INSERT INTO child VALUES (99)'), ConstraintError);
    assert.deepEqual(await db.all('SELECT * FROM parent'), []);
  });

  it('may be mended before', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    await db.write(async (tx) => {
      await tx.run('INSERT INTO child VALUES (99)');
      await tx.run('INSERT INTO parent VALUES (99)');
    });
    assert.deepEqual(await db.all('SELECT * FROM child'), [{ parent: 99 }]);
  });

  it('can be asked for by PRAGMA defer_foreign_keys, until the end of the write', async (t) => {
    const db = await new Folder(t).database(SCHEMA);
    await db.write(async (tx) => {
      await tx.run('PRAGMA defer_foreign_keys = ON');
      await tx.run('INSERT INTO eager VALUES (1)');
      await tx.run('INSERT INTO parent VALUES (1)');
    });
    await db.write(async (tx) => {
      await assert.rejects(tx.run('INSERT INTO eager VALUES (2)'), ConstraintError);
    });
    assert.deepEqual(await db.all('SELECT * FROM eager'), [{ parent: 1 }]);
  });
});

describe('a write that is open for longer than transactionTimeoutMs', () => {
  it('is rolled back, and the next is served while its closure goes on', async (t) => {
    // closure                        engine
    // INSERT, waits for the gate
    //                                the time is over: ROLLBACK
    //                                next write
    // gate opens: every call throws
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { transactionTimeoutMs: 50 });
    const gate = folder.gate();
    let late: unknown;
    const write = db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      await gate.opened;
      late = await reasonOf(tx.run(INSERT, [2]));
      assert.throws(() => tx.sync.run(INSERT, [2]), TransactionTimeoutError);
    });
    const rejected = assert.rejects(write, TransactionTimeoutError);
    await within(db.run(INSERT, [3]), 'the writer is not given back');
    gate.open();
    await within(rejected, 'a write beyond its time');
    assert.ok(late instanceof TransactionTimeoutError, String(late));
    assert.deepEqual(await numbers(db), [3]);
  });

  it('is interrupted when a statement of it runs', async (t) => {
    const db = await new Folder(t).database(TABLE, { transactionTimeoutMs: 50 });
    const write = db.write(async (tx) => {
      await tx.run(INSERT, [1]);
      await Promise.all([tx.get(ENDLESS), tx.run(INSERT, [2])]);
    });
    await within(assert.rejects(write, TransactionTimeoutError), 'a write that never ends');
    await db.run(INSERT, [3]);
    assert.deepEqual(await numbers(db), [3]);
  });
});
