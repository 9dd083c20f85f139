// What is done to a database as a whole: backup, vacuum, verify and rekey, and the conversion of a foreign file.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  AbortError,
  BusyError,
  CannotOpenError,
  type CopyProgress,
  CorruptDatabaseError,
  Database,
  DatabaseClosedError,
  FileExistsError,
  ForeignCipherFormatError,
  NotEncryptedError,
  type OpenOptions,
  OptionError,
  ReadOnlyDatabaseError,
  ReentrantAccessError,
  type VerifyProgress,
  WrongKeyError,
} from 'sqlflow';
import { refused } from './fixtures/refusal.mjs';
import { digest, Scratch } from './fixtures/scratch.mjs';
import { Folder } from './fixtures/transactions/folder.mjs';
import { ForeignSqlite, noForeignSqlite } from './fixtures/transactions/foreign-sqlite.mjs';
import { OtherProcess } from './fixtures/transactions/other-process.mjs';
import { until, within } from './fixtures/transactions/within.mjs';

const KEY = Uint8Array.from({ length: 32 }, (_, n) => n * 5 + 1);
const NEW_KEY = Uint8Array.from({ length: 32 }, (_, n) => 200 - n);
const PLAIN: OpenOptions = { key: undefined };

/** Everything a copy could lose: kinds of tables, indexes, triggers, views, counters, and row ids that nothing names. */
const SCHEMA = `
  CREATE TABLE account (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, cents INT, euros AS (cents / 100.0));
  CREATE TABLE note (body); -- its row ids are nobody's column
  CREATE TABLE word (word TEXT PRIMARY KEY, n INT) WITHOUT ROWID, STRICT;
  CREATE VIRTUAL TABLE search USING fts5(body);
  CREATE VIRTUAL TABLE area USING rtree(id, x0, x1, y0, y1);
  CREATE INDEX account_owner ON account (owner COLLATE NOCASE) WHERE cents > 0;
  CREATE VIEW rich AS SELECT owner FROM account WHERE cents > 5000;
  CREATE TRIGGER account_noted AFTER INSERT ON account BEGIN INSERT INTO note VALUES (new.owner); END;
  INSERT INTO account (owner, cents) SELECT 'owner ' || value, value * 100 FROM json_each('[${list(100)}]');
  DELETE FROM note WHERE rowid % 3 = 0;
  INSERT INTO word SELECT 'w' || id, id FROM account;
  INSERT INTO search SELECT owner FROM account;
  INSERT INTO area SELECT id, id, id + 1, 0, 1 FROM account;
  INSERT INTO note VALUES (zeroblob(20000)), (hex(zeroblob(9000)));
  ANALYZE;
  PRAGMA user_version = 7; PRAGMA application_id = 1234567;`;

const CONTENT = [
  'SELECT * FROM account ORDER BY id',
  'SELECT hex(body) AS body FROM note ORDER BY rowid',
  'SELECT * FROM word ORDER BY word',
  "SELECT rowid, * FROM search('owner') ORDER BY rowid",
  'SELECT * FROM area WHERE x0 BETWEEN 10 AND 20 ORDER BY id',
  'SELECT * FROM rich ORDER BY owner',
  'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name',
  'SELECT * FROM sqlite_sequence',
  'SELECT * FROM sqlite_stat1 ORDER BY tbl, idx',
  'PRAGMA user_version',
  'PRAGMA application_id',
];

function list(length: number): string {
  return Array.from({ length }, (_, n) => n + 1).join();
}

async function contentOf(db: Database): Promise<unknown[]> {
  return db.read((tx) => Promise.all(CONTENT.map((sql) => tx.all(sql))));
}

/** Names in a folder, without those of open databases. */
function names(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => !/-(?:wal|shm)$/.test(name))
    .sort();
}

