// What SQL of the user may contain, by every way to run it; and that what was refused leaves no trace.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { ReadOnlyTransactionError, SqlError, StatementError, StatementNotAllowedError } from 'sqlflow';
import { refusal, refused } from './fixtures/refusal.mjs';
import { assertUntouched, byEveryWay, test } from './fixtures/user-sql.mjs';

describe('statements that are the work of the engine', () => {
  const transactions = /^BEGIN, COMMIT and ROLLBACK are not allowed in SQL: .*db\.read or db\.write/;
  const savepoints = /^SAVEPOINT, RELEASE and ROLLBACK TO are not allowed/;
  const files = /^ATTACH and DETACH are not allowed: .*Database\.open/;
  const statements: [sql: string, words: RegExp][] = [
    ['BEGIN', transactions],
    ['begin immediate', transactions],
    ['BEGIN EXCLUSIVE TRANSACTION', transactions],
    ['COMMIT', transactions],
    ['END TRANSACTION', transactions],
    ['ROLLBACK', transactions],
    ['/* hidden */ -- behind\n COMMIT', transactions],
    ['EXPLAIN COMMIT', transactions],
    ['SAVEPOINT s', savepoints],
    ['RELEASE s', savepoints],
    ['ROLLBACK TO s', savepoints],
    ["ATTACH ':memory:' AS other", files],
    ["ATTACH DATABASE 'other.db' AS other KEY 'k'", files],
    ['DETACH main', files],
    ['VACUUM', /VACUUM/],
    ["VACUUM main INTO 'copy.db'", /VACUUM/],
    ["SELECT load_extension('evil')", /load_extension is not allowed/],
    ["SELECT a FROM t WHERE load_extension('evil', 'entry')", /load_extension is not allowed/],
    ["SELECT sqlcipher_export('temp')", /sqlcipher_export/],
  ];
  for (const [sql, words] of statements) {
    test(`are refused: ${sql}`, async (db, scratch) => {
      await byEveryWay(db, async (run, name) => {
        const error = await refused(() => run(sql), StatementNotAllowedError, words, name);
        assert.equal(error.sql, sql);
      });
      await assertUntouched(db);
      assert.deepEqual(Object.keys(scratch.contents()).sort(), ['main.db', 'main.db-shm', 'main.db-wal']);
    });
  }

  test('are refused inside a script, of which nothing stays', async (db) => {
    for (const word of ['COMMIT', 'ROLLBACK', 'SAVEPOINT s', 'PRAGMA journal_mode = DELETE']) {
      const script = `INSERT INTO t (a) VALUES (10); ${word}; INSERT INTO t (a) VALUES (11)`;
      await refused(() => db.exec(script), StatementNotAllowedError, /not allowed|not set/);
    }
    await assertUntouched(db);
  });

  test('are refused inside a view or a trigger when that is used', async (db) => {
    const gone = new Error('rolled back');
    const hidden = db.write(async (tx) => {
      await tx.exec(`CREATE VIEW v AS SELECT load_extension('evil') AS x;
        CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT load_extension('evil'); END`);
      for (const run of [() => tx.get('SELECT x FROM v'), () => tx.sync.run('INSERT INTO t (a) VALUES (5)')]) {
        // An untrusted schema is refused even earlier: https://sqlite.org/pragma.html#pragma_trusted_schema
        assert.match((await refusal(run)).message, /load_extension/);
      }
      throw gone;
    });
    await assert.rejects(hidden, (error) => error === gone);
    await assertUntouched(db);
  });

  test('cannot copy tables in front of those that are read next', async (db) => {
    // SQLCipher's export into the TEMP schema of a reader would hide the real tables from every later read.
    await db.get("SELECT sqlcipher_export('temp')").catch(() => undefined);
    await db.run("UPDATE t SET b = 'changed'");
    const row = await db.get('SELECT b FROM t');
    await db.run("UPDATE t SET b = 'one'");
    assert.deepEqual(row, { b: 'changed' });
  });
});

