// Migrations with NO TRANSACTION: marked before and after, so that one that was broken off is told, never guessed.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Database, MigrationFailedError } from 'sqlflow';
import { contents, contentsOf, LOG, refusedAt, refusedUntouched, states, steps } from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { within } from './fixtures/transactions/within.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MARKS = 'SELECT version, name FROM sqlflow_unfinished_migration';

const loose = (sql: string, version = 3) => ({
  name: `${version}_loose.sql`,
  sql: `-- +goose NO TRANSACTION\n-- +goose Up\n${sql}\n-- +goose Down\nDROP TABLE a;\nDROP TABLE b;`,
});

describe('NO TRANSACTION', () => {
  it('may hold what no transaction may: VACUUM, and transactions of its own', async (t) => {
    const folder = new Folder(t);
    const sql =
      'BEGIN; CREATE TABLE a (x); INSERT INTO a VALUES (1); COMMIT;\nVACUUM;\nBEGIN IMMEDIATE; INSERT INTO a VALUES (2); ROLLBACK;\nSAVEPOINT s; CREATE TABLE b (x); RELEASE s;';
    const db = await folder.open('test.db', { migrations: [...steps(2), loose(sql), ...steps(4, 4)] });
    assert.deepEqual(await db.all('SELECT x FROM a'), [{ x: 1 }]);
    assert.deepEqual(await db.get(LOG), { log: '1,2,4' });
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied, 4 applied');
    await assert.rejects(db.all(MARKS), /no such table/, 'its mark is left');
    await db.run('INSERT INTO b VALUES (1)');
  });

  it('vacuums indeed', async (t) => {
    const folder = new Folder(t);
    const fill =
      'CREATE TABLE big AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT randomblob(1000) AS x FROM n;';
    const list = [
      { name: '1_fill', sql: fill },
      { name: '2_drop', sql: 'DROP TABLE big' },
    ];
    const before = await folder.open('test.db', { migrations: list });
    const { freelist_count: free } = await before.one('PRAGMA freelist_count');
    assert.ok(Number(free) > 100);
    await before.close();
    const db = await folder.open('test.db', { migrations: [...list, loose('VACUUM;')] });
    // The table of its mark is dropped after it.
    const { freelist_count: left } = await db.one('PRAGMA freelist_count');
    assert.ok(Number(left) < 5, `${left} pages are free`);
  });

  it('that fails at its first statement has done nothing, and is simply run again', async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(2) })).close();
    const place = { version: 3, file: '3_loose.sql', line: 4 };
    const firsts = { 'INSERT INTO a VALUES (1);': /no such table: a/, 'CREATE TABLEE a (x);': /syntax error/ };
    for (const [sql, says] of Object.entries(firsts)) {
      for (let time = 0; time < 2; time++) {
        await refusedUntouched(
          folder.file(),
          { migrations: [...steps(2), loose(`-- why\n${sql}`)] },
          MigrationFailedError,
          place,
          says,
        );
      }
    }
    const db = await folder.open('test.db', { migrations: [...steps(2), loose('CREATE TABLE a (x);')] });
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied');
  });

  it('that fails midway is told with the way out, which works', async (t) => {
    const folder = new Folder(t);
    const path = folder.file();
    const bad = loose(
      'CREATE TABLE a (x);\nCREATE TABLE b (y REFERENCES nowhere);\nINSERT INTO nowhere VALUES (1);\nCREATE TABLE c (z);',
    );
    const migrations = [...steps(2), bad, ...steps(4, 4)];
    const failed = await refusedAt(
      () => Database.open(path, { migrations }),
      MigrationFailedError,
      { version: 3, file: '3_loose.sql', line: 5 },
      /no such table: nowhere/,
    );
    assert.match(failed.message, /without a transaction, so that what it has done until then stays$/);
    assert.equal(failed.sqliteCode, 1);
    const half = await contentsOf(path);
    assert.deepEqual(
      Object.keys(half).filter((name) => /^[abc]$/.test(name)),
      ['a', 'b'],
    );
    // From then on nothing is run, by none that has migrations.
    const told =
      /^migration 3 \(loose\), which runs without a transaction, was not finished: .*open the database without migrations.*DELETE FROM sqlflow_unfinished_migration WHERE version = 3 /;
    for (const again of [migrations, steps(2), [...steps(2), loose('SELECT 1;'), ...steps(4, 4)]]) {
      await refusedUntouched(path, { migrations: again }, MigrationFailedError, { version: 3 }, told);
    }
    // The way out, as told.
    const byHand = await folder.open();
    assert.deepEqual(await byHand.all(`${MARKS} WHERE version > 0`), [{ version: 3, name: 'loose' }]);
    await byHand.exec('DROP TABLE b; DROP TABLE a; DELETE FROM sqlflow_unfinished_migration WHERE version = 3');
    await byHand.close();
    const db = await folder.open('test.db', {
      migrations: [...steps(2), loose('CREATE TABLE a (x);\nCREATE TABLE b (y);'), ...steps(4, 4)],
    });
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied, 4 applied');
    await assert.rejects(db.all(MARKS), /no such table/);
    assert.deepEqual(await db.get(LOG), { log: '1,2,4' });
  });

  it('whose first statement keeps what it did before its error is unfinished', async (t) => {
    const folder = new Folder(t);
    // https://sqlite.org/lang_conflict.html: FAIL does not take back what the statement has changed until then.
    const migrations = [...steps(2), loose('INSERT OR FAIL INTO log VALUES (10), (1), (11);')];
    const place = { version: 3, file: '3_loose.sql', line: 3 };
    await refusedAt(
      () => Database.open(folder.file(), { migrations }),
      MigrationFailedError,
      place,
      /UNIQUE constraint/,
    );
    assert.deepEqual((await contentsOf(folder.file()))['log'], [[1n], [2n], [10n]]);
    await refusedUntouched(folder.file(), { migrations }, MigrationFailedError, { version: 3 }, /was not finished/);
  });

  it('that leaves a transaction open fails, and that transaction is rolled back', async (t) => {
    const folder = new Folder(t);
    const migrations = [...steps(2), loose('CREATE TABLE a (x);\nBEGIN;\nCREATE TABLE b (x);')];
    await refusedAt(
      () => Database.open(folder.file(), { migrations }),
      MigrationFailedError,
      { version: 3, file: '3_loose.sql' },
      /leaves a transaction open/,
    );
    const left = await contentsOf(folder.file());
    assert.deepEqual([left['a'] !== undefined, left['b'] !== undefined], [true, false]);
    await refusedUntouched(folder.file(), { migrations }, MigrationFailedError, { version: 3 }, /was not finished/);
  });

  it('may not attach another database or change how the file is kept', async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(2) })).close();
    for (const sql of [
      "ATTACH ':memory:' AS other;",
      'PRAGMA journal_mode = DELETE;',
      'PRAGMA writable_schema = ON;',
      'PRAGMA locking_mode = EXCLUSIVE;',
    ]) {
      const place = { version: 3, file: '3_loose.sql', line: 3 };
      await refusedUntouched(
        folder.file(),
        { migrations: [...steps(2), loose(sql)] },
        MigrationFailedError,
        place,
        /line 3/,
      );
    }
  });

  it('that was killed is told, and the way out works', async (t) => {
    const folder = new Folder(t);
    const path = folder.file();
    const endless =
      'CREATE TABLE a (x);\nINSERT INTO a VALUES (1);\nSELECT count(*) FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n);';
    await (await folder.open('test.db', { migrations: steps(2) })).close();
    const options = JSON.stringify({ migrations: [...steps(2), loose(endless)] });
    const program = "require('sqlflow').Database.open(process.argv[1], JSON.parse(process.argv[2]))";
    const other = spawn(process.execPath, ['-e', program, path, options], { cwd: ROOT, stdio: 'inherit' });
    const ended = once(other, 'exit');
    t.after(() => other.kill('SIGKILL'));
    // It is in its last statement when the one before is there.
    const watcher = await folder.open('test.db');
    await within(
      (async () => {
        for (;;) {
          const [row] = await watcher.all("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'a'");
          if (row?.['n'] === 1 && (await watcher.get('SELECT x FROM a')) !== undefined) return;
        }
      })(),
      'the other process does not begin',
    );
    other.kill('SIGKILL');
    await within(ended, 'the end of a process that was killed');
    const seen = await contents(watcher);
    await watcher.close();
    assert.deepEqual(seen['sqlflow_unfinished_migration'], [[3n, 'loose']]);
    const migrations = [...steps(2), loose('CREATE TABLE IF NOT EXISTS a (x); CREATE TABLE b (x);')];
    await refusedUntouched(path, { migrations }, MigrationFailedError, { version: 3 }, /the process ended in it/);
    const byHand = await folder.open();
    assert.equal(await byHand.migrations().then((list) => list.length), 2);
    await byHand.run('DELETE FROM sqlflow_unfinished_migration WHERE version = 3');
    await byHand.close();
    const db = await folder.open('test.db', { migrations });
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied');
  });

  it("is finished by migrate: 'create' as well, once it was put right", async (t) => {
    const folder = new Folder(t);
    const path = folder.file();
    const open = (sql: string) =>
      Database.open(path, { migrations: [...steps(2), loose(sql), ...steps(4, 4)], migrate: 'create' });
    await assert.rejects(open('CREATE TABLE a (x); nonsense;'), { version: 3 });
    await assert.rejects(open('CREATE TABLE a (x);'), /was not finished/);
    const byHand = await folder.open();
    await byHand.exec('DROP TABLE a; DELETE FROM sqlflow_unfinished_migration WHERE version = 3');
    await byHand.close();
    const db = folder.keep(await open('CREATE TABLE a (x);'));
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied, 4 applied');
  });

  it('is taken back without a transaction, and that is marked too', async (t) => {
    const folder = new Folder(t);
    const good = [...steps(2), loose('CREATE TABLE a (x);\nCREATE TABLE b (x);')];
    const db = await folder.open('test.db', { migrations: good });
    await db.rollback({ to: 2 });
    assert.equal(await states(db), '1 applied, 2 applied, 3 pending');
    await assert.rejects(db.all(MARKS), /no such table/);
    await db.close();
    const half = await folder.open('test.db', { migrations: [...steps(2), loose('CREATE TABLE a (x);')] });
    await refusedAt(
      () => half.rollback({ to: 0 }),
      MigrationFailedError,
      { version: 3, file: '3_loose.sql', line: 6 },
      /no such table: b/,
    );
    assert.deepEqual(await half.all(MARKS), [{ version: 3, name: 'loose' }]);
    await refusedAt(() => half.rollback({ to: 0 }), MigrationFailedError, { version: 3 }, /was not finished/);
    await half.run('DELETE FROM sqlflow_unfinished_migration');
    await half.exec('CREATE TABLE a (x); CREATE TABLE b (x)');
    await half.rollback({ to: 0 });
    assert.equal(await states(half), '1 pending, 2 pending, 3 pending');
  });
});
