// The surface: what each method gives for statements of each kind, and what closures, statements and iterators are.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import * as sqlflow from 'sqlflow';
import {
  type Database,
  NoRowsError,
  OptionError,
  ReadOnlyTransactionError,
  ReadTransaction,
  SqlError,
  type SqlParameter,
  Statement,
  StatementError,
  SyncRead,
  SyncWrite,
  sql,
  WriteStatement,
  WriteTransaction,
} from 'sqlflow';
import { databaseForms, forEachForm, transactionChanges, transactionForms } from './fixtures/forms.mjs';
import { refused } from './fixtures/refusal.mjs';
import { Scratch } from './fixtures/scratch.mjs';

/** A database with a table of three rows. */
async function filled(scratch: Scratch, name = 'main.db'): Promise<Database> {
  const db = await scratch.open(name);
  await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name); INSERT INTO t (name) VALUES ('a'), ('b'), ('c')");
  return db;
}

/** The methods a value has, those it inherits included. */
function methods(value: object): string[] {
  const names = new Set<string>();
  for (let link: unknown = value; typeof link === 'object' && link !== null; link = Object.getPrototypeOf(link)) {
    if (link === Object.prototype) break;
    for (const name of Object.getOwnPropertyNames(link)) names.add(name);
  }
  const internal = new Set(['constructor', 'session', 'target', 'sql', 'call', 'statement']);
  return [...names].filter((name) => !internal.has(name)).sort();
}

describe('the package', () => {
  it('is the same by import and by require', () => {
    const required: Record<string, unknown> = createRequire(import.meta.url)('sqlflow');
    const imported: Record<string, unknown> = { ...sqlflow };
    assert.deepEqual(Object.keys(imported).sort(), Object.keys(required).sort());
    for (const [name, value] of Object.entries(imported)) assert.equal(value, required[name], name);
  });

  it('shows nothing of its inside', async () => {
    const inside = 'sqlflow/dist/native/bridge.js';
    await assert.rejects(import(inside), { code: 'ERR_PACKAGE_PATH_NOT_EXPORTED' });
    assert.deepEqual(
      Object.keys(sqlflow).filter((name) => !name.endsWith('Error')),
      [
        'Database',
        'Pool',
        'ReadTransaction',
        'Sql',
        'Statement',
        'SyncRead',
        'SyncWrite',
        'WriteStatement',
        'WriteTransaction',
        'sql',
      ],
    );
  });
});

describe('the methods of', () => {
  const reading = ['all', 'get', 'iterate', 'one', 'query'];

  it('a database', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open();
    assert.deepEqual(
      methods(db),
      [
        ...reading,
        ...['backup', 'batch', 'checkpoint', 'close', 'exec', 'migrations', 'onCommit', 'outside', 'path'],
        ...['read', 'rekey', 'rollback', 'run', 'runMany', 'stats', 'vacuum', 'verify', 'write'],
      ].sort(),
    );
    assert.equal(typeof db[Symbol.asyncDispose], 'function');
  });

  it('a transaction that reads have none that write, by type and at run time', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    await db.read((q, tx) => {
      assert.equal(q, tx);
      assert.ok(tx instanceof ReadTransaction && !(tx instanceof WriteTransaction));
      assert.deepEqual(methods(tx), [...reading, 'batches', 'prepare', 'signal', 'sync'].sort());
      assert.ok(tx.sync instanceof SyncRead && !(tx.sync instanceof SyncWrite));
      assert.deepEqual(methods(tx.sync), reading);
      assert.equal(tx.sync, tx.sync);
      const statement = tx.prepare('SELECT 1');
      assert.ok(statement instanceof Statement && !(statement instanceof WriteStatement));
      assert.deepEqual(methods(statement), ['all', 'get', 'iterate', 'one']);
    });
  });

  it('a transaction that writes are those, and run and exec', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    await db.write((q, tx) => {
      assert.equal(q, tx);
      assert.ok(tx instanceof WriteTransaction && tx instanceof ReadTransaction);
      assert.deepEqual(
        methods(tx),
        [
          ...reading,
          ...['batches', 'exec', 'onCommit', 'prepare', 'run', 'runMany', 'savepoint', 'signal', 'sync'],
        ].sort(),
      );
      assert.deepEqual(methods(tx.sync), [...reading, 'exec', 'run', 'savepoint'].sort());
      assert.deepEqual(methods(tx.prepare('SELECT 1')), ['all', 'get', 'iterate', 'one', 'run']);
    });
  });
});

