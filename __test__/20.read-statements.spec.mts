// Statements of a read: their order, `tx.sync`, prepared ones and iterators.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  NoRowsError,
  ReadOnlyTransactionError,
  type ReadTransaction,
  StatementInFlightError,
  UnfinishedQueryError,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { collect, waysOfReading } from './fixtures/transactions/ways-of-reading.mjs';
import { within } from './fixtures/transactions/within.mjs';

const COUNT = 'SELECT count(*) AS n FROM t';
/** Five thousand rows, 0 to 4,999: some batches. */
const MANY =
  'CREATE TABLE t(n INTEGER); INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 4999) SELECT n FROM c';
/** Never ends by itself. */
const ENDLESS = 'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) AS n FROM c';

describe('a statement that writes', () => {
  it('is refused in a read, by every call, and the read goes on', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(n)');
    const statements = [
      'INSERT INTO t VALUES (1) RETURNING n',
      'DELETE FROM t RETURNING n',
      'CREATE TABLE u(n)',
      'CREATE TEMP TABLE u(n)',
      'PRAGMA user_version = 7',
    ];
    await db.read(async (tx) => {
      for (const sql of statements) {
        for (const [way, read] of Object.entries(waysOfReading)) {
          await assert.rejects(read(tx, sql), ReadOnlyTransactionError, `${way}: ${sql}`);
        }
      }
      assert.deepEqual(await tx.one(COUNT), { n: 0 });
    });
    await assert.rejects(collect(db.iterate('INSERT INTO t VALUES (1) RETURNING n')), ReadOnlyTransactionError);
    assert.deepEqual(await db.one(COUNT), { n: 0 });
    assert.deepEqual(await db.all("SELECT name FROM sqlite_schema WHERE name = 'u'"), []);
    assert.deepEqual(await db.one('PRAGMA user_version'), { user_version: 0 });
  });
});

describe('statements of one read', () => {
  it('are answered in the order of their calls, the slow ones first', async (t) => {
    const db = await new Folder(t).open();
    const count =
      'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT count(*) AS n FROM c';
    await db.read(async (tx) => {
      const order: unknown[] = [];
      const counts = Array.from({ length: 50 }, (_, n) => 5_000 - 100 * n);
      await Promise.all(counts.map(async (n) => order.push((await tx.one(count, [n]))['n'])));
      assert.deepEqual(order, counts);
    });
  });

  it('run between two rows of an iterator', async (t) => {
    const db = await new Folder(t).database(MANY);
    await db.read(async (tx) => {
      let rows = 0;
      for await (const { n } of tx.iterate<{ n: number }>('SELECT n FROM t ORDER BY n', [], { batchRows: 100 })) {
        assert.equal(n, rows);
        rows += 1;
        if (n % 500 !== 0) continue;
        assert.deepEqual(await tx.one('SELECT n FROM t WHERE n = ?', [n]), { n });
        assert.deepEqual(tx.sync.one('SELECT n FROM t WHERE n = ?', [n]), { n });
      }
      assert.equal(rows, 5_000);
    });
  });

  it('may come from several iterators at the same time, of the same SQL too', async (t) => {
    const db = await new Folder(t).database(MANY);
    const sql = 'SELECT n FROM t ORDER BY n';
    await db.read(async (tx) => {
      const one = tx.iterate(sql, [], { batchRows: 7 });
      const other = tx.iterate(sql, [], { batchRows: 11 });
      const third = tx.sync.iterate(sql, [], { batchRows: 13 });
      for (let n = 0; n < 100; n++) {
        assert.deepEqual((await one.next()).value, { n });
        assert.deepEqual((await other.next()).value, { n });
        assert.deepEqual(third.next().value, { n });
      }
    });
  });

  it('come in batches as asked for', async (t) => {
    const db = await new Folder(t).database(MANY);
    await db.read(async (tx) => {
      const sizes = async (sql: string, batchRows?: number) =>
        (await collect(tx.batches(sql, [], batchRows === undefined ? {} : { batchRows }))).map((rows) => rows.length);
      assert.deepEqual(await sizes('SELECT n FROM t', 2_000), [2_000, 2_000, 1_000]);
      assert.deepEqual(await sizes('SELECT n FROM t'), [1_000, 1_000, 1_000, 1_000, 1_000]);
      assert.deepEqual(await sizes('SELECT n FROM t LIMIT 3', 1), [1, 1, 1]);
      assert.deepEqual(await sizes('SELECT n FROM t WHERE 0'), []);
    });
  });

  it('may be prepared, and take values in three forms', async (t) => {
    const db = await new Folder(t).database(MANY);
    await db.read(async (tx) => {
      const range = tx.prepare<{ n: number }>('SELECT n FROM t WHERE n BETWEEN ? AND ? ORDER BY n');
      assert.deepEqual(await range.get(3, 5), { n: 3 });
      assert.deepEqual(await range.one([4, 5]), { n: 4 });
      assert.deepEqual(await range.all(3, 4), [{ n: 3 }, { n: 4 }]);
      assert.deepEqual(await collect(range.iterate(7, 8)), [{ n: 7 }, { n: 8 }]);
      await assert.rejects(range.one(9, 8), NoRowsError);
      assert.deepEqual(await tx.prepare('SELECT n FROM t WHERE n = :n').get({ n: 5 }), { n: 5 });
    });
  });
});