describe('tables that are kept by SQLite', () => {
  test('are not written by statements', async (db) => {
    await db.exec('CREATE VIRTUAL TABLE words USING fts5 (body)');
    const statements = [
      "UPDATE sqlite_schema SET sql = 'x'",
      'DELETE FROM sqlite_schema',
      'DROP TABLE sqlite_schema',
      'DELETE FROM words_data',
      'DROP TABLE words_idx',
    ];
    for (const sql of statements) {
      await byEveryWay(db, async (run, name) => {
        if (/^read|iterate|batches/.test(name)) return;
        await refused(() => run(sql), SqlError, /may not be (modified|dropped)/, name);
      });
    }
    await assertUntouched(db);
  });
});

describe('TEMP objects', () => {
  const make = 'CREATE TEMP TABLE scrap (x)';
  // A virtual table comes with tables of its own; here in front of a real one.
  const makeVirtual = 'CREATE VIRTUAL TABLE temp.t USING fts5 (body)';

  test('live until the end of the write that made them, committed or not', async (db) => {
    const gone = new Error('rolled back');
    for (const outcome of [undefined, gone]) {
      const written = db.write(async (tx) => {
        await tx.exec(`${make}; CREATE TEMP TABLE t (a); CREATE TEMP VIEW seen AS SELECT x FROM scrap;
          CREATE TEMP TRIGGER copy AFTER INSERT ON main.t BEGIN INSERT INTO scrap VALUES (new.a); END;
          CREATE INDEX temp.scrap_x ON scrap (x)`);
        tx.sync.run('INSERT INTO main.t (a) VALUES (50)');
        assert.deepEqual(await tx.all('SELECT x FROM seen'), [{ x: 50 }]);
        assert.deepEqual(await tx.all('SELECT * FROM t'), []);
        await tx.run('DELETE FROM main.t WHERE a = 50');
        if (outcome !== undefined) throw outcome;
      });
      if (outcome === undefined) await written;
      else await assert.rejects(written, (error) => error === outcome);
      await assertUntouched(db);
      await db.write(async (tx) => {
        await refused(() => tx.get('SELECT * FROM scrap'), SqlError, 'no such table: scrap');
        await refused(() => tx.get('SELECT * FROM seen'), SqlError, 'no such table: seen');
      });
    }
  });

  const made = [
    make,
    makeVirtual,
    'CREATE TEMP VIEW t AS SELECT 1',
    'CREATE TABLE temp.t (a)',
    'CREATE TABLE temp.t AS SELECT 1 AS a',
    'CREATE VIEW temp.t AS SELECT 1 AS a',
    'CREATE TRIGGER temp.r AFTER INSERT ON main.t BEGIN DELETE FROM t; END',
  ];
  for (const sql of made) {
    test(`live until the end of their write: ${sql}`, async (db) => {
      await db.write((tx) => tx.run(sql));
      await assertUntouched(db);
      await db.write((tx) => tx.sync.exec(sql));
      await assertUntouched(db);
    });

    test(`are refused where they would outlive their transaction: ${sql}`, async (db) => {
      for (const run of [() => db.run(sql), () => db.get(sql), () => db.all(sql), () => db.query(sql)]) {
        await refused(run, StatementNotAllowedError, /TEMP objects .*db\.write/);
      }
      await db.read(async (tx) => {
        for (const run of [() => tx.get(sql), () => tx.all(sql), () => tx.sync.query(sql)]) {
          await refused(run, ReadOnlyTransactionError, /db\.write/);
        }
      });
      await assertUntouched(db);
    });
  }
});

