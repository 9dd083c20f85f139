// What a database tells of itself: every figure of `db.stats()`.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ConstraintError, type Database, type DatabaseStats, SqlError, UnfinishedQueryError } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { together } from './fixtures/transactions/group.mjs';
import { INSERT, TABLE, UNIQUE_TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { Stepped } from './fixtures/transactions/stepped.mjs';
import { OwnError } from './fixtures/transactions/thrown-values.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const ENDLESS = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c';

/** How the counters of transactions move while `work` runs. */
async function counted(db: Database, work: () => Promise<unknown>): Promise<DatabaseStats['transactions']> {
  const before = db.stats().transactions;
  await work();
  const after = db.stats().transactions;
  return {
    commits: after.commits - before.commits,
    rollbacks: after.rollbacks - before.rollbacks,
    groups: after.groups - before.groups,
    groupMembers: after.groupMembers - before.groupMembers,
  };
}

function assertNumbers(stats: object): void {
  for (const [name, value] of Object.entries(stats)) {
    if (typeof value === 'object' && value !== null) assertNumbers(value);
    else if (typeof value === 'number') assert.ok(Number.isFinite(value) && value >= 0, `${name}: ${value}`);
    else assert.match(typeof value, /string|boolean/, name);
  }
}

describe('the figures of the writer', () => {
  it('tell that it is held, since when, and who waits', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const idle = { state: 'idle', busyMs: 0, queued: 0, busyWaits: 0 };
    assert.deepEqual(db.stats().writer, idle);
    const held = await folder.hold(db);
    assert.deepEqual([db.stats().writer.state, db.stats().writer.queued], ['held', 0]);
    const { busyMs } = db.stats().writer;
    await until(() => db.stats().writer.busyMs > busyMs + 1, 'more time');
    const controller = new AbortController();
    const calls = [
      db.run(INSERT, [1]),
      db.write((tx) => tx.run(INSERT, [2])),
      db.batch((tx) => tx.run(INSERT, [3])),
      db.batch([
        [INSERT, [4]],
        [INSERT, [5]],
      ]),
      db.runMany(INSERT, [[6], [7]]),
      db.get(`${INSERT} RETURNING n`, [8]),
    ];
    const cancelled = db.run(INSERT, [9], { signal: controller.signal });
    await until(() => db.stats().writer.queued === 7, 'seven that wait');
    controller.abort();
    await assert.rejects(cancelled, { code: 'ABORT_ERR' });
    assert.equal(db.stats().writer.queued, 6);
    await held.release();
    await Promise.all(calls);
    assert.deepEqual(db.stats().writer, idle);
  });

  it('tell that it runs a statement', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const controller = new AbortController();
    const running = db.run(`INSERT INTO t(n) ${ENDLESS}`, [], { signal: controller.signal });
    await until(() => db.stats().writer.state === 'running', 'a statement that runs');
    await until(() => db.stats().writer.busyMs > 1, 'time that passes');
    controller.abort();
    await assert.rejects(running, { code: 'ABORT_ERR' });
    await until(() => db.stats().writer.state === 'idle', 'an idle writer');
    assert.equal(db.stats().writer.busyMs, 0);
  });

  it('tell that it waits for the lock of another process, and how often it has met one', async (t) => {
    // another process        this one
    // holds the lock
    //                        run (waits: meets the lock again and again)
    // releases
    //                        committed
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 20_000 });
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: 'DELETE FROM t' });
    const run = db.run(INSERT, [1]);
    await until(() => db.stats().writer.busyWaits >= 3, 'three times at the lock');
    const { writer } = db.stats();
    assert.deepEqual([writer.state, writer.queued], ['waiting', 1]);
    assert.ok(writer.busyMs > 0);
    await other.ask({ do: 'release' });
    await within(run, 'a write behind another process');
    const after = db.stats().writer;
    assert.equal(after.state, 'idle');
    assert.ok(after.busyWaits >= 3);
    const before = after.busyWaits;
    await db.run(INSERT, [2]);
    assert.equal(db.stats().writer.busyWaits, before);
  });

  it('do not take an own reader in the way of a checkpoint for another process', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 30 });
    const reader = await Stepped.read(folder, db);
    await db.run(INSERT, [1]);
    assert.equal((await db.checkpoint('truncate')).busy, true);
    await reader.commit();
    assert.equal(db.stats().writer.busyWaits, 0);
  });

  it('tell that there is none on a database that only reads', async (t) => {
    const folder = new Folder(t);
    await (await folder.database(TABLE)).close();
    const db = await folder.open('test.db', { readOnly: true });
    assert.equal(db.stats().writer.state, 'gone');
    await db.all('SELECT n FROM t');
    assert.equal(db.stats().readers.open, 1);
  });
});

