// Calls with a signal or a time: what the engine is told, what the caller gets, and that nothing stays behind.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Bridge } from '../dist/native/bridge.js';
import { Form, Target } from '../dist/native/engine.js';
import { Flag, Kind, NO_REPLY } from '../dist/native/wire.js';
import { done, error, grant, rows } from './completion-records.mjs';
import { FakeAddon } from './fake-addon.mjs';

/** The database; each spec has its own. */
let handle: Target;

function setup(): { addon: FakeAddon; bridge: Bridge; tx: Target; controller: AbortController } {
  const addon = new FakeAddon();
  handle = new Target(1, 2, 0, 0);
  const tx = new Target(7, 9, Flag.transaction, 0);
  return { addon, bridge: new Bridge(addon), tx, controller: new AbortController() };
}

function listeners({ signal }: AbortController): number {
  return getEventListeners(signal, 'abort').length;
}

describe('a statement with a signal', () => {
  it('is cancelled by its operation, and rejects with the reason as cause', async () => {
    const { addon, bridge, tx, controller } = setup();
    const running = bridge.statement(tx, Form.all, 'SELECT 1', undefined, { signal: controller.signal });
    const { op } = addon.last;
    controller.abort('enough');
    const cancel = addon.last;
    assert.deepEqual(
      [cancel.kind, cancel.op, cancel.target, cancel.generation, cancel.flags, cancel.cursor],
      [Kind.cancel, NO_REPLY, 7, 9, Flag.transaction, op],
    );
    addon.answer(error(22, 'the operation was aborted', 9, -1, op));
    async function theCaller(): Promise<unknown> {
      return await running;
    }
    await assert.rejects(theCaller(), (thrown: Error & { sql?: string; code?: string }) => {
      assert.deepEqual([thrown.name, thrown.code, thrown.cause], ['AbortError', 'ABORT_ERR', 'enough']);
      assert.equal(thrown.sql, 'SELECT 1');
      assert.match(thrown.stack ?? '', /at async theCaller .*06\.cancellation/);
      return true;
    });
    assert.equal(listeners(controller), 0);
  });

  it('gives its real outcome when the engine says so', async () => {
    const { addon, bridge, controller } = setup();
    const running = bridge.statement(handle, Form.get, 'SELECT 1 AS a', undefined, { signal: controller.signal });
    const { op } = addon.last;
    controller.abort();
    addon.answer(rows({ rows: [[1]], names: ['a'], op }));
    assert.deepEqual(await running, { a: 1 });
  });

  it('that is aborted already sends nothing', async () => {
    const { addon, bridge, tx } = setup();
    const signal = AbortSignal.abort('before');
    const expected = { name: 'AbortError', cause: 'before' };
    await assert.rejects(bridge.statement(handle, Form.get, 'SELECT 1', undefined, { signal }), expected);
    await assert.rejects(bridge.statement(tx, Form.get, 'SELECT 1', undefined, { signal }), expected);
    await assert.rejects(bridge.begin(handle, 'write', { signal }), expected);
    await assert.rejects(bridge.beginBatch(handle, { signal }), expected);
    await assert.rejects(bridge.runMany(handle, 'DELETE FROM t', [[]], { signal }), expected);
    await assert.rejects(bridge.batch(handle, [{ sql: 'DELETE FROM t', parameters: undefined }], { signal }), expected);
    await assert.rejects(
      bridge.cursor(tx, { sql: 'SELECT 1', parameters: undefined, options: { signal } }).next(),
      expected,
    );
    assert.equal(addon.requests.length, 0);
    assert.equal(handle.inFlight + tx.inFlight, 0);
  });

  it('that is aborted while its values are read is cancelled', async () => {
    const { addon, bridge, tx, controller } = setup();
    const parameters = {
      get a(): number {
        controller.abort('inside');
        return 1;
      },
    };
    const running = bridge.statement(tx, Form.get, 'SELECT :a', parameters, { signal: controller.signal });
    assert.deepEqual(
      addon.requests.map(({ kind }) => kind),
      [Kind.get, Kind.cancel],
    );
    addon.answer(error(22, 'aborted', 0, -1, addon.requests[0]?.op));
    await assert.rejects(running, { cause: 'inside' });
  });

  it('that has been answered is not cancelled, whoever has its slot now', async () => {
    const { addon, bridge, controller } = setup();
    const first = bridge.statement(handle, Form.get, 'SELECT 1', undefined, { signal: controller.signal });
    const { op } = addon.last;
    const second = first.then(() => {});
    addon.answer(rows({ rows: [], names: ['a'], op }));
    // Not yet continued: the slot is free, and the next one takes it.
    const third = bridge.statement(handle, Form.get, 'SELECT 3', undefined, undefined);
    assert.equal(addon.last.op, op);
    controller.abort();
    assert.equal(addon.last.kind, Kind.get);
    addon.answer(rows({ rows: [], names: ['a'], op }));
    await Promise.all([first, second, third]);
  });

  it('has one listener with 10,000 others, and all are cancelled', async () => {
    const { addon, bridge, controller } = setup();
    const { signal } = controller;
    const running = Array.from({ length: 10_000 }, () =>
      bridge.statement(handle, Form.run, 'DELETE FROM t', undefined, { signal }),
    );
    assert.equal(listeners(controller), 1);
    const ops = addon.requests.map(({ op }) => op);
    const settled = Promise.allSettled(running);
    controller.abort();
    assert.equal(addon.of(Kind.cancel).length, 10_000);
    addon.answer(...ops.slice(0, 5_000).map((op) => error(22, 'aborted', 0, -1, op)));
    addon.answer(...ops.slice(5_000).map((op) => done(op)));
    const outcomes = await settled;
    assert.equal(outcomes.filter(({ status }) => status === 'rejected').length, 5_000);
    assert.equal(listeners(controller), 0);
    assert.equal(handle.inFlight, 0);
  });

  it('leaves nothing at a signal that lives on', async () => {
    const { addon, bridge, controller } = setup();
    for (let n = 0; n < 100; n++) {
      const running = bridge.statement(handle, Form.run, 'DELETE FROM t', undefined, { signal: controller.signal });
      addon.answer(done(addon.last.op));
      await running;
      assert.equal(listeners(controller), 0);
    }
  });

  it('counts as handled when its transaction was given up', async () => {
    const { addon, bridge, tx, controller } = setup();
    void bridge.statement(tx, Form.get, 'SELECT 1', undefined, { signal: controller.signal });
    bridge.disown(tx);
    addon.answer(error(7, 'unfinished', 0, -1, addon.last.op));
    // An unhandled rejection would fail this file.
    await nextTurn();
    await nextTurn();
  });
});

