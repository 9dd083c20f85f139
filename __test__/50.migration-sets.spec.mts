// Migrations of the shape and size that projects have: a forum, a reader of feeds, a chat server, and one of sixty steps.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Database, MigrationFile } from 'sqlflow';
import { testDatabase } from 'sqlflow/testing';
import { contents, LOG, SETS, setFiles, setFolder, steps } from './fixtures/migrating.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { ForeignSqlite, noForeignSqlite } from './fixtures/transactions/foreign-sqlite.mjs';

/** What must be so in a database of the set. */
const FACTS: Record<(typeof SETS)[number], { files: number; facts: Record<string, unknown> }> = {
  forum: {
    files: 18,
    facts: {
      "SELECT count(*) || ' ' || sum(role = 'admin') FROM users": '2 1',
      // None was lost by the rebuilding of the tables that posts refer to with ON DELETE CASCADE.
      'SELECT count(*) FROM posts': 202,
      'SELECT sum(post_count) FROM topics': 202,
      "SELECT count(*) FROM post_search WHERE post_search MATCH 'needle'": 1,
      'SELECT count(*) FROM votes': 202,
      'SELECT sum(length) = sum(length(body)) FROM posts': 1,
      'SELECT slug FROM topics WHERE id = 1': 'topic-1-1',
      "SELECT title FROM categories WHERE slug = 'news'": 'News -- and more',
      'SELECT name FROM users WHERE id = 2': "O'Brien; the second",
    },
  },
  'feed-reader': {
    files: 16,
    facts: {
      'PRAGMA user_version': 16,
      'SELECT count(*) FROM entries': 299,
      'SELECT count(*) FROM feeds WHERE title IS NOT NULL AND folder_id = 1': 3,
      "SELECT rowid FROM search WHERE search MATCH 'zebra'": 7,
      "SELECT value ->> 'accent' FROM settings": 'blue',
      'SELECT sum(entries) FROM unread': 150,
      'SELECT count(*) FROM enclosures': 99,
    },
  },
  chat: {
    files: 17,
    facts: {
      'SELECT count(*) FROM message': 250,
      'SELECT group_concat(nick) FROM account': "Ada,Бob 😀,;,'--",
      "SELECT count(*) FROM message_text WHERE message_text MATCH 'haystack'": 5,
      // The edits of the sixth step and those that the trigger has noted in the backfill.
      'SELECT count(*) FROM edit': 15,
      'SELECT count(*) FROM reaction': 1,
      'SELECT sum(messages) FROM statistic': 250,
      'SELECT min(last_read) FROM membership': 249,
      'SELECT sum(length(data)) FROM attachment': 60_000,
      "SELECT count(*) FROM pragma_foreign_key_list('message') WHERE \"table\" IN ('room', 'account', 'message')": 3,
    },
  },
};

