// Migrations on open: where they come from, their order, what they may hold, what is kept of them and who is told.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Database, type MigrationProgress, type MigrationSource } from 'sqlflow';
import { contents, contentsOf, LOG, states, steps } from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { readElsewhere } from './fixtures/transactions/other-process.mjs';
import { within } from './fixtures/transactions/within.mjs';

const HISTORY = 'SELECT version, name, applied_on, checksum FROM refinery_schema_history ORDER BY version';

function write(folder: string, files: readonly { name: string; sql: string }[]): string {
  mkdirSync(folder, { recursive: true });
  for (const { name, sql } of files) writeFileSync(join(folder, name), sql);
  return folder;
}

describe('a source', () => {
  it('makes the same database as a folder, a list, and an object in both its forms', async (t) => {
    const folder = new Folder(t);
    const list = steps(4);
    const sources: Record<string, MigrationSource> = {
      folder: write(folder.file('migrations'), list),
      list,
      object: Object.fromEntries(list.map(({ name, sql }) => [`./migrations/${name}`, sql])),
      modules: Object.fromEntries(list.map(({ name, sql }) => [`./migrations/${name}`, { default: sql }])),
    };
    const made: unknown[] = [];
    for (const [name, migrations] of Object.entries(sources)) {
      const db = await folder.open(`${name}.db`, { migrations });
      assert.deepEqual(await db.get(LOG), { log: '1,2,3,4' }, name);
      assert.equal(await states(db), '1 applied, 2 applied, 3 applied, 4 applied', name);
      made.push(await contents(db));
    }
    for (const other of made.slice(1)) assert.deepEqual(other, made[0]);
  });

  it('is run in the order of its versions, whatever its names and its order are', async (t) => {
    const folder = new Folder(t);
    const note = (version: number) => `INSERT INTO log (version) VALUES (${version});`;
    const db = await folder.open('test.db', {
      migrations: {
        'z/V10__ten.sql': note(10),
        '9_nine.sql': `-- +goose Up\n${note(9)}`,
        'a/20240101000000_late': note(20_240_101_000_000),
        '0002_two.sql': note(2),
        '1_one.sql': 'CREATE TABLE log (at INTEGER PRIMARY KEY, version);',
      },
    });
    assert.deepEqual(await db.all('SELECT version FROM log ORDER BY at', [], { rowMode: 'array' }), [
      [2],
      [9],
      [10],
      [20_240_101_000_000],
    ]);
    assert.equal(await states(db), '1 applied, 2 applied, 9 applied, 10 applied, 20240101000000 applied');
  });

  it('may have names with dashes, blanks and letters of any kind, told as they are written', async (t) => {
    const folder = new Folder(t);
    const names = ['1_add-users table.sql', '2_ümlaut.v2.sql', 'V3__with-dash and more.sql', '4_😀.sql'];
    const migrations = names.map((name) => ({ name, sql: 'SELECT 1;' }));
    for (let open = 0; open < 2; open++) {
      const db = await folder.open('test.db', { migrations });
      const told = (await db.migrations()).map(({ name }) => name);
      assert.deepEqual(told, ['add-users table', 'ümlaut.v2', 'with-dash and more', '😀']);
      await db.close();
    }
  });

  it('may have versions up to the largest integer', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: [{ name: '9223372036854775807_last', sql: 'SELECT 1' }] });
    assert.deepEqual(
      (await db.migrations()).map(({ version }) => version),
      [9223372036854775807n],
    );
  });

  it('of nothing makes nothing', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: [] });
    assert.deepEqual((await contents(db))['schema'], []);
    assert.deepEqual(await db.migrations(), []);
  });
});

