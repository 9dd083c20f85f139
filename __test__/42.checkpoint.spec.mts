// Checkpoints: those that are asked for, and how the log stays short by itself.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  type CheckpointMode,
  type Database,
  DatabaseClosedError,
  OptionError,
  ReadOnlyDatabaseError,
  ReentrantAccessError,
} from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { Stepped } from './fixtures/transactions/stepped.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const MODES: readonly CheckpointMode[] = ['passive', 'full', 'restart', 'truncate'];
/** Those that wait for what is in the way. */
const WAITING = MODES.filter((mode) => mode !== 'passive');
const KIB = 1_024;
const MIB = KIB * KIB;

/** Bytes of the log as the file system has them; `stat` opens nothing. */
function logOf(db: Database): number {
  return statSync(`${db.path}-wal`).size;
}

async function fill(db: Database, rows: number): Promise<void> {
  for (let n = 0; n < rows; n++) await db.run(INSERT, [n]);
}

describe('a checkpoint', () => {
  for (const mode of MODES) {
    it(`copies the whole log into the file when nobody is in the way: ${mode}`, async (t) => {
      const db = await new Folder(t).database(TABLE);
      await db.checkpoint('truncate');
      await fill(db, 3);
      assert.equal(db.stats().log.frames, 3);
      const before = db.stats();
      const frames = mode === 'truncate' ? 0 : 3;
      const expected = { busy: false, logFrames: frames, checkpointedFrames: frames };
      assert.deepEqual(await db.checkpoint(mode), expected);
      const { log } = db.stats();
      assert.equal(log.checkpoints, before.log.checkpoints + 1);
      assert.equal(log.truncations, before.log.truncations + (mode === 'truncate' ? 1 : 0));
      assert.equal(logOf(db) === 0, mode === 'truncate');
      assert.deepEqual(await db.checkpoint(mode), expected, 'a second time');
      // The log begins anew with the next commit.
      await fill(db, 1);
      assert.equal(db.stats().log.frames, 1);
      assert.deepEqual(await numbers(db), [0, 1, 2, 0]);
    });

    it(`copies as much as a pinned reader lets it, and says so: ${mode}`, async (t) => {
      // reader               writer               checkpoint
      //                      three commits
      // snapshot
      //                      two commits
      //                                           three of five frames, busy
      // sees three rows, ends
      //                                           five of five
      const folder = new Folder(t);
      const db = await folder.database(TABLE, { busyTimeoutMs: 30 });
      await db.checkpoint('truncate');
      await fill(db, 3);
      const reader = await Stepped.read(folder, db);
      await fill(db, 2);
      const checkpoint = await within(db.checkpoint(mode), 'a checkpoint beside a reader');
      assert.deepEqual(checkpoint, { busy: true, logFrames: 5, checkpointedFrames: 3 });
      assert.equal((await reader.tx.all('SELECT n FROM t')).length, 3);
      assert.equal(db.stats().log.frames, 5);
      await reader.commit();
      const frames = mode === 'truncate' ? 0 : 5;
      assert.deepEqual(await db.checkpoint(mode), { busy: false, logFrames: frames, checkpointedFrames: frames });
      assert.equal((await db.all('SELECT n FROM t')).length, 5);
    });
  }

  it('is passive when nothing is said: it waits for nobody', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 20_000 });
    const size = logOf(db);
    const reader = await Stepped.read(folder, db);
    await fill(db, 1);
    let over = false;
    const asked = db.checkpoint().finally(() => {
      over = true;
    });
    await until(() => over || db.stats().writer.state === 'waiting', 'a checkpoint that waits or is done');
    assert.equal(over, true, 'it waits');
    const { logFrames, checkpointedFrames } = await asked;
    assert.ok(logFrames > checkpointedFrames && checkpointedFrames > 0, `${checkpointedFrames} of ${logFrames}`);
    assert.ok(logOf(db) >= size);
    await reader.commit();
  });

  for (const mode of WAITING) {
    it(`waits for a reader, and is done once that has ended: ${mode}`, async (t) => {
      // reader               checkpoint                    write
      // snapshot
      //                      (waits)
      //                                                    passes it
      // ends
      //                      all of it
      const folder = new Folder(t);
      const db = await folder.database(TABLE, { busyTimeoutMs: 20_000 });
      const reader = await Stepped.read(folder, db);
      await fill(db, 2);
      let over = false;
      const asked = db.checkpoint(mode).finally(() => {
        over = true;
      });
      await within(db.run(INSERT, [7]), 'a write beside a checkpoint that waits');
      assert.deepEqual([over, db.stats().writer.state], [false, 'idle']);
      await reader.commit();
      const { busy, logFrames, checkpointedFrames } = await within(asked, 'a checkpoint behind a reader');
      assert.deepEqual([busy, logFrames], [false, checkpointedFrames]);
      assert.deepEqual(await numbers(db), [0, 1, 7]);
    });
  }

  it('takes its turn among the writers', async (t) => {
    // write                 checkpoint            write
    // holds the writer
    //                       (queued)
    //                                             (queued)
    // commits
    //                       sees that commit
    //                                             commits
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    await db.checkpoint('truncate');
    const writer = await Stepped.write(folder, db);
    const order: string[] = [];
    await writer.tx.run(INSERT, [1]);
    const checkpoint = db.checkpoint('full').finally(() => order.push('checkpoint'));
    const write = db.write((tx) => tx.run(INSERT, [2])).finally(() => order.push('write'));
    assert.equal(db.stats().writer.queued, 2);
    await writer.commit();
    assert.deepEqual(await checkpoint, { busy: false, logFrames: 1, checkpointedFrames: 1 });
    await write;
    assert.deepEqual(order, ['checkpoint', 'write']);
  });

  it('is held up by a reader of another process too', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 30 });
    const other = await OtherProcess.with(t, folder.file());
    await fill(db, 1);
    await other.ask({ do: 'hold', sql: 'SELECT n FROM t' });
    const { busy } = await within(db.checkpoint('truncate'), 'a checkpoint beside another process');
    assert.equal(busy, true);
    await other.ask({ do: 'release' });
    assert.equal((await db.checkpoint('truncate')).busy, false);
  });

  it('is refused inside a closure, on a database that only reads, in a mode there is not, and after close', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    await db.write(async () => assert.rejects(db.checkpoint(), ReentrantAccessError));
    await db.read(async () => assert.rejects(db.checkpoint('truncate'), ReentrantAccessError));
    let inBatch: Promise<unknown> = Promise.resolve();
    await db.batch(() => {
      inBatch = assert.rejects(db.checkpoint(), ReentrantAccessError);
    });
    await inBatch;
    let outside: Promise<unknown> | undefined;
    await db.write(() => {
      outside = db.outside(() => db.checkpoint());
    });
    await within(outside ?? Promise.reject(), 'a checkpoint that was asked for outside');
    for (const wrong of ['', 'PASSIVE', 'delete', null, 3, {}]) {
      const message = wrong === '' ? /mode/ : /passive/;
      await assert.rejects(db.checkpoint(wrong as never), (error) => {
        assert.ok(error instanceof OptionError, String(error));
        assert.match(error.message, message);
        return true;
      });
    }
    const closing = db.close();
    await assert.rejects(db.checkpoint(), DatabaseClosedError);
    await closing;
    await assert.rejects(db.checkpoint(), DatabaseClosedError);
    const readOnly = await folder.open('test.db', { readOnly: true });
    for (const mode of MODES) await assert.rejects(readOnly.checkpoint(mode), ReadOnlyDatabaseError);
  });
});

