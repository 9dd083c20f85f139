// goose: databases that Go services have made are adopted, or shared with them.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  Database,
  DatabaseNewerThanCodeError,
  MigrationFailedError,
  MigrationMissingError,
  type MigrationProgress,
} from 'sqlflow';
import {
  contents,
  contentsOf,
  goFiles,
  LOG,
  noGoFiles,
  refusedAt,
  refusedUntouched,
  states,
  steps,
} from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { ForeignSqlite, noForeignSqlite } from './fixtures/transactions/foreign-sqlite.mjs';
import { readElsewhere } from './fixtures/transactions/other-process.mjs';

/** As goose makes its table for SQLite. */
const GOOSE = `CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1);`;
const ROWS = 'SELECT id, version_id, is_applied FROM goose_db_version ORDER BY id';

/** What goose does to apply a step. */
function applied(version: number): string {
  const [up = ''] = steps(version, version)[0]?.sql.split('-- +goose Down') ?? [];
  return `${up}INSERT INTO goose_db_version (version_id, is_applied) VALUES (${version}, 1);`;
}

/** A file in which goose has applied the steps up to `to`. */
async function gooseFile(folder: Folder, to: number, more = ''): Promise<string> {
  const db = await folder.open('test.db');
  await db.exec(GOOSE);
  for (let version = 1; version <= to; version++) await db.exec(applied(version));
  if (more !== '') await db.exec(more);
  await db.close();
  return folder.file();
}

const KV = {
  '001_kv.sql':
    '-- +goose Up\nCREATE TABLE kv (key TEXT PRIMARY KEY, val TEXT NOT NULL);\n-- +goose Down\nDROP TABLE kv;',
  '002_updated_at.sql':
    '-- +goose Up\nALTER TABLE kv ADD COLUMN updated_at INTEGER;\nCREATE INDEX kv_updated ON kv (updated_at);\n-- +goose Down\nSELECT 1;',
};
const LATER = { '003_later.sql': '-- +goose Up\nCREATE TABLE later AS SELECT count(*) AS n FROM kv;' };

describe('a database that a Go service has made', { skip: noGoFiles }, () => {
  const manifest: Record<string, { kv_rows: number; kv_values_sha256: string; goose_db_version: number[][] }> =
    noGoFiles === false ? JSON.parse(readFileSync(join(goFiles, 'manifest.json'), 'utf8')) : {};
  const names =
    noGoFiles === false
      ? [
          'plain.db',
          ...readdirSync(join(goFiles, 'pool-plain'))
            .filter((name) => name.endsWith('.db'))
            .map((name) => `pool-plain/${name}`),
        ]
      : [];

  for (const name of names) {
    it(`is adopted: ${name}`, async (t) => {
      const folder = new Folder(t);
      copyFileSync(join(goFiles, name), folder.file());
      const before = await contentsOf(folder.file());
      const told: unknown[] = [];
      const onMigration = ({ version }: MigrationProgress) => told.push(version);
      const adopted = await folder.open('test.db', { migrations: KV, onMigration });
      assert.equal(told.length, 0, 'one that goose has applied was run again');
      assert.equal(await states(adopted), '1 applied, 2 applied');
      const { refinery_schema_history: history, schema: _, ...rest } = await contents(adopted);
      const { schema: __, ...restBefore } = before;
      assert.deepEqual(rest, restBefore);
      assert.equal(Array.isArray(history) && history.length, 2);
      const expected = manifest[name];
      assert.ok(expected !== undefined);
      assert.deepEqual(await adopted.all(ROWS, [], { rowMode: 'array' }), expected.goose_db_version);
      await adopted.close();
      // The next open is one like any other, and what is new runs, once.
      for (let open = 0; open < 2; open++) {
        const db = await folder.open('test.db', { migrations: { ...KV, ...LATER }, onMigration });
        assert.equal(await states(db), '1 applied, 2 applied, 3 applied');
        assert.deepEqual(await db.all('SELECT n FROM later'), [{ n: expected.kv_rows }]);
        assert.deepEqual(await db.all(ROWS, [], { rowMode: 'array' }), expected.goose_db_version);
        const values = (await db.all('SELECT val FROM kv ORDER BY key')).map(({ val }) => val);
        assert.equal(createHash('sha256').update(values.join('|')).digest('hex'), expected.kv_values_sha256);
        await db.close();
      }
      assert.deepEqual(told, [3]);
    });
  }

  it('is shared with it: goose finds its own rows', async (t) => {
    const folder = new Folder(t);
    copyFileSync(join(goFiles, 'plain.db'), folder.file());
    const db = await folder.open('test.db', { migrations: { ...KV, ...LATER }, migrationHistory: 'goose' });
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied');
    assert.deepEqual(await db.all(ROWS, [], { rowMode: 'array' }), [
      [1, 0, 1],
      [2, 1, 1],
      [3, 2, 1],
      [4, 3, 1],
    ]);
    assert.equal(await db.get("SELECT 1 AS n FROM sqlite_schema WHERE name = 'refinery_schema_history'"), undefined);
  });
});

