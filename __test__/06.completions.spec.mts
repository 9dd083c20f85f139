// The way back: operations are settled record by record, each by itself, in bounded turns.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Completions } from '../dist/native/completions.js';
import { Decoder } from '../dist/native/decode.js';
import { Target } from '../dist/native/engine.js';
import { type Operation, Operations, Outcome } from '../dist/native/operations.js';
import { Flag, RESPONSE_BYTES } from '../dist/native/wire.js';
import { done, error, grant, rows } from './completion-records.mjs';

/** An engine that has finished the given records, in as many drains as there are lists. */
class Finished {
  readonly response = new ArrayBuffer(RESPONSE_BYTES);
  readonly operations = new Operations(2);
  readonly decoder = new Decoder(
    () => [],
    () => {},
  );
  readonly completions = new Completions(this, this.response, this.operations, this.decoder, { take() {} });
  readonly #drains: (Uint8Array[] | undefined)[] = [];
  drains = 0;

  add(...records: Uint8Array[]): this {
    this.#drains.push(records);
    return this;
  }

  /** A drain that finds nothing, by an engine that expects something soon. */
  addNothingYet(): this {
    this.#drains.push(undefined);
    return this;
  }

  drain(): number | ArrayBuffer | undefined {
    this.drains++;
    const records = this.#drains.length === 0 ? [] : this.#drains.shift();
    if (records === undefined) return undefined;
    const bytes = Buffer.concat(records);
    if (bytes.length > this.response.byteLength) return new Uint8Array(bytes).buffer;
    new Uint8Array(this.response).set(bytes);
    return bytes.length;
  }

  start(outcome: Outcome, target?: Target): { slot: Operation; promise: Promise<unknown> } {
    const slot = this.operations.take(target, outcome, 0, 'SELECT 1');
    return { slot, promise: this.operations.start(slot) };
  }
}

