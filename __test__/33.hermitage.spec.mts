// Isolation: the anomalies of Hermitage (https://github.com/ept/hermitage), each forced step by step. `read` is one
// snapshot and `write` is serializable, so none of them can be seen, whoever the others are: callers of this handle,
// worker threads or other processes. Here: what is dirty; what is only out of order is in 33.hermitage-skew.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Stepped } from './fixtures/transactions/stepped.mjs';
import { ALL, assertWaits, SET, setUp, setUpWithOther, value, values } from './fixtures/transactions/two-rows.mjs';

describe('G0, dirty write: updates of two transactions mixed', () => {
  // Prevented: there is one writer. The second closure does not start before the first has ended.

  it('of two callers', async (t) => {
    // T1                      T2
    // write
    // row 1 = 11
    //                         write (waits)
    // row 2 = 21
    // COMMIT
    //                         row 1 = 12, row 2 = 22
    //                         COMMIT
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    await one.tx.run(SET, [11, 1]);
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await one.tx.run(SET, [21, 2]);
    await one.commit();
    assert.deepEqual(await values(db), [11, 21]);
    await two.begun();
    await two.tx.run(SET, [12, 1]);
    await two.tx.run(SET, [22, 2]);
    await two.commit();
    assert.deepEqual(await values(db), [12, 22]);
  });

  it('of two processes', async (t) => {
    // other process           T2
    // write, row 1 = 11
    //                         write (waits by a timer)
    // COMMIT
    //                         row 1 = 12, row 2 = 22
    //                         COMMIT
    const { folder, db, other } = await setUpWithOther(t);
    await other.ask({ do: 'hold', sql: 'UPDATE test SET value = 11 WHERE id = 1' });
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await other.ask({ do: 'release' });
    await two.begun();
    assert.deepEqual(await values(two.tx), [11, 20]);
    await two.tx.run(SET, [12, 1]);
    await two.tx.run(SET, [22, 2]);
    await two.commit();
    assert.deepEqual(await other.all(ALL), [{ value: 12 }, { value: 22 }]);
  });
});

describe('G1a, aborted read: what was rolled back is seen', () => {
  // Prevented: a read is a snapshot of what was committed.

  it('of a closure that throws', async (t) => {
    // T1                      T2
    // write
    // row 1 = 101
    //                         read: 10, 20
    // throws, ROLLBACK
    //                         10, 20
    //                         a new read: 10, 20
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    await one.tx.run(SET, [101, 1]);
    const two = await Stepped.read(folder, db);
    assert.deepEqual(await values(two.tx), [10, 20]);
    await one.rollback();
    assert.deepEqual(await values(two.tx), [10, 20]);
    await two.commit();
    assert.deepEqual(await values(db), [10, 20]);
  });

  it('of a process that crashes', async (t) => {
    // other process           T2
    // write, row 1 = 101
    //                         read: 10, 20
    // killed
    //                         10, 20
    //                         write: finds 10, 20, sets 12
    const { folder, db, other } = await setUpWithOther(t);
    await other.ask({ do: 'hold', sql: 'UPDATE test SET value = 101 WHERE id = 1' });
    const two = await Stepped.read(folder, db);
    assert.deepEqual(await values(two.tx), [10, 20]);
    await other.kill();
    assert.deepEqual(await values(two.tx), [10, 20]);
    await two.commit();
    const three = await Stepped.write(folder, db);
    assert.deepEqual(await values(three.tx), [10, 20]);
    await three.tx.run(SET, [12, 1]);
    await three.commit();
    assert.deepEqual(await values(db), [12, 20]);
  });
});

