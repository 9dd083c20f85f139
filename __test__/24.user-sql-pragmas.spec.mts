// Pragmas in SQL of the user: most only tell, four may be set in a write, and the rest is the work of the engine.

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { ConstraintError, ReadOnlyTransactionError, StatementError, StatementNotAllowedError } from 'sqlflow';
import { forEachForm } from './fixtures/forms.mjs';
import { refused } from './fixtures/refusal.mjs';
import { assertUntouched, byEveryWay, test } from './fixtures/user-sql.mjs';

/** The whole run has its databases encrypted. */
const isEncrypted = process.env['SQLFLOW_TEST_KEY'] !== undefined;

describe('pragmas that set something', () => {
  const settings = [
    'journal_mode = DELETE',
    'journal_mode(MEMORY)',
    'main.journal_mode = OFF',
    'JOURNAL_MODE = TRUNCATE',
    'foreign_keys = OFF',
    'synchronous = OFF',
    "key = 'secret'",
    "rekey = 'secret'",
    "hexkey = '00'",
    "hexrekey = '00'",
    'cipher_page_size = 512',
    'cipher_default_kdf_iter = 1',
    'cipher_memory_security = OFF',
    'writable_schema = ON',
    'trusted_schema = ON',
    'ignore_check_constraints = ON',
    'case_sensitive_like = ON',
    'recursive_triggers = OFF',
    'reverse_unordered_selects = ON',
    'legacy_alter_table = ON',
    'query_only = ON',
    'read_uncommitted = ON',
    'locking_mode = EXCLUSIVE',
    'wal_checkpoint',
    'wal_checkpoint(TRUNCATE)',
    'wal_autocheckpoint = 1',
    'incremental_vacuum',
    'auto_vacuum = FULL',
    'busy_timeout = 100000',
    'cache_size = 1',
    'cache_spill = OFF',
    'mmap_size = 1000000',
    'page_size = 512',
    'max_page_count = 1',
    'journal_size_limit = 1',
    "encoding = 'UTF-16'",
    'secure_delete = ON',
    'schema_version = 5',
    'temp_store = FILE',
    "temp_store_directory = '/'",
    'hard_heap_limit = 1',
    'soft_heap_limit = 1',
    'threads = 8',
    'shrink_memory',
    'fullfsync = ON',
    'no_such_pragma = 1',
  ];
  test('are refused by name', async (db) => {
    for (const setting of settings) {
      const name = /(?:main\.)?(\w+)/.exec(setting)?.[1]?.toLowerCase();
      const words = new RegExp(`^PRAGMA ${name} (is not allowed in SQL|can be read but not set in SQL)`);
      await byEveryWay(db, async (run, form) => {
        const context = `${form} ${setting}`;
        await refused(() => run(`PRAGMA ${setting}`), StatementNotAllowedError, words, context);
      });
    }
    await assertUntouched(db);
  });

  test('are refused after another statement, and not looked at there', async (db) => {
    for (const setting of settings) {
      await forEachForm(db, async (form) => {
        await refused(
          () => form.rows(`SELECT 1; PRAGMA ${setting}`),
          StatementError,
          /more than one statement/,
          form.name,
        );
      });
    }
    await assertUntouched(db);
  });

  test('that are allowed work in write, and are rolled back with it', async (db) => {
    const gone = new Error('rolled back');
    const read =
      'SELECT (SELECT user_version FROM pragma_user_version) AS u, (SELECT application_id FROM pragma_application_id) AS a';
    const set = async (outcome?: Error) =>
      db.write(async (tx) => {
        await tx.run('PRAGMA user_version = 7');
        tx.sync.exec('PRAGMA application_id = -5');
        assert.deepEqual(tx.sync.get(read), { u: 7, a: -5 });
        if (outcome !== undefined) throw outcome;
      });
    await assert.rejects(set(gone), (error) => error === gone);
    assert.deepEqual(await db.get(read), { u: 0, a: 0 });
    await set();
    assert.deepEqual(await db.get(read), { u: 7, a: -5 });
    assert.deepEqual(await db.get('PRAGMA user_version'), { user_version: 7 });
    await db.run('PRAGMA user_version = 8');
    await db.exec('PRAGMA application_id = 9; PRAGMA optimize');
    assert.deepEqual((await db.query('PRAGMA optimize(0x10002)')).rows, []);
    assert.deepEqual(await db.get(read), { u: 8, a: 9 });
    await db.exec('PRAGMA user_version = 0; PRAGMA application_id = 0');
  });

  test('that are allowed in write are refused in read', async (db) => {
    for (const setting of ['user_version = 7', 'application_id = 7', 'defer_foreign_keys = ON', 'optimize']) {
      const sql = `PRAGMA ${setting}`;
      await db.read(async (tx) => {
        for (const run of [() => tx.get(sql), () => tx.all(sql), () => tx.sync.get(sql), () => tx.prepare(sql).get()]) {
          await refused(run, ReadOnlyTransactionError, /use db\.write/, sql);
        }
      });
    }
    await assertUntouched(db);
  });

  test('defer foreign keys until the end of their transaction, every time', async (db) => {
    await db.exec('CREATE TABLE tree (id INTEGER PRIMARY KEY, up REFERENCES tree)');
    for (let round = 0; round < 3; round++) {
      await db.write(async (tx) => {
        await tx.run('PRAGMA defer_foreign_keys = ON');
        await tx.run('INSERT INTO tree VALUES (1, 2)');
        await tx.run('INSERT INTO tree VALUES (2, NULL)');
      });
      await db.run('DELETE FROM tree');
      const insert = 'INSERT INTO tree VALUES (3, 4)';
      await refused(() => db.run(insert), ConstraintError, 'FOREIGN KEY constraint failed');
      await db.write((tx) => refused(() => tx.run(insert), ConstraintError, 'FOREIGN KEY constraint failed'));
    }
    assert.deepEqual(await db.all('SELECT * FROM tree'), []);
  });

  test('leave no statement behind that was made for deferred foreign keys', async (db) => {
    // SQLite compiles an INSERT otherwise while they are deferred, and does not compile it anew when that has ended: a
    // statement that is kept would report its violation, but leave the row.
    await db.exec('CREATE TABLE tree (id INTEGER PRIMARY KEY, up REFERENCES tree)');
    const insert = 'INSERT INTO tree VALUES (1, 2)';
    await db.write(async (tx) => {
      await tx.run('PRAGMA defer_foreign_keys = ON');
      await tx.run(insert);
      await tx.run('DELETE FROM tree');
    });
    await db.write((tx) => refused(() => tx.run(insert), ConstraintError, 'FOREIGN KEY constraint failed'));
    assert.deepEqual(await db.all('SELECT * FROM tree'), []);
  });
});