describe('a backup', () => {
  const sources: Record<string, OpenOptions> = {
    plain: PLAIN,
    'encrypted by a key': { key: KEY },
    'encrypted by a passphrase': { passphrase: 'text' },
    'of SQLCipher 3': { key: KEY, cipherCompatibility: 3 },
    'of SQLCipher 1': { key: KEY, cipherCompatibility: 1 },
  };
  for (const [name, source] of Object.entries(sources)) {
    it(`of a file that is ${name} has all of it, with the same key, another and none`, async () => {
      await using scratch = new Scratch();
      const db = await scratch.open('source.db', source);
      await db.exec(SCHEMA);
      const content = await contentOf(db);
      const { cipherCompatibility, ...same } = source;
      const targets: [name: string, asked: object, opened: OpenOptions][] = [
        ['same.db', {}, same],
        ['plain.db', { key: null }, PLAIN],
        ['other.db', { key: NEW_KEY }, { key: NEW_KEY }],
      ];
      for (const [file, asked, opened] of targets) {
        await db.backup(scratch.file(file), asked);
        const copy = await scratch.open(file, { ...opened, create: false });
        assert.deepEqual(await contentOf(copy), content, file);
        assert.deepEqual(await copy.verify(), { ok: true, problems: [] });
        await copy.exec("INSERT INTO account (owner, cents) VALUES ('late', 1)");
        await copy.close();
      }
      assert.deepEqual(names(scratch.path), ['other.db', 'plain.db', 'same.db', 'source.db']);
      if (cipherCompatibility !== undefined) return;
      // Copied page by page it has the row ids that no column names as well.
      const rowIds = 'SELECT rowid FROM note WHERE rowid <= 102 ORDER BY rowid';
      const copy = await scratch.open('same.db', same);
      assert.deepEqual(await copy.all(rowIds), await db.all(rowIds));
    });
  }

  it('with a passphrase opens with it; one of an older SQLCipher has to be told its passphrase', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', { passphrase: 'old', cipherCompatibility: 2 });
    await db.exec(SCHEMA);
    await refused(() => db.backup(scratch.file('b.db')), OptionError, /older SQLCipher, which derives another key/);
    await db.backup(scratch.file('b.db'), { passphrase: 'new' });
    const copy = await scratch.open('b.db', { passphrase: 'new' });
    assert.deepEqual(await contentOf(copy), await contentOf(db));
    assert.deepEqual(names(scratch.path), ['a.db', 'b.db']);
  });

  it('is one snapshot, while writers go on', async () => {
    await using scratch = new Scratch();
    for (const [name, asked] of Object.entries({ pages: {}, rows: { key: NEW_KEY } })) {
      const db = await scratch.open(`${name}.db`, PLAIN);
      await db.exec('CREATE TABLE t (n INT, filler); CREATE TABLE total (n INT); INSERT INTO total VALUES (0)');
      const add = (n: number) =>
        db.batch([
          ['INSERT INTO t VALUES (?, zeroblob(3000))', [n]],
          ['UPDATE total SET n = n + ?', [n]],
        ]);
      for (let n = 0; n < 300; n++) await add(n);
      let running = true;
      let wrote = 0;
      const writing = (async () => {
        while (running) await add(++wrote);
      })();
      await db.backup(scratch.file(`${name}-copy.db`), asked);
      await db.backup(scratch.file(`${name}-copy.db`), { ...asked, overwrite: true });
      running = false;
      await writing;
      assert.ok(wrote > 0);
      const copy = await scratch.open(`${name}-copy.db`, name === 'pages' ? PLAIN : { key: NEW_KEY });
      const { sum, total } = await copy.one<{ sum: number; total: number }>(
        'SELECT (SELECT sum(n) FROM t) AS sum, (SELECT n FROM total) AS total',
      );
      assert.equal(sum, total);
    }
  });

  it('replaces a file only when it is told to, and nothing that is open or has a log beside it', async (t) => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', PLAIN);
    await db.exec('CREATE TABLE t (a)');
    const target = scratch.file('b.db');
    writeFileSync(target, 'what was there');
    await refused(() => db.backup(target), FileExistsError, `${target} exists; overwrite: true replaces it`);
    assert.equal(readFileSync(target, 'utf8'), 'what was there');
    await db.backup(target, { overwrite: true });
    await refused(
      () => db.backup(scratch.file('a.db'), { overwrite: true }),
      CannotOpenError,
      /is open in this process/,
    );
    const copy = await scratch.open('b.db', PLAIN);
    await refused(() => db.backup(target, { overwrite: true }), CannotOpenError, /is open in this process/);
    await copy.close();
    const other = await OtherProcess.with(t, target, PLAIN);
    await other.ask({ do: 'exec', sql: 'INSERT INTO t VALUES (1)' });
    await refused(() => db.backup(target, { overwrite: true }), CannotOpenError, /b\.db-wal is beside it/);
    await other.ask({ do: 'checkpoint' });
    // Its log is empty now, and would be what it writes next into.
    const impatient = await scratch.open('a.db', { ...PLAIN, busyTimeoutMs: 50 });
    await refused(() => impatient.backup(target, { overwrite: true }), BusyError, /another process has it open/);
    await other.ask({ do: 'exec', sql: 'INSERT INTO t VALUES (2)' });
    assert.deepEqual(await other.all('SELECT a FROM t'), [{ a: 1 }, { a: 2 }]);
    await other.kill();
    await refused(() => db.backup(target, { overwrite: true }), CannotOpenError, /b\.db-wal is beside it/);
    assert.deepEqual(names(scratch.path), ['a.db', 'b.db']);
  });

  it('follows no symbolic link and needs a path that can be a file', {
    skip: process.platform === 'win32',
  }, async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', PLAIN);
    writeFileSync(scratch.file('victim'), 'precious');
    symlinkSync(scratch.file('victim'), scratch.file('link.db'));
    await refused(() => db.backup(scratch.file('link.db'), { overwrite: true }), CannotOpenError, /symbolic link/);
    assert.equal(readFileSync(scratch.file('victim'), 'utf8'), 'precious');
    mkdirSync(scratch.file('folder'));
    await refused(() => db.backup(scratch.file('folder')), CannotOpenError, /it is a folder/);
    await refused(() => db.backup(':memory:'), OptionError, /must be that of a file/);
    await refused(() => db.backup(''), OptionError, /must not be empty/);
    await refused(() => db.backup(scratch.file('b.db'), { key: KEY, passphrase: 'x' }), OptionError, /both given/);
    await db.backup(scratch.file('new/er/b.db'));
    assert.ok(statSync(scratch.file('new/er/b.db')).size > 0);
  });

  it('tells how far it is, and is ended by its signal, its timeout of close, and not by a failing listener', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', { key: KEY });
    await db.exec('CREATE TABLE t (a)');
    await db.runMany('INSERT INTO t VALUES (zeroblob(?))', Array(3_000).fill([4_000]));
    for (const asked of [{}, { key: null }]) {
      const steps: CopyProgress[] = [];
      await db.backup(scratch.file('b.db'), { ...asked, overwrite: true, onProgress: (step) => steps.push(step) });
      const last = steps.at(-1);
      assert.ok(last !== undefined && last.phase === 'check' && last.pages === last.totalPages && last.pages > 3_000);
      for (const { pages, totalPages } of steps) assert.ok(pages >= 0 && pages <= totalPages);
      const controller = new AbortController();
      const reason = new Error('enough');
      const ended = db.backup(scratch.file('c.db'), {
        ...asked,
        signal: controller.signal,
        onProgress: () => controller.abort(reason),
      });
      const error = await refused(() => ended, AbortError, /aborted/);
      assert.equal(error.cause, reason);
      await refused(
        () => db.backup(scratch.file('c.db'), { signal: AbortSignal.abort(reason) }),
        AbortError,
        /before it started/,
      );
      assert.deepEqual(names(scratch.path), ['a.db', 'b.db']);
    }
    let closing: Promise<void> | undefined;
    const onProgress = () => {
      closing ??= db.close({ timeoutMs: 0 });
    };
    const cut = db.backup(scratch.file('c.db'), { key: null, onProgress });
    await refused(() => cut, DatabaseClosedError, /timeoutMs of close/);
    await closing;
    assert.deepEqual([names(scratch.path), scratch.held()], [['a.db', 'b.db'], []]);
  });

  const unlessPlain = process.env['SQLFLOW_TEST_KEY'] === undefined ? noForeignSqlite : 'it is about a plain file';
  it('of a file whose rows break what its tables demand is a good copy', { skip: unlessPlain }, async (t) => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', {
      ...PLAIN,
      migrations: {
        '1_x.sql': `-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE t (a CHECK (a > 0)); INSERT INTO t VALUES (1);`,
      },
    });
    const other = new ForeignSqlite(t, db.path);
    await other.all('PRAGMA ignore_check_constraints = ON');
    await other.all('UPDATE t SET a = -1');
    await other.close();
    assert.match((await db.verify()).problems[0]?.message ?? '', /CHECK constraint failed/);
    for (const asked of [{}, { key: KEY }]) {
      await db.backup(scratch.file('b.db'), { ...asked, overwrite: true });
      const copy = await scratch.open('b.db', { ...PLAIN, ...asked });
      assert.deepEqual(await copy.all('SELECT a FROM t'), [{ a: -1 }]);
      await copy.close();
    }
  });

  it('of a damaged file does not come to be', async () => {
    await using scratch = new Scratch();
    const path = await damaged(scratch);
    const db = await scratch.open('a.db', { key: KEY });
    for (const asked of [{}, { key: NEW_KEY }, { key: null }]) {
      await refused(() => db.backup(scratch.file('b.db'), asked), CorruptDatabaseError, /damaged/);
    }
    assert.deepEqual(names(scratch.path), ['a.db']);
    assert.ok(statSync(path).size > 0);
  });

  it('of a temporary database, of one opened readOnly, and beside transactions', async () => {
    await using scratch = new Scratch();
    const memory = await Database.open(':memory:', PLAIN);
    await memory.exec(SCHEMA);
    const content = await contentOf(memory);
    await memory
      .write(async (tx) => {
        await tx.run('DELETE FROM account');
        await memory.outside(() => memory.backup(scratch.file('a.db'), { key: KEY }));
        throw new Error('taken back');
      })
      .catch(() => {});
    await memory.close();
    const db = await scratch.open('a.db', { key: KEY, readOnly: true });
    await db.backup(scratch.file('b.db'), { key: null });
    const copy = await scratch.open('b.db', PLAIN);
    assert.deepEqual(await contentOf(copy), content);
  });
});