describe('the history', () => {
  it('is the table of refinery: version, name, time and checksum', async (t) => {
    const folder = new Folder(t);
    const before = Math.floor(Date.now() / 1_000) * 1_000;
    const db = await folder.open('test.db', {
      migrations: [{ name: '7_add-users table.sql', sql: 'CREATE TABLE t (a)' }],
    });
    const after = Date.now();
    const rows = await db.all(HISTORY);
    assert.equal(rows.length, 1);
    const { version, name, applied_on: on, checksum } = rows[0] ?? {};
    assert.deepEqual([version, name], [7, 'add_users_table']);
    assert.match(String(checksum), /^\d{5,20}$/);
    const at = Date.parse(String(on));
    assert.ok(at >= before && at <= after, `${on}`);
    const [told] = await db.migrations();
    assert.deepEqual(told, { version: 7, name: 'add-users table', state: 'applied', appliedAt: told?.appliedAt });
    assert.ok(told.appliedAt !== undefined && Math.abs(told.appliedAt.getTime() - at) < 1_000);
  });

  it('does not see how a file is saved: line ends, byte order mark, blanks and annotations', async (t) => {
    const folder = new Folder(t);
    const sql = "CREATE TABLE t (\n  a\n);\n\nINSERT INTO t VALUES ('x');\n";
    const saved: Record<string, string> = {
      plain: sql,
      crlf: sql.replaceAll('\n', '\r\n'),
      bom: `\ufeff${sql}`,
      both: `\ufeff${sql.replaceAll('\n', '\r\n')}`,
      blanks: `\n\n${sql.replaceAll('\n', ' \t\n')}\n\n`,
      annotated: `-- a note\n-- +goose Up\n-- +goose StatementBegin\n${sql}-- +goose StatementEnd\n-- +goose Down\nDROP TABLE t;`,
    };
    const checksums = new Map<unknown, string>();
    for (const [name, text] of Object.entries(saved)) {
      const db = await folder.open(`${name}.db`, { migrations: [{ name: '1_a', sql: text }] });
      assert.deepEqual(await db.all('SELECT a FROM t'), [{ a: 'x' }], name);
      const row = await db.get('SELECT checksum FROM refinery_schema_history');
      checksums.set(row?.['checksum'], name);
      await db.close();
    }
    assert.equal(checksums.size, 1, JSON.stringify([...checksums]));
    // Saved otherwise since, it is not applied again, and no error.
    for (const text of Object.values(saved)) {
      const db = await folder.open('plain.db', { migrations: [{ name: '1_a', sql: text }] });
      assert.equal(await states(db), '1 applied');
      await db.close();
    }
    const other = await folder.open('other.db', { migrations: [{ name: '1_a', sql: sql.replace('  a', '   a') }] });
    const row = await other.get('SELECT checksum FROM refinery_schema_history');
    assert.equal(checksums.has(row?.['checksum']), false, 'a text that differs has the same checksum');
  });

  it('takes what is new at a later open, and runs nothing twice', async (t) => {
    const folder = new Folder(t);
    for (const count of [2, 2, 3, 6]) {
      const db = await folder.open('test.db', { migrations: steps(count) });
      assert.deepEqual(await db.get(LOG), {
        log: steps(count)
          .map((_, index) => index + 1)
          .join(),
      });
      await db.close();
    }
    assert.deepEqual(await readElsewhere(folder.file(), LOG), [{ log: '1,2,3,4,5,6' }]);
  });

  it('is told without migrations as well, with versions the code does not know', async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(2) })).close();
    const db = await folder.open();
    assert.equal(await states(db), '1 unknown, 2 unknown');
    const fresh = await folder.open('fresh.db');
    assert.deepEqual(await fresh.migrations(), []);
  });
});

