// Migrations that cannot be run: each reason has its class, code, version, file and line, and the file is as before.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import {
  Database,
  DatabaseNewerThanCodeError,
  MigrationDivergentError,
  MigrationFailedError,
  type MigrationFile,
  MigrationMissingError,
  MigrationSourceError,
  OptionError,
} from 'sqlflow';
import { contents, contentsOf, LOG, refusedAt, refusedUntouched, states, steps } from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { readElsewhere } from './fixtures/transactions/other-process.mjs';

const [FIRST = { name: '', sql: '' }, SECOND = FIRST, THIRD = FIRST, FOURTH = FIRST] = steps(4);

async function made(folder: Folder, migrations: readonly MigrationFile[]): Promise<string> {
  const db = await folder.open('test.db', { migrations });
  await db.exec('CREATE TABLE data AS SELECT 1 AS a UNION SELECT 2');
  await db.close();
  return folder.file();
}

describe('a source that is wrong', () => {
  const up = '-- +goose Up\n';
  const refusals: [
    what: string,
    files: Record<string, string>,
    file: string,
    line: number | undefined,
    says: RegExp,
  ][] = [
    ['no version', { 'init.sql': 'SELECT 1' }, 'init.sql', undefined, /begins with its version/],
    ['no name', { '001.sql': 'SELECT 1' }, '001.sql', undefined, /001_init\.sql.*V1__init\.sql/],
    ['one underscore', { 'V1_a.sql': 'SELECT 1' }, 'V1_a.sql', undefined, /`__` and a name are missing/],
    ['version 0', { '0_a.sql': 'SELECT 1' }, '0_a.sql', undefined, /number migrations from 1/],
    [
      'a version beyond',
      { '9223372036854775808_a.sql': 'SELECT 1' },
      '9223372036854775808_a.sql',
      undefined,
      /too large/,
    ],
    ['repeatable', { 'U1__a.sql': 'SELECT 1' }, 'U1__a.sql', undefined, /repeatable/],
    ['another extension', { '1_a.txt': 'SELECT 1' }, '1_a.txt', undefined, /ends in `\.sql`/],
    [
      'a version twice',
      { '1_a.sql': 'SELECT 1', '01_b.sql': 'SELECT 1' },
      '1_a.sql',
      undefined,
      /given twice, by 01_b\.sql and 1_a\.sql/,
    ],
    [
      'a version twice in two forms',
      { 'V2__a.sql': 'SELECT 1', '2_b.sql': 'SELECT 1' },
      'V2__a.sql',
      undefined,
      /given twice, by 2_b\.sql and V2__a\.sql/,
    ],
    ['an empty file', { '1_a.sql': '' }, '1_a.sql', 1, /no statement/],
    [
      'an empty Up',
      { '1_a.sql': `\n${up}-- later; maybe\n-- +goose Down\nSELECT 1;` },
      '1_a.sql',
      2,
      /Up part holds no statement/,
    ],
    [
      'an open block',
      { '1_a.sql': `${up}-- +goose StatementBegin\nSELECT 1;` },
      '1_a.sql',
      2,
      /no `-- \+goose StatementEnd`/,
    ],
    ['an end alone', { '1_a.sql': `${up}SELECT 1;\n-- +goose StatementEnd` }, '1_a.sql', 3, /without/],
    ['a second Down', { '1_a.sql': `${up}SELECT 1;\n-- +goose Down\n-- +goose Down` }, '1_a.sql', 4, /second/],
    ['Up behind Down', { '1_a.sql': `${up}SELECT 1;\n-- +goose Down\n-- +goose Up` }, '1_a.sql', 4, /second/],
    ['Down first', { '1_a.sql': '-- +goose Down\nSELECT 1;' }, '1_a.sql', 1, /put the Up part first/],
    ['SQL before Up', { '1_a.sql': `\nSELECT 1;\n${up}SELECT 2;` }, '1_a.sql', 2, /before the first/],
    [
      'ENVSUB',
      { '1_a.sql': `${up}-- +goose ENVSUB ON\nSELECT 1;` },
      '1_a.sql',
      2,
      /environment substitution is not supported/,
    ],
    ['an annotation unknown', { '1_a.sql': `${up}-- +goose StatmentBegin\nSELECT 1;` }, '1_a.sql', 2, /StatmentBegin/],
    ['NO TRANSACTION late', { '1_a.sql': `${up}SELECT 1;\n-- +goose NO TRANSACTION` }, '1_a.sql', 3, /whole file/],
    ['an open string', { '1_a.sql': "SELECT 1;\nSELECT 'a\n\n" }, '1_a.sql', 2, /never closed/],
    ['a NUL', { '1_a.sql': 'SELECT 1;\n\0' }, '1_a.sql', 2, /NUL/],
  ];
  for (const [what, files, file, line, says] of refusals) {
    it(`is told before any file is touched: ${what}`, async (t) => {
      const folder = new Folder(t);
      const path = folder.file('none.db');
      const place = line === undefined ? { file } : { file, line };
      // What is wrong comes last, behind what could be run.
      const migrations = { ...(file.includes('1_') || file === '1_a.sql' ? {} : { '1_ok.sql': 'SELECT 1' }), ...files };
      const error = await refusedAt(() => Database.open(path, { migrations }), MigrationSourceError, place, says);
      assert.equal(error.sqliteCode, undefined);
      assert.equal(existsSync(path), false);
    });
  }

  it('leaves the file of somebody else alone as well', async (t) => {
    const folder = new Folder(t);
    const path = await made(folder, [FIRST]);
    const migrations = [FIRST, SECOND, { name: '3_bad.sql', sql: '-- +goose Down\nSELECT 1' }];
    await refusedUntouched(path, { migrations }, MigrationSourceError, { file: '3_bad.sql', line: 1 }, /Up part first/);
  });
});

