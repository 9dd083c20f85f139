// Completion records: every kind of cell, rows of every shape, and records that fail alone.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { MigrationFailedError } from '../dist/errors.js';
import { Decoder } from '../dist/native/decode.js';
import { Failure } from '../dist/native/failure.js';
import { Operation, Outcome } from '../dist/native/operations.js';
import { Reader } from '../dist/native/reader.js';
import { Flag } from '../dist/native/wire.js';
import {
  buffer,
  type Cell,
  changes,
  checkpointed,
  done,
  error,
  history,
  migrated,
  type RowsRecord,
  rows,
} from './completion-records.mjs';

function operation(outcome: Outcome, mode = 0): Operation {
  const made = new Operation(0);
  made.outcome = outcome;
  made.mode = mode;
  return made;
}

/** Decodes one final record. */
function decode(record: Uint8Array, outcome: Outcome = Outcome.rows, mode = 0, names: string[] = []): unknown {
  return new Decoder(
    () => names,
    () => {},
  ).value(new Reader(buffer([record])), 0, operation(outcome, mode));
}

/** The failure that decoding ends in. */
function failure(record: Uint8Array, outcome: Outcome = Outcome.rows, mode = 0): Failure {
  try {
    decode(record, outcome, mode);
  } catch (thrown) {
    assert.ok(thrown instanceof Failure);
    return thrown;
  }
  return assert.fail('nothing was thrown');
}

/** `count` rows of the same cells; enough of them have functions compiled. */
function many(cells: readonly Cell[], names: string[], count: number): RowsRecord {
  return { rows: Array.from({ length: count }, () => cells), names };
}

describe('cells', () => {
  const cells: Cell[] = [null, 1.5, -7, 'text', Uint8Array.of(1, 2), '', new Uint8Array(), 'more'];
  const names = ['n', 'r', 'i', 't', 'b', 'et', 'eb', 'm'];
  const row = { n: null, r: 1.5, i: -7, t: 'text', b: Uint8Array.of(1, 2), et: '', eb: new Uint8Array(), m: 'more' };

  it('of every kind, with and without compiled functions', () => {
    for (const count of [1, 2, 100]) {
      assert.deepEqual(
        decode(rows(many(cells, names, count))),
        Array.from({ length: count }, () => row),
      );
    }
  });

  it('as arrays', () => {
    const expected = [null, 1.5, -7, 'text', Uint8Array.of(1, 2), '', new Uint8Array(), 'more'];
    assert.deepEqual(decode(rows(many(cells, names, 3)), Outcome.rows, Flag.arrays), [expected, expected, expected]);
    assert.deepEqual(decode(rows(many(cells, names, 1)), Outcome.row, Flag.arrays), expected);
  });

  it('of text beyond ASCII are cut by UTF-16 length', () => {
    const texts = ['é', '😀', 'plain', '漢字', '\ufeffmark', 'ÿ'];
    for (const count of [1, 50]) {
      const expected = Array.from({ length: count }, () => texts);
      assert.deepEqual(decode(rows(many(texts, [...'abcdef'], count)), Outcome.rows, Flag.arrays), expected);
    }
  });

  it('of ASCII text of any length', () => {
    for (let length = 0; length < 70; length++) {
      const text = 'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(2).slice(0, length);
      assert.deepEqual(decode(rows({ rows: [[text]], names: ['t'] }), Outcome.row), { t: text });
    }
  });

  it('hold bytes of their own', () => {
    const bytes = buffer([rows({ rows: [[Uint8Array.of(1, 2, 3)]], names: ['b'] })]);
    const value = new Decoder(
      () => [],
      () => {},
    ).value(new Reader(bytes), 0, operation(Outcome.row));
    new Uint8Array(bytes).fill(0);
    assert.deepEqual(value, { b: Uint8Array.of(1, 2, 3) });
  });

  it('of large integers are bigint when asked for, else an error that names the column', () => {
    const record = rows({ rows: [[1, { int64: 2n ** 60n }]], names: ['a', 'b'] });
    assert.deepEqual(decode(record, Outcome.rows, Flag.bigint), [{ a: 1, b: 2n ** 60n }]);
    const { code, message } = failure(record);
    assert.equal(code, -2);
    assert.match(message, /^column 2 \(b\) holds an integer that a number cannot hold/);
    assert.equal(failure(record, Outcome.row).code, -2);
    assert.equal(failure(rows(many([{ int64: 2n ** 60n }], ['a'], 100))).code, -2);
    assert.equal(failure(record, Outcome.row, Flag.arrays).code, -2);
  });
});

