// What SQLite can do beyond tables: search, ranges, JSON, mathematics, and the rest of its SQL, in reads and writes alike.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConstraintError, type Database, ReadOnlyTransactionError, SqlError, type SqlParameters } from 'sqlflow';
import { databaseChanges, forEachForm, transactionChanges } from './fixtures/forms.mjs';
import { refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

/** Fails unless every way to ask gives these rows. */
async function assertRows(db: Database, sql: string, parameters: SqlParameters, rows: object[]): Promise<void> {
  await forEachForm(db, async (form) => {
    assert.deepEqual(await form.rows(sql, parameters), form.single ? rows.slice(0, 1) : rows, `${form.name}: ${sql}`);
  });
}

/** A statement that writes, run once by every way to run one. */
async function byEveryWay(db: Database, sql: string, each: (n: number) => SqlParameters): Promise<number> {
  let n = 0;
  for (const form of databaseChanges(db).filter(({ script }) => !script)) await form.run(sql, each(n++));
  await db.write(async (tx) => {
    for (const form of transactionChanges(tx).filter(({ script }) => !script)) await form.run(sql, each(n++));
  });
  return n;
}

describe('FTS5, an index over another table kept by triggers', () => {
  const SCHEMA = `
    CREATE TABLE page (id INTEGER PRIMARY KEY, title TEXT, body TEXT);
    CREATE VIRTUAL TABLE page_words USING fts5 (title, body, content='page', content_rowid='id', tokenize='unicode61 remove_diacritics 2');
    CREATE TRIGGER page_insert AFTER INSERT ON page BEGIN
      INSERT INTO page_words (rowid, title, body) VALUES (new.id, new.title, new.body);
    END;
    CREATE TRIGGER page_delete AFTER DELETE ON page BEGIN
      INSERT INTO page_words (page_words, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
    END;
    CREATE TRIGGER page_update AFTER UPDATE ON page BEGIN
      INSERT INTO page_words (page_words, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
      INSERT INTO page_words (rowid, title, body) VALUES (new.id, new.title, new.body);
    END;`;
  const SEARCH = 'SELECT rowid AS id FROM page_words WHERE page_words MATCH ? ORDER BY rank, rowid';
  const CHECK = "INSERT INTO page_words (page_words, rank) VALUES ('integrity-check', 1)";

  async function filled(scratch: Scratch): Promise<Database> {
    const db = await scratch.open('fts.db', { synchronous: 'normal' });
    await db.exec(SCHEMA);
    await db.write(async (tx) => {
      await tx.run("INSERT INTO page VALUES (1, 'Zürich', 'the lake and the river')");
      tx.sync.run("INSERT INTO page VALUES (2, 'Basel', 'the river Rhine, the river of the city')");
      await tx.run("INSERT INTO page VALUES (3, 'Bern', 'the capital')");
    });
    return db;
  }

  it('finds what was written, by every way to ask', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    await assertRows(db, SEARCH, ['river'], [{ id: 2 }, { id: 1 }]);
    await assertRows(db, SEARCH, ['zurich'], [{ id: 1 }]);
    await assertRows(db, SEARCH, ['title : b*'], [{ id: 3 }, { id: 2 }]);
    await assertRows(db, SEARCH, ['river NOT lake'], [{ id: 2 }]);
    await assertRows(db, SEARCH, ['"the capital"'], [{ id: 3 }]);
    await assertRows(
      db,
      `SELECT highlight(page_words, 0, '[', ']') AS title, snippet(page_words, 1, '<', '>', '...', 3) AS part,
        bm25(page_words) < 0 AS ranked FROM page_words('rhine OR basel')`,
      [],
      [{ title: '[Basel]', part: 'the river <Rhine>...', ranked: 1 }],
    );
    await db.run(CHECK);
  });

  it('follows every way to write', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const written = await byEveryWay(db, "INSERT INTO page (title, body) VALUES (?, 'common')", (n) => [`way${n}`]);
    assert.deepEqual(await db.get("SELECT count(*) AS n FROM page_words('common')"), { n: written });
    await byEveryWay(db, 'UPDATE page SET body = ? WHERE title = ?', (n) => [`changed${n}`, `way${n}`]);
    assert.deepEqual(await db.get("SELECT count(*) AS n FROM page_words('common')"), { n: 0 });
    await byEveryWay(db, 'DELETE FROM page WHERE title = ?', (n) => [`way${n}`]);
    assert.deepEqual(await db.get("SELECT count(*) AS n FROM page_words('changed*')"), { n: 0 });
    for (const command of ['integrity-check', 'optimize', 'rebuild', 'integrity-check']) {
      await db.run('INSERT INTO page_words (page_words) VALUES (?)', [command]);
    }
    await db.run(CHECK);
  });

  it('is rolled back with its transaction, and is whole after the file was closed', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const gone = new Error('rolled back');
    const fails = db.write(async (tx) => {
      await tx.run("UPDATE page SET body = 'vanishing' WHERE id = 1");
      tx.sync.run("INSERT INTO page VALUES (9, 'vanishing', '')");
      assert.deepEqual(await tx.all(SEARCH, ['vanishing']), [{ id: 9 }, { id: 1 }]);
      throw gone;
    });
    await assert.rejects(fails, (error) => error === gone);
    await assertRows(db, SEARCH, ['river'], [{ id: 2 }, { id: 1 }]);
    assert.deepEqual(await db.all(SEARCH, ['vanishing']), []);
    await db.close();
    const again = await scratch.open('fts.db');
    await assertRows(again, SEARCH, ['river'], [{ id: 2 }, { id: 1 }]);
    await again.run(CHECK);
    await db.close();
    await again.close();
    const fixed = await scratch.open('fts.db', { readOnly: true });
    assert.deepEqual(await fixed.all(SEARCH, ['river']), [{ id: 2 }, { id: 1 }]);
  });

  it('is not written by a read', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    await db.read(async (tx) => {
      await refused(() => tx.get(CHECK), ReadOnlyTransactionError, /db\.write/);
      await refused(() => tx.sync.get('DELETE FROM page WHERE id = 1'), ReadOnlyTransactionError, /db\.write/);
      assert.deepEqual(await tx.all(SEARCH, ['capital']), [{ id: 3 }]);
    });
  });
});