describe('a migration that fails', () => {
  const failures: [what: string, sql: string, line: number, says: RegExp, sqliteCode: number][] = [
    ['syntax', 'CREATE TABLE x (a);\nCREATE TABLEE y (a);', 2, /near "TABLEE": syntax error/, 1],
    ['a missing table', 'CREATE TABLE x (a);\n\nINSERT INTO nowhere\nVALUES (1);', 3, /no such table: nowhere/, 1],
    ['a missing column', 'CREATE TABLE x (a);\nSELECT\n  b\nFROM x;', 3, /no such column: b/, 1],
    [
      'a constraint',
      'CREATE TABLE x (a UNIQUE);\nINSERT INTO x VALUES (1);\nINSERT INTO x VALUES (1);',
      3,
      /UNIQUE constraint failed: x\.a/,
      2067,
    ],
    [
      'RAISE',
      "CREATE TRIGGER g BEFORE INSERT ON log BEGIN SELECT RAISE(ROLLBACK, 'mine; own'); END;\nINSERT INTO log VALUES (77);",
      2,
      /mine; own/,
      1811,
    ],
    ['an end that is missing', 'CREATE TABLE x (a);\nCREATE TABLE y (a', 2, /incomplete input/, 1],
    ['a parameter', 'CREATE TABLE x (a);\nINSERT INTO x VALUES (?);', 2, /parameter/, Number.NaN],
  ];
  for (const [what, sql, line, says, sqliteCode] of failures) {
    it(`tells version, file, line and SQLite's words, and is rolled back: ${what}`, async (t) => {
      const folder = new Folder(t);
      const path = await made(folder, [FIRST, SECOND]);
      // Head lines, carriage returns and a byte order mark count as an editor counts them.
      for (const [head, eol] of [
        ['', '\n'],
        ['-- a\n\n-- +goose Up\n', '\n'],
        ['\ufeff-- é\n-- +goose Up\n', '\r\n'],
      ] as const) {
        const bad = { name: './m/3_bad one.sql', sql: `${head}${sql}`.replaceAll('\n', eol) };
        const at = { version: 3, file: './m/3_bad one.sql', line: line + head.split('\n').length - 1 };
        const migrations = [FIRST, SECOND, bad, FOURTH];
        const error = await refusedUntouched(path, { migrations }, MigrationFailedError, at, says);
        assert.match(
          error.message,
          new RegExp(
            `^migration 3 \\(bad one\\) failed in line ${at.line}: .*the database is as it was before it$`,
            's',
          ),
        );
        if (!Number.isNaN(sqliteCode)) assert.equal(error.sqliteCode, sqliteCode);
      }
      // Put right, it goes on.
      const db = await folder.open('test.db', { migrations: steps(4) });
      assert.deepEqual(await db.get(LOG), { log: '1,2,3,4' });
    });
  }

  it('keeps those before it, as another process sees', async (t) => {
    const folder = new Folder(t);
    const bad = { name: '3_bad', sql: 'CREATE TABLE x (a); INSERT INTO log VALUES (3); nonsense' };
    await refusedAt(
      () => Database.open(folder.file(), { migrations: [FIRST, SECOND, bad, FOURTH] }),
      MigrationFailedError,
      { version: 3, file: '3_bad', line: 1 },
      /near "nonsense"/,
    );
    assert.deepEqual(await readElsewhere(folder.file(), LOG), [{ log: '1,2' }]);
    const tables =
      "SELECT group_concat(name) AS names FROM (SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name)";
    const [row] = await readElsewhere(folder.file(), tables);
    assert.match(String(row?.['names']), /^log,refinery_schema_history,(sqlflow_unfinished_migration,)?t1,t2$/);
  });

  it('is no reason for another open without it to fail', async (t) => {
    const folder = new Folder(t);
    const path = folder.file();
    const opens = [
      Database.open(path, { migrations: [FIRST, { name: '2_bad', sql: 'nonsense' }] }),
      Database.open(path, { migrations: [FIRST] }),
      Database.open(path, { migrations: [FIRST, SECOND] }),
    ];
    const [bad, one, two] = await Promise.allSettled(opens);
    assert.ok(bad?.status === 'rejected' && bad.reason instanceof MigrationFailedError);
    for (const settled of [one, two]) {
      if (settled?.status === 'fulfilled') folder.keep(settled.value);
      // The one with less may come after the one with more.
      else assert.ok(settled?.reason instanceof DatabaseNewerThanCodeError, String(settled?.reason));
    }
    assert.equal(two?.status, 'fulfilled');
  });
});

