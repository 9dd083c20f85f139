// Values: what goes in, how SQLite stores it, what comes out; the same by every way to ask.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Database, IntegerOutOfRangeError, type SqlParameter } from 'sqlflow';
import { databaseChanges, forEachForm, transactionChanges } from './fixtures/forms.mjs';
import { Random } from './fixtures/random.mjs';
import { refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

let scratch: Scratch;
let db: Database;

before(async () => {
  scratch = new Scratch();
  db = await scratch.open('values.db', { synchronous: 'normal' });
});
after(() => scratch[Symbol.asyncDispose]());

/** A value, its storage class, and what it comes back as; with `bigint: true` an INTEGER comes back as one. */
interface Case {
  in: SqlParameter;
  type: 'null' | 'integer' | 'real' | 'text' | 'blob';
  out: unknown;
}

const same = (type: Case['type'], ...values: SqlParameter[]): Case[] =>
  values.map((value) => ({ in: value, type, out: value }));
const bytes = (...values: number[]) => Uint8Array.from(values);
const view = bytes(9, 9, 1, 2, 3, 9);

const SAFE = Number.MAX_SAFE_INTEGER;
const NUMBERS: Case[] = [
  ...same('integer', 0, 1, -1, 127, 128, 255, 256, 32_767, -32_769, 2 ** 24, 2 ** 31 - 1, 2 ** 31, -(2 ** 31)),
  ...same('integer', -(2 ** 31) - 1, 2 ** 32, 2 ** 48 - 1, -(2 ** 47), SAFE - 1, SAFE, -SAFE),
  ...same('real', 2 ** 53, -(2 ** 53), 2 ** 63, 1e300, 0.1, -1.5, 5e-324, Number.MAX_VALUE, Number.MIN_VALUE),
  ...same('real', -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0.1 + 0.2, 1 / 3),
  { in: true, type: 'integer', out: 1 },
  { in: false, type: 'integer', out: 0 },
  { in: 0n, type: 'integer', out: 0 },
  { in: -1n, type: 'integer', out: -1 },
  { in: BigInt(SAFE), type: 'integer', out: SAFE },
  { in: -BigInt(SAFE), type: 'integer', out: -SAFE },
];
const TEXTS: Case[] = same(
  'text',
  '',
  'a',
  'it\'s "quoted"',
  'é',
  'Straße ÿ',
  '漢字かな',
  '😀',
  'a😀b🏳️‍🌈',
  '\u{10ffff}\u{10000}',
  '\uffff\ufffe\ufffd',
  '\ud7ff\ue000',
  '\0',
  'a\0b',
  '\0\0é\0',
  '\ufeff',
  '\ufeffwith a mark first',
  'e\u0301 is not \u00e9',
  '\u202eright to left',
  '\r\n\t\u007f\u0080\u009f',
  '1e5',
  '007',
  'null',
);
const BLOBS: Case[] = [
  ...same('blob', bytes(), bytes(0), bytes(255, 0, 128, 10), bytes(0xef, 0xbb, 0xbf), new Uint8Array(300).fill(7)),
  { in: Buffer.from('é'), type: 'blob', out: bytes(0xc3, 0xa9) },
  { in: bytes(1, 2, 3).buffer, type: 'blob', out: bytes(1, 2, 3) },
  { in: new ArrayBuffer(0), type: 'blob', out: bytes() },
  { in: view.subarray(2, 5), type: 'blob', out: bytes(1, 2, 3) },
  { in: new DataView(view.buffer, 2, 3), type: 'blob', out: bytes(1, 2, 3) },
  { in: Uint16Array.of(0x0201), type: 'blob', out: bytes(1, 2) },
  { in: Int8Array.of(-1), type: 'blob', out: bytes(255) },
  { in: Uint8ClampedArray.of(300), type: 'blob', out: bytes(255) },
  { in: Float64Array.of(1), type: 'blob', out: bytes(0, 0, 0, 0, 0, 0, 0xf0, 0x3f) },
  { in: BigInt64Array.of(-1n), type: 'blob', out: bytes(255, 255, 255, 255, 255, 255, 255, 255) },
  { in: new Uint8Array(new SharedArrayBuffer(2)), type: 'blob', out: bytes(0, 0) },
  { in: new SharedArrayBuffer(1), type: 'blob', out: bytes(0) },
];
const ALL: Case[] = [...same('null', null), ...NUMBERS, ...TEXTS, ...BLOBS];

const withBigint = (each: Case) => (each.type === 'integer' ? BigInt(Number(each.out)) : each.out);

describe('a value', () => {
  // One statement gives every value beside its storage class, in one row of cells of all types.
  const parameters = ALL.map((each) => each.in);
  const sql = `SELECT ${ALL.map((_, index) => `?${index + 1}, typeof(?${index + 1})`).join(', ')}`;

  for (const bigint of [false, true]) {
    it(`comes back as what it went in, by every way to ask (bigint: ${bigint})`, async () => {
      const expected = ALL.flatMap((each) => [bigint ? withBigint(each) : each.out, each.type]);
      await forEachForm(db, async (form) => {
        const rows = await form.rows(sql, parameters, { rowMode: 'array', bigint });
        assert.deepEqual(rows, [expected], form.name);
      });
    });
  }

  it('comes back from a table as what it went in, by every way to write it', async () => {
    await db.exec('CREATE TABLE stored (id INTEGER PRIMARY KEY, value)');
    const expected = ALL.map((each) => ({ value: each.out, type: each.type }));
    const insert = 'INSERT INTO stored (value) VALUES (?)';
    const select = 'SELECT value, typeof(value) AS type FROM stored ORDER BY id';
    for (const form of databaseChanges(db).filter(({ script }) => !script)) {
      for (const each of ALL) await form.run(insert, [each.in]);
      assert.deepEqual(await db.all(select), expected, form.name);
      await db.run('DELETE FROM stored');
    }
    await db.write(async (tx) => {
      for (const form of transactionChanges(tx).filter(({ script }) => !script)) {
        for (const each of ALL) await form.run(insert, [each.in]);
        assert.deepEqual(tx.sync.all(select), expected, form.name);
        await tx.run('DELETE FROM stored');
      }
    });
    await forEachForm(db, async (form) => {
      // Reads do not write, and iterate and batches are for statements that read.
      if (form.name.startsWith('read') || /iterate|batches/.test(form.name)) return;
      for (const each of ALL) {
        const rows = await form.rows(`${insert} RETURNING value`, [each.in], { rowMode: 'array' });
        assert.deepEqual(rows, [[each.out]], form.name);
      }
    });
  });

  it('is converted by the affinity of its column, as SQLite says', async () => {
    await db.exec('CREATE TABLE affine (i INTEGER, r REAL, t TEXT, n NUMERIC, b BLOB)');
    const put = (value: SqlParameter) =>
      db.all(
        'INSERT INTO affine VALUES (?1, ?1, ?1, ?1, ?1) RETURNING i, r, t, n, b, typeof(i)||typeof(r)||typeof(t)||typeof(n)||typeof(b) AS types',
        [value],
        { rowMode: 'array' },
      );
    assert.deepEqual(await put(5), [[5, 5, '5', 5, 5, 'integerrealtextintegerinteger']]);
    assert.deepEqual(await put(1.5), [[1.5, 1.5, '1.5', 1.5, 1.5, 'realrealtextrealreal']]);
    assert.deepEqual(await put('7'), [[7, 7, '7', 7, '7', 'integerrealtextintegertext']]);
    assert.deepEqual(await put('x'), [['x', 'x', 'x', 'x', 'x', 'texttexttexttexttext']]);
    const bigints = await db.get('SELECT r, i FROM affine', [], { bigint: true });
    assert.deepEqual(bigints, { r: 5, i: 5n });
  });
});

describe('an integer beyond the safe ones', () => {
  const wide = [2n ** 53n, -(2n ** 53n), 2n ** 53n + 1n, 2n ** 62n, 2n ** 63n - 1n, -(2n ** 63n)];

  it('is a bigint where they are asked for', async () => {
    const sql = `SELECT ${wide.map(() => '?').join(', ')}`;
    await forEachForm(db, async (form) => {
      assert.deepEqual(await form.rows(sql, wide, { rowMode: 'array', bigint: true }), [wide], form.name);
    });
  });

  for (const value of wide) {
    it(`is an error that names the column otherwise: ${value}`, async () => {
      await forEachForm(db, async (form) => {
        const ask = () => form.rows('SELECT 1 AS one, ? AS wide', [value]);
        const error = await refused(ask, IntegerOutOfRangeError, /column 2\b.*bigint: true/, form.name);
        assert.match(error.message, /wide/);
        assert.ok(!error.message.includes(String(value)));
        assert.equal(error.sql, 'SELECT 1 AS one, ? AS wide');
        assert.deepEqual(await form.rows('SELECT 2 AS two'), [{ two: 2 }], form.name);
      });
    });
  }

  it('far inside a result ends that result alone', async () => {
    const sql = 'SELECT value, iif(value = 3500, 9007199254740993, 1) AS wide FROM generated';
    await db.exec(`CREATE TABLE generated AS WITH RECURSIVE n (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n
      WHERE value < 4999) SELECT value FROM n`);
    await forEachForm(db, async (form) => {
      if (form.single) return;
      const other = db.outside(() => db.all(sql, [], { bigint: true }));
      await refused(() => form.rows(sql), IntegerOutOfRangeError, /column 2\b/, form.name);
      assert.equal((await other)[3500]?.['wide'], 9_007_199_254_740_993n);
      assert.equal((await form.rows('SELECT value FROM generated')).length, 5_000, form.name);
    });
  });

  it('can be a row id, told as a bigint', async () => {
    await db.exec('CREATE TABLE ids (id INTEGER PRIMARY KEY)');
    assert.deepEqual(await db.run('INSERT INTO ids VALUES (?)', [2n ** 63n - 1n]), {
      changes: 1,
      lastInsertRowid: 2n ** 63n - 1n,
    });
    assert.deepEqual(await db.run('INSERT INTO ids VALUES (?)', [SAFE]), { changes: 1, lastInsertRowid: SAFE });
    await db.write((tx) => {
      assert.equal(tx.sync.run('INSERT INTO ids VALUES (?)', [-(2n ** 53n)]).lastInsertRowid, -(2n ** 53n));
    });
  });
});

describe('integers by default', () => {
  it('are bigints in a database opened so, unless a call says otherwise', async () => {
    const big = await scratch.open('bigint.db', { bigint: true });
    await forEachForm(big, async (form) => {
      assert.deepEqual(await form.rows('SELECT 1 AS i, 1.0 AS r'), [{ i: 1n, r: 1 }], form.name);
      assert.deepEqual(await form.rows('SELECT 1 AS i', [], { bigint: false }), [{ i: 1 }], form.name);
      assert.deepEqual(await form.rows('SELECT 1 AS i', [], { rowMode: 'array' }), [[1n]], form.name);
    });
    const query = await big.query('SELECT count(*) AS n FROM sqlite_schema');
    assert.deepEqual(query, { columns: ['n'], rows: [{ n: 0n }], changes: 0, lastInsertRowid: 0 });
  });
});

describe('a blob', () => {
  it('is an own copy of plain bytes', async () => {
    const ask = () => db.get("SELECT x'010203' AS a, x'' AS empty, 'text between' AS t, x'0405' AS b");
    const row = await ask();
    const { a, b, empty } = row ?? {};
    assert.ok(a instanceof Uint8Array && b instanceof Uint8Array && empty instanceof Uint8Array);
    assert.equal(Object.getPrototypeOf(a), Uint8Array.prototype);
    assert.deepEqual([a.byteOffset, a.buffer.byteLength, b.byteOffset, b.buffer.byteLength], [0, 3, 0, 2]);
    a.fill(9);
    assert.deepEqual(await ask(), { a: bytes(1, 2, 3), empty: bytes(), t: 'text between', b: bytes(4, 5) });
    assert.deepEqual(b, bytes(4, 5));
  });

  it('and an array of values are taken at the call', async () => {
    const given = bytes(1, 2, 3);
    const values: SqlParameter[] = ['before', given];
    const asked = [db.get('SELECT ? AS a, ? AS b', values), db.all('SELECT ?1 AS a, ?2 AS b', values)];
    given.fill(9);
    values[0] = 'after';
    values.length = 0;
    assert.deepEqual(await Promise.all(asked), [
      { a: 'before', b: bytes(1, 2, 3) },
      [{ a: 'before', b: bytes(1, 2, 3) }],
    ]);
  });
});

describe('random values', () => {
  it('come back as what they went in', async () => {
    const random = new Random(20_260_101);
    await db.exec('CREATE TABLE any (id INTEGER PRIMARY KEY, a, b, c, d)');
    const rows = Array.from({ length: 600 }, () => Array.from({ length: 4 }, () => random.value()));
    await db.write(async (tx) => {
      const forms = transactionChanges(tx).filter(({ script }) => !script);
      for (const [index, row] of rows.entries()) {
        await random.pick(forms).run('INSERT INTO any (a, b, c, d) VALUES (?, ?, ?, ?)', row);
        if (index % 50 === 0) await tx.run('UPDATE any SET a = a WHERE id = ?', [index]);
      }
    });
    await forEachForm(db, async (form) => {
      if (form.single) return;
      const options = { rowMode: 'array', bigint: false } as const;
      assert.deepEqual(await form.rows('SELECT a, b, c, d FROM any ORDER BY id', [], options), rows, form.name);
    });
    for (const [index, row] of rows.entries()) {
      const [a, b, c, d] = row;
      assert.deepEqual(await db.get('SELECT a, b, c, d FROM any WHERE id = ?', [index + 1]), { a, b, c, d });
      const matches = await db.get('SELECT id FROM any WHERE id = ? AND a IS ? AND b IS ? AND c IS ? AND d IS ?', [
        index + 1,
        ...row,
      ]);
      assert.deepEqual(matches, { id: index + 1 });
    }
  });
});
