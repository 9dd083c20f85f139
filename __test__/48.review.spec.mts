// What a review has found on the TypeScript side of the transaction contract: corners that the other specs do not look into.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  AbortError,
  AsyncClosureError,
  type CallOptions,
  CommitOutcomeUnknownError,
  ConstraintError,
  type Database,
  OptionError,
  QueueTimeoutError,
  ReentrantAccessError,
  type SyncWrite,
  TransactionClosedError,
  type TransactionTrace,
} from 'sqlflow';
import { CommitListeners } from '../dist/commit-listeners.js';
import { type Engine, Target } from '../dist/native/engine.js';
import { inside } from '../dist/reentrancy.js';
import { TransactionRecord } from '../dist/trace.js';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError, reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { within } from './fixtures/transactions/within.mjs';

const REFUSE = { reentrancy: 'refuse' } as const;

/** A query as a builder makes it: it starts when it is waited for. */
class Lazy<T> implements PromiseLike<T> {
  /** How often `then` was looked at. */
  looks = 0;
  readonly #start: () => Promise<T>;

  constructor(start: () => Promise<T>) {
    this.#start = start;
  }

  // biome-ignore lint/suspicious/noThenProperty: a thenable of another library is what the tests are about
  get then(): PromiseLike<T>['then'] {
    this.looks += 1;
    return (...settle) => this.#start().then(...settle);
  }
}

describe('a lazy query that a closure gives', () => {
  const closures: Record<string, (db: Database, query: Lazy<unknown>) => Promise<unknown>> = {
    read: (db, query) => db.read(() => query),
    write: (db, query) => db.write(() => query),
    savepoint: (db, query) => db.write((tx) => tx.savepoint(() => query)),
  };
  for (const [closure, run] of Object.entries(closures)) {
    it(`counts as inside: ${closure}`, async (t) => {
      const db = await new Folder(t).database(TABLE, REFUSE);
      const reason = await within(
        reasonOf(run(db, new Lazy(() => db.write(() => 1)))),
        'a write inside its own closure',
      );
      assert.ok(reason instanceof ReentrantAccessError, String(reason));
    });

    it(`is looked at once: ${closure}`, async (t) => {
      const db = await new Folder(t).database(TABLE, REFUSE);
      const query = new Lazy(async () => 7);
      assert.equal(await run(db, query), 7);
      assert.equal(query.looks, 1);
    });
  }

  it('is not started by db.batch, which refuses it', async (t) => {
    const db = await new Folder(t).database(TABLE);
    let started = 0;
    const query = new Lazy(async () => started++);
    await assert.rejects(
      db.batch(() => query),
      AsyncClosureError,
    );
    await nextTurn();
    assert.equal(started, 0);
  });
});

/** The messages of the transactions that are over, until the end of the test. */
function publishedBy(t: TestContext): TransactionTrace[] {
  const ended: TransactionTrace[] = [];
  const channel = tracingChannel<unknown, TransactionTrace>('sqlflow:transaction');
  const ignore = () => {};
  const subscribers = {
    start: ignore,
    end: ignore,
    asyncStart: ignore,
    asyncEnd: (trace: TransactionTrace) => {
      ended.push(trace);
    },
    error: ignore,
  };
  channel.subscribe(subscribers);
  t.after(() => channel.unsubscribe(subscribers));
  return ended;
}

