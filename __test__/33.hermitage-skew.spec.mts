// Isolation: those anomalies of Hermitage (https://github.com/ept/hermitage) in which nothing is seen that was not committed,
// and which still are no order of the transactions: changed conditions, lost updates, skews. Each is forced step by step.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ReadOnlyTransactionError } from 'sqlflow';
import { Stepped } from './fixtures/transactions/stepped.mjs';
import {
  ALL,
  assertWaits,
  SET,
  setUp,
  setUpWithOther,
  THIRDS,
  value,
  values,
} from './fixtures/transactions/two-rows.mjs';
import { within } from './fixtures/transactions/within.mjs';
import type { Job, Told } from './fixtures/transactions/worker.mjs';

describe('PMP, predicate many preceders: a condition matches other rows than it did before', () => {
  it('in a read, whose snapshot holds for conditions too', async (t) => {
    // T1                      T2
    // read: thirds: none
    //                         write
    //                         insert 30
    //                         COMMIT
    // thirds: none
    // a new read: 30
    const { folder, db } = await setUp(t);
    const one = await Stepped.read(folder, db);
    assert.deepEqual(await values(one.tx, THIRDS), []);
    const two = await Stepped.write(folder, db);
    await two.tx.run('INSERT INTO test VALUES (3, 30)');
    await two.commit();
    assert.deepEqual(await values(one.tx, THIRDS), []);
    await one.commit();
    assert.deepEqual(await values(db, THIRDS), [30]);
  });

  it('in a read, when another process writes', async (t) => {
    const { folder, db, other } = await setUpWithOther(t);
    const one = await Stepped.read(folder, db);
    assert.deepEqual(await values(one.tx, THIRDS), []);
    await other.ask({ do: 'run', sql: 'INSERT INTO test VALUES (3, 30)' });
    assert.deepEqual(await values(one.tx, THIRDS), []);
    await one.commit();
    assert.deepEqual(await values(db, THIRDS), [30]);
  });

  it('in a write, which finds its rows after the one before has ended', async (t) => {
    // T1                      T2
    // write
    // every row + 10
    //                         write (waits)
    // COMMIT: 20, 30
    //                         delete those of 20: row 1, not row 2
    //                         COMMIT
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    await one.tx.run('UPDATE test SET value = value + 10');
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await one.commit();
    await two.begun();
    assert.deepEqual(await values(two.tx), [20, 30]);
    assert.equal((await two.tx.run('DELETE FROM test WHERE value = 20')).changes, 1);
    await two.commit();
    assert.deepEqual(await values(db), [30]);
  });
});

