// Worker threads on one file: their order at the writer, what one cannot do to another, and what is left of one that ends.

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Database } from 'sqlflow';
import { flag, type Kind, raise, STATES, Thread } from './fixtures/threads/thread.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

/** A database that two threads have open too. */
async function shared(t: TestContext, schema = ''): Promise<{ folder: Folder; db: Database; a: Thread; b: Thread }> {
  const folder = new Folder(t);
  const db = await folder.database(`${TABLE}; ${schema}`, { readers: 4 });
  const [a, b] = await Promise.all([0, 1].map(() => Thread.with(t, folder.file(), { readers: 4 })));
  return { folder, db, a: a ?? assert.fail(), b: b ?? assert.fail() };
}

async function idle(db: Database): Promise<void> {
  await until(() => {
    const { writer, readers } = db.stats();
    return writer.state === 'idle' && readers.transactions === 0 && readers.idle === readers.open;
  }, 'an idle database');
}

describe('two threads', () => {
  it('are served by the one writer in the order of their calls, of every kind', async (t) => {
    // this one             a                    b
    // holds the writer
    //                      run, write or batch  (queued)
    //                                           the next kind (queued)
    // another (queued)
    //                      ... twelve rounds
    // releases: served as queued
    const { folder, db, a, b } = await shared(t);
    const kinds: readonly Kind[] = ['run', 'write', 'batch'];
    const kind = (n: number) => kinds[n % kinds.length] ?? 'run';
    const held = await folder.hold(db);
    const expected: string[] = [];
    const own: Promise<unknown>[] = [];
    for (let round = 0; round < 12; round++) {
      await a.ask(kind(round), `a ${round}`);
      await b.ask(kind(round + 1), `b ${round}`);
      own.push(round % 2 === 0 ? db.run(INSERT, [`own ${round}`]) : db.batch((tx) => tx.run(INSERT, [`own ${round}`])));
      expected.push(`a ${round}`, `b ${round}`, `own ${round}`);
    }
    assert.equal(db.stats().writer.queued, 36);
    await held.release();
    await Promise.all([...own, a.heard('a 11 done'), b.heard('b 11 done')]);
    assert.deepEqual(await numbers(db), expected);
  });

  it('hear of each other in the order of the commits', async (t) => {
    const { db, a, b } = await shared(
      t,
      'CREATE TABLE u(n); CREATE TRIGGER r AFTER INSERT ON t WHEN new.n = 2 BEGIN INSERT INTO u VALUES (1); END',
    );
    await a.ask('run', 'of a');
    await a.heard('of a done');
    await db.exec('DELETE FROM u');
    await b.ask('write', 'of b');
    await b.heard('of b done');
    const marks = ['commit t,u', 'commit u', 'commit t,u'];
    for (const thread of [a, b]) {
      const heard = () => thread.all.filter((text) => text.startsWith('commit '));
      await until(() => heard().length >= marks.length, 'three commits');
      assert.deepEqual(heard(), marks);
    }
  });

  it('of which one stands still do not hold up the other, and it gets its turn', async (t) => {
    // this one             a                       b
    // holds the writer
    //                      write (queued), blocks
    //                                              run (queued)
    //                                              write (queued)
    // releases
    //                      granted, not taken
    //                                              both committed
    //                      goes on: committed
    const { folder, db, a, b } = await shared(t);
    const blocked = flag();
    const held = await folder.hold(db);
    await a.ask('write', 'a', blocked);
    await b.ask('run', 'b 1');
    await b.ask('write', 'b 2');
    await held.release();
    await Promise.all([b.heard('b 1 done'), b.heard('b 2 done')]);
    assert.deepEqual(await numbers(db), ['b 1', 'b 2']);
    raise(blocked);
    await a.heard('a done');
    assert.deepEqual(await numbers(db), ['b 1', 'b 2', 'a']);
  });

  it('of which one stands still before a read do not hold up the other', async (t) => {
    // Reads, one reader for all: a's is granted and not taken.
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { readers: 1 });
    const a = await Thread.with(t, folder.file(), { readers: 1 });
    const gate = folder.gate();
    const started = folder.gate();
    const reading = db.read(async () => {
      started.open();
      await gate.opened;
    });
    await started.opened;
    const blocked = flag();
    await a.ask('a read', 'a', blocked);
    const next = db.read((tx) => tx.get('SELECT 1 AS n'));
    gate.open();
    await reading;
    assert.deepEqual(await within(next, 'a read behind that of a thread that stands still'), { n: 1 });
    raise(blocked);
    await a.heard('a is in it');
  });

  it('that cancel do it to their own calls only, though the others have the same slots', async (t) => {
    // this one             a                    b
    // holds the writer
    //                      write (first slot)
    //                                           write (first slot)
    //                      aborts: AbortError
    // releases
    //                                           committed
    const { folder, db, a, b } = await shared(t);
    const held = await folder.hold(db);
    for (const kind of ['run', 'write', 'batch'] as const) {
      await a.ask(kind, `a ${kind}`);
      await b.ask(kind, `b ${kind}`);
    }
    assert.equal(db.stats().writer.queued, 6);
    for (const kind of ['run', 'write', 'batch']) {
      a.tell({ do: 'abort', name: `a ${kind}` });
      await a.heard(`a ${kind} failed: ABORT_ERR`);
    }
    assert.equal(db.stats().writer.queued, 3);
    await held.release();
    for (const kind of ['run', 'write', 'batch']) await b.heard(`b ${kind} done`);
    assert.deepEqual(await numbers(db), ['b run', 'b write', 'b batch']);
  });

  it('that cancel a statement that runs do not touch that of the other', async (t) => {
    const { db, a, b } = await shared(t);
    const busy = () => db.stats().readers.open - db.stats().readers.idle;
    await a.ask('endless read', 'a');
    await b.ask('endless read', 'b');
    await until(() => busy() === 2, 'two statements that run');
    a.tell({ do: 'abort', name: 'a' });
    await a.heard('a failed: ABORT_ERR');
    await until(() => busy() === 1, 'one statement that runs');
    assert.equal(b.all.includes('b failed: ABORT_ERR'), false);
    b.tell({ do: 'abort', name: 'b' });
    await b.heard('b failed: ABORT_ERR');
    await idle(db);
  });
});

