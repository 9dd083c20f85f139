// Cancelling what waits or is open: what a signal ends at which moment, and what it leaves alone.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import { AbortError, type CallOptions, OptionError, type ReadTransaction, type WriteTransaction } from 'sqlflow';
import {
  aborted,
  abortedTogether,
  type Calls,
  ENDLESS,
  ENDLESS_INSERT,
  NEVER,
  notStarted,
  REASON,
  readsOf,
  statementsOf,
  THREE,
  writesOf,
} from './fixtures/transactions/cancelling.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { OwnError, reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { unhandledIn } from './fixtures/transactions/unhandled.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

describe('a signal that is aborted already', () => {
  it('refuses every call of a database, and nothing is started', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const before = db.stats().transactions;
    const signal = AbortSignal.abort(REASON);
    for (const [name, call] of Object.entries({ ...readsOf(db, ENDLESS), ...writesOf(db) })) {
      await aborted(call({ signal }), name);
    }
    await aborted(db.read(notStarted, { signal }), 'read');
    assert.deepEqual(await numbers(db), []);
    assert.deepEqual(db.stats().transactions, before);
  });

  it('refuses a statement of a transaction, which goes on', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const signal = AbortSignal.abort(REASON);
    await db.write(async (tx) => {
      const calls: Calls = {
        ...statementsOf(tx, ENDLESS),
        run: (options) => tx.run(ENDLESS_INSERT, [], options),
        exec: (options) => tx.exec(ENDLESS_INSERT, options),
        runMany: (options) => tx.runMany(INSERT, [[1]], options),
        'prepare, run': (options) => tx.prepare(ENDLESS_INSERT, options).run(),
      };
      for (const [name, call] of Object.entries(calls)) await aborted(call({ signal }), name);
      await tx.run(INSERT, [1]);
    });
    await db.read(async (tx) => {
      for (const [name, call] of Object.entries(statementsOf(tx, ENDLESS))) await aborted(call({ signal }), name);
      assert.deepEqual(await tx.all('SELECT n FROM t'), [{ n: 1 }]);
    });
  });
});

describe('aborted in the queue', () => {
  it('a call is answered at once and never starts; its neighbours do', async (t) => {
    // writer            calls with the signal   calls without     the signal
    // held
    //                                           run 1
    //                   (wait)
    //                                           run 2
    //                                                             aborted
    //                   AbortError              (wait)
    // released
    //                                           1, 2
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    const first = db.run(INSERT, [1]);
    let last: Promise<unknown> = Promise.resolve();
    await abortedTogether(writesOf(db), async () => {
      last = db.run(INSERT, [2]);
    });
    assert.equal(db.stats().writer.queued, 2);
    await held.release();
    await within(Promise.all([first, last]), 'the neighbours');
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('so is one that waits for a reader', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { readers: 1, reentrancy: 'allow' });
    await db.read(async () => {
      await abortedTogether({ ...readsOf(db, ENDLESS), closure: (options) => db.read(notStarted, options) });
      assert.equal(db.stats().readers.queued, 0);
    });
    assert.deepEqual(await within(db.get(THREE), 'the reader'), { n: 1 });
  });

  it('a call that was granted in the same turn of the loop does not start', async (t) => {
    // loop                    engine
    // write, batch
    // stands still            grants the writer
    // aborts
    // takes the grant: nothing starts
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    for (const call of [
      (options: CallOptions) => db.write(notStarted, options),
      (options: CallOptions) => db.batch(notStarted, options),
      (options: CallOptions) => db.read(notStarted, options),
    ]) {
      const controller = new AbortController();
      const asked = aborted(call({ signal: controller.signal }), 'a call that was granted');
      const { readers, writer } = db.stats();
      let state = { readers, writer };
      await Promise.resolve();
      const granted = () => state.writer.state === 'held' || state.readers.transactions === 1;
      for (const end = Date.now() + 5_000; !granted() && Date.now() < end; ) state = db.stats();
      assert.ok(granted(), JSON.stringify(state));
      controller.abort(REASON);
      await asked;
      await within(db.run(INSERT, [1]), 'the writer after it');
    }
    assert.deepEqual(await numbers(db), [1, 1, 1]);
  });
});