describe('P4, lost update: both read, both write, one is gone', () => {
  // Prevented: a write has the writer before its first statement, so what it reads cannot change until it ends.

  it('of two callers', async (t) => {
    // T1                      T2
    // write
    // row 1: 10
    //                         write (waits)
    // row 1 = 10 + 1
    // COMMIT
    //                         row 1: 11
    //                         row 1 = 11 + 1
    //                         COMMIT
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    const first = Number(await value(one.tx, 1));
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await one.tx.run(SET, [first + 1, 1]);
    await one.commit();
    await two.begun();
    const second = Number(await value(two.tx, 1));
    await two.tx.run(SET, [second + 1, 1]);
    await two.commit();
    assert.deepEqual(await values(db), [12, 20]);
  });

  it('of two processes', async (t) => {
    // T1                      other process
    // write
    // row 1: 10
    //                         row 1 + 1 (waits by a timer)
    // row 1 = 10 + 1
    // COMMIT
    //                         COMMIT: 12
    const { folder, db, other } = await setUpWithOther(t);
    const one = await Stepped.write(folder, db);
    const first = Number(await value(one.tx, 1));
    let isOver = false;
    const added = other.ask({ do: 'run', sql: 'UPDATE test SET value = value + 1 WHERE id = 1' }).then(() => {
      isOver = true;
    });
    for (let reads = 0; reads < 50; reads++) assert.deepEqual(await values(db), [10, 20]);
    assert.equal(isOver, false);
    await one.tx.run(SET, [first + 1, 1]);
    await one.commit();
    await added;
    assert.deepEqual(await values(db), [12, 20]);
  });

  it('of worker threads, which share the queue', async (t) => {
    // T1                      two workers
    // write
    // counter: 0
    //                         come, and have to wait
    // counter = 1
    // COMMIT
    //                         twenty times each: counter: n, counter = n + 1
    const { folder, db } = await setUp(t);
    await db.exec('CREATE TABLE counter(n INTEGER NOT NULL); INSERT INTO counter VALUES (0)');
    const one = await Stepped.write(folder, db);
    const first = await one.tx.one<{ n: number }>('SELECT n FROM counter');
    const workers = Array.from({ length: 2 }, async () => {
      const workerData: Job = { do: 'count', path: db.path, times: 20 };
      const worker = new Worker(new URL('./fixtures/transactions/worker.mjs', import.meta.url), { workerData });
      t.after(() => worker.terminate());
      const [told]: Told[] = await once(worker, 'message');
      return told;
    });
    await one.tx.run('UPDATE counter SET n = ?', [first.n + 1]);
    await one.commit();
    assert.deepEqual(await within(Promise.all(workers), 'the workers'), [{ done: 20 }, { done: 20 }]);
    assert.deepEqual(await db.one('SELECT n FROM counter'), { n: 41 });
  });

  it('of a read that wants to write: it is refused, and does not write onto its old snapshot', async (t) => {
    // T1                      T2
    // read: 10
    //                         write, row 1 = 11, COMMIT
    // row 1 = 10 + 1: refused
    const { folder, db } = await setUp(t);
    const one = await Stepped.read(folder, db);
    assert.equal(await value(one.tx, 1), 10);
    const two = await Stepped.write(folder, db);
    await two.tx.run(SET, [11, 1]);
    await two.commit();
    await assert.rejects(one.tx.all(`${SET} RETURNING value`, [11, 1]), ReadOnlyTransactionError);
    assert.equal(await value(one.tx, 1), 10, 'the snapshot outlives the refusal');
    await one.commit();
    assert.deepEqual(await values(db), [11, 20]);
  });
});

describe('G-single, read skew: one statement sees the state before a transaction, the next the one after', () => {
  // Prevented: the snapshot is taken before the closure starts, and holds until it ends.

  it('of two callers', async (t) => {
    // T1                      T2
    // read
    // row 1: 10
    //                         write
    //                         row 1 = 12, row 2 = 18
    //                         COMMIT
    // row 2: 20
    const { folder, db } = await setUp(t);
    const one = await Stepped.read(folder, db);
    assert.equal(await value(one.tx, 1), 10);
    const two = await Stepped.write(folder, db);
    await two.tx.run(SET, [12, 1]);
    await two.tx.run(SET, [18, 2]);
    await two.commit();
    assert.equal(await value(one.tx, 2), 20);
    assert.deepEqual(
      one.tx.sync.all(ALL).map((row) => row['value']),
      [10, 20],
    );
    await one.commit();
  });

  it('of two callers, before the first statement', async (t) => {
    // T1                      T2
    // read
    //                         write, row 1 = 12, row 2 = 18
    //                         COMMIT
    // row 1: 10, row 2: 20
    const { folder, db } = await setUp(t);
    const one = await Stepped.read(folder, db);
    const two = await Stepped.write(folder, db);
    await two.tx.run(SET, [12, 1]);
    await two.tx.run(SET, [18, 2]);
    await two.commit();
    assert.deepEqual(await values(one.tx), [10, 20]);
    await one.commit();
  });

  it('of two processes', async (t) => {
    const { folder, db, other } = await setUpWithOther(t);
    const one = await Stepped.read(folder, db);
    assert.equal(await value(one.tx, 1), 10);
    await other.ask({
      do: 'exec',
      sql: 'UPDATE test SET value = 12 WHERE id = 1; UPDATE test SET value = 18 WHERE id = 2',
    });
    assert.equal(await value(one.tx, 2), 20);
    await one.commit();
    assert.deepEqual(await values(db), [12, 18]);
  });

  it('between two rows of one query', async (t) => {
    // T1                      T2
    // iterate: 10
    //                         write, row 1 = 12, row 2 = 18
    //                         COMMIT
    // next: 20
    const { folder, db } = await setUp(t);
    const rows = db.iterate(ALL, [], { batchRows: 1 });
    assert.deepEqual((await rows.next()).value, { value: 10 });
    const two = await Stepped.write(folder, db);
    await two.tx.run(SET, [12, 1]);
    await two.tx.run(SET, [18, 2]);
    await two.commit();
    assert.deepEqual((await rows.next()).value, { value: 20 });
    await rows.return();
  });
});

