// db.batch, both forms: all or nothing each, many in one commit.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, it } from 'node:test';
import {
  AsyncClosureError,
  ConstraintError,
  type Database,
  OptionError,
  ParameterError,
  ReadOnlyDatabaseError,
  ReentrantAccessError,
  SqlError,
  StatementNotAllowedError,
  type SyncWrite,
  sql,
  TransactionClosedError,
} from 'sqlflow';
import { Thread } from './fixtures/threads/thread.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { amongNeighbours, failure, together } from './fixtures/transactions/group.mjs';
import { INSERT, numbers, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError, reasonOf, thrownValues } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { within } from './fixtures/transactions/within.mjs';

const SELECT = 'SELECT n FROM t ORDER BY id';
const insert = (n: number) => (tx: SyncWrite) => tx.run(INSERT, [n]);

describe('a batch of statements', () => {
  it('gives the result of each, in order, whatever form it has', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const results = await db.batch([
      'INSERT INTO t(n) VALUES (1), (2)',
      [INSERT, [3]],
      { sql: 'INSERT INTO t(n) VALUES (:n) RETURNING id, n', parameters: { n: 4 } },
      sql`UPDATE t SET n = ${20} WHERE n = ${2}`,
      [sql`SELECT n FROM t WHERE n > ${1} ORDER BY id`],
      { sql: 'DELETE FROM t WHERE n = 99' },
    ]);
    assert.deepEqual(results, [
      { columns: [], rows: [], changes: 2, lastInsertRowid: 2 },
      { columns: [], rows: [], changes: 1, lastInsertRowid: 3 },
      { columns: ['id', 'n'], rows: [{ id: 4, n: 4 }], changes: 1, lastInsertRowid: 4 },
      { columns: [], rows: [], changes: 1, lastInsertRowid: 0 },
      { columns: ['n'], rows: [{ n: 20 }, { n: 3 }, { n: 4 }], changes: 0, lastInsertRowid: 0 },
      { columns: [], rows: [], changes: 0, lastInsertRowid: 0 },
    ]);
    assert.deepEqual(await numbers(db), [1, 20, 3, 4]);
  });

  it('may be long, and give many rows', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const many = Array.from({ length: 20_000 }, (_, n) => [INSERT, [n]] as const);
    const results = await within(db.batch([...many, SELECT]), 'a long batch');
    assert.equal(results.length, 20_001);
    assert.deepEqual(
      results.at(-1)?.rows.map((row) => row['n']),
      many.map((_, n) => n),
    );
    assert.equal(results[19_999]?.lastInsertRowid, 20_000);
  });

  it('is done whole or not at all; the error says which statement it was and has its text', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const failing: [Parameters<Database['batch']>[0], new (...args: never[]) => Error, RegExp, string][] = [
      [['INSERT INTO t(n) VALUES (1)', [INSERT, [1]]], ConstraintError, /^statement 2 of the batch: UNIQUE/, INSERT],
      [[[INSERT, [1]], [INSERT, [2]], 'nonsense'], SqlError, /^statement 3 of the batch: near "nonsense"/, 'nonsense'],
      [[[INSERT, [1]], [INSERT, [2, 3]], SELECT], ParameterError, /^statement 2 of the batch: /, INSERT],
      [
        [
          [INSERT, [1]],
          [INSERT, [Symbol() as never]],
        ],
        ParameterError,
        /^statement 2 of the batch: /,
        INSERT,
      ],
      [[[INSERT, [1]], 'COMMIT'], StatementNotAllowedError, /^statement 2 of the batch: /, 'COMMIT'],
      [[[INSERT, [1]], 'CREATE TEMP TABLE x(n)'], StatementNotAllowedError, /db\.write/, 'CREATE TEMP TABLE x(n)'],
    ];
    for (const [statements, kind, says, text] of failing) {
      const error = await reasonOf(db.batch(statements as string[]));
      assert.ok(error instanceof kind, String(error));
      assert.match(error.message, says);
      assert.equal((error as SqlError).sql, text);
      assert.deepEqual(await numbers(db), []);
    }
    await db.batch([[INSERT, [1]]]);
    assert.deepEqual(await numbers(db), [1]);
  });

  it('with OR ROLLBACK in it fails alone, and its neighbours are done once', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const lose = () => db.batch([[INSERT, [1]], 'INSERT OR ROLLBACK INTO t(n) VALUES (1)']);
    failure(await amongNeighbours(folder, db, lose), ConstraintError);
    assert.deepEqual(await numbers(db), []);
  });

  it('that is empty resolves, without a transaction', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const before = db.stats().transactions;
    const held = await folder.hold(db);
    assert.deepEqual(await within(db.batch([]), 'an empty batch'), []);
    assert.deepEqual(await within(db.runMany(INSERT, []), 'no rows'), { changes: 0, lastInsertRowid: 0 });
    await held.release();
    assert.deepEqual(db.stats().transactions, { ...before, commits: before.commits + 1 });
  });

  it('is checked before anything is sent', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const wrong: [given: unknown, says: RegExp][] = [
      [undefined, /^batch needs a function or an array of statements, got undefined$/],
      [INSERT, /^batch needs a function or an array of statements, got a string$/],
      [{ 0: INSERT, length: 1 }, /got an object/],
      [['SELECT 1', 7], /^statement 2 of the batch must be text.*got a number/],
      [['SELECT 1', null], /^statement 2 of the batch must be .*got null/],
      [[[INSERT, [1], {}]], /^statement 1 of the batch must be \[sql, parameters\], got 3 elements/],
      [[[]], /^the sql of statement 1 of the batch must be .*got undefined/],
      [[[INSERT, 1]], /^the parameters of statement 1 of the batch must be .*got a number/],
      [[{ sql: INSERT, params: [1] }], /unknown part of statement 1 of the batch "params".*parameters/],
    ];
    for (const [given, says] of wrong) {
      const error = await reasonOf(db.batch(given as string[]));
      assert.ok(error instanceof OptionError, String(error));
      assert.match(error.message, says);
    }
    for (const options of [null, 5, { signl: 1 }, { timeoutMs: -1 }, { queueTimeoutMs: 'x' }]) {
      await assert.rejects(db.batch([[INSERT, [1]]], options as object), OptionError);
      await assert.rejects(db.batch(insert(1), options as object), OptionError);
      await assert.rejects(db.runMany(INSERT, [[1]], options as object), OptionError);
    }
    assert.deepEqual(await numbers(db), []);
  });

  it('is refused by a database that is read only, as a closure is', async (t) => {
    const folder = new Folder(t);
    await (await folder.database(TABLE)).close();
    const db = await folder.open('test.db', { readOnly: true });
    await assert.rejects(db.batch([[INSERT, [1]]]), ReadOnlyDatabaseError);
    await assert.rejects(db.batch(insert(1)), ReadOnlyDatabaseError);
    await assert.rejects(db.runMany(INSERT, [[1]]), ReadOnlyDatabaseError);
  });
});