describe('adoption', () => {
  it('takes the last row of a version, and not the sentinel', async (t) => {
    const folder = new Folder(t);
    // 2 was applied, taken back and applied; 3 was applied and taken back, as older versions of goose note it.
    const rows = [
      [2, 0],
      [2, 1],
      [3, 1],
      [3, 0],
    ].map((row) => `(${row.join()})`);
    const path = await gooseFile(
      folder,
      2,
      `INSERT INTO goose_db_version (version_id, is_applied) VALUES ${rows.join()}`,
    );
    const goose = (await contentsOf(path))['goose_db_version'];
    const told: unknown[] = [];
    const db = await folder.open('test.db', { migrations: steps(4), onMigration: ({ version }) => told.push(version) });
    assert.deepEqual(told, [3, 4]);
    assert.deepEqual(await db.get(LOG), { log: '1,2,3,4' });
    assert.deepEqual((await contents(db))['goose_db_version'], goose, "goose's table has changed");
    const [first] = await db.migrations();
    assert.ok(first?.appliedAt !== undefined);
  });

  it('of a table with the sentinel alone runs all', async (t) => {
    const folder = new Folder(t);
    await gooseFile(folder, 0);
    const db = await folder.open('test.db', { migrations: steps(3) });
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied');
    assert.deepEqual(await db.all(ROWS, [], { rowMode: 'array' }), [[1, 0, 1]]);
  });

  it('is refused, with nothing changed, when the code does not fit', async (t) => {
    const folder = new Folder(t);
    const path = await gooseFile(folder, 3);
    await refusedUntouched(
      path,
      { migrations: steps(2) },
      DatabaseNewerThanCodeError,
      { version: 3 },
      /^the database has migration 3, the code knows none beyond 2/,
    );
    await refusedUntouched(
      path,
      { migrations: [...steps(1), ...steps(4, 3)] },
      MigrationMissingError,
      { version: 2 },
      /^migration 2 is applied/,
    );
  });

  it('stands when a migration after it fails', async (t) => {
    const folder = new Folder(t);
    const path = await gooseFile(folder, 2);
    const bad = { name: '3_bad.sql', sql: 'CREATE TABLE x (a); nonsense;' };
    await refusedAt(
      () => Database.open(path, { migrations: [...steps(2), bad] }),
      MigrationFailedError,
      { version: 3, file: '3_bad.sql', line: 1 },
      /nonsense/,
    );
    const db = await folder.open('test.db', { migrations: steps(3) });
    assert.deepEqual(await db.get(LOG), { log: '1,2,3' });
  });

  it("is none with readOnly and migrate: 'create', which still tell what goose has applied", async (t) => {
    const folder = new Folder(t);
    const path = await gooseFile(folder, 2);
    const before = await contentsOf(path);
    for (const options of [{ readOnly: true }, { migrate: 'create' as const }]) {
      const db = await folder.open('test.db', { migrations: steps(3), ...options });
      assert.equal(await states(db), '1 applied, 2 applied, 3 pending');
      await db.close();
    }
    assert.deepEqual(await contentsOf(path), before);
  });

  it('is rolled back by the Down parts, in our history', async (t) => {
    const folder = new Folder(t);
    await gooseFile(folder, 2);
    const db = await folder.open('test.db', { migrations: steps(3) });
    await db.rollback({ to: 1 });
    assert.equal(await states(db), '1 applied, 2 pending, 3 pending');
    assert.deepEqual(await db.all(ROWS, [], { rowMode: 'array' }), [
      [1, 0, 1],
      [2, 1, 1],
      [3, 2, 1],
    ]);
    await db.close();
    const again = await folder.open('test.db', { migrations: steps(3) });
    assert.deepEqual(await again.get(LOG), { log: '1,2,3' });
  });
});

