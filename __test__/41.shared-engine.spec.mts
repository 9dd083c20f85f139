// One file, one engine: handles, spellings, hard links and worker threads of one process share the writer.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, linkSync, mkdirSync, symlinkSync } from 'node:fs';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Database, DatabaseClosedError, type OpenOptions, OptionsConflictError, type Row } from 'sqlflow';
import { Folder } from './fixtures/transactions/folder.mjs';
import { readElsewhere } from './fixtures/transactions/other-process.mjs';
import { within } from './fixtures/transactions/within.mjs';
import type { Job, Told } from './fixtures/transactions/worker.mjs';

const WORKER = fileURLToPath(new URL('./fixtures/transactions/worker.mjs', import.meta.url));

/** A worker thread that does one job on the file, and what it has told. */
class Thread {
  readonly #worker: Worker;
  readonly #told: Told[] = [];
  #wake = () => {};

  constructor(t: TestContext, job: Job) {
    this.#worker = new Worker(WORKER, { workerData: job });
    this.#worker.on('message', (told: Told) => {
      this.#told.push(told);
      this.#wake();
    });
    this.#worker.on('error', (error) => {
      this.#told.push({ failed: String(error) });
      this.#wake();
    });
    t.after(() => this.terminate());
  }

  /** The next thing it tells. */
  async told(): Promise<Told> {
    const [first] = this.#told.splice(0, 1);
    if (first !== undefined) return first;
    await within(
      new Promise<void>((resolve) => {
        this.#wake = resolve;
      }),
      'a worker thread tells nothing',
    );
    return this.told();
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  async ended(): Promise<void> {
    await within(once(this.#worker, 'exit'), 'a worker thread does not end');
  }
}

const letters = async (db: Database) => (await db.all('SELECT who FROM t ORDER BY id')).map((row) => row['who']);

const LOG = 'CREATE TABLE t(id INTEGER PRIMARY KEY, who TEXT)';
const INSERT = 'INSERT INTO t(who) VALUES (?)';

describe('two handles of one file', () => {
  it('have one writer, and queue for it in the order of their calls', async (t) => {
    // first handle     second handle (busyTimeoutMs 0: it would not wait for another engine)
    // holds the writer
    //                  run b
    // write c
    //                  exec d
    // releases
    //                  b, c, d
    const folder = new Folder(t);
    const first = await folder.database(LOG, { busyTimeoutMs: 0 });
    const second = await folder.open('test.db', { busyTimeoutMs: 0 });
    const held = await folder.hold(first);
    const waiting = Promise.all([
      second.run(INSERT, ['b']),
      first.write((tx) => tx.run(INSERT, ['c'])),
      second.exec("INSERT INTO t(who) VALUES ('d')"),
      first.get('INSERT INTO t(who) VALUES (?) RETURNING who', ['e']),
    ]);
    await held.release();
    await waiting;
    assert.deepEqual(await letters(second), ['b', 'c', 'd', 'e']);
  });

  it('end each by itself, and the engine with the last', async (t) => {
    const folder = new Folder(t);
    const first = await folder.database(LOG);
    const second = await folder.open();
    await first.close();
    await assert.rejects(first.run(INSERT, ['a']), DatabaseClosedError);
    assert.ok(existsSync(folder.file('test.db-wal')), 'the engine is still open');
    await second.run(INSERT, ['b']);
    assert.deepEqual(await letters(second), ['b']);
    await second.close();
    assert.equal(existsSync(folder.file('test.db-wal')), false);
  });

  it('have options of their own where nothing is shared', async (t) => {
    const folder = new Folder(t);
    const first = await folder.open();
    const second = await folder.open('test.db', { bigint: true, busyTimeoutMs: 1, transactionTimeoutMs: 99_999 });
    assert.deepEqual(await first.one('SELECT 1 AS n'), { n: 1 });
    assert.deepEqual(await second.one('SELECT 1 AS n'), { n: 1n });
  });
});

describe('a spelling of the path', () => {
  const spellings: Record<string, (folder: Folder) => string> = {
    'with dots': (folder) => `${folder.path}/./other/../test.db`,
    'through a link to its folder': (folder) => {
      symlinkSync(folder.path, folder.file('link'), 'junction');
      return folder.file('link/test.db');
    },
    'that is a hard link': (folder) => {
      linkSync(folder.file(), folder.file('hard.db'));
      return folder.file('hard.db');
    },
  };
  for (const [name, spell] of Object.entries(spellings)) {
    it(`${name} is the same file`, async (t) => {
      const folder = new Folder(t);
      mkdirSync(folder.file('other'));
      const first = await folder.database(LOG, { busyTimeoutMs: 0 });
      const spelling = spell(folder);
      const second = folder.keep(await Database.open(spelling, { busyTimeoutMs: 0 }));

      const held = await folder.hold(first);
      const waiting = Promise.all([second.run(INSERT, ['a']), first.run(INSERT, ['b'])]);
      await held.release();
      await waiting;
      assert.deepEqual(await letters(second), ['a', 'b']);
      await assert.rejects(Database.open(spelling, { readers: 9 }), OptionsConflictError);

      await Promise.all([first.close(), second.close()]);
      for (const file of ['test.db-wal', 'hard.db-wal']) assert.equal(existsSync(folder.file(file)), false, file);
      assert.deepEqual(await readElsewhere(spelling, 'SELECT who FROM t ORDER BY id'), [{ who: 'a' }, { who: 'b' }]);
    });
  }
});

describe('options that cannot differ', () => {
  const conflicts: { option: string; has: OpenOptions; asks: OpenOptions; values: RegExp }[] = [
    {
      option: 'synchronous',
      has: { synchronous: 'normal' },
      asks: { synchronous: 'full' },
      values: /synchronous 'normal'.*synchronous 'full'/,
    },
    { option: 'synchronous (default)', has: {}, asks: { synchronous: 'normal' }, values: /'full'.*'normal'/ },
    { option: 'readers', has: { readers: 2 }, asks: { readers: 3 }, values: /readers 2\b.*readers 3\b/ },
    { option: 'maxQueued', has: { maxQueued: 20 }, asks: { maxQueued: 30 }, values: /maxQueued 20\b.*maxQueued 30\b/ },
    { option: 'readOnly', has: {}, asks: { readOnly: true }, values: /readOnly false\b.*readOnly true\b/ },
  ];
  for (const { option, has, asks, values } of conflicts) {
    it(`${option}: the error names both values, and the first handle goes on`, async (t) => {
      const folder = new Folder(t);
      const first = await folder.database(LOG, has);
      await assert.rejects(folder.open('test.db', asks), (error) => {
        assert.ok(error instanceof OptionsConflictError);
        assert.equal(error.code, 'OPTIONS_CONFLICT');
        assert.match(error.message, values);
        assert.ok(error.message.includes(folder.file()), error.message);
        return true;
      });
      await first.run(INSERT, ['a']);
      await first.close();
      assert.equal(existsSync(folder.file('test.db-wal')), false, 'the refused open counts as no handle');

      const again = await folder.open('test.db', asks);
      assert.deepEqual(await letters(again), ['a']);
    });
  }

  it('are compared with those of an open that is still under way', async (t) => {
    const folder = new Folder(t);
    const [first, second] = await Promise.allSettled([
      folder.open('test.db', { readers: 2 }),
      folder.open('test.db', { readers: 3 }),
    ]);
    const outcomes = [first.status, second.status].sort();
    assert.deepEqual(outcomes, ['fulfilled', 'rejected']);
    const refused =
      first.status === 'rejected' ? first.reason : second.status === 'rejected' ? second.reason : undefined;
    assert.ok(refused instanceof OptionsConflictError);
  });
});

describe('worker threads', () => {
  it('work on one file at once, ten of them, and lose nothing', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database('CREATE TABLE counter(n); INSERT INTO counter VALUES (0)', { busyTimeoutMs: 0 });
    const threads = Array.from({ length: 10 }, () => new Thread(t, { do: 'count', path: folder.file(), times: 25 }));
    for (const thread of threads) assert.deepEqual(await thread.told(), { done: 25 });
    assert.deepEqual(await db.one('SELECT n FROM counter'), { n: 250 });
  });

  it('queue for the writer in the order of their calls', async (t) => {
    // this thread       a worker             another worker
    // holds the writer
    //                   write a (queued)
    // run b (queued)
    //                                        write c (queued)
    // run d (queued)
    // releases
    // a, b, c, d
    const folder = new Folder(t);
    const db = await folder.database(LOG);
    const held = await folder.hold(db);
    const queue = async (who: string) => {
      const thread = new Thread(t, { do: 'write', path: folder.file(), who });
      assert.deepEqual(await thread.told(), { queued: who });
      return thread;
    };
    const a = await queue('a');
    const b = db.run(INSERT, ['b']);
    const c = await queue('c');
    const d = db.run(INSERT, ['d']);
    await held.release();
    await Promise.all([b, d]);
    assert.deepEqual(await a.told(), { done: 1 });
    assert.deepEqual(await c.told(), { done: 1 });
    assert.deepEqual(await letters(db), ['a', 'b', 'c', 'd']);
  });

  it('are told about options that conflict', async (t) => {
    const folder = new Folder(t);
    await folder.open('test.db', { readers: 2 });
    const thread = new Thread(t, { do: 'write', path: folder.file(), who: 'a', options: { readers: 3 } });
    const told = await thread.told();
    assert.ok('failed' in told && told.failed.startsWith('OptionsConflictError'), JSON.stringify(told));
  });

  it('that are terminated in a write lose it, and the next writer is served', async (t) => {
    // a worker            this thread
    // write: INSERT a
    //                     run b (queued)
    // terminated
    //                     b
    const folder = new Folder(t);
    const db = await folder.database(LOG, { busyTimeoutMs: 0 });
    const thread = new Thread(t, { do: 'leave open', path: folder.file(), who: 'a' });
    assert.deepEqual(await thread.told(), { open: 'a' });
    const next = db.run(INSERT, ['b']);
    await thread.terminate();
    await within(next, 'the write behind that of a terminated worker');
    assert.deepEqual(await letters(db), ['b']);
    await db.close();
    assert.equal(existsSync(folder.file('test.db-wal')), false, 'the handle of the worker is gone too');
  });

  it('that are too busy to take the writer do not hold up others, and get their turn', async (t) => {
    // this thread         a worker
    // holds the writer
    //                     write a (queued), then blocks its loop
    // run b (queued)
    // releases
    // b has run
    // unblocks
    //                     a
    const folder = new Folder(t);
    const db = await folder.database(LOG);
    const held = await folder.hold(db);
    const blocked = new Int32Array(new SharedArrayBuffer(4));
    const thread = new Thread(t, { do: 'write', path: folder.file(), who: 'a', blocked });
    assert.deepEqual(await thread.told(), { queued: 'a' });
    const next = db.run(INSERT, ['b']);
    await held.release();
    await within(next, 'the write behind that of a worker whose loop is busy');
    assert.deepEqual(await letters(db), ['b']);
    Atomics.store(blocked, 0, 1);
    Atomics.notify(blocked, 0);
    assert.deepEqual(await thread.told(), { done: 1 });
    assert.deepEqual(await letters(db), ['b', 'a']);
  });

  it('end by themselves while a database is open in them', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(LOG);
    const thread = new Thread(t, { do: 'leave', path: folder.file(), who: 'a' });
    assert.deepEqual(await thread.told(), { done: 1 });
    await thread.ended();
    assert.deepEqual(await letters(db), ['a']);
    await db.close();
    const rows: Row[] = await readElsewhere(folder.file(), 'SELECT who FROM t');
    assert.deepEqual(rows, [{ who: 'a' }]);
  });
});
