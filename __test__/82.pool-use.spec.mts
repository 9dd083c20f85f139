// Who uses a database of a pool, and what becomes of it: never closed under a user, opened once, closed when nobody wants it.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  AbortError,
  BusyError,
  CannotOpenError,
  Database,
  DatabaseClosedError,
  KeyNotAvailableError,
  type Pool,
  QueueTimeoutError,
  TransactionTimeoutError,
} from 'sqlflow';
import { hold, INSERT, KINDS, keyOf, Latch, logOf, PoolScratch } from './fixtures/pool/pools.mjs';
import { refused } from './fixtures/refusal.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

/** Resolves when the pool has closed what it is closing. */
const settled = (pool: Pool) => until(() => pool.stats().draining === 0 && pool.stats().inUse === 0, 'a use ends');

for (const { kind, options } of KINDS) {
  describe(`evict, ${kind}`, () => {
    it('closes what nobody uses, and says so', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      await pool.run('a', INSERT, ['x']);
      assert.notDeepEqual(scratch.folder.held(), []);
      assert.equal(await pool.evict('a'), true);
      assert.deepEqual(scratch.folder.held(), []);
      assert.equal(existsSync(scratch.folder.file('a.db-wal')), false);
      assert.equal(pool.stats().open, 0);
      assert.equal(await pool.evict('a'), true);
      assert.deepEqual(await logOf(pool, 'a'), ['x']);
      assert.deepEqual(scratch.events, ['open a', 'close a evict', 'open a']);
      // Also the second of two is told when the file is closed.
      await Promise.all([pool.evict('a'), pool.evict('a').then(() => assert.deepEqual(scratch.folder.held(), []))]);
    });

    it('waits for a use, and is called off by a new one', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      const release = await hold(pool, 'a');
      const evicted = pool.evict('a');
      await until(() => pool.stats().draining === 1, 'the database drains');
      // It is open still, for those who have it and those who come.
      await pool.run('a', INSERT, ['x']);
      assert.equal(await within(evicted, 'evict does not hear of the new use'), false);
      assert.equal(pool.stats().draining, 0);
      const again = pool.evict('a');
      await release();
      assert.equal(await again, true);
      assert.deepEqual(scratch.events, ['open a', 'close a evict']);
    });

    it('waits for a statement, a transaction and an iterator', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      await pool.runMany(
        'a',
        INSERT,
        Array.from({ length: 3_000 }, (_, i) => [`${i}`]),
      );
      const inside = new Latch();
      const end = new Latch();
      const write = pool.write('a', async (tx) => {
        inside.open();
        await end.opened;
        await tx.run(INSERT, ['last']);
      });
      await inside.opened;
      const evicted = pool.evict('a');
      await delay(5);
      end.open();
      await write;
      assert.equal(await evicted, true);
      const rows = pool.iterate('a', 'SELECT who FROM log', undefined, { batchRows: 100 });
      await rows.next();
      const second = pool.evict('a');
      let count = 1;
      for await (const _ of rows) count++;
      assert.equal(count, 3_001);
      assert.equal(await second, true);
      const half = pool.iterate('a', 'SELECT who FROM log', undefined, { batchRows: 100 });
      await half.next();
      await half.return();
      assert.equal(await pool.evict('a'), true);
    });

    it('of all closes those that nobody uses', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      for (const key of ['a', 'b', 'c']) await pool.run(key, INSERT, [key]);
      const release = await hold(pool, 'b');
      const all = pool.evictAll();
      await until(() => pool.stats().open === 1, 'the others are closed');
      await logOf(pool, 'b');
      assert.equal(await all, 2);
      await release();
    });
  });

  describe(`opens, ${kind}`, () => {
    it('are one for all who need it, whatever they want', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      const work = Array.from({ length: 50 }, (_, i) =>
        i % 2 === 0 ? pool.run('a', INSERT, [`${i}`]) : pool.get('a', 'SELECT 1'),
      );
      await Promise.all(work);
      assert.equal((await logOf(pool, 'a')).length, 25);
      const { opened, misses, hits } = pool.stats();
      assert.deepEqual({ opened, misses, hits }, { opened: 1, misses: 50, hits: 1 });
      assert.deepEqual(scratch.events, ['open a']);
    });

    it('that come while it is being closed wait and find all it had', async () => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open(options);
      for (let round = 0; round < 50; round++) {
        await pool.run('a', INSERT, [`${round}`]);
        const evicted = pool.evict('a');
        // Its handle is gone and the engine closes: the registry has this one wait.
        assert.equal((await logOf(pool, 'a')).length, round + 1);
        assert.equal(typeof (await evicted), 'boolean');
      }
    });
  });
}

