// Batches on this side of the border: the records that are sent, the results, and errors that name their statement.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Bridge } from '../dist/native/bridge.js';
import { Form, Target } from '../dist/native/engine.js';
import { Flag, Kind } from '../dist/native/wire.js';
import { sql } from '../dist/sql.js';
import { changes, error, rows } from './completion-records.mjs';
import { FakeAddon } from './fake-addon.mjs';

function setup(): { addon: FakeAddon; bridge: Bridge; handle: Target } {
  const addon = new FakeAddon();
  return { addon, bridge: new Bridge(addon), handle: new Target(1, 2, 0, 0) };
}

function* counting(to: number, each: (n: number) => void = () => {}): Generator<number[], void, undefined> {
  for (let n = 1; n <= to; n++) {
    each(n);
    yield [n];
  }
}

const none = { changes: 0n, lastInsertRowid: 0n };

describe('runMany', () => {
  it('sends one record per row and resolves with the sums', async () => {
    const { addon, bridge, handle } = setup();
    const running = bridge.runMany(handle, 'INSERT INTO t VALUES (?)', counting(3), undefined);
    const { requests } = addon;
    assert.deepEqual(
      requests.map(({ kind, flags, params, target, generation }) => [kind, flags, params, target, generation]),
      [
        [Kind.batch, Flag.first, 1, 1, 2],
        [Kind.batch, 0, 1, 1, 2],
        [Kind.batch, Flag.final | Flag.totals, 1, 1, 2],
      ],
    );
    assert.equal(new Set(requests.map(({ op, statement }) => `${op} ${statement}`)).size, 1);
    assert.deepEqual(
      requests.map(({ body }) => new DataView(body.buffer).getInt32(1, true)),
      [1, 2, 3],
    );
    addon.answer(changes({ changes: 3n, lastInsertRowid: 33n }, addon.last.op));
    assert.deepEqual(await running, { changes: 3, lastInsertRowid: 33 });
    assert.equal(handle.inFlight, 0);
  });

  it('of one row sends a record that is the first and the last one', async () => {
    const { addon, bridge } = setup();
    const tx = new Target(7, 9, Flag.transaction, 0);
    const running = bridge.runMany(tx, sql`INSERT INTO t VALUES (:a)`, [{ a: 1 }], { queueTimeoutMs: 5 });
    const { flags, cursor } = addon.last;
    assert.deepEqual([flags, cursor], [Flag.first | Flag.final | Flag.totals | Flag.transaction | Flag.named, 0]);
    addon.answer(changes(none, addon.last.op));
    await running;
  });

  it('of no rows sends nothing', async () => {
    const { addon, bridge, handle } = setup();
    assert.deepEqual(await bridge.runMany(handle, 'DELETE FROM t', [], undefined), { changes: 0, lastInsertRowid: 0 });
    assert.equal(addon.requests.length, 0);
  });

  it('says on the database how long it may wait', () => {
    const { addon, bridge, handle } = setup();
    void bridge.runMany(handle, 'DELETE FROM t', [[], []], { queueTimeoutMs: 250 });
    assert.deepEqual(
      addon.requests.map(({ cursor }) => cursor),
      [251, 251],
    );
  });

  it('reads and encodes row by row: one buffer may be used for all of them', async () => {
    const { addon, bridge, handle } = setup();
    const bytes = new Uint8Array(1);
    function* reused(): Generator<Uint8Array[], void, undefined> {
      for (let n = 1; n <= 3; n++) {
        bytes[0] = n;
        yield [bytes];
      }
    }
    void bridge.runMany(handle, 'INSERT INTO t VALUES (?)', reused(), undefined);
    assert.deepEqual(
      addon.requests.map(({ body }) => body[5]),
      [1, 2, 3],
    );
  });

  it('carries many rows, and rows larger than the request buffer', () => {
    const { addon, bridge, handle } = setup();
    function* large(): Generator<(number | string)[], void, undefined> {
      for (let n = 0; n < 5_000; n++) yield [n, n % 1_000 === 500 ? 'x'.repeat(200_000) : 'short'];
    }
    void bridge.runMany(handle, 'INSERT INTO t VALUES (?, ?)', large(), undefined);
    assert.equal(addon.requests.length, 5_000);
    assert.deepEqual(
      addon.requests.map(({ body }) => new DataView(body.buffer).getInt32(1, true)),
      Array.from({ length: 5_000 }, (_, n) => n),
    );
    assert.deepEqual(
      addon.requests.flatMap(({ flags }, n) => (flags === 0 ? [] : [n])),
      [0, 4_999],
    );
  });

  it('that cannot be read leaves nothing behind, and passes on what was thrown', async () => {
    const { addon, bridge, handle } = setup();
    const thrown = new Error('mine');
    const failing = counting(9, (n) => {
      if (n === 3) throw thrown;
    });
    await assert.rejects(bridge.runMany(handle, 'INSERT INTO t VALUES (?)', failing, undefined), (e) => e === thrown);
    assert.equal(addon.requests.length, 0);
    assert.equal(handle.inFlight, 0);

    await assert.rejects(bridge.runMany(handle, 'INSERT INTO t VALUES (?)', [[1], [Number.NaN]], undefined), {
      name: 'ParameterError',
      message: 'row 2: parameter 1 is NaN, which SQLite cannot store',
      sql: 'INSERT INTO t VALUES (?)',
    });
    const running = bridge.runMany(handle, 'INSERT INTO t VALUES (?)', counting(1), undefined);
    addon.answer(changes(none, addon.last.op));
    await running;
  });

  it('may read rows that use the database themselves', async () => {
    const { addon, bridge, handle } = setup();
    const inner: Promise<unknown>[] = [];
    const nesting = counting(2, (n) => {
      inner.push(bridge.runMany(handle, `INSERT INTO inner${n} VALUES (?)`, counting(2), undefined));
      for (let text = 0; text < 3_000; text++) bridge.expire(handle);
      inner.push(bridge.statement(handle, Form.run, `DELETE FROM inner${n}`, undefined, undefined));
    });
    const running = bridge.runMany(handle, 'INSERT INTO t VALUES (?)', nesting, undefined);
    const batches = addon.of(Kind.batch);
    const ops = batches.map(({ op }) => op);
    assert.equal(new Set(ops).size, 3);
    assert.deepEqual([ops[0] === ops[1], ops[2] === ops[3], ops[4] === ops[5]], [true, true, true]);
    assert.deepEqual(
      batches.map(({ statement }) => addon.texts.get(statement)?.slice(12, 18)),
      ['inner1', 'inner1', 'inner2', 'inner2', 't VALU', 't VALU'],
    );
    const answered = [...new Set(ops), ...addon.of(Kind.run).map(({ op }) => op)];
    addon.answer(...answered.map((op) => changes(none, op)));
    await Promise.all([running, ...inner]);
  });

  it('names the row that failed', async () => {
    const { addon, bridge, handle } = setup();
    const running = bridge.runMany(handle, 'INSERT INTO t VALUES (?)', counting(3), undefined);
    addon.answer(error(2, 'UNIQUE constraint failed: t.a', 2067, -1, addon.last.op, 2));
    async function theCaller(): Promise<unknown> {
      return await running;
    }
    await assert.rejects(theCaller(), (thrown: Error & { sql?: string; sqliteCode?: number }) => {
      assert.equal(thrown.name, 'ConstraintError');
      assert.equal(thrown.message, 'row 2: UNIQUE constraint failed: t.a');
      assert.deepEqual([thrown.sql, thrown.sqliteCode], ['INSERT INTO t VALUES (?)', 2067]);
      assert.match(thrown.stack ?? '', /at async theCaller .*06\.batches/);
      return true;
    });
  });

  it('takes no statement that brings values of its own', async () => {
    const { bridge, handle } = setup();
    await assert.rejects(bridge.runMany(handle, sql`INSERT INTO t VALUES (${1})`, [[1]], undefined), {
      name: 'ParameterError',
      message: /^runMany takes its values from the rows/,
    });
  });
});