describe('a statement with a time', () => {
  it('is cancelled after it, and says so', async () => {
    const { addon, bridge } = setup();
    const running = bridge.statement(handle, Form.run, 'DELETE FROM t', undefined, { timeoutMs: 1 });
    const { op } = addon.last;
    // The timer of the call does not keep the process alive.
    const alive = setInterval(() => {}, 1_000);
    while (addon.last.kind !== Kind.cancel) await nextTurn();
    clearInterval(alive);
    addon.answer(error(22, 'the operation was aborted', 9, -1, op));
    await assert.rejects(running, {
      name: 'TransactionTimeoutError',
      message: /timeoutMs of 1 ms/,
      sql: 'DELETE FROM t',
    });
  });

  it('waits for its turn as long as it is told', async () => {
    const { addon, bridge, tx } = setup();
    const running = bridge.statement(handle, Form.get, 'SELECT 1', undefined, { queueTimeoutMs: 20 });
    assert.equal(addon.last.cursor, 21);
    addon.answer(rows({ rows: [], names: ['a'], op: addon.last.op }));
    await running;
    void bridge.statement(tx, Form.get, 'SELECT 1', undefined, { queueTimeoutMs: 20 });
    assert.equal(addon.last.cursor, 0);
  });
});

describe('a transaction that waits', () => {
  it('is taken out of the queue by its signal', async () => {
    const { addon, bridge, controller } = setup();
    const begin = bridge.begin(handle, 'write', { signal: controller.signal });
    const { op } = addon.last;
    controller.abort('enough');
    assert.deepEqual([addon.last.kind, addon.last.cursor, addon.last.flags], [Kind.cancel, op, 0]);
    addon.answer(error(22, 'aborted', 0, -1, op));
    await assert.rejects(begin, { name: 'AbortError', cause: 'enough' });
  });

  it('and is granted and aborted at the same time is rolled back', async () => {
    const { addon, bridge, controller } = setup();
    const begin = bridge.begin(handle, 'write', { signal: controller.signal });
    addon.answer(grant(7, 9, addon.last.op));
    controller.abort('enough');
    await nextTurn();
    assert.deepEqual([addon.last.kind, addon.last.target], [Kind.rollback, 7]);
    addon.answer(done(addon.last.op));
    await assert.rejects(begin, { name: 'AbortError', cause: 'enough' });
  });
});

describe('a cursor with a signal', () => {
  it('ends with the fetch that is cancelled', async () => {
    const { addon, bridge, tx, controller } = setup();
    const options = { signal: controller.signal };
    const cursor = bridge.cursor(tx, { sql: 'SELECT a FROM t', parameters: undefined, options });
    const first = cursor.next();
    addon.answer(rows({ rows: [[1]], names: ['a'], op: addon.last.op, open: true }));
    assert.deepEqual(await first, { rows: [{ a: 1 }], open: true });
    assert.equal(listeners(controller), 0);
    const second = cursor.next();
    const { op, kind } = addon.last;
    assert.equal(kind, Kind.pull);
    controller.abort('enough');
    addon.answer(error(22, 'aborted', 0, -1, op));
    await assert.rejects(second, { cause: 'enough' });
    assert.equal(addon.last.kind, Kind.closeCursor);
    assert.deepEqual(await cursor.next(), { rows: [], open: false });
  });
});
