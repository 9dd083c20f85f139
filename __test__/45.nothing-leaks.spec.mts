// What is left of operations that came to no good end, by the thousand: nothing.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import {
  AbortError,
  AsyncClosureError,
  type Database,
  type ReadTransaction,
  SqlError,
  TransactionClosedError,
  TransactionTimeoutError,
  UnfinishedQueryError,
  type WriteTransaction,
} from 'sqlflow';
import { assertEndedWith, run } from './fixtures/border/program.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const NUMBERS = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c';
const ENDLESS = `SELECT count(*) FROM (${NUMBERS})`;
const NEVER = new Promise<never>(() => {});
const READERS = 4;
const gc = globalThis.gc ?? assert.fail('run with --expose-gc');

type Reason = abstract new (...args: never[]) => Error;

/** Fails unless all of `calls` reject with an error of one of `kinds`. */
async function allReject(calls: readonly Promise<unknown>[], ...kinds: Reason[]): Promise<void> {
  for (const one of await within(Promise.allSettled(calls), 'calls that fail')) {
    assert.ok(one.status === 'rejected', 'a call resolved');
    assert.ok(
      kinds.some((kind) => one.reason instanceof kind),
      String(one.reason),
    );
  }
}

async function idle(db: Database): Promise<void> {
  const isIdle = () => {
    const { writer, readers } = db.stats();
    if (writer.state !== 'idle' || writer.queued + readers.queued + readers.transactions > 0) return false;
    return readers.idle === readers.open && readers.oldestMs === 0;
  };
  await until(isIdle, 'an idle database').catch((error: Error) => {
    throw new Error(`${error.message}: ${JSON.stringify(db.stats())}`);
  });
}

/** Runs `work` on a database; fails when anything is left of it. */
async function leavesNothing(t: TestContext, work: (db: Database) => Promise<unknown>): Promise<void> {
  const folder = new Folder(t);
  const db = await folder.database(`${TABLE}; INSERT INTO t(n) VALUES (1), (2), (3)`, { readers: READERS });
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on('warning', warn);
  const unhandled = await unhandledIn(async () => {
    await work(db);
    gc();
    await idle(db);
    // All connections still serve.
    await Promise.all(Array.from({ length: 3 * READERS }, () => db.read((tx) => tx.get('SELECT 1'))));
    await within(
      db.write((tx) => tx.run(INSERT, [4])),
      'a write afterwards',
    );
    assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: 4 });
    await within(db.close(), 'close afterwards');
  });
  process.off('warning', warn);
  assert.deepEqual(unhandled, []);
  assert.deepEqual(warnings, []);
  const opened = process.platform === 'linux' ? descriptors(folder.path) : [];
  assert.deepEqual(opened, [], 'files are still open');
}