describe('aborted before BEGIN', () => {
  it('a call that waits for the lock of another process is answered at once, and never starts', async (t) => {
    // other process       calls                  the signal
    // INSERT, open
    //                     (wait for its lock)
    //                                            aborted
    //                     AbortError
    // COMMIT
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 600_000 });
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: "INSERT INTO t(n) VALUES ('other')" });
    for (const [name, call] of Object.entries(writesOf(db))) {
      const waiting = () => until(() => db.stats().writer.state === 'waiting', `${name} meets the lock`);
      await abortedTogether({ [name]: call }, waiting);
    }
    await other.ask({ do: 'release' });
    await within(db.run(INSERT, [1]), 'the writer afterwards');
    assert.deepEqual(await numbers(db), ['other', 1]);
  });
});

describe('aborted between two statements', () => {
  for (const kind of ['write', 'read'] as const) {
    it(`a ${kind} is over, whatever its closure does`, async (t) => {
      // closure                 the signal
      // statement
      // (waits for ever)
      //                         aborted: AbortError, tx.signal is aborted, the connection is free
      // goes on: every statement fails with the same; throws: nobody cares
      const folder = new Folder(t);
      const db = await folder.database(TABLE, { readers: 1 });
      const gate = folder.gate();
      const started = folder.gate();
      const controller = new AbortController();
      const kept: { tx?: ReadTransaction; told: unknown[] } = { told: [] };
      const unhandled = await unhandledIn(async () => {
        const work = db[kind](
          async (_, tx) => {
            kept.tx = tx;
            tx.signal.addEventListener('abort', () => kept.told.push(tx.signal.reason));
            if ('run' in tx) await (tx as WriteTransaction).run(INSERT, [1]);
            await tx.get(THREE);
            started.open();
            await gate.opened;
            tx.get(THREE);
            kept.told.push(await reasonOf(tx.get(THREE)));
            throw new OwnError('nobody cares');
          },
          { signal: controller.signal },
        );
        await Promise.race([started.opened, work]);
        controller.abort(REASON);
        const error = await aborted(work, kind);
        assert.equal(kept.tx?.signal.aborted, true);
        assert.deepEqual(kept.told, [error]);
        assert.equal(await within(db.get('SELECT n FROM t'), 'the reader'), undefined);
        await within(db.run(INSERT, [2]), 'the writer');
        gate.open();
        await until(() => kept.told.length === 2, 'the closure goes on');
        const late = kept.told[1];
        assert.ok(late instanceof AbortError, String(late));
      });
      assert.deepEqual(unhandled, []);
      assert.deepEqual(await numbers(db), [2]);
    });
  }

  it('tx.signal is not aborted by the normal end, and says so late if it is asked for late', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const { signal } = await db.write((tx) => ({ signal: tx.signal }));
    await reasonOf(db.write((tx) => Promise.reject(tx.signal)));
    assert.equal(signal.aborted, false);
    const controller = new AbortController();
    let tx: ReadTransaction | undefined;
    const never = (it: ReadTransaction) => {
      tx = it;
      controller.abort(REASON);
      return NEVER;
    };
    const error = await aborted(db.read(never, { signal: controller.signal }), 'a read');
    assert.equal(tx?.signal.reason, error);
  });

  it('the stack of the error leads to the caller', async (t) => {
    const db = await new Folder(t).database(TABLE);
    for (const kind of ['read', 'write'] as const) {
      const controller = new AbortController();
      const abort = () => {
        setImmediate(() => controller.abort(REASON));
        return NEVER;
      };
      const theCaller = async () => {
        await db[kind](abort, { signal: controller.signal });
      };
      const error = await aborted(theCaller(), kind);
      assert.match(error.stack ?? '', /theCaller .*34\.cancel\.spec/);
    }
  });
});

