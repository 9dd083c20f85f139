// Waiting for a turn: for how long, behind how many, and what is told about those who have it.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  AbortError,
  type CallOptions,
  type Database,
  QueueFullError,
  QueueTimeoutError,
  TransactionTimeoutError,
} from 'sqlflow';
import {
  ENDLESS,
  ENDLESS_INSERT,
  NEVER,
  notStarted,
  readsOf,
  THREE,
  writesOf,
} from './fixtures/transactions/cancelling.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { INSERT, numbers, TABLE } from './fixtures/transactions/numbers.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { reasonOf } from './fixtures/transactions/thrown-values.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const SHORT: CallOptions = { queueTimeoutMs: 30 };

/** What `call` says when it has waited too long. */
async function tooLong(call: Promise<unknown>, what: string): Promise<string> {
  const error = await within(reasonOf(call), what);
  assert.ok(error instanceof QueueTimeoutError, `${what}: ${error}`);
  assert.equal(error.code, 'QUEUE_TIMEOUT', what);
  assert.match(error.message, /^waited for queueTimeoutMs \(\d+ ms\) for /, what);
  return error.message;
}

/** How a stack calls the line below the call. */
function nextLine(): RegExp {
  const [, line = ''] = /35\.queue-limits\.spec\.m[jt]s:(\d+):\d+/.exec(new Error().stack?.split('\n')[2] ?? '') ?? [];
  return new RegExp(`it was taken\\n +at .*35\\.queue-limits\\.spec\\.m[jt]s:${Number(line) + 1}:\\d+`);
}

describe('queueTimeoutMs', () => {
  it('of a call ends its wait for the writer; the error names the holder and its time', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE);
    const held = await folder.hold(db);
    for (const [name, call] of Object.entries(writesOf(db))) {
      const told = await tooLong(call(SHORT), name);
      assert.match(told, /\(30 ms\) for the writer, which is held by a db\.write that has been open for \d+ ms$/, name);
    }
    assert.equal(db.stats().writer.queued, 0);
    await held.release();
    assert.deepEqual(await numbers(db), []);
  });

  it('of a call ends its wait for a reader; the error names the holders', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { readers: 2, reentrancy: 'allow' });
    const rows = db.iterate(THREE, [], { batchRows: 1 });
    await rows.next();
    await db.read(async () => {
      for (const [name, call] of Object.entries({
        ...readsOf(db, THREE),
        read: (o: CallOptions) => db.read(notStarted, o),
      })) {
        const told = await tooLong(call(SHORT), name);
        assert.match(told, /\(30 ms\) for one of 2 readers, which are held by/, name);
        assert.match(told, /(a db\.read that has been open for \d+ ms.*){2}/s, name);
      }
    });
    await rows.return();
    assert.deepEqual(await within(db.get(THREE), 'a reader'), { n: 1 });
  });

  it('is that of the database where a call has none, and 0 is for ever', async (t) => {
    // writer      run (default: 30)      run (0)
    // held
    //             (waits)                (waits)
    //             QueueTimeoutError
    // released
    //                                    done
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { queueTimeoutMs: 30 });
    const held = await folder.hold(db);
    const patient = [db.run(INSERT, [2], { queueTimeoutMs: 0 }), db.batch([[INSERT, [3]]], { queueTimeoutMs: 0 })];
    await tooLong(db.run(INSERT, [1]), 'the default');
    await tooLong(db.write(notStarted), 'the default');
    await held.release();
    await within(Promise.all(patient), 'those that wait for ever');
    assert.deepEqual(await numbers(db), [2, 3]);
  });

  it('with captureStacks the error says where the writer was taken', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { captureStacks: true });
    const gate = folder.gate();
    const where = nextLine();
    const write = db.write(() => gate.opened);
    await until(() => db.stats().writer.state === 'held', 'the writer is held');
    const told = await tooLong(db.run(INSERT, [1], SHORT), 'behind a write');
    assert.match(told, /held by a db\.write/);
    assert.match(told, where);
    gate.open();
    await write;
  });

  it('with captureStacks it says so of a batch, too', async (t) => {
    const db = await new Folder(t).database(TABLE, { captureStacks: true });
    const where = nextLine();
    const batch = db.batch((tx) => tx.get(ENDLESS), { timeoutMs: 200 });
    const behind = tooLong(db.run(INSERT, [1], SHORT), 'behind a batch');
    const late = await within(reasonOf(batch), 'the batch');
    assert.ok(late instanceof TransactionTimeoutError, String(late));
    assert.match(late.message, where);
    const told = await behind;
    assert.match(told, /held by a db\.batch/);
    assert.match(told, where);
  });

  it('with captureStacks it says so of each reader, too', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { captureStacks: true, readers: 2 });
    const gate = folder.gate();
    const first = nextLine();
    const read = db.read(() => gate.opened);
    const second = nextLine();
    const rows = db.iterate(THREE, [], { batchRows: 1 }).next();
    await rows;
    await until(() => db.stats().readers.transactions === 2, 'the readers are held');
    const told = await tooLong(db.get(THREE, [], SHORT), 'behind reads');
    assert.match(told, first);
    assert.match(told, second);
    gate.open();
    await read;
  });

  it('with captureStacks a deadline says where the transaction was taken; without, nothing does', async (t) => {
    const folder = new Folder(t);
    for (const captureStacks of [true, false]) {
      const db = await folder.open('test.db', { captureStacks });
      const messages: string[] = [];
      for (const kind of ['read', 'write'] as const) {
        const where = nextLine();
        const late = db[kind](() => NEVER, { timeoutMs: 30 });
        const error = await within(reasonOf(late), kind);
        assert.ok(error instanceof TransactionTimeoutError, String(error));
        if (captureStacks) assert.match(error.message, where);
        messages.push(error.message);
      }
      assert.equal(
        messages.some((message) => message.includes('.spec.')),
        captureStacks,
      );
    }
  });

  it('names another process, or the statement that runs', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { busyTimeoutMs: 600_000 });
    const controller = new AbortController();
    const running = db.run(ENDLESS_INSERT, [], { signal: controller.signal });
    await until(() => db.stats().writer.state === 'running', 'a statement runs');
    assert.match(
      await tooLong(db.write(notStarted, SHORT), 'behind a run'),
      /another call with a transaction of its own, the present one for \d+ ms/,
    );
    controller.abort();
    await assert.rejects(running, AbortError);
    const other = await OtherProcess.with(t, folder.file());
    await other.ask({ do: 'hold', sql: 'SELECT 1' });
    const first = db.run(INSERT, [2]);
    await until(() => db.stats().writer.state === 'waiting', 'the lock is met');
    assert.match(
      await tooLong(db.run(INSERT, [1], SHORT), 'behind a lock'),
      /waited \d+ ms for the lock of another process/,
    );
    await other.ask({ do: 'release' });
    await within(first, 'the first');
    assert.deepEqual(await numbers(db), [2]);
  });
});