/** A row that takes 64 pages and more. */
const ROW = 'INSERT INTO t(n) VALUES (zeroblob(262144))';

describe('the log', () => {
  it('is cut back as it passes its limit while nobody reads', async (t) => {
    const db = await new Folder(t).database(TABLE, { logLimitBytes: 64 * KIB });
    let longest = 0;
    for (let n = 0; n < 24; n++) {
      await db.run(ROW);
      longest = Math.max(longest, db.stats().log.bytes);
    }
    await db.run(INSERT, [1]);
    assert.ok(longest < MIB, `${longest} bytes, though the limit is ${64 * KIB} and each commit has some 270,000`);
  });

  it('grows beside a long reader, which shows in the figures, and is short again once that has ended', async (t) => {
    // reader               writer
    // snapshot
    //                      12 MiB
    // (is the one read transaction, and gets older)
    //                      the log has all of it
    // ends
    //                      goes on: the log is cut back
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { logLimitBytes: MIB });
    const reader = await Stepped.read(folder, db);
    assert.equal(db.stats().readers.transactions, 1);
    for (let n = 0; n < 48; n++) await db.run(ROW);
    const during = db.stats();
    assert.ok(during.log.bytes > 12 * MIB && logOf(db) > 12 * MIB, `${during.log.bytes} bytes`);
    assert.equal(during.log.truncations, 0);
    assert.equal(during.readers.transactions, 1);
    assert.ok(during.readers.oldestMs > 0);
    const { oldestMs } = during.readers;
    await until(() => db.stats().readers.oldestMs > oldestMs + 1, 'an older reader');
    assert.deepEqual(await reader.tx.one('SELECT count(*) AS n FROM t'), { n: 0 });
    await reader.commit();
    assert.deepEqual([db.stats().readers.transactions, db.stats().readers.oldestMs], [0, 0]);
    for (let n = 0; n < 24; n++) await db.run(ROW);
    await until(() => db.stats().log.truncations > 0, 'a truncation');
    const after = db.stats();
    assert.ok(logOf(db) < 6 * MIB && after.log.bytes < 6 * MIB, `${logOf(db)} bytes`);
    assert.deepEqual(await db.one('SELECT count(*) AS n FROM t'), { n: 72 });
  });

  it('does not grow by readers that overlap without a gap: they wait at a gate for a moment', async (t) => {
    // reader a             reader b             writer
    // snapshot
    //                                           commit
    //                      asks for a snapshot
    //                                           commit
    // ends                 (had it, or waited)
    // asks for the next                         commit ...
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { logLimitBytes: MIB, readers: 3 });
    let commits = 0;
    let over = false;
    const read = () => {
      const asked = commits;
      return db.read(async (tx) => {
        await tx.get('SELECT count(*) FROM t');
        await until(() => commits > asked + 1 || over, 'two commits');
      });
    };
    const readers = [0, 1, 2].map(async (behind) => {
      await until(() => commits >= behind || over, 'the commits before it');
      let current = read();
      while (!over) {
        const [asked, before] = [commits, current];
        await until(() => commits > asked || over, 'a commit');
        current = read();
        await before;
      }
      await current;
    });
    let longest = 0;
    let gaps = 0;
    for (let n = 0; n < 160; n++) {
      await db.run(ROW);
      commits += 1;
      longest = Math.max(longest, logOf(db));
      const { transactions, heldBack: held } = db.stats().readers;
      if (transactions === 0 && !held) gaps += 1;
    }
    over = true;
    await within(Promise.all(readers), 'the readers');
    // 40 MiB were written; without the gate all of it stays in the log.
    assert.ok(longest < 16 * MIB, `${longest} bytes`);
    assert.ok(db.stats().log.truncations > 0, 'it was never cut back');
    assert.ok(gaps < 16, `${gaps} moments without a reader, in which the log could begin anew by itself`);
    assert.equal(db.stats().readers.heldBack, false);
  });
});
