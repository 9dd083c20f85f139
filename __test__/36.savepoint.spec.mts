// Savepoints: what is kept, what is taken back, and who may use what meanwhile.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  AsyncClosureError,
  ConstraintError,
  OptionError,
  SavepointOpenError,
  StatementInFlightError,
  TransactionAbortedError,
  TransactionClosedError,
  TransactionTimeoutError,
  UnfinishedQueryError,
  type WriteTransaction,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { type Calls, writingCalls } from './fixtures/transactions/late-calls.mjs';
import { INSERT, numbers, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OwnError, reasonOf, thrownValues } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { collect } from './fixtures/transactions/ways-of-reading.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

/** The calls that give rows which were fetched before: they need no statement any more. */
const FETCHED = /with rows that have been fetched$/;

/** What a call comes to, thrown or rejected. */
function reason(call: () => unknown): Promise<unknown> {
  return within(reasonOf((async () => call())()), 'a call');
}

/** Everything a transaction that writes can be asked for, savepoints and many rows included. */
async function everyCall(tx: WriteTransaction): Promise<Calls> {
  return {
    ...(await writingCalls(tx)),
    runMany: () => tx.runMany(INSERT, [[99]]),
    savepoint: () => tx.savepoint(() => assert.fail('the closure was started')),
    'sync.savepoint': () => tx.sync.savepoint(() => assert.fail('the closure was started')),
  };
}