describe('an open that fails', () => {
  it('fails those who wait for it, and is not remembered', async () => {
    await using scratch = new PoolScratch();
    const answer = new Latch();
    let asked = 0;
    const pool = await scratch.open({
      keyProvider: async (key) => {
        asked++;
        if (asked > 1) return keyOf(key);
        await answer.opened;
        return undefined;
      },
    });
    const calls = Array.from({ length: 5 }, () => pool.get('a', 'SELECT 1'));
    const late = Promise.allSettled(calls);
    answer.open();
    for (const { status, ...outcome } of await late) {
      assert.equal(status, 'rejected');
      assert.ok('reason' in outcome && outcome.reason instanceof KeyNotAvailableError);
    }
    await pool.run('a', INSERT, ['x']);
    assert.equal(asked, 2);
    const { uses, failed, opening } = pool.stats();
    assert.deepEqual({ uses, failed, opening }, { uses: 0, failed: 1, opening: 0 });
  });

  it('is waited for until the signal, the patience or the close of the pool', async () => {
    await using scratch = new PoolScratch();
    const never = new Latch();
    const pool = await scratch.open({
      keyProvider: async (key) => {
        await never.opened;
        return keyOf(key);
      },
    });
    const controller = new AbortController();
    const aborted = pool.get('a', 'SELECT 1', undefined, { signal: controller.signal });
    const late = pool.run('a', INSERT, ['x'], { queueTimeoutMs: 10 });
    const ended = pool.use('a', () => 1);
    const outcomes = Promise.allSettled([aborted, late, ended]);
    await until(() => pool.stats().waiting === 3, 'three wait');
    controller.abort('why');
    await refused(() => aborted, AbortError, 'the operation was aborted before it started');
    await refused(() => late, QueueTimeoutError, /^the database of "a" was not open after the 10 ms of queueTimeoutMs/);
    await within(pool.close({ timeoutMs: 5 }), 'the close waits for a key provider that never answers');
    await outcomes;
    await refused(() => ended, DatabaseClosedError, /the pool of .* was closed/);
    // What it gives in the end is of no use to anybody.
    never.open();
    await delay(5);
    assert.deepEqual(scratch.folder.contents(), {});
    assert.deepEqual(scratch.events, []);
  });

  it('for a key provider that asks for its own key comes to an end', async () => {
    await using scratch = new PoolScratch();
    const pool: Pool = await scratch.open({
      queueTimeoutMs: 30,
      keyProvider: async (key) => {
        await pool.get(key, 'SELECT 1');
        return keyOf(key);
      },
    });
    await refused(() => pool.get('a', 'SELECT 1'), KeyNotAvailableError, /the key provider failed for "a"/).catch(
      (error) => {
        // Its own patience ends first, or that of the provider's call.
        assert.match(String(error), /queueTimeoutMs/);
      },
    );
    assert.equal(pool.stats().uses, 0);
  });

  it('does not hold up another key', async () => {
    await using scratch = new PoolScratch();
    const never = new Latch();
    const pool = await scratch.open({
      keyProvider: async (key) => {
        if (key === 'slow') await never.opened;
        return keyOf(key);
      },
    });
    const slow = pool.get('slow', 'SELECT 1 AS one');
    for (let i = 0; i < 20; i++) await pool.run(`fast-${i}`, INSERT, ['x']);
    never.open();
    assert.deepEqual(await slow, { one: 1 });
  });
});

