// Records that answer nothing: transactions ended from outside, and commits for those who listen.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Commit } from '../dist/commits.js';
import { Bridge } from '../dist/native/bridge.js';
import { Form, Target } from '../dist/native/engine.js';
import { Flag, Kind } from '../dist/native/wire.js';
import { committed, done, ended, grant } from './completion-records.mjs';
import { FakeAddon } from './fake-addon.mjs';

const handle = new Target(1, 2, 0, 0);
handle.engineId = 5;

async function begun(): Promise<{ addon: FakeAddon; bridge: Bridge; tx: Target }> {
  const addon = new FakeAddon();
  const bridge = new Bridge(addon);
  const begin = bridge.begin(handle, 'write', undefined);
  addon.answer(grant(7, 9, addon.last.op, 12, 3));
  return { addon, bridge, tx: await begin };
}

describe('a transaction', () => {
  it('knows its engine and how it was waited for', async () => {
    const { tx } = await begun();
    assert.deepEqual([tx.engineId, tx.lockWaitMs, tx.queuedBehind], [5, 12, 3]);
  });

  it('that is ended from outside fails from then on with the reason, its savepoints too', async () => {
    const { addon, bridge, tx } = await begun();
    const child = bridge.savepointSync(tx);
    let told = 0;
    tx.onEnded = () => {
      told++;
    };
    addon.answer(ended(7, 9, 21, 'open for longer than 5 ms'));
    addon.answer(ended(7, 9, 21, 'a second time'));
    assert.equal(told, 1);
    assert.deepEqual([tx.ended, child.ended, tx.endedBy?.message], [true, true, 'open for longer than 5 ms']);
    const expected = { name: 'TransactionTimeoutError', message: 'open for longer than 5 ms' };
    const sent = addon.requests.length;
    for (const target of [tx, child]) {
      await assert.rejects(bridge.statement(target, Form.run, 'DELETE FROM t', undefined, undefined), expected);
      assert.throws(() => bridge.statementSync(target, Form.get, 'SELECT 1', undefined, undefined), expected);
    }
    await assert.rejects(bridge.end(tx, 'commit'), expected);
    bridge.expire(tx);
    assert.equal(addon.requests.length, sent);
  });

  it('is not mixed up with another one of the same index', async () => {
    const { addon, tx } = await begun();
    addon.answer(ended(7, 8, 21, 'an older one'), ended(99, 1, 21, 'one never heard of'));
    assert.equal(tx.ended, false);
  });

  it('whose COMMIT was sent is told by its answer alone', async () => {
    const { addon, bridge, tx } = await begun();
    tx.onEnded = () => assert.fail('told');
    const ending = bridge.end(tx, 'commit');
    addon.answer(ended(7, 9, 21, 'too late'), done(addon.last.op, 42));
    assert.deepEqual(await ending, { logFrames: 42, commit: undefined });
    assert.equal(tx.endedBy, undefined);
  });

  it('asks for its tables when they are wanted', async () => {
    const { addon, bridge, tx } = await begun();
    tx.wantsTables = true;
    const ending = bridge.end(tx, 'commit');
    const { op, flags, kind } = addon.last;
    assert.deepEqual([kind, flags], [Kind.commit, Flag.transaction | Flag.tables]);
    addon.answer(committed(7, 9, { tables: ['city', 'straße'] }, op));
    const { commit } = await ending;
    assert.deepEqual(commit, { tables: new Set(['city', 'straße']), truncated: false });
  });

  it('does not ask for them at a rollback', async () => {
    const { addon, bridge, tx } = await begun();
    tx.wantsTables = true;
    const ending = bridge.end(tx, 'rollback');
    assert.equal(addon.last.flags, Flag.transaction);
    addon.answer(done(addon.last.op));
    await ending;
  });

  it('is ended from outside by a record of its own', async () => {
    const { addon, bridge, tx } = await begun();
    bridge.expire(tx);
    const { kind, op, target, flags } = addon.last;
    assert.deepEqual([kind, op, target, flags], [Kind.expire, 0xffff_ffff, 7, Flag.transaction]);
  });

  it('tells the engine where it was taken and for how long it may wait and last', async () => {
    const addon = new FakeAddon();
    const begin = new Bridge(addon).begin(handle, 'read', { queueTimeoutMs: 0, timeoutMs: 100, stack: 'at here' });
    const { cursor, limit, params, body } = addon.last;
    assert.deepEqual([cursor, limit, params], [1, 101, 1]);
    assert.deepEqual(Buffer.from(body.subarray(0, 12)), Buffer.from([5, 7, 0, 0, 0, ...Buffer.from('at here')]));
    addon.answer(grant(1, 1, addon.last.op));
    await begin;
  });
});

describe('commits', () => {
  it('are told to the listener of the handle, after the drain and in order', async () => {
    const addon = new FakeAddon();
    const bridge = new Bridge(addon);
    const heard: Commit[] = [];
    bridge.listen(handle, 1, (commit) => heard.push(commit));
    assert.deepEqual(addon.calls, [['listen', 1, 2, 1]]);
    addon.answer(
      committed(1, 2, { tables: ['a', 'abc'], changes: [{ table: 0, kind: 1, rowid: 1n }] }),
      committed(1, 1, { tables: ['of another generation'] }),
      committed(1, 2, { tables: [] }),
    );
    assert.equal(heard.length, 0);
    await undefined;
    assert.deepEqual(heard, [
      { tables: new Set(['a', 'abc']), truncated: false },
      { tables: new Set(), truncated: false },
    ]);
  });

  it('have their changes where row ids were asked for', async () => {
    const addon = new FakeAddon();
    const bridge = new Bridge(addon);
    const heard: Commit[] = [];
    bridge.listen(handle, 2, (commit) => heard.push(commit));
    addon.answer(
      committed(1, 2, {
        tables: ['a', 'bc'],
        changes: [
          { table: 1, kind: 1, rowid: -1n },
          { table: 0, kind: 2, rowid: 2n ** 60n },
          { table: 1, kind: 3, rowid: 3n },
        ],
        truncated: true,
      }),
      committed(1, 2, { tables: ['a'] }),
    );
    await undefined;
    assert.deepEqual(heard, [
      {
        tables: new Set(['a', 'bc']),
        changes: [
          { table: 'bc', kind: 'insert', rowid: -1 },
          { table: 'a', kind: 'update', rowid: 2n ** 60n },
          { table: 'bc', kind: 'delete', rowid: 3 },
        ],
        truncated: true,
      },
      { tables: new Set(['a']), changes: [], truncated: false },
    ]);
  });

  it('are not told any more after listening has ended, or the database is closed', async () => {
    const addon = new FakeAddon();
    const bridge = new Bridge(addon);
    bridge.listen(handle, 1, () => assert.fail('told'));
    bridge.listen(handle, 0, undefined);
    assert.deepEqual(addon.calls.at(-1), ['listen', 1, 2, 0]);
    addon.answer(committed(1, 2, { tables: ['a'] }));

    bridge.listen(handle, 1, () => assert.fail('told'));
    const closing = bridge.close(handle, undefined);
    const call = addon.calls.at(-1);
    assert.deepEqual(call?.slice(2), [1, 2, 0xffff_ffff]);
    addon.answer(done(Number(call?.[1])));
    await closing;
    addon.answer(committed(1, 2, { tables: ['a'] }));
    await undefined;
  });
});
