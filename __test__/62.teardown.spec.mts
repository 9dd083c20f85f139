// How processes and workers end, and what they leave behind; and what a worker costs others whose loop stands still.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Database } from 'sqlflow';
import { Folder } from './fixtures/border/folder.mjs';
import type { HeldData } from './fixtures/border/held-worker.mjs';
import { assertEndedWith, type Ending, run } from './fixtures/border/program.mjs';
import type { StandingData } from './fixtures/border/standing-worker.mjs';

/** A test that waits for something that never comes fails alone. */
const LIMIT = { timeout: 12_000 };

const ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n';

interface Held {
  scenario: string;
  /** Workers that end one after the other, each at a slightly other moment. */
  rounds: number;
}

const HELD: readonly Held[] = [
  { scenario: 'an open transaction', rounds: 6 },
  { scenario: 'a statement of a transaction', rounds: 6 },
  { scenario: 'a large result of a transaction', rounds: 6 },
  { scenario: 'an iterator of a transaction', rounds: 6 },
  { scenario: 'a synchronous statement', rounds: 3 },
  { scenario: 'queued writes', rounds: 15 },
  { scenario: 'a read', rounds: 25 },
  { scenario: 'a large result', rounds: 25 },
  { scenario: 'a read transaction', rounds: 6 },
  { scenario: 'queued reads', rounds: 25 },
  { scenario: 'an exit of its own', rounds: 6 },
  { scenario: 'a natural end', rounds: 6 },
  { scenario: 'a write', rounds: 3 },
];

interface Counted {
  acknowledged: number;
  answered: number;
}

function counted(ending: Ending): Counted {
  return JSON.parse(ending.stdout);
}