describe('G1b, intermediate read: what a transaction wrote first and changed later is seen', () => {
  // Prevented: a snapshot holds whole transactions only.

  it('of two callers', async (t) => {
    // T1                      T2
    // write
    // row 1 = 101
    //                         read: 10
    // row 1 = 11
    // COMMIT
    //                         10
    //                         a new read: 11
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    await one.tx.run(SET, [101, 1]);
    const two = await Stepped.read(folder, db);
    assert.deepEqual(await values(two.tx), [10, 20]);
    await one.tx.run(SET, [11, 1]);
    await one.commit();
    assert.deepEqual(await values(two.tx), [10, 20]);
    await two.commit();
    assert.deepEqual(await values(db), [11, 20]);
  });

  it('of two processes', async (t) => {
    // T1                      other process
    // write
    // row 1 = 101
    //                         read: 10
    // row 1 = 11
    //                         read: 10
    // COMMIT
    //                         read: 11
    const { folder, db, other } = await setUpWithOther(t);
    const one = await Stepped.write(folder, db);
    await one.tx.run(SET, [101, 1]);
    assert.deepEqual(await other.all(ALL), [{ value: 10 }, { value: 20 }]);
    await one.tx.run(SET, [11, 1]);
    assert.deepEqual(await other.all(ALL), [{ value: 10 }, { value: 20 }]);
    await one.commit();
    assert.deepEqual(await other.all(ALL), [{ value: 11 }, { value: 20 }]);
  });
});

describe('G1c, circular information flow: each of two transactions sees what the other wrote', () => {
  // Prevented: writes are one after the other, so only the later one sees the earlier one.

  it('of two callers', async (t) => {
    // T1                      T2
    // write
    // row 1 = 11
    //                         write (waits)
    // row 2: 20
    // COMMIT
    //                         row 2 = 22
    //                         row 1: 11
    //                         COMMIT
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    await one.tx.run(SET, [11, 1]);
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    assert.equal(await value(one.tx, 2), 20);
    await one.commit();
    await two.begun();
    await two.tx.run(SET, [22, 2]);
    assert.equal(await value(two.tx, 1), 11);
    await two.commit();
  });

  it('of two processes', async (t) => {
    // other process           T2
    // write, row 1 = 11
    //                         write (waits by a timer)
    // COMMIT
    //                         row 2 = 22, row 1: 11
    // read: 11, 20
    //                         COMMIT
    // read: 11, 22
    const { folder, db, other } = await setUpWithOther(t);
    await other.ask({ do: 'hold', sql: 'UPDATE test SET value = 11 WHERE id = 1' });
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await other.ask({ do: 'release' });
    await two.begun();
    await two.tx.run(SET, [22, 2]);
    assert.equal(await value(two.tx, 1), 11);
    assert.deepEqual(await other.all(ALL), [{ value: 11 }, { value: 20 }]);
    await two.commit();
    assert.deepEqual(await other.all(ALL), [{ value: 11 }, { value: 22 }]);
  });
});

describe('OTV, observed transaction vanishes: a transaction is seen by one statement and half gone in the next', () => {
  // Prevented: all statements of a read see one snapshot.

  it('of three callers', async (t) => {
    // T1                      T2                      T3
    // write
    // row 1 = 11, row 2 = 19
    //                         write (waits)
    // COMMIT
    //                         row 1 = 12
    //                                                 read
    //                                                 row 1: 11
    //                         row 2 = 18
    //                         COMMIT
    //                                                 row 2: 19
    //                                                 row 1: 11
    const { folder, db } = await setUp(t);
    const one = await Stepped.write(folder, db);
    await one.tx.run(SET, [11, 1]);
    await one.tx.run(SET, [19, 2]);
    const two = Stepped.queued(folder, db);
    await assertWaits(db, two);
    await one.commit();
    await two.begun();
    await two.tx.run(SET, [12, 1]);
    const three = await Stepped.read(folder, db);
    assert.equal(await value(three.tx, 1), 11);
    await two.tx.run(SET, [18, 2]);
    await two.commit();
    assert.equal(await value(three.tx, 2), 19);
    assert.equal(await value(three.tx, 1), 11);
    await three.commit();
    assert.deepEqual(await values(db), [12, 18]);
  });
});
