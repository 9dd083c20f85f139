// Cancelling what runs: a statement, a COMMIT, a ROLLBACK.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  AbortError,
  type CallOptions,
  ConstraintError,
  type Database,
  TransactionAbortedError,
  type WriteTransaction,
} from 'sqlflow';
import {
  aborted,
  abortedTogether,
  ENDLESS,
  ENDLESS_BLOBS,
  ENDLESS_INSERT,
  NEVER,
  NUMBERS,
  notStarted,
  REASON,
  readsOf,
  statementsOf,
  THREE,
  writesOf,
} from './fixtures/transactions/cancelling.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { collect } from './fixtures/transactions/ways-of-reading.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

/** Lets `count` microtasks run. */
async function microtasks(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await undefined;
}

describe('aborted in a statement', () => {
  it('one that is its own transaction is interrupted', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const { write: _, 'batch of a closure': __, ...writes } = writesOf(db);
    for (const name of ['run', 'exec', 'batch of statements']) {
      const runs = () => until(() => db.stats().writer.state === 'running', `${name} runs`);
      await abortedTogether({ [name]: writes[name] ?? notStarted }, runs);
    }
    for (const [name, call] of Object.entries(readsOf(db, ENDLESS))) {
      const runs = () => until(() => db.stats().readers.open > db.stats().readers.idle, `${name} runs`);
      await abortedTogether({ [name]: call }, runs);
    }
    await within(db.run(INSERT, [1]), 'the writer');
    assert.deepEqual(await numbers(db), [1]);
  });

  it('several that share a transaction are interrupted once nobody wants it any more', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    const controllers = [new AbortController(), new AbortController(), new AbortController()];
    const calls = controllers.map(({ signal }) => db.run(ENDLESS_INSERT, [], { signal }));
    const outcomes = Promise.allSettled(calls);
    await held.release();
    await until(() => db.stats().writer.state === 'running', 'they run');
    for (const controller of controllers) {
      assert.equal(db.stats().writer.state, 'running');
      controller.abort(REASON);
    }
    for (const outcome of await within(outcomes, 'the end of all')) {
      assert.ok(outcome.status === 'rejected' && outcome.reason instanceof AbortError);
      assert.equal(outcome.reason.cause, REASON);
    }
    await within(db.run(INSERT, [1]), 'the writer');
    assert.deepEqual(await numbers(db), [1]);
  });

  it('an iterator of the database ends with its signal, while it fetches and while it is idle', async (t) => {
    const db = await new Folder(t).open('test.db', { readers: 1 });
    for (const state of ['fetching', 'idle'] as const) {
      const controller = new AbortController();
      const { signal } = controller;
      const rows = db.iterate(`SELECT 1 AS n UNION ALL SELECT n FROM (${ENDLESS})`, [], { batchRows: 1, signal });
      assert.deepEqual(await within(rows.next(), 'the first row'), { done: false, value: { n: 1 } });
      const fetching = state === 'fetching' ? aborted(rows.next(), 'a fetch') : undefined;
      controller.abort(REASON);
      await (fetching ?? aborted(rows.next(), 'the next fetch'));
      assert.deepEqual(await rows.next(), { done: true, value: undefined });
      assert.deepEqual(await within(db.get(THREE), 'the reader'), { n: 1 });
    }
  });

  for (const kind of ['read', 'write'] as const) {
    it(`one that reads is interrupted alone, also beside an open iterator: ${kind}`, async (t) => {
      // tx                            signal 1      signal 2
      // iterator: first row
      // endless 1, endless 2 behind
      //                                             aborted: 2 is out of the line
      //                               aborted: 1 is interrupted
      // goes on, the iterator too
      const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1), (2), (3)`);
      await db[kind](async (_, tx) => {
        for (const [name, call] of Object.entries(statementsOf(tx, ENDLESS))) {
          const rows = tx.iterate('SELECT n FROM t ORDER BY id', [], { batchRows: 1 });
          assert.deepEqual(await rows.next(), { done: false, value: { n: 1 } });
          const running = new AbortController();
          const queued = new AbortController();
          const first = aborted(call({ signal: running.signal }), name);
          const second = aborted(call({ signal: queued.signal }), `${name}, queued`);
          queued.abort(REASON);
          await second;
          running.abort(REASON);
          await first;
          assert.deepEqual(await collect(rows), [{ n: 2 }, { n: 3 }], name);
          assert.equal(tx.sync.all('SELECT n FROM t').length, 3, name);
        }
        if (kind === 'write') await (tx as WriteTransaction).run(INSERT, [4]);
      });
      assert.deepEqual(await numbers(db), kind === 'write' ? [1, 2, 3, 4] : [1, 2, 3]);
    });
  }

  const writing: Record<string, (tx: WriteTransaction, options: CallOptions) => Promise<unknown>> = {
    run: (tx, options) => tx.run(ENDLESS_BLOBS, [], options),
    exec: (tx, options) => tx.exec(ENDLESS_BLOBS, options),
    runMany: (tx, options) => tx.runMany(`${ENDLESS_BLOBS} WHERE ?`, [[1]], options),
    'prepare, run': (tx, options) => tx.prepare(ENDLESS_BLOBS, options).run(),
    'run, in a savepoint': (tx, options) => tx.savepoint((inner) => inner.run(ENDLESS_BLOBS, [], options)),
  };
  for (const [name, write] of Object.entries(writing)) {
    it(`one that writes takes the transaction with it: ${name}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database(TABLE);
      const log = () => statSync(folder.file('test.db-wal')).size;
      const goesOn = db.write(async (tx) => {
        await tx.run(INSERT, [1]);
        const controller = new AbortController();
        const running = aborted(write(tx, { signal: controller.signal }), name);
        const before = log();
        await until(() => log() > before, 'the statement runs');
        controller.abort(REASON);
        await running;
        await assert.rejects(tx.run(INSERT, [2]), TransactionAbortedError);
        assert.throws(() => tx.sync.get(THREE), TransactionAbortedError);
      });
      await assert.rejects(within(goesOn, 'the transaction'), TransactionAbortedError);
      await within(db.run(INSERT, [3]), 'the writer');
      assert.deepEqual(await numbers(db), [3]);
    });
  }

  it('by the signal of the whole, the transaction is rolled back around it', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const controller = new AbortController();
    const log = () => statSync(folder.file('test.db-wal')).size;
    const before = log();
    const write = db.write(
      async (tx) => {
        const all = await Promise.allSettled([tx.run(ENDLESS_BLOBS), tx.get(ENDLESS), tx.savepoint(() => NEVER)]);
        return all;
      },
      { signal: controller.signal },
    );
    const unhandled = await unhandledIn(async () => {
      const over = aborted(write, 'a write');
      await until(() => log() > before, 'the statement runs');
      controller.abort(REASON);
      await over;
    });
    assert.deepEqual(unhandled, []);
    assert.deepEqual(await numbers(db), []);
  });
});