describe('words of transactions', () => {
  const words = [
    'BEGIN',
    'BEGIN IMMEDIATE',
    'COMMIT',
    'END TRANSACTION',
    'ROLLBACK',
    'SAVEPOINT a',
    'RELEASE a',
    'ROLLBACK TO a',
    'VACUUM',
    "ATTACH ':memory:' AS other",
    'DETACH main',
    'PRAGMA journal_mode = DELETE',
    'PRAGMA writable_schema = ON',
  ];
  for (const word of words) {
    it(`are refused in a transaction, with file and line: ${word}`, async (t) => {
      const folder = new Folder(t);
      const path = await made(folder, [FIRST]);
      const bad = { name: '2_bad.sql', sql: `-- +goose Up\nCREATE TABLE x (a);\n\n${word};\nDROP TABLE x;\nCOMMIT;` };
      const place = { version: 2, file: '2_bad.sql', line: 4 };
      const says = /^migration 2 \(bad\) failed in line 4: .*\bnot\b.*; the database is as it was before it$/;
      await refusedUntouched(path, { migrations: [FIRST, bad] }, MigrationFailedError, place, says);
    });
  }

  it('are told to belong into NO TRANSACTION', async (t) => {
    const folder = new Folder(t);
    for (const word of ['BEGIN', 'COMMIT', 'SAVEPOINT a', 'VACUUM']) {
      const migrations = { '1_bad.sql': `${word};` };
      const place = { version: 1, file: '1_bad.sql', line: 1 };
      await refusedAt(() => folder.open('test.db', { migrations }), MigrationFailedError, place, /NO TRANSACTION/);
    }
  });

  it('are none inside of strings, comments and triggers', async (t) => {
    const folder = new Folder(t);
    const sql = `-- BEGIN;\n/* COMMIT; */ CREATE TABLE "COMMIT" (a DEFAULT 'ROLLBACK;');
      CREATE TRIGGER "BEGIN" AFTER INSERT ON "COMMIT" BEGIN SELECT 'END;'; END;`;
    const db = await folder.open('test.db', { migrations: { '1_a.sql': sql } });
    assert.equal(await states(db), '1 applied');
  });
});

