// Groups of synchronous closures: their turns, one after the other, and the commit they share.

// First: the modules under test read the clock when they are loaded.
import './fake-clock.mjs';

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Bridge } from '../dist/native/bridge.js';
import { type BatchTurn, Target } from '../dist/native/engine.js';
import { Flag, Kind } from '../dist/native/wire.js';
import { done, ended, error, grantGroup } from './completion-records.mjs';
import { FakeAddon } from './fake-addon.mjs';
import { clock } from './fake-clock.mjs';

const handle = new Target(1, 2, 0, 0);

/** Some closures that wait, and what has become of them. */
class Waiting {
  readonly addon = new FakeAddon();
  readonly bridge = new Bridge(this.addon);
  readonly log: string[] = [];
  readonly results: Promise<string>[] = [];

  /** A closure that runs in a savepoint, as `db.batch` does it. */
  add(name: string, closure: (turn: BatchTurn) => void = () => {}, signal?: AbortSignal): this {
    this.results.push(this.#run(name, closure, signal));
    return this;
  }

  async #run(name: string, closure: (turn: BatchTurn) => void, signal?: AbortSignal): Promise<string> {
    const turn = await this.bridge.beginBatch(handle, signal === undefined ? undefined : { signal });
    let failed: unknown;
    if (turn.aborted) failed = new Error('aborted');
    else {
      this.log.push(name);
      let child: Target | undefined;
      try {
        child = this.bridge.savepointSync(turn.target);
        closure(turn);
        this.bridge.endSavepointSync(child, 'release');
      } catch (thrown) {
        failed = thrown;
        if (child?.ended === false) this.bridge.endSavepointSync(child, 'rollback');
      }
    }
    await turn.release();
    if (failed !== undefined) throw failed;
    return name;
  }

  get ops(): number[] {
    return this.addon.of(Kind.beginBatch).map(({ op }) => op);
  }

  get commits(): number[] {
    return this.addon.of(Kind.commit).map(({ limit }) => limit);
  }

  async grant(ops: readonly number[] = this.ops, index = 7): Promise<void> {
    this.addon.answer(grantGroup(index, 9, ops));
    await nextTurn();
  }

  async committed(): Promise<void> {
    this.addon.answer(done(this.addon.of(Kind.commit).at(-1)?.op));
    await nextTurn();
  }
}

function takes(milliseconds: number): () => void {
  return () => {
    clock.now += milliseconds;
  };
}