describe('rows', () => {
  it('have own properties for any column name', () => {
    for (const count of [1, 100]) {
      const names = ['__proto__', 'constructor', 'a"b\\c', '1', '', '\u2028', 'hasOwnProperty'];
      const [row] = decode(rows(many([1, 2, 3, 4, 5, 6, 7], names, count))) as object[];
      assert.ok(row !== undefined);
      assert.deepEqual(
        names.map((name) => Object.getOwnPropertyDescriptor(row, name)?.value),
        [1, 2, 3, 4, 5, 6, 7],
      );
      assert.equal(Object.getPrototypeOf(row), Object.prototype);
    }
  });

  it('have the last of several columns with one name', () => {
    for (const count of [1, 100]) {
      const [row] = decode(
        rows(many(['first', Uint8Array.of(1), 'second', 'other'], ['a', 'a', 'a', 'b'], count)),
      ) as object[];
      assert.deepEqual(row, { a: 'second', b: 'other' });
    }
  });

  it('may have more columns than functions are compiled for', () => {
    const names = Array.from({ length: 500 }, (_, index) => `c${index}`);
    const cells = names.map((_, index) => index);
    const [row] = decode(rows(many(cells, names, 40))) as Record<string, number>[];
    assert.equal(row?.['c499'], 499);
  });

  it('of a shared list of columns ask for its names once', () => {
    const asked: number[] = [];
    const decoder = new Decoder(
      (id) => {
        asked.push(id);
        return id === 1 ? ['a'] : ['a', 'b'];
      },
      () => {},
    );
    const records = [
      rows({ rows: [[1]], shape: 1 }),
      rows({ rows: [[2, 3]], shape: 2 }),
      rows({ rows: [[4]], shape: 1 }),
    ];
    const reader = new Reader(buffer(records));
    const decoded: unknown[] = [];
    let at = 0;
    for (const record of records) {
      decoded.push(decoder.value(reader, at, operation(Outcome.row)));
      at += record.length;
    }
    assert.deepEqual(decoded, [{ a: 1 }, { a: 2, b: 3 }, { a: 4 }]);
    assert.deepEqual(asked, [1, 2]);
  });

  it('are right without generated code', () => {
    const code = `
      const { Decoder } = require('./dist/native/decode.js');
      const { Reader } = require('./dist/native/reader.js');
      const bytes = Buffer.from(process.argv[1], 'base64');
      const buffer = new Uint8Array(bytes).buffer;
      const rows = new Decoder(() => [], () => {}).value(new Reader(buffer), 0, { outcome: 2, mode: 0 });
      console.log(JSON.stringify([rows.length, rows[99], Object.hasOwn(rows[99], '__proto__')]));`;
    const record = rows(many([1, 'x', 2], ['a', '__proto__', 'a'], 100));
    const args = ['--disallow-code-generation-from-strings', '-e', code, Buffer.from(record).toString('base64')];
    const root = new URL('../', import.meta.url);
    assert.equal(
      execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }).trim(),
      '[100,{"a":2,"__proto__":"x"},true]',
    );
  });
});

