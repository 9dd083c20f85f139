// Deadlines and bounds: who may hold what for how long, and what those are told who waited too long.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  type Database,
  DatabaseClosedError,
  OptionError,
  type ReadTransaction,
  TransactionAbortedError,
  TransactionTimeoutError,
  type WriteTransaction,
} from 'sqlflow';
import { ENDLESS, ENDLESS_INSERT, NEVER, readsOf, THREE, writesOf } from './fixtures/transactions/cancelling.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { type Calls, readingCalls, writingCalls } from './fixtures/transactions/late-calls.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError, reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

/** The error of `call`, of exactly this class and with these words. */
async function fails<E extends Error>(
  call: Promise<unknown>,
  as: new (...args: never[]) => E,
  says: RegExp,
  what = String(says),
): Promise<E> {
  const error = await within(reasonOf(call), what);
  assert.ok(error instanceof as, `${what}: ${error}`);
  assert.match(error.message, says, what);
  return error;
}

/** Resolves after at least so long: when the deadline of a read is over. No test waits by a clock of its own. */
async function pass(db: Database, timeoutMs: number): Promise<void> {
  const late = db.read(() => NEVER, { timeoutMs });
  await fails(late, TransactionTimeoutError, /rolled back/);
}

describe('the deadline of a transaction', () => {
  for (const kind of ['write', 'read'] as const) {
    const option = kind === 'write' ? 'transactionTimeoutMs' : 'readTimeoutMs';
    it(`ends a ${kind} whose closure never settles; everything later fails, and the connection is free`, async (t) => {
      // closure                the engine
      // statements
      // (waits)
      //                        rolls back: the call rejects, tx.signal is aborted
      // goes on: everything fails; throws: nobody cares
      const folder = new Folder(t);
      const db = await folder.database(TABLE, { [option]: 40, readers: 1 });
      const gate = folder.gate();
      const told: unknown[] = [];
      let calls: Calls = {};
      const unhandled = await unhandledIn(async () => {
        const late = db[kind](async (_, tx) => {
          tx.signal.addEventListener('abort', () => told.push(tx.signal.reason));
          if (kind === 'write') await (tx as WriteTransaction).run(INSERT, [1]);
          calls = kind === 'write' ? await writingCalls(tx as WriteTransaction) : await readingCalls(tx);
          await gate.opened;
          tx.get(THREE);
          told.push('went on');
          throw new OwnError('nobody cares');
        });
        const error = await fails(late, TransactionTimeoutError, new RegExp(`longer than ${option} \\(40 ms\\)`));
        assert.equal(error.code, 'TRANSACTION_TIMEOUT');
        assert.deepEqual(told, [error]);
        for (const [name, call] of Object.entries(calls)) {
          const reason = await within(reasonOf((async () => call())()), name);
          assert.ok(reason instanceof TransactionTimeoutError, `${name}: ${reason}`);
        }
        assert.deepEqual(await within(numbers(db), 'the reader'), []);
        await within(db.run(INSERT, [2]), 'the writer');
        gate.open();
        await until(() => told.length === 2, 'the closure goes on');
      });
      assert.deepEqual(unhandled, []);
      assert.deepEqual(await numbers(db), [2]);
    });
  }

  const running: Record<string, (tx: WriteTransaction) => unknown> = {
    'a statement that reads': (tx) => tx.get(ENDLESS),
    'a statement that writes': (tx) => tx.run(ENDLESS_INSERT),
    'a fetch': (tx) => tx.iterate(ENDLESS).next(),
    'a statement of tx.sync': (tx) => tx.sync.get(ENDLESS),
    'a statement of a savepoint': (tx) => tx.savepoint((inner) => inner.get(ENDLESS)),
    'a statement of tx.sync.savepoint': (tx) => tx.sync.savepoint((inner) => inner.run(ENDLESS_INSERT)),
  };
  for (const [name, run] of Object.entries(running)) {
    it(`interrupts ${name}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      let reason: unknown;
      const unhandled = await unhandledIn(async () => {
        const late = db.write(
          async (tx) => {
            await tx.run(INSERT, [1]);
            reason = await reasonOf((async () => run(tx))());
          },
          { timeoutMs: 40 },
        );
        await fails(late, TransactionTimeoutError, /\(40 ms\) and was rolled back/);
        await until(() => reason !== undefined, 'the statement fails');
      });
      assert.ok(reason instanceof TransactionTimeoutError, String(reason));
      assert.deepEqual(unhandled, []);
      await within(db.run(INSERT, [2]), 'the writer');
      assert.deepEqual(await numbers(db), [2]);
    });
  }

  it('is that of the call where it has one, and counts from its turn', async (t) => {
    // first write (0: for ever)    second write (60)     reads
    // open
    //                              (waits)
    //                                                    120 ms pass
    // commits
    //                              commits
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { transactionTimeoutMs: 60, readTimeoutMs: 1 });
    const gate = folder.gate();
    const first = db.write(
      async (tx) => {
        await tx.run(INSERT, [1]);
        await gate.opened;
      },
      { timeoutMs: 0 },
    );
    const second = db.write((tx) => tx.run(INSERT, [2]));
    const reading = db.read(() => gate.opened, { timeoutMs: 0 });
    await pass(db, 120);
    gate.open();
    await within(Promise.all([first, second, reading]), 'those that have the time');
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('of a closure of db.batch interrupts it, and nothing is left', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const late = db.batch(
      (tx) => {
        tx.run(INSERT, [1]);
        tx.get(ENDLESS);
      },
      { timeoutMs: 40 },
    );
    await fails(late, TransactionTimeoutError, /\(40 ms\)/);
    await within(
      db.batch((tx) => tx.run(INSERT, [2])),
      'the writer',
    );
    assert.deepEqual(await numbers(db), [2]);
  });

  it('a transaction that was forgotten leaves nothing in memory', async (t) => {
    const db = await new Folder(t).database(TABLE, { transactionTimeoutMs: 30, readTimeoutMs: 30 });
    const kept: WeakRef<ReadTransaction>[] = [];
    const forget = (_: unknown, tx: ReadTransaction) => {
      kept.push(new WeakRef(tx));
      return new Promise(() => {});
    };
    await fails(db.write(forget), TransactionTimeoutError, /30 ms/);
    await fails(db.read(forget), TransactionTimeoutError, /30 ms/);
    const collected = () => {
      globalThis.gc?.();
      return kept.every((ref) => ref.deref() === undefined);
    };
    await until(collected, 'the transactions are collected');
  });
});

describe('the deadline of a statement', () => {
  it('interrupts one that is its own transaction', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const options = { timeoutMs: 30 };
    for (const [name, call] of Object.entries(readsOf(db, ENDLESS))) {
      await fails(call(options), TransactionTimeoutError, /30 ms/, name);
    }
    const { run, exec, 'batch of statements': batch } = writesOf(db);
    for (const [name, call] of Object.entries({ run, exec, batch })) {
      await fails(call?.(options) ?? NEVER, TransactionTimeoutError, /timeoutMs of 30 ms/, name);
    }
    assert.deepEqual(await within(numbers(db), 'the database'), []);
  });

  it('takes one that waits out of the queue', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    const { run, exec, runMany, 'batch of statements': batch, 'get that writes': get } = writesOf(db);
    for (const [name, call] of Object.entries({ run, exec, runMany, batch, get })) {
      await fails(call?.({ timeoutMs: 20 }) ?? NEVER, TransactionTimeoutError, /timeoutMs of 20 ms/, name);
    }
    assert.equal(db.stats().writer.queued, 0);
    await held.release();
    assert.deepEqual(await numbers(db), []);
  });

  it('of a transaction: one that reads alone, one that writes with the transaction', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      await fails(tx.get(ENDLESS, [], { timeoutMs: 30 }), TransactionTimeoutError, /timeoutMs of 30 ms/);
      await fails(tx.prepare(ENDLESS, { timeoutMs: 30 }).all(), TransactionTimeoutError, /timeoutMs of 30 ms/);
      await tx.run(INSERT, [1], { timeoutMs: 10_000 });
    });
    const lost = db.write(async (tx) => {
      await fails(tx.run(ENDLESS_INSERT, [], { timeoutMs: 30 }), TransactionTimeoutError, /timeoutMs of 30 ms/);
      await assert.rejects(tx.get(THREE), TransactionAbortedError);
    });
    await fails(lost, TransactionAbortedError, /rolled the transaction back/);
    assert.deepEqual(await numbers(db), [1]);
  });

  it('readTimeoutMs holds for those that read, transactionTimeoutMs for those that write', async (t) => {
    const db = await new Folder(t).database(TABLE, { readTimeoutMs: 30, transactionTimeoutMs: 40 });
    for (const [name, call] of Object.entries(readsOf(db, ENDLESS))) {
      await fails(call({}), TransactionTimeoutError, /readTimeoutMs/, name);
    }
    await fails(db.run(ENDLESS_INSERT), TransactionTimeoutError, /transactionTimeoutMs/);
    assert.deepEqual(await numbers(db), []);
  });
});

describe('an iterator', () => {
  const TWO_LEFT = { batchRows: 2, idleTimeoutMs: 30 };

  it('that is idle for idleTimeoutMs gives its reader back; fetched rows are given, then it says why', async (t) => {
    const db = await new Folder(t).open('test.db', { readers: 1 });
    const rows = db.iterate(THREE, [], TWO_LEFT);
    assert.deepEqual(await rows.next(), { done: false, value: { n: 1 } });
    assert.equal(db.stats().readers.transactions, 1);
    await until(() => db.stats().readers.transactions === 0, 'the idle iterator is ended');
    assert.deepEqual(await within(db.get(THREE), 'the reader'), { n: 1 });
    assert.deepEqual(await rows.next(), { done: false, value: { n: 2 } });
    const error = await fails(rows.next(), TransactionTimeoutError, /30 ms of idleTimeoutMs/);
    assert.equal(error.code, 'TRANSACTION_TIMEOUT');
    assert.deepEqual(await rows.next(), { done: true, value: undefined });
  });

  it('may be idle for ever with 0, and while it fetches it is not idle', async (t) => {
    const db = await new Folder(t).open();
    const patient = db.iterate(THREE, [], { batchRows: 1, idleTimeoutMs: 0 });
    await patient.next();
    const rows = db.iterate(`${THREE} UNION ALL SELECT n FROM (${ENDLESS})`, [], {
      batchRows: 3,
      idleTimeoutMs: 1,
      timeoutMs: 60,
    });
    for (let n = 1; n <= 3; n++) assert.deepEqual(await rows.next(), { done: false, value: { n } });
    await fails(rows.next(), TransactionTimeoutError, /readTimeoutMs|timeoutMs/);
    assert.deepEqual(await patient.next(), { done: false, value: { n: 2 } });
    await patient.return();
  });

  it('ends by its timeoutMs between two fetches too', async (t) => {
    const db = await new Folder(t).open('test.db', { readers: 1 });
    const rows = db.iterate(THREE, [], { batchRows: 1, timeoutMs: 30 });
    await rows.next();
    await until(() => db.stats().readers.transactions === 0, 'the iterator is ended');
    await fails(rows.next(), TransactionTimeoutError, /30 ms/);
    assert.deepEqual(await within(db.get(THREE), 'the reader'), { n: 1 });
  });

  it('that was dropped half-way is ended when it is collected', async (t) => {
    const db = await new Folder(t).open('test.db', { readers: 2 });
    const begin = async () => {
      await db.iterate(THREE, [], { batchRows: 1, idleTimeoutMs: 0 }).next();
      await db.iterate(THREE, [], { batchRows: 1, idleTimeoutMs: 0 })[Symbol.asyncIterator]().next();
    };
    await begin();
    const ended = () => {
      globalThis.gc?.();
      return db.stats().readers.transactions === 0;
    };
    await until(ended, 'the iterators are collected');
    assert.deepEqual(await within(db.get(THREE), 'a reader'), { n: 1 });
  });
});

describe('close({ timeoutMs })', () => {
  it('ends what is not over by then like a deadline, and leaves the one file', async (t) => {
    // open: a write, a read, a read that runs, an iterator    waiting: writes
    // close({ timeoutMs })
    // all reject with DatabaseClosedError; the closures go on against closed transactions
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { readers: 3 });
    const reasons: unknown[] = [];
    let begun = 0;
    const open = async (_: unknown, tx: ReadTransaction) => {
      tx.signal.addEventListener('abort', () => reasons.push(tx.signal.reason));
      begun += 1;
      await NEVER;
    };
    const rows = db.iterate(THREE, [], { batchRows: 1 });
    await rows.next();
    const calls: Promise<unknown>[] = [
      db.write(async (tx) => {
        await tx.run(INSERT, [1]);
        await open(undefined, tx);
      }),
      db.read(open),
      db.get(ENDLESS),
    ];
    await until(() => begun === 2, 'the closures start');
    calls.push(...Object.values(writesOf(db)).map((call) => call({})));
    const all = Promise.all(calls.map((call) => fails(call, DatabaseClosedError, /close/)));
    const unhandled = await unhandledIn(async () => {
      await within(db.close({ timeoutMs: 20 }), 'close');
      const errors = await all;
      assert.deepEqual(new Set(reasons), new Set(errors.slice(0, 2)));
      await fails(rows.next(), DatabaseClosedError, /while the iterator was idle/);
    });
    assert.deepEqual(unhandled, []);
    assert.deepEqual(readdirSync(folder.path), ['test.db']);
    assert.deepEqual(await numbers(await folder.open()), []);
  });

  it('with 0 ends it at once; what is over in time is kept', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const write = db.write(() => NEVER);
    await until(() => db.stats().writer.state === 'held', 'the write is open');
    const refused = fails(write, DatabaseClosedError, /close/);
    await within(db.close({ timeoutMs: 0 }), 'close at once');
    await refused;
    const again = await folder.open();
    const written = again.write((tx) => tx.run(INSERT, [1]));
    await within(again.close({ timeoutMs: 10_000 }), 'close with patience');
    await written;
    assert.deepEqual(await numbers(await folder.open()), [1]);
  });

  it('refuses what is no time', async (t) => {
    const db = await new Folder(t).open();
    for (const timeoutMs of [-1, 1.5, 2 ** 31, '5', null, Number.NaN]) {
      await assert.rejects(db.close({ timeoutMs: timeoutMs as number }), OptionError);
    }
    await assert.rejects(db.close({ timeout: 5 } as object), /timeoutMs/);
    assert.deepEqual(await db.get(THREE), { n: 1 });
  });
});