describe('maxOpen', () => {
  it('bounds what is open, and what is in use goes beyond it', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 4 });
    for (let i = 0; i < 20; i++) {
      await pool.run(`k${i}`, INSERT, ['x']);
      assert.ok(pool.stats().open <= 4, `${pool.stats().open} are open`);
    }
    const releases = await Promise.all(Array.from({ length: 10 }, (_, i) => hold(pool, `k${i}`)));
    const { open, inUse } = pool.stats();
    assert.deepEqual({ open, inUse }, { open: 10, inUse: 10 });
    for (const release of releases) await release();
    await settled(pool);
    assert.ok(pool.stats().open <= 4, `${pool.stats().open} are open`);
    await until(
      () => new Set(scratch.folder.held().map((name) => name.replace(/-.*$/, ''))).size <= 4,
      'files are closed',
    );
  });

  it('keeps what is used much: a scan of all others does not drive it out', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 10 });
    for (let round = 0; round < 12; round++) {
      for (let hot = 0; hot < 5; hot++) await pool.get(`hot-${hot}`, 'SELECT 1');
    }
    scratch.events.length = 0;
    for (let i = 0; i < 100; i++) await pool.get(`cold-${i}`, 'SELECT 1');
    assert.deepEqual(
      scratch.events.filter((event) => event.startsWith('close hot')),
      [],
    );
    assert.ok(pool.stats().closed.room >= 90);
  });

  it('keeps what is used much beside one that is used once, which is served and closed', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 2 });
    for (let i = 0; i < 10; i++) for (const key of ['a', 'b']) await pool.get(key, 'SELECT 1');
    const release = await hold(pool, 'c');
    assert.deepEqual(scratch.events, ['open a', 'open b', 'open c']);
    await release();
    await until(() => scratch.events.length > 3, 'it is closed');
    assert.deepEqual(scratch.events.slice(3), ['close c room']);
    assert.equal(pool.stats().open, 2);
  });

  it('of one has one open at the end', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 1 });
    for (const key of ['a', 'b', 'c', 'd', 'e']) await pool.get(key, 'SELECT 1');
    assert.equal(pool.stats().open, 1);
  });

  it('of one serves everybody, each from a database of its own', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 1 });
    await Promise.all(
      Array.from({ length: 64 }, async (_, i) => {
        const key = `k${i % 16}`;
        await pool.run(key, INSERT, [key]);
        assert.deepEqual(new Set(await logOf(pool, key)), new Set([key]));
      }),
    );
    await settled(pool);
    assert.ok(pool.stats().open <= 1);
  });
});