describe('tx.sync of a read', () => {
  it('is refused while an asynchronous statement is in flight, and does not wait for it', async (t) => {
    const db = await new Folder(t).open();
    await assert.rejects(
      db.read(async (tx) => {
        void tx.get(ENDLESS);
        for (const [way, read] of Object.entries(waysOfReading)) {
          if (way.startsWith('sync.')) await assert.rejects(read(tx, 'SELECT 1 AS n'), StatementInFlightError, way);
        }
      }),
      UnfinishedQueryError,
    );
  });

  it('works as soon as the last result is seen', async (t) => {
    const db = await new Folder(t).database(MANY);
    await db.read(async (tx) => {
      for (let n = 0; n < 300; n++) {
        await tx.get('SELECT n FROM t WHERE n = ?', [n]);
        assert.deepEqual(tx.sync.get('SELECT n FROM t WHERE n = ?', [n]), { n });
        await tx.all('SELECT n FROM t LIMIT 10');
        assert.equal(tx.sync.all('SELECT n FROM t').length, 5_000);
      }
    });
  });
});

describe('iterators', () => {
  it('give their reader back when they are left early', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(MANY, { readers: 1 });
    const next = async () => {
      assert.deepEqual(await within(db.get(COUNT), 'the only reader is not given back'), { n: 5_000 });
    };
    for await (const { n } of db.iterate<{ n: number }>('SELECT n FROM t')) if (n === 3) break;
    await next();

    await assert.rejects(async () => {
      for await (const _ of db.iterate('SELECT n FROM t')) throw new OwnError('out of the loop');
    }, OwnError);
    await next();

    {
      await using rows = db.iterate('SELECT n FROM t');
      await rows.next();
    }
    await next();

    const rows = db.iterate('SELECT n FROM t');
    await rows.next();
    assert.deepEqual(await rows.return(), { done: true, value: undefined });
    assert.deepEqual(await rows.next(), { done: true, value: undefined });
    await next();

    await assert.rejects(db.iterate('SELECT nothing').next(), { code: 'SQL_ERROR' });
    await next();

    await db.iterate('SELECT n FROM t').return();
    await next();
  });

  it('close their cursor when they are left early in a transaction', async (t) => {
    // A table cannot be dropped while a cursor stands in it: SQLite says so.
    const folder = new Folder(t);
    const db = await folder.database(MANY);
    const sql = 'SELECT n FROM t';
    await db.write(async (tx) => {
      const left = tx.iterate(sql);
      await left.next();
      await assert.rejects(tx.run('DROP TABLE t'), /locked/, 'a cursor that is open shows');
      await left.return();
      for await (const _ of tx.iterate(sql)) break;
      for await (const _ of tx.batches(sql)) break;
      for await (const _ of tx.prepare(sql).iterate()) break;
      for (const _ of tx.sync.iterate(sql)) break;
      await tx.run('DROP TABLE t');
    });
  });

  it('that are left while another statement runs do not disturb the end of the read', async (t) => {
    // closure                      engine
    // first row of many iterators
    // get
    //                              get runs
    // all iterators are left       (queued behind get)
    // get is answered, closure ends
    //                              the cursors are closed
    const folder = new Folder(t);
    const db = await folder.database(MANY, { readers: 1 });
    // Long enough for the iterators to be left meanwhile.
    const slow =
      'WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) SELECT count(*) AS n FROM c';
    for (let round = 0; round < 10; round++) {
      const outcome = db.read(async (tx) => {
        // So many that closing them takes the engine longer than the answer takes to get here.
        const iterators = Array.from({ length: 200 }, (_, n) => tx.iterate(`SELECT n FROM t -- ${n}`));
        await Promise.all(iterators.map((rows) => rows.next()));
        const last = tx.get(slow);
        for (const rows of iterators) void rows.return();
        return last;
      });
      assert.deepEqual(await within(outcome, 'a read whose iterators were left'), { n: 20_000 });
    }
  });

  it('that stay open do not give the next reader an old snapshot', async (t) => {
    // the only reader                      writer
    // read: first row, closure ends
    //                                      UPDATE
    // the same connection: the new value
    const folder = new Folder(t);
    const db = await folder.database(MANY, { readers: 1 });
    const sql = 'SELECT n FROM t ORDER BY n';
    const unfinished: ((tx: ReadTransaction) => unknown)[] = [
      (tx) => tx.iterate(sql).next(),
      (tx) => tx.batches(sql).next(),
      (tx) => tx.prepare(sql).iterate().next(),
      (tx) => tx.sync.iterate(sql).next(),
      async (tx) => {
        await tx.iterate(sql, [], { batchRows: 1 }).next();
        await tx.iterate(sql, [], { batchRows: 1 }).next();
        throw new OwnError('leaves both open');
      },
    ];
    let written = 0;
    for (const leave of unfinished) {
      await db.read(leave).catch((error) => assert.ok(error instanceof OwnError));
      written += 10_000;
      await db.run('UPDATE t SET n = n + 10000');
      assert.deepEqual(await db.read((tx) => tx.one('SELECT min(n) AS n FROM t')), { n: written });
      assert.deepEqual(await db.get(sql), { n: written });
      assert.deepEqual(await db.read((tx) => tx.sync.get(sql)), { n: written });
    }
  });
});