describe('maxQueued', () => {
  async function full(call: Promise<unknown>, what: string): Promise<void> {
    const error = await within(reasonOf(call), what);
    assert.ok(error instanceof QueueFullError, `${what}: ${error}`);
    assert.equal(error.code, 'QUEUE_FULL', what);
    assert.match(error.message, /^2 operations wait for .*maxQueued/, what);
  }

  it('refuses more that wait for the writer; those that leave make room', async (t) => {
    const folder = new Folder(t);
    const db: Database = await folder.database(TABLE, { maxQueued: 2 });
    const held = await folder.hold(db);
    const controller = new AbortController();
    const leaves = db.run(INSERT, [1], { signal: controller.signal });
    const stays = db.run(INSERT, [2]);
    for (const [name, call] of Object.entries(writesOf(db))) await full(call({}), name);
    controller.abort();
    await assert.rejects(leaves, AbortError);
    const comes = db.run(INSERT, [3]);
    await full(db.write(notStarted), 'after the room was taken');
    assert.deepEqual(await within(db.get(THREE), 'a read'), { n: 1 });
    await held.release();
    await within(Promise.all([stays, comes]), 'those that wait');
    assert.deepEqual(await numbers(db), [2, 3]);
  });

  it('refuses more that wait for a reader', async (t) => {
    const folder = new Folder(t);
    const db = await folder.database(TABLE, { maxQueued: 2, readers: 1 });
    const gate = folder.gate();
    const holds = db.read(() => gate.opened);
    await until(() => db.stats().readers.transactions === 1, 'the reader is held');
    const waiting = [db.get(THREE), db.read((tx) => tx.get(THREE))];
    for (const [name, call] of Object.entries(readsOf(db, THREE))) await full(call({}), name);
    await within(db.run(INSERT, [1]), 'a write');
    gate.open();
    await holds;
    assert.deepEqual(await within(Promise.all(waiting), 'those that wait'), [{ n: 1 }, { n: 1 }]);
  });
});