describe('rows', () => {
  it('are the first, all of them, or none', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const rows = [{ name: 'a' }, { name: 'b' }, { name: 'c' }];
    await forEachForm(db, async (form) => {
      const expected = form.single ? rows.slice(0, 1) : rows;
      assert.deepEqual(await form.rows('SELECT name FROM t ORDER BY id'), expected, form.name);
      const arrays = expected.map((row) => [row.name]);
      assert.deepEqual(await form.rows('SELECT name FROM t ORDER BY id', [], { rowMode: 'array' }), arrays, form.name);
      const none = () => form.rows('SELECT name FROM t WHERE id > ?', [3]);
      if (!form.name.endsWith('.one')) assert.deepEqual(await none(), [], form.name);
      else {
        const error = await refused(none, NoRowsError, /gave no row; use get/, form.name);
        assert.equal(error.sql, 'SELECT name FROM t WHERE id > ?');
      }
    });
  });

  it('of a statement that writes come from the writer by itself', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const insert = 'INSERT INTO t (name) VALUES (?), (?) RETURNING name';
    let written = 3;
    for (const form of databaseForms(db)) {
      const run = () => form.rows(insert, ['x', 'y']);
      if (form.name === 'db.iterate') {
        await refused(run, ReadOnlyTransactionError, /writes/);
        continue;
      }
      // All rows are written, however many are asked for.
      assert.deepEqual((await run())[0], { name: 'x' }, form.name);
      written += 2;
      assert.deepEqual(await db.get('SELECT count(*) AS n FROM t'), { n: written }, form.name);
    }
    await db.write(async (tx) => {
      for (const form of transactionForms(tx, 'write')) {
        const run = () => form.rows(insert, ['x', 'y']);
        if (/iterate|batches/.test(form.name)) {
          await refused(run, StatementError, /use all/, form.name);
          continue;
        }
        assert.deepEqual((await run())[0], { name: 'x' }, form.name);
        written += 2;
        assert.deepEqual(tx.sync.get('SELECT count(*) AS n FROM t'), { n: written }, form.name);
      }
    });
  });

  it('of a statement that gives none are none', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const nothing = 'UPDATE t SET name = name WHERE id = 1';
    assert.equal(await db.get(nothing), undefined);
    assert.deepEqual(await db.all(nothing), []);
    await refused(() => db.one(nothing), NoRowsError, /gave no row/);
    await db.write(async (tx) => {
      assert.equal(tx.sync.get(nothing), undefined);
      assert.deepEqual(tx.sync.all(nothing), []);
      assert.equal(await tx.prepare(nothing).get(), undefined);
    });
  });
});

describe('query', () => {
  it('tells all there is about a statement of any kind', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const nothing = { columns: [], rows: [], changes: 0, lastInsertRowid: 0 };
    const cases: [text: string, result: object][] = [
      ['SELECT name, id FROM t WHERE id = 2', { ...nothing, columns: ['name', 'id'], rows: [{ name: 'b', id: 2 }] }],
      ['SELECT name FROM t WHERE id = 9', { ...nothing, columns: ['name'] }],
      ["INSERT INTO t (name) VALUES ('d'), ('e')", { ...nothing, changes: 2, lastInsertRowid: 5 }],
      [
        "INSERT INTO t VALUES (9, 'f') RETURNING id AS made",
        { columns: ['made'], rows: [{ made: 9 }], changes: 1, lastInsertRowid: 9 },
      ],
      ['UPDATE t SET name = NULL WHERE id < 3', { ...nothing, changes: 2 }],
      [
        'DELETE FROM t WHERE id IN (4, 5) RETURNING id',
        { ...nothing, columns: ['id'], rows: [{ id: 4 }, { id: 5 }], changes: 2 },
      ],
      ['DELETE FROM t WHERE id = 77', nothing],
      ['CREATE TABLE u (x)', nothing],
      ['PRAGMA user_version', { ...nothing, columns: ['user_version'], rows: [{ user_version: 0 }] }],
    ];
    const gone = new Error('rolled back');
    const inTransaction = (ask: (tx: WriteTransaction, text: string) => unknown) =>
      db.write(async (tx) => {
        for (const [text, result] of cases) assert.deepEqual(await ask(tx, text), result, text);
        throw gone;
      });
    await assert.rejects(
      inTransaction((tx, text) => tx.query(text)),
      (error) => error === gone,
    );
    await assert.rejects(
      inTransaction((tx, text) => tx.sync.query(text)),
      (error) => error === gone,
    );
    for (const [text, result] of cases) assert.deepEqual(await db.query(text), result, text);
  });
});