describe('what is published of a transaction', () => {
  it('has no outcome when it never began', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, REFUSE);
    const published = publishedBy(t);
    const held = await folder.hold(db);
    const controller = new AbortController();
    const waiting = db.batch(() => assert.fail('started'), { signal: controller.signal });
    controller.abort();
    await assert.rejects(waiting, AbortError);
    await assert.rejects(
      db.batch(() => assert.fail('started'), { queueTimeoutMs: 5 }),
      QueueTimeoutError,
    );
    await assert.rejects(db.batch([[INSERT, [1]]], { queueTimeoutMs: 5 }), QueueTimeoutError);
    await held.release();
    assert.deepEqual(await db.batch([]), []);
    await db.read(() => assert.rejects(db.batch([INSERT]), ReentrantAccessError));
    const batches = published.filter(({ kind }) => kind === 'batch');
    assert.equal(batches.length, 5);
    for (const { outcome, queueMs, durationMs, logFrames } of batches) {
      assert.deepEqual([outcome, queueMs, durationMs, logFrames], [undefined, undefined, undefined, undefined]);
    }
  });

  it('is a rollback when SQLite has refused a statement of a batch', async (t) => {
    const db = await new Folder(t).database('CREATE TABLE t(n UNIQUE)');
    const published = publishedBy(t);
    const insert = 'INSERT INTO t VALUES (1)';
    await assert.rejects(db.batch([insert, insert]), ConstraintError);
    await assert.rejects(
      db.batch(() => {
        throw new OwnError('taken back');
      }),
      OwnError,
    );
    assert.deepEqual(
      published.map(({ outcome, logFrames }) => [outcome, logFrames]),
      [
        ['rollback', undefined],
        ['rollback', undefined],
      ],
    );
  });

  it('has the frames of the log where the engine tells them, and never a wrong 0', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const published = publishedBy(t);
    await db.batch((tx) => tx.run(INSERT, [1]));
    const { frames } = db.stats().log;
    await db.batch([[INSERT, [2]]]);
    await db.write((tx) => {
      tx.onCommit(() => {});
      return tx.run(INSERT, [3]);
    });
    await db.read((tx) => tx.get('SELECT 1'));
    assert.deepEqual(
      published.map(({ kind, outcome, logFrames }) => [kind, outcome, logFrames]),
      [
        ['batch', 'commit', frames],
        ['batch', 'commit', undefined],
        ['write', 'commit', undefined],
        ['read', 'commit', 0],
      ],
    );
    assert.ok(frames > 0);
  });

  it('has no outcome when nobody knows it', () => {
    const record = new TransactionRecord('test.db', 'batch');
    record.began(new Target(0, 0, 0, 0));
    record.failed(new CommitOutcomeUnknownError('nobody knows'));
    assert.equal(record.context.outcome, undefined);
    record.failed(new OwnError('rolled back'));
    assert.equal(record.context.outcome, 'rollback');
  });

  it('is nothing of db.iterate and of single statements', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const published = publishedBy(t);
    for await (const _ of db.iterate('SELECT 1'));
    await db.get('SELECT 1');
    await db.run(INSERT, [1]);
    assert.deepEqual(published, []);
  });
});

describe('the stack of an error of tx.sync', () => {
  const calls: Record<string, (tx: SyncWrite) => unknown> = {
    get: (tx) => tx.get('bogus'),
    one: (tx) => tx.one('SELECT 1 WHERE 0'),
    all: (tx) => tx.all('bogus'),
    query: (tx) => tx.query('bogus'),
    run: (tx) => tx.run('bogus'),
    exec: (tx) => tx.exec('bogus'),
    'a parameter': (tx) => tx.get('SELECT ?', []),
    'a loop over iterate': (tx) => {
      for (const _ of tx.iterate('bogus'));
    },
    'next of iterate': (tx) => tx.iterate('bogus').next(),
  };
  for (const traced of [false, true]) {
    it(`begins with the caller, ${traced ? 'with' : 'without'} a subscriber of statements`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      if (traced) {
        const subscribers = {
          start: () => {},
          end: () => {},
          asyncStart: () => {},
          asyncEnd: () => {},
          error: () => {},
        };
        const channel = tracingChannel('sqlflow:statement');
        channel.subscribe(subscribers);
        t.after(() => channel.unsubscribe(subscribers));
      }
      await db.write((tx) => {
        for (const [name, call] of Object.entries(calls)) {
          const error = thrownBy(() => call(tx.sync));
          assert.ok(error instanceof Error, name);
          const first = error.stack?.split('\n').find((line) => line.startsWith('    at '));
          assert.match(first ?? '', /48\.review/, `${name}: ${error.stack}`);
        }
      });
    });
  }
});