describe('the figures of the readers', () => {
  it('tell how many are open, idle, waited for, and how old the oldest read is', async (t) => {
    // a               b               others
    // snapshot
    //                 snapshot
    //                                 three wait
    // ends
    //                                 they run
    //                 ends
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { readers: 2 });
    const none = { open: 0, idle: 0, queued: 0, transactions: 0, oldestMs: 0, heldBack: false };
    assert.deepEqual(db.stats().readers, none);
    const a = await Stepped.read(folder, db);
    const since = performance.now();
    assert.deepEqual({ ...db.stats().readers, oldestMs: 0 }, { ...none, open: 1, transactions: 1 });
    await until(() => db.stats().readers.oldestMs > 20, 'an older read');
    const b = await Stepped.read(folder, db);
    assert.ok(db.stats().readers.oldestMs >= Math.floor(performance.now() - since), 'the older one counts');
    const others = [db.get('SELECT 1'), db.read((tx) => tx.get('SELECT 2')), db.iterate('SELECT 3').next()];
    await until(() => db.stats().readers.queued === 3, 'three that wait');
    const { open, idle, transactions, oldestMs } = db.stats().readers;
    assert.deepEqual([open, idle, transactions], [2, 0, 2]);
    await a.commit();
    await within(Promise.all(others), 'reads that wait');
    const after = db.stats().readers;
    assert.ok(after.oldestMs > 0 && after.oldestMs < oldestMs + (performance.now() - since));
    await b.commit();
    await until(() => db.stats().readers.transactions === 0, 'the end of the iterator');
    assert.deepEqual(db.stats().readers, { ...none, open: 2, idle: 2 });
  });

  it('tell that reads are held back, so that the log can be emptied', async (t) => {
    // reader               writer                       another reader
    // snapshot
    //                      commits past the limit
    //                      (the gate is set)
    //                                                   waits, though a reader is free
    //                      (it has run out)
    //                                                   runs
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { logLimitBytes: 65_536 });
    const reader = await Stepped.read(folder, db);
    const { heldBack } = db.stats().readers;
    assert.equal(heldBack, false);
    let reads = 0;
    // A gate that was missed is set again when the log has doubled.
    for (let n = 0; n < 250 && !db.stats().readers.heldBack; n++) await db.run(INSERT, [new Uint8Array(262_144)]);
    const read = db.get('SELECT 1').finally(() => {
      reads += 1;
    });
    const { queued, transactions, heldBack: held } = db.stats().readers;
    assert.deepEqual([held, queued, transactions, reads], [true, 1, 1, 0]);
    await within(read, 'a read behind a gate that runs out');
    await until(() => !db.stats().readers.heldBack, 'the end of the gate');
    await reader.commit();
  });

  it('count an iterator for as long as it is open', async (t) => {
    const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1), (2), (3)`);
    const rows = db.iterate('SELECT n FROM t', [], { batchRows: 1 });
    assert.equal(db.stats().readers.transactions, 0);
    await rows.next();
    assert.equal(db.stats().readers.transactions, 1);
    await rows.return();
    await until(() => db.stats().readers.transactions === 0, 'the end of the iterator');
    assert.equal(db.stats().readers.idle, 1);
  });

  it('count a statement of its own as a busy reader, not as a transaction', async (t) => {
    const db = await new Folder(t).database(TABLE);
    const controller = new AbortController();
    const running = db.get(ENDLESS, [], { signal: controller.signal });
    await until(() => db.stats().readers.open === 1, 'a reader');
    // It keeps its snapshot, and with it the log, as any other read does.
    await until(() => db.stats().readers.oldestMs >= 10, 'a read that lasts');
    const { idle, transactions } = db.stats().readers;
    controller.abort();
    await assert.rejects(running, { code: 'ABORT_ERR' });
    assert.deepEqual([idle, transactions], [0, 0]);
    await until(() => db.stats().readers.idle === 1, 'an idle reader');
  });
});

describe('the figures of transactions', () => {
  const none = { commits: 0, rollbacks: 0, groups: 0, groupMembers: 0 };
  const ways: Record<string, { work: (db: Database) => Promise<unknown>; moves: Partial<typeof none> }> = {
    'a write': { work: (db) => db.write((tx) => tx.run(INSERT, [1])), moves: { commits: 1 } },
    'a write that throws': {
      work: (db) =>
        assert.rejects(
          db.write(async (tx) => {
            await tx.run(INSERT, [1]);
            throw new OwnError('rolls back');
          }),
          OwnError,
        ),
      moves: { rollbacks: 1 },
    },
    'a write that leaves a statement': {
      work: (db) =>
        assert.rejects(
          db.write((tx) => {
            void tx.get(ENDLESS);
          }),
          UnfinishedQueryError,
        ),
      moves: { rollbacks: 1 },
    },
    'a write that fails at COMMIT': {
      work: (db) =>
        assert.rejects(
          db.write((tx) => tx.run('INSERT INTO child VALUES (99)')),
          ConstraintError,
        ),
      moves: { rollbacks: 1 },
    },
    'a script': { work: (db) => db.exec('INSERT INTO t(n) VALUES (1); DELETE FROM t'), moves: { commits: 1 } },
    'a script that fails': {
      work: (db) => assert.rejects(db.exec('INSERT INTO t(n) VALUES (1); nonsense'), SqlError),
      moves: { rollbacks: 1 },
    },
    'a read': { work: (db) => db.read((tx) => tx.all('SELECT n FROM t')), moves: {} },
    'a run': { work: (db) => db.run(INSERT, [1]), moves: { commits: 1 } },
    'a run that fails': {
      work: (db) => assert.rejects(db.run('INSERT INTO t(id) VALUES (1), (1)'), ConstraintError),
      moves: { rollbacks: 1 },
    },
  };
  for (const [way, { work, moves }] of Object.entries(ways)) {
    it(`count ${way}`, async (t) => {
      const db = await new Folder(t).database(
        `${TABLE}; CREATE TABLE child(n REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)`,
      );
      assert.deepEqual(await counted(db, () => work(db)), { ...none, ...moves });
    });
  }

  it('count the calls that share a commit', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(UNIQUE_TABLE);
    const shared = await counted(db, () =>
      together(folder, db, [
        () => db.run(INSERT, [1]),
        () => db.run(INSERT, [1]),
        () =>
          db.batch([
            [INSERT, [2]],
            [INSERT, [3]],
          ]),
        () => db.runMany(INSERT, [[4], [5]]),
      ]),
    );
    // The write that held the writer is the other one.
    assert.deepEqual(shared, { commits: 2, rollbacks: 0, groups: 1, groupMembers: 4 });
  });

  it('count the closures of db.batch that share a commit', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const insert = (n: number) => () => db.batch((tx) => tx.run(INSERT, [n]));
    const shared = await counted(db, () => together(folder, db, [insert(1), insert(2), insert(3)]));
    const { groups, groupMembers } = shared;
    assert.ok(groups >= 1 && groupMembers >= 2 * groups, JSON.stringify(shared));
  });
});

describe('the figures', () => {
  it('of the log are those of the file', async (t) => {
    const db = await new Folder(t).database(TABLE);
    for (let n = 0; n < 5; n++) {
      const { log } = db.stats();
      const size = statSync(`${db.path}-wal`).size;
      assert.ok(log.bytes <= size && log.bytes > size - 64, `${log.bytes} of ${size}`);
      await db.run(INSERT, [n]);
      assert.equal(db.stats().log.frames, log.frames + 1);
    }
  });

  it('of the cache count what was found and what was read', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(`${TABLE}; INSERT INTO t(n) VALUES (zeroblob(400000))`, { readers: 1 });
    const read = () => db.one('SELECT length(n || 1) FROM t');
    const before = db.stats().cache;
    await read();
    const cold = db.stats().cache;
    assert.ok(cold.misses >= before.misses + 90, `${cold.misses - before.misses} pages were read`);
    assert.ok(cold.bytes >= before.bytes + 300_000, `${cold.bytes - before.bytes} bytes are kept`);
    await read();
    const warm = db.stats().cache;
    assert.ok(warm.hits >= cold.hits + 90, `${warm.hits - cold.hits} pages were found`);
    assert.equal(warm.misses, cold.misses);
  });

  it('are those of the file, whichever handle is asked, also inside a closure', async (t) => {
    const folder = new Folder(t);
    const first = await folder.database(TABLE);
    const second = await folder.open();
    const reader = await Stepped.read(folder, first);
    const writer = await Stepped.write(folder, second);
    const waiting = first.run(INSERT, [1]);
    for (const db of [first, second]) {
      const { writer: w, readers: r } = db.stats();
      assert.deepEqual([w.state, w.queued, r.open, r.transactions, r.heldBack], ['held', 1, 1, 1, false]);
    }
    await writer.commit();
    await reader.commit();
    await waiting;
    const same = (stats: DatabaseStats) => JSON.stringify({ ...stats, cache: 0 });
    assert.equal(same(first.stats()), same(second.stats()));
    assertNumbers(first.stats());
    assert.equal(await first.write(() => second.stats().writer.state), 'held');
    assert.equal(await first.batch(() => first.stats().writer.state), 'held');
    assert.equal(await first.read(() => first.stats().readers.transactions), 1);
  });

  it('are still there while the database is being closed', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    const waiting = db.run(INSERT, [1]);
    const closing = db.close();
    const { writer, transactions } = db.stats();
    await held.release();
    await Promise.all([waiting, closing]);
    assert.deepEqual([writer.state, writer.queued], ['held', 1]);
    assert.ok(transactions.commits > 0);
  });

  it('are 0 once the database is closed', async (t) => {
    const db = await new Folder(t).database(`${TABLE}; INSERT INTO t(n) VALUES (1)`);
    await db.all('SELECT n FROM t');
    await db.close();
    const after = db.stats();
    assertNumbers(after);
    for (const part of [after.readers, after.log, after.transactions, after.cache]) {
      for (const [name, value] of Object.entries(part)) assert.ok(!value, `${name}: ${value}`);
    }
    assert.deepEqual([after.writer.busyMs, after.writer.queued, after.writer.busyWaits], [0, 0, 0]);
  });
});