describe('closures of db.batch', () => {
  it('give their value after they have run, once, in the context of their call', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const context = new AsyncLocalStorage<number>();
    const seen: unknown[] = [];
    const calls = [1, 2, 3].map((n) => () => {
      const run = (tx: SyncWrite) => {
        seen.push(context.getStore());
        tx.run(INSERT, [n]);
        return { of: n, rows: tx.all(SELECT).length, signal: tx.get('SELECT 1 AS n') };
      };
      return context.run(n, () => db.batch(run));
    });
    const outcomes = await together(folder, db, calls);
    assert.deepEqual(seen, [1, 2, 3]);
    assert.deepEqual(
      outcomes,
      [1, 2, 3].map((n) => ({ value: { of: n, rows: n, signal: { n: 1 } } })),
    );
  });

  it('may not be used when they have returned', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const late: { tx?: SyncWrite } = {};
    await db.batch((tx) => {
      late.tx = tx;
    });
    assert.throws(() => late.tx?.run(INSERT, [1]), TransactionClosedError);
    assert.throws(() => late.tx?.savepoint(() => {}), TransactionClosedError);
  });

  for (const [name, value] of Object.entries(thrownValues)) {
    it(`fail alone with what they throw: ${name}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database(TABLE);
      const throws = (tx: SyncWrite) => {
        tx.run(INSERT, [2]);
        tx.savepoint(insert(3));
        throw value;
      };
      const outcomes = await together(folder, db, [
        () => db.batch(insert(1)),
        () => db.batch(throws),
        () => db.batch(insert(4)),
      ]);
      assert.ok(outcomes[1] && 'error' in outcomes[1] && outcomes[1].error === value);
      assert.ok(outcomes[0] && 'value' in outcomes[0] && outcomes[2] && 'value' in outcomes[2]);
      assert.deepEqual(await numbers(db), [1, 4]);
    });
  }

  it('fail alone with AsyncClosureError when they give a promise, which counts as handled', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const unhandled = await unhandledIn(async () => {
      const give = (promise: () => Promise<unknown>) => (tx: SyncWrite) => {
        tx.run(INSERT, [9]);
        return promise();
      };
      const outcomes = await together(folder, db, [
        () => db.batch(insert(1)),
        () => db.batch(give(() => Promise.resolve())),
        () => db.batch(give(() => Promise.reject(new OwnError('of the promise')))),
        () => db.batch(insert(2)),
      ]);
      for (const outcome of outcomes.slice(1, 3)) {
        assert.match(failure(outcome, AsyncClosureError).message, /db\.batch .*use db\.write/);
      }
    });
    assert.deepEqual(unhandled, []);
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('may not change the schema, set pragmas or begin: it is refused, and names db.write', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const refused = ['CREATE TABLE u(n)', 'DROP TABLE t', 'PRAGMA user_version = 7', 'CREATE TEMP TABLE u(n)'];
    for (const text of refused) {
      const error = failure(await amongNeighbours(folder, db, () => db.batch((tx) => tx.run(text))), Error);
      assert.ok(error instanceof StatementNotAllowedError, `${text}: ${error}`);
      assert.match(error.message, /use db\.write/, text);
      assert.equal(error.sql, text);
      await db.exec('DROP TABLE neighbour');
    }
    for (const text of ['BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT s', 'RELEASE s']) {
      await assert.rejects(
        db.batch((tx) => tx.exec(text)),
        StatementNotAllowedError,
        text,
      );
    }
    await db.batch((tx) => {
      assert.throws(() => tx.run('DROP TABLE t'), StatementNotAllowedError);
      tx.run(INSERT, [1]);
    });
    assert.deepEqual(await numbers(db), [1]);
  });

  it('do not use the database beside their tx', async (t) => {
    const db = await new Folder(t).database(TABLE, { reentrancy: 'refuse' });
    const nested: Promise<unknown>[] = [];
    await db.batch((tx) => {
      tx.run(INSERT, [1]);
      nested.push(reasonOf(db.run(INSERT, [2])), reasonOf(db.batch(insert(3))), reasonOf(db.get('SELECT 1')));
    });
    for (const error of await Promise.all(nested)) assert.ok(error instanceof ReentrantAccessError, String(error));
    await db.batch(insert(4));
    assert.deepEqual(await numbers(db), [1, 4]);
  });

  it('of a thread that is terminated are rolled back, and the writer is free', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE t(id INTEGER PRIMARY KEY, n)');
    const thread = await Thread.with(t, folder.file());
    await thread.ask('a closure of db.batch', 'never');
    await thread.heard('never is in it');
    const behind = db.batch(insert(1));
    await thread.terminate();
    await within(behind, 'the writer');
    assert.deepEqual(await numbers(db), [1]);
  });
});
