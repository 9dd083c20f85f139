// Back again: Down parts, newest first, with the guarantees of the way up.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type Database,
  DatabaseNewerThanCodeError,
  MigrationDivergentError,
  MigrationFailedError,
  type MigrationProgress,
  OptionError,
  ReentrantAccessError,
} from 'sqlflow';
import { contents, LOG, refusedAt, setFolder, states, steps } from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { readElsewhere } from './fixtures/transactions/other-process.mjs';
import { within } from './fixtures/transactions/within.mjs';

type Refusal = Parameters<typeof refusedAt> extends [unknown, ...infer Rest] ? Rest : never;

/** Fails unless the rollback is refused, and nothing was taken back. */
async function refusedWhole(db: Database, to: number, ...[as, place, says]: Refusal): Promise<void> {
  const before = await contents(db);
  await refusedAt(() => db.rollback({ to }), as, place, says);
  assert.deepEqual(await contents(db), before);
}

describe('a rollback', () => {
  it('runs the Down parts above a version, newest first, and leaves the history of the rest', async (t) => {
    const folder = new Folder(t);
    const list = steps(5);
    const target = await folder.open('target.db', { migrations: list.slice(0, 2) });
    const db = await folder.open('test.db', { migrations: list });
    const told: MigrationProgress[] = [];
    await db.rollback({ to: 2, onMigration: (progress) => told.push(progress) });
    assert.deepEqual(
      told.map(({ ms: _, ...rest }) => rest),
      [5, 4, 3].map((version, index) => ({ version, name: `step_${version}`, index: index + 1, total: 3 })),
    );
    assert.deepEqual(await contents(db), await contents(target), 'it is as if the rest had never been');
    assert.equal(await states(db), '1 applied, 2 applied, 3 pending, 4 pending, 5 pending');
    assert.deepEqual(await readElsewhere(folder.file(), LOG), [{ log: '1,2' }]);
    await db.close();
    // And forth again.
    const again = await folder.open('test.db', { migrations: list });
    assert.deepEqual(await again.get(LOG), { log: '1,2,3,4,5' });
  });

  it('to a version between two, to the newest and beyond', async (t) => {
    const folder = new Folder(t);
    const migrations = {
      '10_a': '-- +goose Up\nCREATE TABLE a (x);\n-- +goose Down\nDROP TABLE a;',
      '20_b': '-- +goose Up\nCREATE TABLE b (x);\n-- +goose Down\nDROP TABLE b;',
    };
    const db = await folder.open('test.db', { migrations });
    for (const to of [1_000, 20]) await db.rollback({ to });
    assert.equal(await states(db), '10 applied, 20 applied');
    await db.rollback({ to: 15 });
    assert.equal(await states(db), '10 applied, 20 pending');
    await db.rollback({ to: 0 });
    assert.equal(await states(db), '10 pending, 20 pending');
    assert.equal(await db.get("SELECT name FROM sqlite_schema WHERE name IN ('a', 'b')"), undefined);
  });

  it('of a whole set of a project leaves no table of it', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: setFolder('forum') });
    await db.rollback({ to: 0 });
    const tables = await db.all("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'");
    assert.deepEqual(tables, [{ name: 'refinery_schema_history' }]);
    await db.close();
    const again = await folder.open('test.db', { migrations: setFolder('forum') });
    assert.deepEqual(await again.get('SELECT count(*) AS n FROM posts'), { n: 202 });
  });

  it('takes the lines from the Down part, and keeps foreign keys off and then on', async (t) => {
    const folder = new Folder(t);
    const schema =
      'CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p ON DELETE CASCADE); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1);';
    const rebuild =
      '-- +goose Up\nSELECT 1;\n-- +goose Down\nCREATE TABLE q AS SELECT id FROM p;\nDELETE FROM p;\nINSERT INTO p SELECT id FROM q;\nDROP TABLE q;';
    const db = await folder.open('test.db', { migrations: { '1_a': schema, '2_b': rebuild } });
    await db.rollback({ to: 1 });
    assert.deepEqual(await db.all('SELECT p FROM c'), [{ p: 1 }]);
    await db.run('DELETE FROM p');
    assert.deepEqual(await db.all('SELECT p FROM c'), []);
  });
});