describe('one statement at a time', () => {
  const several = 'the SQL text holds more than one statement; run one at a time, or use exec for a script';

  test('is what every way but exec takes', async (db) => {
    const insert = 'INSERT INTO t (a) VALUES (20)';
    for (const text of [
      'SELECT 1; SELECT 2',
      `${insert}; ${insert}`,
      'SELECT 1;;-- x\n;SELECT 2',
      'SELECT 1; nonsense',
      'SELECT 1; COMMIT',
    ]) {
      await byEveryWay(db, async (run, name) => {
        if (name.includes('exec')) return;
        const error = await refused(() => run(text), StatementError, several, name);
        assert.equal(error.sql, text);
      });
    }
    await assertUntouched(db);
  });

  test('may be followed by white space, semicolons and comments', async (db) => {
    for (const end of [';', ' ; ;;', '; -- done', '\n;\n/* done */\t', '-- done', '; /* not closed', ';\ufeff']) {
      await byEveryWay(db, async (run) => {
        await run(`SELECT 1 AS one${end}`);
      });
    }
  });

  test('must be there', async (db) => {
    for (const text of [
      '',
      ' \n\t',
      ';',
      ';;',
      '-- nothing',
      '/* nothing */',
      '/* not closed',
      '-- a\n/* b */ ; -- c',
    ]) {
      await byEveryWay(db, async (run, name) => {
        if (name.includes('exec')) assert.equal(await run(text), undefined, name);
        else
          await refused(
            () => run(text),
            StatementError,
            'the SQL text holds no statement',
            `${name} ${JSON.stringify(text)}`,
          );
      });
    }
  });

  test('ends where its text ends: a NUL is refused and cuts nothing off', async (db) => {
    for (const text of ['SELECT 1 AS a\0, 2 AS b', 'DELETE FROM t\0 WHERE a = 77', '\0', 'SELECT 1;\0']) {
      await byEveryWay(db, (run, name) => refused(() => run(text), StatementError, /NUL/, name).then(() => undefined));
    }
    await refused(() => db.exec('INSERT INTO t (a) VALUES (30);\0 DELETE FROM t WHERE a = 30'), StatementError, /NUL/);
    await assertUntouched(db);
  });

  test('is valid Unicode', async (db) => {
    await byEveryWay(db, async (run, name) => {
      await refused(() => run("SELECT '\ud800'"), StatementError, /lone surrogate/, name);
    });
  });

  test('is text', async (db) => {
    const wrong: [unknown, string][] = [
      [42, 'number'],
      [undefined, 'undefined'],
      [{ text: 'SELECT 1', values: [] }, 'object'],
      [['SELECT 1'], 'object'],
      [Buffer.from('SELECT 1'), 'object'],
    ];
    for (const [text, kind] of wrong) {
      await byEveryWay(db, async (run, name) => {
        await refused(
          () => run(text as string),
          StatementError,
          `the statement must be a string or sql\`...\`, got ${kind}`,
          name,
        );
      });
    }
  });
});

describe('scripts', () => {
  test('run all statements in order, or none in exec of a database', async (db) => {
    await db.exec(`-- a comment; with a semicolon
      CREATE TABLE script (x, y DEFAULT ';'); /* ; */ INSERT INTO script (x) VALUES ('a;b');;
      CREATE TRIGGER script_t AFTER INSERT ON script BEGIN UPDATE script SET y = 'x;y'; SELECT 1; END;
      INSERT INTO script (x) VALUES ('c'); SELECT * FROM script; UPDATE script SET x = x || '!'`);
    assert.deepEqual(await db.all('SELECT x, y FROM script'), [
      { x: 'a;b!', y: 'x;y' },
      { x: 'c!', y: 'x;y' },
    ]);
    await refused(
      () => db.exec('DELETE FROM script; INSERT INTO nowhere VALUES (1)'),
      SqlError,
      'no such table: nowhere',
    );
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM script'), { n: 2 });
  });

  test('run until one fails in exec of a transaction', async (db) => {
    await db.exec("CREATE TABLE script (x); INSERT INTO script VALUES ('c'), ('d')");
    await db.write(async (tx) => {
      const script = "DELETE FROM script WHERE x = 'c'; INSERT INTO nowhere VALUES (1); DELETE FROM script";
      await refused(() => tx.exec(script), SqlError, 'no such table: nowhere');
      assert.deepEqual(await tx.get('SELECT count(*) AS n FROM script'), { n: 1 });
      await refused(() => tx.sync.exec(script), SqlError, 'no such table: nowhere');
    });
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM script'), { n: 1 });
  });
});