describe('pragmas that tell something', () => {
  const told: [sql: string, rows: readonly object[] | RegExp][] = [
    ['PRAGMA user_version', [{ user_version: 0 }]],
    ['PRAGMA main.application_id', [{ application_id: 0 }]],
    ['PRAGMA journal_mode', [{ journal_mode: 'wal' }]],
    ['PRAGMA foreign_keys', [{ foreign_keys: 1 }]],
    ['PRAGMA trusted_schema', [{ trusted_schema: 0 }]],
    ['PRAGMA synchronous', [{ synchronous: 2 }]],
    ['PRAGMA encoding', [{ encoding: 'UTF-8' }]],
    // SQLCipher answers for its files.
    ['PRAGMA page_size', isEncrypted ? [{ cipher_page_size: '4096' }] : [{ page_size: 4096 }]],
    ['PRAGMA integrity_check', [{ integrity_check: 'ok' }]],
    ['PRAGMA quick_check(t)', [{ quick_check: 'ok' }]],
    ['PRAGMA foreign_key_check', []],
    ['PRAGMA table_info(t)', /"name":"a","type":"INTEGER".*"name":"b".*"name":"c"/],
    [
      "SELECT name, pk FROM pragma_table_info('t')",
      [
        { name: 'a', pk: 1 },
        { name: 'b', pk: 0 },
        { name: 'c', pk: 0 },
      ],
    ],
    [
      "SELECT m.name, i.name AS c FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS i WHERE m.name = 't' AND i.pk = 1",
      [{ name: 't', c: 'a' }],
    ],
    ['PRAGMA index_list(t)', []],
    ['PRAGMA foreign_key_list(t)', /"table":"t","from":"c"/],
    ['PRAGMA table_list', /"name":"t","type":"table"/],
    ['PRAGMA database_list', /"name":"main"/],
    ['PRAGMA collation_list', /NOCASE/],
    ['PRAGMA function_list', /json_extract/],
    ['PRAGMA module_list', /fts5/],
    ['PRAGMA compile_options', /THREADSAFE=1/],
    ['PRAGMA cipher_version', /^\[\{"cipher_version":"4\./],
    ['PRAGMA page_count', /page_count/],
    ['PRAGMA freelist_count', [{ freelist_count: 0 }]],
    ['PRAGMA data_version', /data_version/],
    ['PRAGMA schema_version', /schema_version/],
  ];
  for (const [sql, rows] of told) {
    test(sql, (db) =>
      forEachForm(db, async (form) => {
        if (form.name.endsWith('one') && Array.isArray(rows) && rows.length === 0) return;
        const found = await form.rows(sql);
        if (rows instanceof RegExp) {
          if (!form.single) assert.match(JSON.stringify(found), rows, form.name);
        } else assert.deepEqual(found, form.single ? rows.slice(0, 1) : rows, form.name);
      }),
    );
  }
});