describe('R-Tree', () => {
  const SCHEMA = `
    CREATE TABLE place (id INTEGER PRIMARY KEY, name TEXT, x REAL, y REAL);
    CREATE VIRTUAL TABLE place_box USING rtree (id, x1, x2, y1, y2, +name TEXT);
    CREATE TRIGGER place_insert AFTER INSERT ON place BEGIN
      INSERT INTO place_box VALUES (new.id, new.x, new.x, new.y, new.y, new.name);
    END;
    CREATE TRIGGER place_delete AFTER DELETE ON place BEGIN DELETE FROM place_box WHERE id = old.id; END;`;
  const INSIDE = `SELECT id, name FROM place_box WHERE x1 >= :left AND x2 <= :right AND y1 >= :bottom AND y2 <= :top ORDER BY id`;

  it('finds what lies in a range, by every way to ask, and follows every way to write', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('rtree.db', { synchronous: 'normal' });
    await db.exec(SCHEMA);
    await db.write(async (tx) => {
      const insert = tx.prepare('INSERT INTO place (id, name, x, y) VALUES (?, ?, ?, ?)');
      for (let id = 1; id <= 400; id++) await insert.run(id, `place ${id}`, id % 20, Math.floor(id / 20));
    });
    const box = { left: 3, right: 4, bottom: 2, top: 3 };
    const inside = [43, 44, 63, 64].map((id) => ({ id, name: `place ${id}` }));
    await assertRows(db, INSIDE, box, inside);
    const more = await byEveryWay(db, 'INSERT INTO place (id, name, x, y) VALUES (?, ?, 3.5, 2.5)', (n) => [
      1_000 + n,
      'm',
    ]);
    assert.equal((await db.all(INSIDE, box)).length, inside.length + more);
    await byEveryWay(db, 'DELETE FROM place WHERE id = ?', (n) => [1_000 + n]);
    await assertRows(db, INSIDE, box, inside);
    await assertRows(db, "SELECT rtreecheck('place_box') AS checked", [], [{ checked: 'ok' }]);
    await refused(
      () => db.run('INSERT INTO place_box VALUES (9999, 2, 1, 0, 0, NULL)'),
      ConstraintError,
      /rtree constraint failed/,
    );
  });
});