async function mustHold(db: Database, facts: Record<string, unknown>): Promise<void> {
  for (const [sql, value] of Object.entries(facts)) {
    const row = await db.one(sql, [], { rowMode: 'array' });
    assert.deepEqual(row, [value], sql);
  }
  assert.deepEqual(await db.all('PRAGMA foreign_key_check'), []);
  assert.deepEqual(await db.all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
}

/** Sixty steps: tables that refer to each other, indexes, triggers, backfills, and each tenth a rebuild. */
function sixty(): MigrationFile[] {
  const list: MigrationFile[] = [];
  for (let version = 1; version <= 60; version++) {
    const table = `t${version}`;
    const other = version === 1 ? '' : ` REFERENCES t${version - 1} ON DELETE CASCADE`;
    const parts = [
      `CREATE TABLE ${table} (id INTEGER PRIMARY KEY, v TEXT NOT NULL DEFAULT ';', other INTEGER${other});`,
    ];
    parts.push(
      version === 1
        ? 'INSERT INTO t1 (id) VALUES (1), (2), (3);'
        : `INSERT INTO ${table} SELECT id, v || '${version};', id FROM t${version - 1};`,
    );
    if (version % 3 === 0) parts.push(`CREATE INDEX ${table}_other ON ${table} (other) WHERE v <> '--';`);
    if (version % 5 === 0)
      parts.push(
        `CREATE TRIGGER ${table}_tr AFTER UPDATE ON ${table} BEGIN UPDATE t1 SET v = ';'; SELECT 1; END;\nUPDATE ${table} SET v = v || '!';`,
      );
    if (version % 10 === 0) {
      const old = `t${version - 5}`;
      parts.push(
        `CREATE TABLE rebuilt (id INTEGER PRIMARY KEY, v TEXT NOT NULL, other INTEGER REFERENCES t${version - 6} ON DELETE CASCADE, more) STRICT;`.replace(
          'more)',
          'more TEXT)',
        ),
      );
      parts.push(
        `INSERT INTO rebuilt (id, v, other) SELECT id, v, other FROM ${old};\nDROP TABLE ${old};\nALTER TABLE rebuilt RENAME TO ${old};`,
      );
    }
    const block = version % 2 === 0 ? ['-- +goose StatementBegin', ...parts, '-- +goose StatementEnd'] : parts;
    list.push({
      name: `${String(version).padStart(5, '0')}_step-${version}.sql`,
      sql: ['-- +goose Up', ...block, '-- +goose Down', `DROP TABLE ${table};`].join('\n'),
    });
  }
  return list;
}

describe('a set of migrations', () => {
  for (const name of SETS) {
    const { files, facts } = FACTS[name];
    it(`makes the schema and moves the data: ${name}`, async (t) => {
      const folder = new Folder(t);
      const told: string[] = [];
      const db = await folder.open('test.db', {
        migrations: setFolder(name),
        onMigration: ({ index, total }) => told.push(`${index}/${total}`),
      });
      assert.equal(told.length, files);
      assert.equal(told.at(-1), `${files}/${files}`);
      await mustHold(db, facts);
    });

    it(`makes the same however it is saved and however often it is opened on the way: ${name}`, async (t) => {
      const folder = new Folder(t);
      const list = setFiles(name);
      const whole = await folder.open('whole.db', { migrations: list });
      const expected = await contents(whole);
      // As an editor on Windows saves them: the history must not tell.
      const crlf = folder.file('crlf');
      mkdirSync(crlf);
      for (const { name: file, sql } of list) writeFileSync(join(crlf, file), `\ufeff${sql.replaceAll('\n', '\r\n')}`);
      const windows = await folder.open('windows.db', { migrations: crlf });
      await mustHold(windows, facts);
      assert.deepEqual((await contents(windows))['refinery_schema_history'], expected['refinery_schema_history']);
      await windows.close();
      await (await folder.open('windows.db', { migrations: list })).close();
      // One open for each migration.
      for (let count = 1; count <= list.length; count++) {
        const some = list.toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })).slice(0, count);
        const db = await folder.open('stepwise.db', { migrations: some });
        if (count === list.length) assert.deepEqual(await contents(db), expected);
        await db.close();
      }
    });
  }

  it('makes what another SQLite makes of the same files', { skip: noForeignSqlite }, async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: setFolder('feed-reader') });
    await db.close();
    const python = new ForeignSqlite(t, folder.file());
    const schema = await python.all(
      "SELECT count(*), sum(sql LIKE 'CREATE TRIGGER%') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE 'search_%'",
    );
    assert.deepEqual(schema, [[13, 3]]);
    assert.deepEqual(await python.all('PRAGMA foreign_key_check'), []);
    await python.close();
  });

  it('of sixty steps runs at once, and from any step on', async (t) => {
    const folder = new Folder(t);
    const list = sixty();
    const whole = await folder.open('whole.db', { migrations: list });
    const expected = await contents(whole);
    assert.deepEqual(await whole.all('SELECT count(*) AS n FROM t60'), [{ n: 3 }]);
    assert.deepEqual(await whole.all('PRAGMA foreign_key_check'), []);
    for (const count of [1, 10, 37, 59, 60, 60]) {
      const db = await folder.open('test.db', { migrations: list.slice(0, count) });
      if (count === 60) assert.deepEqual(await contents(db), expected);
      await db.close();
    }
    await using db = await testDatabase({ migrations: list });
    assert.deepEqual(await contents(db), expected);
  });

  it('of three hundred small steps is run', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('test.db', { migrations: steps(300), synchronous: 'normal' });
    assert.equal((await db.migrations()).length, 300);
    assert.match(String((await db.one(LOG))['log']), /,299,300$/);
  });
});
