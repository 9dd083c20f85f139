// Foreign keys and migrations: off while one runs, checked at its end, on again on every way out.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConstraintError, type Database, MigrationFailedError } from 'sqlflow';
import { contents, refusedAt, refusedUntouched } from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';

const SCHEMA = `
CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO p VALUES (1, 'one'), (2, 'two');
INSERT INTO c VALUES (1, 1), (2, 2), (3, 2);
`;
const FIRST = { name: '1_schema.sql', sql: SCHEMA };
const CHILDREN = 'SELECT group_concat(id || p) AS c FROM c';

const up = (sql: string) => ({ name: '2_next.sql', sql });
const loose = (sql: string) => up(`-- +goose NO TRANSACTION\n-- +goose Up\n${sql}`);

/** Fails unless the writer of `db` refuses a row that refers to nothing, and cascades. */
async function mustEnforce(db: Database, what: string): Promise<void> {
  await assert.rejects(db.run('INSERT INTO c VALUES (99, 99)'), ConstraintError, what);
  await db.exec("INSERT INTO p VALUES (50, ''); INSERT INTO c VALUES (50, 50); DELETE FROM p WHERE id = 50");
  assert.equal(await db.get('SELECT id FROM c WHERE id = 50'), undefined, what);
}

describe('foreign keys', () => {
  it('are off in a migration, so that dropping and rebuilding a table cascades nowhere', async (t) => {
    const folder = new Folder(t);
    const rebuild = `CREATE TABLE p2 (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
      INSERT INTO p2 SELECT id, name FROM p; DROP TABLE p; ALTER TABLE p2 RENAME TO p;`;
    const rebuilds = { plain: rebuild, pragmas: `PRAGMA foreign_keys = OFF; ${rebuild} PRAGMA foreign_keys = ON;` };
    for (const [name, sql] of Object.entries(rebuilds)) {
      for (const second of [up(sql), loose(sql)]) {
        const file = `${name}-${second.sql.includes('NO')}.db`;
        const db = await folder.open(file, { migrations: [FIRST, second] });
        assert.deepEqual(await db.get(CHILDREN), { c: '11,22,32' }, file);
        await assert.rejects(db.run('INSERT INTO p VALUES (3, NULL)'), ConstraintError);
        await mustEnforce(db, file);
      }
    }
  });

  it('are off again in the one after a NO TRANSACTION that has switched them on', async (t) => {
    const folder = new Folder(t);
    const rebuild = {
      name: '3_rebuild',
      sql: 'CREATE TABLE q AS SELECT * FROM p; DELETE FROM p; INSERT INTO p SELECT * FROM q;',
    };
    const db = await folder.open('test.db', { migrations: [FIRST, loose('PRAGMA foreign_keys = ON;'), rebuild] });
    assert.deepEqual(await db.get(CHILDREN), { c: '11,22,32' });
    await mustEnforce(db, 'after both');
  });

  it('are on again on every way out, for who has the file open too', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: [FIRST] });
    const ways = {
      'a syntax error': up('nonsense'),
      'a statement that fails': up("INSERT INTO p VALUES (7, ''); INSERT INTO p VALUES (1, 'again');"),
      'a rollback underneath': up("INSERT INTO p VALUES (7, ''); INSERT OR ROLLBACK INTO p VALUES (1, 'again');"),
      'an orphan': up('INSERT INTO c VALUES (9, 9);'),
      'a word of transactions': up('COMMIT;'),
      'a switch and an error': up('PRAGMA foreign_keys = OFF; nonsense;'),
    };
    const before = await contents(db);
    for (const [way, second] of Object.entries(ways)) {
      const error = await refusedAt(
        () => folder.open('test.db', { migrations: [FIRST, second] }),
        MigrationFailedError,
        { version: 2, file: '2_next.sql', ...(way === 'an orphan' ? {} : { line: 1 }) },
        /^migration 2 \(next\) failed/,
      );
      assert.match(error.message, /the database is as it was before it$/, way);
      assert.deepEqual(await contents(db), before, way);
      await mustEnforce(db, way);
    }
  });

  it('are on again after NO TRANSACTION, also after one that fails', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: [FIRST] });
    await assert.rejects(
      folder.open('test.db', { migrations: [FIRST, loose('SELECT 1; PRAGMA foreign_keys = OFF; BEGIN; nonsense;')] }),
    );
    await mustEnforce(db, 'failed');
    await assert.rejects(folder.open('test.db', { migrations: [FIRST, loose('VACUUM;')] }), { version: 2 });
    await db.run('DELETE FROM sqlflow_unfinished_migration WHERE version = 2');
    await folder.open('test.db', { migrations: [FIRST, loose('PRAGMA foreign_keys = OFF; VACUUM;')] });
    await mustEnforce(db, 'finished');
  });

  it('that a migration breaks are its error, which names the tables', async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: [FIRST] })).close();
    for (const sql of ['DELETE FROM p WHERE id = 2;', 'DROP TABLE p;', 'UPDATE c SET p = 99;']) {
      await refusedUntouched(
        folder.file(),
        { migrations: [FIRST, up(sql)] },
        MigrationFailedError,
        { version: 2, file: '2_next.sql' },
        /\d more rows of c that refer to no row of p .*foreign_key_check/,
      );
    }
    const db = await folder.open('test.db', { migrations: [FIRST, up('DELETE FROM c; DELETE FROM p;')] });
    assert.deepEqual(await db.get(CHILDREN), { c: null });
  });
});

describe('rows that refer to nothing', () => {
  it('from before are not blamed on a migration, but what it adds to them is', async (t) => {
    const folder = new Folder(t);
    // Made with foreign keys off, as other programs have them.
    const orphans = {
      name: '1_schema.sql',
      sql: `-- +goose NO TRANSACTION\n-- +goose Up\n${SCHEMA} INSERT INTO c VALUES (8, 8), (9, 9);`,
    };
    const db = await folder.open('test.db', { migrations: [orphans] });
    assert.equal((await db.all('PRAGMA foreign_key_check')).length, 2);
    await db.close();
    await refusedUntouched(
      folder.file(),
      { migrations: [orphans, up('INSERT INTO c VALUES (10, 10);')] },
      MigrationFailedError,
      { version: 2, file: '2_next.sql' },
      /it leaves 1 more rows of c /,
    );
    const harmless = up('ALTER TABLE c ADD COLUMN more; DELETE FROM c WHERE id = 8;');
    const other = { name: '3_other', sql: 'CREATE TABLE d (p REFERENCES p); INSERT INTO d VALUES (7);' };
    await (await folder.open('test.db', { migrations: [orphans, harmless] })).close();
    await refusedUntouched(
      folder.file(),
      { migrations: [orphans, harmless, other] },
      MigrationFailedError,
      { version: 3, file: '3_other' },
      /1 more rows of d that refer to no row of p/,
    );
  });
});