describe('what an operation resolves with', () => {
  const two = rows({ rows: [[1], [2]], names: ['a'] });
  const none = rows({ rows: [], names: ['a'], columns: 1 });
  const counted = { changes: 3n, lastInsertRowid: 2n ** 60n };

  it('get: the first row or undefined', () => {
    assert.deepEqual(decode(two, Outcome.row), { a: 1 });
    assert.equal(decode(none, Outcome.row), undefined);
    assert.equal(decode(done(), Outcome.row), undefined);
  });

  it('one: the first row or a failure', () => {
    assert.deepEqual(decode(two, Outcome.one), { a: 1 });
    assert.equal(failure(none, Outcome.one).toError('SELECT').name, 'NoRowsError');
  });

  it('all: every row of every record', () => {
    const decoder = new Decoder(
      () => [],
      () => {},
    );
    const all = operation(Outcome.rows);
    decoder.collect(new Reader(buffer([two])), 0, all);
    assert.deepEqual(decoder.value(new Reader(buffer([two])), 0, all), [{ a: 1 }, { a: 2 }, { a: 1 }, { a: 2 }]);
    assert.deepEqual(decode(none), []);
  });

  it('query: columns, rows and counts', () => {
    const record = rows({ rows: [['x']], names: ['a'], changes: counted });
    const expected = { changes: 3, lastInsertRowid: 2n ** 60n };
    assert.deepEqual(decode(record, Outcome.query), { columns: ['a'], rows: [{ a: 'x' }], ...expected });
    assert.deepEqual(decode(changes(counted), Outcome.query), { columns: [], rows: [], ...expected });
  });

  it('run: counts, the row id a bigint only where a number cannot hold it', () => {
    assert.deepEqual(decode(changes(counted), Outcome.changes), { changes: 3, lastInsertRowid: 2n ** 60n });
    for (const id of [0n, 1n, -1n, 2n ** 32n, -(2n ** 53n) + 1n]) {
      const record = changes({ changes: 0n, lastInsertRowid: id });
      assert.deepEqual(decode(record, Outcome.changes), { changes: 0, lastInsertRowid: Number(id) });
    }
  });

  it('a batch: rows, and whether there are more', () => {
    const record = rows({ rows: [[1]], names: ['a'], open: true });
    assert.deepEqual(decode(record, Outcome.batch), { rows: [{ a: 1 }], open: true });
    assert.deepEqual(decode(none, Outcome.batch), { rows: [], open: false });
  });
});

describe('an error record', () => {
  it('becomes an error of its class, with the place in the text', () => {
    const sql = "SELECT 'é', nope";
    const made = failure(error(1, 'no such column: nope', 1, 13), Outcome.row).toError(sql);
    assert.equal(made.name, 'SqlError');
    assert.equal(made.code, 'SQL_ERROR');
    assert.equal(made.sqliteCode, 1);
    assert.equal(made.offset, sql.indexOf('nope'));
    assert.equal(made.sql, sql);
  });

  it('of every code has a class of its own', () => {
    const names = new Set<string>();
    for (let code = 1; code <= 34; code++) names.add(failure(error(code, 'x')).toError('').name);
    assert.equal(names.size, 34);
    assert.equal(names.has('SqlflowError'), false);
    assert.equal(failure(error(999, 'x')).toError('').name, 'SqlflowError');
  });

  it('of migrations has fields: what happened, the file, the line, the version', () => {
    const message = 'near "TABEL": syntax error\u001f002_add-users table.sql\u001f7\u001f2';
    const made = failure(error(30, message, 1)).toError('');
    assert.ok(made instanceof MigrationFailedError);
    assert.equal(made.message, 'near "TABEL": syntax error');
    assert.deepEqual([made.file, made.line, made.version], ['002_add-users table.sql', 7, 2]);
    assert.deepEqual([made.sqliteCode, made.sql, made.offset, made.cause], [1, undefined, undefined, undefined]);
  });

  it('of migrations may lack any of the fields', () => {
    const place = (code: number, message: string) => {
      const { message: text, file, line, version } = failure(error(code, message)).toError('') as MigrationFailedError;
      return [text, file, line, version];
    };
    for (let code = 30; code <= 34; code++) {
      assert.deepEqual(place(code, 'x\u001f\u001f\u001f'), ['x', undefined, undefined, undefined]);
    }
    assert.deepEqual(place(34, 'x\u001fä.sql\u001f\u001f'), ['x', 'ä.sql', undefined, undefined]);
    const last = 2n ** 63n - 1n;
    assert.deepEqual(place(33, `x\u001f\u001f\u001f${last}`), ['x', undefined, undefined, last]);
    assert.deepEqual(place(31, 'x\u001f\u001f\u001f20240131120000'), ['x', undefined, undefined, 20_240_131_120_000]);
    assert.deepEqual(place(30, 'a\u001fb\u001ff.sql\u001f1\u001f3'), ['a\u001fb', 'f.sql', 1, 3]);
    assert.deepEqual(place(30, 'no fields'), ['no fields', undefined, undefined, undefined]);
  });

  it('of another kind has none', () => {
    const made = failure(error(1, 'a\u001fb\u001f1\u001f2')).toError('');
    assert.equal(made.message, 'a\u001fb\u001f1\u001f2');
    assert.equal('file' in made, false);
  });
});