describe('tx.onCommit', () => {
  it('calls its listeners in the order of their registration, those of savepoints among them', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const told: string[] = [];
    await db.write(async (tx) => {
      tx.onCommit(() => told.push('1'));
      await tx.savepoint(async (outer) => {
        outer.onCommit(() => told.push('2'));
        await assert.rejects(
          outer.savepoint((inner) => {
            inner.onCommit(() => told.push('taken back'));
            throw new OwnError('taken back');
          }),
          OwnError,
        );
        tx.onCommit(() => told.push('3'));
        await outer.savepoint(async (inner) => {
          inner.onCommit(() => told.push('4'));
          outer.onCommit(() => told.push('5'));
          tx.onCommit(() => told.push('6'));
          inner.onCommit(() => told.push('7'));
        });
        outer.onCommit(() => told.push('8'));
      });
      tx.onCommit(() => told.push('9'));
    });
    assert.equal(told.join(''), '123456789');
  });
});

describe('db.onCommit inside a closure', () => {
  it('is called outside of it, in the async context of the call', async (t) => {
    // read registers a listener and stays open
    // a write beside it commits; the listener uses the database
    const folder = new Folder(t);
    const db = await folder.database(TABLE, REFUSE);
    const context = new AsyncLocalStorage<string>();
    const gate = folder.gate();
    const told = folder.gate();
    let heard: { store: string | undefined; answer: Promise<unknown> } | undefined;
    const registered = folder.gate();
    const reading = context.run('mine', () =>
      db.read(async () => {
        db.onCommit(() => {
          heard = { store: context.getStore(), answer: db.get('SELECT 1 AS n') };
          told.open();
        });
        registered.open();
        await gate.opened;
      }),
    );
    await registered.opened;
    await db.run(INSERT, [1]);
    await within(told.opened, 'a listener');
    assert.equal(heard?.store, 'mine');
    assert.deepEqual(await heard?.answer, { n: 1 });
    gate.open();
    await reading;
  });

  it('does not keep the transaction of the closure', async () => {
    const engine = { listen: () => {} } as unknown as Engine;
    const listeners = new CommitListeners(engine, new Target(1, 2, 0, 0));
    const register = (): WeakRef<object> => {
      const transaction = { engineId: 7, ended: false };
      inside(transaction, () => listeners.add(() => {}, false));
      transaction.ended = true;
      return new WeakRef(transaction);
    };
    const transaction = register();
    for (let round = 0; round < 20 && transaction.deref() !== undefined; round++) {
      await nextTurn();
      globalThis.gc?.();
    }
    assert.equal(transaction.deref(), undefined);
    assert.ok(listeners);
  });
});

