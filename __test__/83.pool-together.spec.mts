// Pools on one folder: of worker threads, which share what is open, and of other processes, which share the files.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { OptionsConflictError } from 'sqlflow';
import { Peer } from './fixtures/pool/peer.mjs';
import { hold, INSERT, logOf, PoolScratch } from './fixtures/pool/pools.mjs';
import { refused } from './fixtures/refusal.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

/** A worker thread with a pool on the folder. */
async function thread(t: TestContext, scratch: PoolScratch, maxOpen = 1_000): Promise<Peer> {
  const peer = Peer.thread(t);
  await peer.ask({ do: 'open', path: scratch.folder.path, options: { maxOpen } });
  return peer;
}

describe('two threads with a pool on one folder', () => {
  it('share the engines, the cache and its bound', async (t) => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 4 });
    const other = await thread(t, scratch, 4);
    await pool.run('a', INSERT, ['here']);
    await other.ask({ do: 'run', key: 'a', who: 'there' });
    assert.deepEqual(await logOf(pool, 'a'), ['here', 'there']);
    assert.equal(pool.stats().open, 1);
    for (const key of ['b', 'c', 'd']) await other.ask({ do: 'run', key, who: 'there' });
    for (const key of ['e', 'f', 'g', 'h']) await pool.run(key, INSERT, ['here']);
    assert.ok(pool.stats().open <= 4);
    for (const key of ['a', 'b', 'c', 'd']) assert.ok((await logOf(pool, key)).includes('there'));
    await refused(() => scratch.open({ maxOpen: 5 }), OptionsConflictError, /maxOpen 4/);
    await other.ask({ do: 'close' });
  });

  it('close nothing under each other', async (t) => {
    // this one          the other
    //                   uses a
    // evict a (waits)
    //                   ends its use
    // closed            uses a again: opened anew
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    const other = await thread(t, scratch);
    await pool.run('a', INSERT, ['here']);
    await other.ask({ do: 'hold', key: 'a' });
    const evicted = pool.evict('a');
    await until(() => pool.stats().draining === 1, 'it drains');
    await other.ask({ do: 'release' });
    assert.equal(await within(evicted, 'evict waits for ever'), true);
    assert.deepEqual(await other.ask({ do: 'log', key: 'a' }), ['here']);
    await other.ask({ do: 'hold', key: 'a' });
    const second = pool.evict('a');
    await until(() => pool.stats().draining === 1, 'it drains');
    // A use by whichever thread revives it.
    assert.deepEqual(await logOf(pool, 'a'), ['here']);
    assert.equal(await second, false);
    await other.ask({ do: 'release' });
  });

  it('wait for each other to delete', async (t) => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open();
    const other = await thread(t, scratch);
    await pool.run('a', INSERT, ['old']);
    const release = await hold(pool, 'a');
    const deleted = other.ask({ do: 'delete', key: 'a' });
    await until(() => pool.stats().draining === 1, 'it drains');
    const written = other.ask({ do: 'run', key: 'a', who: 'new' });
    await release();
    assert.equal(await deleted, true);
    await written;
    assert.deepEqual(await logOf(pool, 'a'), ['new']);
  });

  for (const inUse of [false, true]) {
    it(`leave each other nothing when one ends${inUse ? ' in the middle of a use' : ''}`, async (t) => {
      await using scratch = new PoolScratch();
      const pool = await scratch.open();
      const other = await thread(t, scratch);
      for (const key of ['a', 'b']) await other.ask({ do: 'run', key, who: 'there' });
      await pool.run('a', INSERT, ['here']);
      if (inUse) await other.ask({ do: 'hold', key: 'a' });
      await other.terminate();
      await until(() => pool.stats().open === 1 && pool.stats().inUse === 0, 'what only it had is closed');
      assert.equal(await within(pool.evict('a'), 'a use of a thread that is gone counts'), true);
      assert.deepEqual(await logOf(pool, 'b'), ['there']);
    });
  }
});

describe('two processes with a pool on one folder', () => {
  it('write to the same databases', async (t) => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ maxOpen: 2 });
    const other = Peer.process(t);
    await other.ask({ do: 'open', path: scratch.folder.path, options: { maxOpen: 2 } });
    const keys = ['a', 'b', 'c'];
    await Promise.all(
      keys.flatMap((key) => [
        ...Array.from({ length: 20 }, (_, i) => pool.run(key, INSERT, [`here ${i}`])),
        ...Array.from({ length: 20 }, (_, i) => other.ask({ do: 'run', key, who: `there ${i}` })),
      ]),
    );
    for (const key of keys) {
      const log = await logOf(pool, key);
      assert.equal(new Set(log).size, 40);
      assert.deepEqual(await other.ask({ do: 'log', key }), log);
    }
    await other.ask({ do: 'close' });
    await pool.close();
    assert.deepEqual(readdirSync(scratch.folder.path).sort(), ['a.db', 'b.db', 'c.db']);
  });

  it('delete nothing that the other has open', async (t) => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ busyTimeoutMs: 20 });
    const other = Peer.process(t);
    await other.ask({ do: 'open', path: scratch.folder.path, options: {} });
    await other.ask({ do: 'run', key: 'a', who: 'there' });
    await assert.rejects(pool.delete('a'), /another process has it open/);
    await other.ask({ do: 'run', key: 'a', who: 'there too' });
    assert.deepEqual(await logOf(pool, 'a'), ['there', 'there too']);
    await other.ask({ do: 'evict', key: 'a' });
    assert.equal(await pool.delete('a'), true);
  });
});

describe('a process that has no file descriptors left', {
  skip: process.platform === 'win32' && 'it has no such limit',
}, () => {
  it('is told so, and goes on with what it gives back', async (t) => {
    await using scratch = new PoolScratch();
    const peer = Peer.process(t, 120);
    await peer.ask({ do: 'open', path: scratch.folder.path, options: { maxOpen: 1_000 } });
    // Idle ones make room for those that come.
    assert.deepEqual(await peer.ask({ do: 'fill', most: 200, holds: false }), { opened: 200 });
    // Those that are in use do not.
    const failed = (await peer.ask({ do: 'fill', most: 200, holds: true })) as {
      opened: number;
      name: string;
      message: string;
    };
    assert.ok(failed.opened > 5 && failed.opened < 60, JSON.stringify(failed));
    assert.equal(failed.name, 'CannotOpenError');
    assert.match(
      failed.message,
      /too many files open: raise its limit \(ulimit -n\), or have fewer databases open \(maxOpen of a pool/,
    );
    await peer.ask({ do: 'let go' });
    await peer.ask({ do: 'run', key: 'new', who: 'x' });
    assert.deepEqual(await peer.ask({ do: 'log', key: 'new' }), ['x']);
    await peer.ask({ do: 'close' });
  });
});

describe('open databases', { skip: process.platform !== 'linux' && 'threads are counted on Linux only' }, () => {
  it('cost no thread', async () => {
    await using scratch = new PoolScratch();
    const pool = await scratch.open({ readers: 2 });
    const threads = () => readdirSync('/proc/self/task').length;
    for (let i = 0; i < 10; i++) await pool.run(`k${i}`, INSERT, ['x']);
    const before = threads();
    for (let i = 10; i < 110; i++) await pool.run(`k${i}`, INSERT, ['x']);
    assert.equal(pool.stats().open, 110);
    assert.ok(threads() <= before + 1, `${before} threads with 10 open, ${threads()} with 110`);
  });
});
