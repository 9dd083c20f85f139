// What a process has of descriptors, threads and files once everything was closed: what it had before.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Database } from 'sqlflow';
import { Folder } from './fixtures/border/folder.mjs';
import type { HeldData } from './fixtures/border/held-worker.mjs';

const skip = process.platform === 'linux' ? false : 'only Linux tells what a process has open, by /proc';

/** A test that waits for something that never comes fails alone. */
const LIMIT = { timeout: 12_000 };

const ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n';
const ROUNDS = 4;
/** However many databases there are. They leave after ten idle seconds, which is not waited for. */
const MOST_THREADS = Math.max(4 * availableParallelism(), 8) + 1;

/** Where every descriptor of this process leads to, but the one by which that is read. */
function descriptors(): string[] {
  const found: string[] = [];
  for (const descriptor of readdirSync('/proc/self/fd')) {
    try {
      found.push(readlinkSync(`/proc/self/fd/${descriptor}`));
    } catch {
      // The descriptor by which the list was read is gone.
    }
  }
  return found;
}

/** Descriptors by what they lead to; those of files one by one, of others how many there are. */
function baseline(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const path of descriptors()) {
    const kind = path.replace(/:\[\d+\]$/, '');
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

/** How many threads this process has of each name. */
function threads(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      const name = readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim();
      counts[name] = (counts[name] ?? 0) + 1;
    } catch {
      // It has ended meanwhile.
    }
  }
  return counts;
}

/** Fails when the engine has more threads than its pool and its scheduler, or Node.js more than before. */
function assertThreads(before: Record<string, number>): void {
  const { sqlflow = 0, ...others } = threads();
  const { sqlflow: _, ...othersBefore } = before;
  assert.ok(sqlflow > 0 && sqlflow <= MOST_THREADS, `${sqlflow} threads of the engine`);
  assert.deepEqual(others, othersBefore, 'threads were left running');
}

async function open(path: string): Promise<Database> {
  const db = await Database.open(path, { readers: 4 });
  await db.exec(`CREATE TABLE IF NOT EXISTS t(n INTEGER NOT NULL);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100) INSERT INTO t SELECT i FROM n`);
  return db;
}