/** Files below `path` that this process has open. */
function descriptors(path: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${descriptor}`);
      return target.startsWith(path) ? [target] : [];
    } catch {
      // The one by which the list was read.
      return [];
    }
  });
}

/** Makes `count` calls, `width` of them at a time. */
async function many(count: number, width: number, call: (n: number) => Promise<unknown>): Promise<void> {
  for (let n = 0; n < count; n += width) {
    await Promise.all(Array.from({ length: Math.min(width, count - n) }, (_, m) => call(n + m)));
  }
}

describe('nothing is left of', () => {
  it('10,000 calls that share one signal, and wait for the writer when it is aborted', async (t) => {
    await leavesNothing(t, async (db) => {
      const controller = new AbortController();
      const { signal } = controller;
      const fail = () => assert.fail('started');
      await db.write(async () => {
        const kinds = [
          () => db.run(INSERT, [9], { signal }),
          () => db.write(fail, { signal }),
          () => db.batch(fail, { signal }),
          () => db.batch([[INSERT, [9]]], { signal }),
          () => db.runMany(INSERT, [[9]], { signal }),
        ];
        const calls = db.outside(() => Array.from({ length: 9_990 }, (_, n) => kinds[n % kinds.length]?.() ?? NEVER));
        assert.equal(getEventListeners(signal, 'abort').length, 1);
        assert.equal(db.stats().writer.queued, 9_990);
        controller.abort();
        await allReject(calls, AbortError);
        assert.equal(db.stats().writer.queued, 0);
      });
      assert.equal(getEventListeners(signal, 'abort').length, 0);
    });
  });

  it('2,000 reads that are aborted while they run, or wait for one that does', async (t) => {
    await leavesNothing(t, (db) =>
      many(2_000, 16, async (n) => {
        const controller = new AbortController();
        const { signal } = controller;
        const call = n % 2 === 0 ? db.get(ENDLESS, [], { signal }) : db.read((tx) => tx.get(ENDLESS), { signal });
        for (let turn = n % 4; turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
        controller.abort();
        await allReject([call], AbortError);
      }),
    );
  });

  it('1,000 writes that are aborted while they run, or wait for one that does', async (t) => {
    await leavesNothing(t, (db) =>
      many(1_000, 4, async (n) => {
        const controller = new AbortController();
        const { signal } = controller;
        // One `run` at a time: those that share a commit are not interrupted.
        const call =
          n % 4 === 0
            ? db.run(`INSERT INTO t(n) ${NUMBERS}`, [], { signal })
            : db.write((tx) => tx.run(`INSERT INTO t(n) ${NUMBERS}`), { signal });
        for (let turn = n % 3; turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
        controller.abort();
        await allReject([call], AbortError);
      }),
    );
  });

  it('1,000 calls that took too long', async (t) => {
    await leavesNothing(t, async (db) => {
      await many(960, 120, (n) => {
        const timeoutMs = 1 + (n % 3);
        return allReject([db.get(ENDLESS, [], { timeoutMs })], TransactionTimeoutError);
      });
      await many(40, 8, (n) => {
        const call = n % 2 === 0 ? db.read((tx) => tx.get(ENDLESS), { timeoutMs: 2 }) : forgotten(db, 2);
        return allReject([call], TransactionTimeoutError);
      });
    });
  });

  it('closures that never settle, once their deadline is over', async (t) => {
    await leavesNothing(t, async (db) => {
      const late: Promise<unknown>[] = [];
      const reads = Array.from({ length: READERS }, () => db.read(() => NEVER, { timeoutMs: 5 }));
      const writes = Array.from({ length: 12 }, (_, n) =>
        db.write(
          async (tx) => {
            await tx.run(INSERT, [9]);
            const forgotten = tx.savepoint(() => NEVER);
            if (n % 2 === 0) late.push(forgotten);
            else void forgotten.catch(() => {});
            await NEVER;
          },
          { timeoutMs: 5 },
        ),
      );
      await allReject([...reads, ...writes], TransactionTimeoutError);
      for (const each of late) each.catch(() => {});
    });
  });

  it('2,000 statements that their closure did not wait for', async (t) => {
    await leavesNothing(t, async (db) => {
      await many(1_000, READERS, (n) => {
        const unfinished = db.read(async (tx) => {
          void tx.get(ENDLESS);
          if (n % 2 === 0) void tx.all('SELECT n FROM t');
        });
        return allReject([unfinished], UnfinishedQueryError);
      });
      await many(1_000, 10, (n) => {
        const unfinished = db.write((tx) => {
          if (n % 3 === 0) void tx.savepoint(() => NEVER);
          else {
            void tx.run(INSERT, [9]);
            void tx.all('SELECT n FROM t');
          }
          if (n % 2 === 0) throw new OwnError('wins');
        });
        return allReject([unfinished], n % 2 === 0 ? OwnError : UnfinishedQueryError);
      });
      const failing = () => db.write((tx) => tx.savepoint((inner) => void inner.get('SELECT nonsense')));
      await many(100, 10, () => allReject([failing()], UnfinishedQueryError));
    });
  });

  it('closures of db.batch that give a promise, which rejects later', async (t) => {
    await leavesNothing(t, (db) =>
      many(1_000, 50, () => {
        const call = db.batch(async (tx) => {
          tx.run(INSERT, [9]);
          await null;
          throw new OwnError('later');
        });
        return allReject([call], AsyncClosureError);
      }),
    );
  });

  it('2,000 transactions that are used after their end', async (t) => {
    await leavesNothing(t, async (db) => {
      const late = (tx: ReadTransaction, rows: AsyncIterator<unknown>) =>
        allReject(
          [tx.get('SELECT 1'), tx.iterate('SELECT 1').next(), tx.prepare('SELECT 1').all(), rows.next()],
          TransactionClosedError,
        );
      const keep = async <Tx extends ReadTransaction>(tx: Tx) => {
        const rows = tx.iterate(NUMBERS, [], { batchRows: 1 });
        await rows.next();
        return { tx, rows };
      };
      await many(1_000, 8, async () => {
        const { tx, rows } = await db.read(keep);
        await late(tx, rows);
      });
      await many(1_000, 8, async () => {
        const { tx, rows } = await db.write(keep<WriteTransaction>);
        await late(tx, rows);
        await allReject([tx.run(INSERT, [9]), tx.savepoint(() => 1)], TransactionClosedError);
        assert.throws(() => tx.sync.run(INSERT, [9]), TransactionClosedError);
      });
    });
  });

  const leave: Record<string, (rows: AsyncIterableIterator<unknown>, abort: () => void) => Promise<unknown>> = {
    'by break': async (rows) => {
      for await (const _ of rows) break;
    },
    'by throw': async (rows) => {
      const loop = async () => {
        for await (const _ of rows) throw new OwnError('leaves');
      };
      await allReject([loop()], OwnError);
    },
    'by return': async (rows) => {
      await rows.next();
      await rows.return?.();
    },
    'by return while they fetch': async (rows) => {
      const first = rows.next();
      await rows.return?.();
      await first;
    },
    'by their signal': async (rows, abort) => {
      await rows.next();
      abort();
      await allReject([rows.next()], AbortError);
    },
    'by their signal while they fetch': async (rows, abort) => {
      const first = rows.next();
      abort();
      await first.catch((error: unknown) => assert.ok(error instanceof AbortError, String(error)));
    },
    'before their first row': async (rows) => {
      await rows.return?.();
    },
  };
  for (const [how, left] of Object.entries(leave)) {
    it(`600 iterators that are left ${how}`, async (t) => {
      const shared = new AbortController();
      const iterators = (tx: Pick<ReadTransaction, 'iterate'>) => {
        const controller = how.includes('signal') ? new AbortController() : shared;
        const rows = tx.iterate(NUMBERS, [], { batchRows: 1, signal: controller.signal });
        return left(rows, () => controller.abort());
      };
      await leavesNothing(t, async (db) => {
        await many(400, 20, () => iterators(db));
        await many(100, 20, () => db.read(iterators));
        await many(100, 20, () => db.write(iterators));
      });
      assert.deepEqual(getEventListeners(shared.signal, 'abort'), []);
    });
  }

  it('400 iterators that fail, though they are kept', async (t) => {
    const kept: unknown[] = [];
    await leavesNothing(t, (db) =>
      many(400, 20, async () => {
        const rows = db.iterate('SELECT nonsense');
        kept.push(rows);
        await allReject([rows.next()], SqlError);
      }),
    );
    assert.equal(kept.length, 400);
  });

  it('200 iterators that are dropped half-way, once they are collected', async (t) => {
    await leavesNothing(t, async (db) => {
      for (let round = 0; round < 200 / READERS; round++) {
        await Promise.all(Array.from({ length: READERS }, () => db.iterate(NUMBERS, [], { batchRows: 1 }).next()));
        await until(() => {
          gc();
          return db.stats().readers.transactions === 0;
        }, 'the end of iterators that were dropped');
      }
      await many(100, 10, () => db.read((tx) => tx.iterate(NUMBERS, [], { batchRows: 1 }).next()));
      await many(100, 10, () => db.write((tx) => tx.sync.iterate(NUMBERS, [], { batchRows: 1 }).next()));
    });
  });

  it('2,000 calls whose promises nobody keeps', async (t) => {
    await leavesNothing(t, async (db) => {
      for (let n = 0; n < 2_000; n++) {
        void db.get('SELECT n FROM t');
        void db.read((tx) => tx.get('SELECT n FROM t'));
        if (n % 20 === 0) void db.write((tx) => tx.get('SELECT n FROM t'));
        if (n % 500 === 0) gc();
      }
    });
  });

  it('50,000 cancelled calls in memory', async (t) => {
    await leavesNothing(t, async (db) => {
      await db.write(async () => {
        const round = async () => {
          const shared = new AbortController();
          const calls: Promise<unknown>[] = [];
          for (let n = 0; n < 5_000; n++) {
            const controller = n % 2 === 0 ? shared : new AbortController();
            calls.push(db.outside(() => db.run(INSERT, [9], { signal: controller.signal })));
            if (controller !== shared) controller.abort();
          }
          shared.abort();
          await allReject(calls, AbortError);
        };
        const used = async () => {
          // What was settled in the last turn is garbage in the next.
          for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
          gc();
          return process.memoryUsage().heapUsed;
        };
        await round();
        const before = await used();
        for (let n = 0; n < 10; n++) await round();
        const MIB = 1_048_576;
        let after = await used();
        // One collection does not find everything; what leaks is found by none.
        for (let again = 0; again < 5 && after >= before + 4 * MIB; again++) after = await used();
        assert.ok(after < before + 4 * MIB, `${(after - before) / MIB} MiB more, ${before / MIB} before`);
      });
    });
  });
});

/** A write whose closure never settles. */
function forgotten(db: Database, timeoutMs: number): Promise<unknown> {
  return db.write(
    async (tx) => {
      await tx.run(INSERT, [9]);
      await NEVER;
    },
    { timeoutMs },
  );
}

describe('descriptors of files', () => {
  const skip = process.platform === 'linux' ? false : 'only Linux tells what a process has open, by /proc';
  it('are seen while a database is open, and gone after its close', { skip }, async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    await db.all('SELECT n FROM t');
    assert.ok(descriptors(folder.path).length >= 3);
    await db.close();
    assert.deepEqual(descriptors(folder.path), []);
  });
});

describe('a process', () => {
  it('ends by itself after all that, with nothing closed', async (t) => {
    const ending = await run('leftovers-program', [new Folder(t).file()]);
    assertEndedWith(ending, 0);
    assert.equal(ending.stdout, 'done\n');
    assert.equal(ending.stderr, '');
  });
});
