// Savepoints on this side of the border: who may be used when, and which records are sent.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Bridge } from '../dist/native/bridge.js';
import { Form, Target } from '../dist/native/engine.js';
import { Flag, Kind } from '../dist/native/wire.js';
import { done, error, rows } from './completion-records.mjs';
import { FakeAddon } from './fake-addon.mjs';

function setup(): { addon: FakeAddon; bridge: Bridge; tx: Target } {
  const addon = new FakeAddon();
  return { addon, bridge: new Bridge(addon), tx: new Target(7, 9, Flag.transaction, 0) };
}

/** A savepoint that the engine has opened. */
async function opened(addon: FakeAddon, bridge: Bridge, parent: Target): Promise<Target> {
  const child = bridge.savepoint(parent);
  addon.answer(done(addon.last.op));
  return await child;
}

describe('a savepoint', () => {
  it('takes the place of its transaction from the call on, and gives it back with its end', async () => {
    const { addon, bridge, tx } = setup();
    const opening = bridge.savepoint(tx);
    await assert.rejects(bridge.statement(tx, Form.run, 'DELETE FROM t', undefined, undefined), {
      name: 'SavepointOpenError',
      message: /^savepoint 1 is open in this transaction/,
      sql: 'DELETE FROM t',
    });
    assert.throws(() => bridge.statementSync(tx, Form.get, 'SELECT 1', undefined, undefined), {
      name: 'SavepointOpenError',
    });
    await assert.rejects(bridge.savepoint(tx), { name: 'SavepointOpenError' });
    await assert.rejects(bridge.runMany(tx, 'DELETE FROM t', [[]], undefined), { name: 'SavepointOpenError' });
    addon.answer(done(addon.last.op));
    const child = await opening;
    assert.deepEqual(
      addon.requests.map(({ kind, target, generation, flags }) => [kind, target, generation, flags]),
      [[Kind.savepoint, 7, 9, Flag.transaction]],
    );
    assert.equal(tx.unfinished, true);

    const ending = bridge.endSavepoint(child, 'release');
    const after = bridge.statement(tx, Form.run, 'DELETE FROM t', undefined, undefined);
    assert.deepEqual(
      addon.requests.map(({ kind }) => kind),
      [Kind.savepoint, Kind.release, Kind.run],
    );
    await assert.rejects(bridge.statement(child, Form.run, 'DELETE FROM t', undefined, undefined), {
      name: 'TransactionClosedError',
      message: /^savepoint 1 has ended/,
    });
    addon.answer(...addon.requests.slice(1).map(({ op }) => done(op)));
    await Promise.all([ending, after]);
    assert.equal(tx.unfinished, false);
  });

  it('is called by its place', async () => {
    const { addon, bridge, tx } = setup();
    const first = await opened(addon, bridge, tx);
    const inner = await opened(addon, bridge, first);
    assert.deepEqual([first.label, inner.label], ['savepoint 1', 'savepoint 1.1']);
    await assert.rejects(bridge.statement(first, Form.run, 'DELETE FROM t', undefined, undefined), {
      message: /^savepoint 1\.1 is open in this savepoint/,
    });
    for (const [child, how] of [
      [inner, 'rollback'],
      [first, 'release'],
    ] as const) {
      const ending = bridge.endSavepoint(child, how);
      addon.answer(done(addon.last.op));
      await ending;
    }
    assert.equal((await opened(addon, bridge, tx)).label, 'savepoint 2');
  });

  it('ends with the cursors that were opened in it, and only those', () => {
    const { addon, bridge, tx } = setup();
    tx.newCursor();
    tx.newCursor();
    const child = bridge.savepointSync(tx);
    assert.equal(child.newCursor(), 3);
    bridge.endSavepointSync(child, 'rollback');
    assert.deepEqual([addon.last.kind, addon.last.cursor], [Kind.rollbackTo, 2]);
    assert.equal(tx.newCursor(), 4);
  });

  it('is rolled back with the ones left open inside it, the inner ones first', async () => {
    const { addon, bridge, tx } = setup();
    const outer = bridge.savepointSync(tx);
    outer.newCursor();
    const inner = bridge.savepointSync(outer);
    inner.newCursor();
    const innermost = bridge.savepointSync(inner);
    const ending = bridge.endSavepoint(outer, 'rollback');
    const sent = addon.of(Kind.rollbackTo);
    assert.deepEqual(
      sent.map(({ cursor }) => cursor),
      [2, 1, 0],
    );
    addon.answer(...sent.map(({ op }) => done(op)));
    await ending;
    assert.deepEqual([outer.ended, inner.ended, innermost.ended, tx.unfinished], [true, true, true, false]);
  });

  it('waits for what is in flight in what it is in, when it is used on this thread', async () => {
    const { addon, bridge, tx } = setup();
    const running = bridge.statement(tx, Form.get, 'SELECT 1', undefined, undefined);
    assert.throws(() => bridge.savepointSync(tx), { name: 'StatementInFlightError' });
    const statement = addon.last;
    const child = await opened(addon, bridge, tx);
    assert.throws(() => bridge.statementSync(child, Form.get, 'SELECT 1', undefined, undefined), {
      name: 'StatementInFlightError',
    });
    addon.answer(rows({ rows: [[1]], names: ['a'], op: statement.op }));
    await running;
    bridge.statementSync(child, Form.run, 'DELETE FROM t', undefined, undefined);
  });

  it('that cannot be opened leaves its transaction usable, and one that cannot be ended says the transaction is lost', async () => {
    const { addon, bridge, tx } = setup();
    const opening = bridge.savepoint(tx);
    addon.answer(error(6, 'rolled back', 0, -1, addon.last.op));
    await assert.rejects(opening, { name: 'TransactionAbortedError' });
    assert.equal(tx.unfinished, false);
    const child = bridge.savepointSync(tx);
    addon.answerSync = () => error(6, 'rolled back');
    assert.throws(() => bridge.endSavepointSync(child, 'release'), { name: 'TransactionAbortedError' });
    assert.deepEqual([tx.lost, child.ended, tx.child], [true, true, undefined]);
  });
});