describe('time', () => {
  it('closes what nobody uses, by a timer, and not what somebody does', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ inactivityTimeoutMs: 20 });
    await pool.run('a', INSERT, ['x']);
    const release = await hold(pool, 'b');
    await until(() => scratch.events.includes('close a idle'), 'what is idle is closed');
    assert.equal(pool.stats().open, 1);
    await release();
    await until(() => scratch.events.includes('close b idle'), 'what is idle is closed');
    await until(() => scratch.folder.held().length === 0, 'files are closed');
    assert.deepEqual(pool.stats().closed.idle, 2);
    assert.deepEqual(await logOf(pool, 'a'), ['x']);
  });

  it('closes nothing when inactivityTimeoutMs is 0, and has idle ones give back their readers and statements', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ inactivityTimeoutMs: 0 });
    for (const key of ['a', 'b'])
      await pool.runMany(
        key,
        INSERT,
        Array.from({ length: 2_000 }, (_, i) => [`${i}`.padEnd(100)]),
      );
    for (const key of ['a', 'b']) await logOf(pool, key);
    const before = pool.stats().cacheBytes;
    assert.ok(before > 100_000, `${before} bytes`);
    await until(() => pool.stats().cacheBytes < before / 5, 'pages are given back');
    await pool.use('a', (db) => {
      assert.equal(db.stats().readers.open, 0);
    });
    assert.equal(pool.stats().open, 2);
    assert.equal((await logOf(pool, 'a')).length, 2_000);
  });

  it('keeps the page caches to maxOpenBytes', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ inactivityTimeoutMs: 0, maxOpenBytes: 300_000 });
    for (let i = 0; i < 8; i++) {
      await pool.runMany(
        `k${i}`,
        INSERT,
        Array.from({ length: 1_000 }, (_, n) => [`${n}`.padEnd(200)]),
      );
    }
    await until(() => pool.stats().cacheBytes <= 300_000, 'the caches shrink');
    // Less than what is open needs by itself: then some are closed.
    const small = await (async () => {
      await pool.close();
      return scratch.open({ inactivityTimeoutMs: 0, maxOpenBytes: 20_000 });
    })();
    for (let i = 0; i < 8; i++) await logOf(small, `k${i}`);
    await until(() => small.stats().cacheBytes <= 20_000, 'databases are closed');
    assert.ok(small.stats().open < 8);
  });
});

describe('delete', () => {
  it('removes the file and its log, and says whether there was one', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    await pool.run('a', INSERT, ['x']);
    assert.equal(await pool.delete('a'), true);
    assert.deepEqual(scratch.folder.contents(), {});
    assert.equal(await pool.delete('a'), false);
    assert.equal(await pool.has('a'), false);
    assert.deepEqual(await logOf(pool, 'a'), []);
    assert.deepEqual(scratch.events, ['open a', 'close a delete', 'open a']);
    // One that is not open.
    await pool.evict('a');
    assert.equal(await pool.delete('a'), true);
    assert.deepEqual(scratch.folder.contents(), {});
  });

  it('waits for those who use it, and new ones wait for it', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    await pool.run('a', INSERT, ['old']);
    const release = await hold(pool, 'a');
    const deleted = pool.delete('a');
    await until(() => pool.stats().draining === 1, 'the database drains');
    const written = pool.run('a', INSERT, ['new']);
    await delay(5);
    assert.ok(existsSync(scratch.folder.file('a.db')));
    await release();
    assert.equal(await deleted, true);
    await written;
    assert.deepEqual(await logOf(pool, 'a'), ['new']);
  });

  it('gives up after queueTimeoutMs, and nothing has changed', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ queueTimeoutMs: 20 });
    await pool.run('a', INSERT, ['x']);
    const release = await hold(pool, 'a');
    const waiting = delay(5).then(() => logOf(pool, 'a'));
    await refused(
      () => pool.delete('a'),
      QueueTimeoutError,
      /a\.db was not deleted: somebody used it for all of queueTimeoutMs/,
    );
    assert.deepEqual(await waiting, ['x']);
    await release();
    assert.equal(await pool.delete('a'), true);
  });

  it('leaves what Database.open or another process has open', async (t) => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ busyTimeoutMs: 20 });
    await pool.run('a', INSERT, ['x']);
    const db = await Database.open(scratch.folder.file('a.db'), { key: undefined, synchronous: 'normal' });
    await refused(() => pool.delete('a'), CannotOpenError, /is open by Database\.open in this process/);
    assert.deepEqual(await db.all('SELECT who FROM log'), [{ who: 'x' }]);
    assert.deepEqual(await logOf(pool, 'a'), ['x']);
    assert.equal(await pool.evict('a'), false);
    await db.close();
    await pool.evict('a');
    const other = await OtherProcess.with(t, scratch.folder.file('a.db'));
    await refused(() => pool.delete('a'), BusyError, /a\.db cannot be deleted: another process has it open/);
    assert.deepEqual(await other.all('SELECT who FROM log'), [{ who: 'x' }]);
    assert.deepEqual(await logOf(pool, 'a'), ['x']);
    await other.ask({ do: 'close' });
    assert.equal(await pool.delete('a'), true);
  });

  it('of several at once each come to an end', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ queueTimeoutMs: 30 });
    await pool.run('a', INSERT, ['x']);
    const release = await hold(pool, 'a');
    const all = await within(Promise.allSettled([1, 2, 3].map(() => pool.delete('a'))), 'a deletion has no end');
    for (const outcome of all) assert.ok(outcome.status === 'rejected' && outcome.reason instanceof QueueTimeoutError);
    assert.deepEqual(await logOf(pool, 'a'), ['x']);
    await release();
    assert.deepEqual((await Promise.all([pool.delete('a'), pool.delete('a')])).sort(), [false, true]);
  });

  it('does not keep a scope from using its own key', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ reentrancy: 'refuse' });
    const begun = new Latch();
    const scope = pool.use('a', async () => {
      begun.open();
      await until(() => pool.stats().draining === 1, 'the database drains');
      await pool.run('a', INSERT, ['x']);
      assert.deepEqual(await logOf(pool, 'a'), ['x']);
    });
    await begun.opened;
    const deleted = pool.delete('a');
    await within(scope, 'the scope waits for the deletion that waits for it');
    assert.equal(await deleted, true);
  });

  it('and create in turns never mix the two', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    for (let round = 0; round < 30; round++) {
      const written = pool.run('a', INSERT, [`${round}`]);
      const deleted = pool.delete('a');
      const after = logOf(pool, 'a');
      await Promise.all([written, deleted]);
      const log = await after;
      assert.ok(log.length === 0 || (log.length === 1 && log[0] === `${round}`), JSON.stringify(log));
      await pool.delete('a');
    }
  });
});

