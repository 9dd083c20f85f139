// Rows: names of columns, many columns, many rows, large rows, and cells whose types change from row to row.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Database, SqlError, TooLargeError } from 'sqlflow';
import { forEachForm } from './fixtures/forms.mjs';
import { refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

let scratch: Scratch;
let db: Database;

before(async () => {
  scratch = new Scratch();
  db = await scratch.open('rows.db', { synchronous: 'normal' });
});
after(() => scratch[Symbol.asyncDispose]());

describe('column names', () => {
  const names = [
    'plain',
    '',
    'with space',
    '"quoted"',
    "it's",
    '漢😀',
    'constructor',
    'toString',
    '0',
    '-1',
    'a\\b\n`${c}',
  ];
  const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
  // Builders of rows are compiled after some rows of a column list: both must give the same.
  const numbers = Array.from({ length: 100 }, (_, n) => n);
  const source = `json_each('${JSON.stringify(numbers)}')`;

  it('become properties, whatever they are', async () => {
    const sql = `SELECT ${names.map((name) => `value AS ${quoted(name)}`).join(', ')} FROM ${source}`;
    const expected = numbers.map((n) => Object.fromEntries(names.map((name) => [name, n])));
    await forEachForm(db, async (form) => {
      assert.deepEqual(await form.rows(sql), form.single ? expected.slice(0, 1) : expected, form.name);
    });
  });

  it('may be __proto__: an own property of an ordinary object', async () => {
    const sql = `SELECT value AS "__proto__", value + 1 AS b FROM ${source}`;
    await forEachForm(db, async (form) => {
      for (const [n, row] of (await form.rows(sql)).entries()) {
        assert.ok(typeof row === 'object' && row !== null);
        assert.equal(Object.getPrototypeOf(row), Object.prototype);
        assert.equal(Object.getOwnPropertyDescriptor(row, '__proto__')?.value, n, form.name);
        assert.deepEqual(Object.keys(row), ['__proto__', 'b']);
      }
    });
  });

  it('may come twice: the last one wins in an object, an array has both', async () => {
    const sql = `SELECT value AS a, value + 1 AS b, value + 2 AS a FROM ${source}`;
    const last = (rows: unknown[]) => rows.at(-1);
    await forEachForm(db, async (form) => {
      const n = form.single ? 0 : 99;
      assert.deepEqual(last(await form.rows(sql)), { a: n + 2, b: n + 1 }, form.name);
      assert.deepEqual(last(await form.rows(sql, [], { rowMode: 'array' })), [n, n + 1, n + 2], form.name);
    });
    const { columns } = await db.query(sql);
    assert.deepEqual(columns, ['a', 'b', 'a']);
  });

  it('that are given belong to the caller', async () => {
    const first = await db.query('SELECT 1 AS mine');
    first.columns[0] = 'changed';
    assert.deepEqual(await db.query('SELECT 2 AS mine'), {
      columns: ['mine'],
      rows: [{ mine: 2 }],
      changes: 0,
      lastInsertRowid: 0,
    });
  });

  it('follow the table when it changes under a statement that was prepared before', async () => {
    await db.exec('CREATE TABLE changing (a, b); INSERT INTO changing VALUES (1, 2)');
    const sql = 'SELECT * FROM changing';
    const expect = async (row: object) => {
      await forEachForm(db, async (form) => assert.deepEqual(await form.rows(sql), [row], form.name));
    };
    await expect({ a: 1, b: 2 });
    await db.exec('ALTER TABLE changing ADD COLUMN c DEFAULT 3');
    await expect({ a: 1, b: 2, c: 3 });
    await db.exec('ALTER TABLE changing RENAME COLUMN a TO z');
    await expect({ z: 1, b: 2, c: 3 });
    await db.exec('ALTER TABLE changing DROP COLUMN b');
    await expect({ z: 1, c: 3 });
    await db.write(async (tx) => {
      await tx.all(sql);
      await tx.exec('ALTER TABLE changing DROP COLUMN c');
      assert.deepEqual(await tx.all(sql), [{ z: 1 }]);
      assert.deepEqual(tx.sync.all(sql), [{ z: 1 }]);
    });
    await expect({ z: 1 });
  });

  it('need no code to be made of strings', () => {
    const program = fileURLToPath(new URL('./fixtures/rows.mjs', import.meta.url));
    const told = [[], ['--disallow-code-generation-from-strings']].map((flags) => {
      const child = spawnSync(process.execPath, [...flags, program], { encoding: 'utf8', timeout: 20_000 });
      assert.equal(child.status, 0, child.stderr);
      return child.stdout;
    });
    assert.equal(told[1], told[0]);
    assert.match(told[0] ?? '', /"rows":200/);
  });
});

describe('many columns', () => {
  for (const count of [127, 128, 129, 2_000]) {
    it(`are all there: ${count}`, async () => {
      const names = Array.from({ length: count }, (_, n) => `column_${n}`);
      const sql = `SELECT ${names.map((name, n) => `${n} + value AS ${name}`).join(', ')} FROM generate WHERE value < 40`;
      await db.exec(`CREATE TABLE IF NOT EXISTS generate AS WITH RECURSIVE n (value) AS
        (SELECT 0 UNION ALL SELECT value + 1 FROM n WHERE value < 99) SELECT value FROM n`);
      const rows = Array.from({ length: 40 }, (_, row) => names.map((_name, n) => row + n));
      assert.deepEqual(await db.all(sql, [], { rowMode: 'array' }), rows);
      const objects = rows.map((row) => Object.fromEntries(row.map((value, n) => [`column_${n}`, value])));
      assert.deepEqual(await db.all(sql), objects);
      assert.deepEqual(await db.get(sql), objects[0]);
      await db.read((tx) => assert.deepEqual(tx.sync.all(sql), objects));
      assert.deepEqual((await db.query(sql)).columns, names);
    });
  }

  it('are too many beyond 2,000', async () => {
    const sql = `SELECT ${Array(2_001).fill('1').join(', ')}`;
    await refused(() => db.all(sql), SqlError, 'too many columns in result set');
  });
});

describe('many rows', () => {
  const isWrong = (row: unknown, i: number) => {
    if (!Array.isArray(row) || row.length !== 4) return true;
    const [at, half, text, mixed] = row;
    if (at !== i || half !== i * 0.5 || text !== `row ${i}`) return true;
    if (i % 3 === 0) return mixed !== null;
    return i % 3 === 1 ? mixed !== `é${i}` : !(mixed instanceof Uint8Array && mixed.length === 1 && mixed[0] === 0);
  };

  it('come whole and in order: 100,000', async () => {
    await db.exec(`CREATE TABLE many AS WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
      SELECT i, i * 0.5 AS half, 'row ' || i AS text, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN 'é' || i ELSE x'00' END AS m FROM n`);
    await forEachForm(db, async (form) => {
      if (form.single) return;
      const rows = await form.rows('SELECT i, half, text, m FROM many', [], { rowMode: 'array' });
      assert.equal(rows.length, 100_000, form.name);
      assert.equal(rows.findIndex(isWrong), -1, form.name);
    });
  });

  it('come in batches of the size that is asked for', async () => {
    await db.read(async (tx) => {
      for (const batchRows of [1, 7, 999, 1_000, 1_001]) {
        const sizes: number[] = [];
        let next = 0;
        for await (const batch of tx.batches<{ i: number }>('SELECT i FROM many LIMIT 5000', [], { batchRows })) {
          sizes.push(batch.length);
          for (const row of batch) assert.equal(row.i, next++);
        }
        assert.equal(next, 5_000);
        assert.ok(
          sizes.slice(0, -1).every((size) => size === batchRows),
          `${batchRows}: ${sizes.slice(0, 5)}`,
        );
      }
    });
  });
});

describe('cells', () => {
  it('may have another type in every row', async () => {
    const kinds = ['NULL', '7', '-1.5', "'text'", "'é漢😀'", "x'0102'", '9007199254740993', "''", "x''"];
    const values = [null, 7n, -1.5, 'text', 'é漢😀', Uint8Array.of(1, 2), 9_007_199_254_740_993n, '', new Uint8Array()];
    const cell = (row: number, column: number) => (row * (column + 1) + column * 3 + (row >> 4)) % kinds.length;
    const columns = [0, 1, 2, 3, 4, 5];
    const rows = Array.from({ length: 3_000 }, (_, row) => row);
    const pick = (column: number) =>
      `CASE (i * ${column + 1} + ${column * 3} + (i >> 4)) % ${kinds.length} ${kinds.map((kind, n) => `WHEN ${n} THEN ${kind}`).join(' ')} END AS c${column}`;
    const sql = `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows.length - 1})
      SELECT ${columns.map(pick).join(', ')} FROM n`;
    const arrays = rows.map((row) => columns.map((column) => values[cell(row, column)]));
    const objects = arrays.map((row) => Object.fromEntries(row.map((value, column) => [`c${column}`, value])));
    await forEachForm(db, async (form) => {
      if (form.single) return;
      assert.deepEqual(await form.rows(sql, [], { rowMode: 'array', bigint: true }), arrays, form.name);
      assert.deepEqual(await form.rows(sql, [], { bigint: true }), objects, form.name);
    });
  });
});

describe('a large row', () => {
  it('of 64 MB goes in and comes back', async () => {
    const size = 64 * 1024 * 1024;
    const blob = Buffer.alloc(size, 'sixty-four megabytes of this ');
    await db.exec('CREATE TABLE large (id INTEGER PRIMARY KEY, before, blob, after)');
    await db.run("INSERT INTO large VALUES (1, 'before', ?, 'after')", [blob]);
    const check = (row: unknown) => {
      assert.ok(Array.isArray(row));
      const [before, back, behind] = row;
      assert.deepEqual([before, behind], ['before', 'after']);
      assert.ok(back instanceof Uint8Array && back.length === size && blob.equals(back));
    };
    const sql = 'SELECT before, blob, after FROM large';
    check(await db.get(sql, [], { rowMode: 'array' }));
    await db.write(async (tx) => {
      check(tx.sync.get(sql, [], { rowMode: 'array' }));
      for await (const row of tx.iterate(sql, [], { rowMode: 'array' })) check(row);
      tx.sync.run('UPDATE large SET blob = ?', [blob.subarray(1)]);
      assert.deepEqual(tx.sync.get('SELECT length(blob) AS n FROM large'), { n: size - 1 });
      await tx.run('DELETE FROM large');
    });
  });

  it('beyond what SQLite allows is refused', async () => {
    await refused(() => db.get('SELECT zeroblob(1000000001)'), TooLargeError, 'string or blob too big');
    assert.deepEqual(await db.get('SELECT 1 AS one'), { one: 1 });
  });
});