describe('a history that does not fit', () => {
  it('is divergent when the text of an applied migration has changed', async (t) => {
    const folder = new Folder(t);
    const path = await made(folder, steps(2));
    const changed = { ...FIRST, sql: FIRST.sql.replace('CREATE TABLE log', 'CREATE TABLE  log') };
    for (const migrations of [
      [changed, SECOND],
      [changed, SECOND, THIRD],
    ]) {
      const place = { version: 1, file: FIRST.name };
      await refusedUntouched(
        path,
        { migrations },
        MigrationDivergentError,
        place,
        /\(step_1\) differs.* text has changed.*add a new one/,
      );
    }
    // A Down part is no part of it.
    const down = { ...FIRST, sql: FIRST.sql.replace('DROP TABLE t1;', 'DROP TABLE t1; DROP TABLE log;') };
    const db = await folder.open('test.db', { migrations: [down, SECOND] });
    assert.equal(await states(db), '1 applied, 2 applied');
  });

  it('is divergent when its name has changed', async (t) => {
    const folder = new Folder(t);
    const path = await made(folder, steps(2));
    const migrations = [FIRST, { ...SECOND, name: '2_renamed.sql' }, THIRD];
    const place = { version: 2, file: '2_renamed.sql' };
    await refusedUntouched(
      path,
      { migrations },
      MigrationDivergentError,
      place,
      /\(renamed\) differs.*under the name step_2/,
    );
  });

  it('misses one that was applied', async (t) => {
    const folder = new Folder(t);
    const path = await made(folder, steps(3));
    const migrations = [FIRST, THIRD, FOURTH];
    await refusedUntouched(
      path,
      { migrations },
      MigrationMissingError,
      { version: 2 },
      /^migration 2 \(step_2\) is applied, .*put its file back$/,
    );
  });

  it('is newer than the code', async (t) => {
    const folder = new Folder(t);
    const path = await made(folder, steps(3));
    const newer = /^the database has migration 3 \(step_3\), the code knows none beyond 2: .*deploy the newer one$/;
    await refusedUntouched(path, { migrations: steps(2) }, DatabaseNewerThanCodeError, { version: 3 }, newer);
    await refusedUntouched(path, { migrations: [] }, DatabaseNewerThanCodeError, { version: 1 }, /beyond 0/);
  });

  it('is out of order when a new one comes before the last that was applied', async (t) => {
    const folder = new Folder(t);
    const path = await made(folder, [FIRST, THIRD]);
    const place = { version: 2, file: SECOND.name };
    const says =
      /^migration 2 \(step_2\) was never applied, but 3, which comes after it, was; give it a version above 3$/;
    await refusedUntouched(path, { migrations: steps(4) }, MigrationMissingError, place, says);
    const db = await folder.open('test.db', { migrations: [FIRST, THIRD, { ...SECOND, name: '4_step_2.sql' }] });
    assert.equal(await states(db), '1 applied, 3 applied, 4 applied');
  });

  it('is refused to a second open, and the first works on', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: steps(2) });
    const before = await contents(db);
    await refusedAt(
      () => folder.open('test.db', { migrations: [FIRST] }),
      DatabaseNewerThanCodeError,
      { version: 2 },
      /newer/,
    );
    const missing = () => folder.open('test.db', { migrations: [SECOND] });
    await refusedAt(missing, MigrationMissingError, { version: 1 }, /put its file back/);
    assert.deepEqual(await contents(db), before);
    await db.run('INSERT INTO log VALUES (9)');
    await db.close();
    assert.deepEqual(Object.keys(await contentsOf(folder.file())).length, 5);
  });
});

it('options of the wrong kind are refused at once', async (t) => {
  const folder = new Folder(t);
  const wrong: object[] = [
    { migrations: 1 },
    { migrations: '' },
    { migrations: new URL('file:///x') },
    { migrate: 'never' },
    { migrationHistory: 'flyway' },
    { onMigration: 1 },
    { migrations: [{ name: '1_a' }] },
  ];
  for (const options of wrong) {
    const key = Object.keys(options)[0] ?? '';
    await assert.rejects(
      Database.open(folder.file('none.db'), options),
      (error) => error instanceof OptionError && error.message.includes(key),
    );
  }
  assert.equal(existsSync(folder.file('none.db')), false);
});
