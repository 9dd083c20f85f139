// Rows of column lists that are a trap for whoever builds them, and that change.

import './fixtures/border/watchdog.mjs';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Database, type Row } from 'sqlflow';
import { codeGenerationIsAllowed, columnLists } from './fixtures/border/column-lists.mjs';
import { Folder } from './fixtures/border/folder.mjs';
import { assertEndedWith, run } from './fixtures/border/program.mjs';

/** A test that waits for something that never comes fails alone. */
const LIMIT = { timeout: 20_000 };

test('column lists of every kind give right rows', LIMIT, async () => {
  await using db = await Database.open(':memory:');
  const lists = await columnLists(db);
  for (const { rows } of lists.proto) {
    assert.equal(rows.length, 100);
    for (const [at, row] of rows.entries()) {
      assert.ok(Object.hasOwn(row, '__proto__'));
      assert.equal(Object.getPrototypeOf(row), Object.prototype);
      assert.deepEqual(Object.getOwnPropertyDescriptor(row, '__proto__')?.value, at + 1);
      assert.deepEqual(Object.keys(row), ['__proto__', 'constructor', 'other']);
    }
  }
  assert.deepEqual(lists.duplicates, {
    objects: [{ a: 3, b: 2 }],
    arrays: [[1, 2, 3]],
    columns: ['a', 'b', 'a'],
    many: Array.from({ length: 100 }, (_, i) => ({ a: -(i + 1), b: 'b' })),
  });
  assert.deepEqual(lists.odd, {
    '': 1,
    'a"b': 2,
    'a\\b': 3,
    'a\nb': 4,
    'a\u2028b': 5,
    ü: 6,
    '${a}': 7,
    toString: 8,
    hasOwnProperty: 9,
    '1': 10,
  });
  assert.deepEqual(
    Object.keys(lists.wide),
    Array.from({ length: 300 }, (_, i) => `c${i}`),
  );
  assert.deepEqual(
    Object.values(lists.wide),
    Array.from({ length: 300 }, (_, i) => i),
  );
});

test('the same rows come where code may not be made from strings', LIMIT, async () => {
  assert.equal(codeGenerationIsAllowed(), true);
  await using db = await Database.open(':memory:');
  const here = JSON.stringify(await columnLists(db));

  const ending = await run('column-lists-program', [], ['--disallow-code-generation-from-strings']);
  assertEndedWith(ending, 0);
  assert.equal(ending.stdout, `no code generation\n${here}\n`);
});

test('a column list that changes under a statement is the new one from its next run on', LIMIT, async () => {
  using folder = new Folder();
  await using db = await Database.open(folder.file('columns.db'), { readers: 2 });
  await db.exec("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'one')");
  const everything = 'SELECT * FROM t';
  /** Both readers, and more often than a shape needs to be compiled. */
  const look = async (): Promise<Row[]> => {
    const rows = await Promise.all(Array.from({ length: 100 }, () => db.all(everything)));
    return [...new Set(rows.map((row) => JSON.stringify(row)))].flatMap((row) => JSON.parse(row));
  };

  assert.deepEqual(await look(), [{ a: 1, b: 'one' }]);
  await db.exec("ALTER TABLE t ADD COLUMN c DEFAULT 'new'");
  assert.deepEqual(await look(), [{ a: 1, b: 'one', c: 'new' }]);
  await db.exec('ALTER TABLE t RENAME COLUMN b TO renamed');
  assert.deepEqual(await look(), [{ a: 1, renamed: 'one', c: 'new' }]);
  await db.exec('ALTER TABLE t DROP COLUMN a');
  assert.deepEqual(await look(), [{ renamed: 'one', c: 'new' }]);
  await db.exec("DROP TABLE t; CREATE TABLE t (x, y, z); INSERT INTO t VALUES ('x', 'y', 'z')");
  assert.deepEqual(await look(), [{ x: 'x', y: 'y', z: 'z' }]);
  assert.deepEqual((await db.query(everything)).columns, ['x', 'y', 'z']);

  await db.write(async (tx) => {
    const statement = tx.prepare(everything);
    assert.deepEqual(await statement.get(), { x: 'x', y: 'y', z: 'z' });
    await tx.exec('ALTER TABLE t ADD COLUMN more DEFAULT 7');
    assert.deepEqual(await statement.get(), { x: 'x', y: 'y', z: 'z', more: 7 });
    assert.deepEqual(tx.sync.get(everything), { x: 'x', y: 'y', z: 'z', more: 7 });
    await tx.exec('ALTER TABLE t DROP COLUMN x');
    assert.deepEqual(await statement.all(), [{ y: 'y', z: 'z', more: 7 }]);
    for await (const row of statement.iterate()) assert.deepEqual(row, { y: 'y', z: 'z', more: 7 });
  });
  assert.deepEqual(await look(), [{ y: 'y', z: 'z', more: 7 }]);

  await assert.rejects(
    db.write(async (tx) => {
      await tx.exec('ALTER TABLE t ADD COLUMN undone');
      assert.deepEqual(await tx.get(everything), { y: 'y', z: 'z', more: 7, undone: null });
      throw new Error('undo');
    }),
    { message: 'undo' },
  );
  assert.deepEqual(await look(), [{ y: 'y', z: 'z', more: 7 }]);
  assert.deepEqual(await db.write((tx) => tx.get(everything)), { y: 'y', z: 'z', more: 7 });
});