describe("migrationHistory: 'goose'", () => {
  const goose = { migrationHistory: 'goose' } as const;

  it("makes goose's table as goose does, with its sentinel", async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: steps(2), ...goose });
    assert.deepEqual(await db.all(ROWS, [], { rowMode: 'array' }), [
      [1, 0, 1],
      [2, 1, 1],
      [3, 2, 1],
    ]);
    const times = await db.all(
      "SELECT abs(strftime('%s', 'now') - strftime('%s', tstamp)) < 100 AS near FROM goose_db_version",
    );
    assert.deepEqual(times, [{ near: 1 }, { near: 1 }, { near: 1 }]);
    const columns = (file: Database) =>
      file.all('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(\'goose_db_version\')');
    const theirs = await folder.open('theirs.db');
    await theirs.exec(GOOSE);
    assert.deepEqual(await columns(db), await columns(theirs));
    assert.equal(await states(db), '1 applied, 2 applied');
    assert.equal((await db.migrations())[1]?.name, 'step_2');
  });

  it('reads what goose has written: the last row of a version counts', async (t) => {
    const folder = new Folder(t);
    await gooseFile(
      folder,
      3,
      'DROP TABLE t3; DELETE FROM log WHERE version = 3; INSERT INTO goose_db_version (version_id, is_applied) VALUES (3, 0);',
    );
    const told: unknown[] = [];
    const onMigration = ({ version }: MigrationProgress) => told.push(version);
    const db = await folder.open('test.db', { migrations: steps(4), ...goose, onMigration });
    assert.equal(told.join(), '3,4');
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied, 4 applied');
    await db.close();
    const again = await folder.open('test.db', { migrations: steps(4), ...goose, onMigration });
    assert.deepEqual(told, [3, 4]);
    await again.close();
    await refusedUntouched(
      folder.file(),
      { migrations: steps(2), ...goose },
      DatabaseNewerThanCodeError,
      { version: 3 },
      /knows none beyond 2/,
    );
  });

  it('goes on where goose has, and goose where it has', { skip: noForeignSqlite }, async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(1), ...goose })).close();
    // What goose does for version 2, by another SQLite.
    const go = new ForeignSqlite(t, folder.file());
    for (const sql of [
      'CREATE TABLE t2 (a)',
      'INSERT INTO log VALUES (2)',
      'INSERT INTO goose_db_version (version_id, is_applied) VALUES (2, 1)',
    ])
      await go.all(sql);
    const db = await folder.open('test.db', { migrations: steps(3), ...goose });
    assert.deepEqual(await db.get(LOG), { log: '1,2,3' });
    assert.deepEqual(await go.all('SELECT max(version_id) FROM goose_db_version WHERE is_applied'), [[3]]);
    await go.close();
  });

  it('is rolled back with its rows', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: steps(3), ...goose });
    await db.rollback({ to: 1 });
    assert.deepEqual(await db.all(ROWS, [], { rowMode: 'array' }), [
      [1, 0, 1],
      [2, 1, 1],
    ]);
    await db.rollback({ to: 0 });
    assert.deepEqual(await db.all(ROWS, [], { rowMode: 'array' }), [[1, 0, 1]]);
  });

  it('leaves no row of one that fails, and marks NO TRANSACTION', async (t) => {
    const folder = new Folder(t);
    const bad = { name: '2_bad.sql', sql: '-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE x (a);\nnonsense;' };
    await refusedAt(
      () => Database.open(folder.file(), { migrations: [...steps(1), { name: '2_bad', sql: 'nonsense' }], ...goose }),
      MigrationFailedError,
      { version: 2, file: '2_bad', line: 1 },
      /nonsense/,
    );
    assert.deepEqual(await readElsewhere(folder.file(), 'SELECT max(version_id) AS v FROM goose_db_version'), [
      { v: 1 },
    ]);
    await refusedAt(
      () => Database.open(folder.file(), { migrations: [...steps(1), bad], ...goose }),
      MigrationFailedError,
      { version: 2, file: '2_bad.sql', line: 4 },
      /nonsense/,
    );
    await refusedUntouched(
      folder.file(),
      { migrations: steps(2), ...goose },
      MigrationFailedError,
      { version: 2 },
      /was not finished/,
    );
  });

  it("makes a database with migrate: 'create', and has no checksums", async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(2), migrate: 'create', ...goose })).close();
    const changed = steps(2).map(({ name, sql }) => ({ name, sql: `${sql} -- changed` }));
    const db = await folder.open('test.db', { migrations: changed, ...goose });
    assert.equal(await states(db), '1 applied, 2 applied');
  });
});