describe('a savepoint', () => {
  it('is kept when its closure returns, and gives its value', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const value = { of: 'the caller' };
    await db.write(async (tx) => {
      const asynchronous = async (inner: WriteTransaction) => {
        assert.notEqual(inner, tx);
        await inner.run(INSERT, [1]);
        inner.sync.run(INSERT, [2]);
        return value;
      };
      assert.equal(await tx.savepoint(asynchronous), value);
      assert.equal(await tx.savepoint(() => value), value);
      const synchronous = tx.sync.savepoint((inner) => {
        inner.run(INSERT, [3]);
        return value;
      });
      assert.equal(synchronous, value);
      assert.equal(
        tx.sync.savepoint(() => undefined),
        undefined,
      );
      assert.equal((await tx.all('SELECT n FROM t')).length, 3);
    });
    assert.deepEqual(await numbers(db), [1, 2, 3]);
  });

  for (const [name, value] of Object.entries(thrownValues)) {
    it(`is taken back alone when it throws, and what it threw comes back: ${name}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      await db.write(async (tx) => {
        await tx.run(INSERT, [1]);
        const later = async (inner: WriteTransaction) => {
          await inner.run(INSERT, [2]);
          throw value;
        };
        assert.equal(await reasonOf(tx.savepoint(later)), value);
        const atOnce = () => {
          throw value;
        };
        assert.equal(await reasonOf(tx.savepoint(atOnce)), value);
        const synchronous = () =>
          tx.sync.savepoint((inner) => {
            inner.run(INSERT, [3]);
            throw value;
          });
        assert.equal(await reason(synchronous), value);
        await tx.run(INSERT, [4]);
      });
      assert.deepEqual(await numbers(db), [1, 4]);
    });
  }

  it('may have savepoints in turn, which share its fate', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const fails = () => {
      throw new OwnError('taken back');
    };
    await db.write(async (tx) => {
      await tx.savepoint(async (outer) => {
        await outer.run(INSERT, [1]);
        const taken = outer.savepoint(async (inner) => {
          await inner.run(INSERT, [-1]);
          fails();
        });
        await assert.rejects(taken, OwnError);
        await outer.savepoint((inner) => inner.savepoint((innermost) => innermost.run(INSERT, [2])));
        outer.sync.savepoint((inner) => {
          inner.run(INSERT, [3]);
          assert.throws(() => inner.savepoint((it) => [it.run(INSERT, [-2]), fails()]), OwnError);
        });
      });
      const taken = tx.savepoint(async (outer) => {
        await outer.run(INSERT, [-3]);
        await outer.savepoint((inner) => inner.run(INSERT, [-4]));
        outer.sync.savepoint((inner) => inner.run(INSERT, [-5]));
        fails();
      });
      await assert.rejects(taken, OwnError);
    });
    assert.deepEqual(await numbers(db), [1, 2, 3]);
    const gone = db.write(async (tx) => {
      await tx.savepoint((inner) => inner.run(INSERT, [-6]));
      fails();
    });
    await assert.rejects(gone, OwnError);
    assert.deepEqual(await numbers(db), [1, 2, 3]);
  });

  it('needs a function', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      for (const fn of [undefined, null, 'SELECT 1', {}, Promise.resolve()] as unknown[]) {
        await assert.rejects(tx.savepoint(fn as () => void), OptionError);
        assert.throws(() => tx.sync.savepoint(fn as () => void), OptionError);
      }
      await tx.run(INSERT, [1]);
    });
    assert.deepEqual(await numbers(db), [1]);
  });
});

describe('while a savepoint is open', () => {
  for (const kind of ['tx.savepoint', 'tx.sync.savepoint'] as const) {
    it(`everything around it is refused with its name: ${kind}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      await db.write(async (tx) => {
        const refused = async (calls: Calls, name: RegExp) => {
          const rejections: Promise<unknown>[] = [];
          for (const [call, make] of Object.entries(calls)) {
            if (FETCHED.test(call)) continue;
            const refusal = reason(make).then((error) => {
              assert.ok(error instanceof SavepointOpenError, `${call}: ${error}`);
              assert.equal(error.code, 'SAVEPOINT_OPEN');
              assert.match(error.message, name, call);
            });
            rejections.push(refusal);
          }
          await Promise.all(rejections);
        };
        const calls = await everyCall(tx);
        await tx.savepoint(() => {});
        if (kind === 'tx.savepoint') {
          await tx.savepoint(async (outer) => {
            await refused(calls, /^savepoint 2 is open in this transaction/);
            const ofOuter = await everyCall(outer);
            await outer.savepoint(async (inner) => {
              await refused(ofOuter, /^savepoint 2\.1 is open in this savepoint/);
              await refused({ run: () => tx.run(INSERT, [99]) }, /^savepoint 2 is open in this transaction/);
              await inner.run(INSERT, [1]);
            });
          });
        } else {
          const made: Promise<void>[] = [];
          tx.sync.savepoint((outer) => {
            made.push(refused(calls, /^savepoint 2 is open in this transaction/));
            outer.savepoint((inner) => {
              assert.throws(() => outer.run(INSERT, [99]), /^SavepointOpenError: savepoint 2\.1 is open/);
              assert.throws(() => outer.savepoint(() => {}), SavepointOpenError);
              inner.run(INSERT, [1]);
            });
          });
          await Promise.all(made);
        }
        await tx.run(INSERT, [2]);
      });
      assert.deepEqual(await numbers(db), [1, 2]);
    });
  }

  it('a sibling is refused, and the first goes on', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      const [first, second] = await Promise.allSettled([
        tx.savepoint(async (inner) => {
          await inner.run(INSERT, [1]);
          await inner.run(INSERT, [2]);
        }),
        tx.savepoint((inner) => inner.run(INSERT, [99])),
      ]);
      assert.equal(first.status, 'fulfilled');
      assert.ok(second.status === 'rejected' && second.reason instanceof SavepointOpenError);
    });
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('statements sent before it are done before it, and tx.sync waits for their answers', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      const before = tx.run(INSERT, [1]);
      assert.throws(() => tx.sync.savepoint(() => {}), StatementInFlightError);
      const within = tx.savepoint((inner) => inner.run(INSERT, [2]));
      await Promise.all([before, within]);
      await tx.run(INSERT, [3]);
    });
    assert.deepEqual(await numbers(db), [1, 2, 3]);
  });
});