describe('the close of a pool', () => {
  it('lets accepted work finish, refuses new, and leaves nothing open', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    const release = await hold(pool, 'a');
    const written = pool.run('b', INSERT, ['x']);
    const closed = pool.close();
    await refused(() => pool.get('a', 'SELECT 1'), DatabaseClosedError, /^the pool of .* was closed$/);
    await refused(() => pool.evict('a'), DatabaseClosedError, /was closed/);
    await refused(() => pool.has('a'), DatabaseClosedError, /was closed/);
    assert.deepEqual(await written, { changes: 1, lastInsertRowid: 1 });
    await release();
    await closed;
    assert.equal(pool.close(), pool.close());
    assert.deepEqual(scratch.folder.held(), []);
    assert.deepEqual(scratch.events.sort(), ['close a close', 'close b close', 'open a', 'open b']);
    assert.equal(pool.stats().open, 0);
  });

  it('waits for an open that is under way', async () => {
    await using scratch = new PoolScratch();
    const answer = new Latch();
    const pool = await scratch.open({
      keyProvider: async (key) => {
        await answer.opened;
        return keyOf(key);
      },
    });
    const read = logOf(pool, 'a');
    const closed = pool.close();
    answer.open();
    assert.deepEqual(await read, []);
    await closed;
    assert.deepEqual(scratch.folder.held(), []);
  });

  it('with timeoutMs ends what is not finished', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    await pool.run('a', INSERT, ['kept']);
    const inside = new Latch();
    const stuck = pool.write('a', async (tx) => {
      await tx.run(INSERT, ['lost']);
      inside.open();
      await new Promise(() => {});
    });
    const rows = pool.iterate('a', 'SELECT who FROM log', undefined, { batchRows: 1 });
    const scope = pool.use('a', (db) => db.read(() => new Promise(() => {})));
    const outcomes = Promise.allSettled([stuck, scope]);
    await inside.opened;
    await rows.next();
    await within(pool.close({ timeoutMs: 10 }), 'the close waits for what never ends');
    for (const outcome of await within(outcomes, 'calls are not ended')) {
      assert.ok(
        outcome.status === 'rejected' && outcome.reason instanceof DatabaseClosedError,
        JSON.stringify(outcome),
      );
    }
    assert.deepEqual(scratch.folder.held(), []);
    const again = await scratch.open();
    assert.deepEqual(await logOf(again, 'a'), ['kept']);
  });

  it('of one of two leaves the other what it has', async () => {
    await using scratch = new PoolScratch();
    const [one, two] = [await scratch.open(), await scratch.open()];
    await one.run('a', INSERT, ['one']);
    const release = await hold(two, 'a');
    await one.close();
    await two.run('a', INSERT, ['two']);
    assert.deepEqual(await logOf(two, 'a'), ['one', 'two']);
    assert.equal(two.stats().open, 1);
    await release();
    await two.close();
    assert.deepEqual(scratch.folder.held(), []);
  });

  it('ends idle iterators at once, and waits for the files of scopes', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    await pool.runMany(
      'a',
      INSERT,
      Array.from({ length: 300 }, (_, i) => [`${i}`]),
    );
    const rows = pool.iterate('a', 'SELECT who FROM log', undefined, { batchRows: 10 });
    await rows.next();
    await within(pool.close(), 'the close waits for an idle iterator');
    assert.deepEqual(scratch.folder.held(), []);
    const again = await scratch.open();
    const scope = again.use('a', (db) => db.write(() => new Promise(() => {})));
    scope.catch(() => {});
    await until(() => again.stats().inUse === 1, 'the scope begins');
    await within(again.close({ timeoutMs: 0 }), 'the close waits for a scope');
    assert.deepEqual(scratch.folder.held(), []);
    await assert.rejects(scope, DatabaseClosedError);
  });

  it('waits for what the pool is closing by itself', async () => {
    await using scratch = new PoolScratch();
    for (let round = 0; round < 20; round++) {
      const pool = await scratch.open({ maxOpen: 1 });
      await pool.run('cold', INSERT, ['x']);
      await pool.run('other', INSERT, ['x']);
      void pool.evict('cold');
      await pool.close();
      assert.deepEqual(scratch.folder.held(), []);
      assert.deepEqual(Object.keys(scratch.folder.contents()), ['cold.db', 'other.db']);
    }
  });

  it('may come after drain, which resolves when nothing is in flight', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    await pool.drain();
    const release = await hold(pool, 'a');
    let drained = false;
    const drain = pool.drain().then(() => {
      drained = true;
    });
    await pool.run('b', INSERT, ['x']);
    assert.equal(drained, false);
    await release();
    await drain;
    assert.equal(pool.stats().uses, 0);
  });
});