/** The rows a process has left, every transaction of which writes a pair of halves. */
async function left(file: string): Promise<number> {
  await using db = await Database.open(file);
  assert.deepEqual(await db.all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
  await db.exec('CREATE TABLE IF NOT EXISTS t (half INTEGER NOT NULL)');
  const { rows, halves } = await db.one('SELECT count(*) AS rows, total(half) AS halves FROM t');
  assert.equal(halves, 0, 'half a transaction is there');
  return Number(rows);
}

for (const scenario of ['idle', 'idle iterators', 'idle transactions', 'closed, and one never used']) {
  test(`a process ends by itself: ${scenario}`, LIMIT, async () => {
    using folder = new Folder();
    const ending = await run('endings-program', [scenario, folder.file('idle.db')]);
    assertEndedWith(ending, 0);
    assert.equal(counted(ending).answered, scenario === 'idle transactions' ? 2 : 0);
    assert.equal(await left(folder.file('idle.db')), scenario === 'idle' ? 1 : 0);
  });
}

test('the natural end of a process waits for outstanding operations', LIMIT, async () => {
  using folder = new Folder();
  const ending = await run('endings-program', ['outstanding work', folder.file('work.db'), '0', '3']);
  assertEndedWith(ending, 3);
  const { acknowledged, answered } = counted(ending);
  assert.deepEqual({ acknowledged, answered }, { acknowledged: 1_051, answered: 200_002 });
  assert.equal(await left(folder.file('work.db')), 1_000 + 2 * 50 + 1);
});

for (const scenario of [
  'exit while writes are queued',
  'exit while statements run',
  'exit while synchronous writes commit',
  'exit in a transaction',
  'exit in a read of parameters',
  'exit while files are opened',
  'exit while files are closed',
]) {
  test(`process.exit ends the process with its code and leaves whole transactions: ${scenario}`, LIMIT, async () => {
    using folder = new Folder();
    // Each at another moment: after so many turns of the loop.
    for (const turns of [0, 1, 2, 5, 20]) {
      const file = folder.file(`exit-${turns}.db`);
      const code = 40 + turns;
      const ending = await run('endings-program', [scenario, file, String(turns), String(code)]);
      assertEndedWith(ending, code);
      const { acknowledged } = counted(ending);
      const rows = await left(file);
      assert.ok(rows >= acknowledged, `${acknowledged} were acknowledged, ${rows} are there`);
    }
  });
}

test('process.exit interrupts a synchronous statement of a worker', LIMIT, async () => {
  using folder = new Folder();
  const scenario = 'exit while a worker runs a synchronous statement';
  const ending = await run('endings-program', [scenario, folder.file('worker.db'), '0', '9']);
  assertEndedWith(ending, 9);
});

for (const scenario of [
  'an exception while statements run',
  'an exception in a transaction',
  'a rejection nobody handles',
]) {
  test(`an uncaught error ends the process with code 1 and is printed: ${scenario}`, LIMIT, async () => {
    using folder = new Folder();
    for (let round = 0; round < 3; round++) {
      const file = folder.file(`uncaught-${round}.db`);
      const ending = await run('endings-program', [scenario, file]);
      assertEndedWith(ending, 1);
      assert.match(
        ending.stderr,
        scenario === 'a rejection nobody handles' ? /no such table: nowhere/ : /nobody catches/,
      );
      assert.equal(await left(file), 0);
    }
  });
}

for (const { scenario, rounds } of HELD) {
  test(`a worker that ends in the middle of it gives everything back: ${scenario}`, LIMIT, async () => {
    using folder = new Folder();
    await using db = await Database.open(folder.file('shared.db'), { readers: 1 });
    await db.exec('CREATE TABLE t (entry)');
    for (let round = 0; round < rounds; round++) {
      const workerData: HeldData = { path: db.path, scenario, sql: ENDLESS };
      const worker = new Worker(new URL('./fixtures/border/held-worker.mjs', import.meta.url), { workerData });
      const exited = once(worker, 'exit');
      await once(worker, 'message');
      if (scenario === 'an exit of its own' || scenario === 'a natural end') assert.deepEqual(await exited, [0]);
      else await worker.terminate();
      // The writer and the only reader are free again.
      await db.run("INSERT INTO t VALUES ('main')");
      assert.deepEqual(await db.get("SELECT count(*) AS lost FROM t WHERE entry = 'lost'"), { lost: 0 });
    }
    const ending = await run('write-once', [db.path]);
    assertEndedWith(ending, 0);
    assert.equal(ending.stdout, 'written\n');
    assert.deepEqual(await db.all('SELECT entry, count(*) AS n FROM t GROUP BY entry ORDER BY entry'), [
      { entry: 'kept', n: rounds },
      { entry: 'main', n: rounds },
      { entry: 'other process', n: 1 },
    ]);
  });
}

test('a file that only a terminated worker had open can be opened and written at once', LIMIT, async () => {
  using folder = new Folder();
  const path = folder.file('orphan.db');
  {
    await using db = await Database.open(path, { readers: 1 });
    await db.exec('CREATE TABLE t (entry)');
  }
  for (const scenario of [
    'an open transaction',
    'a large result of a transaction',
    'queued writes',
    'a large result',
  ]) {
    const workerData: HeldData = { path, scenario, sql: ENDLESS };
    const worker = new Worker(new URL('./fixtures/border/held-worker.mjs', import.meta.url), { workerData });
    await once(worker, 'message');
    await worker.terminate();
    await using db = await Database.open(path, { readers: 1 });
    await db.run('INSERT INTO t VALUES (?)', [scenario]);
    const ending = await run('write-once', [path]);
    assert.equal(ending.stdout, 'written\n');
  }
  await using db = await Database.open(path);
  assert.deepEqual(await db.get("SELECT count(*) AS n, sum(entry = 'lost') AS lost FROM t"), { n: 12, lost: 0 });
});

/** A worker whose loop stands still once it has queued its work, until it is released. */
class Standing implements AsyncDisposable {
  readonly worker: Worker;
  readonly #released = new SharedArrayBuffer(4);

  constructor(path: string, scenario: StandingData['scenario']) {
    const workerData: StandingData = { path, scenario, released: this.#released };
    this.worker = new Worker(new URL('./fixtures/border/standing-worker.mjs', import.meta.url), { workerData });
  }

  async message(): Promise<unknown> {
    const [message]: unknown[] = await once(this.worker, 'message');
    return message;
  }

  release(): void {
    Atomics.store(new Int32Array(this.#released), 0, 1);
    Atomics.notify(new Int32Array(this.#released), 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
    await this.worker.terminate();
  }
}

async function openLog(folder: Folder): Promise<Database> {
  const db = await Database.open(folder.file('log.db'), { readers: 1 });
  await db.exec('CREATE TABLE log (id INTEGER PRIMARY KEY, entry TEXT)');
  return db;
}

async function entries(db: Database): Promise<unknown[]> {
  const rows = await db.all('SELECT entry FROM log ORDER BY id', [], { rowMode: 'array' });
  return rows.flat();
}

const LOG = 'INSERT INTO log (entry) VALUES (?)';

/** Work of the main thread that needs the writer, of every kind. */
function mainWrites(db: Database): Promise<unknown>[] {
  return [
    db.run(LOG, ['main 1']),
    db.write((tx) => tx.run(LOG, ['main 2'])),
    db.exec("INSERT INTO log (entry) VALUES ('main 3')"),
    db.get(`${LOG} RETURNING id`, ['main 4']),
    db.write(async (tx) => {
      await tx.run(LOG, ['main 5']);
    }),
  ];
}

const MAIN = ['main 1', 'main 2', 'main 3', 'main 4', 'main 5'];
const WORKER = ['worker 1', 'worker 2', 'worker 3', 'worker 4', 'worker 5'];

test(
  'a worker whose loop stands still when the writer is granted to it lets others pass, and gets its turn in order',
  LIMIT,
  async () => {
    // main                          worker
    // write begins, waits
    //                               five writes queued, loop stands still
    // five writes queued
    // write ends
    //                               granted, not taken, revoked
    // five writes committed
    // releases the worker
    //                               five writes committed, in order
    using folder = new Folder();
    await using db = await openLog(folder);
    await using standing = new Standing(db.path, 'writes');
    let others: Promise<unknown>[] = [];
    await db.write(async (tx) => {
      assert.equal(await standing.message(), 'standing');
      others = db.outside(() => mainWrites(db));
      await tx.run(LOG, ['first']);
    });
    await Promise.all(others);
    assert.deepEqual(await entries(db), ['first', ...MAIN]);
    standing.release();
    assert.equal(await standing.message(), 'done');
    assert.deepEqual(await entries(db), ['first', ...MAIN, ...WORKER]);
  },
);

test('writes of a worker that is terminated while they stand aside are never run', LIMIT, async () => {
  using folder = new Folder();
  await using db = await openLog(folder);
  await using standing = new Standing(db.path, 'writes');
  let others: Promise<unknown>[] = [];
  await db.write(async () => {
    assert.equal(await standing.message(), 'standing');
    others = db.outside(() => mainWrites(db));
  });
  await Promise.all(others);
  await standing.worker.terminate();
  await Promise.all(mainWrites(db));
  assert.deepEqual(await entries(db), [...MAIN, ...MAIN]);
  await db.close();
  assert.equal(existsSync(`${folder.file('log.db')}-wal`), false, 'they still hold the file');
});

test(
  'a worker whose loop stands still when a reader is granted to it lets others pass, and gets its turn',
  LIMIT,
  async () => {
    using folder = new Folder();
    await using db = await openLog(folder);
    await using standing = new Standing(db.path, 'reads');
    let others: Promise<unknown>[] = [];
    await db.read(async (tx) => {
      assert.equal(await standing.message(), 'standing');
      others = db.outside(() => [
        db.get('SELECT 1 AS i'),
        db.read(async (mine) => mine.get('SELECT 2 AS i')),
        db.get('SELECT 3 AS i'),
      ]);
      await tx.get('SELECT 0');
    });
    assert.deepEqual(await Promise.all(others), [{ i: 1 }, { i: 2 }, { i: 3 }]);
    standing.release();
    assert.equal(await standing.message(), 'done');
  },
);

test('a worker whose loop is slow gets the writer in the end, although others write all the time', LIMIT, async () => {
  using folder = new Folder();
  await using db = await openLog(folder);
  await using standing = new Standing(db.path, 'a slow loop');
  let done = false;
  let meanwhile = 0;
  assert.equal(await standing.message(), 'standing');
  const ended = standing.message().then((message) => {
    assert.equal(message, 'done');
    done = true;
  });
  const callers = Array.from({ length: 4 }, async (_, caller) => {
    for (; !done; meanwhile++) await db.write((tx) => tx.run(LOG, [`main ${caller}`]));
  });
  await ended;
  await Promise.all(callers);
  assert.ok(meanwhile > 0);
  assert.deepEqual(await db.get("SELECT count(*) AS n FROM log WHERE entry = 'worker'"), { n: 1 });
});

test('a worker whose loop stands still inside its transaction loses it at its deadline', LIMIT, async () => {
  using folder = new Folder();
  await using db = await openLog(folder);
  await using standing = new Standing(db.path, 'in a transaction');
  assert.equal(await standing.message(), 'standing');
  await Promise.all(mainWrites(db));
  assert.deepEqual(await entries(db), MAIN);
  standing.release();
  assert.equal(await standing.message(), 'TRANSACTION_TIMEOUT');
  assert.deepEqual(await entries(db), MAIN);
});