describe('other answers', () => {
  it('of a COMMIT says how long the log is', () => {
    assert.deepEqual(decode(done(0, 17), Outcome.committed), { logFrames: 17, commit: undefined });
  });

  it('of a checkpoint say how far it came', () => {
    const expected = { busy: true, logFrames: 9, checkpointedFrames: 4 };
    assert.deepEqual(decode(checkpointed(true, 9, 4), Outcome.checkpoint), expected);
  });

  it('of a history list migrations, one after the other without padding', () => {
    const record = history([
      { version: 1n, state: 1, name: 'init', appliedAt: 1_700_000_000_123n },
      { version: 20_240_131_120_000n, state: 1, name: 'add-users täble', appliedAt: 0n },
      { version: 2n ** 63n - 1n, state: 2, name: '', appliedAt: -1n },
      { version: -(2n ** 53n) + 1n, state: 0, name: '😀', appliedAt: 0n },
      { version: -(2n ** 63n), state: 0, name: 'x', appliedAt: 0n },
    ]);
    assert.equal(record.length % 8, 0);
    const expected = [
      { version: 1, name: 'init', state: 'applied', appliedAt: new Date('2023-11-14T22:13:20.123Z') },
      { version: 20_240_131_120_000, name: 'add-users täble', state: 'applied' },
      { version: 2n ** 63n - 1n, name: '', state: 'unknown', appliedAt: new Date(-1) },
      { version: Number.MIN_SAFE_INTEGER, name: '😀', state: 'pending' },
      { version: -(2n ** 63n), name: 'x', state: 'pending' },
    ];
    assert.deepEqual(decode(record, Outcome.history), expected);
    assert.deepEqual(decode(history([]), Outcome.history), []);
    // Whatever stands before it in the buffer.
    const reader = new Reader(buffer([done(), record, done()]));
    const decoder = new Decoder(
      () => [],
      () => {},
    );
    assert.deepEqual(decoder.value(reader, done().length, operation(Outcome.history)), expected);
  });

  it('of a migration tell its progress, when somebody wants to know, and keep no rows', () => {
    const one = { version: 2n ** 60n, name: 'add-users täble', index: 2, total: 3, ms: 17 };
    const reader = new Reader(buffer([done(), migrated(one), migrated({ ...one, version: 3n, index: 3 })]));
    const decoder = new Decoder(
      () => [],
      () => {},
    );
    const opening = operation(Outcome.opened);
    const first = done().length;
    decoder.collect(reader, first, opening);
    const told: unknown[] = [];
    opening.progress = (progress) => told.push(progress);
    decoder.collect(reader, first, opening);
    decoder.collect(reader, first + migrated(one).length, opening);
    assert.deepEqual(told, [one, { ...one, version: 3, index: 3 }]);
    assert.equal(opening.rows, undefined);
  });

  it('of a batch with sums are counts', () => {
    const expected = { changes: 3, lastInsertRowid: 9 };
    assert.deepEqual(decode(changes({ changes: 3n, lastInsertRowid: 9n }), Outcome.totals), expected);
  });

  it('of a failed batch say which statement it was', () => {
    assert.equal(failure(error(1, 'no such table: t', 1, 12, 0, 3), Outcome.results).statement, 3);
    assert.equal(failure(error(1, 'no such table: t')).statement, 0);
  });
});