describe('a rollback that cannot be done', () => {
  it('is refused before anything runs when one of them has no Down part', async (t) => {
    const folder = new Folder(t);
    const bare = [
      'CREATE TABLE bare (a);',
      '-- +goose Up\nCREATE TABLE bare (a);',
      '-- +goose Up\nCREATE TABLE bare (a);\n-- +goose Down\n-- nothing;',
    ];
    for (const [index, sql] of bare.entries()) {
      const migrations = [...steps(2), { name: '3_bare.sql', sql }, ...steps(5, 4)];
      const db = await folder.open(`${index}.db`, { migrations });
      const told: unknown[] = [];
      const says = /^migration 3 \(bare\) cannot be taken back: .*`-- \+goose Down`; nothing was taken back$/;
      await refusedWhole(db, 1, MigrationFailedError, { version: 3, file: '3_bare.sql' }, says);
      await assert.rejects(db.rollback({ to: 0, onMigration: (progress) => told.push(progress) }));
      assert.deepEqual(told, []);
      await db.rollback({ to: 3 });
      assert.equal(await states(db), '1 applied, 2 applied, 3 applied, 4 pending, 5 pending');
    }
    const refinery = await folder.open('v.db', { migrations: { V1__a: 'SELECT 1' } });
    await refusedWhole(refinery, 0, MigrationFailedError, { version: 1, file: 'V1__a' }, /no `-- \+goose Down`/);
  });

  it('leaves the one that fails, and those before it are undone', async (t) => {
    const folder = new Folder(t);
    const bad = {
      name: '3_bad.sql',
      sql: '-- +goose Up\nCREATE TABLE x (a);\n-- +goose Down\nDROP TABLE x;\nDROP TABLE nowhere;',
    };
    const migrations = [...steps(2), bad, ...steps(5, 4)];
    const db = await folder.open('test.db', { migrations });
    const reference = await folder.open('reference.db', { migrations: migrations.slice(0, 3) });
    const error = await refusedAt(
      () => db.rollback({ to: 0 }),
      MigrationFailedError,
      { version: 3, file: '3_bad.sql', line: 5 },
      /no such table: nowhere/,
    );
    assert.equal(error.sqliteCode, 1);
    assert.deepEqual(await contents(db), await contents(reference));
    await db.run('INSERT INTO x VALUES (1)');
    assert.deepEqual(await db.get('PRAGMA foreign_keys'), { foreign_keys: 1 });
  });

  it('is one that leaves rows that refer to nothing, or ends its transaction', async (t) => {
    const folder = new Folder(t);
    const schema =
      'CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1);';
    const downs = {
      'DELETE FROM p;': { says: /1 more rows of c/, line: undefined },
      'SELECT 1;\nCOMMIT;': { says: /not allowed/, line: 5 },
    };
    for (const [index, [down, { says, line }]] of Object.entries(downs).entries()) {
      const migrations = { '1_a': schema, '2_b': `-- +goose Up\nSELECT 1;\n-- +goose Down\n${down}` };
      const db = await folder.open(`${index}.db`, { migrations });
      const place = { version: 2, file: '2_b' };
      await refusedWhole(db, 1, MigrationFailedError, line === undefined ? place : { ...place, line }, says);
    }
  });

  it('is refused when the code does not fit the history', async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(3) })).close();
    const create = { migrate: 'create' } as const;
    const older = await folder.open('test.db', { migrations: steps(2), ...create });
    await refusedWhole(older, 0, DatabaseNewerThanCodeError, { version: 3 }, /newer/);
    const changed = [
      ...steps(2),
      { name: '3_step_3.sql', sql: '-- +goose Up\nSELECT 1;\n-- +goose Down\nDROP TABLE t1;' },
    ];
    const other = await folder.open('test.db', { migrations: changed, ...create });
    await refusedWhole(other, 0, MigrationDivergentError, { version: 3, file: '3_step_3.sql' }, /has changed/);
  });

  it('is one without migrations, of a wrong version, or inside a closure', async (t) => {
    const folder = new Folder(t);
    const bare = await folder.open('bare.db');
    await assert.rejects(bare.rollback({ to: 0 }), OptionError);
    const db = await folder.open('test.db', { migrations: steps(2) });
    for (const to of [-1, 1.5, Number.NaN, '1', undefined, null, 2 ** 53]) {
      const options: unknown = { to };
      await assert.rejects(db.rollback(options as { to: number }), OptionError, String(to));
    }
    await assert.rejects(
      db.write(() => db.rollback({ to: 0 })),
      ReentrantAccessError,
    );
    assert.equal(await states(db), '1 applied, 2 applied');
    await db.close();
    await assert.rejects(db.rollback({ to: 0 }), { code: 'DATABASE_CLOSED' });
  });
});

describe('beside a rollback', () => {
  it('no read sees anything between, and other work goes on after it', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: steps(20) });
    const seen = new Set<unknown>();
    const back = db.rollback({ to: 1 });
    const reads = Array.from({ length: 50 }, async () => {
      const row = await db.get("SELECT count(*) AS n FROM sqlite_schema WHERE name LIKE 't%' AND type = 'table'");
      seen.add(row?.['n']);
    });
    const write = db.run('INSERT INTO t1 VALUES (1)');
    await within(Promise.all([back, write, ...reads]), 'the rollback and what is beside it');
    for (const n of seen) assert.ok(n === 20 || n === 1, `${n} tables were seen`);
    assert.deepEqual(await db.all('SELECT a FROM t1'), [{ a: 1 }]);
  });
});