describe('closures of a group', () => {
  it('run one after the other, each in the context of its own caller, and resolve after the commit', async () => {
    const context = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const group = new Waiting();
    for (const name of ['a', 'b', 'c']) context.run(name, () => group.add(name, () => seen.push(context.getStore())));
    await group.grant();
    assert.deepEqual(group.log, ['a', 'b', 'c']);
    assert.deepEqual(seen, ['a', 'b', 'c']);
    assert.deepEqual(group.commits, [3]);
    let settled = 0;
    for (const each of group.results) each.then(() => settled++);
    await nextTurn();
    assert.equal(settled, 0);
    await group.committed();
    assert.deepEqual(await Promise.all(group.results), ['a', 'b', 'c']);
    assert.equal(handle.inFlight, 0);
  });

  it('do not suffer from one that throws', async () => {
    const group = new Waiting();
    const mine = new Error('mine');
    group
      .add('a')
      .add('b', () => {
        throw mine;
      })
      .add('c');
    await group.grant();
    assert.deepEqual(group.log, ['a', 'b', 'c']);
    assert.deepEqual(
      group.addon.requests.filter(({ flags }) => flags === Flag.transaction).map(({ kind }) => kind),
      [Kind.savepoint, Kind.release, Kind.savepoint, Kind.rollbackTo, Kind.savepoint, Kind.release, Kind.commit],
    );
    const [a, b, c] = group.results;
    const rejected = assert.rejects(Promise.resolve(b), (thrown) => thrown === mine);
    await group.committed();
    await rejected;
    assert.deepEqual(await Promise.all([a, c]), ['a', 'c']);
  });

  it('that were not started within 2 ms keep waiting, and are started by a later grant', async () => {
    const group = new Waiting();
    group.add('a', takes(1)).add('b', takes(2)).add('c').add('d');
    await group.grant();
    assert.deepEqual(group.log, ['a', 'b']);
    assert.deepEqual(group.commits, [2]);
    assert.equal(handle.inFlight, 2);
    await group.committed();
    await group.grant(group.ops.slice(2), 8);
    assert.deepEqual(group.log, ['a', 'b', 'c', 'd']);
    assert.deepEqual(group.commits, [2, 2]);
    await group.committed();
    await Promise.all(group.results);
  });

  it('each get an error of their own when the commit fails', async () => {
    const group = new Waiting();
    group.add('a').add('b');
    await group.grant();
    const outcomes = Promise.allSettled(group.results);
    group.addon.answer(error(10, 'the disk is gone', 10, -1, group.addon.of(Kind.commit)[0]?.op));
    const [a, b] = await outcomes;
    assert.ok(a?.status === 'rejected' && b?.status === 'rejected');
    assert.notEqual(a.reason, b.reason);
    for (const { reason } of [a, b]) {
      assert.equal(reason.name, 'CommitOutcomeUnknownError');
      assert.match(reason.stack, /06\.groups/);
    }
  });

  it('are not started when the transaction was lost inside one of them', async () => {
    const group = new Waiting();
    group.addon.answerSync = ({ kind }) =>
      kind === Kind.release && group.log.length === 2 ? error(6, 'rolled back') : done();
    group.add('a').add('b').add('c');
    await group.grant();
    assert.deepEqual(group.log, ['a', 'b']);
    assert.deepEqual(group.commits, [2]);
    const outcomes = Promise.allSettled(group.results.slice(0, 2));
    group.addon.answer(error(6, 'rolled back', 0, -1, group.addon.of(Kind.commit)[0]?.op));
    for (const outcome of await outcomes) {
      assert.ok(outcome.status === 'rejected');
      assert.equal(outcome.reason.name, 'TransactionAbortedError');
    }
    await group.grant(group.ops.slice(2), 8);
    await group.committed();
    assert.equal(await group.results[2], 'c');
  });

  it('are not started when the transaction was ended from outside; those that ran get its reason', async () => {
    const group = new Waiting();
    group.add('a').add('b');
    group.addon.answer(grantGroup(7, 9, group.ops), ended(7, 9, 11, 'closed'));
    await nextTurn();
    assert.deepEqual(group.log, ['a']);
    assert.deepEqual(group.commits, [1]);
    const rejected = assert.rejects(Promise.resolve(group.results[0]), { name: 'DatabaseClosedError' });
    group.addon.answer(error(11, 'closed', 0, -1, group.addon.of(Kind.commit)[0]?.op));
    await rejected;
    await group.grant(group.ops.slice(1), 8);
    await group.committed();
    assert.equal(await group.results[1], 'b');
  });

  it('of which one was aborted between grant and turn do without it', async () => {
    const group = new Waiting();
    const controller = new AbortController();
    group
      .add('a', () => controller.abort())
      .add('b', undefined, controller.signal)
      .add('c');
    await group.grant();
    assert.deepEqual(group.log, ['a', 'c']);
    assert.deepEqual(group.commits, [3]);
    const rejected = assert.rejects(Promise.resolve(group.results[1]), { message: 'aborted' });
    await group.committed();
    await rejected;
    await Promise.all([group.results[0], group.results[2]]);
  });

  it('leave no savepoint open when one forgot its own', async () => {
    const group = new Waiting();
    group.results.push(
      group.bridge.beginBatch(handle, undefined).then(async (turn) => {
        group.bridge.savepointSync(turn.target);
        await turn.release();
        return 'a';
      }),
    );
    await group.grant();
    assert.deepEqual(
      group.addon.requests.slice(1).map(({ kind }) => kind),
      [Kind.savepoint, Kind.rollbackTo, Kind.commit],
    );
    await group.committed();
    await Promise.all(group.results);
  });
});

describe('a closure that waits for its group', () => {
  it('is taken out of the queue by its signal', async () => {
    const group = new Waiting();
    const controller = new AbortController();
    group.add('a', undefined, controller.signal);
    controller.abort('enough');
    const { kind, cursor, target } = group.addon.last;
    assert.deepEqual([kind, cursor, target], [Kind.cancel, group.ops[0], 1]);
    group.addon.answer(error(22, 'aborted', 0, -1, group.ops[0]));
    await assert.rejects(Promise.resolve(group.results[0]), { name: 'AbortError', cause: 'enough' });
    assert.deepEqual(group.log, []);
  });
});