describe('functions of', () => {
  const expressions: [group: string, expression: string, value: unknown][] = [
    ['JSON', `'{"a":[1,{"b":null}]}' -> '$.a[1]'`, '{"b":null}'],
    ['JSON', `'{"a":[1,2]}' ->> '$.a[#-1]'`, 2],
    ['JSON', `json_extract('{"a":"é😀"}', '$.a')`, 'é😀'],
    ['JSON', `json_set('{"a":1}', '$.b', json('[1,2]'))`, '{"a":1,"b":[1,2]}'],
    ['JSON', `json_patch('{"a":1,"b":2}', '{"a":null}')`, '{"b":2}'],
    ['JSON', `json_array_length('[1,2,3]')`, 3],
    ['JSON', `json_valid('{a:1}', 2)`, 1],
    ['JSON', `(SELECT json_group_array(value) FROM json_each('[3,1,2]') WHERE value > 1)`, '[3,2]'],
    ['JSON', `(SELECT json_group_object(key, value) FROM json_each('{"x":1,"y":2}'))`, '{"x":1,"y":2}'],
    ['JSON', `(SELECT count(*) FROM json_tree('{"a":{"b":[1,2]}}'))`, 5],
    ['JSON', `json(jsonb('{ "a" : 1 }'))`, '{"a":1}'],
    ['JSON', `typeof(jsonb('[]'))`, 'blob'],
    ['mathematics', 'sqrt(2)', Math.SQRT2],
    ['mathematics', 'pi()', Math.PI],
    ['mathematics', 'pow(2, 10)', 1_024],
    ['mathematics', 'exp(0) + ln(1) + log10(1000) + log2(8)', 7],
    ['mathematics', 'log(2, 64)', 6],
    ['mathematics', 'sin(0) + cos(0) + tan(0)', 1],
    ['mathematics', 'degrees(radians(90))', 90],
    ['mathematics', 'floor(-1.5) || ceil(-1.5) || trunc(-1.5)', '-2.0-1.0-1.0'],
    ['mathematics', 'mod(7, 4)', 3],
    ['mathematics', 'atan2(0, 1)', 0],
    ['mathematics', 'sqrt(-1)', null],
    ['mathematics', 'sign(-3)', -1],
    ['text', `format('%05.1f|%s|%,d', 3.14159, 'é', 1234567)`, '003.1|é|1,234,567'],
    ['text', `upper('straße') || instr('abc', 'c') || substr('漢字かな', 2, 2)`, 'STRAßE3字か'],
    ['text', `concat_ws('-', 'a', NULL, 'b')`, 'a-b'],
    ['text', `replace(unhex('616263'), 'b', 'x') || hex('é')`, 'axcC3A9'],
    ['text', `'A' LIKE 'a'`, 1],
    ['text', `x'41' LIKE 'A'`, 0],
    ['text', `'abc' GLOB 'a*'`, 1],
    ['dates', `datetime(0, 'unixepoch', '+1 day')`, '1970-01-02 00:00:00'],
    ['dates', `strftime('%Y-%W', '2024-03-01')`, '2024-09'],
    ['dates', `unixepoch('2000-01-01')`, 946_684_800],
    ['dates', `timediff('2024-03-01', '2024-02-28')`, '+0000-00-02 00:00:00.000'],
  ];
  for (const group of new Set(expressions.map(([name]) => name))) {
    it(`${group} are the same in reads and writes, on both threads`, async () => {
      await using scratch = new Scratch();
      const db = await scratch.open();
      for (const [of, expression, value] of expressions) {
        if (of === group) await assertRows(db, `SELECT ${expression} AS v`, [], [{ v: value }]);
      }
    });
  }
});