describe('a migration', () => {
  it('may have triggers with bodies, and semicolons wherever they are none', async (t) => {
    const folder = new Folder(t);
    const sql = `-- +goose Up
/* not; the end */ CREATE TABLE "a;b" (x TEXT DEFAULT 'y; DROP TABLE "a;b"; --', [c;d] TEXT, \`e;f\` TEXT);
CREATE TRIGGER tr AFTER INSERT ON "a;b" BEGIN
  UPDATE "a;b" SET "c;d" = CASE WHEN NEW.x = ';' THEN 'semi' ELSE 'it''s; more' END WHERE rowid = NEW.rowid;
  -- a comment; inside
  UPDATE "a;b" SET "e;f" = 'END;' WHERE rowid = NEW.rowid;
END;
-- +goose StatementBegin
CREATE TRIGGER tr2 AFTER DELETE ON "a;b" BEGIN INSERT INTO "a;b" (x) VALUES ('-- +goose Down'); END
-- +goose StatementEnd
INSERT INTO "a;b" (x) VALUES (';'), ('z
-- +goose Down
');;
`;
    const db = await folder.open('test.db', { migrations: { '1_a.sql': sql } });
    assert.deepEqual(await db.all('SELECT * FROM "a;b"', [], { rowMode: 'array' }), [
      [';', 'semi', 'END;'],
      ['z\n-- +goose Down\n', "it's; more", 'END;'],
    ]);
    await db.run('DELETE FROM "a;b" WHERE x = ?', [';']);
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM "a;b" WHERE x = ?', ['-- +goose Down']), { n: 1 });
  });

  it('leaves nothing of its own in the connection: pragmas', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', {
      migrations: {
        '1_a.sql': 'CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p);',
        '2_b.sql': 'PRAGMA legacy_alter_table = ON;',
        // With what the one before has set, the references of c would still be those to p.
        '3_c.sql': 'ALTER TABLE p RENAME TO q;',
      },
    });
    const row = await db.get("SELECT sql FROM sqlite_schema WHERE name = 'c'");
    assert.match(String(row?.['sql']), /REFERENCES "q"/);
  });

  it('leaves nothing of its own in the connection: temporary tables', async (t) => {
    const heads = { transaction: '', loose: '-- +goose NO TRANSACTION\n-- +goose Up\n' };
    const folder = new Folder(t);
    for (const [name, head] of Object.entries(heads)) {
      const work = `${head}CREATE TEMP TABLE work (a); INSERT INTO work VALUES (1);`;
      const db = await folder.open(`${name}.db`, { migrations: { '1_a.sql': work, '2_b.sql': work } });
      await db.write(async (tx) => {
        const left = await tx.all("SELECT name FROM pragma_table_list WHERE schema = 'temp' AND name = 'work'");
        assert.deepEqual(left, [], name);
      });
    }
  });
});

describe('onMigration', () => {
  it('is told of each that is run, in order, before open resolves', async (t) => {
    const folder = new Folder(t);
    const told: MigrationProgress[] = [];
    const onMigration = (progress: MigrationProgress) => told.push(progress);
    await folder.open('test.db', { migrations: steps(2) });
    const db = await folder.open('test.db', { migrations: steps(5), onMigration });
    assert.deepEqual(
      told.map(({ ms: _, ...rest }) => rest),
      [3, 4, 5].map((version) => ({ version, name: `step_${version}`, index: version - 2, total: 3 })),
    );
    for (const { ms } of told) assert.ok(Number.isInteger(ms) && ms >= 0 && ms < 10_000, `${ms}`);
    await db.close();
    await folder.open('test.db', { migrations: steps(5), onMigration });
    assert.equal(told.length, 3, 'told of one that was not run');
  });

  it('is told of those before one that fails', async (t) => {
    const folder = new Folder(t);
    const told: unknown[] = [];
    const migrations = [...steps(2), { name: '3_bad', sql: 'nonsense' }];
    await assert.rejects(
      Database.open(folder.file(), { migrations, onMigration: ({ version }) => told.push(version) }),
      { code: 'MIGRATION_FAILED' },
    );
    assert.deepEqual(told, [1, 2]);
  });

  it('that throws changes nothing; the process is warned', async (t) => {
    const folder = new Folder(t);
    const warned = once(process, 'warning');
    const db = await folder.open('test.db', {
      migrations: steps(2),
      onMigration() {
        throw new Error('mine');
      },
    });
    assert.deepEqual(await db.get(LOG), { log: '1,2' });
    const [warning] = await within(warned, 'a warning');
    assert.equal(warning.code, 'SQLFLOW_LISTENER_FAILED');
    assert.match(warning.message, /onMigration.*mine/s);
  });
});