describe('a thread that is terminated', () => {
  /** The next write, whose turn comes when nothing of the thread is in the way. */
  const next = async (db: Database, before: readonly string[] = []) => {
    await within(db.run(INSERT, ['next']), 'the write behind a terminated thread');
    await within(
      db.write((tx) => tx.run(INSERT, ['after'])),
      'a write afterwards',
    );
    await idle(db);
    assert.deepEqual(await numbers(db), [...before, 'next', 'after']);
    await within(db.close(), 'close');
  };

  for (const state of STATES) {
    it(`leaves the writer and the readers free: ${state}`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.database(TABLE);
      const thread = await Thread.with(t, folder.file());
      thread.tell({ do: 'ask', kind: state, name: 'lost' });
      await thread.heard('lost is in it');
      await thread.terminate();
      await next(db);
    });
  }

  for (const kind of ['run', 'write', 'batch'] as const) {
    it(`takes what it has queued with it: ${kind}`, async (t) => {
      // this one             the thread
      // holds the writer
      //                      ten calls (queued)
      // run (queued)
      //                      terminated
      // releases: only the run is done
      const folder = new Folder(t);
      const db = await folder.database(TABLE);
      const thread = await Thread.with(t, folder.file());
      const held = await folder.hold(db);
      for (let n = 0; n < 10; n++) await thread.ask(kind, `lost ${n}`);
      const own = db.run(INSERT, ['own']);
      assert.equal(db.stats().writer.queued, 11);
      await thread.terminate();
      await until(() => db.stats().writer.queued === 1, 'the end of what it had queued');
      await held.release();
      await within(own, 'the write among those of a terminated thread');
      await next(db, ['own']);
    });
  }

  for (const kind of ['write', 'batch'] as const) {
    it(`gives back the writer that it was granted and has not taken: ${kind}`, async (t) => {
      // this one             the thread
      // holds the writer
      //                      asks (queued), blocks
      // releases
      //                      granted; terminated
      // next
      const folder = new Folder(t);
      const db = await folder.database(TABLE);
      const thread = await Thread.with(t, folder.file());
      const held = await folder.hold(db);
      await thread.ask(kind, 'lost', flag());
      await held.release();
      await thread.terminate();
      await next(db);
    });
  }
});