describe('SQL', () => {
  it('has common table expressions, window functions and compound selects', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    await assertRows(
      db,
      `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       SELECT i, sum(i) OVER (ORDER BY i) AS running, lag(i, 1, 0) OVER (ORDER BY i) AS before FROM n`,
      [3],
      [
        { i: 1, running: 1, before: 0 },
        { i: 2, running: 3, before: 1 },
        { i: 3, running: 6, before: 2 },
      ],
    );
    await assertRows(db, 'SELECT 1 AS a UNION SELECT 2 EXCEPT SELECT 1', [], [{ a: 2 }]);
    await assertRows(db, 'VALUES (1), (2)', [], [{ column1: 1 }, { column1: 2 }]);
    await assertRows(
      db,
      "SELECT group_concat(value, '' ORDER BY value DESC) AS s FROM json_each('[1,3,2]')",
      [],
      [{ s: '321' }],
    );
    await assertRows(db, "SELECT count(*) FILTER (WHERE value > 1) AS n FROM json_each('[1,2,3]')", [], [{ n: 2 }]);
  });

  it('has upserts, RETURNING, generated columns, STRICT and WITHOUT ROWID tables', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    await db.exec(`CREATE TABLE counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL DEFAULT 0, twice INTEGER AS (n * 2) STORED,
      label TEXT AS (name || ':' || n)) STRICT, WITHOUT ROWID`);
    const upsert = `INSERT INTO counter (name, n) VALUES (:name, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1
      RETURNING name, n, twice, label`;
    assert.deepEqual(await db.get(upsert, { name: 'a' }), { name: 'a', n: 1, twice: 2, label: 'a:1' });
    assert.deepEqual(await db.all(upsert, { name: 'a' }), [{ name: 'a', n: 2, twice: 4, label: 'a:2' }]);
    assert.deepEqual((await db.query(upsert, { name: 'a' })).rows, [{ name: 'a', n: 3, twice: 6, label: 'a:3' }]);
    await db.write(async (tx) => {
      assert.equal((await tx.one<{ n: number }>(upsert, { name: 'a' })).n, 4);
      assert.equal(tx.sync.one<{ n: number }>(upsert, { name: 'a' }).n, 5);
    });
    await refused(
      () => db.run("INSERT INTO counter (name, n) VALUES ('b', 'text')"),
      ConstraintError,
      /cannot store TEXT/,
    );
    await refused(() => db.run('UPDATE counter SET twice = 1'), SqlError, /generated column "twice"/);
  });

  it('has views, triggers, foreign keys that are enforced, partial and expression indexes', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    await db.exec(`CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT);
      CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent ON DELETE CASCADE, note);
      CREATE INDEX noted ON child (parent) WHERE note IS NOT NULL;
      CREATE INDEX lowered ON parent (lower(name));
      CREATE VIEW family AS SELECT parent.name, count(child.id) AS children FROM parent LEFT JOIN child ON child.parent = parent.id GROUP BY parent.id;
      CREATE TRIGGER family_insert INSTEAD OF INSERT ON family BEGIN INSERT INTO parent (name) VALUES (new.name); END;
      INSERT INTO family (name) VALUES ('Ada'), ('Bob');
      INSERT INTO child (parent, note) VALUES (1, 'x'), (1, NULL);`);
    await assertRows(
      db,
      'SELECT * FROM family',
      [],
      [
        { name: 'Ada', children: 2 },
        { name: 'Bob', children: 0 },
      ],
    );
    await refused(
      () => db.run('INSERT INTO child (parent) VALUES (77)'),
      ConstraintError,
      'FOREIGN KEY constraint failed',
    );
    assert.deepEqual(await db.run("DELETE FROM parent WHERE lower(name) = 'ada'"), { changes: 1, lastInsertRowid: 0 });
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM child'), { n: 0 });
    const plan = await db.all("EXPLAIN QUERY PLAN SELECT 1 FROM parent WHERE lower(name) = 'bob'");
    assert.match(String(plan[0]?.['detail']), /USING (COVERING )?INDEX lowered/);
  });

  it('takes double quotes for names only', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    await forEachForm(db, async (form) => {
      await refused(() => form.rows('SELECT "no such name"'), SqlError, /no such column: "?no such name/, form.name);
    });
  });

  it('changes the schema inside a transaction like everything else', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    const gone = new Error('rolled back');
    const change = async (outcome?: Error) =>
      db.write(async (tx) => {
        await tx.exec("CREATE TABLE made (a); INSERT INTO made VALUES (1); ALTER TABLE made ADD COLUMN b DEFAULT 'b'");
        tx.sync.exec('CREATE INDEX made_a ON made (a); ANALYZE; REINDEX made');
        assert.deepEqual(await tx.get('SELECT * FROM made'), { a: 1, b: 'b' });
        if (outcome !== undefined) throw outcome;
      });
    await assert.rejects(change(gone), (error) => error === gone);
    await refused(() => db.get('SELECT * FROM made'), SqlError, 'no such table: made');
    await change();
    await assertRows(db, 'SELECT * FROM made', [], [{ a: 1, b: 'b' }]);
  });
});