describe('a batch', () => {
  const statements = [
    { sql: 'INSERT INTO t VALUES (?)', parameters: [1] },
    { sql: sql`SELECT a, b FROM t WHERE a > ${0}`, parameters: undefined },
    { sql: 'SELECT c FROM u', parameters: undefined },
  ];

  it('resolves with the result of each statement', async () => {
    const { addon, bridge, handle } = setup();
    const running = bridge.batch(handle, statements, undefined);
    const { op, flags } = addon.last;
    assert.equal(flags, Flag.final);
    addon.answer(
      rows({ rows: [], columns: 0, op, last: false, changes: { changes: 1n, lastInsertRowid: 4n } }),
      rows({ rows: [[1, 'x']], names: ['a', 'b'], op, last: false }),
      rows({ rows: [[2, 'y']], names: ['a', 'b'], op, last: false, changes: none }),
      rows({ rows: [], names: ['c'], columns: 1, op, changes: none }),
    );
    assert.deepEqual(await running, [
      { columns: [], rows: [], changes: 1, lastInsertRowid: 4 },
      {
        columns: ['a', 'b'],
        rows: [
          { a: 1, b: 'x' },
          { a: 2, b: 'y' },
        ],
        changes: 0,
        lastInsertRowid: 0,
      },
      { columns: ['c'], rows: [], changes: 0, lastInsertRowid: 0 },
    ]);
  });

  it('of no statements sends nothing', async () => {
    const { addon, bridge, handle } = setup();
    assert.deepEqual(await bridge.batch(handle, [], undefined), []);
    assert.equal(addon.requests.length, 0);
  });

  it('names the statement that failed, and has its text', async () => {
    const { addon, bridge, handle } = setup();
    const running = bridge.batch(handle, statements, undefined);
    addon.answer(error(1, 'no such table: u', 1, 14, addon.last.op, 3));
    await assert.rejects(running, {
      name: 'SqlError',
      message: 'statement 3 of the batch: no such table: u',
      sql: 'SELECT c FROM u',
      offset: 14,
    });
  });

  it('names the statement whose values cannot be bound, and the one whose rows cannot be read', async () => {
    const { addon, bridge, handle } = setup();
    const bad = [...statements, { sql: 'DELETE FROM t WHERE a = ?', parameters: [Number.NaN] }];
    await assert.rejects(bridge.batch(handle, bad, undefined), {
      message: /^statement 4 of the batch: parameter 1 is NaN/,
      sql: 'DELETE FROM t WHERE a = ?',
    });
    const running = bridge.batch(handle, statements, undefined);
    const { op } = addon.last;
    addon.answer(
      rows({ rows: [], columns: 0, op, last: false, changes: none }),
      rows({ rows: [[{ int64: 2n ** 60n }]], names: ['a'], op, last: false, changes: none }),
      rows({ rows: [[1]], names: ['c'], op, changes: none }),
    );
    await assert.rejects(running, {
      name: 'IntegerOutOfRangeError',
      message: /^statement 2 of the batch: column 1/,
      sql: 'SELECT a, b FROM t WHERE a > ?',
    });
  });

  it('keeps long texts that are not in the table until it is sent', () => {
    const { addon, bridge, handle } = setup();
    const long = Array.from({ length: 3 }, (_, n) => ({
      sql: `SELECT '${'x'.repeat(70_000)}', ${n}`,
      parameters: undefined,
    }));
    void bridge.batch(handle, long, undefined);
    assert.equal(addon.requests.length, 3);
  });

  it('that fails as a whole says no statement', async () => {
    const { addon, bridge, handle } = setup();
    const running = bridge.batch(handle, statements, undefined);
    addon.answer(error(8, 'too many wait', 0, -1, addon.last.op));
    await assert.rejects(running, { name: 'QueueFullError', message: 'too many wait', sql: undefined });
  });

  it('whose transaction was given up counts as handled', async () => {
    const { addon, bridge } = setup();
    const tx = new Target(7, 9, Flag.transaction, 0);
    void bridge.runMany(tx, 'INSERT INTO t VALUES (?)', counting(2), undefined);
    bridge.disown(tx);
    addon.answer(error(7, 'unfinished', 0, -1, addon.last.op));
    // An unhandled rejection would fail this file.
    await nextTurn();
    await nextTurn();
  });
});