describe('a drain', () => {
  it('settles every record with its own operation', async () => {
    const engine = new Finished();
    const [first, second, third] = [Outcome.row, Outcome.done, Outcome.rows].map((outcome) => engine.start(outcome));
    assert.ok(first !== undefined && second !== undefined && third !== undefined);
    engine.add(
      rows({ rows: [['c']], names: ['x'], op: third.slot.index }),
      done(second.slot.index),
      rows({ rows: [[1]], names: ['a'], op: first.slot.index }),
    );
    engine.completions.wake();
    const settled = await Promise.all([first, second, third].map(({ promise }) => promise));
    assert.deepEqual(settled, [{ a: 1 }, undefined, [{ x: 'c' }]]);
  });

  it('rejects the operation whose record cannot be decoded, and no other', async () => {
    const engine = new Finished();
    const [bad, good] = [engine.start(Outcome.rows), engine.start(Outcome.row)];
    const large = { int64: 2n ** 60n };
    engine.add(
      rows({ rows: [[large]], names: ['a'], op: bad.slot.index, last: false }),
      rows({ rows: [[1]], names: ['a'], op: bad.slot.index }),
      rows({ rows: [[2]], names: ['b'], op: good.slot.index }),
    );
    engine.completions.wake();
    assert.deepEqual(await good.promise, { b: 2 });
    await assert.rejects(bad.promise, { name: 'IntegerOutOfRangeError', sql: 'SELECT 1' });
  });

  it('rejects with an error whose stack names who waits', async () => {
    const engine = new Finished();
    const { slot, promise } = engine.start(Outcome.row);
    engine.add(error(2, 'UNIQUE constraint failed: t.a', 2067, -1, slot.index));
    async function theCaller(): Promise<unknown> {
      return await promise;
    }
    const waiting = theCaller();
    engine.completions.wake();
    await assert.rejects(waiting, (thrown: Error) => {
      assert.equal(thrown.name, 'ConstraintError');
      assert.match(thrown.stack ?? '', /at async theCaller .*06\.completions/);
      return true;
    });
  });

  it('goes on by an immediate until there is nothing', async () => {
    const engine = new Finished();
    const [first, second] = [engine.start(Outcome.done), engine.start(Outcome.done)];
    engine.add(done(first.slot.index)).add(done(second.slot.index));
    engine.completions.wake();
    assert.equal(engine.drains, 1);
    await second.promise;
    await nextTurn();
    await nextTurn();
    assert.equal(engine.drains, 3);
  });

  it('looks again by an immediate when there is nothing yet, and not when there is nothing', async () => {
    const engine = new Finished();
    const { slot, promise } = engine.start(Outcome.done);
    engine.addNothingYet().addNothingYet().add(done(slot.index)).addNothingYet();
    engine.completions.wake();
    assert.equal(engine.drains, 1);
    await promise;
    for (let turn = 0; turn < 5; turn++) await nextTurn();
    assert.equal(engine.drains, 5);
    engine.completions.wake();
    await nextTurn();
    assert.equal(engine.drains, 6);
  });

  it('gives way within a large result, and loses nothing of it', async () => {
    const engine = new Finished();
    const { slot, promise } = engine.start(Outcome.rows);
    const chunk = Array.from({ length: 1_000 }, (_, index) => [index, 'text of a row that is not so short']);
    const records = Array.from({ length: 15 }, (_, index) =>
      rows({ rows: chunk, names: ['a', 'b'], op: slot.index, last: index === 14 }),
    );
    engine.add(...records.slice(0, 8)).add(...records.slice(8));
    engine.completions.wake();
    const all = await promise;
    assert.ok(Array.isArray(all));
    assert.equal(all.length, 15_000);
    assert.deepEqual(all[14_999], { a: 999, b: 'text of a row that is not so short' });
  });

  it('takes a record that is larger than the response buffer', async () => {
    const engine = new Finished();
    const { slot, promise } = engine.start(Outcome.row);
    const text = 'é'.repeat(RESPONSE_BYTES);
    engine.add(rows({ rows: [[text]], names: ['t'], op: slot.index }));
    engine.completions.wake();
    assert.deepEqual(await promise, { t: text });
  });

  it('makes a grant a transaction with the mode of its database', async () => {
    const engine = new Finished();
    const slot = engine.operations.take(undefined, Outcome.grant, Flag.bigint, '');
    const promise = engine.operations.start(slot);
    engine.add(grant(5, 6, slot.index));
    engine.completions.wake();
    const target = await promise;
    assert.ok(target instanceof Target);
    assert.deepEqual(
      [target.index, target.generation, target.flag, target.mode],
      [5, 6, Flag.transaction, Flag.bigint],
    );
  });
});

describe('the op table', () => {
  it('grows, and uses slots again', async () => {
    const engine = new Finished();
    const started = Array.from({ length: 100 }, () => engine.start(Outcome.done));
    assert.equal(new Set(started.map(({ slot }) => slot.index)).size, 100);
    engine.add(...started.map(({ slot }) => done(slot.index)));
    engine.completions.wake();
    await Promise.all(started.map(({ promise }) => promise));
    const again = Array.from({ length: 100 }, () => engine.start(Outcome.done).slot.index);
    assert.ok(again.every((index) => index < 100));
  });

  it('counts what is in flight on a target, until it is settled', async () => {
    const engine = new Finished();
    const target = new Target(0, 0, 0, 0);
    const { slot, promise } = engine.start(Outcome.done, target);
    assert.equal(target.inFlight, 1);
    engine.add(done(slot.index));
    engine.completions.wake();
    assert.equal(target.inFlight, 0);
    await promise;
  });

  it('ignores a record of an operation it does not know', () => {
    const engine = new Finished();
    engine.add(done(1), done(77));
    engine.completions.wake();
  });

  it('can disown what is in flight: a rejection then counts as handled', async () => {
    const engine = new Finished();
    const target = new Target(0, 0, 0, 0);
    const { slot } = engine.start(Outcome.done, target);
    engine.operations.disown(target);
    engine.add(error(7, 'unfinished', 0, -1, slot.index));
    engine.completions.wake();
    // An unhandled rejection would fail this file.
    await nextTurn();
    await nextTurn();
  });
});