/** A closed encrypted file with a damaged page in the middle of its rows. */
async function damaged(scratch: Scratch): Promise<string> {
  const db = await scratch.open('a.db', { key: KEY });
  await db.exec('CREATE TABLE t (a); CREATE TABLE u (a)');
  await db.runMany('INSERT INTO t VALUES (zeroblob(?))', Array(50).fill([4_000]));
  await db.close();
  const path = scratch.file('a.db');
  const bytes = readFileSync(path);
  const at = 20 * 4_096 + 100;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
  return path;
}

describe('verify', () => {
  it('finds nothing in a sound file, plain and encrypted, while it is written', async () => {
    await using scratch = new Scratch();
    for (const [name, secret] of Object.entries({ plain: PLAIN, encrypted: { key: KEY } })) {
      const db = await scratch.open(`${name}.db`, secret);
      await db.exec(SCHEMA);
      const steps: VerifyProgress[] = [];
      const writes = Array.from({ length: 200 }, () => db.run("INSERT INTO account (owner, cents) VALUES ('x', 1)"));
      assert.deepEqual(await db.verify({ onProgress: (step) => steps.push(step) }), { ok: true, problems: [] });
      await Promise.all(writes);
      const checks = [...new Set(steps.map(({ check }) => check))];
      assert.deepEqual(
        checks,
        name === 'plain' ? ['integrity', 'foreignKeys'] : ['cipher', 'integrity', 'foreignKeys'],
      );
    }
  });

  it('tells damage, free pages too, broken trees and broken references as data', async () => {
    await using scratch = new Scratch();
    await damaged(scratch);
    const db = await scratch.open('a.db', { key: KEY });
    const { ok, problems } = await db.verify();
    assert.equal(ok, false);
    assert.equal(problems.length, 1);
    assert.equal(problems[0]?.check, 'cipher');
    assert.match(problems[0]?.message ?? '', /page 21/);
    // The file still serves what is sound.
    assert.deepEqual(await db.all('SELECT * FROM u'), []);

    const references = await scratch.open('b.db', PLAIN);
    await references.exec(`CREATE TABLE parent (id INTEGER PRIMARY KEY);
      CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent);
      INSERT INTO parent VALUES (1); INSERT INTO child VALUES (9, 1)`);
    await references.close();
    const unchecked = await scratch.open('b.db', {
      ...PLAIN,
      migrations: {
        '1_x.sql': '-- +goose NO TRANSACTION\n-- +goose Up\nPRAGMA foreign_keys = OFF;\nDELETE FROM parent;',
      },
    });
    assert.deepEqual(await unchecked.verify(), {
      ok: false,
      problems: [{ check: 'foreignKeys', message: 'row 9 of child refers to a row of parent that is not there' }],
    });
    await refused(() => unchecked.verify({ signal: AbortSignal.abort() }), AbortError, /before it started/);
  });
});