describe('run', () => {
  it('counts the rows of the statement itself, and names the row it inserted', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    await db.exec(`CREATE TABLE log (id INTEGER PRIMARY KEY, note);
      INSERT INTO log VALUES (100, 'before');
      CREATE TRIGGER logged AFTER INSERT ON t BEGIN INSERT INTO log (note) VALUES (new.name), (new.name); END`);
    const cases: [text: string, changes: number, lastInsertRowid: number][] = [
      ["INSERT INTO t (name) VALUES ('d')", 1, 4],
      ['UPDATE t SET name = upper(name) WHERE id <= 3', 3, 0],
      ["INSERT OR IGNORE INTO t VALUES (4, 'again')", 0, 0],
      ["INSERT INTO t VALUES (20, 'e'), (10, 'f')", 2, 10],
      ['SELECT * FROM t', 0, 0],
      ['DELETE FROM t WHERE id > 3', 3, 0],
      ['CREATE TABLE v (x)', 0, 0],
      ['DROP TABLE v', 0, 0],
    ];
    for (const [text, changes, lastInsertRowid] of cases) {
      assert.deepEqual(await db.run(text), { changes, lastInsertRowid }, text);
    }
    await db.write(async (tx) => {
      for (const form of transactionChanges(tx).filter(({ script }) => !script)) {
        for (const [text, changes, lastInsertRowid] of cases) {
          assert.deepEqual(await form.run(text), { changes, lastInsertRowid }, `${form.name}: ${text}`);
        }
      }
    });
  });
});

describe('a prepared statement', () => {
  it('takes its values spread out, as one array, or as one object', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    await db.write(async (tx) => {
      const two = tx.prepare<{ a: unknown; b: unknown }>('SELECT ? AS a, ? AS b');
      for (const values of [
        ['x', 2],
        [null, Uint8Array.of(1)],
      ] as SqlParameter[][]) {
        const [a, b] = values;
        assert.deepEqual(await two.get(...values), { a, b });
        assert.deepEqual(await two.get(values), { a, b });
        assert.deepEqual(await two.all(...values), [{ a, b }]);
        assert.deepEqual(await two.one(values), { a, b });
        for await (const row of two.iterate(...values)) assert.deepEqual(row, { a, b });
      }
      const one = tx.prepare('SELECT ? AS v');
      for (const value of [null, 1, 'text', true, 5n, Uint8Array.of(1), Buffer.of(2), Uint8Array.of(3).buffer]) {
        const v = (await one.get([value]))?.['v'];
        assert.deepEqual((await one.get(value))?.['v'], v);
      }
      const named = tx.prepare('SELECT :a AS a, :b AS b', { rowMode: 'array' });
      assert.deepEqual(await named.get({ a: 1, b: 2 }), [1, 2]);
      const insert = tx.prepare('INSERT INTO t (name) VALUES (?) RETURNING id');
      assert.deepEqual(await insert.run('d'), { changes: 1, lastInsertRowid: 4 });
      assert.deepEqual(await insert.all('e'), [{ id: 5 }]);
      assert.deepEqual(await Promise.all(['f', 'g'].map((name) => insert.get(name))), [{ id: 6 }, { id: 7 }]);
      assert.deepEqual(await tx.prepare(sql`SELECT ${1} AS one`, { bigint: true }).get(), { one: 1n });
      assert.equal(
        await tx
          .prepare('SELECT 1')
          .one()
          .then((row) => row['1']),
        1,
      );
    });
  });

  it('fails when it is run, its options when it is made', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    await db.read(async (tx) => {
      const wrong = tx.prepare('SELECT * FROM nowhere');
      await refused(() => wrong.get(), SqlError, 'no such table: nowhere');
      assert.throws(() => tx.prepare('SELECT 1', { rowMode: 'map' } as object), OptionError);
    });
  });
});

describe('options of a call', () => {
  it('are checked at the call, by every method that takes them', async () => {
    await using scratch = new Scratch();
    const db = await filled(scratch);
    const wrong: [options: object, words: RegExp][] = [
      [{ rowMode: 'map' }, /^rowMode must be 'object' or 'array', got "map"$/],
      [{ bigint: 1 }, /^bigint must be true or false, got 1$/],
      [{ rowmode: 'array' }, /^unknown option "rowmode", did you mean "rowMode"\?$/],
    ];
    for (const [options, words] of wrong) {
      await forEachForm(db, async (form) => {
        await refused(() => form.rows('SELECT 1', [], options), OptionError, words, form.name);
      });
    }
    const batches = [0, -1, 1.5, '10', 1_000_001].map((batchRows) => ({ batchRows }) as object);
    for (const options of batches) {
      await db.read((tx) => {
        assert.throws(() => tx.iterate('SELECT 1', [], options), OptionError);
        assert.throws(() => tx.batches('SELECT 1', [], options), OptionError);
        assert.throws(() => tx.sync.iterate('SELECT 1', [], options), OptionError);
      });
      assert.throws(() => db.iterate('SELECT 1', [], options), OptionError, JSON.stringify(options));
    }
    await refused(() => db.get('SELECT 1', [], { batchRows: 5 } as object), OptionError, /^unknown option "batchRows"/);
  });
});