describe('calls of a pool', () => {
  it('take the options of those of a database', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ transactionTimeoutMs: 20 });
    await refused(() => pool.get('a', 'SELECT 1', undefined, { signal: AbortSignal.abort() }), AbortError, /./);
    const endless = pool.write('a', () => new Promise(() => {}));
    await assert.rejects(within(endless, 'it has no end'), TransactionTimeoutError);
    await settled(pool);
    assert.equal(await pool.evict('a'), true);
  });

  it('that are dropped half-way let the database go', {
    skip: global.gc === undefined && 'needs --expose-gc',
  }, async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    await pool.runMany(
      'a',
      INSERT,
      Array.from({ length: 500 }, (_, i) => [`${i}`]),
    );
    await (async () => {
      await pool.iterate('a', 'SELECT who FROM log', undefined, { batchRows: 10 }).next();
    })();
    assert.equal(pool.stats().inUse, 1);
    await until(() => {
      global.gc?.();
      return pool.stats().inUse === 0;
    }, 'a dropped iterator is ended');
  });

  it('name their caller in the stack of an error', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    async function caller() {
      return await pool.get('a', 'SELECT nothing FROM nowhere');
    }
    await assert.rejects(caller, (error) => error instanceof Error && /at async caller/.test(error.stack ?? ''));
  });
});