describe('vacuum', () => {
  for (const [name, secret] of Object.entries({ plain: PLAIN, encrypted: { key: KEY } })) {
    it(`makes a file small that is ${name}, behind who writes and reads`, async (t) => {
      const folder = new Folder(t);
      const db = await folder.open('a.db', secret);
      await db.exec(SCHEMA);
      await db.runMany('INSERT INTO note VALUES (zeroblob(?))', Array(300).fill([10_000]));
      await db.run('DELETE FROM note WHERE length(body) = 10000');
      await db.checkpoint('truncate');
      const before = statSync(db.path).size;
      const content = await contentOf(db);
      const gate = folder.gate();
      const reading = db.read(async (tx) => {
        await tx.get('SELECT 1');
        await gate.opened;
        return tx.get('SELECT count(*) AS n FROM account');
      });
      const vacuum = db.vacuum();
      const after = db.run("UPDATE word SET n = 0 WHERE word = 'nobody'");
      gate.open();
      assert.deepEqual(await reading, { n: 100 });
      await Promise.all([vacuum, after]);
      assert.ok(statSync(db.path).size < before / 2);
      assert.deepEqual(await contentOf(db), content);
      assert.deepEqual(await db.verify(), { ok: true, problems: [] });
    });
  }

  it('gives back so many pages of a file made for that', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', { ...PLAIN, autoVacuum: 'incremental' });
    await db.exec('CREATE TABLE t (a)');
    await db.runMany('INSERT INTO t VALUES (zeroblob(?))', Array(100).fill([4_000]));
    await db.run('DELETE FROM t');
    const free = async () => (await db.one<{ freelist_count: number }>('PRAGMA freelist_count')).freelist_count;
    const before = await free();
    await db.vacuum({ incrementalPages: 10 });
    assert.equal(await free(), before - 10);
    await db.vacuum({ incrementalPages: 1_000_000 });
    assert.equal(await free(), 0);
    for (const incrementalPages of [0, -1, 1.5, '1']) {
      await refused(
        () => db.vacuum({ incrementalPages } as object),
        OptionError,
        /incrementalPages must be an integer/,
      );
    }
  });

  it('is for the outside of closures, and for who may write', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', { ...PLAIN, reentrancy: 'refuse' });
    await db.exec('CREATE TABLE t (a)');
    await db.read(() => refused(() => db.vacuum(), ReentrantAccessError, /vacuum/));
    await db.write(() => refused(() => db.rekey(KEY), ReentrantAccessError, /rekey/));
    await db.close();
    const reading = await scratch.open('a.db', { ...PLAIN, readOnly: true });
    await refused(() => reading.vacuum(), ReadOnlyDatabaseError, /readOnly/);
    await refused(() => reading.rekey(KEY), ReadOnlyDatabaseError, /readOnly/);
  });
});