describe('after the end of a savepoint', () => {
  for (const outcome of ['kept', 'taken back'] as const) {
    it(`everything of it fails, its iterators too, and the transaction goes on: ${outcome}`, async (t) => {
      const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1), (2), (3)`);
      await db.write(async (tx) => {
        const around = tx.iterate('SELECT n FROM t WHERE n < 4 ORDER BY id', [], { batchRows: 1 });
        await around.next();
        let calls: Calls = {};
        let inner: WriteTransaction | undefined;
        const savepoint = tx.savepoint(async (it) => {
          inner = it;
          calls = await everyCall(it);
          await it.run(INSERT, [4]);
          if (outcome === 'taken back') throw new OwnError('taken back');
        });
        if (outcome === 'kept') await savepoint;
        else await assert.rejects(savepoint, OwnError);
        for (const [call, make] of Object.entries(calls)) {
          const late = await reason(make);
          assert.ok(late instanceof TransactionClosedError, `${call}: ${late}`);
          assert.match(late.message, /^savepoint 1 has ended/, call);
        }
        assert.throws(() => inner?.onCommit(() => {}), TransactionClosedError);
        assert.deepEqual(await collect(around), [{ n: 2 }, { n: 3 }]);
        await tx.savepoint(async () => {
          assert.match(String(await reason(() => inner?.get('SELECT 1'))), /savepoint 1 has ended/);
        });
        await tx.run(INSERT, [5]);
      });
      assert.deepEqual(await numbers(db), outcome === 'kept' ? [1, 2, 3, 4, 5] : [1, 2, 3, 5]);
    });
  }

  it('tx.signal is that of the transaction', async (t) => {
    const db = await new Folder(t).database(TABLE);
    await db.write(async (tx) => {
      await tx.savepoint((outer) => outer.savepoint((inner) => assert.equal(inner.signal, tx.signal)));
      assert.equal(tx.signal.aborted, false);
    });
  });
});

describe('a statement that is not awaited in a savepoint', () => {
  it('is undone with it, rejects, counts as handled, and the transaction goes on', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const started: Record<string, (tx: WriteTransaction) => unknown> = {
      run: (tx) => tx.run(INSERT, [99]),
      'several, one fails': (tx) => [tx.run(INSERT, [99]), tx.run('nonsense'), tx.get('SELECT 1')],
      iterate: (tx) => tx.iterate('SELECT 1').next(),
      runMany: (tx) => tx.runMany(INSERT, [[98], [99]]),
      savepoint: (tx) => tx.savepoint((inner) => inner.run(INSERT, [99])),
    };
    const unhandled = await unhandledIn(() =>
      db.write(async (tx) => {
        for (const [name, start] of Object.entries(started)) {
          const left = tx.savepoint(async (inner) => {
            await inner.run(INSERT, [0]);
            start(inner);
          });
          const error = await within(reasonOf(left), name);
          assert.ok(error instanceof UnfinishedQueryError, `${name}: ${error}`);
          assert.match(error.message, /savepoint \d/);
          const throwing = tx.savepoint((inner) => {
            start(inner);
            throw new OwnError('wins');
          });
          await assert.rejects(within(throwing, name), OwnError, name);
        }
        await tx.run(INSERT, [1]);
      }),
    );
    assert.deepEqual(unhandled, []);
    assert.deepEqual(await numbers(db), [1]);
  });

  it('so is a savepoint in a transaction: all of it is rolled back', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const gate = folder.gate();
    const idle = folder.gate();
    const unhandled = await unhandledIn(async () => {
      const left = db.write(async (tx) => {
        await tx.run(INSERT, [1]);
        tx.savepoint(async (inner) => {
          await inner.run(INSERT, [2]);
          idle.open();
          await gate.opened;
          await inner.run(INSERT, [3]);
        });
        await idle.opened;
      });
      await assert.rejects(within(left, 'the write'), UnfinishedQueryError);
      const throwing = db.write((tx) => {
        tx.savepoint((inner) => inner.run(INSERT, [4]));
        throw new OwnError('wins');
      });
      await assert.rejects(within(throwing, 'the write'), OwnError);
      gate.open();
    });
    assert.deepEqual(unhandled, []);
    await within(db.run(INSERT, [5]), 'the writer');
    assert.deepEqual(await numbers(db), [5]);
  });
});

describe('a closure of tx.sync.savepoint that gives a promise', () => {
  it('is taken back with AsyncClosureError, and the promise counts as handled', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const own = new OwnError('of the promise');
    const unhandled = await unhandledIn(() =>
      db.write(async (tx) => {
        const inner = tx.prepare(INSERT);
        for (const late of [async () => {}, () => Promise.reject(own), async () => inner.run(99)]) {
          const give = () =>
            tx.sync.savepoint((it) => {
              it.run(INSERT, [98]);
              return late();
            });
          const error = await reason(give);
          assert.ok(error instanceof AsyncClosureError, String(error));
          assert.equal(error.code, 'ASYNC_CLOSURE');
          assert.match(error.message, /tx\.sync\.savepoint .*tx\.savepoint/);
        }
        await tx.run(INSERT, [1]);
      }),
    );
    assert.deepEqual(unhandled, []);
    assert.deepEqual(await numbers(db), [1]);
  });
});

describe('a transaction that is lost inside a savepoint', () => {
  it('by SQLite: the savepoint, what is around it and the write say so', async (t) => {
    const db = await new Folder(t).database(UNIQUE_TABLE);
    const lose = 'INSERT OR ROLLBACK INTO t(n) VALUES (1)';
    for (const kind of ['asynchronous', 'synchronous'] as const) {
      const lost = db.write(async (tx) => {
        await tx.run(INSERT, [1]);
        if (kind === 'asynchronous') {
          const inner = tx.savepoint(async (it) => {
            await assert.rejects(it.run(lose), ConstraintError);
            await assert.rejects(it.run(INSERT, [2]), TransactionAbortedError);
          });
          await assert.rejects(inner, TransactionAbortedError);
        } else {
          const inner = () =>
            tx.sync.savepoint((it) => {
              assert.throws(() => it.run(lose), ConstraintError);
              assert.throws(() => it.run(INSERT, [2]), TransactionAbortedError);
            });
          assert.throws(inner, TransactionAbortedError);
        }
        await assert.rejects(tx.run(INSERT, [3]), TransactionAbortedError);
        await assert.rejects(
          tx.savepoint(() => {}),
          TransactionAbortedError,
        );
        assert.throws(() => tx.sync.savepoint(() => {}), TransactionAbortedError);
      });
      await assert.rejects(within(lost, kind), TransactionAbortedError, kind);
      assert.deepEqual(await numbers(db), []);
    }
  });

  it('by its deadline: the savepoint fails with it', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { transactionTimeoutMs: 40 });
    const told: unknown[] = [];
    const unhandled = await unhandledIn(async () => {
      const late = db.write((tx) =>
        tx.savepoint((outer) =>
          outer.savepoint(async (inner) => {
            await inner.run(INSERT, [1]);
            await new Promise((resolve) => inner.signal.addEventListener('abort', resolve));
            told.push(await reason(() => inner.run(INSERT, [2])), await reason(() => outer.run(INSERT, [3])));
            throw new OwnError('nobody cares');
          }),
        ),
      );
      await assert.rejects(within(late, 'the write'), TransactionTimeoutError);
      await until(() => told.length === 2, 'the closure goes on');
    });
    for (const error of told) assert.ok(error instanceof TransactionTimeoutError, String(error));
    assert.deepEqual(unhandled, []);
    assert.deepEqual(await numbers(db), []);
  });
});
