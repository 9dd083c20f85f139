// Statements of a write: what they give, `tx.sync`, iterators and TEMP objects.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  NoRowsError,
  SqlError,
  StatementError,
  StatementInFlightError,
  StatementNotAllowedError,
  TransactionClosedError,
  UnfinishedQueryError,
  type WriteTransaction,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import type { Calls } from './fixtures/transactions/late-calls.mjs';
import { INSERT, numbers, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { within } from './fixtures/transactions/within.mjs';

const ENDLESS = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c';
/** The numbers 1 to `?`. */
const SEQUENCE = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT n FROM c';

describe('a statement that writes and gives rows', () => {
  it('writes, by every call that gives rows', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const sql = 'INSERT INTO t(n) VALUES (?) RETURNING n';
    assert.deepEqual(await db.get(sql, [1]), { n: 1 });
    assert.deepEqual(await db.one(sql, [2]), { n: 2 });
    assert.deepEqual(await db.all(sql, [3]), [{ n: 3 }]);
    assert.deepEqual(await db.query(sql, [4]), { columns: ['n'], rows: [{ n: 4 }], changes: 1, lastInsertRowid: 4 });
    assert.deepEqual(await db.run(sql, [5]), { changes: 1, lastInsertRowid: 5 });
    assert.equal(await db.get('UPDATE t SET n = 0 WHERE n > 99 RETURNING n'), undefined);
    await assert.rejects(db.one('UPDATE t SET n = 0 WHERE n > 99 RETURNING n'), NoRowsError);
    await db.write(async (tx) => {
      assert.deepEqual(await tx.get(sql, [6]), { n: 6 });
      assert.deepEqual(await tx.prepare(sql).all(7), [{ n: 7 }]);
      assert.deepEqual(tx.sync.one(sql, [8]), { n: 8 });
      assert.deepEqual(tx.sync.query(sql, [9]).rows, [{ n: 9 }]);
    });
    assert.deepEqual(await numbers(db), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('runs to its end, though get gives its first row only', async (t) => {
    const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1), (2), (3)`);
    assert.deepEqual(await db.get('UPDATE t SET n = n + 10 RETURNING n'), { n: 11 });
    assert.deepEqual(await db.write((tx) => tx.get('UPDATE t SET n = n + 10 RETURNING n')), { n: 21 });
    assert.deepEqual(await db.write((tx) => tx.sync.get('UPDATE t SET n = n + 10 RETURNING n')), { n: 31 });
    assert.deepEqual(await numbers(db), [31, 32, 33]);
  });

  it('is refused by iterators, which name all', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const sql = 'INSERT INTO t(n) VALUES (1) RETURNING n';
    const names = (error: unknown) => {
      assert.ok(error instanceof StatementError, String(error));
      assert.match(error.message, /\ball\b/);
      return true;
    };
    await db.write(async (tx) => {
      await assert.rejects(tx.iterate(sql).next(), names);
      await assert.rejects(tx.batches(sql).next(), names);
      await assert.rejects(tx.prepare(sql).iterate().next(), names);
      assert.throws(() => tx.sync.iterate(sql).next(), names);
    });
    assert.deepEqual(await numbers(db), []);
  });
});

describe('what run gives', () => {
  const ways: Record<string, (tx: WriteTransaction, sql: string) => Promise<unknown>> = {
    run: (tx, sql) => tx.run(sql),
    'prepare, run': (tx, sql) => tx.prepare(sql).run(),
    'sync.run': async (tx, sql) => tx.sync.run(sql),
    query: async (tx, sql) => {
      const { changes, lastInsertRowid } = await tx.query(sql);
      return { changes, lastInsertRowid };
    },
  };
  for (const [way, run] of Object.entries(ways)) {
    it(`is about the statement itself: ${way}`, async (t) => {
      const db = await new Folder(t).database(UNIQUE_TABLE);
      await db.write(async (tx) => {
        const gives = async (sql: string, changes: number, lastInsertRowid: number) =>
          assert.deepEqual(await run(tx, sql), { changes, lastInsertRowid }, sql);
        await gives('INSERT INTO t VALUES (7, 7), (8, 8)', 2, 8);
        await gives('UPDATE t SET n = n + 10', 2, 0);
        await gives('UPDATE t SET n = 1 WHERE id = 99', 0, 0);
        await gives('INSERT OR IGNORE INTO t(n) VALUES (17)', 0, 0);
        await gives('DELETE FROM t WHERE id = 8', 1, 0);
        await gives('SELECT 1', 0, 0);
        await gives('CREATE TABLE u(n)', 0, 0);
        await gives('INSERT INTO u VALUES (1)', 1, 1);
      });
    });
  }
});

describe('tx.sync of a write', () => {
  it('is refused while an asynchronous statement is in flight, and does not wait for it', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const write = db.write(async (tx) => {
      void tx.get(ENDLESS);
      const { sync } = tx;
      assert.throws(() => sync.get('SELECT 1'), StatementInFlightError);
      assert.throws(() => sync.all('SELECT 1'), StatementInFlightError);
      assert.throws(() => sync.iterate('SELECT 1').next(), StatementInFlightError);
      assert.throws(() => sync.run(INSERT, [1]), StatementInFlightError);
      assert.throws(() => sync.exec('SELECT 1'), StatementInFlightError);
    });
    await within(assert.rejects(write, UnfinishedQueryError), 'tx.sync waits');
  });

  it('is refused until the result is there, though the engine may have finished', async (t) => {
    // closure                       engine
    // run
    //                               runs, finishes
    // tx.sync: the closure has not seen the result of run
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      for (let n = 0; n < 20; n++) {
        const first = tx.run(INSERT, [n]);
        // No turn of the loop, but time for the engine.
        const until = performance.now() + 2;
        while (performance.now() < until);
        assert.throws(() => tx.sync.run(INSERT, [-1]), StatementInFlightError);
        await first;
        tx.sync.run(INSERT, [n + 0.5]);
      }
    });
    assert.deepEqual(
      await numbers(db),
      Array.from({ length: 40 }, (_, n) => n / 2),
    );
  });

  it('and asynchronous statements run one after the other', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      for (let n = 0; n < 300; n += 3) {
        await tx.run(INSERT, [n]);
        tx.sync.run(INSERT, [n + 1]);
        tx.sync.exec(`INSERT INTO t(n) VALUES (${n + 2})`);
      }
    });
    assert.deepEqual(
      await numbers(db),
      Array.from({ length: 300 }, (_, n) => n),
    );
  });
});

describe('iterators of a write', () => {
  it('let statements run between their rows, asynchronous and not', async (t) => {
    const db = await new Folder(t).database(`${TABLE}; CREATE TABLE copy(n UNIQUE)`);
    await db.run(`INSERT INTO t(n) ${SEQUENCE}`, [2_500]);
    await db.write(async (tx) => {
      for await (const { n } of tx.iterate<{ n: number }>('SELECT n FROM t')) {
        await tx.run('INSERT INTO copy VALUES (?)', [n]);
        if (n % 10 === 0) tx.sync.run('UPDATE copy SET n = -n WHERE n = ?', [n]);
      }
    });
    assert.deepEqual(await db.one('SELECT count(*) AS n FROM copy'), { n: 2_500 });
    assert.deepEqual(await db.one('SELECT count(*) AS n FROM copy WHERE n < 0'), { n: 250 });
  });

  it('that are idle at the COMMIT do not disturb it', async (t) => {
    const db = await new Folder(t).database(TABLE, { readers: 1 });
    await db.run(`INSERT INTO t(n) ${SEQUENCE}`, [5_000]);
    const sql = 'SELECT n FROM t ORDER BY id';
    let left: Calls = {};
    await db.write(async (tx) => {
      const iterator = tx.iterate(sql, [], { batchRows: 1 });
      const batches = tx.batches(sql, [], { batchRows: 1 });
      const cursor = tx.sync.iterate(sql, [], { batchRows: 1 });
      await iterator.next();
      await batches.next();
      cursor.next();
      await tx.run('UPDATE t SET n = n + 10000');
      left = { iterator: () => iterator.next(), batches: () => batches.next(), cursor: () => cursor.next() };
    });
    for (const [name, next] of Object.entries(left)) {
      await assert.rejects(async () => next(), TransactionClosedError, name);
    }
    assert.deepEqual(await db.write((tx) => tx.get(sql)), { n: 10_001 });
    await db.run('UPDATE t SET n = n + 10000');
    assert.deepEqual(await db.get(sql), { n: 20_001 });
    assert.deepEqual(await db.write((tx) => tx.get(sql)), { n: 20_001 });
  });

  it('that are idle at the ROLLBACK do not disturb it', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.run(`INSERT INTO t(n) ${SEQUENCE}`, [5_000]);
    const write = db.write(async (tx) => {
      const rows = tx.iterate('SELECT n FROM t');
      await rows.next();
      await tx.run('DELETE FROM t');
      throw new OwnError('rolls back');
    });
    await assert.rejects(write, OwnError);
    assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: 5_000 });
  });
});

describe('TEMP objects', () => {
  it('live until the end of the write and are gone after', async (t) => {
    const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1)`);
    const make = async (tx: WriteTransaction) => {
      await tx.exec(`
        CREATE TEMP TABLE scratch(n);
        CREATE INDEX temp.scratch_n ON scratch(n);
        CREATE TEMP VIEW seen AS SELECT n FROM scratch;
        CREATE TEMP TRIGGER copies AFTER INSERT ON main.t BEGIN INSERT INTO scratch VALUES (NEW.n); END;
        CREATE VIRTUAL TABLE temp.words USING fts5(word);
        CREATE TEMP TABLE "of ""another"" name" AS SELECT 1`);
      await tx.run(INSERT, [2]);
      await tx.run("INSERT INTO words VALUES ('found')");
      assert.deepEqual(await tx.all('SELECT n FROM seen'), [{ n: 2 }]);
      assert.deepEqual(await tx.all("SELECT word FROM words('found')"), [{ word: 'found' }]);
    };
    const gone = async () => {
      for (const name of ['scratch', 'seen', 'words', '"of ""another"" name"']) {
        await assert.rejects(
          db.write((tx) => tx.all(`SELECT * FROM ${name}`)),
          SqlError,
          name,
        );
      }
      await db.write(async (tx) => assert.deepEqual(await tx.all('SELECT name FROM temp.sqlite_schema'), []));
      await db.run('DELETE FROM t WHERE n = 3');
      await db.run(INSERT, [3]);
    };
    for (let round = 0; round < 3; round++) {
      await db.write(make);
      await gone();
      const thrown = db.write(async (tx) => {
        await make(tx);
        throw new OwnError('rolls back');
      });
      await assert.rejects(thrown, OwnError);
      await gone();
    }
    assert.deepEqual(await numbers(db), [1, 2, 2, 2, 3]);
  });

  it('shadow a table for their own write only', async (t) => {
    const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1)`);
    const all = 'SELECT n FROM t';
    assert.deepEqual(await db.write((tx) => tx.all(all)), [{ n: 1 }]);
    await db.write(async (tx) => {
      await tx.run('CREATE TEMP TABLE t(n)');
      await tx.run('INSERT INTO t VALUES (2)');
      assert.deepEqual(await tx.all(all), [{ n: 2 }]);
      const rows = tx.iterate(all);
      await rows.next();
    });
    assert.deepEqual(await db.write((tx) => tx.all(all)), [{ n: 1 }]);
    assert.deepEqual(await db.all(all), [{ n: 1 }]);
  });

  it('are refused where there is no write to hold them', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await assert.rejects(db.run('CREATE TEMP TABLE scratch(n)'), (error) => {
      assert.ok(error instanceof StatementNotAllowedError);
      assert.match(error.message, /db\.write/);
      return true;
    });
    await assert.rejects(
      db.read((tx) => tx.get('CREATE TEMP TABLE scratch(n)')),
      { code: 'READ_ONLY_TRANSACTION' },
    );
    assert.deepEqual(await db.write((tx) => tx.all('SELECT name FROM temp.sqlite_schema')), []);
  });
});