describe('rekey', () => {
  const kinds: [from: OpenOptions, to: Parameters<Database['rekey']>[0], opened: OpenOptions][] = [
    [{ key: KEY }, NEW_KEY, { key: NEW_KEY }],
    [{ key: KEY }, { passphrase: 'text' }, { passphrase: 'text' }],
    [{ passphrase: 'text' }, NEW_KEY, { key: NEW_KEY }],
    [{ key: KEY, cipherCompatibility: 3 }, NEW_KEY, { key: NEW_KEY, cipherCompatibility: 3 }],
  ];
  it('leaves the file with the new key alone, of whatever kind, and everybody going on', async (t) => {
    for (const [from, to, opened] of kinds) {
      const folder = new Folder(t);
      const db = await folder.open('a.db', from);
      const second = await folder.open('a.db', from);
      await db.exec(SCHEMA);
      const content = await contentOf(db);
      const writes = Array.from({ length: 20 }, (_, n) =>
        second.run('INSERT INTO word VALUES (?, ?)', [`during ${n}`, n]),
      );
      const rekeyed = db.rekey(to);
      const reads = Array.from({ length: 8 }, () => second.get('SELECT count(*) AS n FROM account'));
      const late = second.run("DELETE FROM word WHERE word LIKE 'during%'");
      await within(Promise.all([rekeyed, late, ...writes]), 'rekey');
      assert.deepEqual(await Promise.all(reads), Array(8).fill({ n: 100 }));
      assert.deepEqual(await contentOf(second), content);
      assert.deepEqual(await db.get('PRAGMA journal_mode'), { journal_mode: 'wal' });
      assert.deepEqual(await db.verify(), { ok: true, problems: [] });
      await refused(() => Database.open(db.path, from), WrongKeyError, /cannot be decrypted/);
      const third = await folder.open('a.db', opened);
      assert.deepEqual(await contentOf(third), content);
      await Promise.all([db.close(), second.close(), third.close()]);
      await refused(() => Database.open(db.path, from), WrongKeyError, /cannot be decrypted/);
      assert.deepEqual(await contentOf(await folder.open('a.db', opened)), content);
      assert.deepEqual(
        readdirSync(folder.path).filter((name) => /journal|tmp/.test(name)),
        [],
      );
    }
  });

  it('several times at once ends with the last', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('a.db', { key: KEY });
    await db.exec(SCHEMA);
    const content = await contentOf(db);
    const keys = Array.from({ length: 5 }, (_, n) => new Uint8Array(32).fill(n + 1));
    await Promise.all(keys.map((key) => db.rekey(key)));
    assert.deepEqual(await contentOf(db), content);
    await db.close();
    assert.deepEqual(await contentOf(await folder.open('a.db', { key: new Uint8Array(32).fill(5) })), content);
  });

  it('of a plain file, of a damaged one, and of one that another process has, leaves it as it is', async (t) => {
    await using scratch = new Scratch();
    const plain = await scratch.open('plain.db', PLAIN);
    await refused(() => plain.rekey(KEY), NotEncryptedError, /has no key to be changed/);
    await plain.exec('CREATE TABLE t (a)');

    const path = await damaged(scratch);
    const before = digest(readFileSync(path));
    const db = await scratch.open('a.db', { key: KEY });
    await refused(() => db.rekey(NEW_KEY), CorruptDatabaseError, /damaged/);
    assert.deepEqual(await db.all('SELECT * FROM u'), []);
    await db.close();
    assert.equal(digest(readFileSync(path)), before);

    const shared = await scratch.open('shared.db', { key: KEY, busyTimeoutMs: 100 });
    await shared.exec(SCHEMA);
    const other = await OtherProcess.with(t, shared.path, { key: KEY });
    await refused(() => shared.rekey(NEW_KEY), BusyError, /./);
    await shared.run('UPDATE word SET n = 1');
    assert.equal((await other.all('SELECT count(*) AS n FROM word WHERE n = 1')).length, 1);
    await other.kill();
    await shared.rekey(NEW_KEY);
    assert.deepEqual(await shared.verify(), { ok: true, problems: [] });
  });

  it('waits for another process on its own: writes and reads go on, and it is done when the file is free', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('a.db', { key: KEY, busyTimeoutMs: 9_000 });
    await db.exec('CREATE TABLE t (a)');
    const other = await OtherProcess.with(t, db.path, { key: KEY });
    await other.all('SELECT * FROM t');
    const rekeyed = db.rekey(NEW_KEY);
    for (let n = 0; n < 30; n++) await within(db.run('INSERT INTO t VALUES (?)', [n]), 'a write beside it');
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM t'), { n: 30 });
    await other.kill();
    await within(rekeyed, 'rekey');
    await db.close();
    assert.deepEqual(await (await folder.open('a.db', { key: NEW_KEY })).get('SELECT count(*) AS n FROM t'), { n: 30 });
  });

  it('that waits for a read is ended by close with a timeout, and holds up nobody any more', async (t) => {
    const folder = new Folder(t);
    const db = await folder.open('a.db', { key: KEY });
    const other = await folder.open('a.db', { key: KEY });
    await other.exec('CREATE TABLE t (a)');
    const gate = folder.gate();
    let began = false;
    const reading = other.read(async (tx) => {
      await tx.get('SELECT 1');
      began = true;
      await gate.opened;
      return tx.get('SELECT count(*) AS n FROM t');
    });
    await until(() => began, 'the read');
    for (const job of [db.rekey(NEW_KEY), db.vacuum()]) job.catch(() => {});
    const rekeyed = db.rekey(NEW_KEY);
    const closed = db.close({ timeoutMs: 20 });
    await refused(() => rekeyed, DatabaseClosedError, /./);
    await within(closed, 'close');
    assert.deepEqual(await within(other.get('SELECT count(*) AS n FROM t'), 'a read'), { n: 0 });
    gate.open();
    assert.deepEqual(await reading, { n: 0 });
    await other.close();
    assert.deepEqual(await (await folder.open('a.db', { key: KEY })).get('SELECT count(*) AS n FROM t'), { n: 0 });
  });

  it('takes 32 bytes or a passphrase', async () => {
    await using scratch = new Scratch();
    const db = await scratch.open('a.db', { key: KEY });
    const wrong: [key: unknown, says: RegExp][] = [
      [new Uint8Array(31), /^key must have 32 bytes, got 31$/],
      ['text', /^rekey needs a key, a Uint8Array of 32 bytes, or \{ passphrase \}, got a string$/],
      [{ passphrase: '' }, /^passphrase must not be empty/],
      [{ passphrase: 'x', key: KEY }, /^rekey needs a key/],
      [undefined, /^rekey needs a key/],
    ];
    for (const [key, says] of wrong) await refused(() => db.rekey(key as Uint8Array), OptionError, says);
    assert.deepEqual(await db.get('SELECT 1 AS one'), { one: 1 });
  });
});