describe('no migration is run', () => {
  it('with readOnly, which shows what is pending', async (t) => {
    const folder = new Folder(t);
    await (await folder.open('test.db', { migrations: steps(2) })).close();
    const db = await folder.open('test.db', { migrations: steps(4), readOnly: true });
    assert.equal(await states(db), '1 applied, 2 applied, 3 pending, 4 pending');
    assert.deepEqual(await db.get(LOG), { log: '1,2' });
    await assert.rejects(db.rollback({ to: 0 }), { code: 'READ_ONLY_DATABASE' });
    await db.close();
    assert.equal(existsSync(folder.file('none.db')), false);
    await assert.rejects(Database.open(folder.file('none.db'), { migrations: steps(1), readOnly: true }), {
      code: 'CANNOT_OPEN',
    });
  });

  it("with migrate: 'create' on a database that is there, without a look at its history", async (t) => {
    const folder = new Folder(t);
    const options = { migrations: steps(2), migrate: 'create' } as const;
    await (await folder.open('test.db', { migrations: steps(1) })).close();
    const before = await contentsOf(folder.file());
    const db = await folder.open('test.db', options);
    assert.equal(await states(db), '1 applied, 2 pending');
    await db.close();
    assert.deepEqual(await contentsOf(folder.file()), before);
    // Not one that fits: divergent, newer, no history at all.
    for (const migrations of [[{ name: '1_other', sql: 'SELECT 2' }], []]) {
      await (await folder.open('test.db', { ...options, migrations })).close();
    }
    await (await folder.database('CREATE TABLE mine (a)')).close();
    await (await folder.open('test.db', options)).close();
    const other = await folder.open('other.db');
    await other.exec('CREATE TABLE mine (a)');
    await other.close();
    await (await folder.open('other.db', options)).close();
    assert.deepEqual(Object.keys(await contentsOf(folder.file('other.db'))), ['schema', 'mine']);
  });
});

describe("migrate: 'create'", () => {
  it('makes a new database, once', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: steps(3), migrate: 'create' });
    assert.equal(await states(db), '1 applied, 2 applied, 3 applied');
    await db.close();
    const after = await contentsOf(folder.file());
    assert.deepEqual(Object.keys(after).sort(), ['log', 'refinery_schema_history', 'schema', 't1', 't2', 't3']);
    await (await folder.open('test.db', { migrations: steps(4), migrate: 'create' })).close();
    assert.deepEqual(await contentsOf(folder.file()), after);
  });

  it('finishes a database whose making was broken off', async (t) => {
    const folder = new Folder(t);
    const half = [...steps(2), { name: '3_step_3.sql', sql: 'nonsense' }, ...steps(5, 4)];
    const open = (migrations: MigrationSource) => Database.open(folder.file(), { migrations, migrate: 'create' });
    for (let time = 0; time < 2; time++) await assert.rejects(open(half), { code: 'MIGRATION_FAILED', version: 3 });
    assert.deepEqual(await readElsewhere(folder.file(), LOG), [{ log: '1,2' }]);
    const db = folder.keep(await open(steps(5)));
    assert.deepEqual(await db.get(LOG), { log: '1,2,3,4,5' });
    const finished = await contents(db);
    await db.close();
    // Nothing but the schema is left: it is as one that was made at once.
    const whole = await folder.open('whole.db', { migrations: steps(5) });
    assert.deepEqual(finished, await contents(whole));
    // From then on it is there.
    const later = folder.keep(await open(steps(6)));
    assert.deepEqual(await later.get(LOG), { log: '1,2,3,4,5' });
  });
});

describe('a private database', () => {
  it('has the schema of its migrations, each its own', async (t) => {
    const folder = new Folder(t);
    const list = steps(3);
    for (const migrate of ['always', 'create'] as const) {
      const one = await folder.open(':memory:', { migrations: list, migrate });
      const two = await folder.open(':memory:', { migrations: list, migrate });
      await one.run('INSERT INTO t1 VALUES (1)');
      assert.deepEqual(await two.all('SELECT * FROM t1'), []);
      assert.equal(await states(two), '1 applied, 2 applied, 3 applied');
    }
  });
});