/** Every kind of work on many databases, each in its own way unfinished; then their close. */
const ROUND: Record<string, (folder: Folder) => Promise<void>> = {
  async 'readers at the same time, and writes'(folder) {
    const databases = await Promise.all(Array.from({ length: 16 }, (_, n) => open(folder.file(`${n}.db`))));
    const reads = databases.flatMap((db) => Array.from({ length: 6 }, () => db.all('SELECT n FROM t')));
    const writes = databases.map((db) => db.run('INSERT INTO t VALUES (0)'));
    await Promise.all([...reads, ...writes]);
    await Promise.all(databases.map((db) => db.close()));
  },
  async 'several handles of one file'(folder) {
    const databases = await Promise.all(Array.from({ length: 8 }, () => Database.open(folder.file('shared.db'))));
    await Promise.all(databases.map((db) => db.all('SELECT 1')));
    for (const db of databases) await db.close();
  },
  async 'iterators that are dropped'(folder) {
    const db = await open(folder.file('iterated.db'));
    for (let n = 0; n < 3; n++) await db.iterate('SELECT n FROM t', [], { batchRows: 1 }).next();
    await db.read(async (tx) => {
      await tx.iterate('SELECT n FROM t', [], { batchRows: 1 }).next();
      tx.sync.iterate('SELECT n FROM t', [], { batchRows: 1 }).next();
    });
    await db.write(async (tx) => {
      await tx.iterate('SELECT n FROM t', [], { batchRows: 1 }).next();
      await tx.run('DELETE FROM t');
    });
    await db.close();
  },
  async 'transactions that are rolled back'(folder) {
    const db = await open(folder.file('undone.db'));
    const reason = new Error('undone');
    for (let n = 0; n < 10; n++) {
      const undone = db.write(async (tx) => {
        await tx.run('INSERT INTO t SELECT n FROM t');
        throw reason;
      });
      await assert.rejects(undone, reason);
      const unfinished = db.write((tx) => {
        void tx.all(ENDLESS);
      });
      await assert.rejects(unfinished, { code: 'UNFINISHED_QUERY' });
    }
    await db.close();
  },
  async 'calls that are cancelled'(folder) {
    const db = await open(folder.file('cancelled.db'));
    const controller = new AbortController();
    const { signal } = controller;
    const insert = `INSERT INTO t ${ENDLESS}`;
    const calls = [
      ...Array.from({ length: 8 }, () => db.get(ENDLESS, [], { signal })),
      db.read((tx) => tx.get(ENDLESS), { signal }),
      db.write((tx) => tx.run(insert), { signal }),
      db.run(insert, [], { signal }),
      db.batch([[insert]], { signal }),
    ];
    setImmediate(() => controller.abort());
    for (const call of await Promise.allSettled(calls)) {
      assert.ok(call.status === 'rejected');
      assert.equal(call.reason.code, 'ABORT_ERR');
    }
    await db.close();
  },
  async 'statements that run when their time to close is over'(folder) {
    const db = await open(folder.file('running.db'));
    const calls = [
      db.get(ENDLESS),
      db.read((tx) => tx.get(ENDLESS)),
      db.write((tx) => tx.run(`INSERT INTO t ${ENDLESS}`)),
    ];
    const settled = Promise.allSettled(calls);
    await db.close({ timeoutMs: 0 });
    for (const { status } of await settled) assert.equal(status, 'rejected');
  },
  async 'temporary databases'() {
    const databases = await Promise.all(Array.from({ length: 8 }, () => Database.open(':memory:')));
    await Promise.all(databases.map((db) => db.exec('CREATE TABLE t(n)')));
    await Promise.all(databases.map((db) => db.close()));
  },
  async 'files that cannot be opened'(folder) {
    for (let n = 0; n < 8; n++) {
      await assert.rejects(Database.open(folder.file('missing.db'), { create: false }), { code: 'CANNOT_OPEN' });
      await assert.rejects(Database.open(folder.path), { code: 'CANNOT_OPEN' });
    }
  },
  async 'workers that are terminated'(folder) {
    for (const scenario of ['an open transaction', 'an iterator of a transaction', 'queued writes', 'a large result']) {
      const path = folder.file('worker.db');
      const prepared = await Database.open(path, { readers: 1 });
      await prepared.exec('CREATE TABLE IF NOT EXISTS t (entry)');
      await prepared.close();
      const workerData: HeldData = { path, scenario, sql: ENDLESS };
      const worker = new Worker(new URL('./fixtures/border/held-worker.mjs', import.meta.url), { workerData });
      await once(worker, 'message');
      await worker.terminate();
      // The file is closed when this handle was: both share the engine of the file.
      const db = await Database.open(path, { readers: 1 });
      await db.run("INSERT INTO t VALUES ('main')");
      await db.close();
    }
  },
};

describe('after everything was closed', { skip }, () => {
  for (const [name, round] of Object.entries(ROUND)) {
    it(name, LIMIT, async () => {
      using folder = new Folder();
      // The first round starts the engine's threads and makes what lasts for the process.
      await round(folder);
      const before = { descriptors: baseline(), threads: threads() };
      for (let n = 0; n < ROUNDS; n++) {
        await round(folder);
        assert.deepEqual(baseline(), before.descriptors, 'descriptors were left open');
        assertThreads(before.threads);
      }
      assert.deepEqual(
        descriptors().filter((path) => path.startsWith(folder.path)),
        [],
      );
      assert.deepEqual(
        readdirSync(folder.path).filter((file) => /-(wal|shm)$/.test(file)),
        [],
      );
    });
  }
});