describe('convert', () => {
  const folder = fileURLToPath(new URL('../__test__/fixtures/convert/', import.meta.url));
  const key = Uint8Array.from({ length: 32 }, (_, n) => n);

  function copied(scratch: Scratch, name: string): string {
    for (const file of readdirSync(folder)) {
      if (file === name || file.startsWith(`${name}-`)) copyFileSync(join(folder, file), scratch.file(file));
    }
    return scratch.file(name);
  }

  it('applies the committed part of the log, and leaves a file of SQLCipher 4', async () => {
    await using scratch = new Scratch();
    const path = copied(scratch, 'wal-cut.db');
    await refused(() => Database.open(path, { key }), ForeignCipherFormatError, /Database\.convert/);
    const steps: CopyProgress[] = [];
    await Database.convert(path, { key, onProgress: (step) => steps.push(step) });
    assert.equal(steps.at(-1)?.phase, 'check');
    assert.deepEqual(names(scratch.path), ['wal-cut.db']);
    const db = await scratch.open('wal-cut.db', { key });
    const rows = Array.from({ length: 8 }, (_, n) => [`k0${n}`, `v${n}`]);
    assert.deepEqual(await db.all('SELECT * FROM kv ORDER BY 1', [], { rowMode: 'array' }), rows);
    assert.deepEqual(await db.verify(), { ok: true, problems: [] });
    await refused(() => Database.convert(path, { key }), CannotOpenError, /is open in this process/);
    await db.close();
    const before = digest(readFileSync(path));
    await Database.convert(path, { key });
    assert.equal(digest(readFileSync(path)), before);
  });

  it('knows a file of one page and one with a passphrase', async () => {
    await using scratch = new Scratch();
    const one = copied(scratch, 'onepage.db');
    await Database.convert(one, { key });
    const first = await scratch.open('onepage.db', { key });
    assert.deepEqual(await first.get('PRAGMA user_version'), { user_version: 42 });
    const passphrase = 'correct horse';
    await Database.convert(copied(scratch, 'passphrase.db'), { passphrase });
    const second = await scratch.open('passphrase.db', { passphrase });
    assert.deepEqual(await second.get('SELECT count(*) AS n FROM kv'), { n: 200 });
    assert.deepEqual(await second.verify(), { ok: true, problems: [] });
  });

  it('refuses what it cannot be sure of, and leaves it as it is', async (t) => {
    await using scratch = new Scratch();
    const onepage = copied(scratch, 'onepage.db');
    const refusals: [path: string, options: object, as: new (message: string) => Error, says: RegExp][] = [
      [onepage, { key: KEY }, WrongKeyError, /cannot be decrypted/],
      [onepage, {}, OptionError, /needs the key/],
      [copied(scratch, 'ps8192.db'), { key }, ForeignCipherFormatError, /pages of 8192 bytes/],
      [copied(scratch, 'wal-legacywal.db'), { key }, ForeignCipherFormatError, /mc_legacy_wal = 1/],
      [scratch.file('missing.db'), { key }, CannotOpenError, /does not exist/],
    ];
    for (const [path, options, as, says] of refusals) {
      const before = scratch.contents();
      await assert.rejects(Database.convert(path, options), (error: Error) => {
        assert.ok(error instanceof as, error.message);
        assert.match(error.message, says);
        return true;
      });
      assert.deepEqual(scratch.contents(), before);
    }
    writeFileSync(`${onepage}-journal`, Buffer.alloc(512, 1));
    await refused(() => Database.convert(onepage, { key }), ForeignCipherFormatError, /rollback journal/);
    writeFileSync(`${onepage}-journal`, Buffer.alloc(512));
    await Database.convert(onepage, { key });

    const damagedFile = copied(scratch, 'passphrase.db');
    const bytes = readFileSync(damagedFile);
    bytes.writeUInt8(bytes.readUInt8(5_000) ^ 1, 5_000);
    writeFileSync(damagedFile, bytes);
    await refused(() => Database.convert(damagedFile, { passphrase: 'correct horse' }), CorruptDatabaseError, /page 2/);
    assert.equal(digest(readFileSync(damagedFile)), digest(bytes));

    const plain = await scratch.open('plain.db', PLAIN);
    await plain.exec('CREATE TABLE t (a)');
    await plain.close();
    await refused(() => Database.convert(scratch.file('plain.db'), { key }), NotEncryptedError, /is not encrypted/);
    const current = await OtherProcess.with(t, scratch.file('current.db'), { key });
    await current.ask({ do: 'exec', sql: 'CREATE TABLE t (a)' });
    await Database.convert(scratch.file('current.db'), { key });
  });
});