describe('aborted when the closure has returned', () => {
  /** One write whose signal is aborted that many microtasks after its closure settled: its outcome. */
  async function abortedAfter(db: Database, count: number, settle: () => void): Promise<unknown> {
    const controller = new AbortController();
    const closure = async (tx: WriteTransaction) => {
      tx.sync.run(INSERT, [count]);
      await tx.get(THREE);
      microtasks(count).then(() => controller.abort(REASON));
      settle();
    };
    const write = db.write(closure, { signal: controller.signal }).then(
      () => 'committed',
      (error: unknown) => error,
    );
    return within(write, `a write that is aborted ${count} microtasks later`);
  }

  it('the outcome is the real one: AbortError and no row, or a row, once COMMIT was sent', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const committed: number[] = [];
    for (let count = 0; count < 30; count++) {
      const outcome = await abortedAfter(db, count, () => {});
      if (outcome === 'committed') committed.push(count);
      else assert.ok(outcome instanceof AbortError, String(outcome));
      assert.deepEqual(await numbers(db), committed);
    }
    assert.ok(committed.length > 0 && committed.length < 30, `${committed}`);
    assert.equal(committed[0], 30 - committed.length, 'what comes later cannot end it any more');
  });

  it('in ROLLBACK its own error is told, and nothing is left', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const own = new OwnError('of the closure');
    const outcomes: unknown[] = [];
    for (let count = 0; count < 30; count++) {
      const outcome = await abortedAfter(db, count, () => {
        throw own;
      });
      assert.ok(outcome === own || outcome instanceof AbortError, String(outcome));
      outcomes.push(outcome);
    }
    assert.ok(outcomes[0] instanceof AbortError, 'the abort came first');
    assert.deepEqual(outcomes.slice(outcomes.indexOf(own)), Array(30 - outcomes.indexOf(own)).fill(own));
    assert.equal(outcomes.at(-1), own);
    assert.deepEqual(await numbers(db), []);
  });

  it('a large COMMIT and a large ROLLBACK are not disturbed', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const large = `INSERT INTO t(n) ${NUMBERS} SELECT zeroblob(1000) FROM c LIMIT 8000`;
    for (const outcome of ['commit', 'rollback']) {
      const controller = new AbortController();
      const write = db.write(
        (tx) => {
          tx.sync.run(large);
          queueMicrotask(() => controller.abort(REASON));
          if (outcome === 'rollback') throw new OwnError('rolls back');
        },
        { signal: controller.signal },
      );
      if (outcome === 'commit') await within(write, outcome);
      else await assert.rejects(within(write, outcome), OwnError);
      assert.equal(controller.signal.aborted, true);
      assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: 8_000 });
    }
  });

  it('a COMMIT that fails says why', async (t) => {
    const db = await new Folder(t).database(`CREATE TABLE t(id INTEGER PRIMARY KEY, n);
      CREATE TABLE child(t REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)`);
    const controller = new AbortController();
    const broken = (tx: WriteTransaction) => {
      tx.sync.run('INSERT INTO child VALUES (1)');
      queueMicrotask(() => controller.abort(REASON));
    };
    await assert.rejects(db.write(broken, { signal: controller.signal }), ConstraintError);
    assert.equal(controller.signal.aborted, true);
    assert.deepEqual(await numbers(db), []);
  });

  it('a closure of db.batch that has run is not taken back', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const controller = new AbortController();
    const closure = (n: number) => () =>
      db.batch(
        (tx) => {
          tx.run(INSERT, [n]);
          if (n === 2) controller.abort(REASON);
        },
        { signal: controller.signal },
      );
    await within(Promise.all([closure(1)(), closure(2)()]), 'closures that have run');
    assert.deepEqual(await numbers(db), [1, 2]);
  });
});