describe('a handle that is closed', () => {
  const SEQUENCE = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) SELECT i FROM c';
  const ENDLESS = 'WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c';

  it('leaves all that others have in flight alone, on this thread and on another', async (t) => {
    // first                second                     a worker
    //                      holds the writer
    //                      reads, streams, iterates
    //                      writes of all kinds wait
    //                                                 writes wait, reads
    // closed
    //                      releases: all of it is done
    const { folder, db: second, a } = await shared(t);
    const first = await folder.open('test.db', { readers: 4 });
    const other = await folder.open('test.db', { readers: 4 });
    const rows = second.iterate<{ i: number }>(SEQUENCE, [], { batchRows: 1 });
    await rows.next();
    const held = await folder.hold(second);
    const controller = new AbortController();
    const endless = second.get(ENDLESS, [], { signal: controller.signal });
    const stream = second.all(SEQUENCE);
    const writes = [
      second.run(INSERT, ['run']),
      second.write((tx) => tx.run(INSERT, ['write'])),
      second.batch((tx) => tx.run(INSERT, ['batch'])),
      second.batch([[INSERT, ['statements']]]),
      second.runMany(INSERT, [['many'], ['more']]),
    ];
    await a.ask('run', 'of a');
    await within(first.close(), 'close of a handle that has nothing to do');
    await within(other.close({ timeoutMs: 0 }), 'close of another, at once');
    a.tell({ do: 'ask', kind: 'a read', name: 'reading' });
    await a.heard('reading is in it');
    assert.equal(second.stats().writer.queued, 6);
    controller.abort();
    await assert.rejects(endless, { code: 'ABORT_ERR' });
    assert.equal((await within(stream, 'a large result')).length, 20_000);
    assert.deepEqual(await rows.next(), { done: false, value: { i: 2 } });
    await rows.return();
    await held.release();
    await within(Promise.all(writes), 'writes of the other handle');
    await a.heard('of a done');
    assert.deepEqual(await numbers(second), ['run', 'write', 'batch', 'statements', 'many', 'more', 'of a']);
  });

  for (const timeoutMs of [undefined, 0]) {
    const how = timeoutMs === undefined ? 'lets its own work finish' : 'at once ends its own work';
    it(`${how}, and leaves that of others alone`, async (t) => {
      // first                second                     a worker
      // holds the writer
      //                      writes of all kinds wait
      //                      reads, iterates
      //                                                 run waits
      //                      close
      // releases
      //                      served or refused          committed
      const { folder, db: first, a } = await shared(t);
      const second = await folder.open('test.db', { readers: 4 });
      const held = await folder.hold(first);
      const rows = second.iterate(SEQUENCE, [], { batchRows: 1 });
      await rows.next();
      const gate = folder.gate();
      const started = folder.gate();
      const reading = second.read(async (tx) => {
        started.open();
        await gate.opened;
        return tx.get('SELECT 1 AS n');
      });
      await started.opened;
      const accepted = [
        reading,
        second.run(INSERT, ['run']),
        second.write((tx) => tx.run(INSERT, ['write'])),
        second.batch((tx) => tx.run(INSERT, ['batch'])),
        second.batch([[INSERT, ['statements']]]),
      ];
      await a.ask('run', 'of a');
      const own = first.run(INSERT, ['first']);
      const settled = Promise.allSettled(accepted);
      const closing = second.close(timeoutMs === undefined ? undefined : { timeoutMs });
      if (timeoutMs === 0) await within(closing, 'close at once');
      gate.open();
      await held.release();
      const outcomes = await within(settled, 'what was accepted');
      await within(Promise.all([closing, own]), 'close, and the write of the first');
      await a.heard('of a done');
      const reasons = outcomes.map((one) => (one.status === 'rejected' ? one.reason.code : 'done'));
      assert.deepEqual(reasons, Array(5).fill(timeoutMs === 0 ? 'DATABASE_CLOSED' : 'done'));
      await assert.rejects(rows.next(), { code: 'DATABASE_CLOSED' });
      const done = timeoutMs === 0 ? [] : ['run', 'write', 'batch', 'statements'];
      assert.deepEqual(await numbers(first), [...done, 'of a', 'first']);
      await idle(first);
    });
  }

  it('of a thread, with its work in flight, waits for it and for nothing else', async (t) => {
    const { folder, db, a, b } = await shared(t);
    const held = await folder.hold(db);
    await a.ask('run', 'a run');
    await a.ask('batch', 'a batch');
    await b.ask('write', 'b write');
    a.tell({ do: 'close' });
    b.tell({ do: 'close', timeoutMs: 0 });
    await b.heard('closed');
    await b.heard('b write failed: DATABASE_CLOSED');
    assert.equal(a.all.includes('closed'), false);
    await held.release();
    await Promise.all(['closed', 'a run done', 'a batch done'].map((text) => a.heard(text)));
    assert.deepEqual(await numbers(db), ['a run', 'a batch']);
  });
});