describe('G2-item, write skew: each of two transactions writes what the other has read', () => {
  // Prevented: a write that reads has the writer already; the other one reads after it.

  it('of two callers', async (t) => {
    // T1                      T2
    // write
    // rows 1 and 2: 10, 20
    //                         write (waits)
    // row 1 = 11
    // COMMIT
    //                         rows 1 and 2: 11, 20
    //                         row 2 = 21
    //                         COMMIT
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    assert.deepEqual(await values(one.tx), [10, 20]);
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await one.tx.run(SET, [11, 1]);
    await one.commit();
    await two.begun();
    assert.deepEqual(await values(two.tx), [11, 20]);
    await two.tx.run(SET, [21, 2]);
    await two.commit();
    assert.deepEqual(await values(db), [11, 21]);
  });

  it('of two processes', async (t) => {
    // other process           T2
    // write, row 1 = 11
    //                         write (waits by a timer)
    // COMMIT
    //                         rows 1 and 2: 11, 20
    const { folder, db, other } = await setUpWithOther(t);
    await other.ask({
      do: 'hold',
      sql: 'UPDATE test SET value = 11 WHERE id = 1 AND (SELECT sum(value) FROM test) = 30',
    });
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await other.ask({ do: 'release' });
    await two.begun();
    assert.deepEqual(await values(two.tx), [11, 20]);
    await two.commit();
  });
});

describe('G2, anti-dependency cycles: what one transaction looked for in vain the other has inserted', () => {
  // Prevented: as for rows, so for conditions; nothing is inserted while a write is open.

  it('of two callers', async (t) => {
    // T1                      T2
    // write
    // thirds: none
    //                         write (waits)
    // insert 30
    // COMMIT
    //                         thirds: 30
    //                         COMMIT, without one of its own
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    assert.deepEqual(await values(one.tx, THIRDS), []);
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await one.tx.run('INSERT INTO test VALUES (3, 30)');
    await one.commit();
    await two.begun();
    assert.deepEqual(await values(two.tx, THIRDS), [30]);
    await two.commit();
    assert.deepEqual(await values(db), [10, 20, 30]);
  });

  it('of three callers, one of which only reads (Fekete)', async (t) => {
    // T1                      T2                      T3
    //                         write
    //                         row 2 = 20 + 5
    // write (waits)
    //                         COMMIT
    //                                                 read: 10, 25
    // rows 1 and 2: 10, 25
    // row 1 = 0
    // COMMIT
    //                                                 10, 25
    // T3 saw T2 and not T1: so T1 must have seen T2.
    const { folder, db } = await setUp(t);
    const two = await Stepped.write(folder, db);
    await two.tx.run('UPDATE test SET value = value + 5 WHERE id = 2');
    const one = Stepped.queued(folder, db);
    await assertWaits(db, one);
    await two.commit();
    const three = await Stepped.read(folder, db);
    assert.deepEqual(await values(three.tx), [10, 25]);
    await one.begun();
    assert.deepEqual(await values(one.tx), [10, 25]);
    await one.tx.run(SET, [0, 1]);
    await one.commit();
    assert.deepEqual(await values(three.tx), [10, 25]);
    await three.commit();
    assert.deepEqual(await values(db), [0, 25]);
  });
});
