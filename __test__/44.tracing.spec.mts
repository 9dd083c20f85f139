// The channels of node:diagnostics_channel: what is published in which order, and what never is.

import assert from 'node:assert/strict';
import { tracingChannel } from 'node:diagnostics_channel';
import { describe, it, type TestContext } from 'node:test';
import { inspect } from 'node:util';
import {
  AbortError,
  ConstraintError,
  type Database,
  type StatementTrace,
  sql,
  TransactionTimeoutError,
  type TransactionTrace,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

/** Of either channel; `result` would be set by Node.js. */
type Trace = Partial<Omit<TransactionTrace, 'kind'> & Omit<StatementTrace, 'kind'>> & {
  kind?: string;
  result?: unknown;
};
const EVENTS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;
const FULFILLED = ['start', 'end', 'asyncStart', 'asyncEnd'];
const REJECTED = ['start', 'end', 'error', 'asyncStart', 'asyncEnd'];
const ENDLESS = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c';

/** What is published in a channel, until the end of the test. */
class Published {
  /** Events with their message, in order. */
  readonly all: { event: string; trace: Trace }[] = [];
  readonly #channel;
  readonly #subscribers;

  constructor(t: TestContext, name: 'transaction' | 'statement', also: () => void = () => {}) {
    this.#channel = tracingChannel<unknown, Trace>(`sqlflow:${name}`);
    const note = (event: string) => (trace: Trace) => {
      this.all.push({ event, trace });
      also();
    };
    const [start, end, asyncStart, asyncEnd, error] = EVENTS.map(note);
    assert.ok(start && end && asyncStart && asyncEnd && error);
    this.#subscribers = { start, end, asyncStart, asyncEnd, error };
    this.#channel.subscribe(this.#subscribers);
    t.after(() => this.end());
  }

  end(): void {
    this.#channel.unsubscribe(this.#subscribers);
  }

  /** One entry per operation, in the order of their starts: its message and the names of its events. */
  operations(): { trace: Trace; events: string[] }[] {
    const found = new Map<Trace, string[]>();
    for (const { event, trace } of this.all) found.set(trace, [...(found.get(trace) ?? []), event]);
    return [...found].map(([trace, events]) => ({ trace, events }));
  }

  /** The one operation there was. */
  only(): { trace: Trace; events: string[] } {
    const found = this.operations();
    assert.equal(found.length, 1, inspect(found));
    return found[0] ?? assert.fail();
  }
}

function assertMs(...values: unknown[]): void {
  for (const value of values) assert.ok(typeof value === 'number' && value >= 0 && value < 30_000, String(value));
}

describe('a transaction', () => {
  const ways: Record<string, { kind: string; run: (db: Database) => Promise<unknown> }> = {
    read: { kind: 'read', run: (db) => db.read((tx) => tx.get('SELECT 1')) },
    write: { kind: 'write', run: (db) => db.write((tx) => tx.run(INSERT, [1])) },
    'a closure of batch': { kind: 'batch', run: (db) => db.batch((tx) => tx.run(INSERT, [1])) },
    'statements of batch': { kind: 'batch', run: (db) => db.batch([[INSERT, [1]]]) },
  };
  for (const [way, { kind, run }] of Object.entries(ways)) {
    it(`is published from its start to its end: ${way}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      const published = new Published(t, 'transaction');
      await run(db);
      await db.run(INSERT, [2]);
      const { trace, events } = published.only();
      assert.deepEqual(events, FULFILLED);
      const { database, outcome, error } = trace;
      assert.deepEqual(
        { database, kind: trace.kind, outcome, error },
        { database: db.path, kind, outcome: 'commit', error: undefined },
      );
      if (way === 'statements of batch') return;
      assertMs(trace.queueMs, trace.durationMs);
      assert.equal(trace.lockWaitMs, 0);
      assert.equal(trace.queuedBehind, 0);
      if (kind === 'read') assert.equal(trace.logFrames, 0);
      if (kind === 'write') assert.equal(trace.logFrames, db.stats().log.frames - 1);
    });
  }

  const failures: Record<string, { run: (db: Database) => Promise<unknown>; error: new (...args: never[]) => Error }> =
    {
      'its closure throws': {
        run: (db) =>
          db.write(async (tx) => {
            await tx.run(INSERT, [1]);
            throw new OwnError('rolls back');
          }),
        error: OwnError,
      },
      'a closure of batch throws': {
        run: (db) =>
          db.batch(() => {
            throw new OwnError('rolls back');
          }),
        error: OwnError,
      },
      'a read throws': {
        run: (db) =>
          db.read(() => {
            throw new OwnError('rolls back');
          }),
        error: OwnError,
      },
      'COMMIT fails': { run: (db) => db.write((tx) => tx.run('INSERT INTO child VALUES (9)')), error: ConstraintError },
      'it is aborted while it is open': {
        run: (db) => {
          const controller = new AbortController();
          return db.write(
            async (tx) => {
              await tx.run(INSERT, [1]);
              controller.abort();
              await tx.get(ENDLESS);
            },
            { signal: controller.signal },
          );
        },
        error: AbortError,
      },
      'its deadline comes': {
        run: (db) => db.write((tx) => tx.get(ENDLESS), { timeoutMs: 10 }),
        error: TransactionTimeoutError,
      },
      'the deadline of a read comes': {
        run: (db) => db.read((tx) => tx.get(ENDLESS), { timeoutMs: 10 }),
        error: TransactionTimeoutError,
      },
    };
  for (const [why, { run, error }] of Object.entries(failures)) {
    it(`is published as rolled back, with the error of the call, when ${why}`, async (t) => {
      const db = await new Folder(t).database(
        `${TABLE}; CREATE TABLE child(n REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)`,
      );
      const published = new Published(t, 'transaction');
      let reason: unknown;
      await assert.rejects(within(run(db), 'a call that fails'), (thrown) => {
        reason = thrown;
        return thrown instanceof error;
      });
      const { trace, events } = published.only();
      assert.deepEqual(events, REJECTED);
      assert.deepEqual([trace.outcome, trace.error === reason], ['rollback', true]);
      assertMs(trace.queueMs, trace.durationMs);
    });
  }

  it('that never began has no outcome', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    const published = new Published(t, 'transaction');
    const calls = [
      db.write(() => assert.fail('started'), { signal: AbortSignal.abort() }),
      db.write(() => assert.fail('started'), { queueTimeoutMs: 5 }),
      db.batch(() => assert.fail('started'), { queueTimeoutMs: 5 }),
      db.batch([[INSERT, [1]]], { queueTimeoutMs: 5 }),
    ];
    for (const call of calls) await assert.rejects(call);
    const found = published.operations();
    assert.equal(found.length, calls.length);
    await held.release();
    for (const { trace, events } of found) {
      assert.deepEqual(events, REJECTED);
      assert.ok(trace.error instanceof Error);
      assert.deepEqual([trace.kind, trace.outcome, trace.queueMs], [trace.kind, undefined, undefined]);
    }
  });

  it('tells how long it waited for its turn, and who waits behind it', async (t) => {
    // holds the writer
    // three writes wait
    // releases: the first has two behind it, the last none
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    const published = new Published(t, 'transaction');
    const since = performance.now();
    const writes = [1, 2, 3].map((n) => db.write((tx) => tx.run(INSERT, [n])));
    await until(() => performance.now() > since + 15, 'some time');
    await held.release();
    await Promise.all(writes);
    const traces = published.operations().map(({ trace }) => trace);
    assert.deepEqual(
      traces.map(({ queuedBehind }) => queuedBehind),
      [2, 1, 0],
    );
    for (const { queueMs = 0, durationMs = 0 } of traces) assert.ok(queueMs >= 15 && durationMs > 0, `${queueMs} ms`);
  });

  it('tells how long it waited for the lock of another process', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 20_000 });
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: 'DELETE FROM t' });
    const published = new Published(t, 'transaction');
    const write = db.write((tx) => tx.run(INSERT, [1]));
    await until(() => db.stats().writer.busyMs > 20, 'a writer that waits');
    await other.ask({ do: 'release' });
    await within(write, 'a write behind another process');
    const { queueMs = 0, lockWaitMs = 0 } = published.only().trace;
    assert.ok(lockWaitMs >= 10 && lockWaitMs <= Math.ceil(queueMs), `${lockWaitMs} of ${queueMs} ms`);
  });
});

describe('a statement', () => {
  const text = 'SELECT n FROM t';
  const ways: Record<string, { run: (db: Database) => Promise<unknown>; tells: Trace }> = {
    get: { run: (db) => db.get(text), tells: { sql: text, kind: 'get', rows: 1 } },
    'get of nothing': {
      run: (db) => db.get(`${text} WHERE 0`),
      tells: { sql: `${text} WHERE 0`, kind: 'get', rows: 0 },
    },
    'get as an array': {
      run: (db) => db.get('SELECT n, n FROM t', [], { rowMode: 'array' }),
      tells: { sql: 'SELECT n, n FROM t', kind: 'get', rows: 1 },
    },
    one: { run: (db) => db.one(text), tells: { sql: text, kind: 'one', rows: 1 } },
    all: { run: (db) => db.all(text), tells: { sql: text, kind: 'all', rows: 2 } },
    query: {
      run: (db) => db.query(`UPDATE t SET n = 0 RETURNING n`),
      tells: { sql: 'UPDATE t SET n = 0 RETURNING n', kind: 'query', rows: 2, changes: 2 },
    },
    run: { run: (db) => db.run(INSERT, [1]), tells: { sql: INSERT, kind: 'run', changes: 1 } },
    'a tagged run': {
      run: (db) => db.run(sql`DELETE FROM t WHERE n <> ${7}`),
      tells: { sql: 'DELETE FROM t WHERE n <> ?', kind: 'run', changes: 2 },
    },
    exec: { run: (db) => db.exec('DELETE FROM t'), tells: { sql: 'DELETE FROM t', kind: 'exec' } },
    runMany: { run: (db) => db.runMany(INSERT, [[1], [2]]), tells: { sql: INSERT, kind: 'runMany', changes: 2 } },
    'get of a transaction': {
      run: (db) => db.read((tx) => tx.get(text)),
      tells: { sql: text, kind: 'get', rows: 1, transaction: true },
    },
    'run of a transaction': {
      run: (db) => db.write((tx) => tx.run(INSERT, [1])),
      tells: { sql: INSERT, kind: 'run', changes: 1, transaction: true },
    },
    'runMany of a transaction': {
      run: (db) => db.write((tx) => tx.runMany(INSERT, [[1]])),
      tells: { sql: INSERT, kind: 'runMany', changes: 1, transaction: true },
    },
    'a prepared one': {
      run: (db) => db.read((tx) => tx.prepare(text).all()),
      tells: { sql: text, kind: 'all', rows: 2, transaction: true },
    },
    'one of a savepoint': {
      run: (db) => db.write((tx) => tx.savepoint((inner) => inner.run(INSERT, [1]))),
      tells: { sql: INSERT, kind: 'run', changes: 1, transaction: true },
    },
    'an iterator': {
      run: (db) => db.iterate(text).next(),
      tells: { sql: text, kind: 'iterate', rows: 2, transaction: false },
    },
  };
  for (const [way, { run, tells }] of Object.entries(ways)) {
    it(`is published from its call to its answer: ${way}`, async (t) => {
      const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1), (2)`);
      const published = new Published(t, 'statement');
      await run(db);
      const { trace, events } = published.only();
      assert.deepEqual(events, FULFILLED);
      const { result, durationMs, ...others } = trace;
      assertMs(durationMs);
      assert.equal(result, undefined, 'rows are published');
      assert.deepEqual(others, { database: db.path, transaction: false, ...tells });
    });
  }

  it('of tx.sync and db.batch is published by start and end', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const published = new Published(t, 'statement');
    await db.write((tx) => {
      tx.sync.run(INSERT, [1]);
      assert.throws(() => tx.sync.run(INSERT, [1]), ConstraintError);
    });
    await db.batch((tx) => tx.run(INSERT, [2]));
    const found = published.operations();
    assert.deepEqual(
      found.map(({ events }) => events),
      [
        ['start', 'end'],
        ['start', 'error', 'end'],
        ['start', 'end'],
      ],
    );
    assert.deepEqual(
      found.map(({ trace }) => [trace.kind, trace.transaction, trace.changes]),
      [
        ['run', true, 1],
        ['run', true, undefined],
        ['run', true, 1],
      ],
    );
    for (const { trace } of found) assertMs(trace.durationMs);
  });

  it('that fails is published with its error', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const published = new Published(t, 'statement');
    const controller = new AbortController();
    const aborted = db.get(ENDLESS, [], { signal: controller.signal });
    await until(() => db.stats().readers.open === 1 && db.stats().readers.idle === 0, 'a statement that runs');
    controller.abort();
    await assert.rejects(aborted, AbortError);
    await assert.rejects(db.get(ENDLESS, [], { timeoutMs: 5 }), TransactionTimeoutError);
    await assert.rejects(db.run('INSERT INTO t(n) VALUES (1), (1)'), ConstraintError);
    const found = published.operations();
    assert.deepEqual(
      found.map(({ events }) => events),
      [REJECTED, REJECTED, REJECTED],
    );
    assert.deepEqual(
      found.map(({ trace }) => (trace.error as Error).name),
      ['AbortError', 'TransactionTimeoutError', 'ConstraintError'],
    );
    for (const { trace } of found) assertMs(trace.durationMs);
  });
});