describe('options that cannot have an effect', () => {
  const refused: Record<string, { given: readonly unknown[]; message: RegExp }> = {
    'a signal of run': {
      given: ['run', INSERT, [1], { signal: AbortSignal.abort() }],
      message: /^signal has no effect/,
    },
    'timeoutMs of exec': { given: ['exec', 'SELECT 1', { timeoutMs: 5 }], message: /^timeoutMs has no effect/ },
    'bigint of run': {
      given: ['run', INSERT, [1], { bigint: true }],
      message: /^run of tx\.sync takes no options, got "bigint"; leave it out$/,
    },
    'parameters of exec': { given: ['exec', INSERT, [1]], message: /^options must be an object, got an array$/ },
    'a number for run': { given: ['run', INSERT, [1], 7], message: /^options must be an object, got a number$/ },
  };
  for (const [what, { given, message }] of Object.entries(refused)) {
    it(`are refused by tx.sync: ${what}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      const [method, ...values] = given;
      await db.write((tx) => {
        const call: unknown = Reflect.get(tx.sync, String(method));
        assert.ok(typeof call === 'function');
        const error = thrownBy(() => Reflect.apply(call, tx.sync, values));
        assert.ok(error instanceof OptionError, String(error));
        assert.match(error.message, message);
        Reflect.apply(call, tx.sync, method === 'run' ? [INSERT, [2], {}] : ['SELECT 1', { signal: undefined }]);
      });
      assert.deepEqual(await numbers(db), method === 'run' ? [2] : []);
    });
  }
});

describe('the options of a call', () => {
  const calls: Record<string, (db: Database, options: CallOptions) => Promise<unknown>> = {
    read: (db, options) => db.read(() => 7, options),
    write: (db, options) => db.write(() => 7, options),
    batch: (db, options) => db.batch(() => 7, options),
  };
  for (const captureStacks of [false, true]) {
    for (const [name, call] of Object.entries(calls)) {
      it(`may be used again while it waits: ${name}${captureStacks ? ', with captureStacks' : ''}`, async (t) => {
        const db = await new Folder(t).database(TABLE, { captureStacks });
        const options: CallOptions = { signal: new AbortController().signal };
        const result = call(db, options);
        options.signal = AbortSignal.abort();
        assert.equal(await within(result, name), 7);
      });
    }
  }
});

describe('closures of db.batch', () => {
  it('that break a deferred foreign key fail alone', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`
      CREATE TABLE p(id INTEGER PRIMARY KEY);
      CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)`);
    const held = await folder.hold(db);
    const closures: ((tx: SyncWrite) => unknown)[] = [
      (tx) => tx.run('INSERT INTO p VALUES (1)'),
      (tx) => tx.run('INSERT INTO c VALUES (99)'),
      (tx) => tx.savepoint((inner) => inner.run('INSERT INTO c VALUES (98)')),
      (tx) => [tx.run('INSERT INTO c VALUES (2)'), tx.run('INSERT INTO p VALUES (2)')],
      (tx) => tx.run('INSERT INTO p VALUES (3)'),
    ];
    const calls = closures.map((closure) => db.batch(closure));
    const outcomes = Promise.allSettled(calls);
    await held.release();
    const settled = await within(outcomes, 'closures of a group');
    assert.deepEqual(
      settled.map((each) => (each.status === 'rejected' ? each.reason.code : 'ok')),
      ['ok', 'CONSTRAINT', 'CONSTRAINT', 'ok', 'ok'],
    );
    for (const each of settled) if (each.status === 'rejected') assert.ok(each.reason instanceof ConstraintError);
    assert.deepEqual(await db.all('SELECT id FROM p', [], { rowMode: 'array' }), [[1], [2], [3]]);
    assert.deepEqual(await db.all('SELECT p FROM c', [], { rowMode: 'array' }), [[2]]);
    assert.equal(db.stats().writer.state, 'idle');
  });

  it('are called by their name when they are used too late, or too early', async (t) => {
    const db = await new Folder(t).database(TABLE);
    let late: SyncWrite | undefined;
    let inner: SyncWrite | undefined;
    await db.batch((tx) => {
      late = tx;
      tx.savepoint((it) => {
        inner = it;
        assert.match(String(thrownBy(() => tx.get('SELECT 1'))), /: savepoint 1 is open in this closure: /);
      });
      assert.match(String(thrownBy(() => inner?.get('SELECT 1'))), /: savepoint 1 has ended: /);
    });
    const error = thrownBy(() => late?.get('SELECT 1'));
    assert.ok(error instanceof TransactionClosedError);
    assert.equal(error.message, 'the closure of db.batch has ended: do not keep its tx beyond it');
  });
});

/** What `call` throws; returning is a failure. */
function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return assert.fail('it threw nothing');
}