describe('one signal', () => {
  it('shared by 10,000 calls has one listener, and none when they are over', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { maxQueued: 20_000 });
    const warnings: Error[] = [];
    const listener = (warning: Error) => warnings.push(warning);
    process.on('warning', listener);
    t.after(() => process.removeListener('warning', listener));
    for (const outcome of ['aborted', 'done'] as const) {
      const controller = new AbortController();
      const { signal } = controller;
      const held = await folder.hold(db);
      const calls = Array.from({ length: 10_000 }, (_, n) =>
        n % 3 === 0 ? db.runMany(INSERT, [[n]], { signal }) : db.run(INSERT, [n], { signal }),
      );
      assert.equal(getEventListeners(signal, 'abort').length, 1);
      const settled = Promise.allSettled(calls);
      if (outcome === 'aborted') controller.abort(REASON);
      else await held.release();
      const outcomes = await within(settled, '10,000 calls');
      assert.equal(getEventListeners(signal, 'abort').length, 0);
      assert.deepEqual(new Set(outcomes.map(({ status }) => status)).size, 1);
      if (outcome === 'aborted') await held.release();
      assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: outcome === 'aborted' ? 0 : 10_000 });
    }
    assert.deepEqual(warnings, []);
  });

  it('may be of another realm or a polyfill', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const controller: { signal: AbortSignal; listeners: Set<unknown>; abort(reason: unknown): void } =
      runInNewContext(`(() => {
        const listeners = new Set();
        const signal = {
          aborted: false,
          reason: undefined,
          addEventListener: (type, listener) => void listeners.add(listener),
          removeEventListener: (type, listener) => void listeners.delete(listener),
        };
        const abort = (reason) => {
          Object.assign(signal, { aborted: true, reason });
          for (const each of [...listeners]) typeof each === 'function' ? each({}) : each.handleEvent({ type: 'abort' });
        };
        return { signal, listeners, abort };
      })()`);
    const { signal, listeners } = controller;
    await db.run(INSERT, [1], { signal });
    await db.write((tx) => tx.run(INSERT, [2]), { signal });
    assert.equal(listeners.size, 0);
    const held = await folder.hold(db);
    const waiting = [
      db.run(INSERT, [3], { signal }),
      db.write(notStarted, { signal }),
      db.get(ENDLESS, [], { signal }),
    ];
    const all = Promise.all(waiting.map((call) => aborted(call, 'a call with a foreign signal')));
    assert.equal(listeners.size, 1);
    controller.abort(REASON);
    await all;
    assert.equal(listeners.size, 0);
    await held.release();
    assert.deepEqual(await numbers(db), [1, 2]);
  });

  it('must be a signal', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const half = { aborted: 'no', addEventListener: () => {}, removeEventListener: () => {} };
    for (const given of [null, 'abort', 1, true, () => {}, {}, [], { aborted: false }, half, new AbortController()]) {
      const options = { signal: given } as CallOptions;
      for (const [name, call] of Object.entries({ ...readsOf(db, THREE), ...writesOf(db) })) {
        const refused = (async () => call(options))();
        await assert.rejects(refused, { name: OptionError.name, message: /^signal must be an AbortSignal/ }, name);
      }
      await db.write(async (tx) => {
        await assert.rejects(tx.run(INSERT, [1], options), OptionError);
        await assert.rejects(tx.get(THREE, [], options), OptionError);
        assert.throws(() => tx.prepare(THREE, options), OptionError);
        assert.throws(() => tx.sync.get(THREE, [], { signal: AbortSignal.abort() } as object), OptionError);
      });
    }
    assert.deepEqual(await numbers(db), []);
  });

  it('must be one that can be left as well', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const signal = { aborted: false, reason: undefined, addEventListener: () => {} } as unknown as AbortSignal;
    await assert.rejects(db.run(INSERT, [1], { signal }), OptionError);
    assert.deepEqual(await numbers(db), []);
  });
});
